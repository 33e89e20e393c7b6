// The shapes world: pictures of coloured shapes with captions, conversations and questions, all made from a seed.
//
//   drt_shapes_config config = {.out = "shapes", .train = 4000, .eval = 500, .text = 4000, .seed = 1};
//   drt_shapes_summary summary;
//   if (drt_shapes_generate(&config, &summary, &err)) ...
//
// The folder it fills, the schemas and the reasons for the world's design: docs/shapes.md.
#ifndef DRT_DATA_SHAPES_H
#define DRT_DATA_SHAPES_H

#include "base/error.h"
#include "base/progress.h"

#include <stdint.h>

typedef struct {
    const char *out;     // folder; made if missing. What an earlier run left there is replaced
    int64_t train, eval; // pictures of each split, 1..10 000 000
    int64_t text;        // text-only samples, 0..10 000 000
    uint64_t seed;
    drt_progress progress; // .report may be NULL
} drt_shapes_config;

enum { DRT_SHAPES_MAX_TASKS = 16 };

typedef struct {
    const char *name;  // of eval/NAME.jsonl
    int64_t questions; // lines in that file
    double prior;      // share answered rightly by always giving the answer most frequent in training
} drt_shapes_task;

typedef struct {
    int n_tasks;
    drt_shapes_task task[DRT_SHAPES_MAX_TASKS];
    int64_t image_bytes, text_bytes; // sizes of all pictures and of all JSON files
    int64_t turns;                   // question-answer pairs in finetune.json
    int64_t text_turns;              // ... and in text.json
    int64_t order;                   // sentences with two readings in eval/order.json
    int words;                       // distinct words of the whole world
    double seconds;
} drt_shapes_summary;

// Writes the data set. world.json comes last: a folder without it is an unfinished one. Same config, same bytes.
// Errors: DRT_EARG (a count out of range, no folder named), DRT_EIO (the folder cannot be written), DRT_ENOMEM.
drt_status drt_shapes_generate(const drt_shapes_config *config, drt_shapes_summary *summary, drt_error *err);

#endif
