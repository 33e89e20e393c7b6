// The files of a shapes folder while they are being written: streamed, tallied, each complete or absent.
#ifndef DRT_DATA_SHAPES_FILES_H
#define DRT_DATA_SHAPES_FILES_H

#include "base/file.h"
#include "data/shapes.h"
#include "data/shapes_world.h"

// Which answers were given how often. Within a kind, sets of allowed answers differ by their size (relation: 2 or 4).
enum { MAX_ANSWERS = 12, ANSWER_SETS = 2 };
typedef struct {
    int64_t of[N_ASKS][ANSWER_SETS][MAX_ANSWERS];
} shapes_tally;
void drt_shapes_tally_add(shapes_tally *t, const drt_shapes_question *q);
// The share of `asked` that the most frequent answers of `trained` get right.
double drt_shapes_prior(const shapes_tally *trained, const shapes_tally *asked, drt_shapes_ask_kind kind);

// The distinct words of the world: letters and digits between anything else.
enum { WORD_SLOTS = 2048, WORD_SIZE = 24 };
typedef struct {
    char slot[WORD_SLOTS][WORD_SIZE];
    int n;
} shapes_vocabulary;
void drt_shapes_words_add(shapes_vocabulary *v, const char *text);

// FOLDER/words.txt: what objects and places are called in captions, each word once, one a line.
drt_status drt_shapes_write_words(const char *folder, drt_error *err);

// A JSON list ("[\n{...},\n{...}\n]") or JSON lines.
typedef struct {
    drt_writer writer;
    const char *name; // under the folder
    bool open, lines;
    int64_t n;
    size_t bytes;
} shapes_list;
drt_status drt_shapes_list_open(shapes_list *l, const char *folder, const char *name, drt_error *err);
void drt_shapes_list_add(shapes_list *l, const drt_text *entry);
drt_status drt_shapes_list_close(shapes_list *l, drt_error *err);

// ---- entries
// {"id":..., "image":..., "conversations":[human, gpt]}; image may be NULL.
void drt_shapes_put_pair(drt_text *t, const char *id, const char *image, const char *human, const char *gpt);
// `lead` stands before the first question: "<image>" or a description.
void drt_shapes_put_conversation(drt_text *t, const char *id, const char *image, const char *lead,
                                 const drt_shapes_question *q, int n);
// One line of eval/*.jsonl; image or lead may be NULL.
void drt_shapes_put_question(drt_text *t, int64_t id, const char *image, const char *lead,
                             const drt_shapes_question *q);
// What is to be learned from samples without a picture: to say words again; to answer from descriptions; the same, most
// of all relations; the same, half of it and all sentences to order from maps.
typedef enum { LESSON_REPEAT, LESSON_TEXT, LESSON_RELATE, LESSON_MAPS } drt_shapes_lesson;
// One such sample, of 20: 1 a caption of nothing, 1 words to repeat, 3 a caption to retell, 2 (maps: 8) a sentence to
// put in order, else questions. Its words go to `words`, its questions to `asked` (may be NULL). Returns its questions.
int drt_shapes_put_reading(drt_text *entry, const char *id, drt_shapes_lesson lesson, drt_rng *r,
                           shapes_vocabulary *words, shapes_tally *asked);
// A description that holds whatever may be asked of it.
void drt_shapes_tell(drt_text *t, const drt_shapes_scene *s, drt_rng *r, drt_shapes_known *known);
// An entry of clip.json.
void drt_shapes_put_contrast(drt_text *t, const char *id, const char *image, const drt_shapes_scene *s, drt_rng *r);

#endif
