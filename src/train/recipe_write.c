// A recipe for people: written back as YAML, and the list of its keys.
#include "train/recipe_keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Decodes one character of valid UTF-8 and steps over it.
static unsigned next_character(const unsigned char **p) {
    unsigned c = *(*p)++;
    if (c < 0x80) return c;
    int more = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
    c &= 0x3fu >> more;
    while (more--) c = c << 6 | (*(*p)++ & 0x3f);
    return c;
}

// Plain where nothing can be misread, else double-quoted with YAML's escapes.
static void put_string(const char *s, drt_text *out) {
    static const char safe[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./-";
    if (*s && *s != '-' && strcmp(s, "null") && !s[strspn(s, safe)]) {
        drt_text_puts(out, s);
        return;
    }
    drt_text_puts(out, "\"");
    for (const unsigned char *p = (const unsigned char *)s; *p;) {
        const unsigned char *start = p;
        unsigned c = next_character(&p);
        bool hidden = c < 0x20 || (c >= 0x7f && c <= 0xa0) || c == 0x2028 || c == 0x2029 || c == 0xfeff;
        if (c == '"' || c == '\\') drt_text_printf(out, "\\%c", (char)c);
        else if (hidden || (c & 0xfffe) == 0xfffe) drt_text_printf(out, "\\U%08X", c);
        else drt_text_add(out, start, (size_t)(p - start));
    }
    drt_text_puts(out, "\"");
}

static void put_value(const drt_recipe *recipe, const drt_recipe_key *key, drt_text *out) {
    const char *field = (const char *)recipe + key->offset;
    int64_t whole;
    double number;
    int choice;
    bool flag;
    char *text, word[64];
    switch (key->type) {
    case DRT_KEY_INT:
        memcpy(&whole, field, sizeof whole);
        drt_text_printf(out, "%lld", (long long)whole);
        break;
    case DRT_KEY_FLOAT:
        memcpy(&number, field, sizeof number);
        for (int digits = 1; digits <= 17; digits++) { // the shortest that reads back the same
            snprintf(word, sizeof word, "%.*g", digits, number);
            if (strtod(word, NULL) == number) break;
        }
        drt_text_puts(out, word);
        break;
    case DRT_KEY_BOOL:
        memcpy(&flag, field, sizeof flag);
        drt_text_puts(out, flag ? "true" : "false");
        break;
    case DRT_KEY_ENUM:
        memcpy(&choice, field, sizeof choice);
        if (drt_recipe_choice(key->choices, choice, word)) drt_text_puts(out, word);
        break;
    case DRT_KEY_STRING:
        memcpy(&text, field, sizeof text);
        put_string(text ? text : "", out);
        break;
    }
}

// Calls for a heading whenever a new section starts. Returns the key's name inside its section.
static const char *enter_section(const drt_recipe_key *key, const char **section, drt_text *out, const char *format) {
    const char *dot = strchr(key->path, '.');
    size_t n = dot ? (size_t)(dot - key->path) : 0;
    bool same = *section && !strncmp(*section, key->path, n) && strchr(*section, '.') == *section + n;
    if (dot && !same) drt_text_printf(out, format, (int)n, key->path);
    *section = dot ? key->path : NULL;
    return dot ? dot + 1 : key->path;
}

void drt_recipe_write(const drt_recipe *recipe, drt_text *out) {
    const char *section = NULL;
    for (int i = 0; i < drt_recipe_key_count; i++) {
        const drt_recipe_key *key = &drt_recipe_keys[i];
        const char *name = enter_section(key, &section, out, "%.*s:\n");
        drt_text_printf(out, "%s%s: ", section ? "  " : "", name);
        put_value(recipe, key, out);
        drt_text_puts(out, "\n");
    }
}

static bool is_among(const char *path, const char *const *list, int n) {
    for (int i = 0; i < n; i++)
        if (!strcmp(list[i], path)) return true;
    return false;
}

bool drt_recipe_differs(const drt_recipe *a, const drt_recipe *b, const char *const *skip, int n, drt_text *how) {
    drt_text one = {0}, other = {0};
    bool differ = false;
    for (int i = 0; i < drt_recipe_key_count && !differ; i++) {
        const drt_recipe_key *key = &drt_recipe_keys[i];
        if (is_among(key->path, skip, n)) continue;
        one.size = other.size = 0;
        put_value(a, key, &one);
        put_value(b, key, &other);
        differ = one.failed || other.failed || one.size != other.size || memcmp(one.bytes, other.bytes, one.size);
        if (differ && how) drt_text_printf(how, "%s: %s, then %s", key->path, one.bytes, other.bytes);
    }
    drt_text_free(&one);
    drt_text_free(&other);
    return differ;
}

static void put_default(const drt_recipe_key *key, drt_text *out) {
    static const char *const tasks[] = {"llava", "clip", "language"};
    drt_text_printf(out, "default %s", *key->value ? key->value : "empty");
    for (int i = 0; i < drt_recipe_task_default_count; i++) {
        const drt_recipe_task_default *d = &drt_recipe_task_defaults[i];
        if (!strcmp(d->path, key->path)) drt_text_printf(out, " (%s: %s)", tasks[d->task], d->value);
    }
}

void drt_recipe_help(drt_text *out) {
    const char *section = NULL;
    drt_text_puts(out, "Keys of a recipe. In the file sections are indented; on the command line write\n"
                       "optimizer.lr=1e-4, or just lr=1e-4 where the last word belongs to one key only.\n\n");
    for (int i = 0; i < drt_recipe_key_count; i++) {
        const drt_recipe_key *key = &drt_recipe_keys[i];
        const char *name = enter_section(key, &section, out, "\n%.*s\n");
        drt_text_printf(out, "  %-20s %s\n%-23s", name, key->doc, "");
        size_t from = out->size;
        drt_recipe_key_allowed(key, out);
        drt_text_printf(out, out->size - from > 60 ? ";\n%-23s" : "; %s", "");
        put_default(key, out);
        drt_text_puts(out, "\n");
    }
}
