// The YAML file of an ablation.
#include "base/arena.h"
#include "base/file.h"
#include "base/text.h"
#include "train/ablation.h"
#include "train/recipe_keys.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { MOST_KEYS = 64 };

typedef struct {
    drt_ablation_plan *p;
    const char *path;
    yaml_document_t document;
    // What the base says for all variations, and what they say themselves.
    const char *key[DRT_EXPERIMENT_MODELS][2][MOST_KEYS];
    int n[DRT_EXPERIMENT_MODELS][2];
    const char *recipe[DRT_EXPERIMENT_MODELS][2]; // NULL: the base's
    drt_error *err;
} reader;

static drt_status no_memory(reader *r) { return drt_fail(r->err, DRT_ENOMEM, "%s: no memory", r->path); }

static drt_status fail_at(reader *r, const yaml_node_t *at) {
    return drt_fail_in(r->err, "%s:%zu:%zu", r->path, at->start_mark.line + 1, at->start_mark.column + 1);
}

// ---- keys of the file itself ---------------------------------------------------------------------------------------

static bool number(const char *s, int64_t least, int64_t most, int64_t *out) {
    char *end;
    errno = 0;
    long long v = strtoll(s, &end, 10);
    *out = v;
    return !errno && end != s && !*end && v >= least && v <= most;
}

// Cuts "a, b" into words of the arena; their number, -1 when memory is out or there are more than `most`.
static int split(drt_arena *arena, const char *value, const char **words, int most) {
    int n = 0;
    for (const char *s = value; *s;) {
        s += strspn(s, ", \t");
        size_t size = strcspn(s, ",");
        while (size && isspace((unsigned char)s[size - 1])) size--;
        if (!size) break;
        char *word = n < most ? drt_arena_array(arena, (int64_t)size + 1, 1) : NULL;
        if (!word) return -1;
        memcpy(word, s, size);
        word[size] = 0;
        words[n++] = word;
        s += strcspn(s, ",");
    }
    return n;
}

static drt_status set_seeds(drt_ablation_plan *p, const char *value, drt_error *err) {
    const char *words[DRT_ABLATION_MOST_SEEDS];
    int64_t seed;
    int n = split(p->arena, value, words, DRT_ABLATION_MOST_SEEDS);
    for (int i = 0; i < n; i++) {
        bool good = number(words[i], 0, (int64_t)1 << 53, &seed);
        for (int k = 0; good && k < i; k++) good = p->seed[k] != (uint64_t)seed;
        if (!good) return drt_fail(err, DRT_ECONFIG, "seeds: '%s' is no whole number of its own", words[i]);
        p->seed[i] = (uint64_t)seed;
    }
    if (n < 1) return drt_fail(err, DRT_ECONFIG, "seeds: name 1 to %d, as 1, 2, 3", DRT_ABLATION_MOST_SEEDS);
    p->seeds = n;
    return DRT_OK;
}

static drt_status set_tasks(drt_ablation_plan *p, const char *value, drt_error *err) {
    const char **words = drt_arena_array(p->arena, DRT_EXPERIMENT_TASKS, sizeof *words);
    int n = words ? split(p->arena, value, words, DRT_EXPERIMENT_TASKS) : -1;
    if (n < 1) return drt_fail(err, DRT_ECONFIG, "tasks: name 1 to %d, as exist, count", DRT_EXPERIMENT_TASKS);
    p->e.tasks = words;
    p->e.n_tasks = n;
    return DRT_OK;
}

static const char *const file_keys[] = {"title", "out",       "seeds",       "compute",
                                        "tasks", "questions", "world.train", "world.eval"};
enum { FILE_KEYS = sizeof file_keys / sizeof *file_keys };

static int file_key(const char *name, size_t n) {
    for (int i = 0; i < FILE_KEYS; i++)
        if (strlen(file_keys[i]) == n && !strncmp(file_keys[i], name, n)) return i;
    return -1;
}

static drt_status set(drt_ablation_plan *p, int key, const char *value, drt_error *err) {
    const char *copy = drt_arena_strdup(p->arena, value);
    int64_t *const counts[] = {&p->e.limit, &p->e.train, &p->e.eval};
    if (!copy) return drt_fail(err, DRT_ENOMEM, "no memory");
    switch (key) {
    case 0: p->e.title = copy; return DRT_OK;
    case 1: p->e.out = copy; return DRT_OK;
    case 2: return set_seeds(p, value, err);
    case 3:
        p->e.equal_compute = !strcmp(value, "equal");
        if (p->e.equal_compute || !strcmp(value, "samples")) return DRT_OK;
        return drt_fail(err, DRT_ECONFIG, "compute: '%s' is neither samples nor equal", value);
    case 4: return set_tasks(p, value, err);
    default:
        if (number(value, key > 5, 10000000, counts[key - 5])) return DRT_OK;
        return drt_fail(err, DRT_ECONFIG, "%s: '%s' is no whole number from %d to 10000000", file_keys[key], value,
                        key > 5);
    }
}

// ---- nodes ---------------------------------------------------------------------------------------------------------

typedef struct {
    yaml_node_t *key, *value;
    const char *name;
} entry;

// Entry i of a mapping; false behind the last. Names are scalars and each is there once (checked by check_mapping).
static bool entry_at(reader *r, yaml_node_t *mapping, int i, entry *out) {
    yaml_node_pair_t *pair = mapping->data.mapping.pairs.start + i;
    if (pair >= mapping->data.mapping.pairs.top) return false;
    out->key = yaml_document_get_node(&r->document, pair->key);
    out->value = yaml_document_get_node(&r->document, pair->value);
    out->name = (const char *)out->key->data.scalar.value;
    return true;
}

static drt_status check_mapping(reader *r, yaml_node_t *node, const char *what) {
    entry a, b;
    if (node->type != YAML_MAPPING_NODE) {
        drt_fail(r->err, DRT_ECONFIG, "%s: a list of `key: value` is due here", what);
        return fail_at(r, node);
    }
    for (int i = 0; entry_at(r, node, i, &a); i++) {
        if (a.key->type != YAML_SCALAR_NODE) {
            drt_fail(r->err, DRT_ECONFIG, "%s: a key must be a word", what);
            return fail_at(r, a.key);
        }
        for (int k = 0; k < i && entry_at(r, node, k, &b); k++)
            if (!strcmp(a.name, b.name)) {
                drt_fail(r->err, DRT_ECONFIG, "%s: '%s' is given twice", what, a.name);
                return fail_at(r, a.key);
            }
    }
    return DRT_OK;
}

// A scalar, or a list of scalars as "a, b"; NULL after a message. In the arena.
static const char *text_of(reader *r, const char *name, yaml_node_t *node) {
    if (node->type == YAML_SCALAR_NODE) {
        const char *copy = drt_arena_strdup(r->p->arena, (const char *)node->data.scalar.value);
        if (!copy) no_memory(r);
        return copy;
    }
    drt_text t = {0};
    bool good = node->type == YAML_SEQUENCE_NODE;
    for (yaml_node_item_t *i = node->data.sequence.items.start; good && i < node->data.sequence.items.top; i++) {
        yaml_node_t *item = yaml_document_get_node(&r->document, *i);
        good = item->type == YAML_SCALAR_NODE;
        if (good) drt_text_printf(&t, "%s%s", t.size ? ", " : "", (const char *)item->data.scalar.value);
    }
    const char *copy = good ? drt_arena_strdup(r->p->arena, t.bytes ? t.bytes : "") : NULL;
    if (!good) drt_fail(r->err, DRT_ECONFIG, "%s takes one value", name), fail_at(r, node);
    else if (!copy || t.failed) no_memory(r), copy = NULL;
    drt_text_free(&t);
    return copy;
}

static drt_status unknown(reader *r, const entry *e, const char *const *known, int n) {
    const char *near = drt_nearest(e->name, known, n);
    drt_fail(r->err, DRT_ECONFIG, "'%s' is no key here%s%s", e->name, near ? "; did you mean " : "; it takes ",
             near ? near : known[0]);
    for (int i = 1; !near && i < n; i++) {
        size_t at = strlen(r->err->text);
        snprintf(r->err->text + at, sizeof r->err->text - at, ", %s", known[i]);
    }
    return fail_at(r, e->key);
}

// Keys of recipes, into the lists of stages [first, last] of a model.
static drt_status read_keys(reader *r, yaml_node_t *node, int model, int first, int last, const char *what) {
    entry e;
    drt_status status = check_mapping(r, node, what);
    for (int i = 0; !status && entry_at(r, node, i, &e); i++) {
        const char *value = text_of(r, e.name, e.value);
        if (!value) return r->err->code;
        if (!strcmp(e.name, "recipe")) {
            if (first != last) {
                drt_fail(r->err, DRT_ECONFIG, "recipe: it is of one stage; give it under stage1 or stage2");
                return fail_at(r, e.key);
            }
            r->recipe[model][first] = value;
            continue;
        }
        size_t size = strlen(e.name) + strlen(value) + 2;
        char *line = drt_arena_array(r->p->arena, (int64_t)size, 1);
        if (!line) return no_memory(r);
        snprintf(line, size, "%s=%s", e.name, value);
        for (int stage = first; stage <= last; stage++) {
            if (r->n[model][stage] == MOST_KEYS) {
                drt_fail(r->err, DRT_ECONFIG, "%s: more than %d keys", what, MOST_KEYS);
                return fail_at(r, e.key);
            }
            r->key[model][stage][r->n[model][stage]++] = line;
        }
    }
    return status;
}

// A name as a folder: letters and digits, the rest a dash.
static char *folder_name(drt_arena *arena, const char *title) {
    char *out = drt_arena_array(arena, (int64_t)strlen(title) + 2, 1), *at = out;
    if (!out) return NULL;
    for (; *title; title++) {
        if (isalnum((unsigned char)*title)) *at++ = (char)tolower((unsigned char)*title);
        else if (at > out && at[-1] != '-') *at++ = '-';
    }
    if (at > out && at[-1] == '-') at--;
    if (at == out) *at++ = '-';
    *at = 0;
    return out;
}

static drt_status name_model(reader *r, int i, const char *title, const yaml_node_t *at) {
    drt_experiment_model *m = &r->p->model[i];
    m->title = drt_arena_strdup(r->p->arena, title);
    m->name = folder_name(r->p->arena, title);
    if (!m->title || !m->name) return no_memory(r);
    for (int k = 0; k < i; k++)
        if (!strcmp(m->name, r->p->model[k].name)) {
            drt_fail(r->err, DRT_ECONFIG, "'%s' and '%s' would share the folder %s; name one differently",
                     r->p->model[k].title, title, m->name);
            return fail_at(r, at);
        }
    return DRT_OK;
}

static drt_status read_model(reader *r, yaml_node_t *node, int model) {
    static const char *const known[] = {"stage1", "stage2", "both", "name"};
    entry e;
    bool base = model == 0;
    drt_status status = check_mapping(r, node, base ? "base" : "a variation");
    for (int i = 0; !status && entry_at(r, node, i, &e); i++) {
        if (!strcmp(e.name, "stage1")) status = read_keys(r, e.value, model, 0, 0, e.name);
        else if (!strcmp(e.name, "stage2")) status = read_keys(r, e.value, model, 1, 1, e.name);
        else if (!strcmp(e.name, "both")) status = read_keys(r, e.value, model, 0, 1, e.name);
        else if (base && !strcmp(e.name, "name")) {
            const char *name = text_of(r, e.name, e.value);
            status = name ? name_model(r, 0, name, e.value) : r->err->code;
        } else status = unknown(r, &e, known, base ? 4 : 3);
    }
    return status;
}

static drt_status read_variations(reader *r, yaml_node_t *node) {
    entry e;
    drt_status status = check_mapping(r, node, "variations");
    for (int i = 0; !status && entry_at(r, node, i, &e); i++) {
        if (r->p->e.n == DRT_EXPERIMENT_MODELS) {
            drt_fail(r->err, DRT_ECONFIG, "variations: more than %d", DRT_EXPERIMENT_MODELS - 1);
            return fail_at(r, e.key);
        }
        status = name_model(r, r->p->e.n, e.name, e.key);
        if (!status) status = read_model(r, e.value, r->p->e.n++);
    }
    return status;
}

static drt_status read_world(reader *r, yaml_node_t *node) {
    static const char *const known[] = {"train", "eval"};
    entry e;
    drt_status status = check_mapping(r, node, "world");
    for (int i = 0; !status && entry_at(r, node, i, &e); i++) {
        char name[40];
        snprintf(name, sizeof name, "world.%.20s", e.name);
        int key = file_key(name, strlen(name));
        const char *value = key < 0 ? NULL : text_of(r, name, e.value);
        if (key < 0) status = unknown(r, &e, known, 2);
        else if (!value) status = r->err->code;
        else if (set(r->p, key, value, r->err)) status = fail_at(r, e.value);
    }
    return status;
}

static drt_status read_root(reader *r, yaml_node_t *root) {
    static const char *const known[] = {"title",     "out",   "seeds", "compute",   "tasks",
                                        "questions", "world", "base",  "variations"};
    entry e;
    yaml_node_t *base = NULL, *variations = NULL;
    drt_status status = check_mapping(r, root, "the file");
    for (int i = 0; !status && entry_at(r, root, i, &e); i++) {
        int key = file_key(e.name, strlen(e.name));
        if (!strcmp(e.name, "base")) base = e.value;
        else if (!strcmp(e.name, "variations")) variations = e.value;
        else if (!strcmp(e.name, "world")) status = read_world(r, e.value);
        else if (key < 0 || key > 5) status = unknown(r, &e, known, 9);
        else {
            const char *value = text_of(r, e.name, e.value);
            if (!value) status = r->err->code;
            else if (set(r->p, key, value, r->err)) status = fail_at(r, e.value);
        }
    }
    if (status) return status;
    if (!base || !variations) {
        drt_fail(r->err, DRT_ECONFIG, "%s is missing", base ? "variations" : "base");
        return fail_at(r, root);
    }
    r->p->e.n = 1;
    status = name_model(r, 0, "base", base);
    if (!status) status = read_model(r, base, 0);
    if (!status && (!r->recipe[0][0] || !r->recipe[0][1])) {
        drt_fail(r->err, DRT_ECONFIG, "base: %s has no `recipe: FILE`", r->recipe[0][0] ? "stage2" : "stage1");
        return fail_at(r, base);
    }
    return status ? status : read_variations(r, variations);
}

static drt_status read_file(reader *r) {
    char *bytes;
    size_t size;
    yaml_parser_t parser;
    drt_status status = drt_file_read(&bytes, &size, r->path, 1 << 20, r->err);
    if (status) return status;
    if (!yaml_parser_initialize(&parser)) {
        free(bytes);
        return no_memory(r);
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)bytes, size);
    if (yaml_parser_load(&parser, &r->document)) {
        yaml_node_t *root = yaml_document_get_root_node(&r->document);
        status = root ? read_root(r, root) : drt_fail(r->err, DRT_ECONFIG, "%s: the file is empty", r->path);
        yaml_document_delete(&r->document);
    } else
        status = drt_fail(r->err, DRT_ECONFIG, "%s:%zu:%zu: %s", r->path, parser.problem_mark.line + 1,
                          parser.problem_mark.column + 1, parser.problem ? parser.problem : "not YAML");
    yaml_parser_delete(&parser);
    free(bytes);
    return status;
}

// The base's keys, then the variation's own, as one list for each stage.
static drt_status join_keys(reader *r) {
    for (int i = 0; i < r->p->e.n; i++)
        for (int stage = 0; stage < 2; stage++) {
            int shared = i ? r->n[0][stage] : 0, own = r->n[i][stage];
            const char **all = drt_arena_array(r->p->arena, shared + own + 1, sizeof *all);
            if (!all) return no_memory(r);
            memcpy(all, r->key[0][stage], (size_t)shared * sizeof *all);
            memcpy(all + shared, r->key[i][stage], (size_t)own * sizeof *all);
            r->p->model[i].recipe[stage] = r->recipe[i][stage] ? r->recipe[i][stage] : r->recipe[0][stage];
            r->p->model[i].key[stage] = all;
            r->p->model[i].n_keys[stage] = shared + own;
        }
    return DRT_OK;
}

// What is no key of the file is one of recipes: said here, before a world is drawn.
static drt_status check_recipe_key(const char *override, size_t size, drt_error *err) {
    char name[100];
    drt_text why = {0};
    snprintf(name, sizeof name, "%.*s", (int)size, override);
    if (drt_recipe_key_find(name)) return DRT_OK;
    const char *near = drt_nearest(name, file_keys, FILE_KEYS);
    if (near) drt_text_printf(&why, "did you mean %s?", near);
    else drt_recipe_key_explain(name, &why);
    drt_fail(err, DRT_ECONFIG, "override '%s': unknown key '%s'; %s", override, name, why.failed ? "" : why.bytes);
    drt_text_free(&why);
    return DRT_ECONFIG;
}

static drt_status take_overrides(drt_ablation_plan *p, int n, const char *const *overrides, drt_error *err) {
    const char **rest = drt_arena_array(p->arena, n + 1, sizeof *rest);
    if (!rest) return drt_fail(err, DRT_ENOMEM, "no memory");
    p->e.override = rest;
    for (int i = 0; i < n; i++) {
        size_t size = strcspn(overrides[i], "=");
        int key = overrides[i][size] ? file_key(overrides[i], size) : -1;
        if (key >= 0 && set(p, key, overrides[i] + size + 1, err))
            return drt_fail_in(err, "override '%s'", overrides[i]);
        if (key < 0 && overrides[i][size] && check_recipe_key(overrides[i], size, err)) return DRT_ECONFIG;
        if (key < 0 && !(rest[p->e.n_override++] = drt_arena_strdup(p->arena, overrides[i])))
            return drt_fail(err, DRT_ENOMEM, "no memory");
    }
    return DRT_OK;
}

drt_status drt_ablation_load(drt_ablation_plan *p, const char *path, int n_overrides, const char *const *overrides,
                             drt_error *err) {
    drt_error own = {0};
    *p = (drt_ablation_plan){.e = {.title = "Ablation", .out = "out/ablate", .train = 8000, .eval = 400},
                             .seed = {1, 2, 3},
                             .seeds = 3,
                             .arena = drt_arena_new(0)};
    reader *r = calloc(1, sizeof *r);
    drt_status status = r && p->arena ? DRT_OK : drt_fail(&own, DRT_ENOMEM, "%s: no memory", path);
    if (!status) {
        *r = (reader){.p = p, .path = path, .err = &own};
        status = read_file(r);
    }
    if (!status) status = join_keys(r);
    if (!status) status = take_overrides(p, n_overrides, overrides, &own);
    free(r);
    if (status) {
        drt_ablation_plan_free(p);
        if (err) *err = own;
    }
    return status;
}

void drt_ablation_plan_free(drt_ablation_plan *p) {
    drt_arena_free(p->arena);
    *p = (drt_ablation_plan){0};
}
