// Writing models as Hugging Face folders that transformers loads, and the learning extras beside them.
#include "model/model.h"

#include "base/file.h"
#include "format/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *prefix_of(const drt_model *m, drt_group g) {
    if (m->config.kind != DRT_MODEL_LLAVA) return "";
    return g == DRT_VISION ? "vision_tower." : g == DRT_LANGUAGE ? "language_model." : "";
}

typedef struct {
    drt_st_entry *entry;
    char (*name)[400];
    int n;
} entries;

static void entries_free(entries *e) {
    free(e->entry);
    free(e->name);
}

static drt_status entries_make(entries *e, const drt_model *m, const char *dtype, drt_error *err) {
    const drt_params *p = m->params;
    e->entry = calloc((size_t)p->slices + 1, sizeof *e->entry);
    e->name = calloc((size_t)p->slices + 1, sizeof *e->name);
    if (!e->entry || !e->name) return drt_fail(err, DRT_ENOMEM, "no memory to save %d tensors", p->slices);
    for (int i = 0; i < p->slices; i++) {
        const drt_slice *s = &p->slice[i];
        drt_mat v = s->param->tensor.value;
        drt_st_entry *out = &e->entry[e->n];
        out->ndim = s->ndim;
        memcpy(out->shape, s->shape, sizeof s->shape);
        snprintf(e->name[e->n], sizeof *e->name, "%s%s", prefix_of(m, s->param->group), s->name);
        out->name = e->name[e->n];
        out->dtype = dtype;
        out->stored = "F32";
        out->bytes = (const float *)v.data + s->row * (v.rows == 1 ? 1 : v.cols);
        e->n++;
    }
    return DRT_OK;
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

static drt_status write_processor(const drt_model *m, const char *folder, drt_error *err) {
    const drt_preprocess *p = &m->preprocess;
    drt_text t = {0};
    drt_text_printf(&t,
                    "{\n  \"image_processor_type\": \"CLIPImageProcessor\",\n  \"do_convert_rgb\": true,\n"
                    "  \"do_resize\": true,\n  \"size\": {\"shortest_edge\": %d},\n  \"resample\": 3,\n"
                    "  \"do_center_crop\": true,\n  \"crop_size\": {\"height\": %d, \"width\": %d},\n"
                    "  \"do_rescale\": true,\n  \"rescale_factor\": 0.00392156862745098,\n  \"do_normalize\": true,\n"
                    "  \"image_mean\": [%.9g, %.9g, %.9g],\n  \"image_std\": [%.9g, %.9g, %.9g],\n"
                    "  \"image_aspect_ratio\": \"%s\"\n}\n",
                    p->size, p->size, p->size, (double)p->mean[0], (double)p->mean[1], (double)p->mean[2],
                    (double)p->std[0], (double)p->std[1], (double)p->std[2],
                    p->aspect == DRT_ASPECT_PAD ? "pad" : "square");
    drt_status status = write_text(folder, "preprocessor_config.json", &t, err);
    if (status || m->config.kind != DRT_MODEL_LLAVA) return status;
    drt_text_printf(
        &t,
        "{\n  \"processor_class\": \"LlavaProcessor\",\n  \"image_token\": \"<image>\",\n  \"patch_size\": %d,\n"
        "  \"num_additional_image_tokens\": 1,\n  \"vision_feature_select_strategy\": \"%s\"\n}\n",
        m->config.vision.patch, m->config.keep_class ? "full" : "default");
    return write_text(folder, "processor_config.json", &t, err);
}

drt_status drt_model_save(const drt_model *m, const char *folder, const char *dtype, drt_error *err) {
    static const char *const tokenizer_files[] = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                                                  "chat_template.jinja", "chat_template.json"};
    if (!drt_weight_is_float(dtype)) return drt_fail(err, DRT_EARG, "dtype '%s' is not F32, BF16 or F16", dtype);
    entries e = {0};
    drt_text config = {0};
    drt_status status = drt_make_folders(folder, err);
    if (!status) status = entries_make(&e, m, dtype, err);
    char *path = drt_path_join(folder, "model.safetensors");
    if (!status && !path) status = drt_fail(err, DRT_ENOMEM, "no memory");
    if (!status) status = drt_safetensors_write(path, e.entry, e.n, NULL, err);
    free(path);
    entries_free(&e);
    if (!status && drt_has_vision(&m->config)) status = write_processor(m, folder, err);
    if (!status && drt_has_decoder(&m->config)) {
        drt_text g = {0};
        drt_text_printf(&g, "{\n  \"bos_token_id\": %d,\n  \"eos_token_id\": %d\n}\n", m->config.language.bos,
                        m->config.language.eos);
        status = write_text(folder, "generation_config.json", &g, err);
    }
    for (int i = 0; !status && m->folder && i < 5; i++) status = copy_file(m->folder, folder, tokenizer_files[i], err);
    // Last: a folder without it is no model yet.
    if (!status) drt_model_config_write(&m->config, &config);
    if (!status) status = write_text(folder, "config.json", &config, err);
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
    if (!status && m->extra.token) {
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
