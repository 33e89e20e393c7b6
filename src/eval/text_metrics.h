// How answers are compared: the normalisers of VQA and TextVQA, their leave-one-out score, POPE, multiple choice.
// The rules follow the reference evaluators, quirks included, so that scores can be set beside published ones.
#ifndef DRT_EVAL_TEXT_METRICS_H
#define DRT_EVAL_TEXT_METRICS_H

#include "base/error.h"
#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum {
    DRT_ANSWER_TEXTVQA,      // lower-case, no , and ?, 's apart; then punctuation, numbers, articles, contractions
    DRT_ANSWER_VQA,          // VQAv2's predictions: commas are still there when punctuation is judged
    DRT_ANSWER_VQA_REFERENCE // VQAv2's references: punctuation only
} drt_answer_rules;

// Appends `answer` as the evaluator sees it. Lower-casing is Unicode's simple one; invalid UTF-8 passes unchanged.
// Failure to allocate shows in out->failed.
void drt_answer_normalise(drt_text *out, const char *answer, drt_answer_rules rules);

// Whether both are the same after DRT_ANSWER_TEXTVQA normalisation. False when memory is out.
bool drt_answer_matches(const char *prediction, const char *reference);

// The share of people who agree, 0…1: with k of the 10 references equal to the prediction, the mean over the ten
// choices of nine of min(1, matches / 3): 0, 0.3, 0.6, 0.9, 1. DRT_ANSWER_TEXTVQA normalises both sides; DRT_ANSWER_VQA
// normalises the references by punctuation only, and only if they differ. n other than 10 is DRT_EDATA.
drt_status drt_vqa_score(double *score, const char *prediction, const char *const *references, int n,
                         drt_answer_rules rules, drt_error *err);

// POPE: an answer means no if up to its first full stop one of its words is "No", "no" or "not"; else it means yes.
bool drt_pope_says_yes(const char *answer);

typedef struct {
    int64_t yes_yes, yes_no, no_yes, no_no; // predicted_label
} drt_pope;
void drt_pope_add(drt_pope *p, bool predicted, bool label);

typedef struct {
    double accuracy, precision, recall, f1, yes_rate; // 0…1; a ratio of nothing to nothing is 0
} drt_pope_metrics;
drt_pope_metrics drt_pope_summary(const drt_pope *p);

// ScienceQA: the option that an answer names ("B", "B. a dog", or one "The answer is B."), from 0; -1 if it names
// none of the first n (at most 5) options.
int drt_choice_answer(const char *answer, int n);

#endif
