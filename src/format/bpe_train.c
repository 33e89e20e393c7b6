#include "format/bpe_train.h"

#include "base/file.h"
#include "base/rng.h"
#include "format/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

// ---- growing arrays and hash tables; the first failure to allocate sticks in trainer.failed ----

// Numbers found by a 64-bit key; several numbers may have one key.
typedef struct {
    uint64_t *key;
    int32_t *number; // -1: free
    uint32_t mask;   // room - 1; room 0 at the start
    int32_t n;
} table;

typedef struct {
    int64_t count;
    int32_t from, size; // in `symbols`; before the first merge also in `bytes`
} word;

typedef struct {
    int64_t count;
    int32_t left, right;
    int32_t *words; // where it stands; a word may be listed twice, or no longer have it
    int32_t n, room;
    bool done; // merged, or never to be
} pair;

typedef struct {
    int64_t count;
    int32_t pair;
} entry;

typedef struct {
    bool failed;
    drt_text bytes; // of all words, end to end
    word *words;
    int32_t word_count, word_room;
    table by_word, by_pair, by_piece;
    int32_t *symbols; // of all words, end to end
    pair *pairs;
    int32_t pair_count, pair_room;
    entry *heap;
    int32_t heap_count, heap_room;
    drt_text *pieces; // bytes of each id; specials: their text
    int32_t piece_count, special_count;
    int32_t *merges; // pair numbers in order
    int32_t merge_count, merge_room;
} trainer;

static bool grow(trainer *t, void *array, int32_t *room, int32_t n, size_t size) {
    void **p = array;
    if (t->failed) return false;
    if (n < *room) return true;
    int64_t more = *room ? 2 * (int64_t)*room : 64;
    void *grown = more <= INT32_MAX ? realloc(*p, (size_t)more * size) : NULL;
    if (!grown) return !(t->failed = true);
    *p = grown;
    *room = (int32_t)more;
    return true;
}

static uint32_t place_of(uint64_t key, uint32_t mask) { return (uint32_t)(key * 0x9e3779b97f4a7c15u >> 32) & mask; }

static void table_put(table *h, uint64_t key, int32_t number) {
    uint32_t i = place_of(key, h->mask);
    while (h->number[i] >= 0) i = (i + 1) & h->mask;
    h->key[i] = key;
    h->number[i] = number;
}

static bool table_add(trainer *t, table *h, uint64_t key, int32_t number) {
    if (t->failed) return false;
    uint32_t room = h->number ? h->mask + 1 : 0;
    if ((uint64_t)h->n * 2 >= room) {
        table old = *h;
        room = room ? 2 * room : 1024;
        h->key = malloc(room * sizeof *h->key);
        h->number = malloc(room * sizeof *h->number);
        if (!h->key || !h->number) {
            free(h->key), free(h->number);
            *h = old;
            return !(t->failed = true);
        }
        memset(h->number, 0xff, room * sizeof *h->number);
        h->mask = room - 1;
        for (uint32_t i = 0; old.number && i <= old.mask; i++)
            if (old.number[i] >= 0) table_put(h, old.key[i], old.number[i]);
        free(old.key), free(old.number);
    }
    table_put(h, key, number);
    h->n++;
    return true;
}

// The next number with this key at or after slot *at, -1 if there is none; *at moves past it.
static int32_t table_next(const table *h, uint64_t key, uint32_t *at) {
    if (!h->number) return -1;
    for (;; *at = (*at + 1) & h->mask) {
        uint32_t i = *at;
        if (h->number[i] < 0) return -1;
        if (h->key[i] == key) return *at = (i + 1) & h->mask, h->number[i];
    }
}

// ---- counting words ----

static void count_word(trainer *t, const unsigned char *w, int32_t size) {
    uint64_t key = drt_hash(w, (uint64_t)size);
    uint32_t at = place_of(key, t->by_word.mask);
    for (int32_t i; (i = table_next(&t->by_word, key, &at)) >= 0;) {
        word *known = &t->words[i];
        if (known->size == size && !memcmp(t->bytes.bytes + known->from, w, (size_t)size)) {
            known->count++;
            return;
        }
    }
    if (t->bytes.size + (size_t)size > INT32_MAX) t->failed = true;
    if (!grow(t, &t->words, &t->word_room, t->word_count, sizeof *t->words)) return;
    t->words[t->word_count] = (word){1, (int32_t)t->bytes.size, size};
    table_add(t, &t->by_word, key, t->word_count++);
    drt_text_add(&t->bytes, w, (size_t)size);
    t->failed = t->failed || t->bytes.failed;
}

static drt_status count_text(trainer *t, const drt_tokenizer *cutter, tok_scratch *s, const char *text,
                             drt_error *err) {
    size_t size = strlen(text);
    drt_status status = DRT_OK;
    if (size > 1 << 30) return drt_fail(err, DRT_EARG, "a text of %zu bytes; cut it into pieces below 2^30", size);
    tok_chunk all = {(const unsigned char *)text, NULL, (int32_t)size, 0};
    if (drt_tok_utf8_valid(all.bytes, all.n) < all.n) {
        s->clean.n = 0;
        drt_tok_clean(&s->clean, all.bytes, all.n);
        all = drt_tok_chunk_of(&s->clean);
    }
    s->first.n = 0;
    drt_tok_added_cut(&cutter->plain, &all, &s->first);
    if (s->clean.failed || s->first.failed) return drt_tok_no_memory("words of the texts", err);
    for (int32_t i = 0; i < s->first.n && !status; i++) {
        tok_range r = s->first.at[i];
        if (r.id >= 0) continue;
        tok_chunk part = drt_tok_part(&all, r.from, r.to);
        status = drt_tok_split(cutter, s, &part, err);
        for (int32_t k = 0; k < s->words.n && !status; k++)
            count_word(t, part.bytes + s->words.at[k].from, s->words.at[k].to - s->words.at[k].from);
    }
    return status;
}

static drt_status count_texts(trainer *t, const char *const *texts, int n, const char *const *special, int n_special,
                              drt_error *err) {
    drt_tokenizer cutter = {.name = (char *)"GPT-2's pattern", .split_count = 1};
    tok_scratch s = {0};
    tok_added *cut = calloc((size_t)n_special + 1, sizeof *cut);
    drt_status status = drt_tok_pattern_regex(&cutter.split[0].pattern, drt_tok_gpt2_pattern, cutter.name, err);
    cutter.split[0].keep = KEEP_ISOLATED;
    if (!cut) status = drt_tok_no_memory("special tokens", err);
    for (int i = 0; i < n_special && !status; i++)
        cut[i] = (tok_added){.text = (const unsigned char *)special[i], .size = (int32_t)strlen(special[i]), .id = i};
    cutter.plain.at = cut;
    cutter.plain.n = n_special;
    if (!status) drt_tok_added_sort(&cutter.plain);
    for (int i = 0; i < n && !status && !t->failed; i++) status = count_text(t, &cutter, &s, texts[i], err);
    drt_tok_pattern_free(&cutter.split[0].pattern);
    drt_tok_scratch_free(&s);
    free(cut);
    return status;
}

// ---- pieces ----

static int32_t find_piece(const trainer *t, const void *bytes, size_t size) {
    uint64_t key = drt_hash(bytes, size);
    uint32_t at = place_of(key, t->by_piece.mask);
    for (int32_t i; (i = table_next(&t->by_piece, key, &at)) >= 0;)
        if (t->pieces[i].size == size && !memcmp(t->pieces[i].bytes, bytes, size)) return i;
    return -1;
}

static void add_piece(trainer *t, const void *bytes, size_t size) {
    if (t->failed) return;
    drt_text_add(&t->pieces[t->piece_count], bytes, size);
    if (t->pieces[t->piece_count].failed) t->failed = true;
    else table_add(t, &t->by_piece, drt_hash(bytes, size), t->piece_count);
    t->piece_count++;
}

// Special tokens, then the bytes in the order of their letters (as HF sorts its alphabet); ids[byte] = id.
// A special token is known by the bytes that its text spells in letters, so that no merge makes its text again.
static drt_status first_pieces(trainer *t, const char *const *special, int n_special, int32_t ids[256],
                               drt_error *err) {
    for (int i = 0; i < n_special; i++) {
        size_t size = strlen(special[i]);
        unsigned char *raw = malloc(size + 1);
        if (!raw) return drt_tok_no_memory("special tokens", err);
        int32_t raw_size = drt_tok_unletter(raw, special[i], size);
        bool again = raw_size >= 0 && find_piece(t, raw, (size_t)raw_size) >= 0;
        bool spelled = raw_size >= 0,
             valid = drt_tok_utf8_valid((const unsigned char *)special[i], (int64_t)size) == (int64_t)size;
        for (int k = 0; k < i && !again; k++) again = !strcmp(special[k], special[i]);
        if (spelled) add_piece(t, raw, (size_t)raw_size);
        else t->piece_count++; // no merge can spell it
        free(raw);
        if (!size || !valid || again || raw_size == 1)
            return drt_fail(err, DRT_EARG, "special token %d, '%.200s', is %s", i, special[i],
                            !size    ? "empty"
                            : !valid ? "not UTF-8"
                            : again  ? "given twice"
                                     : "the letter of a byte");
    }
    for (int32_t letter = 0x21; letter <= 0x143; letter++) {
        int byte = drt_tok_letter_byte(letter);
        if (byte < 0) continue;
        ids[byte] = t->piece_count;
        add_piece(t, &(unsigned char){(unsigned char)byte}, 1);
    }
    return DRT_OK;
}

// ---- pairs ----

static bool better(const trainer *t, entry a, entry b) {
    const pair *p = &t->pairs[a.pair], *q = &t->pairs[b.pair];
    if (a.count != b.count) return a.count > b.count;
    if (p->left != q->left) return p->left < q->left;
    return p->right < q->right;
}

static void heap_push(trainer *t, entry e) {
    if (!grow(t, &t->heap, &t->heap_room, t->heap_count, sizeof *t->heap)) return;
    int32_t i = t->heap_count++;
    for (; i > 0 && better(t, e, t->heap[(i - 1) / 2]); i = (i - 1) / 2) t->heap[i] = t->heap[(i - 1) / 2];
    t->heap[i] = e;
}

static entry heap_pop(trainer *t) {
    entry top = t->heap[0], e = t->heap[--t->heap_count];
    int32_t i = 0;
    for (int32_t child; (child = 2 * i + 1) < t->heap_count; i = child) {
        if (child + 1 < t->heap_count && better(t, t->heap[child + 1], t->heap[child])) child++;
        if (!better(t, t->heap[child], e)) break;
        t->heap[i] = t->heap[child];
    }
    t->heap[i] = e;
    return top;
}

// The number of a pair, a new one if need be; -1: no memory.
static int32_t pair_number(trainer *t, int32_t left, int32_t right) {
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    uint32_t at = place_of(key, t->by_pair.mask);
    int32_t i = table_next(&t->by_pair, key, &at);
    if (i >= 0) return i;
    if (!grow(t, &t->pairs, &t->pair_room, t->pair_count, sizeof *t->pairs)) return -1;
    t->pairs[t->pair_count] = (pair){.left = left, .right = right};
    return table_add(t, &t->by_pair, key, t->pair_count) ? t->pair_count++ : -1;
}

static int32_t add_count(trainer *t, int32_t left, int32_t right, int32_t in_word, int64_t count) {
    int32_t i = pair_number(t, left, right);
    if (i < 0) return -1;
    pair *p = &t->pairs[i];
    p->count += count;
    bool listed = p->n && p->words[p->n - 1] == in_word;
    if (count > 0 && !listed && grow(t, &p->words, &p->room, p->n, sizeof *p->words)) p->words[p->n++] = in_word;
    return i;
}

static void count_pairs(trainer *t, const int32_t ids[256]) {
    t->symbols = malloc((t->bytes.size + 1) * sizeof *t->symbols);
    if (!t->symbols) t->failed = true;
    for (size_t i = 0; i < t->bytes.size && !t->failed; i++) t->symbols[i] = ids[(unsigned char)t->bytes.bytes[i]];
    for (int32_t i = 0; i < t->word_count && !t->failed; i++) {
        const word *w = &t->words[i];
        for (int32_t k = 0; k + 1 < w->size; k++)
            add_count(t, t->symbols[w->from + k], t->symbols[w->from + k + 1], i, w->count);
    }
    for (int32_t i = 0; i < t->pair_count && !t->failed; i++) heap_push(t, (entry){t->pairs[i].count, i});
}

// Replaces the pair in one word and moves the counts of its neighbours. New pairs are noted in `fresh` by number.
static void merge_in_word(trainer *t, int32_t index, int32_t left, int32_t right, int32_t id, table *fresh) {
    word *w = &t->words[index];
    int32_t *s = t->symbols + w->from, out = 0;
    for (int32_t i = 0; i < w->size; i++) {
        if (s[i] != left || i + 1 == w->size || s[i + 1] != right) {
            s[out++] = s[i];
            continue;
        }
        int32_t made[2] = {-1, -1};
        if (out > 0) {
            add_count(t, s[out - 1], left, index, -w->count);
            made[0] = add_count(t, s[out - 1], id, index, w->count);
        }
        if (i + 2 < w->size) {
            add_count(t, right, s[i + 2], index, -w->count);
            made[1] = add_count(t, id, s[i + 2], index, w->count);
        }
        for (int k = 0; k < 2; k++) {
            uint32_t at = place_of((uint64_t)made[k], fresh->mask);
            if (made[k] >= 0 && table_next(fresh, (uint64_t)made[k], &at) < 0)
                table_add(t, fresh, (uint64_t)made[k], made[k]);
        }
        s[out++] = id;
        i++;
    }
    w->size = out;
}

static void merge_pair(trainer *t, int32_t number, int32_t id) {
    pair p = t->pairs[number];
    table fresh = {0};
    t->pairs[number] = (pair){.left = p.left, .right = p.right, .done = true};
    for (int32_t i = 0; i < p.n && !t->failed; i++) merge_in_word(t, p.words[i], p.left, p.right, id, &fresh);
    free(p.words);
    for (uint32_t i = 0; fresh.number && i <= fresh.mask; i++) {
        int32_t k = fresh.number[i];
        if (k >= 0 && !t->pairs[k].done) heap_push(t, (entry){t->pairs[k].count, k});
    }
    free(fresh.key), free(fresh.number);
}

static void learn(trainer *t, int32_t vocab_size) {
    drt_text joined = {0};
    while (t->piece_count < vocab_size && t->heap_count && !t->failed) {
        entry e = heap_pop(t);
        pair *p = &t->pairs[e.pair];
        if (p->done || p->count < 2) continue;
        if (p->count != e.count) { // it has lost occurrences since it was pushed
            heap_push(t, (entry){p->count, e.pair});
            continue;
        }
        joined.size = 0;
        drt_text_add(&joined, t->pieces[p->left].bytes, t->pieces[p->left].size);
        drt_text_add(&joined, t->pieces[p->right].bytes, t->pieces[p->right].size);
        if (joined.failed) t->failed = true;
        // Two pairs may make the same piece; a special token's text is never made.
        int32_t id = find_piece(t, joined.bytes, joined.size);
        if (id >= 0 && id < t->special_count) {
            p->done = true;
            continue;
        }
        if (id < 0) {
            id = t->piece_count;
            add_piece(t, joined.bytes, joined.size);
        }
        if (grow(t, &t->merges, &t->merge_room, t->merge_count, sizeof *t->merges))
            t->merges[t->merge_count++] = e.pair;
        merge_pair(t, e.pair, id);
    }
    drt_text_free(&joined);
}

// ---- writing ----

static void put_letters(drt_text *out, const drt_text *bytes) {
    for (size_t i = 0; i < bytes->size; i++) {
        utf8proc_uint8_t letter[4];
        drt_text_add(out, letter,
                     (size_t)utf8proc_encode_char(drt_tok_byte_letter((unsigned char)bytes->bytes[i]), letter));
    }
}

// What stands around a text: BOS in front, where there is one.
static void put_around(const char *const *special, int32_t n_special, drt_text *out) {
    int32_t bos = 0;
    while (bos < n_special && strcmp(special[bos], "<s>") != 0) bos++;
    if (bos == n_special) {
        drt_text_puts(out, "null");
        return;
    }
    static const char *const a = "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}",
                             *const b = "{\"Sequence\":{\"id\":\"B\",\"type_id\":1}}";
    static const char *const first = "{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}}",
                             *const second = "{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":1}}";
    drt_text_printf(out,
                    "{\"type\":\"TemplateProcessing\",\"single\":[%s,%s],\"pair\":[%s,%s,%s,%s],"
                    "\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[%d],\"tokens\":[\"<s>\"]}}}",
                    first, a, first, a, second, b, bos);
}

static void put_tokenizer(const trainer *t, const char *const *special, drt_text *out) {
    drt_text piece = {0};
    drt_text_puts(out, "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[");
    for (int32_t i = 0; i < t->special_count; i++) {
        drt_text_printf(out, "%s\n{\"id\":%d,\"content\":", i ? "," : "", i);
        drt_text_json(out, special[i]);
        drt_text_puts(
            out, ",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":true}");
    }
    drt_text_puts(out, "],\n\"normalizer\":null,\n\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
                       "\"trim_offsets\":true,\"use_regex\":true},\n\"post_processor\":");
    put_around(special, t->special_count, out);
    drt_text_puts(out,
                  ",\n\"decoder\":{\"type\":\"ByteLevel\","
                  "\"add_prefix_space\":true,\"trim_offsets\":true,\"use_regex\":true},\n\"model\":{\"type\":\"BPE\","
                  "\"dropout\":null,\"unk_token\":null,\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,"
                  "\"fuse_unk\":false,\"byte_fallback\":false,\"ignore_merges\":false,\n\"vocab\":{");
    for (int32_t i = 0; i < t->piece_count; i++) {
        piece.size = 0;
        if (i >= t->special_count) put_letters(&piece, &t->pieces[i]);
        drt_text_puts(out, i ? ",\n" : "\n");
        drt_text_json(out, i < t->special_count ? special[i] : piece.bytes ? piece.bytes : "");
        drt_text_printf(out, ":%d", i);
    }
    drt_text_puts(out, "},\n\"merges\":[");
    for (int32_t i = 0; i < t->merge_count; i++) {
        const pair *p = &t->pairs[t->merges[i]];
        piece.size = 0;
        put_letters(&piece, &t->pieces[p->left]);
        drt_text_puts(&piece, " ");
        put_letters(&piece, &t->pieces[p->right]);
        drt_text_puts(out, i ? ",\n" : "\n");
        drt_text_json(out, piece.bytes ? piece.bytes : "");
    }
    drt_text_puts(out, "]}}\n");
    out->failed = out->failed || piece.failed;
    drt_text_free(&piece);
}

// "bos_token": "<s>", ... for those that are there.
static void put_names(drt_text *out, const char *const *special, int n_special) {
    static const char *const names[4][2] = {
        {"bos_token", "<s>"}, {"eos_token", "</s>"}, {"unk_token", "<unk>"}, {"pad_token", "<pad>"}};
    for (int k = 0; k < 4; k++)
        for (int i = 0; i < n_special; i++)
            if (!strcmp(special[i], names[k][1])) drt_text_printf(out, ",\n\"%s\":\"%s\"", names[k][0], names[k][1]);
}

static drt_status write_file(const char *folder, const char *name, drt_text *t, drt_error *err) {
    char *path = drt_path_join(folder, name);
    drt_status status =
        path && !t->failed ? drt_file_write(path, t->bytes, t->size, err) : drt_tok_no_memory(folder, err);
    free(path);
    drt_text_free(t);
    return status;
}

static drt_status write_all(const trainer *t, const char *const *special, int n_special, const char *folder,
                            drt_error *err) {
    drt_text out = {0};
    drt_status status = drt_make_folders(folder, err);
    if (status) return status;
    put_tokenizer(t, special, &out);
    status = write_file(folder, "tokenizer.json", &out, err);
    if (status) return status;
    drt_text_puts(&out, "{\"tokenizer_class\":\"PreTrainedTokenizerFast\",\n\"clean_up_tokenization_spaces\":false");
    put_names(&out, special, n_special);
    drt_text_puts(&out, "}\n");
    status = write_file(folder, "tokenizer_config.json", &out, err);
    if (status) return status;
    put_names(&out, special, n_special);
    if (out.size) out.bytes[0] = '{'; // in place of the first comma
    drt_text_puts(&out, out.size ? "}\n" : "{}\n");
    return write_file(folder, "special_tokens_map.json", &out, err);
}

static void trainer_free(trainer *t, int32_t pieces) {
    table *tables[] = {&t->by_word, &t->by_pair, &t->by_piece};
    for (int i = 0; i < 3; i++) free(tables[i]->key), free(tables[i]->number);
    for (int32_t i = 0; i < t->pair_count; i++) free(t->pairs[i].words);
    for (int32_t i = 0; i < pieces && t->pieces; i++) drt_text_free(&t->pieces[i]);
    drt_text_free(&t->bytes);
    free(t->words), free(t->symbols), free(t->pairs), free(t->heap), free(t->pieces), free(t->merges);
}

drt_status drt_bpe_train(const char *const *texts, int n, int vocab_size, const char *const *special, int n_special,
                         const char *out_folder, drt_error *err) {
    int32_t ids[256];
    if (n < 0 || n_special < 0 || n_special > TOK_MOST_IDS || vocab_size < 256 + n_special || vocab_size > TOK_MOST_IDS)
        return drt_fail(err, DRT_EARG,
                        "a vocabulary of %d pieces: it must hold 256 bytes and %d special tokens, and at most "
                        "%d pieces",
                        vocab_size, n_special, TOK_MOST_IDS);
    trainer t = {.special_count = n_special};
    t.pieces = calloc((size_t)vocab_size, sizeof *t.pieces);
    if (!t.pieces) return drt_tok_no_memory(out_folder, err);
    drt_status status = first_pieces(&t, special, n_special, ids, err);
    if (!status) status = count_texts(&t, texts, n, special, n_special, err);
    if (!status) count_pairs(&t, ids);
    if (!status) learn(&t, vocab_size);
    if (!status && t.failed) status = drt_tok_no_memory(out_folder, err);
    if (!status) status = write_all(&t, special, n_special, out_folder, err);
    trainer_free(&t, vocab_size);
    return status;
}
