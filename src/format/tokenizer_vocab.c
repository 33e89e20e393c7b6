#include "format/tokenizer_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- hash tables ----

static uint64_t mix(uint64_t h, uint64_t x) {
    h = (h ^ x) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

static uint64_t load(const unsigned char *p, size_t n) { // n <= 8
    uint64_t x = 0;
    uint32_t a, b;
    if (n >= 4) return memcpy(&a, p, 4), memcpy(&b, p + n - 4, 4), (uint64_t)b << 32 | a;
    for (size_t i = 0; i < n; i++) x = x << 8 | p[i];
    return x;
}

uint32_t drt_tok_hash(const void *bytes, size_t n) {
    const unsigned char *p = bytes;
    uint64_t h = mix(0x51ed270b0a1f39c3u, n);
    for (; n > 8; n -= 8, p += 8) h = mix(h, load(p, 8));
    h = mix(h, load(p, n));
    return (uint32_t)(h >> 32 ^ h);
}

tok_slot *drt_tok_slots(drt_arena *a, int64_t entries, uint32_t *mask) {
    uint32_t room = 16;
    while (room < 2 * entries) room *= 2;
    tok_slot *slots = drt_arena_array(a, room, sizeof *slots);
    if (!slots) return NULL;
    for (uint32_t i = 0; i < room; i++) slots[i] = (tok_slot){0, -1};
    *mask = room - 1;
    return slots;
}

// The slot of a text: its own, or the free one where it belongs.
static tok_slot *slot_of(const drt_tokenizer *tok, const char *text, size_t n, uint32_t hash) {
    uint32_t i = hash & tok->by_text.mask;
    for (;; i = (i + 1) & tok->by_text.mask) {
        tok_slot *s = &tok->by_text.slots[i];
        if (s->id < 0) return s;
        const tok_piece *p = &tok->pieces[s->id];
        if (s->hash == hash && p->text_size == n && !memcmp(p->text, text, n)) return s;
    }
}

int32_t drt_tok_find(const drt_tokenizer *tok, const char *text, size_t n) {
    return slot_of(tok, text, n, drt_tok_hash(text, n))->id;
}

int32_t drt_tok_find_in_model(const drt_tokenizer *tok, const char *text, size_t n) {
    int32_t id = drt_tok_find(tok, text, n);
    return id >= 0 && tok->pieces[id].in_model ? id : -1;
}

// ---- the byte alphabet ----

static bool stands_for_itself(int byte) { return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad); }

int32_t drt_tok_byte_letter(int byte) {
    if (stands_for_itself(byte)) return byte;
    if (byte <= 0x20) return 0x100 + byte;
    return byte == 0xad ? 0x143 : 0x121 + byte - 0x7f;
}

int drt_tok_letter_byte(int32_t code) {
    if (code < 0x100) return stands_for_itself(code) ? code : -1;
    if (code <= 0x120) return code - 0x100;
    if (code <= 0x142) return code - 0x121 + 0x7f;
    return code == 0x143 ? 0xad : -1;
}

int32_t drt_tok_unletter(unsigned char *out, const char *text, size_t n) {
    int32_t size = 0;
    for (size_t i = 0; i < n;) {
        int32_t code;
        bool cut;
        int step = drt_tok_utf8((const unsigned char *)text + i, (int64_t)(n - i), &code, &cut);
        int byte = step > 0 ? drt_tok_letter_byte(code) : -1;
        if (byte < 0) return -1;
        out[size++] = (unsigned char)byte;
        i += (size_t)step;
    }
    return size;
}

// ---- pieces ----

drt_status drt_tok_vocab_begin(drt_tokenizer *tok, int32_t size, int64_t entries, size_t bytes, drt_error *err) {
    // A few bytes of file must not ask for much memory. True vocabularies have few gaps, if any.
    if (size > 16 * entries + 65536)
        return drt_fail(err, DRT_EFORMAT,
                        "%s: the id %d is far above what %lld pieces need; the file is damaged, or was not written by "
                        "a tokenizer",
                        tok->name, size - 1, (long long)entries);
    tok->size = size;
    tok->texts = drt_arena_array(tok->arena, (int64_t)bytes + 1, 1);
    tok->pieces = drt_arena_array(tok->arena, (int64_t)size + 1, sizeof *tok->pieces);
    tok->by_text.slots = drt_tok_slots(tok->arena, entries, &tok->by_text.mask);
    if (!tok->texts || !tok->pieces || !tok->by_text.slots) return drt_tok_no_memory(tok->name, err);
    memset(tok->pieces, 0, ((size_t)size + 1) * sizeof *tok->pieces);
    return DRT_OK;
}

drt_status drt_tok_vocab_put(drt_tokenizer *tok, const char *text, size_t n, int32_t id, drt_error *err) {
    uint32_t hash = drt_tok_hash(text, n);
    tok_slot *slot = slot_of(tok, text, n, hash);
    tok_piece *p = &tok->pieces[id];
    if (slot->id == id) return DRT_OK;
    int shown = n < 200 ? (int)n : 200; // of a tokenizer.model the text has no NUL
    if (slot->id >= 0)
        return drt_fail(err, DRT_EFORMAT, "%s: '%.*s' has two ids, %d and %d", tok->name, shown, text, slot->id, id);
    if (p->text)
        return drt_fail(err, DRT_EFORMAT, "%s: id %d is given twice, to '%.200s' and to '%.*s'", tok->name, id, p->text,
                        shown, text);
    if (n > TOK_MOST_PIECE)
        return drt_fail(err, DRT_EFORMAT, "%s: the piece with id %d has %zu bytes, more than %d; no vocabulary does",
                        tok->name, id, n, TOK_MOST_PIECE);
    memcpy(tok->texts, text, n);
    tok->texts[n] = 0;
    *p = (tok_piece){.text = tok->texts, .text_size = (uint32_t)n, .byte = -1};
    tok->texts += n + 1;
    *slot = (tok_slot){hash, id};
    return DRT_OK;
}

// ---- of tokenizer.json ----

static drt_status read_id(const drt_tokenizer *tok, const char *text, const json_t *value, int32_t *id,
                          drt_error *err) {
    json_int_t v = json_integer_value(value);
    if (!json_is_integer(value) || v < 0 || v >= TOK_MOST_IDS)
        return drt_fail(err, DRT_EFORMAT, "%s: the id of '%.200s' is not a whole number from 0 to %d", tok->name, text,
                        TOK_MOST_IDS - 1);
    *id = (int32_t)v;
    return DRT_OK;
}

// The vocabulary of Unigram is a list of [piece, score], the others' an object {piece: id}.
static const char *listed_piece(const json_t *vocab, size_t i) {
    return json_string_value(json_array_get(json_array_get(vocab, i), 0));
}

// Highest id + 1 and the bytes of all texts.
static drt_status measure(const drt_tokenizer *tok, const json_t *vocab, const json_t *added, int32_t *size,
                          size_t *bytes, drt_error *err) {
    const char *text;
    json_t *value;
    int32_t id = 0, most = -1;
    size_t index;
    *bytes = 0;
    if (json_array_size(vocab) > TOK_MOST_IDS)
        return drt_fail(err, DRT_EFORMAT, "%s: %zu pieces, more than %d", tok->name, json_array_size(vocab),
                        TOK_MOST_IDS);
    json_array_foreach(vocab, index, value) {
        if (!(text = listed_piece(vocab, index)) || !json_is_number(json_array_get(value, 1)))
            return drt_fail(err, DRT_EFORMAT, "%s: vocab[%zu] is not [\"piece\", score]", tok->name, index);
        *bytes += strlen(text) + 1;
        most = (int32_t)index;
    }
    json_object_foreach((json_t *)vocab, text, value) {
        if (read_id(tok, text, value, &id, err)) return DRT_EFORMAT;
        if (id > most) most = id;
        *bytes += strlen(text) + 1;
    }
    json_array_foreach(added, index, value) {
        text = json_string_value(json_object_get(value, "content"));
        if (!text) return drt_fail(err, DRT_EFORMAT, "%s: added_tokens[%zu] has no \"content\"", tok->name, index);
        if (read_id(tok, text, json_object_get(value, "id"), &id, err)) return DRT_EFORMAT;
        if (id > most) most = id;
        *bytes += strlen(text) + 1;
    }
    *size = most + 1;
    return DRT_OK;
}

static drt_status put_in_model(drt_tokenizer *tok, const char *text, int32_t id, drt_error *err) {
    const char *suffix = tok->bpe.suffix;
    size_t n = strlen(text), tail = suffix ? strlen(suffix) : 0;
    drt_status status = drt_tok_vocab_put(tok, text, n, id, err);
    if (status) return status;
    tok_piece *p = &tok->pieces[id];
    p->in_model = true;
    p->ends_word = tail && n >= tail && !memcmp(text + n - tail, suffix, tail);
    return DRT_OK;
}

drt_status drt_tok_vocab_load(drt_tokenizer *tok, const json_t *vocab, const json_t *added, drt_error *err) {
    size_t bytes, index, listed = json_array_size(vocab);
    int32_t size = 0;
    const char *text;
    json_t *value;
    drt_status status = measure(tok, vocab, added, &size, &bytes, err);
    int64_t entries = (int64_t)(json_object_size(vocab) + listed + json_array_size(added));
    if (!status) status = drt_tok_vocab_begin(tok, size, entries, bytes, err);
    for (size_t i = 0; i < listed && !status; i++) status = put_in_model(tok, listed_piece(vocab, i), (int32_t)i, err);
    if (status) return status;
    json_object_foreach((json_t *)vocab, text, value) {
        status = put_in_model(tok, text, (int32_t)json_integer_value(value), err);
        if (status) return status;
    }
    status = drt_tok_added_room(tok, (int64_t)json_array_size(added), err);
    if (status) return status;
    json_array_foreach(added, index, value) {
        text = json_string_value(json_object_get(value, "content"));
        int32_t id = (int32_t)json_integer_value(json_object_get(value, "id"));
        status = drt_tok_vocab_put(tok, text, strlen(text), id, err);
        if (status) return status;
        drt_tok_added_put(tok, id, json_is_true(json_object_get(value, "special")), value);
    }
    return DRT_OK;
}

// ---- what no piece covers ----

drt_status drt_tok_fallback_load(drt_tokenizer *tok, drt_error *err) {
    tok_fallback *f = &tok->fallback;
    int found = 0, lacking = -1;
    for (int byte = 255; byte >= 0; byte--) {
        char text[16];
        snprintf(text, sizeof text, "<0x%02X>", (unsigned)byte);
        f->byte_id[byte] = drt_tok_find(tok, text, 6);
        if (f->byte_id[byte] >= 0) found++;
        else lacking = byte;
    }
    f->bytes = found == 256;
    if (!found || found == 256) return DRT_OK;
    return drt_fail(err, DRT_EFORMAT,
                    "%s: byte_fallback needs the pieces <0x00> to <0xFF>, and <0x%02X> is missing; add them all, or "
                    "set byte_fallback to false",
                    tok->name, (unsigned)lacking);
}

bool drt_tok_piece_room(tok_scratch *s, int32_t n) {
    if (n <= s->piece_room) return true;
    int32_t *ids = realloc(s->ids, (size_t)n * sizeof *ids);
    if (ids) s->ids = ids;
    int32_t *ends = ids ? realloc(s->ends, (size_t)n * sizeof *ends) : NULL;
    if (ends) s->ends = ends;
    if (ends) s->piece_room = n;
    return ends;
}

drt_status drt_tok_put_unknown(const drt_tokenizer *tok, tok_scratch *s, const unsigned char *w, int32_t from,
                               int32_t to, int32_t *n, bool *open, drt_error *err) {
    const tok_fallback *f = &tok->fallback;
    if (f->bytes) {
        for (int32_t i = from; i < to; i++) s->ids[*n] = f->byte_id[w[i]], s->ends[(*n)++] = i + 1;
        *open = false;
        return DRT_OK;
    }
    if (f->unk < 0 && !tok->is_unigram && tok->bpe.byte_level)
        return drt_fail(err, DRT_EDATA, "%s: has no piece for the byte 0x%02x and no unk_token", tok->name, w[from]);
    if (f->unk < 0)
        return drt_fail(err, DRT_EDATA, "%s: has no piece for '%.*s' and no unk_token", tok->name, (int)(to - from),
                        (const char *)w + from);
    if (*open && f->fuse) s->ends[*n - 1] = to;
    else s->ids[*n] = f->unk, s->ends[(*n)++] = to;
    *open = true;
    return DRT_OK;
}
