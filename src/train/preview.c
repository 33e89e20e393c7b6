#include "train/preview_parts.h"

#include "data/record.h"

#include <stdlib.h>
#include <string.h>

const char *const drt_seen_names[DRT_SEEN_KINDS] = {"masked", "trained", "visual", "directed", "cut off"};
const char *const drt_pass_titles[DRT_PASS_KINDS] = {"as it is", "picture shuffled", "words shuffled"};

// A token's text; a piece that begins a word in SentencePiece's way keeps its space.
static const char *token_text(drt_preview *p, int32_t id, drt_error *err) {
    static const char mark[] = "\xE2\x96\x81";
    const drt_tokenizer *tok = p->t.m->tokenizer;
    const char *piece = drt_tokenizer_piece(tok, id), *kept = NULL;
    drt_text text = {0}, plain = {0};
    if (!drt_tokenizer_decode(tok, &id, 1, false, &text, err) && !text.failed) {
        bool lost = piece && !strncmp(piece, mark, sizeof mark - 1) && (!text.size || text.bytes[0] != ' ');
        drt_text_printf(&plain, "%s%s", lost ? " " : "", text.size ? text.bytes : "");
        if (!plain.failed) kept = drt_arena_strdup(p->arena, plain.bytes);
    }
    drt_text_free(&text), drt_text_free(&plain);
    return kept;
}

static bool add(drt_preview *p, drt_seen_pass *pass, int32_t id, int32_t label, bool cut, drt_error *err) {
    drt_seen *s = &pass->seen[pass->n];
    *s = (drt_seen){.kind = label != DRT_IGNORE ? DRT_SEEN_TRAINED : DRT_SEEN_MASKED, .rows = 1, .text = ""};
    if (id == DRT_IMAGE_TOKEN) {
        *s = (drt_seen){DRT_SEEN_VISUAL, true, drt_loader_options(p->t.loader)->image_rows, ""};
        pass->images += !cut;
    } else if (id == DRT_DIRECTED_TOKEN) s->kind = DRT_SEEN_DIRECTED;
    else if (!(s->text = token_text(p, id, err))) return false;
    if (cut) s->kind = DRT_SEEN_CUT, pass->cut += s->rows;
    else pass->rows += s->rows, pass->trained += s->kind == DRT_SEEN_TRAINED;
    pass->n++;
    return true;
}

// The pass as it was packed, and behind it what the context cut off of the conversation.
static drt_status see_pass(drt_preview *p, const drt_record *r, const drt_sample *s, const drt_pass *from,
                           drt_seen_pass *out, drt_error *err) {
    drt_encoded whole = {0};
    drt_status status = DRT_OK;
    if (from->kind == DRT_PASS_PLAIN)
        status = drt_conversation_encode(drt_loader_options(p->t.loader)->how, p->t.m->tokenizer, r->turns, r->n_turns,
                                         s->images, &whole, err);
    if (status) return status;
    int most = whole.n > from->n ? whole.n : from->n;
    *out = (drt_seen_pass){.kind = from->kind, .permutation = from->permutation};
    out->seen = drt_arena_array(p->arena, most, sizeof *out->seen);
    bool good = out->seen != NULL;
    for (int i = 0; good && i < from->n; i++) good = add(p, out, from->id[i], from->label[i], false, err);
    for (int i = from->n; good && i < whole.n; i++) good = add(p, out, whole.id[i], whole.label[i], true, err);
    drt_encoded_free(&whole);
    return good ? DRT_OK : drt_fail(err, DRT_ENOMEM, "no memory for the tokens of a sample");
}

static drt_status see_sample(drt_preview *p, const drt_sample *s, drt_seen_sample *out, drt_error *err) {
    drt_record *r;
    char name[DRT_RECORD_NAME];
    drt_status status = drt_dataset_numbered(drt_loader_dataset(p->t.loader), s->index, &r, err);
    if (status) return status;
    drt_record_name(r->id, r->index, name);
    out->images = s->images;
    out->name = drt_arena_strdup(p->arena, name);
    out->picture = drt_arena_array(p->arena, r->n_images + 1, sizeof *out->picture);
    bool good = out->name && out->picture;
    for (int i = 0; good && i < r->n_images; i++)
        good = (out->picture[i] = drt_arena_strdup(p->arena, r->images[i])) != NULL;
    if (!good) status = drt_fail(err, DRT_ENOMEM, "no memory for a sample");
    for (int i = 0; !status && i < s->passes; i++)
        status = see_pass(p, r, s, &s->pass[i], &out->pass[out->passes++], err);
    drt_record_free(r);
    return status;
}

// Which pictures of the packed batch a sequence shows: those that its visual rows are of.
static void find_pictures(drt_preview *p) {
    int at = 0, rows = drt_loader_options(p->t.loader)->image_rows;
    int64_t numbers = drt_pack_picture(drt_loader_pack(p->t.loader));
    for (int k = 0; k < p->data->n; k++) {
        const drt_batch *b = p->data->batch[k];
        for (int i = 0, sequence = 0; i < b->samples && at < p->n; i++, at++)
            for (int j = 0; j < p->sample[at].passes; j++, sequence++)
                for (int32_t r = b->offsets[sequence]; r < b->offsets[sequence + 1]; r++) {
                    if (b->visual[r] < 0) continue;
                    p->sample[at].pass[j].patches = b->patches + b->visual[r] / rows * numbers;
                    break;
                }
    }
}

drt_status drt_preview_picture(const drt_preview *p, const drt_seen_pass *pass, int k, drt_image *out, drt_error *err) {
    const drt_pack_options *o = drt_loader_pack(p->t.loader);
    const drt_preprocess *how = &p->t.m->preprocess;
    int patch = p->t.m->config.vision.patch, side = o->patches_side * patch;
    drt_status status = drt_image_new(out, side, side, err);
    const float *v = pass->patches + k * drt_pack_picture(o);
    for (int q = 0; !status && q < o->patches_side * o->patches_side; q++)
        for (int c = 0; c < 3; c++)
            for (int i = 0; i < patch * patch; i++, v++) {
                int y = q / o->patches_side * patch + i / patch, x = q % o->patches_side * patch + i % patch;
                float level = (*v * how->std[c] + how->mean[c]) * 255 + 0.5f;
                out->rgb[3 * (y * side + x) + c] = (uint8_t)(level < 0 ? 0 : level > 255 ? 255 : level);
            }
    return status;
}

static drt_status open_all(drt_preview *p, const drt_recipe *r, drt_progress *progress, drt_error *err) {
    drt_text bad = {0};
    if (r->task == DRT_TASK_CLIP)
        return drt_fail(err, DRT_ECONFIG, "task clip has pictures and captions, but no rows of tokens to look at");
    drt_status status = drt_training_open(&p->t, r, false, progress, err);
    if (!status) p->t.steps = p->step + 1;
    if (!status) status = drt_training_data(&p->t, p->step, progress, &bad, err);
    drt_text_free(&bad);
    if (!status) status = drt_loader_next(p->t.loader, &p->data, err);
    if (!status && !(p->arena = drt_arena_new(0))) status = drt_fail(err, DRT_ENOMEM, "no memory");
    if (status) return status;
    p->n = p->data->samples;
    p->sample = drt_arena_zalloc(p->arena, (size_t)p->n * sizeof *p->sample);
    if (!p->sample) return drt_fail(err, DRT_ENOMEM, "no memory for %d samples", p->n);
    for (int i = 0; !status && i < p->n; i++) status = see_sample(p, p->data->sample[i], &p->sample[i], err);
    if (!status) find_pictures(p);
    return status;
}

drt_status drt_preview_open(drt_preview **out, const drt_recipe *r, int64_t step, drt_progress *progress,
                            drt_error *err) {
    *out = NULL;
    drt_preview *p = calloc(1, sizeof *p);
    if (!p) return drt_fail(err, DRT_ENOMEM, "no memory");
    p->step = step;
    drt_status status = open_all(p, r, progress, err);
    if (status) drt_preview_close(p);
    else *out = p;
    return status;
}

void drt_preview_close(drt_preview *p) {
    if (!p) return;
    drt_training_close(&p->t);
    drt_arena_free(p->arena);
    free(p);
}

int drt_preview_samples(const drt_preview *p) { return p->n; }
