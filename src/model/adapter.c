#include "model/adapter.h"

#include "base/file.h"
#include "format/safetensors.h"
#include "model/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OTHER_BASE "the adapter was made for another base, the one that its adapter_config.json names"

static const char front[] = "base_model.model.", tail_a[] = ".lora_A.weight", tail_b[] = ".lora_B.weight";
static const char projector[] = "multi_modal_projector";

static bool ends_with(const char *s, const char *tail) {
    size_t n = strlen(s), k = strlen(tail);
    return n >= k && !strcmp(s + n - k, tail);
}

// Whether a slice is the weight of a layer that may have an adapter: of linear layers, of the output projection, of the
// convolution that makes patches, whose weight is a matrix here. Not of attention that PyTorch has as one module.
static bool is_linear(const drt_slice *s) {
    if (!ends_with(s->name, ".weight")) return false;
    switch (s->param->group) {
    case DRT_PROJECTOR:
    case DRT_CLIP_PROJECTION: return s->ndim == 2;
    case DRT_VISION: return s->ndim == 4 || (s->ndim == 2 && (strstr(s->name, ".layers.") || strstr(s->name, ".mlp.")));
    case DRT_CLIP_TEXT:
    case DRT_LANGUAGE: return s->ndim == 2 && (strstr(s->name, ".layers.") || !strcmp(s->name, "lm_head.weight"));
    default: return false;
    }
}

// What "all-linear" means to PEFT: neither convolutions nor the output projection.
static bool is_usual(const drt_slice *s) { return s->ndim == 2 && strcmp(s->name, "lm_head.weight"); }

// The shapes of A and B in a file, as PEFT has them: of a convolution they are convolutions. How many sizes they have.
static int stored_shapes(const drt_slice *s, int rank, int64_t a[4], int64_t b[4]) {
    for (int i = 0; i < 4; i++) a[i] = i && i < s->ndim ? s->shape[i] : 1, b[i] = 1;
    a[0] = b[1] = rank;
    b[0] = s->shape[0];
    return s->ndim;
}

// ---- which modules -------------------------------------------------------------------------------------------------

// The last words of all names that could have been meant, each once.
static drt_status refuse_target(const drt_model *m, const char *item, size_t n, drt_error *err) {
    drt_text list = {0};
    char name[400], word[402];
    for (int i = 0; i < m->params->slices; i++) {
        const drt_slice *s = &m->params->slice[i];
        if (!is_linear(s)) continue;
        drt_layout_module(name, sizeof name, &m->config, s);
        const char *dot = strrchr(name, '.');
        snprintf(word, sizeof word, "%s,", dot ? dot + 1 : name);
        if (!strstr(list.size ? list.bytes : "", word)) drt_text_printf(&list, "%s%s", list.size ? " " : "", word);
    }
    if (list.size) list.bytes[list.size - 1] = 0;
    drt_fail(err, DRT_ECONFIG, "lora.targets: '%.*s' matches no linear layer of this model; there are %s, as in %s%s",
             (int)n, item, list.size ? list.bytes : "none", list.size ? name : "no name",
             drt_has_decoder(&m->config) && m->config.language.tied ? "; lm_head is the word embedding here" : "");
    drt_text_free(&list);
    return DRT_ECONFIG;
}

// Sets chosen[slice] by the targets; each item must choose something.
static drt_status choose(const drt_model *m, const char *targets, bool *chosen, drt_error *err) {
    static const char all[] = "all-linear";
    const char *item;
    char name[400];
    size_t n;
    while (drt_target_next(&targets, &item, &n)) {
        bool any = false, yes;
        for (int i = 0; i < m->params->slices; i++) {
            const drt_slice *s = &m->params->slice[i];
            if (!is_linear(s) || (!is_usual(s) && n == sizeof all - 1 && !strncmp(item, all, n))) continue;
            drt_layout_module(name, sizeof name, &m->config, s);
            drt_status status = drt_target_matches(item, n, name, &yes, err);
            if (status) return status;
            any |= yes;
            chosen[i] |= yes;
        }
        if (!any) return refuse_target(m, item, n, err);
    }
    return DRT_OK;
}

static drt_status check_shape(const drt_weight *w, const char *which, int ndim, const int64_t *shape, const char *path,
                              const char *module, drt_error *err) {
    char have[100], want[100];
    if (!w)
        return drt_fail(err, DRT_EFORMAT, "%s: half an adapter of '%s': its lora_%s is missing", path, module, which);
    if (w->ndim == ndim && !memcmp(w->shape, shape, (size_t)ndim * sizeof *shape)) return DRT_OK;
    drt_shape_text(have, sizeof have, w->ndim, w->shape);
    drt_shape_text(want, sizeof want, ndim, shape);
    return drt_fail(err, DRT_EFORMAT, "%s: '%s' is %s, but for this model it would be %s: " OTHER_BASE, path, w->name,
                    have, want);
}

// PEFT stores the base's own lm_head beside its adapter. It must be this one, in the same or in fewer bits; the middle
// of it is looked at.
static drt_status check_base_layer(const drt_slice *s, const drt_weight *w, const char *path, drt_error *err) {
    enum { SAMPLE = 1024 };
    float then[SAMPLE], now[SAMPLE];
    drt_mat v = drt_slice_numbers(s);
    drt_status status = drt_layout_fits(s, w, path, err);
    if (status) return status;
    int64_t n = v.cols < SAMPLE ? v.cols : SAMPLE, from = (v.cols - n) / 2;
    drt_weight_numbers(then, w->dtype, (const char *)w->bytes + from * drt_weight_dtype_size(w->dtype), n);
    drt_weight_numbers(now, drt_storage_name(v.type), (const char *)v.data + (size_t)from * drt_dtype_size(v.type), n);
    for (int64_t i = 0; i < n; i++)
        if (!(fabsf(then[i] - now[i]) <= 0x1p-7f * fabsf(now[i]) + 0x1p-24f))
            return drt_fail(err, DRT_EFORMAT, "%s: '%s' differs from this model's: " OTHER_BASE, path, w->name);
    return DRT_OK;
}

// The tensor of the folder that is a slice of lm_head itself; NULL: none.
static const drt_weight *base_layer(const drt_adapter *a, const drt_slice *s) {
    char name[100];
    if (strncmp(s->name, "lm_head.", 8)) return NULL;
    snprintf(name, sizeof name, "%slm_head.base_layer.%.20s", front, s->name + 8);
    return drt_weights_find(a->files, name);
}

// Sets chosen[slice] by the tensors of the folder. Every tensor must find its place.
static drt_status choose_stored(const drt_model *m, bool *chosen, drt_error *err) {
    const drt_adapter *a = &m->adapter;
    int count = drt_weights_count(a->files);
    const drt_weight *first = drt_weights_at(a->files, 0);
    bool *used = calloc((size_t)count + 1, sizeof *used);
    drt_status status = used ? DRT_OK : drt_fail(err, DRT_ENOMEM, "no memory for an adapter");
    for (int i = 0; !status && i < m->params->slices; i++) {
        const drt_slice *s = &m->params->slice[i];
        if (s->param->group == DRT_PROJECTOR) {
            const char *tail = strrchr(s->name, '.');
            const drt_weight *whole = tail[1] == 'w' ? drt_layout_find_beside(a->files, s, front, tail) : NULL;
            char name[400];
            if (tail[1] == 'b') {
                snprintf(name, sizeof name, "%smodel.%s", front, s->name);
                whole = drt_weights_find(a->files, name);
            }
            if (whole) used[whole - first] = true;
            if (whole) status = drt_layout_fits(s, whole, a->path, err);
        }
        const drt_weight *own = base_layer(a, s);
        if (own) used[own - first] = true;
        if (status || !is_linear(s)) continue;
        const drt_weight *wa = drt_layout_find_beside(a->files, s, front, tail_a),
                         *wb = drt_layout_find_beside(a->files, s, front, tail_b);
        if (!wa && !wb) continue;
        int64_t shape_a[4], shape_b[4];
        int ndim = stored_shapes(s, a->lora.rank, shape_a, shape_b);
        status = check_shape(wa, "A", ndim, shape_a, a->path, s->name, err);
        if (!status) status = check_shape(wb, "B", ndim, shape_b, a->path, s->name, err);
        if (!status) chosen[i] = used[wa - first] = used[wb - first] = true;
    }
    for (int i = 0; !status && i < count; i++)
        if (!used[i])
            status = drt_fail(err, DRT_EFORMAT, "%s: tensor '%s' belongs to no linear layer of this model: " OTHER_BASE,
                              a->path, drt_weights_at(a->files, i)->name);
    free(used);
    return status;
}

static drt_status open_stored(drt_adapter *a, const char *folder, drt_error *err) {
    drt_status status = drt_peft_read(&a->lora, &a->base, folder, err);
    a->path = drt_path_join(folder, "adapter_model.safetensors");
    if (!status && !a->path) status = drt_fail(err, DRT_ENOMEM, "no memory");
    return status ? status : drt_weights_open(&a->files, a->path, err);
}

// ---- with the model ------------------------------------------------------------------------------------------------

// A begins as PyTorch's Linear, B as 0, as PEFT does: at first the model is what it was.
static void declare_one(drt_model *m, int slice) {
    drt_adapter *a = &m->adapter;
    drt_slice *s = &m->params->slice[slice];
    drt_adapter_module *one = &a->module[a->n++];
    one->slice = slice;
    one->a = drt_param_add(m->params, DRT_ADAPTER, a->lora.rank, s->param->tensor.value.cols, DRT_INIT_UNIFORM, 0);
    one->b = drt_param_add(m->params, DRT_ADAPTER, s->shape[0], a->lora.rank, DRT_INIT_CONSTANT, 0);
    if (!one->a || !one->b) return; // params->failed says so
    one->added = (drt_low_rank){.a = &one->a->tensor,
                                .b = &one->b->tensor,
                                .row = s->row,
                                .scale = drt_lora_scale(&a->lora),
                                .dropout = (float)a->lora.dropout,
                                .key = (uint64_t)slice,
                                .next = s->param->tensor.added};
    s->param->tensor.added = &one->added;
    a->vision |= s->param->group == DRT_VISION;
}

drt_status drt_adapter_declare(drt_model *m, const drt_model_options *o, drt_error *err) {
    drt_adapter *a = &m->adapter;
    int slices = m->params->slices, n = 0;
    if (!o->adapter && !o->lora) return DRT_OK;
    bool *chosen = calloc((size_t)slices + 1, sizeof *chosen);
    drt_status status = chosen ? DRT_OK : drt_fail(err, DRT_ENOMEM, "no memory for an adapter");
    if (!status && o->adapter) status = open_stored(a, o->adapter, err);
    if (!status && o->adapter) {
        a->lora.dropout = o->lora ? o->lora->dropout : 0;
        status = choose_stored(m, chosen, err);
    } else if (!status) {
        a->lora = *o->lora;
        if (a->lora.rank < 1)
            status = drt_fail(err, DRT_ECONFIG, "lora.rank: there is no adapter of rank %d", a->lora.rank);
        if (!status) status = choose(m, o->targets, chosen, err);
    }
    for (int i = 0; i < slices; i++) n += chosen && chosen[i];
    if (!status && !(a->module = calloc((size_t)n + 1, sizeof *a->module)))
        status = drt_fail(err, DRT_ENOMEM, "no memory for %d adapters", n);
    for (int i = 0; !status && i < slices; i++)
        if (chosen[i]) declare_one(m, i);
    free(chosen);
    return status;
}

static drt_status read_into(float *to, const drt_weight *w, drt_error *err) {
    drt_status status = drt_layout_finite(w, err);
    return status ? status : drt_weight_to_f32(w, to, drt_weight_elements(w), err);
}

// A projector that was trained beside the adapters.
static drt_status load_projector(drt_model *m, drt_error *err) {
    drt_status status = DRT_OK;
    char name[400];
    for (int i = 0; !status && i < m->params->slices; i++) {
        const drt_slice *s = &m->params->slice[i];
        if (s->param->group != DRT_PROJECTOR) continue;
        snprintf(name, sizeof name, "%smodel.%s", front, s->name);
        const drt_weight *w = drt_weights_find(m->adapter.files, name);
        drt_mat to = drt_slice_numbers(s);
        if (!w) continue;
        if (to.type != DRT_F32)
            return drt_fail(err, DRT_ECONFIG,
                            "%s: it holds a projector of its own; open the model in f32 (--dtype f32)",
                            m->adapter.path);
        status = read_into(to.data, w, err);
        m->adapter.projector = true;
    }
    return status;
}

enum { PARTS = DRT_LANGUAGE + 1 };
static void key_of(char out[40], int part) { snprintf(out, 40, "base.%s", drt_group_names[part]); }

// A folder of peft has no fingerprints: its tensors fit, and that is all that is known.
static drt_status check_base(const drt_model *m, const char *base, drt_error *err) {
    const drt_adapter *a = &m->adapter;
    for (int i = 0; i < m->params->slices; i++) {
        const drt_slice *s = &m->params->slice[i];
        const drt_weight *own = base_layer(a, s);
        drt_status status = own ? check_base_layer(s, own, a->path, err) : DRT_OK;
        if (status) return status;
    }
    for (int g = 0; g < PARTS; g++) {
        char key[40];
        drt_fingerprint then;
        key_of(key, g);
        const char *text = drt_weights_metadata(a->files, key);
        if (!text) continue;
        if (!drt_fingerprint_read(&then, text))
            return drt_fail(err, DRT_EFORMAT, "%s: metadata '%s' is no fingerprint: the file is damaged", a->path, key);
        if (!drt_fingerprint_same(&then, &a->beside[g]))
            return drt_fail(err, DRT_EFORMAT,
                            "%s: the adapter was trained for another base, '%s'; '%s' has other weights in its part "
                            "'%s'. Open it with that one, or train an adapter for this one",
                            a->path, a->base ? a->base : "?", base, drt_group_names[g]);
    }
    return DRT_OK;
}

drt_status drt_adapter_load(drt_model *m, const char *base, drt_error *err) {
    drt_adapter *a = &m->adapter;
    for (int g = 0; (a->n || a->files) && g < PARTS; g++) drt_fingerprint_of(&a->beside[g], m->params, (drt_group)g);
    if (!a->files) return DRT_OK;
    drt_status status = check_base(m, base, err);
    if (!status) status = load_projector(m, err);
    for (int i = 0; !status && i < a->n; i++) {
        const drt_slice *s = &m->params->slice[a->module[i].slice];
        status = read_into(a->module[i].a->master.data, drt_layout_find_beside(a->files, s, front, tail_a), err);
        if (!status)
            status = read_into(a->module[i].b->master.data, drt_layout_find_beside(a->files, s, front, tail_b), err);
    }
    drt_params_refresh(m->params);
    drt_weights_close(a->files);
    a->files = NULL;
    return status;
}

void drt_adapter_free(drt_adapter *a) {
    drt_weights_close(a->files);
    free(a->path);
    free(a->base);
    free(a->module);
    *a = (drt_adapter){0};
}

// ---- folders out ---------------------------------------------------------------------------------------------------

typedef struct {
    drt_st_entry *entry;
    char (*name)[400], (*module)[400];
    const char **modules;
    int n;
} folder_parts;

static void entry_add(folder_parts *f, drt_mat numbers, int ndim, const int64_t *shape) {
    drt_st_entry *e = &f->entry[f->n];
    *e = (drt_st_entry){.name = f->name[f->n], .dtype = "F32", .ndim = ndim, .bytes = numbers.data};
    memcpy(e->shape, shape, (size_t)ndim * sizeof *shape);
    f->n++;
}

// True if it had to store a projector.
static bool entries_make(folder_parts *f, const drt_model *m) {
    const drt_adapter *a = &m->adapter;
    bool whole = false;
    for (int i = 0; i < a->n; i++) {
        const drt_adapter_module *one = &a->module[i];
        const drt_slice *s = &m->params->slice[one->slice];
        int64_t shape_a[4], shape_b[4];
        int ndim = stored_shapes(s, a->lora.rank, shape_a, shape_b);
        drt_layout_module(f->module[i], sizeof *f->module, &m->config, s);
        f->modules[i] = f->module[i];
        snprintf(f->name[f->n], sizeof *f->name, "%s%.300s%s", front, f->module[i], tail_a);
        entry_add(f, one->a->master, ndim, shape_a);
        snprintf(f->name[f->n], sizeof *f->name, "%s%.300s%s", front, f->module[i], tail_b);
        entry_add(f, one->b->master, ndim, shape_b);
    }
    for (int i = 0; i < m->params->slices; i++) {
        const drt_slice *s = &m->params->slice[i];
        if (s->param->group != DRT_PROJECTOR || !(s->param->tensor.needs_grad || a->projector)) continue;
        snprintf(f->name[f->n], sizeof *f->name, "%smodel.%.300s", front, s->name);
        entry_add(f, drt_slice_numbers(s), s->ndim, s->shape);
        whole = true;
    }
    return whole;
}

// Key, value, ..., NULL. Left out is what learnt or came with the adapter: it is stored, and not the base's.
static void metadata_make(const drt_model *m, char key[PARTS][40], char value[PARTS][DRT_FINGERPRINT_TEXT],
                          const char *out[2 * PARTS + 3]) {
    int n = 0;
    bool stands[PARTS] = {0};
    for (int i = 0; i < m->params->slices; i++) {
        const drt_param *p = m->params->slice[i].param;
        if ((int)p->group < PARTS) stands[p->group] = !p->tensor.needs_grad;
    }
    stands[DRT_PROJECTOR] &= !m->adapter.projector;
    out[n++] = "format", out[n++] = "pt";
    for (int g = 0; g < PARTS; g++) {
        if (!stands[g]) continue;
        key_of(key[g], g);
        drt_fingerprint_write(&m->adapter.beside[g], value[g]);
        out[n++] = key[g], out[n++] = value[g];
    }
    out[n] = NULL;
}

drt_status drt_adapter_save(const drt_model *m, const char *folder, drt_error *err) {
    const drt_adapter *a = &m->adapter;
    size_t room = 2 * (size_t)a->n + 2 * DRT_PROJECTOR_LAYERS + 1;
    drt_text config = {0};
    char key[PARTS][40], value[PARTS][DRT_FINGERPRINT_TEXT];
    const char *metadata[2 * PARTS + 3];
    folder_parts f = {.entry = calloc(room, sizeof *f.entry),
                      .name = calloc(room, sizeof *f.name),
                      .module = calloc(room, sizeof *f.module),
                      .modules = calloc(room, sizeof *f.modules)};
    char *weights = drt_path_join(folder, "adapter_model.safetensors"),
         *json = drt_path_join(folder, "adapter_config.json");
    drt_status status = f.entry && f.name && f.module && f.modules && weights && json
                            ? drt_make_folders(folder, err)
                            : drt_fail(err, DRT_ENOMEM, "no memory to save an adapter");
    if (!status) {
        bool whole = entries_make(&f, m);
        drt_peft_write(&a->lora, f.modules, a->n, whole ? projector : NULL, m->folder ? m->folder : "",
                       m->config.kind == DRT_MODEL_LANGUAGE, &config);
        metadata_make(m, key, value, metadata);
        status = drt_safetensors_write(weights, f.entry, f.n, metadata, err);
    }
    if (!status && config.failed) status = drt_fail(err, DRT_ENOMEM, "no memory to save an adapter");
    if (!status) status = drt_file_write(json, config.bytes, config.size, err);
    drt_text_free(&config);
    free(weights), free(json);
    free(f.entry), free(f.name), free(f.module), free(f.modules);
    return status;
}

// ---- merging -------------------------------------------------------------------------------------------------------

drt_status drt_adapter_merge(drt_model *m, drt_device *dev, drt_error *err) {
    drt_adapter *a = &m->adapter;
    for (int i = 0; i < a->n; i++) {
        drt_adapter_module *one = &a->module[i];
        const drt_slice *s = &m->params->slice[one->slice];
        drt_mat w = s->param->master, b = one->b->master;
        if (!w.data || s->param->tensor.value.type != DRT_F32)
            return drt_fail(err, DRT_EARG, "merging wants weights in f32, '%s' is not", s->name);
        // B is not needed any more: it takes the scale.
        dev->k->scale(dev, one->added.scale, b, false, b);
        dev->k->matmul(dev, false, false, b, one->a->master, (drt_mat){0}, true,
                       drt_mat_part(w, s->row, s->rows, 0, w.cols));
        s->param->tensor.added = NULL;
    }
    if (dev->error.code && err) *err = dev->error;
    a->n = 0;
    a->vision = false;
    return dev->error.code;
}
