// A tiny world for tests that train as a user does, by the program `drt` (its path is in $DRT): pictures and captions,
// a tokenizer, a LLaVA model of two layers of 16. One serves all tests of a program:
//
//   static void stops(void **state) {
//       const world *w = *state;
//       if (!w->folder) skip();
//       char *said = world_train(w, &rc, "run-a", "train.stop=4");
//       free(said), said = world_run(w, &rc, "drt runs show run-a; ls run-a");
//   ...
//   cmocka_run_group_tests(tests, world_open, world_close);
#ifndef DRT_TESTS_WORLD_H
#define DRT_TESTS_WORLD_H

#include "train/recipe.h"

#include <sys/types.h>

typedef struct {
    char *folder; // absolute: world/ (12 captions in pretrain.json, ...), tokenizer/, model/; NULL: there is no program
    char *path;   // where the program is
} world;

int world_open(void **state);
int world_close(void **state);

// FOLDER/NAME, with folders made on the way; malloc'ed text of it.
void world_write(const world *w, const char *name, const char *text);
char *world_read(const world *w, const char *name);

// A shell's words, run in the folder, where drt is the program and has a history of its own: what they say on both
// streams, malloc'ed.
char *world_run(const world *w, int *rc, const char *format, ...) __attribute__((format(printf, 3, 4)));
// The same; fails the test unless they end well.
void world_must(const world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
// The same, not waited for; what is said goes into FOLDER/said. Begin with exec where the child is to be signalled.
pid_t world_start(const world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

// The keys of every run here: one thread, batches of 4, 9 steps, a checkpoint every 2. Later ones win.
extern const char world_keys[];
// A recipe of these and of more, "a=b c=d", for a training in this process; out=FOLDER/unused.
drt_status world_recipe(const world *w, drt_recipe *r, const char *more, drt_error *err);
// Trains into FOLDER/out; what it said, malloc'ed.
char *world_train(const world *w, int *rc, const char *out, const char *more);
// A run that must succeed: the hash of its weights, 16 digits.
void world_weights(const world *w, const char *out, const char *more, char hash[20]);
// A run that must be refused, with these n words in what it says.
void world_refused(const world *w, const char *out, const char *more, const char *const *words, int n);

#endif
