#include "base/file.h"
#include "format/tokenizer_internal.h"

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

static drt_status read_id(const drt_tokenizer *tok, const char *text, const json_t *value, int32_t *id,
                          drt_error *err) {
    json_int_t v = json_integer_value(value);
    if (!json_is_integer(value) || v < 0 || v >= TOK_MOST_IDS)
        return drt_fail(err, DRT_EFORMAT, "%s: the id of '%.200s' is not a whole number from 0 to %d", tok->name, text,
                        TOK_MOST_IDS - 1);
    *id = (int32_t)v;
    return DRT_OK;
}

// Highest id + 1 and the bytes that all texts and what they decode to need.
static drt_status measure(drt_tokenizer *tok, const json_t *vocab, const json_t *added, size_t *bytes, drt_error *err) {
    const char *text;
    json_t *value;
    int32_t id = 0, most = -1;
    size_t index;
    *bytes = 0;
    json_object_foreach((json_t *)vocab, text, value) {
        if (read_id(tok, text, value, &id, err)) return DRT_EFORMAT;
        if (id > most) most = id;
        *bytes += 2 * (strlen(text) + 1);
    }
    json_array_foreach(added, index, value) {
        text = json_string_value(json_object_get(value, "content"));
        if (!text) return drt_fail(err, DRT_EFORMAT, "%s: added_tokens[%zu] has no \"content\"", tok->name, index);
        if (read_id(tok, text, json_object_get(value, "id"), &id, err)) return DRT_EFORMAT;
        if (id > most) most = id;
        *bytes += 2 * (strlen(text) + 1);
    }
    tok->size = most + 1;
    return DRT_OK;
}

// Bytes that the piece decodes to: letters of the byte alphabet become bytes, any other text stays (as in HF).
static unsigned char *set_raw(tok_piece *p, unsigned char *room, const char *suffix) {
    size_t n = p->text_size, tail = suffix ? strlen(suffix) : 0;
    p->ends_word = tail && n >= tail && !memcmp(p->text + n - tail, suffix, tail);
    if (p->ends_word) n -= tail;
    int32_t size = drt_tok_unletter(room, p->text, n);
    if (size < 0) memcpy(room, p->text, n), size = (int32_t)n;
    p->raw = room;
    p->raw_size = (uint32_t)size;
    return room + size;
}

static drt_status add_piece(drt_tokenizer *tok, const char *text, int32_t id, char **room, const char *suffix,
                            drt_error *err) {
    size_t n = strlen(text);
    uint32_t hash = drt_tok_hash(text, n);
    tok_slot *slot = slot_of(tok, text, n, hash);
    tok_piece *p = &tok->pieces[id];
    if (slot->id == id) return DRT_OK;
    if (slot->id >= 0)
        return drt_fail(err, DRT_EFORMAT, "%s: '%.200s' has two ids, %d and %d", tok->name, text, slot->id, id);
    if (p->text)
        return drt_fail(err, DRT_EFORMAT, "%s: id %d is given twice, to '%.200s' and to '%.200s'", tok->name, id,
                        p->text, text);
    memcpy(*room, text, n + 1);
    p->text = *room;
    p->text_size = (uint32_t)n;
    *room = (char *)set_raw(p, (unsigned char *)*room + n + 1, suffix);
    *slot = (tok_slot){hash, id};
    return DRT_OK;
}

static drt_status add_tokens(drt_tokenizer *tok, const json_t *added, char **room, drt_error *err) {
    size_t index, count = json_array_size(added);
    json_t *value;
    tok->plain.at = drt_arena_array(tok->arena, (int64_t)count + 1, sizeof(tok_added));
    tok->normalised.at = drt_arena_array(tok->arena, (int64_t)count + 1, sizeof(tok_added));
    if (!tok->plain.at || !tok->normalised.at) return drt_tok_no_memory(tok->name, err);
    json_array_foreach(added, index, value) {
        const char *text = json_string_value(json_object_get(value, "content"));
        int32_t id = (int32_t)json_integer_value(json_object_get(value, "id"));
        bool again = tok->pieces[id].added;
        drt_status status = add_piece(tok, text, id, room, NULL, err);
        if (status) return status;
        tok->pieces[id].added = true;
        tok->pieces[id].special = json_is_true(json_object_get(value, "special"));
        if (again || !*text) continue;
        const json_t *normal = json_object_get(value, "normalized");
        tok_added t = {.text = (const unsigned char *)tok->pieces[id].text,
                       .size = (int32_t)tok->pieces[id].text_size,
                       .id = id,
                       .single_word = json_is_true(json_object_get(value, "single_word")),
                       .lstrip = json_is_true(json_object_get(value, "lstrip")),
                       .rstrip = json_is_true(json_object_get(value, "rstrip")),
                       .normalized = normal ? json_is_true(normal) : !tok->pieces[id].special};
        tok_added_set *set = t.normalized ? &tok->normalised : &tok->plain;
        set->at[set->n++] = t;
    }
    return DRT_OK;
}

drt_status drt_tok_vocab_load(drt_tokenizer *tok, const json_t *vocab, const json_t *added, const char *suffix,
                              drt_error *err) {
    size_t bytes;
    const char *text;
    json_t *value;
    drt_status status = measure(tok, vocab, added, &bytes, err);
    if (status) return status;
    char *room = drt_arena_array(tok->arena, (int64_t)bytes + 1, 1);
    tok->pieces = drt_arena_array(tok->arena, (int64_t)tok->size + 1, sizeof *tok->pieces);
    int64_t entries = (int64_t)json_object_size(vocab) + (int64_t)json_array_size(added);
    tok->by_text.slots = drt_tok_slots(tok->arena, entries, &tok->by_text.mask);
    if (!room || !tok->pieces || !tok->by_text.slots) return drt_tok_no_memory(tok->name, err);
    memset(tok->pieces, 0, ((size_t)tok->size + 1) * sizeof *tok->pieces);
    json_object_foreach((json_t *)vocab, text, value) {
        status = add_piece(tok, text, (int32_t)json_integer_value(value), &room, suffix, err);
        if (status) return status;
    }
    return add_tokens(tok, added, &room, err);
}

// ---- BOS, EOS, PAD, UNK ----

static drt_status read_json(json_t **out, const char *folder, const char *file, drt_error *err) {
    char *path = drt_path_join(folder, file), *text = NULL;
    size_t size;
    json_error_t why;
    drt_status status = DRT_OK;
    *out = NULL;
    if (!path) return drt_tok_no_memory(file, err);
    if (drt_file_exists(path)) {
        status = drt_file_read(&text, &size, path, 64 << 20, err);
        if (!status && !(*out = json_loadb(text, size, 0, &why)))
            status = drt_fail(err, DRT_EFORMAT, "%s: line %d: %s", path, why.line, why.text);
    }
    free(text), free(path);
    return status;
}

// 1 and *id if `j` has the key (null means: no such token), 0 if it says nothing.
static int look_up(const drt_tokenizer *tok, const json_t *j, const char *key, int32_t *id) {
    const json_t *v = json_object_get(j, key);
    const char *text = json_string_value(json_is_object(v) ? json_object_get(v, "content") : v);
    if (!v) return 0;
    *id = text ? drt_tok_find(tok, text, strlen(text)) : -1;
    return 1;
}

// Whether a post_processor puts the token `bos` in front of a text.
static bool puts_in_front(const json_t *post, const char *bos) {
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(post, "processors"), i, one) if (puts_in_front(one, bos)) return true;
    const json_t *first = json_array_get(json_object_get(post, "single"), 0);
    const char *id = json_string_value(json_object_get(json_object_get(first, "SpecialToken"), "id"));
    if (!id) id = json_string_value(json_array_get(json_object_get(post, "cls"), 0)); // RobertaProcessing's spelling
    return id && !strcmp(id, bos);
}

drt_status drt_tok_names_load(drt_tokenizer *tok, const char *folder, const char *unk_token, const json_t *post,
                              drt_error *err) {
    static const char *const usual[4][6] = {
        {"<s>", "<|begin_of_text|>", "<|startoftext|>", "<bos>", "<|endoftext|>", NULL},
        {"</s>", "<|end_of_text|>", "<|endoftext|>", "<eos>", NULL, NULL},
        {"<pad>", "[PAD]", "<|pad|>", NULL, NULL, NULL},
        {"<unk>", "[UNK]", NULL, NULL, NULL, NULL}};
    static const char *const keys[4] = {"bos_token", "eos_token", "pad_token", "unk_token"};
    int32_t *const ids[4] = {&tok->bos, &tok->eos, &tok->pad, &tok->unk};
    json_t *config = NULL, *map = NULL;
    drt_status status = folder ? read_json(&config, folder, "tokenizer_config.json", err) : DRT_OK;
    if (!status && folder) status = read_json(&map, folder, "special_tokens_map.json", err);
    for (int k = 0; k < 4 && !status; k++) {
        *ids[k] = -1;
        if (look_up(tok, config, keys[k], ids[k]) || look_up(tok, map, keys[k], ids[k])) continue;
        if (k == 3 && unk_token) *ids[k] = drt_tok_find(tok, unk_token, strlen(unk_token));
        for (int i = 0; i < 6 && usual[k][i] && *ids[k] < 0; i++)
            *ids[k] = drt_tok_find(tok, usual[k][i], strlen(usual[k][i]));
    }
    const json_t *adds = json_object_get(config, "add_bos_token");
    if (!status && tok->bos >= 0)
        tok->adds_bos = json_is_boolean(adds)  ? json_is_true(adds)
                        : json_is_object(post) ? puts_in_front(post, tok->pieces[tok->bos].text)
                                               : true;
    json_decref(config), json_decref(map);
    return status;
}
