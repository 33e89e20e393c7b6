#include "data/conversation.h"

#include "data/space.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { PLACEHOLDER = sizeof DRT_IMAGE_PLACEHOLDER - 1 };
static const char eos_name[] = "</s>";

// What a conversation looks like on paper: the text, where its placeholders stand and which bytes are trained on.
typedef struct {
    size_t from, to;
} span;
typedef struct {
    drt_text text;
    span *image, *learn; // in order; learn: answers and their ends
    int images, learns;
    bool open;       // for generation: nothing is trained on
    const char *eos; // how the tokenizer spells the end of an answer
} script;

static void script_free(script *s) {
    drt_text_free(&s->text);
    free(s->image);
    free(s->learn);
}

static int count(const char *text) {
    int n = 0;
    for (const char *p = text; (p = strstr(p, DRT_IMAGE_PLACEHOLDER)); p += PLACEHOLDER) n++;
    return n;
}

// A first turn that is not human is dropped, as LLaVA does. Returns how many were.
static int drop(const drt_turn **turns, int *n) {
    if (!*n || (*turns)->human) return 0;
    ++*turns, --*n;
    return 1;
}

static drt_status check_order(const drt_turn *turns, int n, int dropped, drt_error *err) {
    if (n < 1) return drt_fail(err, DRT_EDATA, "no human turn; put the question in front of the answer");
    for (int i = 0; i < n; i++) {
        int nth = i + dropped + 1;
        if (turns[i].human != (i % 2 == 0))
            return drt_fail(err, DRT_EDATA, "turn %d is the %s's like the one before; join the two or drop one", nth,
                            turns[i].human ? "human" : "assistant");
        if (!turns[i].human && !*turns[i].text)
            return drt_fail(err, DRT_EDATA, "turn %d: the answer is empty; write one or drop the question", nth);
    }
    return DRT_OK;
}

static drt_status check_images(const drt_turn *turns, int n, int images, drt_error *err) {
    int total = 0, with = 0;
    for (int i = 0; i < n; i++) {
        int k = count(turns[i].text);
        total += k, with += k > 0;
    }
    if (images == 1 && with != 1)
        return drt_fail(err, DRT_EDATA,
                        "1 image, but %d turns have the placeholder " DRT_IMAGE_PLACEHOLDER "; put it into exactly one",
                        with);
    if (images > 1 && total != images)
        return drt_fail(err, DRT_EDATA,
                        "%d images, but %d placeholders " DRT_IMAGE_PLACEHOLDER
                        "; write one for each image, where it belongs",
                        images, total);
    return DRT_OK;
}

drt_status drt_conversation_check(const drt_template *how, const drt_turn *turns, int n, int images, drt_error *err) {
    int dropped = drop(&turns, &n);
    drt_status bad = check_order(turns, n, dropped, err);
    if (!bad && n < 2) bad = drt_fail(err, DRT_EDATA, "no answer to train on; give the conversation one");
    if (!bad) bad = check_images(turns, n, images, err);
    if (bad || !how || !how->caption) return bad;
    if (n != 2)
        return drt_fail(err, DRT_EDATA,
                        "%d turns, but template '%s' takes two; use another template or split the "
                        "sample",
                        n, how->name);
    if (images && count(turns[1].text))
        return drt_fail(err, DRT_EDATA, "turn %d: " DRT_IMAGE_PLACEHOLDER " in a caption; move it to the human turn",
                        dropped + 2);
    return DRT_OK;
}

// Turns into `out` as LLaVA cleans it: all placeholders become one line at the front.
static void clean(const char *text, drt_text *out) {
    drt_text rest = {0};
    const char *p = text, *hit;
    for (; (hit = strstr(p, DRT_IMAGE_PLACEHOLDER)); p = hit + PLACEHOLDER) drt_text_add(&rest, p, (size_t)(hit - p));
    drt_text_puts(&rest, p);
    const char *s = rest.bytes;
    size_t n = rest.size;
    if (!rest.failed) drt_strip(&s, &n);
    drt_text_puts(out, DRT_IMAGE_PLACEHOLDER);
    if (n && !rest.failed) {
        drt_text_puts(out, "\n");
        drt_text_add(out, s, n);
    }
    if (rest.failed) out->failed = true;
    drt_text_free(&rest);
}

// The text of turn i of a sample with images, before its placeholders are marked.
static void turn_text(const drt_template *how, const drt_turn *turns, int i, int images, bool in_front, drt_text *out) {
    const char *text = turns[i].text;
    if (how->caption && i == 0) {
        for (int k = 0; k < images; k++) drt_text_puts(out, DRT_IMAGE_PLACEHOLDER);
    } else if (images == 1 && (count(text) || (in_front && i == 0))) {
        clean(text, out);
    } else {
        for (int k = 0; in_front && i == 0 && k < images; k++) drt_text_puts(out, DRT_IMAGE_PLACEHOLDER "\n");
        drt_text_puts(out, text);
    }
}

// Notes where the placeholders behind `from` stand; there is room for `images` of them.
static void mark_images(script *s, size_t from, int images) {
    if (s->text.failed || s->text.size == from) return;
    for (const char *p = s->text.bytes + from; (p = strstr(p, DRT_IMAGE_PLACEHOLDER)); p += PLACEHOLDER) {
        size_t at = (size_t)(p - s->text.bytes);
        if (s->images < images) s->image[s->images] = (span){at, at + PLACEHOLDER};
        s->images++;
    }
}

static void add_turn(script *s, const drt_template *how, const drt_turn *turns, int i, int images, bool in_front) {
    size_t from = s->text.size;
    turn_text(how, turns, i, images, in_front, &s->text);
    if (images) mark_images(s, from, images);
}

static void add_end(script *s, const char *end) {
    const char *at = strstr(end, eos_name);
    if (!at) {
        drt_text_puts(&s->text, end);
        return;
    }
    drt_text_add(&s->text, end, (size_t)(at - end));
    drt_text_puts(&s->text, s->eos);
    drt_text_puts(&s->text, at + sizeof eos_name - 1);
}

static void add_system(script *s, const drt_template *how) {
    if (!*how->system) return;
    drt_text_puts(&s->text, how->system_before);
    drt_text_puts(&s->text, how->system);
    drt_text_puts(&s->text, how->system_after);
}

// Prints the conversation. The turns have been checked; `open`: it ends with an answer still to be written.
static drt_status print(script *s, const drt_template *how, const drt_turn *turns, int n, int images, bool open,
                        drt_error *err) {
    bool in_front = open && images > 0;
    for (int i = 0; i < n; i++) in_front = in_front && !count(turns[i].text);
    s->image = calloc((size_t)images + 1, sizeof *s->image);
    s->learn = calloc((size_t)n + 1, sizeof *s->learn);
    if (!s->image || !s->learn) return drt_fail(err, DRT_ENOMEM, "no memory for a conversation of %d turns", n);
    if (!how->system_inside) add_system(s, how);
    for (int i = 0; i < n; i++) {
        if (turns[i].human) {
            drt_text_puts(&s->text, i ? how->human_next : how->human_first);
            if (!i && how->system_inside) add_system(s, how);
            add_turn(s, how, turns, i, images, in_front);
            drt_text_puts(&s->text, how->human_end);
            if (open && i == n - 1) drt_text_puts(&s->text, how->assistant);
            continue;
        }
        drt_text_puts(&s->text, how->assistant);
        span *learn = &s->learn[s->learns++];
        learn->from = s->text.size;
        drt_text_puts(&s->text, how->gap);
        add_turn(s, how, turns, i, images, false);
        add_end(s, how->end);
        learn->to = s->text.size;
        drt_text_puts(&s->text, how->after);
    }
    if (s->text.failed) return drt_fail(err, DRT_ENOMEM, "no memory for a conversation of %d turns", n);
    if (s->images != images)
        return drt_fail(err, DRT_EDATA,
                        "%d images, but %d placeholders " DRT_IMAGE_PLACEHOLDER "; write one for each image, or none",
                        images, s->images);
    s->open = open;
    return DRT_OK;
}

static drt_status append(drt_encoded *e, int *room, int32_t id, bool answer, bool learn, drt_error *err) {
    if (e->n == *room) {
        int more = *room ? *room * 2 : 256;
        int32_t *p = *room <= INT_MAX / 2 ? realloc(e->id, (size_t)more * sizeof *p) : NULL;
        if (p) e->id = p;
        int32_t *q = p ? realloc(e->label, (size_t)more * sizeof *q) : NULL;
        if (!q) return drt_fail(err, DRT_ENOMEM, "no memory for %d token ids", e->n);
        e->label = q;
        *room = more;
    }
    if (!answer && e->prompt == e->n) e->prompt++;
    e->id[e->n] = id;
    e->label[e->n++] = learn ? id : DRT_IGNORE;
    e->trained += learn;
    return DRT_OK;
}

// Whether a token reaches into an answer. One of no width (a word mark that the tokenizer made up) belongs to the byte
// that follows it.
static bool answers(const script *s, span at) {
    if (at.to == at.from) at.to++;
    for (int i = 0; i < s->learns; i++)
        if (at.from < s->learn[i].to && at.to > s->learn[i].from) return true;
    return false;
}

// An added token may swallow the white space beside it (Phi-3's do). It stands where its own letters are, else a
// heading in front of an answer that begins with a line end would be trained on.
static void own_letters(const script *s, const char *piece, span *at) {
    const char *letters = s->text.bytes + at->from;
    size_t n = at->to - at->from;
    drt_strip(&letters, &n);
    if (n == at->to - at->from || !n || strlen(piece) != n || memcmp(piece, letters, n)) return;
    at->from = (size_t)(letters - s->text.bytes);
    at->to = at->from + n;
}

static drt_status encode_text(const script *s, const drt_tokenizer *tok, size_t from, size_t to, drt_encoded *e,
                              int *room, drt_error *err) {
    drt_token *t = NULL;
    int n = 0;
    drt_status bad = drt_tokenizer_encode(tok, s->text.bytes + from, to - from, &t, &n, err);
    // Only one BOS, also where the text begins with one.
    int skip = !bad && n && e->n == 1 && e->id[0] == t[0].id && t[0].id == drt_tokenizer_bos(tok);
    for (int i = skip; !bad && i < n; i++) {
        span at = {from + (size_t)t[i].from, from + (size_t)t[i].to};
        own_letters(s, drt_tokenizer_piece(tok, t[i].id), &at);
        bool answer = answers(s, at);
        bad = append(e, room, t[i].id, answer, answer && !s->open, err);
    }
    free(t);
    return bad;
}

static drt_status encode_script(const script *s, const drt_tokenizer *tok, drt_encoded *e, drt_error *err) {
    int room = 0;
    size_t at = 0;
    drt_status bad = drt_tokenizer_adds_bos(tok) ? append(e, &room, drt_tokenizer_bos(tok), false, false, err) : DRT_OK;
    for (int i = 0; !bad && i <= s->images; i++) {
        size_t to = i < s->images ? s->image[i].from : s->text.size;
        if (to > at) bad = encode_text(s, tok, at, to, e, &room, err);
        if (bad || i == s->images) break;
        bad = append(e, &room, DRT_IMAGE_TOKEN, false, false, err);
        at = s->image[i].to;
    }
    e->images = s->images;
    return bad;
}

static drt_status encode(const drt_template *how, const drt_tokenizer *tok, const drt_turn *turns, int n, int images,
                         bool open, drt_encoded *out, drt_error *err) {
    script s = {.eos = eos_name};
    int eos = drt_tokenizer_eos(tok);
    *out = (drt_encoded){0};
    if (drt_template_check(how, tok, err)) return DRT_ECONFIG;
    if (strstr(how->end, eos_name)) {
        if (eos >= 0) s.eos = drt_tokenizer_piece(tok, eos);
        else if (drt_tokenizer_id(tok, eos_name) < 0)
            return drt_fail(err, DRT_ECONFIG,
                            "template '%s' ends answers with EOS, and the tokenizer has none; name "
                            "its eos_token in tokenizer_config.json",
                            how->name);
    }
    drop(&turns, &n);
    drt_status bad = print(&s, how, turns, n, images, open, err);
    if (!bad) bad = encode_script(&s, tok, out, err);
    if (!bad && !open && !out->trained)
        bad = drt_fail(err, DRT_EDATA, "no token to train on; give the conversation an answer");
    script_free(&s);
    if (bad) drt_encoded_free(out);
    return bad;
}

drt_status drt_conversation_encode(const drt_template *how, const drt_tokenizer *tok, const drt_turn *turns, int n,
                                   int images, drt_encoded *out, drt_error *err) {
    *out = (drt_encoded){0};
    drt_status bad = drt_conversation_check(how, turns, n, images, err);
    return bad ? bad : encode(how, tok, turns, n, images, false, out, err);
}

drt_status drt_conversation_prompt(const drt_template *how, const drt_tokenizer *tok, const drt_turn *turns, int n,
                                   int images, drt_encoded *out, drt_error *err) {
    *out = (drt_encoded){0};
    const drt_turn *t = turns;
    int left = n, dropped = drop(&t, &left), placeholders = 0;
    drt_status bad = check_order(t, left, dropped, err);
    if (bad) return bad;
    if (!t[left - 1].human) return drt_fail(err, DRT_EARG, "a prompt ends with a human turn, this one with an answer");
    for (int i = 0; i < left; i++) placeholders += count(t[i].text);
    if (placeholders && !how->caption) bad = check_images(t, left, images, err);
    return bad ? bad : encode(how, tok, t, left, images, true, out, err);
}

drt_status drt_prompt_encode(const drt_tokenizer *tok, const char *text, int images, drt_encoded *out, drt_error *err) {
    script s = {.eos = eos_name};
    drt_status bad = DRT_OK;
    *out = (drt_encoded){0};
    s.image = calloc((size_t)images + 1, sizeof *s.image);
    drt_text_puts(&s.text, text);
    if (!s.image || s.text.failed) bad = drt_fail(err, DRT_ENOMEM, "no memory for a prompt");
    else mark_images(&s, 0, images);
    if (!bad && s.images != images)
        bad = drt_fail(err, DRT_EDATA, "%d images, but %d placeholders " DRT_IMAGE_PLACEHOLDER, images, s.images);
    if (!bad) bad = encode_script(&s, tok, out, err);
    script_free(&s);
    if (bad) drt_encoded_free(out);
    return bad;
}

drt_status drt_conversation_text(const drt_template *how, const drt_turn *turns, int n, int images, drt_text *out,
                                 drt_error *err) {
    script s = {.eos = eos_name};
    drt_status bad = drt_conversation_check(how, turns, n, images, err);
    drop(&turns, &n);
    if (!bad) bad = print(&s, how, turns, n, images, false, err);
    if (!bad) drt_text_add(out, s.text.bytes, s.text.size);
    if (!bad && out->failed) bad = drt_fail(err, DRT_ENOMEM, "no memory for the text of a conversation");
    script_free(&s);
    return bad;
}

bool drt_encoded_cut(drt_encoded *e, int most, int image_rows) {
    int64_t rows = 0;
    int keep = 0;
    for (; keep < e->n; keep++) {
        rows += e->id[keep] == DRT_IMAGE_TOKEN ? image_rows : 1;
        if (rows > most) break;
    }
    if (keep == e->n) return false;
    for (int i = keep; i < e->n; i++) {
        e->images -= e->id[i] == DRT_IMAGE_TOKEN;
        e->trained -= e->label[i] != DRT_IGNORE;
    }
    if (e->prompt > keep) e->prompt = keep;
    e->n = keep;
    return true;
}

void drt_encoded_free(drt_encoded *e) {
    free(e->id);
    free(e->label);
    *e = (drt_encoded){0};
}
