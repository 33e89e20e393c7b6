// Question files: DIR/eval/TASK.jsonl, one question a line, as docs/shapes.md and LLaVA's evaluation lay them out.
#ifndef DRT_EVAL_QUESTIONS_H
#define DRT_EVAL_QUESTIONS_H

#include "base/arena.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

// More answers than these are not compared one by one: such questions are asked freely only.
enum { DRT_MOST_ALLOWED = 100 };

typedef struct {
    const char *id;
    const char *image; // path (folder joined); NULL: a question without a picture
    const char *text;  // the whole prompt, "Answer with ..." included
    const char *answer;
    const char *category; // "" if the file gives none
    const char **allowed; // [n_allowed] all answers that the question admits; NULL: unknown
    int n_allowed, right; // allowed[right] is the answer
    bool yes_no;          // the answer is yes or no
} drt_question;

typedef struct {
    const char *task;
    drt_question *at; // [n]
    int64_t n;
    bool images;  // some question shows a picture
    bool letters; // all answers are option letters from A on: judged as multiple choice
    // The share of questions that one and the same answer gets right, the best such answer for each set of allowed
    // answers: as DIR/world.json says (most frequent in training; over the whole file), else most frequent in the file.
    double prior;
    bool prior_of_world;
} drt_questions;

// Reads the first `limit` questions (0: all) into the arena. Keys: question_id (text or number), text, answer; optional
// image (relative to `folder`), category, answers. Without `answers` the allowed ones are yes and no if all answers
// are, else all answers that occur. DRT_EFORMAT, DRT_EDATA: the message names the line; a missing picture is refused
// here.
drt_status drt_questions_read(drt_questions *out, const char *folder, const char *task, int64_t limit, drt_arena *arena,
                              drt_error *err);
// Names of all task files of the folder, sorted, in the arena. DRT_EIO: there is none.
drt_status drt_questions_list(const char *folder, const char ***tasks, int *n, drt_arena *arena, drt_error *err);

#endif
