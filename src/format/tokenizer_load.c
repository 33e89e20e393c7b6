#include "format/tokenizer_internal.h"

#include <string.h>

typedef struct {
    drt_tokenizer *tok;
    drt_error *err;
} loader;

static const char *kind_of(const json_t *j) {
    const char *kind = json_string_value(json_object_get(j, "type"));
    return kind ? kind : "(no type)";
}

static drt_status unsupported(const loader *l, const char *part, const json_t *j) {
    return drt_fail(l->err, DRT_EFORMAT, "%s: the %s \"%.60s\" is not supported yet", l->tok->name, part, kind_of(j));
}

static drt_status too_many(const loader *l, const char *part) {
    return drt_fail(l->err, DRT_EFORMAT, "%s: more than %d %ss, or nested too deeply", l->tok->name, TOK_MOST_OPS,
                    part);
}

// ---- normalisers ----

static drt_status load_normal(const loader *l, const json_t *j, int depth);

static drt_status load_normal_list(const loader *l, const json_t *j, int depth) {
    const json_t *list = json_object_get(j, "normalizers");
    drt_status status = DRT_OK;
    if (depth >= TOK_MOST_DEPTH) return too_many(l, "normalizer");
    for (size_t i = 0; i < json_array_size(list) && !status; i++)
        status = load_normal(l, json_array_get(list, i), depth + 1);
    return status;
}

static drt_status load_precompiled(const loader *l, const json_t *j, tok_normal *op) {
    const char *text = json_string_value(json_object_get(j, "precompiled_charsmap"));
    if (!text)
        return drt_fail(l->err, DRT_EFORMAT, "%s: the normalizer Precompiled has no precompiled_charsmap",
                        l->tok->name);
    return drt_tok_charsmap_base64(&op->charsmap, l->tok->arena, text, l->tok->name, l->err);
}

static drt_status load_normal(const loader *l, const json_t *j, int depth) {
    static const struct {
        const char *name;
        tok_normal_kind kind;
    } kinds[] = {{"NFC", NORMAL_NFC},         {"NFD", NORMAL_NFD},         {"NFKC", NORMAL_NFKC},
                 {"NFKD", NORMAL_NFKD},       {"Lowercase", NORMAL_LOWER}, {"Prepend", NORMAL_PREPEND},
                 {"Replace", NORMAL_REPLACE}, {"Strip", NORMAL_STRIP},     {"Precompiled", NORMAL_PRECOMPILED}};
    drt_tokenizer *tok = l->tok;
    if (!j || json_is_null(j)) return DRT_OK;
    if (!strcmp(kind_of(j), "Sequence")) return load_normal_list(l, j, depth);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(kinds[i].name, kind_of(j))) continue;
        if (tok->normal_count == TOK_MOST_OPS) return too_many(l, "normalizer");
        tok_normal *op = &tok->normal[tok->normal_count++];
        *op = (tok_normal){.kind = kinds[i].kind};
        op->left = json_is_true(json_object_get(j, "strip_left"));
        op->right = json_is_true(json_object_get(j, "strip_right"));
        if (op->kind == NORMAL_PRECOMPILED) return load_precompiled(l, j, op);
        if (op->kind < NORMAL_PREPEND) return DRT_OK;
        const char *content = json_string_value(json_object_get(j, op->kind == NORMAL_PREPEND ? "prepend" : "content"));
        if (!content)
            return drt_fail(l->err, DRT_EFORMAT, "%s: the normalizer %s does not say what to put", tok->name,
                            kind_of(j));
        op->content = drt_arena_strdup(tok->arena, content);
        if (!op->content) return drt_tok_no_memory(tok->name, l->err);
        if (op->kind == NORMAL_PREPEND) return DRT_OK;
        return drt_tok_pattern_load(&op->pattern, tok->arena, json_object_get(j, "pattern"), tok->name, l->err);
    }
    return unsupported(l, "normalizer", j);
}

// ---- pre-tokenizers ----

// A new last split, NULL if there is no room for it.
static tok_split *add_split(const loader *l, tok_split_kind kind, tok_keep keep) {
    drt_tokenizer *tok = l->tok;
    if (tok->split_count == TOK_MOST_OPS) return NULL;
    tok_split *op = &tok->split[tok->split_count++];
    *op = (tok_split){.kind = kind, .keep = keep};
    return op;
}

static drt_status add_simple(const loader *l, tok_split_kind kind, tok_keep keep) {
    return add_split(l, kind, keep) ? DRT_OK : too_many(l, "pre_tokenizer");
}

static drt_status add_regex(const loader *l, const char *regex, tok_keep keep, bool invert) {
    tok_split *op = add_split(l, SPLIT_PATTERN, keep);
    if (!op) return too_many(l, "pre_tokenizer");
    op->invert = invert;
    return drt_tok_pattern_regex(&op->pattern, regex, l->tok->name, l->err);
}

static drt_status load_byte_level(const loader *l, const json_t *j) {
    const json_t *regex = json_object_get(j, "use_regex");
    drt_status status = DRT_OK;
    if (json_is_true(json_object_get(j, "add_prefix_space"))) status = add_simple(l, SPLIT_PREFIX_SPACE, KEEP_ISOLATED);
    if (!status && !json_is_false(regex)) status = add_regex(l, drt_tok_gpt2_pattern, KEEP_ISOLATED, false);
    return status ? status : add_simple(l, SPLIT_BYTE_LETTERS, KEEP_ISOLATED);
}

// Both notations: add_prefix_space, and prepend_scheme with split.
static drt_status load_metaspace(const loader *l, const json_t *j) {
    static const char *const schemes[] = {"always", "first", "never"};
    drt_tokenizer *tok = l->tok;
    const char *mark = json_string_value(json_object_get(j, "replacement"));
    const json_t *value = json_object_get(j, "prepend_scheme");
    const char *scheme = value ? json_string_value(value) : "always";
    int prefix = 0;
    while (prefix < 3 && (!scheme || strcmp(scheme, schemes[prefix]))) prefix++;
    if (prefix == 3)
        return drt_fail(l->err, DRT_EFORMAT, "%s: Metaspace: prepend_scheme is not always, first or never", tok->name);
    if (json_is_false(json_object_get(j, "add_prefix_space"))) {
        if (prefix == PREFIX_FIRST)
            return drt_fail(l->err, DRT_EFORMAT, "%s: Metaspace: add_prefix_space contradicts prepend_scheme \"first\"",
                            tok->name);
        prefix = PREFIX_NEVER;
    }
    if (!mark || !*mark || strlen(mark) > 4)
        return drt_fail(l->err, DRT_EFORMAT, "%s: Metaspace: replacement is not one character", tok->name);
    for (int i = 0; i < 2; i++) {
        if (i && json_is_false(json_object_get(j, "split"))) break;
        tok_split *op = add_split(l, i ? SPLIT_PATTERN : SPLIT_METASPACE, KEEP_NEXT);
        if (!op) return too_many(l, "pre_tokenizer");
        op->prefix = (tok_prefix)prefix;
        op->pattern = (tok_pattern){NULL, drt_arena_strdup(tok->arena, mark), (int32_t)strlen(mark)};
        if (!op->pattern.literal) return drt_tok_no_memory(tok->name, l->err);
    }
    return DRT_OK;
}

static drt_status read_keep(const loader *l, const json_t *j, tok_keep *keep) {
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    const json_t *value = json_object_get(j, "behavior");
    const char *name = value ? json_string_value(value) : "Isolated";
    for (int i = 0; name && i < 5; i++)
        if (!strcmp(name, names[i])) return *keep = (tok_keep)i, DRT_OK;
    return drt_fail(l->err, DRT_EFORMAT, "%s: pre_tokenizer %s: unknown behavior \"%.40s\"", l->tok->name, kind_of(j),
                    name ? name : "");
}

static drt_status load_split(const loader *l, const json_t *j, int depth) {
    const char *kind = kind_of(j);
    drt_status status = DRT_OK;
    tok_keep keep = KEEP_ISOLATED;
    if (!j || json_is_null(j)) return DRT_OK;
    if (!strcmp(kind, "Sequence")) {
        const json_t *list = json_object_get(j, "pretokenizers");
        if (depth >= TOK_MOST_DEPTH) return too_many(l, "pre_tokenizer");
        for (size_t i = 0; i < json_array_size(list) && !status; i++)
            status = load_split(l, json_array_get(list, i), depth + 1);
        return status;
    }
    if (!strcmp(kind, "ByteLevel")) return load_byte_level(l, j);
    if (!strcmp(kind, "Metaspace")) return load_metaspace(l, j);
    if (!strcmp(kind, "Whitespace")) // \w+|[^\w\s]+ with the \w of UTS 18
#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}"
        return add_regex(l, "[" WORD "]+|[^" WORD "\\s]+", KEEP_REMOVED, true);
#undef WORD
    if (!strcmp(kind, "WhitespaceSplit")) return add_simple(l, SPLIT_SPACE, KEEP_REMOVED);
    if (!strcmp(kind, "Digits")) {
        bool each = json_is_true(json_object_get(j, "individual_digits"));
        return add_simple(l, SPLIT_DIGITS, each ? KEEP_ISOLATED : KEEP_CONTIGUOUS);
    }
    bool pattern = !strcmp(kind, "Split");
    if (!pattern && strcmp(kind, "Punctuation")) return unsupported(l, "pre_tokenizer", j);
    status = read_keep(l, j, &keep);
    if (status || !pattern) return status ? status : add_simple(l, SPLIT_PUNCTUATION, keep);
    tok_split *op = add_split(l, SPLIT_PATTERN, keep);
    if (!op) return too_many(l, "pre_tokenizer");
    op->invert = json_is_true(json_object_get(j, "invert"));
    return drt_tok_pattern_load(&op->pattern, l->tok->arena, json_object_get(j, "pattern"), l->tok->name, l->err);
}

// ---- the rest ----

static drt_status load_suffix(const loader *l, const json_t *model) {
    const char *suffix = json_string_value(json_object_get(model, "end_of_word_suffix"));
    if (!suffix || !*suffix) return DRT_OK;
    if (strlen(suffix) > 100)
        return drt_fail(l->err, DRT_EFORMAT, "%s: an end_of_word_suffix of more than 100 bytes", l->tok->name);
    l->tok->bpe.suffix = drt_arena_strdup(l->tok->arena, suffix);
    l->tok->bpe.suffix_size = (uint32_t)strlen(suffix);
    return l->tok->bpe.suffix ? DRT_OK : drt_tok_no_memory(l->tok->name, l->err);
}

static drt_status load_unigram(const loader *l, const json_t *model) {
    drt_tokenizer *tok = l->tok;
    const json_t *vocab = json_object_get(model, "vocab"), *unk = json_object_get(model, "unk_id");
    double *scores = drt_arena_array(tok->arena, (int64_t)tok->size + 1, sizeof *scores);
    if (!scores) return drt_tok_no_memory(tok->name, l->err);
    for (size_t i = 0; i < json_array_size(vocab); i++)
        scores[i] = json_number_value(json_array_get(json_array_get(vocab, i), 1));
    if (unk && !json_is_null(unk)) {
        json_int_t id = json_integer_value(unk);
        if (!json_is_integer(unk) || id < 0 || id >= (json_int_t)json_array_size(vocab))
            return drt_fail(l->err, DRT_EFORMAT, "%s: unk_id is not the number of a piece (0 to %zu)", tok->name,
                            json_array_size(vocab) - 1);
        tok->fallback.unk = (int32_t)id;
    }
    tok->fallback.fuse = true;
    drt_status status = DRT_OK;
    if (json_is_true(json_object_get(model, "byte_fallback"))) status = drt_tok_fallback_load(tok, l->err);
    return status ? status : drt_tok_unigram_build(tok, scores, l->err);
}

static drt_status load_model(const loader *l, const json_t *model, const json_t *added) {
    drt_tokenizer *tok = l->tok;
    const json_t *vocab = json_object_get(model, "vocab"), *type = json_object_get(model, "type");
    bool bpe = !strcmp(kind_of(model), "BPE") || (!type && json_object_get(model, "merges"));
    bool unigram = !strcmp(kind_of(model), "Unigram") || (!type && json_is_array(vocab));
    if (!json_is_object(model)) return drt_fail(l->err, DRT_EFORMAT, "%s: has no \"model\" object", tok->name);
    if (!bpe && !unigram) return unsupported(l, "model", model);
    if (bpe && !json_is_object(vocab))
        return drt_fail(l->err, DRT_EFORMAT, "%s: the model has no \"vocab\" object", tok->name);
    if (unigram && (!json_is_array(vocab) || !json_array_size(vocab)))
        return drt_fail(l->err, DRT_EFORMAT, "%s: the model has no \"vocab\" list of pieces and scores", tok->name);
    if (added && !json_is_array(added) && !json_is_null(added))
        return drt_fail(l->err, DRT_EFORMAT, "%s: \"added_tokens\" is not a list", tok->name);
    if (unigram && tok->bpe.byte_level)
        return drt_fail(l->err, DRT_EFORMAT, "%s: Unigram behind the pre_tokenizer ByteLevel is not supported",
                        tok->name);
    drt_status status = bpe ? load_suffix(l, model) : DRT_OK;
    if (!status) status = drt_tok_vocab_load(tok, vocab, added, l->err);
    if (status) return status;
    return bpe ? drt_tok_bpe_load(tok, model, l->err) : load_unigram(l, model);
}

drt_status drt_tok_load(drt_tokenizer *tok, const json_t *root, drt_error *err) {
    loader l = {tok, err};
    if (!json_is_object(root)) return drt_fail(err, DRT_EFORMAT, "%s: is not a JSON object", tok->name);
    drt_status status = load_normal(&l, json_object_get(root, "normalizer"), 0);
    if (!status) status = load_split(&l, json_object_get(root, "pre_tokenizer"), 0);
    if (status) return status;
    // Letters of bytes at the end of the sequence are left out: the model then works on the bytes themselves.
    if (tok->split_count && tok->split[tok->split_count - 1].kind == SPLIT_BYTE_LETTERS) {
        tok->split_count--;
        tok->bpe.byte_level = true;
    }
    status = load_model(&l, json_object_get(root, "model"), json_object_get(root, "added_tokens"));
    if (!status) status = drt_tok_decoder_load(tok, json_object_get(root, "decoder"), err);
    if (!status) status = drt_tok_around_load(tok, json_object_get(root, "post_processor"), err);
    return status ? status : drt_tok_added_finish(tok, err);
}
