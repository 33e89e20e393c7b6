// The table of a recipe's keys: one row per key drives loading, overrides, messages, help and writing back.
// Private to recipe*.c. Adding a key is one field in recipe.h and one row in recipe_keys.c.
#ifndef DRT_TRAIN_RECIPE_KEYS_H
#define DRT_TRAIN_RECIPE_KEYS_H

#include "train/recipe.h"

typedef enum { DRT_KEY_INT, DRT_KEY_FLOAT, DRT_KEY_BOOL, DRT_KEY_STRING, DRT_KEY_ENUM } drt_key_type;
enum { DRT_KEY_ABOVE = 1, DRT_KEY_BELOW = 2 }; // `least` itself is not allowed; `most` itself is not

typedef struct {
    const char *path; // dotted; rows of one section stand together
    drt_key_type type;
    size_t offset;     // in drt_recipe
    const char *value; // default, as a recipe would spell it
    const char *doc;   // one line
    double least, most;
    int open;            // DRT_KEY_ABOVE, DRT_KEY_BELOW
    const char *choices; // enum: "a|b|c" in the order of its C type
} drt_recipe_key;

typedef struct {
    drt_task task;
    const char *path, *value;
} drt_recipe_task_default;

extern const drt_recipe_key drt_recipe_keys[];
extern const int drt_recipe_key_count;
extern const drt_recipe_task_default drt_recipe_task_defaults[];
extern const int drt_recipe_task_default_count;

// The row of a dotted path, or of a last word that only one path has; NULL if there is none.
const drt_recipe_key *drt_recipe_key_find(const char *name);
// Appends why `name` is no key: the keys it may stand for, or the nearest one.
void drt_recipe_key_explain(const char *name, drt_text *out);
// Appends what a key allows: "one of cosine, linear, constant", "a whole number, 1 or more".
void drt_recipe_key_allowed(const drt_recipe_key *key, drt_text *out);
// Parses `value` into the recipe's field; on failure the message starts with the key, not with a place.
drt_status drt_recipe_key_set(drt_recipe *recipe, const drt_recipe_key *key, const char *value, drt_error *err);
// Reads choice number i of "a|b|c" into out (64 bytes at least); false when there are fewer.
bool drt_recipe_choice(const char *choices, int i, char out[64]);
// Refuses keys that contradict each other; *key is then the row to blame.
drt_status drt_recipe_contradiction(const drt_recipe *recipe, const drt_recipe_key **key, drt_error *err);

#endif
