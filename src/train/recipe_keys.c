#include "train/recipe_keys.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROW(field, type, value, doc, ...)                                                                              \
    { #field, DRT_KEY_##type, offsetof(drt_recipe, field), value, doc, __VA_ARGS__ }
#define INT(field, value, least, most, doc) ROW(field, INT, value, doc, least, most, 0, NULL)
#define NUMBER(field, value, least, most, open, doc) ROW(field, FLOAT, value, doc, least, most, open, NULL)
#define FACTOR(field, value, doc) NUMBER(field, value, 0, INFINITY, 0, doc)
#define FLAG(field, value, doc) ROW(field, BOOL, value, doc, 0, 0, 0, NULL)
#define STRING(field, value, doc) ROW(field, STRING, value, doc, 0, 0, 0, NULL)
#define CHOICE(field, value, choices, doc) ROW(field, ENUM, value, doc, 0, 0, 0, choices)
#define MOST_INT 9007199254740992.0 // 2^53: exact as a double

// clang-format off
const drt_recipe_key drt_recipe_keys[] = {
    CHOICE(task, "llava", "llava|clip|language", "what is trained"),
    STRING(model, "", "Hugging Face folder to start from"),
    STRING(vision, "", "vision tower's folder, to assemble a model when `model` is empty"),
    STRING(language, "", "language model's folder, to assemble a model when `model` is empty"),
    STRING(projector, "mlp2x_gelu", "projector of an assembled model: linear, identity, mlpNx_gelu (N layers)"),
    STRING(s2_scales, "", "sides of the scales of a picture, as 336,672,1008; empty: one"),
    INT(vision_select_layer, "-2", -1000, 1000, "hidden layer that gives the patches; -1 is the last one"),
    STRING(out, "", "run folder: checkpoints, run.jsonl, the finished model"),
    STRING(device, "cpu", "what computes: cpu, or ref (the plain kernels)"),
    INT(threads, "0", 0, 4096, "0: all cores"),
    STRING(memory, "", "most memory to take, as 4G; empty: what there is"),
    CHOICE(dtype, "f32", "f32|bf16|f16", "of the products of weights; what learns has f32 masters always"),
    INT(seed, "42", 0, MOST_INT, "same seed and threads: same bits"),
    CHOICE(weights, "fixed", "fixed|learned", "learned: one log-variance per objective scales its weight"),
    CHOICE(passes, "all", "all|sampled", "every pass for every sample, or one puzzle drawn per sample"),

    STRING(data.file, "", "samples: JSON of LLaVA's schema, JSON lines, tar shards; or their folder"),
    STRING(data.validation, "", "samples to validate on, of the same schema; empty: no validation"),
    STRING(data.images, "", "folder that image names start from (empty: the folder of data.file)"),
    STRING(data.quarantine, "", "samples to leave out (drt data check); empty: the list beside the data; none"),
    CHOICE(data.template, "plain", "plain|auto|v0|v1|llama_2|llama_3|chatml|gemma|phi3|mpt",
           "plain for stage 1; for stage 2 v1 as LLaVA, or auto: the decoder's own"),
    CHOICE(data.aspect, "square", "square|pad", "square crops the middle of a picture, pad fills it up to a square"),
    CHOICE(data.bad, "stop", "stop|skip", "unusable samples: list them and stop, or skip and count them"),
    FLAG(data.group_by_modality, "false", "batches of pictures only or of text only, similar lengths together"),
    INT(data.window, "10000", 0, MOST_INT, "tar shards: so many samples are shuffled together; 0: all"),
    INT(data.context, "2048", 1, 1 << 24, "most rows of one sequence"),
    INT(data.limit, "0", 0, MOST_INT, "only the first n samples; 0: all"),
    INT(data.features, "512", 0, 1 << 30, "MB of a frozen tower's features to keep, so that it sees a picture once"),
    NUMBER(data.shuffled, "0", 0, 1, 0, "share of pictures with shuffled cells (task clip)"),

    INT(train.epochs, "1", 0, 1000000, "rounds over the samples"),
    INT(train.steps, "0", 0, MOST_INT, "optimizer steps; 0: as many as the epochs take"),
    INT(train.stop, "0", 0, MOST_INT, "end after this step, the schedule still reaching to the last; 0: at the last"),
    INT(train.batch, "32", 1, 1 << 24, "samples of one optimizer step"),
    INT(train.accumulate, "1", 1, 1 << 24, "equal parts that a batch is computed in"),
    INT(train.tokens, "0", 0, MOST_INT, "most rows of one packed part of a batch; 0: no limit"),
    FLAG(train.recompute, "false", "compute blocks again in the backward pass instead of keeping them"),
    FLAG(train.select_rows, "true", "last block and output projection only for rows that a loss reads"),
    FLAG(train.share_prefixes, "true", "rows that samples of a batch begin with alike are computed once"),

    FACTOR(optimizer.lr, "0.001", "peak learning rate (LLaVA-1.5: 1e-3 in stage 1, 2e-5 in stage 2)"),
    NUMBER(optimizer.beta1, "0.9", 0, 1, DRT_KEY_BELOW, "AdamW: decay of the mean gradient"),
    NUMBER(optimizer.beta2, "0.999", 0, 1, DRT_KEY_BELOW, "AdamW: decay of the mean squared gradient"),
    NUMBER(optimizer.eps, "1e-08", 0, INFINITY, DRT_KEY_ABOVE, "AdamW: added to the root of the mean square"),
    FACTOR(optimizer.weight_decay, "0", "AdamW: decay of weights (norms and biases excluded)"),
    NUMBER(optimizer.warmup, "0.03", 0, 1, 0, "share of the steps in which the rate rises from 0"),
    CHOICE(optimizer.schedule, "cosine", "cosine|linear|constant", "how the rate falls after the warm-up"),
    FACTOR(optimizer.min_lr, "0", "rate that the schedule falls to"),
    FACTOR(optimizer.clip, "1", "largest gradient norm; 0: off"),

    FACTOR(groups.vision, "0", "rate of the vision tower as a multiple of lr; 0: frozen"),
    FACTOR(groups.projector, "1", "rate of the projector"),
    FACTOR(groups.language, "0", "rate of the language model"),
    FACTOR(groups.directed, "1", "rate of the directed token"),
    FACTOR(groups.order_head, "1", "rate of the head that names the permutation"),
    FACTOR(groups.clip_text, "1", "rate of CLIP's text tower (task clip)"),
    FACTOR(groups.clip_projection, "1", "rate of CLIP's two projections (task clip)"),
    FACTOR(groups.temperature, "1", "rate of learned temperatures"),
    FACTOR(groups.patch_head, "1", "rate of the head of objective patch_words"),
    FACTOR(groups.permuter, "1", "rate of GPS's permuter"),

    FACTOR(objectives.language, "1", "weight of next-token prediction; 0: off"),
    FACTOR(objectives.image_order, "0", "weight of naming the permutation of a shuffled image"),
    FACTOR(objectives.text_order, "0", "weight of putting the words of a description in order"),
    FACTOR(objectives.guided, "0", "weight of the image-to-response attention loss"),
    FACTOR(objectives.contrastive, "0", "weight of matching pictures and captions (task clip)"),
    FACTOR(objectives.patch_words, "0", "weight of naming what covers each patch (task clip)"),
    FACTOR(objectives.sea, "0", "weight of visual tokens lying at the words for their patches (stage 1)"),
    STRING(lora.targets, "", "layers that get an adapter: q_proj,v_proj, all-linear, *.mlp.*, /regex/"),
    INT(lora.rank, "8", 1, 1 << 16, "rank of new adapters"),
    FACTOR(lora.alpha, "16", "an adapter's output is multiplied by alpha/rank"),
    NUMBER(lora.dropout, "0", 0, 1, DRT_KEY_BELOW, "share of an adapter's inputs that training clears"),
    STRING(lora.from, "", "PEFT folder whose adapter training goes on with, instead of lora.targets"),
    CHOICE(order.token, "end", "end|start|visual", "where the directed token stands; visual: mean of visual rows"),
    INT(order.grid, "0", 0, 1024, "cells along one side of the shuffled image; 0: one per patch"),
    INT(order.bank, "10000", 2, 1 << 24, "permutations in the bank"),
    CHOICE(guided.reduce, "mass", "mass|pair", "mean of 1 - (attention on the image), or of 1 - (each weight)"),

    STRING(sea.labels, "", "words of every patch: a file of drt sea-labels"),
    INT(sea.window, "2", 1, 1024, "one patch is drawn of every window of so many by so many"),
    CHOICE(sea.negate, "auto", "auto|true|false", "sign that the labels must have been made with; auto: any"),

    CHOICE(token_mixer.order, "none", "none|token_mixer|gps",
           "order of the input: visual tokens at words they are like; gps: a learned one"),
    NUMBER(token_mixer.tau, "0.1", -1, 1, 0, "least cosine of a visual token and its word"),
    CHOICE(token_mixer.side, "before", "before|after", "of its word that a visual token is put on"),

    INT(gps.layers, "4", 1, 4096, "blocks of the permuter (token_mixer.order=gps)"),
    INT(gps.ffn, "0", 0, 1 << 24, "columns inside its feed-forward; 0: four times the decoder's width"),
    NUMBER(gps.alpha, "0.5", -1e6, 1e6, 0, "added to the diagonal of its scores: for rows to stay"),
    NUMBER(gps.tau_first, "2", 0, 1e6, DRT_KEY_ABOVE, "temperature of the first step"),
    NUMBER(gps.tau_last, "0.1", 0, 1e6, DRT_KEY_ABOVE, "of the last step, by a cosine; the model keeps it"),
    NUMBER(gps.hard_from, "0.5", 0, 1, 0, "rows are chosen after this share of the steps, mixed before; 1: never"),
    CHOICE(gps.hard, "assignment", "argmax|assignment", "which rows: the largest of each place, or a best permutation"),
    INT(gps.sweeps, "50", 1, 1 << 20, "of Sinkhorn's normalisation at most"),
    CHOICE(gps.gradient, "unrolled", "unrolled|implicit", "of the sweeps made, exact, or of their fixed point"),
    FLAG(gps.noise, "true", "Gumbel noise on the scores while training"),
    NUMBER(gps.dropout, "0.1", 0, 1, DRT_KEY_BELOW, "inside the permuter's feed-forward"),

    INT(checkpoint.every, "0", 0, MOST_INT, "steps between checkpoints; 0: only at the end"),
    INT(checkpoint.keep, "2", 1, 1 << 20, "newest checkpoints to keep"),
    FLAG(checkpoint.resume, "false", "continue from the newest checkpoint in the run folder"),
    CHOICE(checkpoint.final, "last", "last|best", "model/ is made of the last step, or of the best validation"),
    INT(validate.every, "0", 0, MOST_INT, "steps between validations; 0: only at the end"),
    INT(validate.samples, "0", 0, MOST_INT, "the first n samples of data.validation; 0: all"),
    INT(validate.patience, "0", 0, MOST_INT, "validations without a new best that end the training; 0: never"),
    INT(validate.pictures, "4", 0, 64, "samples shown with their answers in TensorBoard; 0: none"),
    FACTOR(guard.spike, "8", "spreads (MAD) above the median of 100 steps that make a spike; 0: off"),
    INT(log.every, "1", 1, MOST_INT, "steps between lines of run.jsonl"),
    STRING(log.history, "", "file of the run history; empty: $DRT_RUNS or out/runs.sqlite; none: none"),
    FLAG(log.tensorboard, "true", "event files for TensorBoard in tensorboard/ of the run folder"),
    INT(log.histograms, "100", 0, MOST_INT, "steps between histograms of gradient norms in them; 0: none"),
};
const int drt_recipe_key_count = sizeof drt_recipe_keys / sizeof drt_recipe_keys[0];

const drt_recipe_task_default drt_recipe_task_defaults[] = {
    {DRT_TASK_CLIP, "groups.vision", "1"},
    {DRT_TASK_CLIP, "objectives.language", "0"},
    {DRT_TASK_CLIP, "objectives.contrastive", "1"},
    {DRT_TASK_LANGUAGE, "groups.language", "1"},
};
// clang-format on
const int drt_recipe_task_default_count = sizeof drt_recipe_task_defaults / sizeof drt_recipe_task_defaults[0];

static const char *last_word(const char *path) {
    const char *dot = strrchr(path, '.');
    return dot ? dot + 1 : path;
}

const drt_recipe_key *drt_recipe_key_find(const char *name) {
    const drt_recipe_key *found = NULL;
    for (int i = 0; i < drt_recipe_key_count; i++) {
        const drt_recipe_key *key = &drt_recipe_keys[i];
        if (!strcmp(key->path, name)) return key;
    }
    for (int i = 0; i < drt_recipe_key_count; i++) {
        const drt_recipe_key *key = &drt_recipe_keys[i];
        if (strcmp(last_word(key->path), name)) continue;
        if (found) return NULL;
        found = key;
    }
    return found;
}

void drt_recipe_key_explain(const char *name, drt_text *out) {
    const char *words[2 * drt_recipe_key_count], *word = last_word(name);
    int meant = 0;
    for (int i = 0; i < drt_recipe_key_count; i++) {
        const char *path = drt_recipe_keys[i].path;
        words[i] = path, words[drt_recipe_key_count + i] = last_word(path);
        size_t n = strlen(name);
        bool section = !strncmp(path, name, n) && path[n] == '.';
        if (!section && strcmp(last_word(path), word)) continue;
        drt_text_puts(out, meant++ ? ", " : "did you mean ");
        drt_text_puts(out, path);
    }
    if (meant) {
        drt_text_puts(out, "?");
        return;
    }
    const char *near = drt_nearest(name, words, 2 * drt_recipe_key_count);
    if (!near) near = drt_nearest(word, words + drt_recipe_key_count, drt_recipe_key_count);
    if (!near) {
        drt_text_puts(out, "`drt train --help` lists all keys");
        return;
    }
    drt_text_puts(out, "the nearest known key is ");
    for (int i = 0; i < drt_recipe_key_count; i++)
        if (near == words[i] || near == words[drt_recipe_key_count + i]) drt_text_puts(out, words[i]);
}

bool drt_recipe_choice(const char *choices, int i, char out[64]) {
    while (i-- > 0 && choices) {
        choices = strchr(choices, '|');
        if (choices) choices++;
    }
    if (!choices) return false;
    snprintf(out, 64, "%.*s", (int)strcspn(choices, "|"), choices);
    return true;
}

void drt_recipe_key_allowed(const drt_recipe_key *key, drt_text *out) {
    char choice[64];
    switch (key->type) {
    case DRT_KEY_STRING: drt_text_puts(out, "text"); return;
    case DRT_KEY_BOOL: drt_text_puts(out, "true or false"); return;
    case DRT_KEY_ENUM:
        for (int i = 0; drt_recipe_choice(key->choices, i, choice); i++)
            drt_text_printf(out, "%s%s", i ? ", " : "one of ", choice);
        return;
    case DRT_KEY_INT: drt_text_puts(out, "a whole number"); break;
    case DRT_KEY_FLOAT: drt_text_puts(out, "a number"); break;
    }
    const char *above = key->open & DRT_KEY_ABOVE ? "above " : "from ";
    if (isinf(key->most) || key->most == MOST_INT) {
        if (key->open & DRT_KEY_ABOVE) drt_text_printf(out, " above %.15g", key->least);
        else drt_text_printf(out, ", %.15g or more", key->least);
    } else {
        const char *below = key->open & DRT_KEY_BELOW ? " to below " : " to ";
        drt_text_printf(out, " %s%.15g%s%.15g", above, key->least, below, key->most);
    }
}

static drt_status refuse(const drt_recipe_key *key, const char *value, drt_error *err) {
    drt_text allowed = {0};
    drt_recipe_key_allowed(key, &allowed);
    const char *near = NULL;
    char choice[8][64];
    if (key->type == DRT_KEY_ENUM) {
        const char *words[8];
        int n = 0;
        for (; n < 8 && drt_recipe_choice(key->choices, n, choice[n]); n++) words[n] = choice[n];
        near = drt_nearest(value, words, n);
    }
    drt_fail(err, DRT_ECONFIG, "%s: '%.200s' is not allowed; it takes %s%s%s%s", key->path, value, allowed.bytes,
             near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
    drt_text_free(&allowed);
    return DRT_ECONFIG;
}

static bool within(const drt_recipe_key *key, double x) {
    if (!isfinite(x) || x < key->least || x > key->most) return false;
    return !((key->open & DRT_KEY_ABOVE && x == key->least) || (key->open & DRT_KEY_BELOW && x == key->most));
}

static bool parse_number(const drt_recipe_key *key, const char *value, char *field) {
    if (!*value || value[strspn(value, "+-0123456789.eE")]) return false; // no hexadecimal, no nan
    char *end;
    double x = strtod(value, &end);
    if (*end || end == value || !within(key, x)) return false;
    int64_t whole = 0;
    if (key->type == DRT_KEY_INT) {
        if (x != floor(x)) return false;
        whole = (int64_t)x;
    }
    if (key->type == DRT_KEY_INT) memcpy(field, &whole, sizeof whole);
    else memcpy(field, &x, sizeof x);
    return true;
}

static bool parse_flag(const char *value, char *field) {
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};
    for (int i = 0; i < 6; i++) {
        if (strcmp(value, words[i])) continue;
        bool b = i & 1;
        memcpy(field, &b, sizeof b);
        return true;
    }
    return false;
}

static bool parse_choice(const drt_recipe_key *key, const char *value, char *field) {
    char choice[64];
    for (int i = 0; drt_recipe_choice(key->choices, i, choice); i++) {
        if (strcmp(choice, value)) continue;
        _Static_assert(sizeof(drt_task) == sizeof i, "choices are stored as int");
        memcpy(field, &i, sizeof i);
        return true;
    }
    return false;
}

drt_status drt_recipe_key_set(drt_recipe *recipe, const drt_recipe_key *key, const char *value, drt_error *err) {
    char *field = (char *)recipe + key->offset;
    switch (key->type) {
    case DRT_KEY_INT:
    case DRT_KEY_FLOAT: return parse_number(key, value, field) ? DRT_OK : refuse(key, value, err);
    case DRT_KEY_BOOL: return parse_flag(value, field) ? DRT_OK : refuse(key, value, err);
    case DRT_KEY_ENUM: return parse_choice(key, value, field) ? DRT_OK : refuse(key, value, err);
    case DRT_KEY_STRING: break;
    }
    if (!drt_is_utf8(value)) return drt_fail(err, DRT_ECONFIG, "%s: the value is not UTF-8 text", key->path);
    char *copy = strdup(value), *old;
    if (!copy) return drt_fail(err, DRT_ENOMEM, "%s: no memory", key->path);
    memcpy(&old, field, sizeof old);
    free(old);
    memcpy(field, &copy, sizeof copy);
    return DRT_OK;
}
