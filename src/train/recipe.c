#include "train/recipe.h"

#include "base/file.h"
#include "train/recipe_keys.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

// Where each key's value came from: a place in the file, an override, or (both empty) its default.
typedef struct {
    size_t line, column; // from 1; 0: not in the file
    const char *override;
} origin;

typedef struct {
    drt_recipe *recipe;
    const char *path;
    yaml_parser_t parser;
    origin *origins; // one per row of the table
    drt_error err;
} loader;

static drt_status at_mark(loader *l, yaml_mark_t mark) {
    return drt_fail_in(&l->err, "%s:%zu:%zu", l->path, mark.line + 1, mark.column + 1);
}

static drt_status next_event(loader *l, yaml_event_t *event) {
    if (yaml_parser_parse(&l->parser, event)) return DRT_OK;
    yaml_parser_t *p = &l->parser;
    if (p->error == YAML_MEMORY_ERROR) return drt_fail(&l->err, DRT_ENOMEM, "%s: no memory", l->path);
    if (p->error == YAML_READER_ERROR)
        return drt_fail(&l->err, DRT_ECONFIG, "%s: byte %zu: %s", l->path, p->problem_offset, p->problem);
    drt_fail(&l->err, DRT_ECONFIG, "%s%s%s", p->problem ? p->problem : "not YAML", p->context ? ", " : "",
             p->context ? p->context : "");
    return at_mark(l, p->problem_mark);
}

static bool is_section(const char *name) {
    size_t n = strlen(name);
    for (int i = 0; i < drt_recipe_key_count; i++)
        if (!strncmp(drt_recipe_keys[i].path, name, n) && drt_recipe_keys[i].path[n] == '.') return true;
    return false;
}

static drt_status unknown_key(drt_error *err, const char *name) {
    drt_text hint = {0};
    drt_recipe_key_explain(name, &hint);
    drt_fail(err, DRT_ECONFIG, "unknown key '%.100s'; %s", name, hint.bytes ? hint.bytes : "");
    drt_text_free(&hint);
    return DRT_ECONFIG;
}

// One `name: scalar` of the file.
static drt_status read_scalar(loader *l, const char *name, yaml_mark_t at, const yaml_event_t *event) {
    const char *value = (const char *)event->data.scalar.value;
    bool plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    bool null = plain && (!*value || !strcmp(value, "~") || !strcmp(value, "null"));
    if (null && is_section(name)) return DRT_OK; // a section with nothing in it
    const drt_recipe_key *key = drt_recipe_key_find(name);
    if (!key) return unknown_key(&l->err, name), at_mark(l, at);
    origin *from = &l->origins[key - drt_recipe_keys];
    if (from->line) {
        drt_fail(&l->err, DRT_ECONFIG, "%s is given twice, first in line %zu; keep one", key->path, from->line);
        return at_mark(l, at);
    }
    *from = (origin){.line = event->start_mark.line + 1, .column = event->start_mark.column + 1};
    if (strlen(value) != event->data.scalar.length) {
        drt_fail(&l->err, DRT_ECONFIG, "%s: the value has a NUL character in it", key->path);
        return at_mark(l, event->start_mark);
    }
    if (!drt_recipe_key_set(l->recipe, key, null ? "" : value, &l->err)) return DRT_OK;
    return at_mark(l, event->start_mark);
}

static drt_status read_mapping(loader *l, const char *section);

static drt_status read_value(loader *l, const char *name, yaml_mark_t at) {
    yaml_event_t event;
    drt_status status = next_event(l, &event);
    if (status) return status;
    switch (event.type) {
    case YAML_SCALAR_EVENT: status = read_scalar(l, name, at, &event); break;
    case YAML_MAPPING_START_EVENT:
        if (is_section(name)) status = read_mapping(l, name);
        else if (drt_recipe_key_find(name))
            drt_fail(&l->err, DRT_ECONFIG, "%s takes one value, not a section", name), status = at_mark(l, at);
        else unknown_key(&l->err, name), status = at_mark(l, at);
        break;
    case YAML_SEQUENCE_START_EVENT:
        if (drt_recipe_key_find(name)) drt_fail(&l->err, DRT_ECONFIG, "%s takes one value, not a list", name);
        else unknown_key(&l->err, name);
        status = at_mark(l, at);
        break;
    default:
        drt_fail(&l->err, DRT_ECONFIG, "%s: recipes have no aliases (*name); write the value out", name);
        status = at_mark(l, event.start_mark);
    }
    yaml_event_delete(&event);
    return status;
}

// The keys between a mapping's start (already read) and its end. Sections do not nest, so neither does this deeply.
static drt_status read_mapping(loader *l, const char *section) {
    for (;;) {
        yaml_event_t event;
        drt_status status = next_event(l, &event);
        if (status) return status;
        if (event.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&event);
            return DRT_OK;
        }
        if (event.type != YAML_SCALAR_EVENT) {
            drt_fail(&l->err, DRT_ECONFIG, "a key must be a word");
            at_mark(l, event.start_mark);
            yaml_event_delete(&event);
            return DRT_ECONFIG;
        }
        drt_text name = {0};
        drt_text_printf(&name, "%s%s%s", section, *section ? "." : "", (const char *)event.data.scalar.value);
        yaml_mark_t at = event.start_mark;
        yaml_event_delete(&event);
        status = name.failed ? drt_fail(&l->err, DRT_ENOMEM, "%s: no memory", l->path) : read_value(l, name.bytes, at);
        drt_text_free(&name);
        if (status) return status;
    }
}

static drt_status read_stream(loader *l) {
    int documents = 0;
    for (;;) {
        yaml_event_t event;
        drt_status status = next_event(l, &event);
        if (status) return status;
        yaml_event_type_t type = event.type;
        yaml_mark_t at = event.start_mark;
        bool null = type == YAML_SCALAR_EVENT && !event.data.scalar.length;
        yaml_event_delete(&event);
        if (type == YAML_STREAM_END_EVENT) return DRT_OK;
        if (type == YAML_STREAM_START_EVENT || type == YAML_DOCUMENT_END_EVENT || null) continue;
        if (type == YAML_DOCUMENT_START_EVENT) {
            if (!documents++) continue;
            drt_fail(&l->err, DRT_ECONFIG, "a second document starts here; a recipe is one document");
            return at_mark(l, at);
        }
        if (type != YAML_MAPPING_START_EVENT) {
            drt_fail(&l->err, DRT_ECONFIG, "a recipe is a list of `key: value` lines");
            return at_mark(l, at);
        }
        if ((status = read_mapping(l, ""))) return status;
    }
}

static drt_status read_file(loader *l) {
    char *bytes;
    size_t size;
    drt_status status = drt_file_read(&bytes, &size, l->path, 1 << 20, &l->err);
    if (status) return status;
    if (yaml_parser_initialize(&l->parser)) {
        yaml_parser_set_input_string(&l->parser, (const unsigned char *)bytes, size);
        status = read_stream(l);
        yaml_parser_delete(&l->parser);
    } else status = drt_fail(&l->err, DRT_ENOMEM, "%s: no memory", l->path);
    free(bytes);
    return status;
}

static drt_status read_override(loader *l, const char *text) {
    const char *equals = strchr(text, '=');
    drt_status status;
    if (!equals || equals == text) {
        drt_fail(&l->err, DRT_ECONFIG, "write an override as key=value");
        return drt_fail_in(&l->err, "override '%.200s'", text);
    }
    char *name = strndup(text, (size_t)(equals - text));
    if (!name) return drt_fail(&l->err, DRT_ENOMEM, "no memory");
    const drt_recipe_key *key = drt_recipe_key_find(name);
    if (key) {
        l->origins[key - drt_recipe_keys] = (origin){.override = text};
        status = drt_recipe_key_set(l->recipe, key, equals + 1, &l->err);
    } else status = unknown_key(&l->err, name);
    free(name);
    if (status) drt_fail_in(&l->err, "override '%.200s'", text);
    return status;
}

static drt_status set_defaults(drt_recipe *recipe, drt_error *err) {
    drt_status status = DRT_OK;
    for (int i = 0; i < drt_recipe_key_count && !status; i++)
        status = drt_recipe_key_set(recipe, &drt_recipe_keys[i], drt_recipe_keys[i].value, err);
    return status;
}

// Defaults that depend on the task, for keys that nobody gave.
static drt_status set_task_defaults(loader *l) {
    for (int i = 0; i < drt_recipe_task_default_count; i++) {
        const drt_recipe_task_default *d = &drt_recipe_task_defaults[i];
        const drt_recipe_key *key = drt_recipe_key_find(d->path);
        const origin *from = &l->origins[key - drt_recipe_keys];
        if (d->task != l->recipe->task || from->line || from->override) continue;
        drt_status status = drt_recipe_key_set(l->recipe, key, d->value, &l->err);
        if (status) return status;
    }
    return DRT_OK;
}

static drt_status check_together(loader *l) {
    const drt_recipe_key *key = NULL;
    drt_status status = drt_recipe_contradiction(l->recipe, &key, &l->err);
    if (!status) return DRT_OK;
    const origin *from = &l->origins[key - drt_recipe_keys];
    if (from->override) drt_fail_in(&l->err, "override '%.200s'", from->override);
    else if (from->line) drt_fail_in(&l->err, "%s:%zu:%zu", l->path, from->line, from->column);
    else if (l->path) drt_fail_in(&l->err, "%s", l->path);
    return status;
}

drt_status drt_recipe_load(drt_recipe *recipe, const char *path, int n_overrides, const char *const *overrides,
                           drt_error *err) {
    memset(recipe, 0, sizeof *recipe);
    loader l = {.recipe = recipe, .path = path, .origins = calloc((size_t)drt_recipe_key_count, sizeof(origin))};
    if (!l.origins) return drt_fail(err, DRT_ENOMEM, "no memory for a recipe");
    drt_status status = set_defaults(recipe, &l.err);
    if (!status && path) status = read_file(&l);
    for (int i = 0; i < n_overrides && !status; i++) status = read_override(&l, overrides[i]);
    if (!status) status = set_task_defaults(&l);
    if (!status) status = check_together(&l);
    free(l.origins);
    if (status) {
        drt_recipe_free(recipe);
        if (err) *err = l.err;
    }
    return status;
}

void drt_recipe_free(drt_recipe *recipe) {
    for (int i = 0; i < drt_recipe_key_count; i++) {
        char *text;
        if (drt_recipe_keys[i].type != DRT_KEY_STRING) continue;
        memcpy(&text, (char *)recipe + drt_recipe_keys[i].offset, sizeof text);
        free(text);
    }
    memset(recipe, 0, sizeof *recipe);
}

drt_status drt_recipe_set(drt_recipe *recipe, const char *name, const char *value, drt_error *err) {
    const drt_recipe_key *key = drt_recipe_key_find(name);
    return key ? drt_recipe_key_set(recipe, key, value, err) : unknown_key(err, name);
}
