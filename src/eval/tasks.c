#include "eval/tasks.h"

#include "eval/questions.h"
#include "infer/generate.h"
#include "infer/picture.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef struct {
    const drt_model *m;
    drt_tape *t;
    const drt_eval_options *o;
    const drt_template *how;
    drt_eval_result *out;
    drt_questions *questions; // [out->tasks]
    drt_error *err;
    // One batch, [batch] each.
    int batch;
    drt_prompt *prompt;
    drt_reply *reply;
    drt_encoded *encoded;
    float *pixels;       // [batch * drt_picture_size]
    drt_arena *scratch;  // choices of a batch
    int64_t done, total; // questions
} run;

static const char *name_of(const drt_model *m) { return m->folder ? m->folder : "the model"; }

// ---- asking --------------------------------------------------------------------------------------------------------

// What follows the prompt when the model answers `answer` and ends: the ids of the whole conversation behind those of
// the prompt.
static drt_status choice_ids(run *r, const drt_question *q, const char *human, const char *answer,
                             const drt_encoded *prompt, drt_choice *out) {
    drt_encoded e = {0};
    const drt_turn turns[] = {{true, human}, {false, answer}};
    drt_status status = drt_conversation_encode(r->how, r->m->tokenizer, turns, 2, q->image != NULL, &e, r->err);
    if (status) return status;
    while (e.n > prompt->n && e.label[e.n - 1] == DRT_IGNORE) e.n--; // a template's line end behind the answer's
    int n = e.n - prompt->n;
    int32_t *id = n > 0 ? drt_arena_array(r->scratch, n, sizeof *id) : NULL;
    if (n < 1 || memcmp(e.id, prompt->id, (size_t)prompt->n * sizeof *id))
        status = drt_fail(r->err, DRT_EDATA,
                          "question %s: %s joins the end of the prompt with '%s', so restricted answers "
                          "cannot be compared; leave them out",
                          q->id, "the tokenizer", answer);
    else if (!id) status = drt_fail(r->err, DRT_ENOMEM, "no memory for answers");
    else {
        memcpy(id, e.id + prompt->n, (size_t)n * sizeof *id);
        *out = (drt_choice){id, n};
    }
    drt_encoded_free(&e);
    return status;
}

static drt_status encode(run *r, const drt_question *q, int i) {
    drt_text human = {0};
    bool placed = strstr(q->text, DRT_IMAGE_PLACEHOLDER) != NULL;
    drt_text_printf(&human, "%s%s", q->image && !placed ? DRT_IMAGE_PLACEHOLDER "\n" : "", q->text);
    if (human.failed) {
        drt_text_free(&human);
        return drt_fail(r->err, DRT_ENOMEM, "no memory for a prompt");
    }
    const drt_turn turn = {true, human.bytes};
    drt_encoded *e = &r->encoded[i];
    drt_status status = drt_conversation_prompt(r->how, r->m->tokenizer, &turn, 1, q->image != NULL, e, r->err);
    drt_choice *choice = NULL;
    if (!status && q->allowed && !r->o->skip_restricted) {
        choice = drt_arena_array(r->scratch, q->n_allowed, sizeof *choice);
        if (!choice) status = drt_fail(r->err, DRT_ENOMEM, "no memory for answers");
        for (int k = 0; k < q->n_allowed && !status; k++)
            status = choice_ids(r, q, human.bytes, q->allowed[k], e, &choice[k]);
    }
    drt_text_free(&human);
    r->prompt[i] = (drt_prompt){
        .id = e->id, .n = e->n, .images = e->images, .choice = choice, .choices = choice ? q->n_allowed : 0};
    return status;
}

static drt_status show(run *r, const drt_question *q, int i) {
    if (!q->image) return DRT_OK;
    float *out = r->pixels + i * drt_picture_size(r->m);
    r->prompt[i].patches = out;
    return r->o->blind ? drt_picture_black(r->m, out, r->err) : drt_picture_read(r->m, q->image, out, r->err);
}

static void count(drt_eval_counts *c, const drt_question *q, const drt_eval_item *item) {
    c->n++;
    c->right += item->right;
    c->restricted_n += *item->restricted != 0;
    c->restricted += item->restricted_right;
    if (!q->yes_no) return;
    c->yes_no++;
    drt_pope_add(&c->pope, drt_pope_says_yes(item->reply), !strcasecmp(q->answer, "yes"));
}

static drt_eval_counts *category_of(drt_eval_task *task, const char *name) {
    int k = 0;
    while (k < task->categories && strcmp(task->category[k].name, name)) k++;
    if (k == task->categories) task->category[task->categories++] = (drt_eval_category){.name = name};
    return &task->category[k].counts;
}

static drt_status judge(run *r, const drt_questions *file, drt_eval_task *task, int64_t at, const drt_reply *reply) {
    const drt_question *q = &file->at[at];
    drt_eval_item *item = &task->item[at];
    *item = (drt_eval_item){q->id,
                            q->image,
                            q->text,
                            q->answer,
                            q->category,
                            drt_arena_strdup(r->out->arena, reply->text),
                            reply->best < 0 ? "" : q->allowed[reply->best],
                            false,
                            false};
    if (!item->reply) return drt_fail(r->err, DRT_ENOMEM, "no memory for answers");
    if (file->letters) item->right = drt_choice_answer(item->reply, q->n_allowed) == q->answer[0] - 'A';
    else item->right = drt_answer_matches(item->reply, q->answer);
    item->restricted_right = reply->best >= 0 && reply->best == q->right;
    count(&task->all, q, item);
    count(category_of(task, q->category), q, item);
    return DRT_OK;
}

static drt_status ask_batch(run *r, const drt_questions *file, drt_eval_task *task, int64_t from, int n) {
    const drt_generate_options how = {.max_new_tokens = r->o->max_new_tokens ? r->o->max_new_tokens : 128,
                                      .stop = &r->how->end, // matters where it is not EOS
                                      .stops = 1,
                                      .order = r->o->order};
    drt_status status = DRT_OK;
    drt_arena_reset(r->scratch);
    for (int i = 0; i < n && !status; i++) {
        status = encode(r, &file->at[from + i], i);
        if (!status) status = show(r, &file->at[from + i], i);
        if (status) drt_fail_in(r->err, "%s, question %s", file->task, file->at[from + i].id);
    }
    if (!status) {
        status = drt_generate(r->m, r->t, r->prompt, n, &how, r->reply, r->err);
        if (status) drt_fail_in(r->err, "%s, from question %s on", file->task, file->at[from].id);
        for (int i = 0; i < n && !status; i++) status = judge(r, file, task, from + i, &r->reply[i]);
        drt_replies_free(r->reply, n);
    }
    for (int i = 0; i < n; i++) drt_encoded_free(&r->encoded[i]);
    r->done += n;
    drt_progress_at(r->o->progress, r->done, r->total);
    return status;
}

static drt_status ask_task(run *r, const drt_questions *file, drt_eval_task *task) {
    double start = drt_clock();
    drt_arena *a = r->out->arena;
    *task = (drt_eval_task){.name = file->task, .prior = file->prior, .prior_of_world = file->prior_of_world};
    task->item = drt_arena_array(a, file->n, sizeof *task->item);
    task->category = drt_arena_array(a, file->n, sizeof *task->category);
    if (!task->item || !task->category) return drt_fail(r->err, DRT_ENOMEM, "no memory for %s", file->task);
    drt_status status = DRT_OK;
    for (int64_t at = 0; at < file->n && !status; at += r->batch)
        status = ask_batch(r, file, task, at, (int)(file->n - at < r->batch ? file->n - at : r->batch));
    task->seconds = drt_clock() - start;
    return status;
}

// ---- before the first question -------------------------------------------------------------------------------------

static drt_status check_names(const drt_eval_options *o, const char *const *there, int n, drt_error *err) {
    for (int i = 0; i < o->n_tasks; i++) {
        int k = 0;
        while (k < n && strcmp(there[k], o->tasks[i])) k++;
        if (k < n) continue;
        const char *near = drt_nearest(o->tasks[i], there, n);
        drt_text all = {0};
        for (k = 0; k < n; k++) drt_text_printf(&all, "%s%s", k ? ", " : "", there[k]);
        drt_fail(err, DRT_EARG, "%s/eval has no task '%s'%s%s%s; it has %s", o->data, o->tasks[i],
                 near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "",
                 all.failed ? "others" : all.bytes);
        drt_text_free(&all);
        return DRT_EARG;
    }
    return DRT_OK;
}

static drt_status read_questions(run *r) {
    const char **names = NULL;
    int n = 0;
    drt_arena *a = r->out->arena;
    drt_status status = drt_questions_list(r->o->data, &names, &n, a, r->err);
    if (!status && r->o->tasks) status = check_names(r->o, names, n, r->err);
    if (status) return status;
    const char *const *tasks = r->o->tasks ? r->o->tasks : names;
    if (r->o->tasks) n = r->o->n_tasks;
    bool sees = r->m->config.kind == DRT_MODEL_LLAVA;
    r->questions = drt_arena_array(a, n, sizeof *r->questions);
    r->out->task = drt_arena_array(a, n, sizeof *r->out->task);
    if (!r->questions || !r->out->task) return drt_fail(r->err, DRT_ENOMEM, "no memory for %d tasks", n);
    for (int i = 0; i < n; i++) {
        drt_questions *q = &r->questions[r->out->tasks];
        status = drt_questions_read(q, r->o->data, tasks[i], r->o->limit, a, r->err);
        if (status) return status;
        if (q->images && !sees && !r->o->tasks) continue;
        if (q->images && !sees)
            return drt_fail(r->err, DRT_ECONFIG,
                            "%s has no vision tower, and the task '%s' shows pictures; choose tasks "
                            "without pictures or a LLaVA model",
                            name_of(r->m), tasks[i]);
        r->total += q->n;
        r->out->tasks++;
    }
    if (r->out->tasks) return DRT_OK;
    return drt_fail(r->err, DRT_ECONFIG,
                    "%s has no vision tower, and all tasks of %s/eval show pictures; use a LLaVA model", name_of(r->m),
                    r->o->data);
}

static drt_status prepare(run *r) {
    const drt_model *m = r->m;
    r->batch = r->o->batch > 0 ? r->o->batch : 32;
    r->out->arena = drt_arena_new(0);
    r->scratch = drt_arena_new(0);
    if (!drt_has_decoder(&m->config))
        return drt_fail(r->err, DRT_ECONFIG,
                        "%s is a CLIP model and answers no questions; use the folder of a LLaVA or of a decoder "
                        "(drt probe judges CLIP)",
                        name_of(m));
    drt_status status = drt_model_template(m, r->o->how, &r->how, r->err);
    if (status) return status;
    size_t n = (size_t)r->batch;
    r->prompt = calloc(n, sizeof *r->prompt);
    r->reply = calloc(n, sizeof *r->reply);
    r->encoded = calloc(n, sizeof *r->encoded);
    r->pixels = calloc(n, (size_t)drt_picture_size(m) * sizeof *r->pixels + 1);
    if (!r->out->arena || !r->scratch || !r->prompt || !r->reply || !r->encoded || !r->pixels)
        return drt_fail(r->err, DRT_ENOMEM, "no memory for batches of %d questions; lower the batch", r->batch);
    return read_questions(r);
}

static int by_path(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

// Alignment accuracy over the pictures of all questions, each once.
static drt_status align(run *r) {
    int64_t room = 0;
    int n = 0, kept = 0;
    for (int i = 0; i < r->out->tasks; i++) room += r->questions[i].n;
    const char **path = drt_arena_array(r->out->arena, room, sizeof *path);
    if (!path || room > INT32_MAX) return drt_fail(r->err, DRT_ENOMEM, "no memory for a list of pictures");
    for (int i = 0; i < r->out->tasks; i++)
        for (int64_t k = 0; k < r->questions[i].n; k++)
            if (r->questions[i].at[k].image) path[n++] = r->questions[i].at[k].image;
    qsort(path, (size_t)n, sizeof *path, by_path);
    for (int i = 0; i < n; i++)
        if (!kept || strcmp(path[i], path[kept - 1])) path[kept++] = path[i];
    return drt_eval_alignment(r->m, r->t, r->o->labels, path, kept, r->batch, NULL, &r->out->alignment, r->err);
}

drt_status drt_eval_run(const drt_model *model, drt_tape *tape, const drt_eval_options *options, drt_eval_result *out,
                        drt_error *err) {
    run r = {.m = model, .t = tape, .o = options, .out = out, .err = err};
    *out = (drt_eval_result){.blind = options->blind};
    out->order = options->order ? *options->order : model->config.order;
    drt_status status = prepare(&r);
    // Before the questions: labels that do not fit are told at once.
    if (!status && options->labels && !options->blind) status = align(&r);
    for (int i = 0; i < out->tasks && !status; i++) status = ask_task(&r, &r.questions[i], &out->task[i]);
    if (status) drt_eval_result_free(out);
    drt_arena_free(r.scratch);
    free(r.prompt), free(r.reply), free(r.encoded), free(r.pixels);
    return status;
}

void drt_eval_result_free(drt_eval_result *r) {
    drt_arena_free(r->arena);
    *r = (drt_eval_result){0};
}

const drt_eval_task *drt_eval_find(const drt_eval_result *r, const char *task) {
    for (int i = 0; i < r->tasks; i++)
        if (!strcmp(r->task[i].name, task)) return &r->task[i];
    return NULL;
}

double drt_eval_accuracy(const drt_eval_counts *c) { return c->n ? (double)c->right / (double)c->n : 0; }
double drt_eval_restricted(const drt_eval_counts *c) {
    return c->restricted_n ? (double)c->restricted / (double)c->restricted_n : NAN;
}
