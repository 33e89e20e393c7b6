#include "eval/puzzles.h"

#include "align/forward.h"
#include "align/methods.h"
#include "base/file.h"
#include "data/dataset.h"
#include "infer/generate.h"
#include "infer/picture.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

drt_status drt_puzzle_model_open(drt_model **m, const char *folder, const char *adapter, drt_keep keep, int32_t **bank,
                                 int *classes, int *grid, drt_error *err) {
    drt_model_options o = {.keep = keep, .adapter = adapter};
    const char *beside = adapter ? adapter : folder;
    int cells = 0;
    *bank = NULL;
    *classes = *grid = 0;
    drt_status status = drt_model_open(m, folder, &o, err);
    if (!status) status = drt_directed_load(*m, beside, bank, classes, &cells, err);
    while (!status && *grid * *grid < cells) ++*grid;
    if (!status && *grid * *grid != cells)
        status = drt_fail(err, DRT_EFORMAT, "%s/directed.safetensors: %d cells make no square grid", beside, cells);
    if (!status && *bank) {
        // The bank told how large the head is: once more, with head.
        o.order_classes = *classes;
        drt_model_close(*m);
        free(*bank);
        *bank = NULL;
        status = drt_model_open(m, folder, &o, err);
        if (!status) status = drt_directed_load(*m, beside, bank, classes, &cells, err);
    }
    if (status) {
        free(*bank);
        drt_model_close(*m);
        *bank = NULL;
        *m = NULL;
    }
    return status;
}

// A walk over the samples of a file, in batches.
typedef struct {
    const drt_model *m;
    drt_tape *t;
    const drt_puzzle_options *o;
    drt_align_options align;
    drt_pack_options pack;
    drt_dataset *data;
    drt_arena *arena; // of one batch
    int64_t n;        // samples
    int batch, passes;
    drt_rate *out;
    drt_error *err;
} walk;

static drt_status walk_open(walk *w) {
    const drt_model_config *c = &w->m->config;
    const drt_tower *v = &c->vision;
    w->batch = w->o->batch > 0 ? w->o->batch : 32;
    *w->out = (drt_rate){0};
    if (c->kind != DRT_MODEL_LLAVA || !w->m->tokenizer)
        return drt_fail(w->err, DRT_ECONFIG,
                        "%s cannot be asked about pictures; use a LLaVA folder with tokenizer.json",
                        w->m->folder ? w->m->folder : "the model");
    drt_status status = drt_model_template(w->m, w->o->how, &w->align.how, w->err);
    if (status) return status;
    w->align.ask = w->align.how;
    w->align.mixer = w->o->order ? *w->o->order : c->order;
    if ((status = drt_gps_check(w->m, &w->align.mixer, w->err))) return status;
    w->align.context = drt_decoder_context(&c->language);
    w->align.image_rows = drt_visual_rows(c);
    w->pack.patches_side = v->image / v->patch;
    w->pack.patch_numbers = 3 * v->patch * v->patch;
    w->pack.scales = w->m->preprocess.scales;
    memcpy(w->pack.multiple, w->m->preprocess.multiple, sizeof w->pack.multiple);
    w->pack.front = c->front;
    w->arena = drt_arena_new(0);
    if (!w->arena) return drt_fail(w->err, DRT_ENOMEM, "no memory for samples");
    const drt_dataset_options options = {.images = DRT_IMAGES_EXIST, .how = w->align.how};
    status = drt_dataset_open(&w->data, w->o->file, w->o->images, &options, NULL, w->err);
    if (status) return status;
    w->n = drt_dataset_size(w->data);
    if (w->o->limit > 0 && w->o->limit < w->n) w->n = w->o->limit;
    return DRT_OK;
}

static void walk_close(walk *w) {
    drt_dataset_close(w->data);
    drt_arena_free(w->arena);
}

static drt_status pixels_of(const walk *w, const drt_record *rec, float **out) {
    int64_t size = drt_picture_size(w->m);
    *out = drt_arena_array(w->arena, rec->n_images * size, sizeof **out);
    if (!*out) return drt_fail(w->err, DRT_ENOMEM, "no memory for %d pictures", rec->n_images);
    for (int i = 0; i < rec->n_images; i++) {
        float *at = *out + i * size;
        drt_status status =
            w->o->blind ? drt_picture_black(w->m, at, w->err) : drt_picture_in(w->m, rec, i, at, w->err);
        if (status) return status;
    }
    return DRT_OK;
}

// ---- puzzles that the objectives themselves judge ------------------------------------------------------------------

// The sample once for every pass: `objective` makes them and counts their hits.
static drt_status make_samples(const walk *w, int objective, int32_t index, drt_sample **samples, int *n) {
    drt_record *rec = NULL;
    drt_status status = drt_dataset_at(w->data, index, &rec, w->err);
    if (status || !rec->n_images) {
        drt_record_free(rec);
        return status;
    }
    const drt_pass_source source = {w->m->tokenizer, rec->turns, rec->n_turns, rec->n_images, &w->align};
    const drt_objective *judge = &drt_objectives[objective == DRT_GUIDED ? DRT_LANGUAGE_LOSS : objective];
    float *pixels = NULL;
    drt_rng r;
    drt_rng_init(&r, w->o->seed, (uint64_t)index);
    status = pixels_of(w, rec, &pixels);
    for (int k = 0; k < w->passes && !status; k++) {
        drt_sample *s = drt_arena_zalloc(w->arena, sizeof *s);
        bool made = false;
        if (!s) status = drt_fail(w->err, DRT_ENOMEM, "no memory for a sample");
        else status = judge->make(&source, &r, w->arena, &s->pass[0], &made, w->err);
        if (status || !made) break;
        s->index = rec->index;
        s->images = rec->n_images;
        s->patches = pixels;
        s->passes = 1;
        samples[(*n)++] = s;
    }
    if (status) drt_dataset_fail_in(w->data, rec, w->err);
    drt_record_free(rec);
    return status;
}

static drt_status judge_batch(const walk *w, int objective, int64_t from, int64_t to) {
    drt_arena_reset(w->arena);
    drt_sample **samples = drt_arena_array(w->arena, (to - from) * w->passes, sizeof *samples);
    if (!samples) return drt_fail(w->err, DRT_ENOMEM, "no memory for samples");
    int n = 0;
    for (int64_t i = from; i < to; i++) {
        drt_status status = make_samples(w, objective, (int32_t)i, samples, &n);
        if (status) return status;
    }
    if (!n) return DRT_OK;
    drt_batch *b = drt_batch_pack(w->arena, (const drt_sample *const *)samples, n, &w->pack, w->err);
    if (!b) return DRT_ENOMEM;
    drt_totals totals = {.orders = b->orders, .guided = b->guided, .samples = n};
    for (int k = 0; k < DRT_PASS_KINDS; k++) totals.words[k] = b->words[k].n;
    drt_forward f = {.model = w->m, .batch = b, .totals = &totals, .options = &w->align};
    drt_score score = {0};
    drt_tape_begin(w->t, false);
    drt_forward_run(w->t, &f, objective == DRT_GUIDED, false);
    drt_objectives[objective].loss(w->t, &f, &score);
    w->out->hits += score.hits;
    w->out->count += score.count;
    return drt_tape_failed(w->t, w->err);
}

static drt_status judge_all(walk *w, int objective) {
    drt_status status = walk_open(w);
    for (int64_t from = 0; from < w->n && !status; from += w->batch) {
        int64_t to = from + w->batch < w->n ? from + w->batch : w->n;
        status = judge_batch(w, objective, from, to);
        drt_progress_at(w->o->progress, to, w->n);
    }
    if (!status && !(w->out->count > 0))
        status = drt_fail(w->err, DRT_EDATA, "%s: no sample has a picture and an answer", w->o->file);
    walk_close(w);
    return status;
}

drt_status drt_eval_image_order(const drt_model *m, drt_tape *t, const int32_t *bank, int classes, int grid,
                                drt_order_token token, int passes, const drt_puzzle_options *o, drt_rate *out,
                                drt_error *err) {
    walk w = {.m = m, .t = t, .o = o, .out = out, .err = err, .passes = passes > 0 ? passes : 1};
    int side = m->config.kind == DRT_MODEL_LLAVA ? m->config.vision.image / m->config.vision.patch : 0;
    *out = (drt_rate){0};
    if (!bank || !m->extra.order || m->extra.order->tensor.value.rows != classes)
        return drt_fail(err, DRT_ECONFIG,
                        "%s has no order head of %d permutations; train it with objectives.image_order",
                        m->folder ? m->folder : "the model", classes);
    if (grid < 1 || side % grid)
        return drt_fail(err, DRT_ECONFIG, "a grid of %d x %d cells does not divide %d x %d patches", grid, grid, side,
                        side);
    w.align.order_token = token;
    w.align.classes = classes;
    w.pack.bank = bank;
    w.pack.grid = grid;
    w.pack.read_visual = token == DRT_ORDER_VISUAL;
    return judge_all(&w, DRT_IMAGE_ORDER);
}

drt_status drt_eval_guided_mass(const drt_model *m, drt_tape *t, const drt_puzzle_options *o, drt_rate *out,
                                drt_error *err) {
    walk w = {.m = m, .t = t, .o = o, .out = out, .err = err, .passes = 1, .pack = {.grid = 1}};
    w.align.reduce = DRT_GUIDED_MASS;
    return judge_all(&w, DRT_GUIDED);
}

// ---- words in order ------------------------------------------------------------------------------------------------

// Moves to the next word and returns its length, 0 at the end.
static size_t next_word(const char **s) {
    while (isspace((unsigned char)**s)) ++*s;
    size_t n = 0;
    while ((*s)[n] && !isspace((unsigned char)(*s)[n])) n++;
    return n;
}

// Equal but for how much white space stands where.
static bool same_words(const char *a, const char *b) {
    for (;;) {
        size_t n = next_word(&a);
        if (n != next_word(&b) || memcmp(a, b, n)) return false;
        if (!n) return true;
        a += n;
        b += n;
    }
}

typedef struct {
    drt_prompt *prompt;
    drt_encoded *encoded;
    drt_reply *reply;
    const char **sentence;
    int n;
} riddles;

static drt_status ask_order(const walk *w, const drt_record *rec, const char *sentence, riddles *r) {
    drt_text question = {0};
    drt_encoded *e = &r->encoded[r->n];
    drt_rng rng;
    drt_rng_init(&rng, w->o->seed, (uint64_t)rec->index);
    char *shuffled = drt_shuffle_words(sentence, &rng);
    if (shuffled) drt_text_printf(&question, DRT_IMAGE_PLACEHOLDER "\n" DRT_TEXT_ORDER_PROMPT "%s", shuffled);
    r->sentence[r->n] = drt_arena_strdup(w->arena, sentence);
    float *pixels = NULL;
    drt_status status = shuffled && !question.failed && r->sentence[r->n]
                            ? pixels_of(w, rec, &pixels)
                            : drt_fail(w->err, DRT_ENOMEM, "no memory for a shuffled sentence");
    free(shuffled);
    const drt_turn turn = {true, question.bytes};
    if (!status) status = drt_conversation_prompt(w->align.how, w->m->tokenizer, &turn, 1, 1, e, w->err);
    drt_text_free(&question);
    if (!status) r->prompt[r->n++] = (drt_prompt){.id = e->id, .n = e->n, .patches = pixels, .images = 1};
    return status;
}

static drt_status order_batch(const walk *w, int64_t from, int64_t to, riddles *r) {
    const drt_generate_options how = {
        .max_new_tokens = 128, .stop = &w->align.how->end, .stops = 1, .order = w->o->order};
    drt_status status = DRT_OK;
    drt_arena_reset(w->arena);
    r->n = 0;
    for (int64_t i = from; i < to && !status; i++) {
        drt_record *rec = NULL;
        const char *sentence = NULL;
        status = drt_dataset_at(w->data, (int32_t)i, &rec, w->err);
        for (int k = 0; !status && k < rec->n_turns && !sentence; k++)
            if (!rec->turns[k].human) sentence = rec->turns[k].text;
        if (!status && sentence && rec->n_images == 1) status = ask_order(w, rec, sentence, r);
        drt_record_free(rec);
    }
    if (!status) status = drt_generate(w->m, w->t, r->prompt, r->n, &how, r->reply, w->err);
    for (int i = 0; i < r->n && !status; i++) w->out->hits += same_words(r->reply[i].text, r->sentence[i]);
    if (!status) {
        w->out->count += r->n;
        drt_replies_free(r->reply, r->n);
    }
    for (int i = 0; i < r->n; i++) drt_encoded_free(&r->encoded[i]);
    return status;
}

drt_status drt_eval_text_order(const drt_model *m, drt_tape *t, const drt_puzzle_options *o, drt_rate *out,
                               drt_error *err) {
    walk w = {.m = m, .t = t, .o = o, .out = out, .err = err};
    drt_status status = walk_open(&w);
    size_t n = (size_t)w.batch;
    riddles r = {calloc(n, sizeof *r.prompt), calloc(n, sizeof *r.encoded), calloc(n, sizeof *r.reply),
                 calloc(n, sizeof *r.sentence), 0};
    if (!status && (!r.prompt || !r.encoded || !r.reply || !r.sentence))
        status = drt_fail(err, DRT_ENOMEM, "no memory for batches of %d", w.batch);
    for (int64_t from = 0; from < w.n && !status; from += w.batch) {
        int64_t to = from + w.batch < w.n ? from + w.batch : w.n;
        status = order_batch(&w, from, to, &r);
        drt_progress_at(o->progress, to, w.n);
    }
    if (!status && !(out->count > 0))
        status = drt_fail(err, DRT_EDATA, "%s: no sample has a picture and an answer", o->file);
    free(r.prompt), free(r.encoded), free(r.reply), free(r.sentence);
    walk_close(&w);
    return status;
}

// ---- all of them ---------------------------------------------------------------------------------------------------

drt_status drt_eval_puzzles(const drt_model *m, drt_tape *t, const drt_puzzles_options *o, drt_puzzles *out,
                            drt_error *err) {
    *out = (drt_puzzles){NAN, NAN, NAN, NAN};
    char *captions = drt_path_join(o->data, "eval/captions.json"), *order = drt_path_join(o->data, "eval/order.json");
    drt_puzzle_options each = {.file = captions,
                               .images = o->data,
                               .blind = o->blind,
                               .batch = o->batch,
                               .limit = o->limit,
                               .seed = 1,
                               .how = o->how,
                               .order = o->order,
                               .progress = o->progress};
    drt_rate rate;
    drt_status status = captions && order ? DRT_OK : drt_fail(err, DRT_ENOMEM, "no memory");
    if (!status && drt_file_exists(captions)) {
        status = drt_eval_guided_mass(m, t, &each, &rate, err);
        if (!status) out->guided_mass = drt_rate_of(rate);
        if (!status && o->bank) {
            status = drt_eval_image_order(m, t, o->bank, o->classes, o->grid, o->token, o->passes, &each, &rate, err);
            out->image_order = drt_rate_of(rate);
            out->image_order_chance = 1.0 / o->classes;
        }
    }
    each.file = order;
    if (!status && drt_file_exists(order)) {
        status = drt_eval_text_order(m, t, &each, &rate, err);
        out->text_order = drt_rate_of(rate);
    }
    free(captions);
    free(order);
    return status;
}
