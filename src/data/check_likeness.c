// Pictures that are the same, to the byte or to the eye, among themselves and with those of evaluation files.
#include "data/check_parts.h"

#include <stdlib.h>
#include <string.h>

// In a crowd of prints that share a band, each is compared with so many that follow: the search stays linear where half
// the pictures begin with the same white page.
enum { COMPANY = 256 };

typedef struct {
    const drt_checked_picture *p;
    uint64_t content;
    int32_t number; // among the data's pictures, then the evaluation's
} item;

static int by_content(const void *a, const void *b) {
    const item *x = a, *y = b;
    if (x->content != y->content) return x->content < y->content ? -1 : 1;
    return (x->number > y->number) - (x->number < y->number);
}

typedef struct {
    drt_checker *k;
    item *all; // [n] good pictures; after same(): the first of each content
    int64_t n;
    // [c->pictures] the evaluation's picture with the same bytes; the nearest one that came before, and the nearest of
    // the evaluation, with their distances; -1: none
    int32_t *shown, *near, *near_eval;
    uint8_t *distance, *distance_eval;
} likeness;

static bool is_eval(const likeness *l, int32_t number) { return number >= l->k->c->pictures; }

static const char *eval_name(const likeness *l, int32_t number) { return l->k->eval_name[number - l->k->c->pictures]; }

// "images/b.jpg": what the data call a picture. malloc'ed.
static char *name_of(const drt_checker *k, const drt_checked_picture *p) {
    char name[DRT_RECORD_NAME], *out = NULL;
    drt_record *r;
    if (!drt_index_record(&k->c->index, p->sample, k->o->images, DRT_PICTURES_NONE, &r, name, NULL))
        out = strdup(p->image < r->n_images ? r->images[p->image] : "a picture");
    drt_record_free(r);
    return out;
}

static void find_pair(const likeness *l, drt_find_kind kind, int32_t number, int32_t other, int distance) {
    drt_checker *k = l->k;
    const drt_checked_picture *p = &k->picture[number], *q = is_eval(l, other) ? NULL : &k->picture[other];
    char *mine = name_of(k, p), *yours = q ? name_of(k, q) : strdup(eval_name(l, other));
    drt_text text = {0};
    drt_text_printf(&text, "%s %s %s%s", mine ? mine : "", distance < 0 ? "has the same bytes as" : "looks like",
                    q ? "" : "the evaluation's ", yours ? yours : "");
    if (distance >= 0) drt_text_printf(&text, " (%d of 128 bits of their prints differ)", distance);
    if (!mine || !yours || text.failed) {
        drt_error err;
        drt_fail(&err, DRT_ENOMEM, "no memory for what was found");
        drt_check_fault(k, &err);
    } else {
        drt_check_find(k, kind, p->sample, p->image, q ? q->sample : -1, q ? q->image : -1, text.bytes);
    }
    free(mine), free(yours);
    drt_text_free(&text);
}

// Every use of a picture that an evaluation file shows is a finding.
static void tell_uses(const likeness *l) {
    drt_checker *k = l->k;
    for (int64_t i = 0; i < k->c->uses; i++) {
        int32_t other = l->shown[k->use[i].picture];
        if (other < 0) continue;
        drt_text text = {0};
        drt_text_printf(&text, "its picture is the evaluation's %s", eval_name(l, other));
        drt_check_find(k, DRT_FIND_EVALUATION, k->use[i].sample, k->use[i].image, -1, -1,
                       text.failed ? "its picture is an evaluation's" : text.bytes);
        drt_text_free(&text);
    }
}

// Pictures with the same bytes: told, and all but the first dropped from what is looked at further.
static void same(likeness *l) {
    int64_t kept = 0;
    qsort(l->all, (size_t)l->n, sizeof *l->all, by_content);
    for (int64_t i = 0, end; i < l->n; i = end) {
        for (end = i + 1; end < l->n && l->all[end].content == l->all[i].content;) end++;
        int32_t eval = is_eval(l, l->all[end - 1].number) ? l->all[end - 1].number : -1;
        for (int64_t j = i; j < end && !is_eval(l, l->all[j].number); j++) {
            if (j > i) find_pair(l, DRT_FIND_SAME, l->all[j].number, l->all[i].number, -1);
            l->shown[l->all[j].number] = eval;
        }
        // What is in an evaluation file to the byte need not be told to look like it.
        if (eval < 0 || is_eval(l, l->all[i].number)) l->all[kept++] = l->all[i];
    }
    l->n = kept;
}

static void compare(likeness *l, const item *a, const item *b) {
    if (a->number > b->number) {
        const item *swap = a;
        a = b, b = swap;
    }
    if (is_eval(l, a->number) || !drt_image_print_near(&a->p->print, &b->p->print)) return;
    uint8_t d = (uint8_t)drt_image_print_distance(&a->p->print, &b->p->print);
    bool eval = is_eval(l, b->number);
    int32_t at = eval ? a->number : b->number, other = eval ? b->number : a->number;
    int32_t *near = eval ? &l->near_eval[at] : &l->near[at];
    uint8_t *distance = eval ? &l->distance_eval[at] : &l->distance[at];
    if (*near >= 0 && (*distance < d || (*distance == d && *near <= other))) return;
    *near = other;
    *distance = d;
}

static int by_number(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

// Prints that agree in a band are compared. `order` holds band << 32 | place in l->all.
static void band(likeness *l, int which, uint64_t *order) {
    int64_t n = 0;
    for (int64_t i = 0; i < l->n; i++)
        if (!l->all[i].p->print.flat)
            order[n++] = (uint64_t)drt_image_print_band(&l->all[i].p->print, which) << 32 | (uint64_t)i;
    if (n) qsort(order, (size_t)n, sizeof *order, by_number);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = i + 1; j < n && j <= i + COMPANY && order[j] >> 32 == order[i] >> 32; j++)
            compare(l, &l->all[(uint32_t)order[i]], &l->all[(uint32_t)order[j]]);
}

static void tell(const likeness *l) {
    tell_uses(l);
    for (int32_t i = 0; i < l->k->c->pictures; i++) {
        if (l->near[i] >= 0) find_pair(l, DRT_FIND_NEAR, i, l->near[i], l->distance[i]);
        if (l->near_eval[i] >= 0) find_pair(l, DRT_FIND_NEAR_EVALUATION, i, l->near_eval[i], l->distance_eval[i]);
    }
}

drt_status drt_check_likeness(drt_checker *k, drt_error *err) {
    const drt_data_check *c = k->c;
    size_t pictures = (size_t)c->pictures + 1, all = pictures + (size_t)c->eval_pictures;
    likeness l = {.k = k};
    l.all = malloc(all * sizeof *l.all);
    l.shown = malloc(pictures * sizeof *l.shown);
    l.near = malloc(pictures * sizeof *l.near), l.near_eval = malloc(pictures * sizeof *l.near_eval);
    l.distance = calloc(pictures, 1), l.distance_eval = calloc(pictures, 1);
    uint64_t *order = malloc(all * sizeof *order);
    bool memory = l.all && l.shown && l.near && l.near_eval && l.distance && l.distance_eval && order;
    if (memory) {
        memset(l.shown, -1, pictures * sizeof *l.shown);
        memset(l.near, -1, pictures * sizeof *l.near);
        memset(l.near_eval, -1, pictures * sizeof *l.near_eval);
        for (int32_t i = 0; i < c->pictures; i++)
            if (k->picture[i].good) l.all[l.n++] = (item){&k->picture[i], k->picture[i].content, i};
        for (int64_t i = 0; i < c->eval_pictures; i++)
            if (k->eval[i].good) l.all[l.n++] = (item){&k->eval[i], k->eval[i].content, (int32_t)(c->pictures + i)};
        same(&l);
        for (int b = 0; b < DRT_PRINT_BANDS; b++) band(&l, b, order);
        tell(&l);
    }
    free(l.all), free(l.shown), free(l.near), free(l.near_eval), free(l.distance), free(l.distance_eval), free(order);
    return memory ? DRT_OK : drt_fail(err, DRT_ENOMEM, "no memory to compare %lld pictures", (long long)c->pictures);
}
