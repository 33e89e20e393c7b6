#include "model/inspect.h"

#include "base/file.h"
#include "model/model.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_TOLD = 12 }; // faults of one kind; the rest is counted

typedef struct {
    drt_text *out, faults;
    int count, told;
    const drt_inspect_options *options;
} report;

static void fault(report *r, const drt_error *err) {
    r->count++;
    if (r->told++ < MOST_TOLD) drt_text_printf(&r->faults, "  - %s\n", err->text);
}

// Ends a kind of faults.
static void settle(report *r) {
    if (r->told > MOST_TOLD) drt_text_printf(&r->faults, "  - and %d more like these\n", r->told - MOST_TOLD);
    r->told = 0;
}

static void put_bytes(drt_text *t, double bytes) {
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB"};
    int u = 0;
    for (; u < 3 && bytes >= 1024; u++) bytes /= 1024;
    drt_text_printf(t, u ? "%.2f %s" : "%.0f %s", bytes, units[u]);
}

// ---- the config ----------------------------------------------------------------------------------------------------

static void put_tower(drt_text *t, const drt_tower *v) {
    drt_text_printf(t, "%s, %d layers of %d, %d heads, pictures of %d in patches of %d",
                    v->family == &drt_clip ? "CLIP" : "SigLIP", v->layers, v->width, v->heads, v->image, v->patch);
}

static void put_decoder(drt_text *t, const drt_decoder_config *l) {
    drt_text_printf(t, "%d layers of %d, %d heads (%d key heads) of %d, feed-forward %d, %d words, %d positions%s",
                    l->layers, l->width, l->heads, l->kv_heads, l->head_size, l->ffn, l->vocab, l->positions,
                    l->tied ? ", output tied to the embedding" : "");
}

static void put_config(report *r, const drt_model_config *c) {
    static const char *const kinds[] = {"LLaVA", "vision and text towers", "language model", "vision tower"};
    char projector[16];
    drt_text *t = r->out;
    drt_text_printf(t, "model      %s%s\n", kinds[c->kind], *c->tower ? ", the original's layout" : "");
    if (drt_has_vision(c) && c->vision.family) drt_text_puts(t, "vision     "), put_tower(t, &c->vision);
    if (drt_has_vision(c) && c->vision.family) drt_text_puts(t, "\n");
    if (*c->tower) drt_text_printf(t, "tower      %s\n", c->tower);
    if (c->kind == DRT_MODEL_LLAVA) {
        drt_projector_name(projector, c->projector);
        drt_text_printf(t, "projector  %s, on hidden layer %d%s\n", projector, c->select_layer,
                        c->front > 0   ? ", class row kept"
                        : c->front < 0 ? ", first patch left out"
                                       : "");
    }
    if (drt_has_decoder(c)) drt_text_puts(t, "decoder    "), put_decoder(t, &c->language), drt_text_puts(t, "\n");
    if (c->visual_scaled) drt_text_puts(t, "visual     multiplied as words are, as by programs on transformers 4\n");
}

// ---- the weights ---------------------------------------------------------------------------------------------------

static void put_tensor(drt_text *t, const drt_weight *w) {
    drt_text_printf(t, "  %-4s [", w->dtype);
    for (int d = 0; d < w->ndim; d++) drt_text_printf(t, "%s%lld", d ? ", " : "", (long long)w->shape[d]);
    drt_text_printf(t, "] %s\n", w->name);
}

// One line on a checkpoint: tensors, dtypes, bytes; and its tensors if asked for.
static void put_weights(report *r, const drt_weights *w, const char *name) {
    const char *dtype[16];
    int count[16], n = 0;
    double bytes = 0, numbers = 0;
    for (int i = 0; i < drt_weights_count(w); i++) {
        const drt_weight *t = drt_weights_at(w, i);
        int k = 0;
        while (k < n && strcmp(dtype[k], t->dtype)) k++;
        if (k == n && n < 16) dtype[n] = t->dtype, count[n++] = 0;
        if (k < 16) count[k]++;
        bytes += (double)t->size;
        numbers += (double)drt_weight_elements(t);
    }
    drt_text_printf(r->out, "weights    %s: %d tensors, %.0f numbers, ", name, drt_weights_count(w), numbers);
    put_bytes(r->out, bytes);
    for (int k = 0; k < n; k++) drt_text_printf(r->out, "%s%d %s", k ? ", " : " (", count[k], dtype[k]);
    drt_text_puts(r->out, n ? ")\n" : "\n");
    for (int i = 0; r->options->tensors && i < drt_weights_count(w); i++) put_tensor(r->out, drt_weights_at(w, i));
}

// Every tensor that the config wants, against those that there are.
static void match(report *r, drt_model_files *f) {
    static const drt_model_options nothing = {0};
    drt_error err = {0};
    drt_model *m = NULL;
    if (drt_model_declare(&m, &f->config, &nothing, &err)) {
        fault(r, &err);
        return;
    }
    for (int i = 0; i < m->params->slices; i++) {
        const drt_slice *s = &m->params->slice[i];
        if (drt_layout_fits(s, drt_model_files_find(f, s), f->part[0].folder, &err)) fault(r, &err);
    }
    settle(r);
    int part = 0, at = 0;
    for (const drt_weight *w; (w = drt_model_files_stranger(f, &part, &at));) {
        drt_model_files_refuse(w, &err);
        fault(r, &err);
    }
    settle(r);
    drt_model_close(m);
}

static void check_numbers(report *r, const drt_weights *w) {
    drt_error err = {0};
    for (int i = 0; i < drt_weights_count(w); i++) {
        if (drt_layout_finite(drt_weights_at(w, i), &err)) fault(r, &err);
        drt_progress_at(r->options->progress, i + 1, drt_weights_count(w));
    }
    settle(r);
}

// ---- what goes with them -------------------------------------------------------------------------------------------

// "tokenizer.json (BPE)"
static void put_tokenizer_kind(drt_text *t, const char *folder, const char *file) {
    char *path = drt_path_join(folder, file);
    bool json = path && !strcmp(file, "tokenizer.json");
    json_t *o = json ? json_load_file(path, JSON_ALLOW_NUL, NULL) : NULL;
    const char *type = json_string_value(json_object_get(json_object_get(o, "model"), "type"));
    drt_text_printf(t, "tokenizer  %s (%s)", file, !json ? "SentencePiece" : type ? type : "of no named kind");
    json_decref(o);
    free(path);
}

static void put_tokenizer(report *r, const drt_model_config *c, const char *folder) {
    drt_error err = {0};
    drt_tokenizer *t = NULL;
    const drt_template *how = NULL;
    const char *file = drt_tokenizer_in_folder(folder);
    if (!file) {
        drt_text_puts(r->out, "tokenizer  none\n");
        drt_fail(&err, DRT_EIO,
                 "%s: no tokenizer.json, tokenizer.model or spiece.model; copy the one that the model was trained with",
                 folder);
        if (drt_has_decoder(c)) fault(r, &err);
    } else {
        put_tokenizer_kind(r->out, folder, file);
        if (drt_tokenizer_open(&t, folder, &err)) {
            drt_text_puts(r->out, ", not readable\n");
            fault(r, &err);
        }
    }
    if (t) {
        int tokens = drt_tokenizer_size(t), rows = c->kind == DRT_MODEL_CLIP ? c->text.vocab : c->language.vocab;
        drt_text_printf(r->out, ": %d tokens, bos %d, eos %d, pad %d, <image> %d\n", tokens, drt_tokenizer_bos(t),
                        drt_tokenizer_eos(t), drt_tokenizer_pad(t), drt_tokenizer_id(t, "<image>"));
        if (tokens > rows) {
            drt_fail(&err, DRT_ECONFIG, "%s: the tokenizer has %d tokens, but config.json says vocab_size %d", folder,
                     tokens, rows);
            fault(r, &err);
        }
    }
    if (drt_has_decoder(c)) {
        if (drt_template_choose(&how, c->conversation, folder, &err)) fault(r, &err);
        else
            drt_text_printf(r->out, "template   %s\n",
                            how ? how->name : "none that drt knows: name one with --template");
    }
    drt_tokenizer_close(t);
}

// The order of the input that the model was trained in, and what that order needs.
static void put_order(report *r, const drt_model_config *c, const char *folder) {
    drt_error err = {0};
    drt_permuter_shape shape;
    drt_gps_how how;
    drt_weights *w = NULL;
    if (c->kind != DRT_MODEL_LLAVA || c->order.order == DRT_INPUT_NONE) return;
    if (c->order.order == DRT_INPUT_TOKEN_MIXER) {
        drt_text_printf(r->out, "order      token_mixer, cosine from %g, %s the word\n", (double)c->order.tau,
                        drt_mixer_side_names[c->order.side]);
        return;
    }
    if (drt_permuter_read(folder, c->language.width, &shape, &how, &err)) {
        drt_text_puts(r->out, "order      gps\n");
        fault(r, &err);
        settle(r);
        return;
    }
    drt_text_printf(r->out, "order      gps: %d blocks of %lld, feed-forward %lld, %s at temperature %g\n",
                    shape.layers, (long long)shape.width, (long long)shape.hidden,
                    how.hard ? drt_gps_choice_names[how.choice] : "rows mixed", (double)how.tau);
    char *path = drt_path_join(folder, "gps.safetensors");
    if (!path || drt_weights_open(&w, path, &err)) fault(r, &err), settle(r);
    else put_weights(r, w, path), check_numbers(r, w);
    drt_weights_close(w);
    free(path);
}

static void put_files(report *r, const char *path) {
    drt_error err = {0};
    drt_model_files f;
    drt_model_config c;
    drt_weights *w = NULL;
    drt_status opened = drt_model_files_open(&f, path, r->options->vision, r->options->decoder, &err);
    if (!opened) {
        put_config(r, &f.config);
        for (int p = 0; p < f.parts; p++) put_weights(r, f.part[p].weights, f.part[p].folder);
        match(r, &f);
        put_order(r, &f.config, path);
        for (int p = 0; p < f.parts; p++) check_numbers(r, f.part[p].weights);
        if (f.config.kind != DRT_MODEL_VISION) put_tokenizer(r, &f.config, f.text);
        drt_model_files_close(&f);
        return;
    }
    // As much as can be told of a folder that does not open.
    fault(r, &err);
    settle(r);
    drt_error own = err;
    bool known = !drt_model_config_read(&c, path, &err);
    if (known) put_config(r, &c);
    if (!drt_weights_open(&w, path, &err)) {
        put_weights(r, w, path);
        check_numbers(r, w);
    } else if (strcmp(err.text, own.text)) fault(r, &err);
    if (known && c.kind != DRT_MODEL_VISION) put_tokenizer(r, &c, path);
    drt_weights_close(w);
}

drt_status drt_model_inspect(const char *path, const drt_inspect_options *options, drt_text *out, int *faults,
                             drt_error *err) {
    report r = {.out = out, .options = options};
    drt_error why = {0};
    drt_weights *w = NULL;
    *faults = 0;
    bool file = drt_file_exists(path);
    if (!file && !drt_is_folder(path)) return drt_fail(err, DRT_EIO, "%s: there is no such folder or file", path);
    drt_text_printf(out, "%s\n", path);
    if (!file) put_files(&r, path);
    else if (drt_weights_open(&w, path, &why)) fault(&r, &why);
    else {
        put_weights(&r, w, path);
        check_numbers(&r, w);
    }
    drt_weights_close(w);
    settle(&r);
    if (r.count) drt_text_printf(out, "faults     %d\n%s", r.count, r.faults.bytes ? r.faults.bytes : "");
    else drt_text_puts(out, file ? "faults     none\n" : "faults     none: it runs\n");
    bool failed = out->failed || r.faults.failed;
    drt_text_free(&r.faults);
    *faults = r.count;
    return failed ? drt_fail(err, DRT_ENOMEM, "no memory for a report") : DRT_OK;
}
