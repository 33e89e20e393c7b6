// tokenizer.model: SentencePiece's ModelProto, read field by field (protobuf's wire format, proto2), every length
// checked. Numbers of fields and their defaults are those of sentencepiece_model.proto.
#include "format/tokenizer_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- protobuf ----

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

typedef struct {
    const unsigned char *p, *end, *start; // start: of the file, for messages
    const char *name;
    drt_error *err;
} reader;

typedef struct {
    uint32_t number;
    int wire;
    uint64_t value;             // of varints and fixed widths
    const unsigned char *bytes; // of WIRE_BYTES, `size` of them
    size_t size;
} field;

static drt_status damaged(const reader *r, const char *what) {
    return drt_fail(r->err, DRT_EFORMAT,
                    "%s: byte %td: %s; this is no SentencePiece model, or it is damaged: copy it again", r->name,
                    r->p - r->start, what);
}

static drt_status read_varint(reader *r, uint64_t *value) {
    *value = 0;
    for (int shift = 0; shift < 70; shift += 7) {
        if (r->p == r->end) return damaged(r, "a number is cut off");
        unsigned char c = *r->p++;
        if (shift == 63 && c > 1) break;
        *value |= (uint64_t)(c & 0x7f) << shift;
        if (!(c & 0x80)) return DRT_OK;
    }
    return damaged(r, "a number has more than 64 bits");
}

// The next field; *more is false at the end.
static drt_status next_field(reader *r, field *f, bool *more) {
    uint64_t tag;
    *more = r->p < r->end;
    if (!*more) return DRT_OK;
    drt_status status = read_varint(r, &tag);
    if (status) return status;
    *f = (field){.number = (uint32_t)(tag >> 3), .wire = (int)(tag & 7)};
    if (tag >> 3 == 0 || tag >> 3 > 0x1fffffff) return damaged(r, "a field has no valid number");
    if (f->wire == WIRE_VARINT) return read_varint(r, &f->value);
    if (f->wire == WIRE_32 || f->wire == WIRE_64) {
        size_t n = f->wire == WIRE_32 ? 4 : 8;
        if ((size_t)(r->end - r->p) < n) return damaged(r, "a field is cut off");
        for (size_t i = 0; i < n; i++) f->value |= (uint64_t)*r->p++ << 8 * i;
        return DRT_OK;
    }
    if (f->wire != WIRE_BYTES) return damaged(r, "a field of an unknown type");
    uint64_t size;
    status = read_varint(r, &size);
    if (status) return status;
    if (size > (uint64_t)(r->end - r->p)) return damaged(r, "a field is longer than what holds it");
    f->bytes = r->p;
    f->size = (size_t)size;
    r->p += size;
    return DRT_OK;
}

static reader inside(const reader *r, const field *f) {
    return (reader){f->bytes, f->bytes + f->size, r->start, r->name, r->err};
}

// ---- what the file says ----

typedef enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4, UNUSED = 5, BYTE = 6 } piece_type;
typedef enum { UNIGRAM = 1, BPE = 2 } model_type;

typedef struct {
    const char *text;
    size_t size;
    float score;
    int type;
} piece;

typedef struct {
    piece *pieces;
    int32_t n, room;
    int model, unk, bos, eos, pad;
    bool byte_fallback, suffix_space;
    bool dummy_prefix, collapse_spaces, escape_spaces;
    const unsigned char *charsmap;
    size_t charsmap_size;
    const char *unk_surface;
    size_t unk_surface_size;
} spm;

static drt_status wrong_wire(const reader *r, const char *what) {
    return drt_fail(r->err, DRT_EFORMAT, "%s: byte %td: %s has another type than SentencePiece gives it", r->name,
                    r->p - r->start, what);
}

static drt_status read_piece(spm *m, reader r) {
    piece p = {.text = "", .type = NORMAL};
    field f;
    bool more;
    drt_status status;
    while (!(status = next_field(&r, &f, &more)) && more) {
        if (f.number == 1) {
            if (f.wire != WIRE_BYTES) return wrong_wire(&r, "a piece's text");
            p.text = (const char *)f.bytes, p.size = f.size;
        } else if (f.number == 2) {
            if (f.wire != WIRE_32) return wrong_wire(&r, "a piece's score");
            uint32_t bits = (uint32_t)f.value;
            memcpy(&p.score, &bits, sizeof bits);
        } else if (f.number == 3) {
            if (f.wire != WIRE_VARINT) return wrong_wire(&r, "a piece's type");
            p.type = f.value < 100 ? (int)f.value : 100;
        }
    }
    if (status) return status;
    if (m->n == TOK_MOST_IDS) return drt_fail(r.err, DRT_EFORMAT, "%s: more than %d pieces", r.name, TOK_MOST_IDS);
    if (m->n == m->room) {
        int32_t room = m->room ? 2 * m->room : 1024;
        piece *grown = realloc(m->pieces, (size_t)room * sizeof *grown);
        if (!grown) return drt_tok_no_memory(r.name, r.err);
        m->pieces = grown;
        m->room = room;
    }
    m->pieces[m->n++] = p;
    return DRT_OK;
}

static drt_status read_trainer(spm *m, reader r) {
    field f;
    bool more;
    drt_status status;
    while (!(status = next_field(&r, &f, &more)) && more) {
        bool number = f.number == 3 || f.number == 24 || f.number == 35 || (f.number >= 40 && f.number <= 43);
        if (number && f.wire != WIRE_VARINT) return wrong_wire(&r, "a field of trainer_spec");
        int32_t v = (int32_t)(uint32_t)f.value; // negative numbers are written with 64 bits
        switch (f.number) {
        case 3: m->model = f.value < 100 ? (int)f.value : 100; break;
        case 24: m->suffix_space = f.value; break;
        case 35: m->byte_fallback = f.value; break;
        case 40: m->unk = v; break;
        case 41: m->bos = v; break;
        case 42: m->eos = v; break;
        case 43: m->pad = v; break;
        case 44:
            if (f.wire != WIRE_BYTES) return wrong_wire(&r, "unk_surface");
            m->unk_surface = (const char *)f.bytes, m->unk_surface_size = f.size;
        }
    }
    return status;
}

static drt_status read_normalizer(spm *m, reader r) {
    field f;
    bool more;
    drt_status status;
    while (!(status = next_field(&r, &f, &more)) && more) {
        if (f.number == 2) {
            if (f.wire != WIRE_BYTES) return wrong_wire(&r, "precompiled_charsmap");
            m->charsmap = f.bytes, m->charsmap_size = f.size;
        } else if (f.number >= 3 && f.number <= 5) {
            if (f.wire != WIRE_VARINT) return wrong_wire(&r, "a field of normalizer_spec");
            *(f.number == 3 ? &m->dummy_prefix : f.number == 4 ? &m->collapse_spaces : &m->escape_spaces) = f.value;
        }
    }
    return status;
}

static drt_status read_denormalizer(reader r) {
    field f;
    bool more;
    drt_status status;
    while (!(status = next_field(&r, &f, &more)) && more)
        if (f.number == 2 && f.wire == WIRE_BYTES && f.size)
            return drt_fail(r.err, DRT_EFORMAT, "%s: a denormalizer_spec with rules is not supported", r.name);
    return status;
}

static drt_status read_model(spm *m, reader r) {
    field f;
    bool more;
    drt_status status;
    while (!(status = next_field(&r, &f, &more)) && more) {
        if (f.number < 1 || f.number > 5 || f.number == 4) continue; // self_test_data and extensions
        if (f.wire != WIRE_BYTES) return wrong_wire(&r, "a part of the model");
        if (f.number == 1) status = read_piece(m, inside(&r, &f));
        else if (f.number == 2) status = read_trainer(m, inside(&r, &f));
        else if (f.number == 3) status = read_normalizer(m, inside(&r, &f));
        else status = read_denormalizer(inside(&r, &f));
        if (status) return status;
    }
    return status;
}

// ---- checks ----

static drt_status check_piece(const drt_tokenizer *tok, const spm *m, int32_t i, drt_error *err) {
    const piece *p = &m->pieces[i];
    const char *wrong = NULL;
    if (!p->size) wrong = "is empty";
    else if (memchr(p->text, 0, p->size)) wrong = "holds a zero byte, which is not supported";
    else if (drt_tok_utf8_valid((const unsigned char *)p->text, (int64_t)p->size) < (int64_t)p->size)
        wrong = "is not UTF-8";
    else if (!isfinite(p->score)) wrong = "has a score that is no number";
    else if (p->type < NORMAL || p->type > BYTE) wrong = "has an unknown type";
    else if (p->type == UNUSED && m->model == BPE) wrong = "has the type UNUSED, which is not supported in BPE models";
    else if (p->type == BYTE && !m->byte_fallback) wrong = "is a byte, but byte_fallback is off";
    else if (p->type == NORMAL && p->size > 512) wrong = "is longer than 512 bytes";
    if (wrong) return drt_fail(err, DRT_EFORMAT, "%s: piece %d %s", tok->name, i, wrong);
    return DRT_OK;
}

static drt_status check(const drt_tokenizer *tok, const spm *m, drt_error *err) {
    static const char *const kinds[] = {"?", "unigram", "bpe", "word", "char"};
    static const char *const names[] = {"unk_id", "bos_id", "eos_id", "pad_id"};
    const int ids[] = {m->unk, m->bos, m->eos, m->pad};
    int unknown = -1;
    if (!m->n) return drt_fail(err, DRT_EFORMAT, "%s: holds no pieces; this is no SentencePiece model", tok->name);
    if (m->model != UNIGRAM && m->model != BPE)
        return drt_fail(err, DRT_EFORMAT, "%s: model_type %d (%s) is not supported; unigram and bpe are", tok->name,
                        m->model, m->model >= 0 && m->model < 5 ? kinds[m->model] : "unknown");
    if (m->suffix_space)
        return drt_fail(err, DRT_EFORMAT, "%s: treat_whitespace_as_suffix is not supported", tok->name);
    for (int32_t i = 0; i < m->n; i++) {
        drt_status status = check_piece(tok, m, i, err);
        if (status) return status;
        if (m->pieces[i].type != UNKNOWN) continue;
        if (unknown >= 0)
            return drt_fail(err, DRT_EFORMAT, "%s: pieces %d and %d are both the unknown piece", tok->name, unknown, i);
        unknown = i;
    }
    if (unknown < 0) return drt_fail(err, DRT_EFORMAT, "%s: has no piece of type UNKNOWN", tok->name);
    for (int k = 0; k < 4; k++)
        if (ids[k] >= m->n)
            return drt_fail(err, DRT_EFORMAT, "%s: trainer_spec: %s is %d, but there are %d pieces", tok->name,
                            names[k], ids[k], m->n);
    return DRT_OK;
}

// ---- the tokenizer ----

// Added tokens of tokenizer_config.json (by id), else of added_tokens.json (by text): calls `put` for each.
typedef drt_status (*put_added)(drt_tokenizer *tok, const char *text, json_int_t id, const json_t *how, void *context,
                                drt_error *err);

static drt_status each_added(drt_tokenizer *tok, const tok_beside *b, put_added put, void *context, drt_error *err) {
    const json_t *by_id = json_object_get(b->config, "added_tokens_decoder");
    const char *key;
    json_t *value;
    drt_status status = DRT_OK;
    json_object_foreach((json_t *)by_id, key, value) {
        const char *text = json_string_value(json_object_get(value, "content"));
        char *end;
        long id = strtol(key, &end, 10);
        if (!text || *end || end == key)
            return drt_fail(
                err, DRT_EFORMAT,
                "tokenizer_config.json beside %s: added_tokens_decoder: '%.40s' is no id, or has no content", tok->name,
                key);
        if (!status) status = put(tok, text, id, value, context, err);
    }
    if (by_id) return status;
    json_object_foreach(b->added, key, value) {
        if (!json_is_integer(value))
            return drt_fail(err, DRT_EFORMAT, "added_tokens.json beside %s: '%.60s' has no id", tok->name, key);
        if (!status) status = put(tok, key, json_integer_value(value), NULL, context, err);
    }
    return status;
}

typedef struct {
    int64_t count, most;
    size_t bytes;
} measured;

static drt_status measure_added(drt_tokenizer *tok, const char *text, json_int_t id, const json_t *how, void *context,
                                drt_error *err) {
    measured *m = context;
    (void)how;
    if (id < 0 || id >= TOK_MOST_IDS)
        return drt_fail(err, DRT_EFORMAT, "%s: the added token '%.60s' beside it has an id outside 0 to %d", tok->name,
                        text, TOK_MOST_IDS - 1);
    m->count++;
    m->bytes += strlen(text) + 1;
    if (id > m->most) m->most = id;
    return DRT_OK;
}

static drt_status add_added(drt_tokenizer *tok, const char *text, json_int_t id, const json_t *how, void *context,
                            drt_error *err) {
    (void)context;
    drt_status status = drt_tok_vocab_put(tok, text, strlen(text), (int32_t)id, err);
    if (status) return status;
    const json_t *special = json_object_get(how, "special");
    bool was = tok->pieces[id].special;
    // SentencePiece knows nothing of them, so that they are sought in the text as it is.
    json_t *flags = how ? json_copy((json_t *)how) : NULL;
    if (how && (!flags || json_object_set_new(flags, "normalized", json_false()))) {
        json_decref(flags);
        return drt_tok_no_memory(tok->name, err);
    }
    drt_tok_added_put(tok, (int32_t)id, special ? json_is_true(special) : was, flags);
    json_decref(flags);
    return DRT_OK;
}

static void put_user_defined(drt_tokenizer *tok, int32_t id) {
    tok_piece *p = &tok->pieces[id];
    tok_added t = {.text = (const unsigned char *)p->text, .size = (int32_t)p->text_size, .id = id};
    p->user_defined = true;
    tok->user_defined.at[tok->user_defined.n++] = t;
    // To BPE it is a symbol that never merges: it is cut out of the normalised text. Unigram prefers it by its score.
    if (!tok->is_unigram) tok->normalised.at[tok->normalised.n++] = t;
}

static drt_status load_pieces(drt_tokenizer *tok, const spm *m, const tok_beside *beside, drt_error *err) {
    measured all = {m->n, m->n - 1, 0};
    for (int32_t i = 0; i < m->n; i++) all.bytes += m->pieces[i].size + 1;
    drt_status status = each_added(tok, beside, measure_added, &all, err);
    if (!status) status = drt_tok_vocab_begin(tok, (int32_t)all.most + 1, all.count, all.bytes, err);
    if (!status) status = drt_tok_added_room(tok, all.count, err);
    // The flags of tokenizer_config.json come first: a token's first flags count.
    for (int32_t i = 0; i < m->n && !status; i++) {
        const piece *p = &m->pieces[i];
        status = drt_tok_vocab_put(tok, p->text, p->size, i, err);
        if (status) break;
        tok_piece *made = &tok->pieces[i];
        made->in_model = p->type == NORMAL || (p->type == USER_DEFINED && tok->is_unigram);
        made->special = p->type == CONTROL || p->type == UNKNOWN;
        if (p->type == USER_DEFINED) put_user_defined(tok, i);
    }
    if (!status) status = each_added(tok, beside, add_added, NULL, err);
    for (int32_t i = 0; i < m->n && !status; i++)
        if (m->pieces[i].type == CONTROL || m->pieces[i].type == UNKNOWN) drt_tok_added_put(tok, i, true, NULL);
    return status;
}

static drt_status load_unknown(drt_tokenizer *tok, const spm *m, drt_error *err) {
    for (int32_t i = 0; i < m->n; i++)
        if (m->pieces[i].type == UNKNOWN) tok->fallback.unk = i;
    tok->fallback.fuse = true;
    if (!m->byte_fallback) return DRT_OK;
    drt_status status = drt_tok_fallback_load(tok, err);
    if (status) return status;
    for (int byte = 0; byte < 256; byte++) {
        int32_t id = tok->fallback.byte_id[byte];
        if (!tok->fallback.bytes || id >= m->n || m->pieces[id].type != BYTE)
            return drt_fail(err, DRT_EFORMAT, "%s: byte_fallback is on, but <0x%02X> is no piece of type BYTE",
                            tok->name, (unsigned)byte);
    }
    return DRT_OK;
}

static drt_status load_decoding(drt_tokenizer *tok, const spm *m, drt_error *err) {
    tok_decode_op op = {.pattern = {NULL, TOK_MARK, TOK_MARK_SIZE}, .content = " "};
    tok->decoding = (tok_decoding){.kind = DECODE_CHARACTERS};
    if (m->dummy_prefix || m->collapse_spaces) {
        tok->decoding.mark = TOK_MARK;
        tok->decoding.mark_first_space = true;
        tok->decoding.collapsed = m->collapse_spaces;
    }
    drt_status status = drt_tok_decoding_prepare(tok, &op, 1, err);
    if (status) return status;
    for (int byte = 0; byte < 256 && tok->fallback.bytes; byte++)
        tok->pieces[tok->fallback.byte_id[byte]].byte = (int16_t)byte;
    tok_piece *unk = &tok->pieces[tok->fallback.unk];
    unsigned char *surface = drt_arena_alloc(tok->arena, m->unk_surface_size + 1);
    if (!surface) return drt_tok_no_memory(tok->name, err);
    memcpy(surface, m->unk_surface, m->unk_surface_size);
    unk->raw = surface;
    unk->raw_size = (uint32_t)m->unk_surface_size;
    return DRT_OK;
}

// SiglipTokenizer puts this in front of every stretch of text, and takes its pieces away again.
#define SIGLIP_FRONT "<unk>"

static bool is_siglip(const tok_beside *beside) {
    const char *class = json_string_value(json_object_get(beside->config, "tokenizer_class"));
    return class && !strcmp(class, "SiglipTokenizer");
}

// What LlamaTokenizer puts around a text: BOS unless add_bos_token is false, EOS if add_eos_token is true.
// SiglipTokenizer: EOS.
static void load_around(drt_tokenizer *tok, const tok_beside *beside) {
    tok->adds_bos &= !is_siglip(beside);
    if (tok->adds_bos) tok->before[tok->before_count++] = tok->bos;
    if (tok->eos >= 0 && (is_siglip(beside) || json_is_true(json_object_get(beside->config, "add_eos_token"))))
        tok->after[tok->after_count++] = tok->eos;
}

static drt_status load_normal(drt_tokenizer *tok, const spm *m, const tok_beside *beside, drt_error *err) {
    bool siglip = is_siglip(beside), lower = !json_is_false(json_object_get(beside->config, "do_lower_case"));
    drt_status status = siglip ? drt_tok_siglip_load(tok, lower, err) : DRT_OK;
    if (status) return status;
    tok_normal *op = &tok->normal[tok->normal_count++];
    *op = (tok_normal){.kind = NORMAL_SENTENCEPIECE,
                       .dummy_prefix = m->dummy_prefix && !siglip,
                       .goes_on = siglip,
                       .first_only = json_is_false(json_object_get(beside->config, "legacy")),
                       .collapse_spaces = m->collapse_spaces,
                       .escape_spaces = m->escape_spaces};
    return drt_tok_charsmap_load(&op->charsmap, tok->arena, m->charsmap, m->charsmap_size, tok->name, err);
}

static drt_status build(drt_tokenizer *tok, const spm *m, const tok_beside *beside, drt_error *err) {
    tok->is_unigram = m->model == UNIGRAM;
    tok->unigram.narrow = true;
    tok->bos = m->bos < 0 ? -1 : m->bos, tok->eos = m->eos < 0 ? -1 : m->eos, tok->pad = m->pad < 0 ? -1 : m->pad;
    drt_status status = load_normal(tok, m, beside, err);
    if (!status) status = load_pieces(tok, m, beside, err);
    if (!status) status = load_unknown(tok, m, err);
    double *scores = status ? NULL : drt_arena_array(tok->arena, (int64_t)tok->size + 1, sizeof *scores);
    if (!status && !scores) status = drt_tok_no_memory(tok->name, err);
    if (status) return status;
    for (int32_t i = 0; i < tok->size; i++) scores[i] = i < m->n ? (double)m->pieces[i].score : 0;
    if (tok->is_unigram) status = drt_tok_unigram_build(tok, scores, err);
    else status = drt_tok_bpe_from_scores(tok, scores, err);
    if (!status && tok->is_unigram && is_siglip(beside))
        status = drt_tok_unigram_goes_on(tok, m->dummy_prefix ? TOK_MARK SIGLIP_FRONT : SIGLIP_FRONT, err);
    if (!status) status = load_decoding(tok, m, err);
    if (!status) status = drt_tok_added_finish(tok, err);
    if (status) return status;
    tok->unk = tok->fallback.unk;
    drt_tok_names_load(tok, beside, NULL, false);
    load_around(tok, beside);
    return DRT_OK;
}

drt_status drt_tok_spm_load(drt_tokenizer *tok, const unsigned char *bytes, size_t size, const tok_beside *beside,
                            drt_error *err) {
    static const char unk_surface[] = " \xe2\x81\x87 ";
    spm m = {.model = UNIGRAM,
             .bos = 1,
             .eos = 2,
             .pad = -1,
             .dummy_prefix = true,
             .collapse_spaces = true,
             .escape_spaces = true,
             .unk_surface = unk_surface,
             .unk_surface_size = sizeof unk_surface - 1};
    drt_status status = read_model(&m, (reader){bytes, bytes + size, bytes, tok->name, err});
    if (!status) status = check(tok, &m, err);
    if (!status) status = build(tok, &m, beside, err);
    free(m.pieces);
    return status;
}
