// What the files of the shapes world share: the scene, its words, its questions. Not for use outside shapes*.c
// and their test. Lengths are in pixels of the central view, 64 x 64, y downwards.
#ifndef DRT_DATA_SHAPES_WORLD_H
#define DRT_DATA_SHAPES_WORLD_H

#include "base/rng.h"
#include "base/text.h"
#include "format/image.h"

#include <stdbool.h>

enum {
    SHAPES_VIEW = 64,  // side of the view
    SHAPES_GRID = 8,   // patches a side in the per-patch truth
    SHAPES_LABELS = 5, // of a patch: colour, shape, size, word, background
    N_SHAPES = 6,
    N_COLORS = 8,
    N_SIZES = 2,
    N_TEXTURES = 3,
    N_WORDS = 10,
    N_PLACES = 9,
    N_GROUNDS = 5,
    MAX_OBJECTS = 4
};
enum { RING = 4 }; // the shape with a hole
enum { LEFT, RIGHT, ABOVE, BELOW, NO_DIRECTION };

extern const char *const drt_shapes_names[N_SHAPES], *const drt_shapes_plurals[N_SHAPES];
extern const char *const drt_shapes_colors[N_COLORS], *const drt_shapes_sizes[N_SIZES];
extern const char *const drt_shapes_textures[N_TEXTURES], *const drt_shapes_signs[N_WORDS];
extern const char *const drt_shapes_grounds[N_GROUNDS]; // from the top of a picture to its bottom
extern const char *const drt_shapes_places[N_PLACES];   // "top left" ...; row * 3 + column
extern const char *const drt_shapes_directions[4];      // "left" ...
extern const char *const drt_shapes_yes_no[2], *const drt_shapes_digits[5], *const drt_shapes_letters[4];

typedef struct {
    int shape, color, size, texture;
    int row, column;    // of the 3 x 3 layout
    float x, y, radius; // centre and radius of the bounding circle
    float turn;         // radians
} drt_shapes_object;

// Everything in the picture that no question asks about; drawn at random so that nothing is constant.
typedef struct {
    float sky_top[3], sky_low[3], ground_far[3], ground_near[3]; // 0..1
    float horizon, light, vanish, lines, line_width, shadow, shade;
    float plate[3], ink[3];
} drt_shapes_look;

typedef struct {
    int n;
    drt_shapes_object object[MAX_OBJECTS]; // in raster order of the layout; (colour, shape) is unique
    int word;                              // -1: no sign
    int word_row, word_column;
    float word_x, word_y, dot; // centre of the plate; side of a font pixel
    drt_shapes_look look;
    int width, height; // of the file; the view is its central square
    int quality;       // of the JPEG; 0: PNG
} drt_shapes_scene;

// ---- scenes (shapes_scene.c)
// Draws a scene of one split. A scene's content (not its jitter or look) belongs by its hash either to training or
// to evaluation, so that no evaluated scene was ever trained on, whatever the seeds.
void drt_shapes_sample(drt_shapes_scene *s, bool held_out, drt_rng *r);
bool drt_shapes_held_out(const drt_shapes_scene *s);
// Where object i lies from object j; NO_DIRECTION unless they share exactly a row or a column of the layout.
int drt_shapes_direction(const drt_shapes_scene *s, int i, int j);
// Whether a lies on side d of b at all, straight or slanting.
bool drt_shapes_lies(const drt_shapes_object *a, int d, const drt_shapes_object *b);
int drt_shapes_find(const drt_shapes_scene *s, int color, int shape);  // index or -1
int drt_shapes_count(const drt_shapes_scene *s, int color, int shape); // -1: any

// ---- pictures (shapes_draw.c, shapes_sign.c)
drt_status drt_shapes_draw(const drt_shapes_scene *s, drt_image *image, drt_error *err);
// Per patch of the view, row-major: colour, shape, size, word of what covers it, each 1.., 0 for background; and which
// background it is, 1.. (the index into drt_shapes_grounds + 1), 0 where something covers it.
void drt_shapes_patches(const drt_shapes_scene *s, uint8_t out[SHAPES_GRID * SHAPES_GRID][SHAPES_LABELS]);
// Whether a point inside the plate (in dots from its top left corner of the text) is ink.
bool drt_shapes_ink(int word, float x, float y);

// ---- captions (shapes_words.c)
typedef enum {
    STYLE_PLACES,       // "a small striped red ring at the top left, ..."
    STYLE_LIST,         // "a small striped red ring, ... . the red ring is left of the blue star."
    STYLE_BOTH,         // places and relations
    STYLE_TWO_READINGS, // "a red ring left of a blue star"
    STYLE_SENTENCES     // several of those, with sizes
} drt_shapes_style;
// What a reader of a description can know. For a picture: everything.
typedef struct {
    bool places, textures;
    uint8_t stated[MAX_OBJECTS][MAX_OBJECTS]; // [i][j]: the sentence "i is ... j" stands in the text
} drt_shapes_known;
// Appends a caption. `known` may be NULL. Returns false, adding nothing, when the style needs two objects in a
// row or column and there are none.
bool drt_shapes_caption(drt_text *t, const drt_shapes_scene *s, drt_shapes_style style, drt_rng *r,
                        drt_shapes_known *known);
// Appends the map of a scene: one word for each patch, row by row, as a tower that sees one patch at a time would name
// it ("highsky highsky smallredring ..."). It tells places, sizes, the sign; no textures.
void drt_shapes_map(drt_text *t, const drt_shapes_scene *s, drt_shapes_known *known);
drt_shapes_style drt_shapes_pick_style(drt_rng *r); // as often as pretrain.json wants it
// Up to `most` captions that are false of the scene and differ in one attribute or relation from the caption that
// `style` and the state of `r` give. Returns how many.
int drt_shapes_hard_negatives(drt_text *out, int most, const drt_shapes_scene *s, drt_shapes_style style,
                              const drt_rng *r, drt_rng *choices);

// ---- questions (shapes_ask.c)
typedef enum {
    ASK_EXIST,
    ASK_COUNT,
    ASK_COLOR,
    ASK_RELATION,
    ASK_TEXT,
    ASK_CHOICE, // these have a file under eval/
    ASK_PLACE,
    ASK_SIZE,
    ASK_TEXTURE,
    ASK_SHAPE,
    ASK_NEIGHBOUR,
    ASK_SIGN,
    N_ASKS
} drt_shapes_ask_kind;
enum { EXIST_RANDOM, EXIST_POPULAR, EXIST_ADVERSARIAL, EXIST_ANY };
typedef struct {
    drt_shapes_ask_kind kind;
    char text[320]; // without the closing instruction
    char answer[24];
    const char *const *answers; // all that the task allows; NULL: open
    int n_answers;
    const char *category;
    uint64_t key;     // equal for questions that would give each other away
    bool presupposes; // "the red ring" tells that there is one
} drt_shapes_question;
// Asks one question of a kind; false when this scene (or what is known of it) does not allow one.
bool drt_shapes_ask(drt_shapes_question *q, drt_shapes_ask_kind kind, const drt_shapes_scene *s,
                    const drt_shapes_known *known, drt_rng *r);
// "is there a red ring?" with the wanted answer; `negatives` EXIST_RANDOM.. chooses how a "no" is made.
bool drt_shapes_ask_exist(drt_shapes_question *q, const drt_shapes_scene *s, bool yes, int negatives, drt_rng *r);
bool drt_shapes_popular(int color, int shape); // one of the six combinations drawn more often than others
void drt_shapes_draw_popular(int *color, int *shape, drt_rng *r);

// ---- choices (shapes_choice.c)
bool drt_shapes_ask_neighbour(drt_shapes_question *q, const drt_shapes_scene *s, const drt_shapes_known *known,
                              drt_rng *r);
bool drt_shapes_ask_choice(drt_shapes_question *q, const drt_shapes_scene *s, const drt_shapes_known *known,
                           drt_rng *r);

// ---- conversations (shapes_talk.c)
enum { MAX_TURNS = 8 };
// "repeat: red ring above" -> "red ring above red ring above": 4 to 12 words, said two or three times.
void drt_shapes_repeat(drt_text *human, drt_text *gpt, drt_rng *r);
extern const char drt_shapes_short[], drt_shapes_letter[]; // LLaVA's closing instructions
// 5..8 questions (fewer for an empty scene) that do not answer each other, in `out`. Returns how many.
// relate: mostly of relations and places.
int drt_shapes_conversation(drt_shapes_question out[MAX_TURNS], const drt_shapes_scene *s,
                            const drt_shapes_known *known, bool relate, drt_rng *r);

#endif
