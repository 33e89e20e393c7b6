// Questions put to a model: batches of prompts, free answers and restricted ones, with the picture or with a black one.
//
//   drt_eval_options o = {.data = "out/shapes", .batch = 32};
//   drt_eval_result r;
//   if (drt_eval_run(model, tape, &o, &r, &err)) ...
//   drt_text table = {0};
//   drt_eval_table(&r, &table);
//   drt_eval_result_free(&r);
//
// A free answer is written greedily and is right when it equals the answer after VQA normalisation (text_metrics.h);
// where all answers are option letters, when it names that option. A restricted answer is the allowed one with the
// highest total log-probability (infer/generate.h): it takes away what a model loses by writing something else, so that
// a blind model is compared at what it knows. Questions answered by yes or no are also judged as POPE does.
#ifndef DRT_EVAL_TASKS_H
#define DRT_EVAL_TASKS_H

#include "base/progress.h"
#include "data/conversation.h"
#include "eval/puzzles.h"
#include "eval/text_metrics.h"
#include "eval/words.h"
#include "model/model.h"

typedef struct {
    const char *data;         // folder: DIR/eval/TASK.jsonl, pictures relative to DIR
    const char *const *tasks; // [n_tasks]; NULL: all that are there (a decoder without tower: those without pictures)
    int n_tasks;
    bool blind;                    // every picture is black (all pixels 0 before normalisation)
    bool skip_restricted;          // free answers only
    int batch;                     // prompts at a time; 0: 32
    int64_t limit;                 // questions of each task; 0: all
    int max_new_tokens;            // 0: 128, as LLaVA's loader
    const drt_template *how;       // NULL: the model's own
    const drt_token_mixer *order;  // input order; NULL: the model's own
    const drt_word_labels *labels; // also the alignment accuracy over the pictures shown; NULL: not
    drt_progress *progress;        // may be NULL
} drt_eval_options;

typedef struct {
    int64_t n, right;                 // questions; right when free
    int64_t restricted_n, restricted; // questions with allowed answers; right when restricted to them
    int64_t yes_no;                   // questions answered by yes or no
    drt_pope pope;                    // of those
} drt_eval_counts;

typedef struct {
    const char *name;
    drt_eval_counts counts;
} drt_eval_category;

typedef struct {
    const char *id, *image, *text, *answer, *category; // image: path or NULL
    const char *reply;                                 // free
    const char *restricted;                            // "" if there was no restricted answer
    bool right, restricted_right;
} drt_eval_item;

typedef struct {
    const char *name;
    drt_eval_counts all;
    drt_eval_category *category; // [categories] in the order of their first question
    int categories;
    drt_eval_item *item; // [all.n]
    double prior;        // see drt_questions
    bool prior_of_world;
    double seconds;
} drt_eval_task;

typedef struct {
    bool blind;              // as run
    drt_token_mixer order;   // as run; its order is NONE without one
    drt_alignment alignment; // patches 0: nobody asked, or blind
    drt_eval_task *task;     // [tasks]
    int tasks;
    drt_arena *arena; // owns everything above
} drt_eval_result;

// All questions are read and checked before the first one is asked. DRT_EIO, DRT_EFORMAT, DRT_EDATA: a file, a line;
// DRT_ECONFIG: the model has no tower or no tokenizer. *out is empty after a failure.
drt_status drt_eval_run(const drt_model *model, drt_tape *tape, const drt_eval_options *options, drt_eval_result *out,
                        drt_error *err);
void drt_eval_result_free(drt_eval_result *r);
const drt_eval_task *drt_eval_find(const drt_eval_result *r, const char *task); // NULL if it was not run
double drt_eval_accuracy(const drt_eval_counts *c);                             // right / n
double drt_eval_restricted(const drt_eval_counts *c); // restricted / restricted_n; NaN of none

// tasks_report.c: for a terminal, and {"blind", "order", "tasks": {TASK: {"questions", "accuracy", "restricted",
// "prior", "yes_no":
// {"accuracy", "precision", "recall", "f1", "yes_rate"}, "categories": {...}, "items": [...]}}}. Numbers are fractions;
// "restricted" is null where nothing was restricted, "yes_no" stands where all questions are of that kind.
// With labels: "alignment": {"pictures", "patches", "accuracy", "cosine"}.
// puzzles (may be NULL): "image_order_accuracy", "image_order_chance", "text_order_exact", "guided_mass", null for NaN.
void drt_eval_table(const drt_eval_result *r, const drt_puzzles *puzzles, drt_text *out);
void drt_eval_json(const drt_eval_result *r, const drt_puzzles *puzzles, drt_text *out);

#endif
