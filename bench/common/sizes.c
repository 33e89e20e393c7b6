#include "common/sizes.h"

#include "align/bank.h"
#include "base/file.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

drt_status bench_size_read(bench_size *s, const char *name, drt_error *err) {
    char path[256];
    snprintf(path, sizeof path, "bench/sizes/%s.json", name);
    *s = (bench_size){0};
    json_t *o = json_load_file(path, 0, NULL), *text = json_object_get(o, "bench_text");
    char *all = o ? json_dumps(o, 0) : NULL;
    drt_status status = all ? drt_model_config_parse(&s->config, all, path, err)
                            : drt_fail(err, DRT_EIO, "%s: cannot be read; run the bench in drt's own folder", path);
    for (size_t i = 0; i < json_array_size(text) && i < BENCH_SEQUENCES; i++)
        s->text[s->n++] = (int)json_integer_value(json_array_get(text, i));
    for (int i = 0; !status && i < s->n; i++)
        if (s->text[i] < BENCH_PROMPT + 5)
            status = drt_fail(err, DRT_EARG, "%s: bench_text must be %d or more", path, BENCH_PROMPT + 5);
    if (!status && !s->n) status = drt_fail(err, DRT_EARG, "%s: bench_text is missing", path);
    free(all);
    json_decref(o);
    return status;
}

static uint32_t next(uint32_t *x) { // xorshift: a billion of them a second
    *x ^= *x << 13, *x ^= *x >> 17, *x ^= *x << 5;
    return *x;
}

// Uniform numbers of the deviation that the parameter would begin with; without a master, bf16 of some 0.01.
static void fill(drt_param *p) {
    int64_t n = p->tensor.value.rows * p->tensor.value.cols;
    uint32_t x = 2463534242u + (uint32_t)p->index;
    float *w = p->master.data, deviation = p->scale;
    uint16_t *half = p->tensor.value.data;
    if (p->init == DRT_INIT_UNIFORM) deviation = 0.58f / sqrtf(p->scale > 0 ? p->scale : (float)p->master.cols);
    for (int64_t i = 0; !w && i < n; i++) half[i] = (uint16_t)(0x3c00 | (next(&x) & 0x80ff));
    for (int64_t i = 0; w && i < n; i++)
        w[i] = p->init == DRT_INIT_CONSTANT ? p->scale : deviation * 1.73f * ((float)(int32_t)next(&x) * 0x1p-31f);
}

drt_status bench_model(drt_model **out, const bench_size *s, const bool learns[DRT_GROUPS], drt_keep keep,
                       drt_error *err) {
    drt_model_options o = {.stored = INT64_MAX, .order_classes = learns[DRT_DIRECTED] ? BENCH_CLASSES : 0};
    memcpy(o.learns, learns, sizeof o.learns);
    drt_model *m = NULL;
    drt_status status = drt_model_declare(&m, &s->config, &o, err);
    for (int i = 0; !status && i < m->params->n; i++) {
        drt_param *p = m->params->at[i];
        bool matrix = p->tensor.value.rows > 1 && p->group <= DRT_LANGUAGE;
        if (keep == DRT_KEEP_BF16 && matrix) drt_param_store(p, DRT_BF16, false);
        p->tensor.f16 = keep == DRT_KEEP_F16 && matrix;
    }
    if (!status) status = drt_model_allocate(m, &o, err);
    for (int i = 0; !status && i < m->params->n; i++) fill(m->params->at[i]);
    if (!status) drt_params_refresh(m->params);
    if (status) drt_model_close(m);
    else *out = m;
    return status;
}

double bench_model_bytes(const drt_model *m) {
    double bytes = 4.0 * (double)m->params->size + 12.0 * (double)m->params->learning;
    for (int i = 0; i < m->params->n; i++) {
        drt_mat v = m->params->at[i]->tensor.value;
        if (v.type != DRT_F32) bytes += 2.0 * (double)v.rows * (double)v.cols;
    }
    return bytes;
}

drt_align_options bench_options(const drt_model *m) {
    return (drt_align_options){.context = drt_decoder_context(&m->config.language),
                               .image_rows = drt_visual_rows(&m->config),
                               .classes = BENCH_CLASSES,
                               .share_prefixes = true};
}

// BOS, common words, picture, own words; for image order the directed token, too, and no labels.
static drt_status add_pass(drt_sample *s, drt_arena *arena, const drt_model *m, int text, int number, bool order,
                           drt_error *err) {
    const int picture = 1 + BENCH_PROMPT;
    int n = text + 1 + order, answer = picture + 1 + (text - picture) / 4;
    drt_pass *p = &s->pass[s->passes++];
    *p = (drt_pass){.kind = order ? DRT_PASS_IMAGE_ORDER : DRT_PASS_PLAIN, .n = n, .prompt = answer};
    p->permutation = order ? number % BENCH_CLASSES : -1;
    p->id = drt_arena_array(arena, n, sizeof *p->id);
    p->label = drt_arena_array(arena, n, sizeof *p->label);
    if (!p->id || !p->label) return drt_fail(err, DRT_ENOMEM, "no memory for a pass");
    for (int i = 0; i < n; i++) {
        int own = i < picture ? 0 : number;
        p->id[i] = i == picture ? DRT_IMAGE_TOKEN : (own * 8191 + i * 131) % (m->config.language.vocab - 100) + 3;
        p->label[i] = !order && i >= answer ? p->id[i] : DRT_IGNORE;
    }
    p->id[0] = 1;
    if (order) p->id[n - 1] = DRT_DIRECTED_TOKEN;
    return DRT_OK;
}

drt_status bench_batch(drt_step_data *d, const bench_size *size, const drt_model *m, bool order, drt_error *err) {
    int32_t *bank;
    drt_status status = drt_bank_draw(&bank, BENCH_CLASSES, BENCH_GRID * BENCH_GRID, 1, err);
    if (status) return status;
    drt_pack_options pack = drt_pack_options_of(m, bank, BENCH_GRID);
    int64_t numbers = drt_pack_picture(&pack);
    drt_sample *all = drt_arena_zalloc(d->arena, (size_t)size->n * sizeof *all);
    const drt_sample **each = drt_arena_array(d->arena, size->n, sizeof *each);
    uint64_t *key = drt_arena_array(d->arena, size->n, sizeof *key);
    const float **known = drt_arena_array(d->arena, size->n, sizeof *known);
    d->batch = drt_arena_zalloc(d->arena, sizeof *d->batch);
    if (!all || !each || !d->batch || !key || !known) status = drt_fail(err, DRT_ENOMEM, "no memory for a batch");
    for (int i = 0; !status && i < size->n; i++) {
        drt_sample *s = &all[i];
        each[i] = s;
        s->index = i;
        s->images = 1;
        key[i] = (uint64_t)i + 1;
        known[i] = d->store ? drt_features_find(d->store, key[i]) : NULL;
        if (d->store) s->key = &key[i], s->known = &known[i];
        s->patches = drt_arena_array(d->arena, numbers, sizeof *s->patches);
        if (!s->patches) status = drt_fail(err, DRT_ENOMEM, "no memory for pictures");
        for (int64_t k = 0; !status && k < numbers; k++)
            s->patches[k] = (float)((k * 7919 + i * 131) % 2001 - 1000) * 2e-3f;
        if (!status) status = add_pass(s, d->arena, m, size->text[i], i, false, err);
        if (!status && order) status = add_pass(s, d->arena, m, size->text[i], i, true, err);
    }
    drt_batch *b = status ? NULL : drt_batch_pack(d->arena, each, size->n, &pack, err);
    free(bank);
    if (!b) return status ? status : DRT_ENOMEM;
    *d->batch = b;
    d->n = 1;
    d->rows = b->rows;
    d->totals = (drt_totals){.orders = b->orders, .guided = b->guided, .samples = size->n};
    for (int k = 0; k < DRT_PASS_KINDS; k++) d->totals.words[k] = b->words[k].n;
    return DRT_OK;
}
