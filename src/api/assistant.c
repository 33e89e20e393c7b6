// The public face of answering and evaluation: a model with the device it runs on.
#include "api/watcher.h"

#include "align/gps.h"
#include "eval/tasks.h"
#include "infer/generate.h"
#include "infer/picture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct drt_assistant {
    drt_device *dev;
    drt_tape *tape;
    drt_model *model;
    drt_token_mixer mixer;
    const drt_token_mixer *order; // NULL: the model's own
};

void drt_assistant_close(drt_assistant *a) {
    if (!a) return;
    drt_model_close(a->model);
    if (a->tape) drt_tape_free(a->tape);
    drt_device_close(a->dev);
    free(a);
}

drt_status drt_assistant_open(drt_assistant **out, const char *folder, const drt_assistant_options *options,
                              drt_error *err) {
    static const drt_assistant_options standard;
    const drt_assistant_options *o = options ? options : &standard;
    const char *dtype = o->dtype ? o->dtype : "auto";
    const int keep = drt_place_of(dtype, drt_keep_names, DRT_KEEPS),
              order = o->order ? drt_place_of(o->order, drt_input_order_names, DRT_INPUT_ORDERS) : DRT_INPUT_NONE;
    const drt_model_options inference = {.keep = (drt_keep)keep, .adapter = o->adapter}; // nothing learns
    *out = NULL;
    if (keep == DRT_KEEPS) return drt_fail(err, DRT_EARG, "dtype '%s' is none of f32, bf16, f16, auto", dtype);
    if (order == DRT_INPUT_ORDERS)
        return drt_fail(err, DRT_EARG, "order '%s' is none of none, token_mixer, gps", o->order);
    drt_assistant *a = calloc(1, sizeof *a);
    if (!a) return drt_fail(err, DRT_ENOMEM, "no memory for an assistant");
    a->mixer = (drt_token_mixer){(drt_input_order)order, 0.1f, DRT_MIXER_BEFORE};
    if (o->order) a->order = &a->mixer;
    drt_status status = drt_device_open(&a->dev, o->device ? o->device : "cpu", o->threads, err);
    if (!status && !(a->tape = drt_tape_new(a->dev, err))) status = DRT_ENOMEM;
    if (!status) status = drt_model_open(&a->model, folder, &inference, err);
    if (!status && a->order) status = drt_gps_check(a->model, a->order, err);
    if (!status && !drt_has_decoder(&a->model->config))
        status = drt_fail(err, DRT_ECONFIG,
                          "%s is a CLIP model and writes no text; use the folder of a LLaVA or of a decoder", folder);
    if (!status && !a->model->tokenizer)
        status = drt_fail(err, DRT_ECONFIG, "%s has no tokenizer; copy the one it was trained with", folder);
    if (status) drt_assistant_close(a);
    else *out = a;
    return status;
}

bool drt_assistant_sees(const drt_assistant *a) { return drt_picture_size(a->model) > 0; }

// ---- asking --------------------------------------------------------------------------------------------------------

// *pixels [drt_picture_size], malloc'ed; NULL without a picture.
static drt_status read_picture(const drt_assistant *a, const drt_ask *ask, float **pixels, drt_error *err) {
    if (!ask->image && !ask->image_bytes) return DRT_OK;
    if (ask->image && ask->image_bytes) return drt_fail(err, DRT_EARG, "a picture as a file and as bytes; give one");
    *pixels = malloc((size_t)drt_picture_size(a->model) * sizeof **pixels + 1);
    if (!*pixels) return drt_fail(err, DRT_ENOMEM, "no memory for a picture");
    if (ask->image) return drt_picture_read(a->model, ask->image, *pixels, err);
    return drt_picture_decode(a->model, ask->image_bytes, ask->image_size, "the picture", *pixels, err);
}

static drt_status find_template(const drt_assistant *a, const drt_ask *ask, drt_template *out, drt_error *err) {
    const char *name = ask->conversation;
    const drt_template *how = name ? drt_template_find(name) : NULL;
    int n;
    const char *const *names = drt_template_names(&n), *near = name ? drt_nearest(name, names, n) : NULL;
    if (name && !how)
        return drt_fail(err, DRT_EARG, "there is no conversation template '%s'; %s '%s'", name,
                        near ? "did you mean" : "use", near ? near : names[0]);
    drt_status status = drt_model_template(a->model, how, &how, err);
    if (status) return status;
    *out = *how;
    if (ask->system) out->system = ask->system;
    return DRT_OK;
}

static drt_status encode(const drt_assistant *a, const drt_ask *ask, const drt_template *how, int images,
                         drt_encoded *out, drt_error *err) {
    if (!ask->text) return drt_fail(err, DRT_EARG, "nothing to say: text is NULL");
    if (ask->n_before < 0 || ask->n_before % 2)
        return drt_fail(err, DRT_EARG, "n_before is %d; what was said before ends with an answer", ask->n_before);
    drt_turn *turn = calloc((size_t)ask->n_before + 1, sizeof *turn);
    if (!turn) return drt_fail(err, DRT_ENOMEM, "no memory for %d turns", ask->n_before);
    for (int i = 0; i < ask->n_before; i++) turn[i] = (drt_turn){i % 2 == 0, ask->before[i]};
    turn[ask->n_before] = (drt_turn){true, ask->text};
    drt_status status = drt_conversation_prompt(how, a->model->tokenizer, turn, ask->n_before + 1, images, out, err);
    free(turn);
    return status;
}

static bool pass_on(void *user, int index, const char *text, size_t size) {
    const drt_ask *ask = user;
    (void)index;
    return !size || ask->on_text(ask->user, text, size);
}

drt_status drt_assistant_ask(drt_assistant *a, const drt_ask *ask, char **answer, drt_error *err) {
    drt_template how;
    drt_encoded e = {0};
    drt_reply reply = {0};
    float *pixels = NULL;
    *answer = NULL;
    drt_status status = find_template(a, ask, &how, err);
    if (!status) status = read_picture(a, ask, &pixels, err);
    if (!status) status = encode(a, ask, &how, pixels != NULL, &e, err);
    if (!status) {
        const drt_prompt p = {.id = e.id, .n = e.n, .patches = pixels, .images = pixels != NULL};
        const drt_generate_options o = {.max_new_tokens = ask->max_tokens > 0 ? ask->max_tokens : 512,
                                        .temperature = ask->temperature,
                                        .top_p = ask->top_p,
                                        .seed = ask->seed,
                                        .stop = &how.end,
                                        .stops = 1,
                                        .order = a->order,
                                        .on_text = ask->on_text ? pass_on : NULL,
                                        .user = (void *)ask};
        status = drt_generate(a->model, a->tape, &p, 1, &o, &reply, err);
    }
    if (!status) {
        *answer = reply.text;
        reply.text = NULL;
        drt_replies_free(&reply, 1);
    }
    drt_encoded_free(&e);
    free(pixels);
    return status;
}

// ---- evaluation ----------------------------------------------------------------------------------------------------

drt_status drt_assistant_evaluate(drt_assistant *a, const drt_evaluation *e, drt_task_score *scores, int room, int *n,
                                  char **json, drt_error *err) {
    drt_watcher w = {e->on_progress, e->user};
    drt_progress progress = drt_watcher_progress(&w, "answering");
    const drt_eval_options o = {.data = e->data,
                                .tasks = e->tasks,
                                .n_tasks = e->n_tasks,
                                .blind = e->blind,
                                .limit = e->limit,
                                .order = a->order,
                                .progress = &progress};
    drt_eval_result r;
    drt_text text = {0};
    *n = 0;
    if (json) *json = NULL;
    drt_status status = drt_eval_run(a->model, a->tape, &o, &r, err);
    if (status) return status;
    if (r.tasks > room) status = drt_fail(err, DRT_EARG, "%d tasks, and room for the scores of %d", r.tasks, room);
    for (int i = 0; i < r.tasks && !status; i++) {
        const drt_eval_task *t = &r.task[i];
        scores[i] = (drt_task_score){.questions = t->all.n,
                                     .accuracy = drt_eval_accuracy(&t->all),
                                     .restricted = drt_eval_restricted(&t->all),
                                     .prior = t->prior};
        snprintf(scores[i].task, sizeof scores[i].task, "%s", t->name);
    }
    if (!status && json) {
        drt_eval_json(&r, NULL, &text);
        if (text.failed) status = drt_fail(err, DRT_ENOMEM, "no memory for the answers as JSON");
        else *json = text.bytes, text.bytes = NULL;
        drt_text_free(&text);
    }
    if (!status) *n = r.tasks;
    drt_eval_result_free(&r);
    return status;
}
