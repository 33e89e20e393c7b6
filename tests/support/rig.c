#include "support/rig.h"

#include "base/file.h"
#include "infer/generate.h"

#include <math.h>
#include <stdio.h>

double rig_apart(const float *a, const float *b, int64_t n) {
    double gap = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        gap += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        size += (double)b[i] * b[i];
    }
    if (isnan(gap)) return INFINITY;
    return size > 0 ? sqrt(gap / size) : gap > 0 ? INFINITY : 0;
}

void rig_patches(const float *pixels, int side, int patch, float *out) {
    int n = side / patch;
    for (int py = 0; py < n; py++)
        for (int px = 0; px < n; px++)
            for (int c = 0; c < 3; c++)
                for (int y = 0; y < patch; y++)
                    for (int x = 0; x < patch; x++)
                        *out++ = pixels[((int64_t)c * side + py * patch + y) * side + px * patch + x];
}

static const drt_weight *find(rig *r, const char *name) {
    const drt_weight *t = drt_weights_find(r->golden, name);
    if (!t) fail_msg("the golden file lacks '%s'", name);
    return t;
}

const float *rig_numbers(rig *r, const char *name, int64_t *n) {
    drt_error err = {0};
    const drt_weight *t = find(r, name);
    int64_t count = drt_weight_elements(t);
    float *x = drt_arena_array(r->arena, count, sizeof *x);
    check_ok(drt_weight_to_f32(t, x, count, &err));
    if (n) *n = count;
    return x;
}

const int32_t *rig_whole(rig *r, const char *name, int64_t *n) {
    const drt_weight *t = find(r, name);
    check(!strcmp(t->dtype, "I32"));
    int32_t *x = drt_arena_array(r->arena, drt_weight_elements(t), sizeof *x);
    memcpy(x, t->bytes, t->size);
    if (n) *n = drt_weight_elements(t);
    return x;
}

static bool has(const rig *r, const char *name) { return drt_weights_find(r->golden, name) != NULL; }

// Log-variances of objectives that are younger than the file stay 0.
static void check_size(const drt_param *p, int64_t n) {
    int64_t own = p->tensor.value.rows * p->tensor.value.cols;
    check(n == own || (p->group == DRT_BALANCE && n < own));
}

static void set(rig *r, const char *name, drt_param *p) {
    int64_t n;
    if (!p || !has(r, name)) return;
    const float *x = rig_numbers(r, name, &n);
    check_size(p, n);
    memcpy(p->tensor.value.data, x, (size_t)n * sizeof *x);
}

static void set_permuter(rig *r) {
    char name[80];
    for (int i = 0; r->m->extra.permuter && i < r->m->params->slices; i++) {
        const drt_slice *s = &r->m->params->slice[i];
        if (s->param->group != DRT_PERMUTER) continue;
        snprintf(name, sizeof name, "w.%s", s->name);
        set(r, name, s->param);
    }
}

static void read_pass(rig *r, int s, int k, drt_pass *p) {
    char name[64];
    int64_t n, labels;
    snprintf(name, sizeof name, "s.%d.p.%d.ids", s, k);
    p->id = (int32_t *)rig_whole(r, name, &n);
    snprintf(name, sizeof name, "s.%d.p.%d.labels", s, k);
    p->label = (int32_t *)rig_whole(r, name, &labels);
    check(n == labels);
    p->n = (int)n;
    p->permutation = -1;
    snprintf(name, sizeof name, "s.%d.p.%d.prompt", s, k);
    if (has(r, name)) p->prompt = rig_whole(r, name, NULL)[0];
    snprintf(name, sizeof name, "s.%d.p.%d.info", s, k);
    if (!has(r, name)) return;
    const int32_t *info = rig_whole(r, name, NULL);
    p->kind = (drt_pass_kind)info[0];
    p->permutation = info[1];
}

// "s.S.pairs" [n, 3]: image, patch, tokens of the word; "s.S.pair_ids": those of all words.
static void read_pairs(rig *r, int s, drt_sample *out) {
    char name[64];
    int64_t n;
    snprintf(name, sizeof name, "s.%d.pairs", s);
    if (!has(r, name)) return;
    const int32_t *pair = rig_whole(r, name, &n);
    snprintf(name, sizeof name, "s.%d.pair_ids", s);
    int32_t *id = (int32_t *)rig_whole(r, name, NULL);
    out->pairs = (int)(n / 3);
    out->pair = drt_arena_array(r->arena, out->pairs, sizeof *out->pair);
    for (int i = 0; i < out->pairs; i++, pair += 3) {
        out->pair[i] = (drt_word_pair){pair[0], pair[1], i, id, pair[2]};
        id += pair[2];
    }
}

static void read_samples(rig *r) {
    char name[64];
    const drt_tower *v = &r->m->config.vision;
    const float *pixels = has(r, "pixels") ? rig_numbers(r, "pixels", NULL) : NULL;
    for (r->samples = 0; r->samples < RIG_SAMPLES; r->samples++) {
        drt_sample *s = &r->sample[r->samples];
        snprintf(name, sizeof name, "s.%d.p.0.ids", r->samples);
        if (!has(r, name)) break;
        s->index = r->samples;
        for (; s->passes < DRT_PASS_KINDS; s->passes++) {
            snprintf(name, sizeof name, "s.%d.p.%d.ids", r->samples, s->passes);
            if (!has(r, name)) break;
            read_pass(r, r->samples, s->passes, &s->pass[s->passes]);
        }
        for (int i = 0; i < s->pass[0].n; i++) s->images += s->pass[0].id[i] == DRT_IMAGE_TOKEN;
        read_pairs(r, r->samples, s);
        if (!s->images) continue;
        int64_t size = (int64_t)drt_patches(v) * 3 * v->patch * v->patch;
        int views = s->images * drt_views(&r->m->config);
        s->patches = drt_arena_array(r->arena, views * size, sizeof *s->patches);
        for (int i = 0; i < views; i++, pixels += 3 * v->image * v->image)
            rig_patches(pixels, v->image, v->patch, s->patches + i * size);
    }
}

static void open_model(rig *r, const char *model) {
    char path[300];
    drt_error err = {0};
    drt_model_options o = {.seed = 1, .keep = r->recipe.dtype};
    if (*r->recipe.lora.from) o.adapter = r->recipe.lora.from;
    for (int g = 0; g < DRT_GROUPS; g++) o.learns[g] = drt_group_factor(&r->recipe, (drt_group)g) > 0;
    if (has(r, "order.weight")) o.order_classes = (int)find(r, "order.bias")->shape[0];
    o.temperature = has(r, "log_scale");
    const drt_permuter_shape permuter = drt_recipe_permuter(&r->recipe);
    o.permuter = &permuter;
    if (r->recipe.weights == DRT_WEIGHTS_LEARNED) o.objectives = DRT_OBJECTIVES;
    snprintf(path, sizeof path, "tests/golden/%s", model);
    check_ok(drt_model_open(&r->m, path, &o, &err));
    set(r, "directed", r->m->extra.token);
    set(r, "order.weight", r->m->extra.order);
    set(r, "order.bias", r->m->extra.order_b);
    set(r, "balance", r->m->extra.balance);
    set(r, "log_scale", r->m->extra.temperature);
    set_permuter(r);
}

void rig_open(rig *r, const char *model, const char *golden, const char *device, int n, const char *const *overrides) {
    char path[300];
    drt_error err = {0};
    memset(r, 0, sizeof *r);
    r->arena = drt_arena_new(0);
    check_ok(drt_recipe_load(&r->recipe, NULL, n, overrides, &err));
    check_ok(drt_device_open(&r->dev, device, 1, &err));
    r->t = drt_tape_new(r->dev, &err);
    check(r->t);
    snprintf(path, sizeof path, "tests/golden/%s", golden);
    check_ok(drt_weights_open(&r->golden, path, &err));
    open_model(r, model);
    if (has(r, "bank")) r->bank = (int32_t *)rig_whole(r, "bank", NULL);
    const drt_recipe *q = &r->recipe;
    int side = r->m->config.kind == DRT_MODEL_LANGUAGE ? 0 : r->m->config.vision.image / r->m->config.vision.patch;
    r->pack = drt_pack_options_of(r->m, r->bank, q->order.grid ? (int)q->order.grid : side);
    r->pack.select_all = !q->train.select_rows;
    r->pack.read_visual = q->order.token == DRT_ORDER_VISUAL;
    r->options =
        (drt_align_options){.order_token = q->order.token, .reduce = q->guided.reduce, .mixer = drt_recipe_mixer(q)};
    r->options.share_prefixes = q->train.share_prefixes && r->options.mixer.order == DRT_INPUT_NONE;
    r->data.batch = r->batch;
    r->data.gps = drt_recipe_gps(q, 0, 1);
    read_samples(r);
}

void rig_close(rig *r) {
    drt_tape_free(r->t);
    drt_model_close(r->m);
    drt_device_close(r->dev);
    drt_weights_close(r->golden);
    drt_recipe_free(&r->recipe);
    drt_arena_free(r->arena);
}

void rig_pack(rig *r, int from, int to) {
    drt_error err = {0};
    const drt_sample *list[RIG_SAMPLES];
    for (int i = from; i < to; i++) list[i - from] = &r->sample[i];
    drt_batch *b = drt_batch_pack(r->arena, list, to - from, &r->pack, &err);
    if (!b) fail_msg("%s", err.text);
    drt_totals *n = &r->data.totals;
    for (int k = 0; k < DRT_PASS_KINDS; k++) n->words[k] += b->words[k].n;
    n->orders += b->orders;
    n->guided += b->guided;
    n->samples += to - from;
    n->captions += b->captions;
    n->pairs += b->pairs;
    r->batch[r->data.n++] = b;
}

void rig_gradients(rig *r) {
    drt_error err = {0};
    drt_params_zero_grads(r->m->params);
    check_ok(drt_train_gradients(r->t, r->m, &r->recipe, &r->options, &r->data, &r->report, &err));
}

void rig_forward(rig *r, drt_forward *f, bool guided) {
    drt_error err = {0};
    *f = (drt_forward){.model = r->m, .batch = r->batch[0], .totals = &r->data.totals, .options = &r->options};
    drt_tape_begin(r->t, false);
    drt_forward_run(r->t, f, guided, false);
    check_ok(drt_tape_failed(r->t, &err));
}

float *rig_logits(rig *r, int64_t *n) {
    drt_forward f;
    rig_forward(r, &f, false);
    drt_tensor *y = drt_decoder_logits(r->t, &r->m->language, f.states);
    check(y != NULL);
    *n = y->value.rows * y->value.cols;
    return y->value.data;
}

double rig_logit_gap(rig *r) {
    int64_t n, want;
    const float *have = rig_logits(r, &n), *expected = rig_numbers(r, "logits", &want);
    check(n == want);
    double gap = 0;
    for (int64_t i = 0; i < n; i++) gap = fmax(gap, fabs((double)have[i] - expected[i]));
    return gap;
}

// The tensor whose gradient measures that of `name`, where what is there is rounding; false for others. Softmax does
// not see a bias of the keys, whose true gradient is 0: the queries' bias. What the last norm of a permuter adds to all
// keys a plan does not see, in the limit of many sweeps: its weight.
static bool neighbour(const rig *r, const char *name, char other[400]) {
    char last[60];
    const drt_permuter *g = r->m->extra.permuter;
    snprintf(other, 400, "%s", name);
    char *keys = strstr(other, "k_proj.bias");
    if (keys) *keys = 'q';
    snprintf(last, sizeof last, "blocks.%d.norm2.bias", g ? g->shape.layers - 2 : 0);
    char *norm = g ? strstr(other, last) : NULL;
    if (norm) strcpy(norm + strlen(last) - strlen("bias"), "weight");
    return keys || norm;
}

static double gap_beside(rig *r, const char *other, const float *have, const float *want, int64_t n) {
    const float *q = rig_numbers(r, other, NULL);
    double gap = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        gap += ((double)have[i] - want[i]) * ((double)have[i] - want[i]);
        size += (double)q[i] * q[i];
    }
    return sqrt(gap / size);
}

static double slice_gap(rig *r, const char *name, const drt_slice *s) {
    char other[400];
    drt_mat g = s->param->tensor.grad;
    bool vector = g.rows == 1;
    const float *have = (const float *)g.data + s->row * (vector ? 1 : g.cols);
    int64_t n = 1, count;
    for (int i = 0; i < s->ndim; i++) n *= s->shape[i];
    double sum = 0;
    if (has(r, name)) {
        const float *want = rig_numbers(r, name, &count);
        check(count == n);
        return neighbour(r, name, other) ? gap_beside(r, other, have, want, n) : rig_apart(have, want, n);
    }
    for (int64_t k = 0; k < n; k++) sum += fabs((double)have[k]);
    return sum;
}

double rig_gradient_gap(rig *r, const char *prefix) {
    const drt_params *p = r->m->params;
    char name[400];
    double worst = 0;
    int seen = 0, golden = 0;
    for (int i = 0; i < drt_weights_count(r->golden); i++)
        golden += !strncmp(drt_weights_at(r->golden, i)->name, prefix, strlen(prefix));
    for (int i = 0; i < p->slices; i++) {
        snprintf(name, sizeof name, "%s%s", prefix, p->slice[i].name);
        seen += has(r, name);
        if (!p->slice[i].param->tensor.needs_grad) continue;
        double gap = slice_gap(r, name, &p->slice[i]);
        if (gap > RIG_GAP && !r->quiet) print_message("%s: %g apart\n", name, gap);
        if (gap > worst) worst = gap;
    }
    const struct {
        const char *name;
        drt_param *param;
    } extra[] = {{"directed", r->m->extra.token},
                 {"order.weight", r->m->extra.order},
                 {"order.bias", r->m->extra.order_b},
                 {"balance", r->m->extra.balance},
                 {"log_scale", r->m->extra.temperature}};
    for (size_t i = 0; i < sizeof extra / sizeof *extra; i++) {
        snprintf(name, sizeof name, "%s%s", prefix, extra[i].name);
        seen += has(r, name);
        if (!extra[i].param || !extra[i].param->tensor.needs_grad || !has(r, name)) continue;
        int64_t n;
        const float *want = rig_numbers(r, name, &n);
        check_size(extra[i].param, n);
        double gap = rig_apart(extra[i].param->tensor.grad.data, want, n);
        if (gap > RIG_GAP && !r->quiet) print_message("%s: %g apart\n", name, gap);
        if (gap > worst) worst = gap;
    }
    check(seen > 0 && seen == golden);
    return worst;
}

float *rig_gradient_copy(const rig *r) {
    float *copy = malloc((size_t)r->m->params->learning * sizeof *copy);
    check(copy != NULL);
    return memcpy(copy, r->m->params->grads, (size_t)r->m->params->learning * sizeof *copy);
}

double rig_gradient_moved(const rig *r, const float *copy) {
    return rig_apart(r->m->params->grads, copy, r->m->params->learning);
}

void rig_greedy(rig *r) {
    int64_t n, want;
    drt_error err = {0};
    drt_reply reply;
    const int32_t *tokens = rig_whole(r, "greedy.tokens", &want);
    drt_prompt prompt = {.id = rig_whole(r, "greedy.prompt", &n), .patches = r->sample[0].patches};
    prompt.n = (int)n;
    for (int i = 0; i < prompt.n; i++) prompt.images += prompt.id[i] == DRT_IMAGE_TOKEN;
    r->m->config.language.eos = -1;
    const drt_generate_options o = {.max_new_tokens = (int)want};
    check_ok(drt_generate(r->m, r->t, &prompt, 1, &o, &reply, &err));
    check(want == 64 && reply.n == want);
    for (int k = 0; k < want; k++)
        if (reply.id[k] != tokens[k]) fail_msg("token %d is %d, not %d", k, reply.id[k], tokens[k]);
    drt_replies_free(&reply, 1);
}

void rig_pairs(rig *r, int n) {
    const drt_tower *v = &r->m->config.vision;
    const float *pixels = rig_numbers(r, "pixels", NULL);
    int64_t size = (int64_t)drt_patches(v) * 3 * v->patch * v->patch, words;
    for (int i = 0; i < n; i++) {
        char name[32];
        drt_sample *s = &r->sample[i];
        snprintf(name, sizeof name, "ids.%d", i);
        s->index = i;
        s->images = s->texts = 1;
        s->patches = drt_arena_array(r->arena, size, sizeof *s->patches);
        s->text = drt_arena_array(r->arena, 1, sizeof *s->text);
        s->text_size = drt_arena_array(r->arena, 1, sizeof *s->text_size);
        s->text[0] = (int32_t *)rig_whole(r, name, &words);
        s->text_size[0] = (int)words;
        rig_patches(pixels + i * 3 * v->image * v->image, v->image, v->patch, s->patches);
    }
    rig_pack(r, 0, n);
}
