#include "train/loader.h"

#include "base/file.h"
#include "data/quarantine.h"
#include "model/joint.h"
#include "train/sea_source.h"
#include "train/step.h"

#include <stdlib.h>
#include <string.h>

struct drt_loader {
    const drt_recipe *r;
    const drt_model *m;
    drt_dataset *data;
    drt_sampler *sampler;
    drt_sea_source *sea; // NULL: no such objective
    drt_prefetch *prefetch;
    drt_preprocess preprocess;
    drt_features *store; // NULL: features are not kept
    drt_pack_options pack;
    drt_align_options options;
    drt_step_data slot[DRT_LOADER_STEPS];
    int64_t steps;    // of the schedule
    int32_t *index;   // [batch] of the step being made
    bool clip, blind; // blind: no pixels
    int64_t size;     // samples, data.limit counted in
    bool once;
};

drt_pack_options drt_pack_options_of(const drt_model *m, const int32_t *bank, int grid) {
    const drt_tower *v = &m->config.vision;
    drt_pack_options o = {.front = m->config.front, .bank = bank, .grid = grid};
    if (drt_has_vision(&m->config)) {
        o.patches_side = v->image / v->patch;
        o.patch_numbers = 3 * v->patch * v->patch;
        o.scales = m->preprocess.scales;
        memcpy(o.multiple, m->preprocess.multiple, sizeof o.multiple);
    }
    return o;
}

// One image as patch rows [P, 3*patch*patch].
static drt_status load_image(const drt_model *m, const drt_preprocess *how, const drt_record *rec, int k,
                             float *patches, drt_error *err) {
    drt_image image = {0}, ready = {0};
    drt_status status = drt_record_image(rec, k, &image, err);
    if (!status) status = drt_image_prepare(&image, how, &ready, err);
    if (!status) drt_image_patches(&ready, how, m->config.vision.patch, patches);
    drt_image_free(&image);
    drt_image_free(&ready);
    return status;
}

// Keys of the pictures, and the features that are known.
static drt_status look_up(const drt_loader *l, const drt_record *rec, drt_arena *arena, drt_sample *s, drt_error *err) {
    uint64_t *key = drt_arena_array(arena, s->images, sizeof *key);
    const float **known = drt_arena_array(arena, s->images, sizeof *known);
    if (!key || !known) return drt_fail(err, DRT_ENOMEM, "no memory for %d images", s->images);
    for (int i = 0; i < s->images; i++) {
        drt_status status = drt_picture_key_in(rec, i, &key[i], err);
        if (status) return status;
        known[i] = drt_features_find(l->store, key[i]);
    }
    s->key = key;
    s->known = known;
    return DRT_OK;
}

// After the passes: a picture that is known is decoded only where one of them shuffles it.
static drt_status load_images(const drt_loader *l, const drt_record *rec, drt_arena *arena, drt_sample *s,
                              drt_error *err) {
    int64_t size = drt_pack_picture(&l->pack);
    if (!s->images) return DRT_OK;
    drt_status status = l->store && !l->blind ? look_up(l, rec, arena, s, err) : DRT_OK;
    if (status) return status;
    bool shuffled = false;
    for (int i = 0; i < s->passes; i++) shuffled |= s->pass[i].kind == DRT_PASS_IMAGE_ORDER;
    s->patches = drt_arena_array(arena, s->images * size, sizeof *s->patches);
    if (!s->patches) return drt_fail(err, DRT_ENOMEM, "no memory for %d images", s->images);
    if (l->blind) s->patches = NULL; // counted, and never written to
    for (int i = 0; i < s->images && !l->blind; i++) {
        if (s->known && s->known[i] && !shuffled) continue;
        status = load_image(l->m, &l->preprocess, rec, i, s->patches + i * size, err);
        if (status) return status;
    }
    return DRT_OK;
}

static drt_status add_text(const drt_loader *l, const char *text, drt_arena *arena, drt_sample *s, drt_error *err) {
    int32_t *id = drt_arena_array(arena, l->m->config.text.positions, sizeof *id);
    if (!id) return drt_fail(err, DRT_ENOMEM, "no memory for a caption");
    s->text[s->texts] = id;
    return drt_joint_text(l->m, text, strlen(text), id, &s->text_size[s->texts++], err);
}

// data.shuffled: this share of the pictures comes with its cells in random order and without a caption, which would no
// longer be true. What a patch shows must then be seen from the patch itself, not guessed from its place.
static drt_status shuffle_cells(const drt_loader *l, int64_t step, int place, drt_arena *arena, drt_sample *s,
                                drt_error *err) {
    drt_rng r;
    drt_rng_init(&r, (uint64_t)l->r->seed, drt_hash((int64_t[]){step, place}, 2 * sizeof(int64_t)));
    if (!s->patch_label || drt_rng_uniform(&r) >= l->r->data.shuffled) return DRT_OK;
    int cells = l->pack.grid * l->pack.grid;
    int32_t *order = drt_arena_array(arena, cells, sizeof *order);
    if (!order) return drt_fail(err, DRT_ENOMEM, "no memory for the order of cells");
    for (int i = 0; i < cells; i++) order[i] = i;
    drt_rng_shuffle(&r, order, cells);
    s->order = order;
    s->texts = 0;
    return DRT_OK;
}

static drt_status clip_sample(const drt_loader *l, const drt_record *rec, int64_t step, int place, drt_arena *arena,
                              drt_sample *s, drt_error *err) {
    const char *caption = NULL;
    int patches = l->pack.patches_side * l->pack.patches_side;
    for (int i = 0; i < rec->n_turns && !caption; i++)
        if (!rec->turns[i].human) caption = rec->turns[i].text;
    if (!caption || s->images != 1)
        return drt_fail(err, DRT_EDATA, "CLIP wants one image and one caption, this has %d images", s->images);
    s->text = drt_arena_array(arena, 1 + rec->n_negatives, sizeof *s->text);
    s->text_size = drt_arena_array(arena, 1 + rec->n_negatives, sizeof *s->text_size);
    if (!s->text || !s->text_size) return drt_fail(err, DRT_ENOMEM, "no memory for captions");
    drt_status status = add_text(l, caption, arena, s, err);
    for (int i = 0; !status && i < rec->n_negatives; i++) status = add_text(l, rec->negatives[i], arena, s, err);
    if (status || !rec->patches) return status;
    if (rec->n_patches != patches)
        return drt_fail(err, DRT_EDATA, "patch labels for %d patches, the tower has %d", rec->n_patches, patches);
    s->patch_label = drt_arena_array(arena, patches, sizeof *s->patch_label);
    if (!s->patch_label) return drt_fail(err, DRT_ENOMEM, "no memory for patch labels");
    memcpy(s->patch_label, rec->patches, (size_t)patches * sizeof *s->patch_label);
    return shuffle_cells(l, step, place, arena, s, err);
}

static drt_status make_passes(const drt_loader *l, const drt_record *rec, int64_t step, int place, drt_arena *arena,
                              drt_sample *s, drt_error *err) {
    const drt_pass_source source = {l->m->tokenizer, rec->turns, rec->n_turns, s->images, &l->options};
    int puzzles[DRT_OBJECTIVES], n = 0, chosen = -1;
    drt_rng r;
    drt_rng_init(&r, (uint64_t)l->r->seed, drt_hash((int64_t[]){step, place}, 2 * sizeof(int64_t)));
    for (int k = 0; k < DRT_OBJECTIVES; k++)
        if (drt_objective_weight(l->r, k) > 0 && drt_objectives[k].puzzle) puzzles[n++] = k;
    if (l->r->passes == DRT_PASSES_SAMPLED && n) chosen = puzzles[drt_rng_below(&r, (uint64_t)n)];
    for (int k = 0; k < DRT_OBJECTIVES; k++) {
        const drt_objective *o = &drt_objectives[k];
        bool made = false;
        if (!(drt_objective_weight(l->r, k) > 0) || !o->make || (o->puzzle && chosen >= 0 && k != chosen)) continue;
        drt_rng own;
        drt_rng_init(&own, drt_rng_next(&r), (uint64_t)k);
        drt_status status = o->make(&source, &own, arena, &s->pass[s->passes], &made, err);
        if (status) return status;
        s->passes += made;
    }
    return DRT_OK;
}

static const char *copied(drt_arena *arena, const char *text) {
    char *copy = drt_arena_array(arena, (int64_t)strlen(text) + 1, 1);
    return copy ? strcpy(copy, text) : "";
}

static drt_status make_sample(const drt_loader *l, int32_t index, int64_t step, int place, drt_arena *arena,
                              drt_sample **out, drt_error *err) {
    drt_record *rec = NULL;
    drt_sample *s = drt_arena_zalloc(arena, sizeof *s);
    if (!s) return drt_fail(err, DRT_ENOMEM, "no memory for a sample");
    drt_status status = drt_dataset_at(l->data, index, &rec, err);
    if (status) return status;
    s->index = rec->index;
    s->place = index;
    s->id = copied(arena, rec->id);
    s->images = drt_has_vision(&l->m->config) ? rec->n_images : 0;
    status =
        l->clip ? clip_sample(l, rec, step, place, arena, s, err) : make_passes(l, rec, step, place, arena, s, err);
    if (!status) status = load_images(l, rec, arena, s, err);
    if (!status && l->sea) status = drt_sea_source_draw(l->sea, rec, step, place, arena, s, err);
    if (status) drt_dataset_fail_in(l->data, rec, err);
    drt_record_free(rec);
    *out = s;
    return status;
}

static drt_status make_step(void *user, int64_t step, void *slot, drt_error *err) {
    drt_loader *l = user;
    drt_step_data *d = slot;
    int n = drt_sampler_batch(l->sampler);
    if (l->once && n > l->size - step * n) n = (int)(l->size - step * n); // the last step is not filled up
    drt_arena_reset(d->arena);
    d->store = l->store;
    d->gps = drt_recipe_gps(l->r, step, l->steps);
    d->noise = drt_hash((int64_t[]){l->r->seed, step}, 2 * sizeof(int64_t)) | 1;
    drt_sample **s = drt_arena_array(d->arena, n, sizeof *s);
    if (!s) return drt_fail(err, DRT_ENOMEM, "no memory for %d samples", n);
    drt_status status = drt_sampler_at(l->sampler, step, l->index, err);
    for (int i = 0; !status && i < n; i++) status = make_sample(l, l->index[i], step, i, d->arena, &s[i], err);
    if (!status && l->sea) status = drt_sea_source_thin(l->sea, step, s, n, d->arena, err);
    return status ? status : drt_step_pack(d, s, n, l->r, &l->pack, err);
}

// The list that data.quarantine names, or the one beside the data if there is one; NULL: none. malloc'ed.
static drt_status quarantine_of(const drt_recipe *r, char **out, drt_error *err) {
    *out = NULL;
    if (!strcmp(r->data.quarantine, "none")) return DRT_OK;
    *out = *r->data.quarantine ? strdup(r->data.quarantine) : drt_quarantine_path(r->data.file);
    if (!*out) return drt_fail(err, DRT_ENOMEM, "no memory");
    if (*r->data.quarantine || drt_file_exists(*out)) return DRT_OK;
    free(*out);
    *out = NULL;
    return DRT_OK;
}

static drt_status open_samples(drt_loader *l, drt_progress *progress, drt_text *bad, drt_error *err) {
    const drt_recipe *r = l->r;
    bool pictures = drt_has_vision(&l->m->config), words = !l->clip && r->objectives.language > 0;
    char *quarantine;
    drt_status status = quarantine_of(r, &quarantine, err);
    if (status) return status;
    const drt_dataset_rows rows = {l->m->tokenizer, l->options.context, l->options.image_rows,
                                   r->objectives.image_order > 0 && r->order.token != DRT_ORDER_VISUAL};
    const drt_dataset_options options = {.skip = r->data.bad == DRT_BAD_SKIP,
                                         .images = pictures ? DRT_IMAGES_DECODE : DRT_IMAGES_IGNORE,
                                         .how = l->clip ? NULL : l->options.how,
                                         .rows = words ? &rows : NULL,
                                         .quarantine = quarantine,
                                         .keep_index = true,
                                         .bad = bad};
    status = drt_dataset_open(&l->data, r->data.file, *r->data.images ? r->data.images : NULL, &options, progress, err);
    free(quarantine);
    return status;
}

static drt_status open_data(drt_loader *l, int64_t *steps, drt_progress *progress, drt_text *bad, drt_error *err) {
    const drt_recipe *r = l->r;
    drt_status status = open_samples(l, progress, bad, err);
    if (status) return status;
    int shards;
    int64_t n = drt_dataset_size(l->data);
    const int32_t *shard = drt_dataset_shards(l->data, &shards);
    if (r->data.limit && r->data.limit < n) n = r->data.limit;
    l->size = n;
    const drt_sampler_options sampling = {.n = (int32_t)n,
                                          .length = drt_dataset_lengths(l->data),
                                          .group = r->data.group_by_modality,
                                          .batch = (int)(r->train.batch / r->train.accumulate),
                                          .accumulation = (int)r->train.accumulate,
                                          .seed = (uint64_t)r->seed,
                                          .window = r->data.window,
                                          .shard = shard,
                                          .shards = shards};
    status = drt_sampler_new(&l->sampler, &sampling, err);
    if (!status && r->objectives.sea > 0) status = drt_sea_source_open(&l->sea, r, l->m, l->data, n, progress, err);
    if (!status && !*steps) *steps = drt_sampler_steps_per_epoch(l->sampler) * r->train.epochs;
    return status;
}

drt_status drt_loader_settings(const drt_recipe *r, const drt_model *m, const int32_t *bank, drt_align_options *o,
                               drt_pack_options *pack, drt_error *err) {
    *pack = drt_pack_options_of(m, bank, 1);
    int side = pack->patches_side, grid = r->order.grid ? (int)r->order.grid : side;
    if ((bank || r->data.shuffled > 0) && (grid < 1 || side % grid))
        return drt_fail(err, DRT_ECONFIG, "order.grid: %d does not divide the patch grid of %d x %d", grid, side, side);
    pack->grid = grid;
    pack->select_all = !r->train.select_rows;
    pack->read_visual = r->order.token == DRT_ORDER_VISUAL;
    int context = (int)r->data.context;
    int most = drt_decoder_context(&m->config.language);
    if (m->config.kind != DRT_MODEL_CLIP && context > most) context = most;
    *o = (drt_align_options){.order_token = r->order.token,
                             .reduce = r->guided.reduce,
                             .context = context,
                             .image_rows = m->config.kind == DRT_MODEL_LLAVA ? drt_visual_rows(&m->config) : 0,
                             .classes = (int)r->order.bank,
                             .mixer = drt_recipe_mixer(r)};
    // An order of its own and dropout of an adapter tell rows apart that are alike.
    o->share_prefixes = r->train.share_prefixes && o->mixer.order == DRT_INPUT_NONE && r->lora.dropout == 0;
    drt_status status = drt_model_template(m, drt_recipe_template(r), &o->how, err);
    if (!status) o->ask = o->how;
    if (!status && o->how->caption && r->objectives.text_order > 0) status = drt_model_template(m, NULL, &o->ask, err);
    if (status) return status;
    if (o->image_rows >= context - 1)
        return drt_fail(err, DRT_ECONFIG,
                        "%s: one image takes %d rows and the context has %d, so no sample with a picture fits; raise "
                        "data.context%s",
                        r->data.file, o->image_rows, context,
                        context < r->data.context ? " (the decoder itself has no more positions)" : "");
    return DRT_OK;
}

drt_status drt_loader_open(drt_loader **out, const drt_recipe *r, const drt_model *m, const int32_t *bank,
                           int64_t first, int64_t *steps, drt_features *store, drt_progress *progress, drt_text *bad,
                           drt_error *err) {
    drt_loader *l = calloc(1, sizeof *l);
    void *slots[DRT_LOADER_STEPS];
    *out = NULL;
    if (!l) return drt_fail(err, DRT_ENOMEM, "no memory for a loader");
    l->r = r;
    l->m = m;
    l->store = store;
    l->clip = m->config.kind == DRT_MODEL_CLIP;
    l->preprocess = m->preprocess;
    l->preprocess.aspect = r->data.aspect;
    drt_status status = drt_loader_settings(r, m, bank, &l->options, &l->pack, err);
    if (!status) status = open_data(l, steps, progress, bad, err);
    if (!status) l->index = malloc((size_t)drt_sampler_batch(l->sampler) * sizeof *l->index);
    if (!status && !l->index) status = drt_fail(err, DRT_ENOMEM, "no memory for a batch of samples");
    for (int i = 0; i < DRT_LOADER_STEPS; i++) {
        slots[i] = &l->slot[i];
        l->slot[i].arena = drt_arena_new(0);
        if (!l->slot[i].arena && !status) status = drt_fail(err, DRT_ENOMEM, "no memory for a loader");
    }
    l->steps = *steps;
    if (!status && first < *steps && !m->params->dry)
        status = drt_prefetch_start(&l->prefetch, make_step, l, slots, DRT_LOADER_STEPS, first, *steps, err);
    if (status) {
        drt_loader_close(l);
        return status;
    }
    *out = l;
    return DRT_OK;
}

drt_status drt_loader_pixels(const drt_loader *l, const drt_step_data *d, drt_error *err) {
    int64_t size = drt_pack_picture(&l->pack);
    for (int k = 0; k < d->samples; k++) {
        drt_sample *s = d->sample[k];
        drt_record *rec = NULL;
        if (!s->known) continue;
        drt_status status = drt_dataset_at(l->data, s->place, &rec, err);
        for (int i = 0; !status && i < s->images; i++)
            if (s->known[i]) status = load_image(l->m, &l->preprocess, rec, i, s->patches + i * size, err);
        drt_record_free(rec);
        if (status) return status;
    }
    return DRT_OK;
}

drt_status drt_loader_once(drt_loader *l, int64_t *steps, drt_error *err) {
    void *slots[DRT_LOADER_STEPS];
    for (int i = 0; i < DRT_LOADER_STEPS; i++) slots[i] = &l->slot[i];
    drt_prefetch_stop(l->prefetch);
    l->prefetch = NULL;
    l->once = true;
    *steps = drt_sampler_steps_per_epoch(l->sampler);
    if (l->m->params->dry) return DRT_OK;
    return drt_prefetch_start(&l->prefetch, make_step, l, slots, DRT_LOADER_STEPS, 0, *steps, err);
}

drt_status drt_loader_shape(drt_loader *l, int64_t step, drt_step_data *out, drt_error *err) {
    if (l->prefetch) return drt_fail(err, DRT_EARG, "internal: a loader that reads ahead is asked for a shape");
    l->blind = true;
    return make_step(l, step, out, err);
}

drt_status drt_loader_words(drt_loader *l, int64_t step, int64_t *words, drt_error *err) {
    const int32_t *length = drt_dataset_lengths(l->data);
    int n = drt_sampler_batch(l->sampler), part = n / (int)l->r->train.accumulate;
    drt_status status = drt_sampler_at(l->sampler, step, l->index, err);
    *words = 0;
    for (int i = 0; i < n && !status; i += part) {
        int64_t sum = 0;
        for (int k = i; k < i + part && k < n; k++) {
            int32_t words_here = length[l->index[k]];
            sum += words_here > 0 ? words_here + l->options.image_rows : -words_here;
        }
        if (sum > *words) *words = sum;
    }
    return status;
}

int64_t drt_loader_epoch(const drt_loader *l) { return drt_sampler_steps_per_epoch(l->sampler); }

drt_status drt_loader_next(drt_loader *l, drt_step_data **out, drt_error *err) {
    int64_t step;
    void *slot = NULL;
    drt_status status = drt_prefetch_next(l->prefetch, &step, &slot, err);
    *out = slot;
    return status;
}

void drt_loader_release(drt_loader *l) { drt_prefetch_release(l->prefetch); }

void drt_loader_close(drt_loader *l) {
    if (!l) return;
    if (l->prefetch) drt_prefetch_stop(l->prefetch);
    for (int i = 0; i < DRT_LOADER_STEPS; i++) drt_arena_free(l->slot[i].arena);
    drt_sampler_free(l->sampler);
    drt_sea_source_close(l->sea);
    drt_dataset_close(l->data);
    free(l->index);
    free(l);
}

const drt_dataset *drt_loader_dataset(const drt_loader *l) { return l->data; }
const drt_align_options *drt_loader_options(const drt_loader *l) { return &l->options; }
const drt_pack_options *drt_loader_pack(const drt_loader *l) { return &l->pack; }
double drt_loader_waited(const drt_loader *l) { return l->prefetch ? drt_prefetch_waited(l->prefetch) : 0; }
