// The two ends of tokenizer.json: the decoder, and the post-processor as far as it says which ids stand around a text.
#include "format/tokenizer_internal.h"

#include <string.h>

static const char *kind_of(const json_t *j) {
    const char *kind = json_string_value(json_object_get(j, "type"));
    return kind ? kind : "(no type)";
}

// ---- decoder ----
// Supported: ByteLevel alone; or any number of Replace and Strip, or one Metaspace; then ByteFallback, Fuse and one
// Strip at the beginning of the whole text, each if wanted.

typedef struct {
    drt_tokenizer *tok;
    drt_error *err;
    tok_decode_op op[TOK_MOST_OPS];
    int count;
    bool bytes, metaspace, byte_runs, fuse, fused_strip; // seen so far
} decoder;

static drt_status out_of_order(const decoder *d, const json_t *j) {
    return drt_fail(d->err, DRT_EFORMAT,
                    "%s: the decoder \"%.60s\" at this place of its sequence is not supported; the order is ByteLevel "
                    "alone, or Replace, Strip or Metaspace, then ByteFallback, Fuse, Strip",
                    d->tok->name, kind_of(j));
}

static tok_decode_op *add_op(decoder *d) {
    if (d->count == TOK_MOST_OPS) return NULL;
    d->op[d->count] = (tok_decode_op){0};
    return &d->op[d->count++];
}

static drt_status too_many(const decoder *d) {
    return drt_fail(d->err, DRT_EFORMAT, "%s: more than %d decoders, or nested too deeply", d->tok->name, TOK_MOST_OPS);
}

static drt_status set_literal(const decoder *d, tok_pattern *p, const json_t *value, const json_t *j) {
    const char *text = json_string_value(value);
    int32_t code;
    bool cut;
    size_t n = text ? strlen(text) : 0;
    if (!n || drt_tok_utf8((const unsigned char *)text, (int64_t)n, &code, &cut) != (int)n)
        return drt_fail(d->err, DRT_EFORMAT, "%s: the decoder %s does not name one character", d->tok->name,
                        kind_of(j));
    *p = (tok_pattern){NULL, drt_arena_strdup(d->tok->arena, text), (int32_t)n};
    return p->literal ? DRT_OK : drt_tok_no_memory(d->tok->name, d->err);
}

static drt_status load_strip(decoder *d, const json_t *j) {
    json_int_t left = json_integer_value(json_object_get(j, "start"));
    json_int_t right = json_integer_value(json_object_get(j, "stop"));
    tok_pattern what = {0};
    drt_status status = set_literal(d, &what, json_object_get(j, "content"), j);
    if (status) return status;
    if (left < 0 || right < 0 || left > 1000 || right > 1000)
        return drt_fail(d->err, DRT_EFORMAT, "%s: the decoder Strip: start and stop are not from 0 to 1000",
                        d->tok->name);
    if (d->fuse) {
        if (right)
            return drt_fail(d->err, DRT_EFORMAT,
                            "%s: the decoder Strip behind Fuse with a stop above 0 is not supported", d->tok->name);
        d->fused_strip = true;
        d->tok->decoding.strip = what.literal;
        d->tok->decoding.strip_most = (int32_t)left;
        return DRT_OK;
    }
    tok_decode_op *op = add_op(d);
    if (!op) return too_many(d);
    *op = (tok_decode_op){.strip = true, .pattern = what, .left = (int32_t)left, .right = (int32_t)right};
    return DRT_OK;
}

static drt_status load_replace(decoder *d, const json_t *j) {
    const char *content = json_string_value(json_object_get(j, "content"));
    tok_decode_op *op = add_op(d);
    if (!op) return too_many(d);
    if (!content)
        return drt_fail(d->err, DRT_EFORMAT, "%s: the decoder Replace does not say what to put", d->tok->name);
    op->content = drt_arena_strdup(d->tok->arena, content);
    if (!op->content) return drt_tok_no_memory(d->tok->name, d->err);
    return drt_tok_pattern_load(&op->pattern, d->tok->arena, json_object_get(j, "pattern"), d->tok->name, d->err);
}

static drt_status load_metaspace(decoder *d, const json_t *j) {
    const char *scheme = json_string_value(json_object_get(j, "prepend_scheme"));
    bool never = json_is_false(json_object_get(j, "add_prefix_space")) || (scheme && !strcmp(scheme, "never"));
    tok_decode_op *op = add_op(d);
    if (!op) return too_many(d);
    drt_status status = set_literal(d, &op->pattern, json_object_get(j, "replacement"), j);
    op->content = " ";
    d->metaspace = true;
    if (!never) d->tok->decoding.mark = op->pattern.literal;
    return status;
}

static drt_status load_decoder(decoder *d, const json_t *j, int depth) {
    const char *kind = kind_of(j);
    drt_status status = DRT_OK;
    if (!strcmp(kind, "Sequence")) {
        const json_t *list = json_object_get(j, "decoders");
        if (depth >= TOK_MOST_DEPTH) return too_many(d);
        for (size_t i = 0; i < json_array_size(list) && !status; i++)
            status = load_decoder(d, json_array_get(list, i), depth + 1);
        return status;
    }
    bool alone = !strcmp(kind, "ByteLevel"), strip = !strcmp(kind, "Strip");
    bool mark = !strcmp(kind, "Metaspace"), replace = !strcmp(kind, "Replace");
    bool runs = !strcmp(kind, "ByteFallback"), fuse = !strcmp(kind, "Fuse");
    if (!alone && !strip && !mark && !replace && !runs && !fuse)
        return drt_fail(d->err, DRT_EFORMAT, "%s: the decoder \"%.60s\" is not supported yet", d->tok->name, kind);
    bool pieces_over = d->byte_runs || d->fuse, any = d->count || pieces_over;
    if (d->bytes || d->fused_strip || (alone && any) || (mark && any) || (replace && (pieces_over || d->metaspace)) ||
        (strip && !d->fuse && (d->byte_runs || d->metaspace)) || (runs && pieces_over) || (fuse && d->fuse))
        return out_of_order(d, j);
    if (alone) return d->bytes = true, DRT_OK;
    if (runs) return d->byte_runs = true, DRT_OK;
    if (fuse) return d->fuse = true, DRT_OK;
    return strip ? load_strip(d, j) : mark ? load_metaspace(d, j) : load_replace(d, j);
}

drt_status drt_tok_decoder_load(drt_tokenizer *tok, const json_t *j, drt_error *err) {
    decoder d = {.tok = tok, .err = err};
    if (!j || json_is_null(j))
        return drt_fail(err, DRT_EFORMAT, "%s: has no decoder; without one HF puts a space between all pieces",
                        tok->name);
    drt_status status = load_decoder(&d, j, 0);
    tok->decoding.kind = d.bytes ? DECODE_BYTES : d.byte_runs ? DECODE_BYTE_RUNS : DECODE_PIECES;
    if (!status) status = drt_tok_decoding_prepare(tok, d.op, d.count, err);
    for (int i = 0; i < d.count; i++) drt_tok_pattern_free(&d.op[i].pattern);
    return status;
}

// ---- post-processor ----

static drt_status put_around(drt_tokenizer *tok, bool behind, const json_t *id, drt_error *err) {
    int32_t *list = behind ? tok->after : tok->before;
    int *n = behind ? &tok->after_count : &tok->before_count;
    json_int_t v = json_integer_value(id);
    if (!json_is_integer(id) || v < 0 || v >= tok->size || !tok->pieces[v].text)
        return drt_fail(err, DRT_EFORMAT, "%s: the post_processor puts an id that no piece has (%lld)", tok->name,
                        (long long)v);
    if (*n == TOK_MOST_AROUND)
        return drt_fail(err, DRT_EFORMAT, "%s: the post_processor puts more than %d tokens on one side", tok->name,
                        TOK_MOST_AROUND);
    list[(*n)++] = (int32_t)v;
    return DRT_OK;
}

// "single" of TemplateProcessing: special tokens around one sequence A.
static drt_status load_template(drt_tokenizer *tok, const json_t *j, drt_error *err) {
    const json_t *single = json_object_get(j, "single"), *specials = json_object_get(j, "special_tokens"), *part, *id;
    int32_t inner[TOK_MOST_AROUND];
    int inner_count = tok->before_count, sequences = 0;
    size_t i, k;
    drt_status status = DRT_OK;
    memcpy(inner, tok->before, sizeof inner);
    tok->before_count = 0;
    json_array_foreach(single, i, part) {
        const char *name = json_string_value(json_object_get(json_object_get(part, "SpecialToken"), "id"));
        const json_t *ids = json_object_get(json_object_get(specials, name ? name : ""), "ids");
        sequences += json_is_object(json_object_get(part, "Sequence"));
        if (name && !json_is_array(ids))
            return drt_fail(err, DRT_EFORMAT, "%s: TemplateProcessing names '%.60s', which its special_tokens lack",
                            tok->name, name);
        json_array_foreach(ids, k, id) if (name && !status) status = put_around(tok, sequences > 0, id, err);
        if (status) return status;
    }
    if (sequences != 1)
        return drt_fail(err, DRT_EFORMAT, "%s: TemplateProcessing: \"single\" does not hold the text exactly once",
                        tok->name);
    // What earlier post-processors of a sequence put stands nearer to the text.
    for (int n = 0; n < inner_count && !status; n++) {
        json_t *value = json_integer(inner[n]);
        status = value ? put_around(tok, false, value, err) : drt_tok_no_memory(tok->name, err);
        json_decref(value);
    }
    return status;
}

static drt_status load_around(drt_tokenizer *tok, const json_t *j, int depth, drt_error *err) {
    const char *kind = kind_of(j);
    drt_status status = DRT_OK;
    if (!strcmp(kind, "ByteLevel")) return DRT_OK; // about places of pieces, which drt gives its own way
    if (!strcmp(kind, "TemplateProcessing")) return load_template(tok, j, err);
    if (!strcmp(kind, "BertProcessing") || !strcmp(kind, "RobertaProcessing")) {
        if (tok->before_count || tok->after_count)
            return drt_fail(err, DRT_EFORMAT, "%s: the post_processor \"%s\" behind another one is not supported",
                            tok->name, kind);
        status = put_around(tok, false, json_array_get(json_object_get(j, "cls"), 1), err);
        return status ? status : put_around(tok, true, json_array_get(json_object_get(j, "sep"), 1), err);
    }
    if (strcmp(kind, "Sequence") || depth >= TOK_MOST_DEPTH)
        return drt_fail(err, DRT_EFORMAT, "%s: the post_processor \"%.60s\" is not supported yet", tok->name, kind);
    const json_t *list = json_object_get(j, "processors");
    for (size_t i = 0; i < json_array_size(list) && !status; i++)
        status = load_around(tok, json_array_get(list, i), depth + 1, err);
    return status;
}

drt_status drt_tok_around_load(drt_tokenizer *tok, const json_t *post_processor, drt_error *err) {
    if (!post_processor || json_is_null(post_processor)) return DRT_OK;
    return load_around(tok, post_processor, 0, err);
}
