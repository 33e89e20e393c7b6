// Writing models as Hugging Face folders that transformers loads, and the learning extras beside them.
#include "model/model.h"

#include "base/file.h"
#include "base/half.h"
#include "format/hf_llava.h"
#include "format/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    drt_st_entry *entry;
    char (*name)[400];
    int n;
} entries;

static void entries_free(entries *e) {
    free(e->entry);
    free(e->name);
}

// The tensors of the groups in `with`, named as in that layout of such a model.
static drt_status entries_make(entries *e, const drt_model *m, const bool with[DRT_GROUPS], drt_layout layout,
                               const drt_model_config *c, const char *dtype, drt_error *err) {
    const drt_params *p = m->params;
    e->entry = calloc((size_t)p->slices + 1, sizeof *e->entry);
    e->name = calloc((size_t)p->slices + 1, sizeof *e->name);
    if (!e->entry || !e->name) return drt_fail(err, DRT_ENOMEM, "no memory to save %d tensors", p->slices);
    for (int i = 0; i < p->slices; i++) {
        const drt_slice *s = &p->slice[i];
        drt_mat numbers = drt_slice_numbers(s);
        drt_st_entry *out = &e->entry[e->n];
        if (!with[s->param->group]) continue;
        out->ndim = s->ndim;
        memcpy(out->shape, s->shape, sizeof s->shape);
        drt_layout_name(e->name[e->n], sizeof *e->name, layout, c, s);
        out->name = e->name[e->n];
        out->dtype = dtype;
        out->stored = drt_storage_name(numbers.type);
        out->bytes = numbers.data;
        e->n++;
    }
    return DRT_OK;
}

static drt_status write_weights(const drt_model *m, const bool with[DRT_GROUPS], drt_layout layout,
                                const drt_model_config *c, const char *folder, const char *dtype, drt_error *err) {
    entries e = {0};
    drt_status status = drt_make_folders(folder, err);
    if (!status) status = entries_make(&e, m, with, layout, c, dtype, err);
    char *path = drt_path_join(folder, "model.safetensors");
    if (!status && !path) status = drt_fail(err, DRT_ENOMEM, "no memory");
    if (!status) status = drt_safetensors_write(path, e.entry, e.n, NULL, err);
    free(path);
    entries_free(&e);
    return status;
}

static drt_status write_text(const char *folder, const char *name, drt_text *text, drt_error *err) {
    char *path = drt_path_join(folder, name);
    drt_status status = path && !text->failed ? drt_file_write(path, text->bytes, text->size, err)
                                              : drt_fail(err, DRT_ENOMEM, "no memory for %s", name);
    free(path);
    drt_text_free(text);
    return status;
}

static drt_status copy_file(const char *from, const char *to, const char *name, drt_error *err) {
    char *source = drt_path_join(from, name), *target = drt_path_join(to, name), *bytes = NULL;
    size_t size;
    drt_status status = source && target ? DRT_OK : drt_fail(err, DRT_ENOMEM, "no memory");
    if (!status && drt_file_exists(source) && strcmp(source, target)) {
        status = drt_file_read(&bytes, &size, source, 0, err);
        if (!status) status = drt_file_write(target, bytes, size, err);
    }
    free(bytes);
    free(source);
    free(target);
    return status;
}

static drt_status write_processor(const drt_model *m, const char *folder, bool alone, drt_error *err) {
    drt_text t = {0};
    drt_preprocess_write(&m->preprocess, &t);
    drt_status status = write_text(folder, "preprocessor_config.json", &t, err);
    if (status || alone || m->config.kind != DRT_MODEL_LLAVA) return status;
    bool class_row = m->config.vision.family->class_row;
    drt_text_printf(
        &t,
        "{\n  \"processor_class\": \"LlavaProcessor\",\n  \"image_token\": \"<image>\",\n  \"patch_size\": %d,\n"
        "  \"num_additional_image_tokens\": %d,\n  \"vision_feature_select_strategy\": \"%s\"\n}\n",
        m->config.vision.patch, class_row, m->config.front == class_row ? "full" : "default");
    return write_text(folder, "processor_config.json", &t, err);
}

// What goes with the words: the ids of generation, and the tokenizer's files with what was added to them.
static drt_status write_words(const drt_model *m, const char *folder, drt_error *err) {
    static const char *const files[] = {"tokenizer.json",      "tokenizer_config.json", "special_tokens_map.json",
                                        "chat_template.jinja", "chat_template.json",    "tokenizer.model",
                                        "spiece.model",        "added_tokens.json"};
    drt_status status = DRT_OK;
    if (drt_has_decoder(&m->config)) {
        drt_text g = {0};
        const drt_decoder_config *l = &m->config.language;
        drt_text_puts(&g, "{\n");
        if (l->bos >= 0) drt_text_printf(&g, "  \"bos_token_id\": %d%s\n", l->bos, l->eos >= 0 ? "," : "");
        if (l->eos >= 0) {
            drt_text_puts(&g, "  ");
            drt_eos_write(l, "eos_token_id", &g);
            drt_text_puts(&g, "\n");
        }
        drt_text_puts(&g, "}\n");
        status = write_text(folder, "generation_config.json", &g, err);
    }
    for (size_t i = 0; !status && m->folder && i < sizeof files / sizeof *files; i++)
        status = copy_file(m->folder, folder, files[i], err);
    if (!status && m->folder && m->added.image >= 0) status = drt_added_tokens_write(&m->added, m->folder, folder, err);
    return status;
}

// The vision tower of an original LLaVA: a folder of its own inside `folder`.
static drt_status write_tower(const drt_model *m, const char *folder, const char *name, const char *dtype,
                              drt_error *err) {
    static const bool vision[DRT_GROUPS] = {[DRT_VISION] = true};
    drt_model_config c = m->config;
    drt_text config = {0};
    char *inner = drt_path_join(folder, name);
    c.kind = DRT_MODEL_VISION;
    c.order.order = DRT_INPUT_NONE;
    *c.conversation = 0;
    drt_status status = inner ? DRT_OK : drt_fail(err, DRT_ENOMEM, "no memory");
    if (!status) status = write_weights(m, vision, DRT_LAYOUT_HF, &c, inner, dtype, err);
    if (!status) status = write_processor(m, inner, true, err);
    if (!status) drt_model_config_write(&c, dtype, &config);
    if (!status) status = write_text(inner, "config.json", &config, err);
    free(inner);
    return status;
}

drt_status drt_model_save_as(const drt_model *m, const char *folder, drt_layout layout, const char *dtype,
                             drt_error *err) {
    static const char tower[] = "vision_tower";
    const bool original = layout == DRT_LAYOUT_LLAVA && m->config.kind == DRT_MODEL_LLAVA;
    bool with[DRT_GROUPS];
    drt_text config = {0};
    memset(with, 1, sizeof with);
    with[DRT_VISION] = !original;
    with[DRT_PERMUTER] = false; // in a file of its own, for programs that know nothing of it
    if (!drt_weight_is_float(dtype)) return drt_fail(err, DRT_EARG, "dtype '%s' is not F32, BF16 or F16", dtype);
    drt_model_config c = m->config;
    c.pad = m->preprocess.aspect == DRT_ASPECT_PAD;
    drt_status status = original ? drt_original_llava_write(&c, tower, dtype, &config, err) : DRT_OK;
    if (!original) drt_model_config_write(&c, dtype, &config);
    if (!status) status = write_weights(m, with, original ? layout : DRT_LAYOUT_HF, &c, folder, dtype, err);
    if (!status && original) status = write_tower(m, folder, tower, dtype, err);
    else if (!status && drt_has_vision(&m->config)) status = write_processor(m, folder, false, err);
    if (!status) status = write_words(m, folder, err);
    if (!status && m->extra.permuter) status = drt_permuter_save(m->extra.permuter, m->params, folder, err);
    // Last: a folder without it is no model yet.
    if (!status) return write_text(folder, "config.json", &config, err);
    drt_text_free(&config);
    return status;
}

drt_status drt_model_save(const drt_model *m, const char *folder, const char *dtype, drt_error *err) {
    return drt_model_save_as(m, folder, DRT_LAYOUT_HF, dtype, err);
}

// The numbers of a slice, rounded to dtype, against those of the file, all of it exact.
static bool same_numbers(drt_mat x, const drt_weight *w, const char *dtype) {
    enum { CHUNK = 4096 };
    float want[CHUNK], have[CHUNK];
    uint16_t half[CHUNK];
    int64_t n = drt_weight_elements(w);
    int size = drt_weight_dtype_size(dtype);
    if (strcmp(w->dtype, dtype)) return false;
    for (int64_t at = 0; at < n; at += CHUNK) {
        int64_t m = n - at < CHUNK ? n - at : CHUNK;
        const char *from = (const char *)x.data + at * (int64_t)drt_dtype_size(x.type);
        drt_weight_numbers(want, drt_storage_name(x.type), from, m);
        if (!strcmp(dtype, "BF16")) drt_f32_to_bf16_n(half, want, m), drt_bf16_to_f32_n(want, half, m);
        if (!strcmp(dtype, "F16")) drt_f32_to_f16_n(half, want, m), drt_f16_to_f32_n(want, half, m);
        drt_weight_numbers(have, dtype, (const char *)w->bytes + at * size, m);
        if (memcmp(want, have, (size_t)m * sizeof *want)) return false;
    }
    return true;
}

drt_status drt_model_compare(const drt_model *m, const char *folder, const char *dtype, drt_error *err) {
    drt_model_files f;
    drt_status status = drt_model_files_open(&f, folder, NULL, NULL, err);
    for (int i = 0; !status && i < m->params->slices; i++) {
        const drt_slice *s = &m->params->slice[i];
        if (s->param->group == DRT_PERMUTER) continue;
        const drt_weight *found = drt_model_files_find(&f, s);
        status = drt_layout_fits(s, found, folder, err);
        if (!status) status = drt_layout_finite(found, err); // a number too large for F16 is infinite there
        if (!status && !same_numbers(drt_slice_numbers(s), found, dtype))
            status = drt_fail(err, DRT_EIO,
                              "%s: tensor '%s' reads back with other numbers than were written; is the "
                              "disk sound?",
                              found->file, found->name);
    }
    if (!status && m->extra.permuter) status = drt_permuter_compare(m->extra.permuter, m->params, folder, err);
    int part = 0, at = 0;
    const drt_weight *stranger = status ? NULL : drt_model_files_stranger(&f, &part, &at);
    if (stranger) status = drt_model_files_refuse(stranger, err);
    drt_model_files_close(&f);
    return status;
}

// ---- directed.safetensors ------------------------------------------------------------------------------------------

drt_status drt_directed_save(const drt_model *m, const int32_t *bank, int classes, int cells, const char *folder,
                             drt_error *err) {
    const drt_extra *x = &m->extra;
    if (!x->token) return DRT_OK;
    int64_t d = m->config.language.width;
    const drt_st_entry entry[] = {
        {"directed_token", "F32", 1, {d}, x->token->tensor.value.data, NULL},
        {"order_head.weight", "F32", 2, {classes, d}, x->order->tensor.value.data, NULL},
        {"order_head.bias", "F32", 1, {classes}, x->order_b->tensor.value.data, NULL},
        {"order_bank", "I32", 2, {classes, cells}, bank, NULL},
    };
    char *path = drt_path_join(folder, "directed.safetensors");
    drt_status status =
        path ? drt_safetensors_write(path, entry, 4, NULL, err) : drt_fail(err, DRT_ENOMEM, "no memory");
    free(path);
    return status;
}

static drt_status read_param(const drt_weights *s, const char *name, drt_param *p, drt_error *err) {
    const drt_weight *found = drt_weights_find(s, name);
    int64_t n = p->tensor.value.rows * p->tensor.value.cols, have = found ? 1 : -1;
    for (int i = 0; found && i < found->ndim; i++) have *= found->shape[i];
    if (have != n)
        return drt_fail(err, DRT_EFORMAT,
                        "directed.safetensors: '%s' has %lld numbers, the recipe wants %lld; order.bank and "
                        "order.grid must be those it was trained with",
                        name, (long long)have, (long long)n);
    return drt_weight_to_f32(found, p->tensor.value.data, n, err);
}

drt_status drt_directed_load(drt_model *m, const char *folder, int32_t **bank, int *classes, int *cells,
                             drt_error *err) {
    char *path = drt_path_join(folder, "directed.safetensors");
    *bank = NULL;
    if (!path) return drt_fail(err, DRT_ENOMEM, "no memory");
    if (!drt_file_exists(path)) {
        free(path);
        return DRT_OK;
    }
    drt_weights *s = NULL;
    drt_status status = drt_weights_open(&s, path, err);
    const drt_weight *b = status ? NULL : drt_weights_find(s, "order_bank");
    if (!status && (!b || b->ndim != 2 || strcmp(b->dtype, "I32") || b->shape[0] < 1 || b->shape[1] < 1 ||
                    b->shape[0] > 1 << 24 || b->shape[1] > 1 << 16))
        status = drt_fail(err, DRT_EFORMAT, "%s: no order_bank of int32 [permutations, cells]", path);
    if (!status && m->extra.token && !m->params->dry) {
        status = read_param(s, "directed_token", m->extra.token, err);
        if (!status) status = read_param(s, "order_head.weight", m->extra.order, err);
        if (!status) status = read_param(s, "order_head.bias", m->extra.order_b, err);
    }
    if (!status) {
        *classes = (int)b->shape[0];
        *cells = (int)b->shape[1];
        *bank = malloc(b->size);
        if (*bank) memcpy(*bank, b->bytes, b->size);
        else status = drt_fail(err, DRT_ENOMEM, "no memory for the permutation bank");
    }
    if (s) drt_weights_close(s);
    free(path);
    return status;
}
