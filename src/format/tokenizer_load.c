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

static drt_status load_normal(const loader *l, const json_t *j, int depth) {
    static const struct {
        const char *name;
        tok_normal_kind kind;
    } kinds[] = {{"NFC", NORMAL_NFC},        {"NFD", NORMAL_NFD},         {"NFKC", NORMAL_NFKC},
                 {"NFKD", NORMAL_NFKD},      {"Lowercase", NORMAL_LOWER}, {"Prepend", NORMAL_PREPEND},
                 {"Replace", NORMAL_REPLACE}};
    drt_tokenizer *tok = l->tok;
    if (!j || json_is_null(j)) return DRT_OK;
    if (!strcmp(kind_of(j), "Sequence")) return load_normal_list(l, j, depth);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(kinds[i].name, kind_of(j))) continue;
        if (tok->normal_count == TOK_MOST_OPS) return too_many(l, "normalizer");
        tok_normal *op = &tok->normal[tok->normal_count++];
        *op = (tok_normal){.kind = kinds[i].kind};
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

static drt_status check_decoder(const loader *l, const json_t *j, int depth) {
    const json_t *list = json_object_get(j, "decoders");
    if (!j || json_is_null(j))
        return drt_fail(l->err, DRT_EFORMAT, "%s: has no decoder; only the decoder \"ByteLevel\" is supported yet",
                        l->tok->name);
    if (!strcmp(kind_of(j), "ByteLevel")) return DRT_OK;
    if (strcmp(kind_of(j), "Sequence") || json_array_size(list) != 1 || depth >= TOK_MOST_DEPTH)
        return unsupported(l, "decoder", j);
    return check_decoder(l, json_array_get(list, 0), depth + 1);
}

// Added tokens that are sought in normalised text are normalised themselves.
static drt_status normalise_added(const loader *l) {
    drt_tokenizer *tok = l->tok;
    tok_scratch s = {0};
    drt_status status = DRT_OK;
    for (int32_t i = 0; i < tok->normalised.n && !status; i++) {
        tok_added *t = &tok->normalised.at[i];
        tok_chunk in = {t->text, NULL, t->size, 0}, out;
        status = drt_tok_normalise(tok, &s, &in, &out, l->err);
        if (status || out.bytes == in.bytes) continue;
        unsigned char *copy = drt_arena_alloc(tok->arena, (size_t)out.n + 1);
        if (!copy) status = drt_tok_no_memory(tok->name, l->err);
        else {
            if (out.n) memcpy(copy, out.bytes, (size_t)out.n);
            t->text = copy;
            t->size = out.n;
        }
    }
    drt_tok_scratch_free(&s);
    drt_tok_added_sort(&tok->plain);
    drt_tok_added_sort(&tok->normalised);
    return status;
}

static drt_status load_suffix(const loader *l, const json_t *model) {
    const char *suffix = json_string_value(json_object_get(model, "end_of_word_suffix"));
    if (!suffix || !*suffix) return DRT_OK;
    if (strlen(suffix) > 100)
        return drt_fail(l->err, DRT_EFORMAT, "%s: an end_of_word_suffix of more than 100 bytes", l->tok->name);
    l->tok->bpe.suffix = drt_arena_strdup(l->tok->arena, suffix);
    l->tok->bpe.suffix_size = (uint32_t)strlen(suffix);
    return l->tok->bpe.suffix ? DRT_OK : drt_tok_no_memory(l->tok->name, l->err);
}

static drt_status load_model(const loader *l, const json_t *model, const json_t *added) {
    drt_tokenizer *tok = l->tok;
    const json_t *vocab = json_object_get(model, "vocab");
    bool bpe = !strcmp(kind_of(model), "BPE") || (!json_object_get(model, "type") && json_object_get(model, "merges"));
    if (!json_is_object(model)) return drt_fail(l->err, DRT_EFORMAT, "%s: has no \"model\" object", tok->name);
    if (!bpe) return unsupported(l, "model", model);
    if (!json_is_object(vocab))
        return drt_fail(l->err, DRT_EFORMAT, "%s: the model has no \"vocab\" object", tok->name);
    if (added && !json_is_array(added) && !json_is_null(added))
        return drt_fail(l->err, DRT_EFORMAT, "%s: \"added_tokens\" is not a list", tok->name);
    drt_status status = load_suffix(l, model);
    if (!status) status = drt_tok_vocab_load(tok, vocab, added, tok->bpe.suffix, l->err);
    return status ? status : drt_tok_bpe_load(tok, model, l->err);
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
    status = check_decoder(&l, json_object_get(root, "decoder"), 0);
    if (!status) status = load_model(&l, json_object_get(root, "model"), json_object_get(root, "added_tokens"));
    return status ? status : normalise_added(&l);
}
