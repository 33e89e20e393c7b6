// A recipe says everything about a training run: what is trained, on which samples, how fast. It is a YAML file plus
// overrides from the command line, both read through one table of keys (recipe_keys.c).
//
//   drt_recipe r;
//   if (drt_recipe_load(&r, "configs/finetune.yaml", n, (const char *const[]){"lr=1e-4", "data.limit=64"}, &err)) ...
//   r.optimizer.lr ...
//   drt_recipe_free(&r);
//
// A key is its dotted path (`optimizer.lr`); where the last word of the path belongs to one key only, that word alone
// will do (`lr`). Later overrides win over earlier ones and over the file; a key named twice in the file is refused.
// Paths inside a recipe are taken as they stand: relative ones start at the working folder, not at the recipe's.
#ifndef DRT_TRAIN_RECIPE_H
#define DRT_TRAIN_RECIPE_H

#include "base/error.h"
#include "align/objective.h"
#include "align/sea.h"
#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum { DRT_TASK_LLAVA, DRT_TASK_CLIP, DRT_TASK_LANGUAGE } drt_task;
typedef enum {
    DRT_TEMPLATE_PLAIN,
    DRT_TEMPLATE_AUTO, // the model's own (drt_template_choose)
    DRT_TEMPLATE_V0,
    DRT_TEMPLATE_V1,
    DRT_TEMPLATE_LLAMA_2,
    DRT_TEMPLATE_LLAMA_3,
    DRT_TEMPLATE_CHATML,
    DRT_TEMPLATE_GEMMA,
    DRT_TEMPLATE_PHI3,
    DRT_TEMPLATE_MPT
} drt_template_kind;
typedef enum { DRT_BAD_STOP, DRT_BAD_SKIP } drt_bad_kind;
typedef enum { DRT_FINAL_LAST, DRT_FINAL_BEST } drt_final_kind;
typedef enum { DRT_SCHEDULE_COSINE, DRT_SCHEDULE_LINEAR, DRT_SCHEDULE_CONSTANT } drt_schedule_kind;
typedef enum { DRT_WEIGHTS_FIXED, DRT_WEIGHTS_LEARNED } drt_weights_kind;
typedef enum { DRT_PASSES_ALL, DRT_PASSES_SAMPLED } drt_passes_kind;
typedef enum { DRT_GPS_UNROLLED, DRT_GPS_IMPLICIT } drt_gps_gradient;

// Strings are never NULL once loaded ("" when not given) and belong to the recipe.
typedef struct {
    drt_task task;
    char *model;                 // Hugging Face folder to start from
    char *vision, *language;     // folders to assemble from when `model` is empty
    char *projector;             // of an assembled model
    char *s2_scales;             // "": one scale
    int64_t vision_select_layer; // -1 is the last layer, -2 the one before
    char *out;                   // run folder
    char *device;                // as drt_device_open names it
    int64_t threads;             // 0: all cores
    char *memory;                // that training may take, as "4G" (drt_memory_parse); "": what there is
    drt_keep dtype;              // f32, or bf16 for products and for weights that do not learn
    int64_t seed;
    drt_weights_kind weights;
    drt_passes_kind passes;
    struct {
        char *file;       // samples
        char *validation; // others, that nothing is learned from; "": none
        char *images;     // folder that image names are relative to; "": the folder of `file`
        char *quarantine; // samples to leave out; "": the list beside `file`, if there is one; "none"
        drt_template_kind template;
        drt_aspect aspect;
        drt_bad_kind bad; // what an unusable sample does
        bool group_by_modality;
        int64_t window; // tar shards: so many samples are shuffled together, 0: all
        int64_t context; // most rows of one sequence
        int64_t limit;   // first n samples, 0: all
        int64_t features; // megabytes of a frozen tower's features that are kept in memory
        double
            shuffled; // task clip: share of pictures whose cells (order.grid) are shuffled, seen by patch_words alone
    } data;
    struct {
        int64_t epochs;
        int64_t steps;      // optimizer steps; 0: as many as the epochs take
        int64_t stop;       // end after this step of the schedule; 0: at its end
        int64_t batch;      // samples of one optimizer step
        int64_t accumulate; // equal parts that a batch is computed in
        int64_t tokens;     // rows of one packed part at most; 0: no limit
        bool recompute, select_rows, share_prefixes;
    } train;
    struct {
        double lr, beta1, beta2, eps, weight_decay;
        double warmup; // share of all steps
        drt_schedule_kind schedule;
        double min_lr;
        double clip; // largest gradient norm, 0: off
    } optimizer;
    // Each part's learning rate as a multiple of optimizer.lr; 0: frozen.
    struct {
        double vision, projector, language, directed, order_head;
        double clip_text, clip_projection, temperature, patch_head, permuter;
    } groups;
    // Each objective's weight; 0: off.
    struct {
        double language, image_order, text_order, guided, contrastive, patch_words, sea;
    } objectives;
    struct {
        char *targets; // which linear layers get an adapter (format/peft.h); "": none
        int64_t rank;
        double alpha, dropout;
        char *from; // PEFT folder to go on from, instead of targets; ""
    } lora;
    struct {
        drt_order_token token;
        int64_t grid; // cells along one side, 0: the patch grid
        int64_t bank; // permutations
    } order;
    struct {
        drt_guided_reduce reduce;
    } guided;
    struct {
        char *labels;          // file of drt sea-labels
        int64_t window;        // side of a window, of which one patch is drawn
        drt_sea_negate negate; // AUTO: as the file has it; else what it must have
    } sea;
    struct {
        drt_input_order order;
        double tau;
        drt_mixer_side side;
    } token_mixer;
    struct { // with token_mixer.order gps
        int64_t layers;
        int64_t ffn;                // columns inside the feed-forward; 0: four times the decoder's width
        double alpha;               // added to the diagonal of the scores
        double tau_first, tau_last; // temperature, along half a cosine over the steps
        double hard_from;           // rows are chosen after this share of the steps; 1: never
        drt_gps_choice hard;
        int64_t sweeps;
        drt_gps_gradient gradient;
        bool noise; // Gumbel's
        double dropout;
    } gps;
    struct {
        int64_t every; // steps, 0: only at the end
        int64_t keep;
        bool resume;
        drt_final_kind final; // what model/ is made of
    } checkpoint;
    struct {
        int64_t every;    // steps, 0: only at the end
        int64_t samples;  // first n, 0: all
        int64_t patience; // validations without a best one that end the training, 0: never
        int64_t pictures; // samples whose picture and answer go to TensorBoard
    } validate;
    struct {
        double spike; // spreads above the median that make a spike (train/spike.h), 0: nobody looks
    } guard;
    struct {
        int64_t every;      // steps between lines of the run log
        char *history;      // file of the run history; "": as drt_history_path says
        bool tensorboard;   // event files beside the run log
        int64_t histograms; // steps between histograms in them, 0: none
    } log;
} drt_recipe;

// Sets every key to its default, then to the file's value (path NULL: no file), then to the overrides' ("key=value").
// Some defaults depend on the task: clip trains the vision tower by `contrastive`, language trains the language model.
// Refuses what is unknown, out of range or contradictory with DRT_ECONFIG; the message starts with the place
// ("x.yaml:3:5" or "override 'lrr=1'"). On failure the recipe is empty and need not be freed.
drt_status drt_recipe_load(drt_recipe *recipe, const char *path, int n_overrides, const char *const *overrides,
                           drt_error *err);
void drt_recipe_free(drt_recipe *recipe);

// Sets one key of a loaded recipe by name, range-checked, without the checks between keys.
drt_status drt_recipe_set(drt_recipe *recipe, const char *key, const char *value, drt_error *err);

// What a run needs and defaults cannot give: out, data.file, and a model (or folders to assemble one from).
drt_status drt_recipe_complete(const drt_recipe *recipe, drt_error *err);

// Appends the recipe with every key as YAML; loading it gives the same recipe to the last bit.
void drt_recipe_write(const drt_recipe *recipe, drt_text *out);

// Whether two recipes differ in a key, those at skip[n] aside. how (may be NULL) tells the first: "train.steps: 20,
// then 30".
bool drt_recipe_differs(const drt_recipe *a, const drt_recipe *b, const char *const *skip, int n, drt_text *how);

// Appends the list of keys for people: name, what is allowed, default, what it means. At most 100 columns wide.
void drt_recipe_help(drt_text *out);

// The input order that a recipe asks for.
drt_token_mixer drt_recipe_mixer(const drt_recipe *r);
// The permuter (drt_model_options), with layers 0 where the order is not gps; and how it is used in `step` (0-based) of
// `steps`, or after the last.
drt_permuter_shape drt_recipe_permuter(const drt_recipe *r);
drt_gps_how drt_recipe_gps(const drt_recipe *r, int64_t step, int64_t steps);

// How conversations are written; NULL: as the model has it (auto).
const drt_template *drt_recipe_template(const drt_recipe *r);

#endif
