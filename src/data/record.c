#include "data/record.h"

#include "data/space.h"
#include "format/json_read.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_STRINGS = 4096, MOST_TURNS = 65536, MOST_PATCHES = 65536 };

// A growing array of entries of one size.
typedef struct {
    void *entry;
    size_t n, room;
} list;

typedef struct {
    bool human;
    drt_json_text text;
} said;

// The sample as it stands in the JSON: strings are still where they were read. Then everything's size is known, and
// the record is filled in one go.
typedef struct {
    const drt_record_source *from;
    list images, negatives; // drt_json_text
    list turns;             // said
    list patches;           // int16_t[DRT_PATCH_LABELS]
    drt_json_text id, caption;
    bool conversations, has_caption, wants_picture;
    drt_error fault; // the first of DRT_EDATA or DRT_ENOMEM; syntax goes first
} sample;

static void refuse(sample *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void refuse(sample *s, const char *format, ...) {
    if (s->fault.code) return;
    va_list args;
    va_start(args, format);
    vsnprintf(s->fault.text, sizeof s->fault.text, format, args);
    va_end(args);
    s->fault.code = DRT_EDATA;
}

// Room for one more of at most `most` entries; NULL: refused. What is read may be all commas and brackets, so that the
// lists would take many times the memory of the text.
static void *more(sample *s, list *l, size_t size, size_t most, const char *key) {
    if (l->n == most) {
        refuse(s, "'%s' has more than the %zu entries allowed", key, most);
        return NULL;
    }
    if (l->n == l->room) {
        size_t room = l->room ? 2 * l->room : 8;
        void *p = realloc(l->entry, room * size);
        if (!p) {
            drt_fail(&s->fault, DRT_ENOMEM, "no memory for a sample of %zu bytes", s->from->size);
            return NULL;
        }
        l->entry = p;
        l->room = room;
    }
    return (char *)l->entry + size * l->n++;
}

// ---- reading -------------------------------------------------------------------------------------------------------

// A string or an array of strings; null gives none.
static void read_strings(drt_json_reader *r, sample *s, const char *key, list *out) {
    bool many = drt_json_peek(r) == '[', first = true;
    out->n = 0;
    if (drt_json_peek(r) == 'n') {
        drt_json_skip(r);
        return;
    }
    while (many ? drt_json_element(r, &first) : first) {
        drt_json_text text = {0};
        first = false;
        if (drt_json_peek(r) == '"') drt_json_string(r, &text);
        else drt_json_skip(r);
        if (!r->why && !text.size) refuse(s, "'%s' must be a non-empty string or an array of such", key);
        drt_json_text *kept = more(s, out, sizeof *kept, MOST_STRINGS, key);
        if (kept) *kept = text;
    }
}

static void read_turn(drt_json_reader *r, sample *s) {
    drt_json_text key, from = {0}, value = {0};
    bool first = true;
    if (drt_json_peek(r) != '{') drt_json_skip(r);
    else
        while (drt_json_member(r, &first, &key)) {
            bool is_from = drt_json_is(&key, "from"), is_value = !is_from && drt_json_is(&key, "value");
            if ((!is_from && !is_value) || drt_json_peek(r) != '"') drt_json_skip(r);
            else drt_json_string(r, is_from ? &from : &value);
        }
    said *turn = more(s, &s->turns, sizeof *turn, MOST_TURNS, "conversations");
    if (!turn) return;
    *turn = (said){.human = from.bytes && drt_json_is(&from, "human"), .text = value};
    if (!from.bytes || !value.bytes)
        refuse(s, "turn %zu must have strings 'from' and 'value', without NUL characters", s->turns.n);
    else if (!turn->human && !drt_json_is(&from, "gpt"))
        refuse(s, "turn %zu is from '%.*s'; the roles are 'human' and 'gpt'", s->turns.n,
               from.size < 40 ? (int)from.size : 40, from.bytes);
}

static void read_turns(drt_json_reader *r, sample *s) {
    bool first = true, array = drt_json_peek(r) == '[';
    s->turns.n = 0;
    s->conversations = true;
    if (!array) drt_json_skip(r);
    while (array && drt_json_element(r, &first)) read_turn(r, s);
}

static bool small_integer(drt_json_reader *r, int16_t *out) {
    int64_t v;
    if (!drt_json_integer(r, &v) || v < INT16_MIN || v > INT16_MAX) return false;
    *out = (int16_t)v;
    return true;
}

static void read_patches(drt_json_reader *r, sample *s) {
    bool first = true, array = drt_json_peek(r) == '[';
    s->patches.n = 0;
    if (!array) {
        if (drt_json_peek(r) != 'n') refuse(s, "'patches' must be an array of entries");
        drt_json_skip(r);
    }
    while (array && drt_json_element(r, &first)) {
        int16_t label[DRT_PATCH_LABELS] = {0}, other;
        int n = 0;
        bool good = drt_json_peek(r) == '[', begin = true;
        if (!good) drt_json_skip(r);
        else
            for (; drt_json_element(r, &begin); n++)
                good = small_integer(r, n < DRT_PATCH_LABELS ? &label[n] : &other) && good;
        int16_t(*entry)[DRT_PATCH_LABELS] = more(s, &s->patches, sizeof *entry, MOST_PATCHES, "patches");
        if (entry) memcpy(entry, label, sizeof label);
        if (!good || n != DRT_PATCH_LABELS)
            refuse(s, "entry %zu of 'patches' must be five small integers: color, shape, size, word, background",
                   s->patches.n);
    }
}

static void read_id(drt_json_reader *r, sample *s) {
    char c = drt_json_peek(r);
    bool whole = true;
    s->id = (drt_json_text){0};
    if (c == '"') drt_json_string(r, &s->id);
    else if (c == '-' || (c >= '0' && c <= '9')) drt_json_number(r, &s->id, &whole);
    else drt_json_skip(r);
    if (!whole) s->id = (drt_json_text){0};
}

static void read_caption(drt_json_reader *r, sample *s) {
    s->has_caption = drt_json_peek(r) == '"';
    if (s->has_caption) drt_json_string(r, &s->caption);
    else drt_json_skip(r);
}

// A shard's pictures are what it holds, whatever "image" calls them.
static void read_image(drt_json_reader *r, sample *s) {
    s->wants_picture = drt_json_peek(r) != 'n';
    if (s->from->key) drt_json_skip(r);
    else read_strings(r, s, "image", &s->images);
}

static void read_sample(drt_json_reader *r, sample *s) {
    drt_json_text key;
    for (bool first = true; drt_json_member(r, &first, &key);) {
        if (drt_json_is(&key, "id")) read_id(r, s);
        else if (drt_json_is(&key, "image")) read_image(r, s);
        else if (drt_json_is(&key, "conversations")) read_turns(r, s);
        else if (drt_json_is(&key, "caption")) read_caption(r, s);
        else if (drt_json_is(&key, "negatives")) read_strings(r, s, "negatives", &s->negatives);
        else if (drt_json_is(&key, "patches")) read_patches(r, s);
        else drt_json_skip(r);
    }
    drt_json_finish(r);
    if (s->conversations ? !s->turns.n : !s->has_caption)
        refuse(s, "'conversations' must be an array of turns (or 'caption' a text)");
    if (s->from->key && s->wants_picture && !s->from->n_held)
        refuse(s, "it names a picture, and its shard has none beside it (%s.jpg, .png or .webp)", s->from->key);
}

// ---- the record ----------------------------------------------------------------------------------------------------

typedef struct {
    char *at;
    bool nul; // a text has a NUL character inside
} block;

static void *take(block *b, size_t n, size_t size) {
    void *p = b->at;
    b->at += (n * size + 7) / 8 * 8; // arrays come first, strings after them need no alignment
    return p;
}

static const char *put(block *b, const char *folder, const drt_json_text *text) {
    char *from = b->at, *to = from;
    size_t n = drt_json_decode(text, to);
    if (text->escaped && memchr(to, 0, n)) b->nul = true;
    if (n && *folder && *to != '/') {
        size_t k = strlen(folder);
        memmove(to + k + 1, to, n);
        memcpy(to, folder, k);
        to[k] = '/';
        to += k + 1;
    }
    to[n] = 0;
    b->at = to + n + 1;
    return from;
}

static const char *put_plain(block *b, const char *s) {
    return put(b, "", &(drt_json_text){.bytes = s, .size = strlen(s)});
}

static size_t room_of(const sample *s) {
    const drt_record_source *from = s->from;
    enum { PAD = 8, PLACEHOLDER = sizeof DRT_IMAGE_PLACEHOLDER };
    size_t pictures = from->key ? (size_t)from->n_held : s->images.n, held = 0;
    for (int i = 0; i < from->n_held; i++)
        held += (from->held[i].bytes ? from->held[i].size : 0) + strlen(from->held_name[i]) + 1 + PAD;
    // Every text of the JSON loses its quotes and gains a NUL: together they are no longer than the JSON.
    return sizeof(drt_record) + 8 * PAD + from->size + (from->key ? strlen(from->key) + 1 : 0) + held +
           pictures * (sizeof(char *) + sizeof(drt_held_picture) + strlen(from->folder) + 2 + PLACEHOLDER) +
           s->negatives.n * sizeof(char *) + (s->turns.n + 2) * sizeof(drt_turn) +
           s->patches.n * sizeof(int16_t[DRT_PATCH_LABELS]);
}

static void fill_images(const sample *s, block *b, const char **images, drt_held_picture *held) {
    for (size_t i = 0; i < s->images.n; i++) images[i] = put(b, s->from->folder, (drt_json_text *)s->images.entry + i);
    for (int i = 0; i < s->from->n_held; i++) {
        const drt_held_picture *p = &s->from->held[i];
        images[i] = put_plain(b, s->from->held_name[i]);
        held[i] = (drt_held_picture){.bytes = p->bytes ? memcpy(b->at, p->bytes, p->size) : NULL, .size = p->size};
        if (p->bytes) b->at += p->size;
    }
}

// A sample with a caption instead of a conversation: the placeholders, then the caption.
static void fill_caption(const sample *s, block *b, drt_record *r, drt_turn *turns) {
    char *human = b->at;
    for (int i = 0; i < r->n_images; i++, b->at += strlen(DRT_IMAGE_PLACEHOLDER))
        memcpy(b->at, DRT_IMAGE_PLACEHOLDER, strlen(DRT_IMAGE_PLACEHOLDER));
    *b->at++ = 0;
    turns[0] = (drt_turn){true, human};
    turns[1] = (drt_turn){false, put(b, "", &s->caption)};
    r->n_turns = 2;
    size_t words = drt_count_words(turns[1].text, strlen(turns[1].text)) + (r->n_images > 0);
    r->words = words > INT32_MAX ? INT32_MAX : (int32_t)words;
}

static void fill_turns(sample *s, block *b, drt_record *r, drt_turn *turns) {
    size_t words = 0;
    for (size_t i = 0; i < s->turns.n; i++) {
        const said *turn = (said *)s->turns.entry + i;
        turns[i] = (drt_turn){turn->human, put(b, "", &turn->text)};
        words += drt_count_words(turns[i].text, (size_t)(b->at - turns[i].text) - 1);
        if (b->nul) refuse(s, "turn %zu must have strings 'from' and 'value', without NUL characters", i + 1);
    }
    r->n_turns = (int)s->turns.n;
    r->words = words > INT32_MAX ? INT32_MAX : (int32_t)words;
}

static drt_record *fill(sample *s) {
    const drt_record_source *from = s->from;
    block b = {.at = malloc(room_of(s))};
    if (!b.at) {
        drt_fail(&s->fault, DRT_ENOMEM, "no memory for a sample of %zu bytes", from->size);
        return NULL;
    }
    drt_record *r = take(&b, 1, sizeof *r);
    *r = (drt_record){.index = from->index,
                      .n_images = from->key ? from->n_held : (int)s->images.n,
                      .n_negatives = (int)s->negatives.n,
                      .n_patches = (int)s->patches.n};
    const char **images = take(&b, (size_t)r->n_images, sizeof *images);
    const char **negatives = take(&b, s->negatives.n, sizeof *negatives);
    drt_held_picture *held = from->key ? take(&b, (size_t)from->n_held, sizeof *held) : NULL;
    drt_turn *turns = take(&b, s->turns.n + 2, sizeof *turns);
    r->patches = take(&b, s->patches.n, sizeof *r->patches);
    if (s->patches.n) memcpy(r->patches, s->patches.entry, s->patches.n * sizeof *r->patches);
    else r->patches = NULL;
    fill_images(s, &b, images, held);
    if (b.nul) refuse(s, "'image' must be a non-empty string or an array of such");
    for (size_t i = 0; i < s->negatives.n; i++) negatives[i] = put(&b, "", (drt_json_text *)s->negatives.entry + i);
    if (b.nul) refuse(s, "'negatives' must be a non-empty string or an array of such");
    if (s->conversations) fill_turns(s, &b, r, turns);
    else fill_caption(s, &b, r, turns);
    if (b.nul) refuse(s, "'caption' must not have NUL characters");
    b.nul = false;
    r->id = put(&b, "", &s->id);
    if (b.nul || (!*r->id && from->key)) r->id = put_plain(&b, from->key ? from->key : "");
    r->images = images, r->negatives = negatives, r->turns = turns;
    r->held = held;
    if (r->words < 1) r->words = 1;
    return r;
}

drt_status drt_record_parse(const drt_record_source *from, drt_record **out, size_t *at, char name[DRT_RECORD_NAME],
                            drt_error *err) {
    sample s = {.from = from};
    drt_json_reader reader = {.at = from->json, .end = from->json + from->size};
    drt_status bad = DRT_OK;
    read_sample(&reader, &s);
    *out = NULL;
    if (reader.why) {
        *at = (size_t)(reader.at - from->json);
        drt_record_name(from->key ? from->key : "", from->index, name);
        bad = drt_fail(err, DRT_EFORMAT, "%s", reader.why);
        if (from->no_json)
            bad = drt_fail(err, DRT_EDATA, "%s%sno JSON: byte %zu: %s", from->key ? from->key : "",
                           from->key ? ".json: " : "", *at + 1, reader.why);
    } else {
        // What is wrong with a sample is told by its name, which the block has.
        drt_record *r = s.fault.code == DRT_ENOMEM ? NULL : fill(&s);
        drt_record_name(r ? r->id : "", from->index, name);
        if (s.fault.code) {
            bad = drt_fail(err, s.fault.code, "%s", s.fault.text);
            free(r);
        } else {
            *out = r;
        }
    }
    free(s.images.entry), free(s.negatives.entry), free(s.turns.entry), free(s.patches.entry);
    return bad;
}

void drt_record_free(drt_record *r) { free(r); }

void drt_record_name(const char *id, int32_t index, char name[DRT_RECORD_NAME]) {
    if (*id) snprintf(name, DRT_RECORD_NAME, "sample %d (id '%.150s')", index, id);
    else snprintf(name, DRT_RECORD_NAME, "sample %d", index);
}

char *drt_record_id_of(const char name[DRT_RECORD_NAME]) {
    static const char mark[] = "(id '";
    const char *from = strstr(name, mark), *end = strrchr(name, '\'');
    return from ? strndup(from + sizeof mark - 1, (size_t)(end - from) - (sizeof mark - 1)) : strdup("");
}
