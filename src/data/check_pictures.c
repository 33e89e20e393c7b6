// Every picture once: read, decoded in full, hashed.
#include "data/check_parts.h"

#include "base/digest.h"
#include "base/file.h"

#include <omp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static int by_key(const void *a, const void *b) {
    const drt_picture_use *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    if (x->sample != y->sample) return x->sample < y->sample ? -1 : 1;
    return (x->image > y->image) - (x->image < y->image);
}

static int by_place(const void *a, const void *b) {
    const drt_checked_picture *x = a, *y = b;
    if (x->sample != y->sample) return x->sample < y->sample ? -1 : 1;
    return (x->image > y->image) - (x->image < y->image);
}

static int use_by_place(const void *a, const void *b) {
    const drt_picture_use *x = a, *y = b;
    if (x->sample != y->sample) return x->sample < y->sample ? -1 : 1;
    return (x->image > y->image) - (x->image < y->image);
}

// Uses of one path become one picture, named by its first use; pictures in the order of the data. Uses that a bad
// sample left empty (key 0) are dropped.
static drt_status gather(drt_checker *k, drt_error *err) {
    drt_data_check *c = k->c;
    int64_t used = 0;
    for (int64_t i = 0; i < c->uses; i++)
        if (k->use[i].key) k->use[used++] = k->use[i];
    c->uses = used;
    if (used) qsort(k->use, (size_t)used, sizeof *k->use, by_key);
    for (int64_t i = 0; i < used; i++) c->pictures += !i || k->use[i].key != k->use[i - 1].key;
    k->picture = calloc((size_t)c->pictures + 1, sizeof *k->picture);
    if (!k->picture) return drt_fail(err, DRT_ENOMEM, "no memory for %lld pictures", (long long)c->pictures);
    int64_t n = 0;
    for (int64_t i = 0; i < used; i++)
        if (!i || k->use[i].key != k->use[i - 1].key)
            k->picture[n++] = (drt_checked_picture){.sample = k->use[i].sample, .image = k->use[i].image, .kind = -1};
    if (n) qsort(k->picture, (size_t)n, sizeof *k->picture, by_place);
    // A use's picture is found by the first use of its key.
    for (int64_t i = 0, first = 0; i < used; i++) {
        if (k->use[i].key != k->use[first].key) first = i;
        const drt_checked_picture wanted = {.sample = k->use[first].sample, .image = k->use[first].image};
        const drt_checked_picture *p = bsearch(&wanted, k->picture, (size_t)n, sizeof *p, by_place);
        k->use[i].picture = (int32_t)(p - k->picture);
    }
    if (used) qsort(k->use, (size_t)used, sizeof *k->use, use_by_place);
    return DRT_OK;
}

void drt_check_picture(drt_checker *k, drt_checked_picture *p, const void *bytes, size_t size, const char *name,
                       int64_t *pixels) {
    drt_image image = {0};
    drt_image_health health;
    drt_error why = {0};
    drt_text text = {0};
    p->content = drt_digest_of(bytes, size);
    p->good = !drt_image_examine(&image, bytes, size, name, &health, &why);
    if (p->good) {
        p->print = drt_image_print_of(&image);
        *pixels += (int64_t)image.width * image.height;
        if (*health.passed) drt_text_printf(&text, "%s: decodes with damage: %s", name, health.passed);
    } else {
        drt_text_puts(&text, why.text);
    }
    if (why.code == DRT_ENOMEM || text.failed) { // nothing is wrong with the picture
        drt_fail(&why, DRT_ENOMEM, "%s: no memory to look at it", name);
        drt_check_fault(k, &why);
    }
    p->kind = text.size ? health.cut_off ? DRT_FIND_TRUNCATED : DRT_FIND_CORRUPT : -1;
    p->text = text.bytes;
    drt_image_free(&image);
}

static void look(drt_checker *k, drt_checked_picture *p, int64_t *bytes, int64_t *pixels) {
    char name[DRT_RECORD_NAME];
    drt_record *r;
    drt_error why = {0};
    const void *file = NULL;
    size_t size = 0;
    void *owned = NULL;
    drt_status bad = drt_index_record(&k->c->index, p->sample, k->o->images, p->image, &r, name, &why);
    if (!bad && p->image >= r->n_images) bad = drt_fail(&why, DRT_EIO, "%s has changed while it was read", name);
    if (bad) {
        drt_check_fault(k, &why); // it was read before
        drt_record_free(r);
        return;
    }
    const char *path = r->images[p->image];
    if (!r->held && !drt_file_exists(path)) {
        drt_text text = {0};
        drt_text_printf(&text, "%s: there is no such picture", path);
        p->kind = DRT_FIND_MISSING;
        p->text = text.bytes;
    } else if (drt_record_picture(r, p->image, &file, &size, &owned, &why)) {
        p->kind = DRT_FIND_CORRUPT;
        p->text = strdup(why.text);
    } else {
        drt_check_picture(k, p, file, size, path, pixels);
        *bytes += (int64_t)size;
    }
    if (why.code == DRT_ENOMEM || (p->kind >= 0 && !p->text)) {
        drt_fail(&why, DRT_ENOMEM, "no memory for what was found");
        drt_check_fault(k, &why);
    }
    free(owned);
    drt_record_free(r);
}

drt_status drt_check_pictures(drt_checker *k, drt_error *err) {
    drt_data_check *c = k->c;
    drt_index *x = &c->index;
    drt_status status = gather(k, err);
    if (status) return status;
    atomic_int done = 0;
    int64_t bytes = 0, pixels = 0;
    drt_progress bar = drt_check_bar(k, "decoding pictures");
#pragma omp parallel for schedule(dynamic, 1) reduction(+ : bytes, pixels)
    for (int64_t i = 0; i < c->pictures; i++) {
        look(k, &k->picture[i], &bytes, &pixels);
        int now = atomic_fetch_add(&done, 1) + 1;
        if (omp_get_thread_num() == 0 && now < c->pictures) drt_progress_at(&bar, now, c->pictures);
    }
    drt_progress_at(&bar, c->pictures, c->pictures);
    c->bytes = bytes, c->pixels = pixels;
    for (int32_t i = 0; i < x->n; i++) x->fact[i].flags &= ~(uint32_t)DRT_FACT_PICTURE;
    for (int64_t i = 0; i < c->pictures; i++) {
        c->failed += !k->picture[i].good;
        c->missing += k->picture[i].kind == DRT_FIND_MISSING;
    }
    for (int64_t i = 0; i < c->uses; i++) {
        const drt_picture_use *u = &k->use[i];
        const drt_checked_picture *p = &k->picture[u->picture];
        if (!p->good) x->fact[u->sample].flags |= DRT_FACT_PICTURE;
        if (p->kind >= 0) drt_check_find(k, (drt_find_kind)p->kind, u->sample, u->image, -1, -1, p->text);
    }
    x->seen = DRT_IMAGES_DECODE;
    x->seen_in = drt_index_folder(x, k->o->images);
    x->unsaved = true;
    return DRT_OK;
}
