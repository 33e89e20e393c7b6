#include "train/step_check.h"

#include <stdarg.h>
#include <stdio.h>

typedef struct {
    const drt_sample *s;
    const drt_model *m;
    const drt_pack_options *o;
    const char *file;
    drt_error *err;
} checker;

static drt_status refuse(const checker *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
static drt_status refuse(const checker *c, const char *format, ...) {
    char why[200];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    return drt_fail(c->err, DRT_EFORMAT,
                    "%s: sample %d (id '%.60s'): %s; the step is of another model, or drt did not write it", c->file,
                    (int)c->s->index, c->s->id, why);
}

static bool within(int64_t x, int64_t below) { return x >= 0 && x < below; }

// One id of pass k, and its label.
static drt_status check_token(const checker *c, int k, int i) {
    const drt_pass *p = &c->s->pass[k];
    const int vocab = c->m->config.language.vocab;
    const int32_t id = p->id[i], label = p->label[i];
    if (!within(id, vocab) && id != DRT_IMAGE_TOKEN && id != DRT_DIRECTED_TOKEN)
        return refuse(c, "pass %d, id %d: token %d is not among the model's %d", k, i, (int)id, vocab);
    if (id == DRT_DIRECTED_TOKEN && !c->m->extra.token)
        return refuse(c, "pass %d, id %d: the model has no directed token", k, i);
    if (!within(label, vocab) && label != DRT_IGNORE)
        return refuse(c, "pass %d, label %d: token %d is not among the model's %d", k, i, (int)label, vocab);
    return DRT_OK;
}

static drt_status check_pass(const checker *c, int k) {
    const drt_pass *p = &c->s->pass[k];
    const int64_t classes = c->o->bank && c->m->extra.order ? c->m->extra.order->tensor.value.rows : 0;
    drt_status status = DRT_OK;
    int pictures = 0;
    for (int j = 0; j < k; j++)
        if (c->s->pass[j].kind == p->kind) return refuse(c, "pass %d is of the kind of pass %d", k, j);
    for (int i = 0; !status && i < p->n; i++) {
        status = check_token(c, k, i);
        pictures += p->id[i] == DRT_IMAGE_TOKEN;
    }
    if (status) return status;
    if (p->n < 1 || !within(p->prompt, (int64_t)p->n + 1))
        return refuse(c, "pass %d: %d of %d ids stand in front of the answer", k, p->prompt, p->n);
    if (pictures > c->s->images) return refuse(c, "pass %d shows %d of %d pictures", k, pictures, c->s->images);
    if (p->kind == DRT_PASS_IMAGE_ORDER && !within(p->permutation, classes))
        return refuse(c, "pass %d: permutation %d of %d", k, p->permutation, (int)classes);
    return DRT_OK;
}

static drt_status check_pair(const checker *c, int k) {
    const drt_word_pair *p = &c->s->pair[k];
    const int patches = c->o->patches_side * c->o->patches_side, vocab = c->m->config.language.vocab;
    if (!within(p->image, c->s->images) || !within(p->patch, patches))
        return refuse(c, "pair %d: patch %d of picture %d", k, p->patch, p->image);
    if (p->tokens < 1) return refuse(c, "pair %d: a word of no token", k);
    for (int i = 0; i < p->tokens; i++)
        if (!within(p->token[i], vocab))
            return refuse(c, "pair %d, token %d: %d is not among the model's %d", k, i, (int)p->token[i], vocab);
    return DRT_OK;
}

static drt_status check_text(const checker *c, int k) {
    const drt_tower *text = &c->m->config.text;
    if (c->s->text_size[k] < 1 || c->s->text_size[k] > text->positions)
        return refuse(c, "text %d has %d tokens, the tower takes 1 to %d", k, (int)c->s->text_size[k], text->positions);
    for (int i = 0; i < c->s->text_size[k]; i++)
        if (!within(c->s->text[k][i], text->vocab))
            return refuse(c, "text %d, token %d: %d is not among the model's %d", k, i, (int)c->s->text[k][i],
                          text->vocab);
    return DRT_OK;
}

// Where all of a sample's parts are of a kind that the model has.
static drt_status check_parts(const checker *c) {
    const drt_sample *s = c->s;
    const bool clip = c->m->config.kind == DRT_MODEL_CLIP;
    if (s->images && !drt_has_vision(&c->m->config)) return refuse(c, "the model sees no pictures");
    if (clip ? s->passes || s->pairs : s->texts || s->order || s->patch_label)
        return refuse(c, "it is %s",
                      clip ? "a conversation, and the model is CLIP" : "for CLIP, which the model is not");
    if (clip && s->images != 1) return refuse(c, "%d pictures where CLIP takes one", s->images);
    return DRT_OK;
}

drt_status drt_sample_check(const drt_sample *s, const drt_model *m, const drt_pack_options *o, const char *file,
                            drt_error *err) {
    const checker c = {s, m, o, file, err};
    const int cells = o->grid * o->grid;
    drt_status status = check_parts(&c);
    for (int k = 0; !status && k < s->passes; k++) status = check_pass(&c, k);
    for (int k = 0; !status && k < s->pairs; k++) status = check_pair(&c, k);
    for (int k = 0; !status && k < s->texts; k++) status = check_text(&c, k);
    for (int i = 0; !status && s->order && i < cells; i++)
        if (!within(s->order[i], cells)) status = refuse(&c, "cell %d shows cell %d of %d", i, (int)s->order[i], cells);
    return status;
}
