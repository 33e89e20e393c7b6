// The models and batches that are timed, here and in tools/peers/model_step.py: bench/sizes/NAME.json is a config.json
// with the rows of text of every sequence. Weights are random, pixels and words made up; shapes are what counts.
#ifndef DRT_BENCH_SIZES_H
#define DRT_BENCH_SIZES_H

#include "train/loader.h"

enum { BENCH_SEQUENCES = 64 };

typedef struct {
    drt_model_config config;
    int n, text[BENCH_SEQUENCES];
} bench_size;

// File bench/sizes/NAME.json, from the folder that the program runs in.
drt_status bench_size_read(bench_size *s, const char *name, drt_error *err);

// Random weights; `learns` and keep (f32 or bf16) as drt_model_options.
drt_status bench_model(drt_model **out, const bench_size *s, const bool learns[DRT_GROUPS], drt_keep keep,
                       drt_error *err);
// Bytes of weights, gradients and optimizer state.
double bench_model_bytes(const drt_model *m);

enum { BENCH_CLASSES = 24, BENCH_GRID = 2 }; // the bank of image order
enum { BENCH_PROMPT = 32 };                  // words that all sequences begin with: LLaVA's system prompt takes 33
// One packed batch with a picture and an answer a sequence: BOS, the common words, the picture, a question (a quarter
// of the words that are left), an answer. order:
// with an image-order pass beside each. In the arena of d; d->store: features that are there are not computed.
drt_status bench_batch(drt_step_data *d, const bench_size *s, const drt_model *m, bool order, drt_error *err);
drt_align_options bench_options(const drt_model *m);

#endif
