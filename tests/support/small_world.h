// Trainings of a tiny LLaVA on a dozen pictures through the program (path in $DRT), for tests of what a run does.
//
//   small_world w;
//   if (!small_world_make(&w, "history")) skip();
//   char *said = small_train(&w, &rc, "run-a", "train.steps=9 seed=1");     // out=FOLDER/run-a
#ifndef DRT_TESTS_SMALL_WORLD_H
#define DRT_TESTS_SMALL_WORLD_H

#include <stdbool.h>

typedef struct {
    char *folder; // of the test: model/, world/pretrain.json (12 pictures), world/eval/, and its runs
    const char *drt;
} small_world;

// False where $DRT is not set.
bool small_world_make(small_world *w, const char *name);
void small_world_free(small_world *w);
// Keys of every run here: one thread, batches of 4, 9 steps, a checkpoint every 2. `before` (a shell's words:
// variables, ulimit ...;) stands in front of the command, more behind it. What is said is malloc'ed.
char *small_train_after(const small_world *w, int *rc, const char *before, const char *out, const char *more);
char *small_train(const small_world *w, int *rc, const char *out, const char *more);
// The hash of the weights that the run ended with; fails the test unless it ended well.
void small_weights(const small_world *w, const char *out, const char *more, char hash[20]);
// Writes FOLDER/NAME, making folders on the way.
void small_file(const small_world *w, const char *name, const char *text);

#endif
