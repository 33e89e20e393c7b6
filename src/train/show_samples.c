#include "train/show_samples.h"

#include "infer/generate.h"
#include "infer/picture.h"

#include <stdio.h>
#include <stdlib.h>

enum { LONGEST = 64 }; // tokens of an answer

// Turns in front of the first answer; 0: there is none to ask for.
static int asked(const drt_record *rec) {
    for (int i = 1; i < rec->n_turns; i++)
        if (!rec->turns[i].human && rec->turns[i - 1].human) return i;
    return 0;
}

static drt_status answer_to(const drt_training *t, const drt_record *rec, int turns, const float *pixels,
                            drt_text *answer, drt_error *err) {
    const drt_align_options *options = drt_loader_options(t->loader);
    const drt_token_mixer mixer = options->mixer;
    const drt_generate_options how = {
        .max_new_tokens = LONGEST, .order = &mixer, .stop = &options->how->end, .stops = 1};
    int images = drt_has_vision(&t->m->config) ? rec->n_images : 0;
    drt_encoded e;
    drt_reply reply;
    drt_status status = drt_conversation_prompt(options->how, t->m->tokenizer, rec->turns, turns, images, &e, err);
    if (status) return status;
    const drt_prompt prompt = {.id = e.id, .n = e.n, .patches = pixels, .images = e.images, .prompt = e.prompt};
    status = drt_generate(t->m, t->tape, &prompt, 1, &how, &reply, err);
    if (!status) {
        drt_text_puts(answer, reply.text);
        drt_replies_free(&reply, 1);
    }
    drt_encoded_free(&e);
    return status;
}

static drt_status add_picture(const drt_image *ready, const char *tag, drt_event_file *events, drt_error *err) {
    unsigned char *png;
    size_t size;
    drt_status status = drt_image_encode_png(ready, &png, &size, err);
    if (status) return status;
    drt_event_picture(events, tag, ready->width, ready->height, png, size);
    free(png);
    return DRT_OK;
}

// The pictures of a record as patch rows, malloc'ed; the first of them for TensorBoard (tag NULL: not wanted).
static drt_status read_pictures(const drt_training *t, const drt_record *rec, const char *tag, drt_event_file *events,
                                float **out, drt_error *err) {
    int64_t size = drt_picture_size(t->m);
    int images = drt_has_vision(&t->m->config) ? rec->n_images : 0;
    drt_preprocess how = t->m->preprocess;
    how.aspect = t->r->data.aspect;
    *out = calloc((size_t)(images * size) + 1, sizeof **out);
    drt_status status = *out ? DRT_OK : drt_fail(err, DRT_ENOMEM, "no memory for %d pictures", images);
    for (int i = 0; i < images && !status; i++) {
        drt_image image = {0}, ready = {0};
        status = drt_record_image(rec, i, &image, err);
        if (!status) status = drt_image_prepare(&image, &how, &ready, err);
        if (!status) drt_image_patches(&ready, &how, t->m->config.vision.patch, *out + i * size);
        if (!status && !i && tag) status = add_picture(&ready, tag, events, err);
        drt_image_free(&image);
        drt_image_free(&ready);
    }
    return status;
}

static void show(const drt_training *t, const drt_record *rec, int number, bool pictures, drt_event_file *events) {
    int turns = asked(rec);
    char tag[40];
    float *pixels = NULL;
    drt_error err = {0};
    drt_text answer = {0}, all = {0};
    if (!turns) return;
    snprintf(tag, sizeof tag, "samples/%d", number);
    drt_status status = read_pictures(t, rec, pictures ? tag : NULL, events, &pixels, &err);
    if (!status) status = answer_to(t, rec, turns, pixels, &answer, &err);
    drt_text_printf(&all, "%s%s**asked:** %s\n\n**expected:** %s\n\n**answered:** %s", rec->id, *rec->id ? "\n\n" : "",
                    rec->turns[turns - 1].text, rec->turns[turns].text,
                    status         ? err.text
                    : answer.bytes ? answer.bytes
                                   : "");
    snprintf(tag, sizeof tag, "samples/%d/answer", number);
    if (!all.failed) drt_event_text(events, tag, all.bytes);
    drt_text_free(&answer), drt_text_free(&all);
    free(pixels);
}

void drt_show_samples(const drt_training *t, const drt_dataset *d, int n, int64_t step, bool pictures,
                      drt_event_file *events) {
    if (!events || !drt_has_decoder(&t->m->config)) return;
    if (t->m->extra.permuter) t->m->extra.permuter->how = drt_recipe_gps(t->r, step, t->steps);
    for (int i = 0; i < n && i < drt_dataset_size(d); i++) {
        drt_record *rec;
        if (drt_dataset_at(d, i, &rec, NULL)) continue;
        show(t, rec, i, pictures, events);
        drt_record_free(rec);
    }
}
