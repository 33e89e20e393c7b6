// drt: trains, evaluates and runs LLaVA-style vision-language models with directed tokens.
//
//   #include <drt.h>                                       // cc ask.c $(pkg-config --cflags --libs drt)
//
//   drt_error err = {0};
//   drt_assistant *a;
//   if (drt_assistant_open(&a, "models/llava", NULL, &err)) {
//       fprintf(stderr, "%s\n", err.text);                 // what went wrong, where, and what to do
//       return 1;
//   }
//   char *answer;
//   drt_ask ask = {.text = "what color is the ring?", .image = "ring.jpg"};
//   if (!drt_assistant_ask(a, &ask, &answer, &err)) {
//       puts(answer);
//       free(answer);
//   }
//   drt_assistant_close(a);
//
// Conventions
// - Structures of options are plain data: what is left zero has the default named beside it. They and everything they
//   point to are borrowed for the call only.
// - A function that can fail returns a drt_status and takes a drt_error last, which may be NULL. After a failure the
//   outputs are NULL or zero and need not be released.
// - Text is UTF-8, paths are the operating system's. Times are seconds, shares and probabilities lie in [0, 1].
// - Strings that a function hands out as `char **` are malloc'ed: free() them.
// - The library prints nothing, never exits, installs no signal handlers and keeps no global state. Callbacks run in
//   the thread that made the call, and must not call back into the same assistant.
// - Several assistants may work at the same time, each in one thread at a time.
// - oneDNN computes with OpenMP, whose threads spin between products. Where other work runs beside it, start the
//   program with OMP_WAIT_POLICY=passive in the environment.
#ifndef DRT_H
#define DRT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

// ---- errors --------------------------------------------------------------------------------------------------------
typedef enum {
    DRT_OK = 0,
    DRT_ENOMEM,   // an allocation failed, or a size check refused one
    DRT_EIO,      // the operating system refused to read or write
    DRT_EFORMAT,  // a file's bytes are not what its format says
    DRT_EARG,     // the caller's argument is out of range
    DRT_ECONFIG,  // a recipe or config key is unknown, missing or contradicts another
    DRT_EDATA,    // a sample, a question or a prompt cannot be used
    DRT_ENUMERIC, // NaN or infinity where a number was due
    DRT_ESTOP     // stopped on request (signal, callback)
} drt_status;

typedef struct {
    drt_status code;
    char text[1000]; // one message without a line end: what, where, what to do
} drt_error;

const char *drt_version(void); // "0.1.0"

// Called about ten times a second while something takes longer than two seconds. what: "drawing", "answering".
typedef void (*drt_on_progress)(void *user, const char *what, int64_t done, int64_t total);

// ---- an assistant: a model that answers ----------------------------------------------------------------------------
typedef struct drt_assistant drt_assistant;

typedef struct {
    const char *device; // "cpu" (default) or "ref", the slow plain kernels
    int threads;        // 0: all cores
    const char *dtype;  // of products: "auto" (default), as the folder stores weights; "f32"; "bf16"; "f16", weights in f32
    // Order of the input: "none"; "token_mixer", visual tokens beside the words they are like; "gps", as the model has
    // learned; NULL: as in training.
    const char *order;
    const char *adapter; // a PEFT folder of LoRA, counted in with every answer; NULL: none
} drt_assistant_options;

// Opens a Hugging Face folder of a LLaVA or of a decoder: config.json, *.safetensors, tokenizer.json. options may be
// NULL. Missing and misshapen tensors are refused by name (DRT_EFORMAT), kinds of model that this version cannot run
// with DRT_ECONFIG.
drt_status drt_assistant_open(drt_assistant **out, const char *folder, const drt_assistant_options *options,
                              drt_error *err);
void drt_assistant_close(drt_assistant *a);      // NULL is allowed
bool drt_assistant_sees(const drt_assistant *a); // whether it takes pictures

typedef struct {
    const char *text; // what to say
    // The picture that the conversation is about, shown with its first message: the path of a JPEG, PNG or WebP file,
    // or such a file's bytes. All left out: none.
    const char *image;
    const void *image_bytes;
    size_t image_size;
    // What was said before, oldest first: message, answer, message, answer, ...; n_before is even.
    const char *const *before;
    int n_before;
    int max_tokens;           // longest answer in tokens; 0: 512
    double temperature;       // 0: the likeliest token every time
    double top_p;             // drawn from the likeliest tokens that together have this probability; 0: from all
    uint64_t seed;            // the same seed gives the same answer
    const char *conversation; // template: "v1", "llama_3", ...; NULL: the model's own
    const char *system;       // instead of the template's system prompt
    // Called with each piece of the answer as soon as it is certain: whole characters, not NUL-terminated. Returning
    // false ends the answer there. The pieces together are the answer.
    bool (*on_text)(void *user, const char *text, size_t size);
    void *user;
} drt_ask;

// *answer: malloc'ed, white space around it removed; may be "". DRT_EDATA: the conversation leaves no room for an
// answer. DRT_ECONFIG: a picture for a model without eyes.
drt_status drt_assistant_ask(drt_assistant *a, const drt_ask *ask, char **answer, drt_error *err);

// ---- evaluation ----------------------------------------------------------------------------------------------------
typedef struct {
    const char *data;         // folder with eval/TASK.jsonl (docs/shapes.md), pictures relative to it
    const char *const *tasks; // [n_tasks]; NULL: all that are there
    int n_tasks;
    bool blind;    // every picture is black: what the model knows without looking
    int64_t limit; // first questions of each task; 0: all
    drt_on_progress on_progress;
    void *user;
} drt_evaluation;

typedef struct {
    char task[64];
    int64_t questions;
    double accuracy;   // free answers, compared after VQA's normalisation
    double restricted; // the likeliest of the allowed answers; NaN where the questions allow anything
    double prior;      // what the most frequent answer alone would get
} drt_task_score;

// Puts the questions to the model. scores [room]; *n: tasks scored (DRT_EARG if more than room). json (may be NULL):
// everything, each answer included, malloc'ed.
drt_status drt_assistant_evaluate(drt_assistant *a, const drt_evaluation *e, drt_task_score *scores, int room, int *n,
                                  char **json, drt_error *err);

// ---- training ------------------------------------------------------------------------------------------------------
typedef struct {
    int64_t step, steps; // done, in all
    double loss;         // mean over about the last 20 steps
    double tokens_per_second;
    double seconds_left; // negative: not known yet
} drt_training_view;

typedef struct {
    void (*on_line)(void *user, const char *line); // what a person should know: sizes, samples left out
    void (*on_step)(void *user, const drt_training_view *view);
    bool (*stop)(void *user); // asked before every step: true saves a checkpoint and ends with DRT_ESTOP
    void *user;
} drt_training_hooks; // all may be NULL

typedef struct {
    int64_t steps, skipped; // steps done; samples left out
    double loss, seconds;   // of the last step, NAN where none was left to do; of this call
    uint64_t weights;       // hash of the weights: equal runs have equal ones
} drt_training_result;

// Trains as the YAML file `recipe` says (NULL: defaults only), changed by `overrides` ("lr=1e-4", [n]; `drt train
// --help` lists the keys). The run folder (key out) receives the log, checkpoints and model/, which drt_assistant_open
// opens. "checkpoint.resume=true" goes on where an earlier run stopped, bit for bit. The run is entered in a history of
// runs (out/runs.sqlite, or as $DRT_RUNS or the key log.history names it; "none": in none). hooks and result may be
// NULL.
drt_status drt_train(const char *recipe, const char *const *overrides, int n, const drt_training_hooks *hooks,
                     drt_training_result *result, drt_error *err);

// ---- the shapes world ----------------------------------------------------------------------------------------------
typedef struct {
    const char *folder;  // made if missing; what an earlier world left there is replaced
    int64_t train, eval; // pictures of each split, at least 1
    int64_t text;        // samples without a picture
    uint64_t seed;       // same seed, same bytes
    drt_on_progress on_progress;
    void *user;
} drt_world;

// Draws pictures of coloured shapes and writes captions, conversations and questions on them (docs/shapes.md).
drt_status drt_world_make(const drt_world *world, drt_error *err);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
