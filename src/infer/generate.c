#include "infer/generate.h"

#include "infer/pick.h"
#include "infer/stream.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// One answer in the making.
typedef struct {
    drt_rng rng;
    drt_stream stream;
    int budget; // tokens that may be written
    bool done;
    int32_t last;
} writer;

typedef struct {
    const drt_model *model;
    const drt_prompt *prompt;
    const drt_generate_options *o;
    drt_reply *reply;
    int n;
    drt_session *session;
    drt_picker picker;
    writer *writer;
    drt_feed *feed;  // [n]
    int *who;        // [n] prompt of each feed
    double *logprob; // [n]
    float *first;    // [n, vocab] logits of the first new tokens, kept while choices are compared
} work;

void drt_replies_free(drt_reply *replies, int n) {
    for (int i = 0; i < n; i++) {
        free(replies[i].id);
        free(replies[i].text);
        free(replies[i].logprob);
        replies[i] = (drt_reply){0};
    }
}

static int longest_choice(const drt_prompt *p) {
    int most = 0;
    for (int k = 0; k < p->choices; k++)
        if (p->choice[k].n > most) most = p->choice[k].n;
    return most;
}

// Checks prompt i; *room: the rows it needs at most.
static drt_status check_prompt(work *w, int i, int64_t *room, drt_error *err) {
    const drt_prompt *p = &w->prompt[i];
    int images = 0, most = longest_choice(p);
    if (!drt_has_decoder(&w->model->config))
        return drt_fail(err, DRT_ECONFIG,
                        "%s is a CLIP model and writes no text; use the folder of a LLaVA or of a decoder",
                        w->model->folder ? w->model->folder : "the model");
    const drt_token_mixer *order = w->o->order ? w->o->order : &w->model->config.order;
    // A caption follows its picture at once; but a picture that an input order may move is no end.
    if (p->n < 1 || (p->id[p->n - 1] == DRT_IMAGE_TOKEN && order->order != DRT_INPUT_NONE))
        return drt_fail(err, DRT_EARG, "prompt %d does not end with a word", i + 1);
    for (int j = 0; j < p->n; j++) images += p->id[j] == DRT_IMAGE_TOKEN;
    if (images != p->images)
        return drt_fail(err, DRT_EARG, "prompt %d has %d places for images and brings %d", i + 1, images, p->images);
    for (int k = 0; k < p->choices; k++)
        if (p->choice[k].n < 1 || p->choice[k].id[0] < 0 || p->choice[k].id[0] >= w->model->config.language.vocab)
            return drt_fail(err, DRT_EARG, "prompt %d: choice %d is empty or begins with no token of the model", i + 1,
                            k + 1);
    int context = drt_decoder_context(&w->model->config.language);
    int64_t rows = drt_id_rows(w->model, p->id, p->n), left = context - rows;
    int64_t wanted = w->o->max_new_tokens > 0 && most < 1 ? 1 : most;
    if (left < wanted)
        return drt_fail(err, DRT_EDATA,
                        "prompt %d takes %lld rows of the %d that %s can read, and no answer fits behind it; "
                        "shorten the text or start the conversation anew",
                        i + 1, (long long)rows, context, w->model->folder ? w->model->folder : "the model");
    w->writer[i].budget = w->o->max_new_tokens < left ? w->o->max_new_tokens : (int)left;
    int64_t more = w->writer[i].budget > most ? w->writer[i].budget : most;
    if (rows + more > *room) *room = rows + more;
    return DRT_OK;
}

static drt_status prepare(work *w, drt_tape *tape, drt_error *err) {
    int64_t room = 0;
    size_t n = (size_t)w->n;
    w->writer = calloc(n, sizeof *w->writer);
    w->feed = calloc(n, sizeof *w->feed);
    w->who = calloc(n, sizeof *w->who);
    w->logprob = calloc(n, sizeof *w->logprob);
    if (!w->writer || !w->feed || !w->who || !w->logprob)
        return drt_fail(err, DRT_ENOMEM, "no memory for %d answers", w->n);
    drt_status status = DRT_OK;
    for (int i = 0; i < w->n && !status; i++) {
        status = check_prompt(w, i, &room, err);
        drt_rng_init(&w->writer[i].rng, w->o->seed, w->prompt[i].stream);
        drt_stream_init(&w->writer[i].stream, w->model->tokenizer, w->o->stop, w->o->stops);
        w->reply[i].best = -1;
        w->reply[i].id = malloc(((size_t)w->writer[i].budget + 1) * sizeof *w->reply[i].id);
        if (w->prompt[i].choices) w->reply[i].logprob = calloc((size_t)w->prompt[i].choices, sizeof(double));
        if (!status && (!w->reply[i].id || (w->prompt[i].choices && !w->reply[i].logprob)))
            status = drt_fail(err, DRT_ENOMEM, "no memory for %d answers", w->n);
    }
    if (!status) status = drt_picker_new(&w->picker, w->model, w->o->stop, w->o->stops, err);
    if (!status) status = drt_session_new(&w->session, w->model, tape, w->n, room, err);
    if (!status) status = drt_session_order(w->session, w->o->order ? w->o->order : &w->model->config.order, err);
    return status;
}

// log P of the first id of every choice, from the logits that its prompt has left.
static drt_status judge_first(work *w, drt_mat logits, drt_error *err) {
    for (int i = 0; i < w->n; i++) {
        const drt_prompt *p = &w->prompt[i];
        const float *y = drt_row(logits, i);
        double most = y[0], sum = 0;
        for (int64_t v = 1; v < logits.cols; v++) most = fmax(most, y[v]);
        for (int64_t v = 0; v < logits.cols; v++) sum += exp(y[v] - most);
        for (int k = 0; k < p->choices; k++) w->reply[i].logprob[k] = y[p->choice[k].id[0]] - most - log(sum);
        if (p->choices && isnan(sum))
            return drt_fail(err, DRT_ENUMERIC, "the model's output is not a number; its weights are damaged");
    }
    return DRT_OK;
}

// Reads choice k of every prompt that has one behind that prompt, adds the probability of its other ids, and forgets
// it.
static drt_status judge_rest(work *w, int k, drt_error *err) {
    int feeds = 0;
    for (int i = 0; i < w->n; i++) {
        const drt_prompt *p = &w->prompt[i];
        if (k >= p->choices || p->choice[k].n < 2) continue;
        w->who[feeds] = i;
        w->feed[feeds++] = (drt_feed){.sequence = i, .id = p->choice[k].id, .n = p->choice[k].n};
    }
    drt_status status = feeds ? drt_session_score(w->session, w->feed, feeds, w->logprob, err) : DRT_OK;
    for (int f = 0; f < feeds && !status; f++) {
        int i = w->who[f];
        if (w->logprob[f] != w->logprob[f])
            return drt_fail(err, DRT_ENUMERIC, "the model's output is not a number; its weights are damaged");
        w->reply[i].logprob[k] += w->logprob[f];
        drt_session_cut(w->session, i, drt_id_rows(w->model, w->prompt[i].id, w->prompt[i].n));
    }
    return status;
}

static drt_status compare(work *w, drt_mat *logits, int choices, drt_error *err) {
    size_t size = (size_t)(logits->rows * logits->cols) * sizeof *w->first;
    w->first = malloc(size);
    if (!w->first) return drt_fail(err, DRT_ENOMEM, "no memory for the logits of %d answers", w->n);
    for (int i = 0; i < w->n; i++) memcpy(w->first + i * logits->cols, drt_row(*logits, i), size / (size_t)w->n);
    *logits = drt_mat_f32(w->first, w->n, logits->cols);
    drt_status status = judge_first(w, *logits, err);
    for (int k = 0; k < choices && !status; k++) status = judge_rest(w, k, err);
    for (int i = 0; i < w->n && !status; i++) {
        drt_reply *r = &w->reply[i];
        for (int k = 0; k < w->prompt[i].choices; k++)
            if (r->best < 0 || r->logprob[k] > r->logprob[r->best]) r->best = k;
    }
    return status;
}

// Reads all prompts, compares their choices, and leaves the logits of the first new tokens.
static drt_status read_prompts(work *w, drt_mat *logits, drt_error *err) {
    int choices = 0;
    for (int i = 0; i < w->n; i++) {
        const drt_prompt *p = &w->prompt[i];
        if (p->choices > choices) choices = p->choices;
        w->feed[i] = (drt_feed){i, p->id, p->n, p->patches, p->prompt};
    }
    drt_status status = drt_session_feed(w->session, w->feed, w->n, logits, err);
    return status || !choices ? status : compare(w, logits, choices, err);
}

// Ends answer i: what was held back is given out.
static drt_status end_answer(work *w, int i, drt_finish why, drt_error *err) {
    writer *a = &w->writer[i];
    a->done = true;
    w->reply[i].finish = why;
    drt_status status = drt_stream_finish(&a->stream, err);
    size_t size;
    const char *text = status ? NULL : drt_stream_ready(&a->stream, &size);
    if (text && size && w->o->on_text && why != DRT_FINISH_CALLER) w->o->on_text(w->o->user, i, text, size);
    return status;
}

// Takes the next token of answer i.
static drt_status write_token(work *w, int i, const float *logits, drt_error *err) {
    writer *a = &w->writer[i];
    drt_reply *r = &w->reply[i];
    int32_t id = drt_pick(&w->picker, logits, w->o->temperature, w->o->top_p, &a->rng);
    if (id < 0)
        return drt_fail(err, DRT_ENUMERIC,
                        "prompt %d, token %d: the model's output is not a number; its weights are damaged", i + 1,
                        r->n + 1);
    if (w->picker.ends[id]) return end_answer(w, i, DRT_FINISH_EOS, err);
    r->id[r->n++] = id;
    a->last = id;
    drt_status status = drt_stream_put(&a->stream, id, err);
    if (status) return status;
    if (a->stream.ended) return end_answer(w, i, DRT_FINISH_STOP, err);
    size_t size;
    const char *text = drt_stream_ready(&a->stream, &size);
    if (w->o->on_text && !w->o->on_text(w->o->user, i, text, size)) return end_answer(w, i, DRT_FINISH_CALLER, err);
    return r->n == a->budget ? end_answer(w, i, DRT_FINISH_LENGTH, err) : DRT_OK;
}

static drt_status write_answers(work *w, drt_mat logits, drt_error *err) {
    int feeds = w->n;
    drt_status status = DRT_OK;
    for (int i = 0; i < w->n; i++) w->who[i] = i;
    for (;;) {
        int next = 0;
        for (int f = 0; f < feeds && !status; f++) {
            int i = w->who[f];
            status = write_token(w, i, drt_row(logits, f), err);
            if (w->writer[i].done) continue;
            w->who[next] = i; // next <= f: nothing unread is overwritten
            w->feed[next++] = (drt_feed){.sequence = i, .id = &w->writer[i].last, .n = 1};
        }
        feeds = next;
        if (status || !feeds) return status;
        status = drt_session_feed(w->session, w->feed, feeds, &logits, err);
        if (status) return status;
    }
}

drt_status drt_generate(const drt_model *model, drt_tape *tape, const drt_prompt *prompts, int n,
                        const drt_generate_options *options, drt_reply *replies, drt_error *err) {
    work w = {.model = model, .prompt = prompts, .o = options, .reply = replies, .n = n};
    drt_mat logits = {0};
    if (n < 1) return DRT_OK;
    if (options->max_new_tokens < 0)
        return drt_fail(err, DRT_EARG, "max_new_tokens: %d is negative", options->max_new_tokens);
    memset(replies, 0, (size_t)n * sizeof *replies);
    drt_status status = prepare(&w, tape, err);
    if (!status) status = read_prompts(&w, &logits, err);
    if (!status && options->max_new_tokens > 0) status = write_answers(&w, logits, err);
    for (int i = 0; i < n && !status; i++) {
        replies[i].text = drt_stream_text(&w.writer[i].stream);
        if (!replies[i].text) status = drt_fail(err, DRT_ENOMEM, "no memory for an answer");
    }
    for (int i = 0; i < n && w.writer; i++) drt_stream_free(&w.writer[i].stream);
    if (status) drt_replies_free(replies, n);
    drt_session_free(w.session);
    drt_picker_free(&w.picker);
    free(w.writer), free(w.feed), free(w.who), free(w.logprob), free(w.first);
    return status;
}
