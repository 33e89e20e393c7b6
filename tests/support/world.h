// A tiny world for tests that train as a user does, by the program `drt` (its path is in $DRT): pictures and captions,
// a tokenizer, a LLaVA model of two layers of 16.
#ifndef DRT_TESTS_WORLD_H
#define DRT_TESTS_WORLD_H

typedef struct {
    char *folder;    // world/ (pretrain.json, images/), tokenizer/, model/; runs go beside them
    const char *drt; // NULL: there is no program, and no world; such tests skip
} world;

// A group's setup; *state becomes the world, in a folder of that name.
int world_make(void **state, const char *name);
void world_write_file(const world *w, const char *name, const char *text);

// The keys of every run here; later ones on the same command line win.
extern const char world_keys[];
// Trains into folder/out; what it said, malloc'ed.
char *world_train(const world *w, int *rc, const char *out, const char *more);
// A run that must succeed: the hash of its weights, 16 digits.
void world_weights(const world *w, const char *out, const char *more, char *hash);
// A run that must be refused, with these words in what it says.
void world_refused(const world *w, const char *out, const char *more, const char *const *words, int n);

#endif
