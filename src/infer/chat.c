#include "infer/chat.h"

#include "infer/picture.h"

#include <stdlib.h>
#include <string.h>

struct drt_chat {
    const drt_model *model;
    drt_tape *tape;
    drt_template how;
    char *system; // what how.system points to, if it is not the template's
    drt_turn *turn;
    int turns, room;
    float *pixels;       // [images * drt_picture_size]
    int images, waiting; // all; those of the next message
};

drt_status drt_chat_new(drt_chat **out, const drt_model *model, drt_tape *tape, const drt_template *how,
                        const char *system, drt_error *err) {
    const char *name = model->folder ? model->folder : "the model";
    *out = NULL;
    if (!drt_has_decoder(&model->config))
        return drt_fail(err, DRT_ECONFIG,
                        "%s is a CLIP model and writes no text; use the folder of a LLaVA or of a decoder", name);
    if (drt_model_template(model, how, &how, err)) return DRT_ECONFIG;
    drt_chat *c = calloc(1, sizeof *c);
    char *own = system ? strdup(system) : NULL;
    if (!c || (system && !own)) {
        free(c);
        free(own);
        return drt_fail(err, DRT_ENOMEM, "no memory for a conversation");
    }
    *c = (drt_chat){.model = model, .tape = tape, .how = *how, .system = own};
    if (own) c->how.system = own;
    *out = c;
    return DRT_OK;
}

static void forget_turn(drt_chat *c) { free((char *)c->turn[--c->turns].text); }

void drt_chat_reset(drt_chat *c) {
    while (c->turns) forget_turn(c);
    free(c->pixels);
    c->pixels = NULL;
    c->images = c->waiting = 0;
}

void drt_chat_free(drt_chat *c) {
    if (!c) return;
    drt_chat_reset(c);
    free(c->turn);
    free(c->system);
    free(c);
}

int drt_chat_turns(const drt_chat *c) { return c->turns; }

drt_status drt_chat_image(drt_chat *c, const char *path, drt_error *err) {
    int64_t size = drt_picture_size(c->model);
    float *more = realloc(c->pixels, (size_t)((c->images + 1) * size) * sizeof *more + 1);
    if (!more) return drt_fail(err, DRT_ENOMEM, "no memory for another picture");
    c->pixels = more;
    drt_status status = drt_picture_read(c->model, path, more + c->images * size, err);
    if (status) return status;
    c->images++;
    c->waiting++;
    return DRT_OK;
}

// Takes `text` (malloc'ed, or NULL when memory was out) as the next turn.
static drt_status add_turn(drt_chat *c, char *text, drt_error *err) {
    if (text && c->turns == c->room) {
        drt_turn *more = realloc(c->turn, (size_t)(c->room + 16) * sizeof *more);
        if (more) c->turn = more, c->room += 16;
    }
    if (!text || c->turns == c->room) {
        free(text);
        return drt_fail(err, DRT_ENOMEM, "no memory for another turn");
    }
    c->turn[c->turns] = (drt_turn){c->turns % 2 == 0, text};
    c->turns++;
    return DRT_OK;
}

static drt_status add_message(drt_chat *c, const char *message, drt_error *err) {
    drt_text text = {0};
    for (int i = 0; i < c->waiting; i++) drt_text_puts(&text, DRT_IMAGE_PLACEHOLDER "\n");
    drt_text_puts(&text, message);
    if (!text.failed) return add_turn(c, text.bytes, err);
    drt_text_free(&text);
    return add_turn(c, NULL, err);
}

static drt_status answer(const drt_chat *c, const drt_generate_options *options, drt_reply *reply, drt_error *err) {
    drt_encoded e = {0};
    const char **stop = calloc((size_t)options->stops + 1, sizeof *stop);
    if (!stop) return drt_fail(err, DRT_ENOMEM, "no memory for stop strings");
    for (int i = 0; i < options->stops; i++) stop[i] = options->stop[i];
    stop[options->stops] = c->how.end; // matters where it is not EOS
    drt_status status = drt_conversation_prompt(&c->how, c->model->tokenizer, c->turn, c->turns, c->images, &e, err);
    if (!status) {
        const drt_prompt p = {.id = e.id,
                              .n = e.n,
                              .patches = c->pixels,
                              .images = c->images,
                              .stream = (uint64_t)c->turns,
                              .prompt = e.prompt};
        drt_generate_options o = *options;
        o.stop = stop;
        o.stops++;
        status = drt_generate(c->model, c->tape, &p, 1, &o, reply, err);
    }
    drt_encoded_free(&e);
    free(stop);
    return status;
}

drt_status drt_chat_say(drt_chat *c, const char *message, const drt_generate_options *options, drt_reply *reply,
                        drt_error *err) {
    *reply = (drt_reply){0};
    drt_status status = add_message(c, message, err);
    if (status) return status;
    status = answer(c, options, reply, err);
    if (!status && *reply->text) {
        status = add_turn(c, strdup(reply->text), err);
        if (!status) {
            c->waiting = 0;
            return DRT_OK;
        }
        drt_replies_free(reply, 1);
    }
    forget_turn(c);
    return status;
}
