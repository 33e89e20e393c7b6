// A step in its file: it is the step again, of a spoiled one the fault is named, and no number of a file that drt did
// not write leads anywhere that is not there.
#include "support/check.h"
#include "support/world.h"

#include "base/file.h"
#include "base/rng.h"
#include "train/replay_step.h"
#include "train/step_file.h"
#include "train/training.h"

#include <math.h>
#include <stdio.h>

// Steps of all kinds of samples; @ is the world's folder.
static const char *const ways[] = {
    "train.steps=3 objectives.image_order=1 objectives.text_order=0.5 objectives.guided=0.5 seed=5",
    "train.steps=3 model= vision=models/tiny-clip language=@/model objectives.sea=1 sea.labels=@/labels.sea",
    "train.steps=3 model=models/tiny-clip data.file=@/world/clip.json task=clip data.shuffled=0.5",
};
enum { WAYS = sizeof ways / sizeof *ways };

static void open_training(const world *w, drt_recipe *r, drt_training *t, const char *way) {
    drt_error err = {0};
    char keys[1500];
    int n = 0;
    for (; *way; way++)
        n += snprintf(keys + n, sizeof keys - (size_t)n, *way == '@' ? "%s" : "%.1s", *way == '@' ? w->folder : way);
    check_ok(world_recipe(w, r, keys, &err));
    check_ok(drt_training_open(t, r, false, NULL, &err));
    check_ok(drt_training_data(t, 0, NULL, NULL, &err));
}

// A step in its file is the step: the same batches, the same loss; of a poisoned one, the poisoned sample is named.
static void steps_can_be_kept(void **state) {
    const world *w = *state;
    drt_error err = {0};
    drt_recipe r;
    drt_training t;
    drt_step_report report, again;
    drt_step_data d = {.arena = drt_arena_new(0)};
    int64_t step;
    if (!w->folder) skip();
    open_training(w, &r, &t, ways[0]);
    check_ok(drt_training_measure(&t, 0, &report, &err));
    char *path = drt_path_join(w->folder, "run/replay/step.safetensors"), *run = drt_path_join(w->folder, "run"),
         *bytes;
    size_t size;
    check_ok(drt_make_folders(run, &err));
    free(run);
    run = drt_path_join(w->folder, "run/replay");
    check_ok(drt_make_folders(run, &err));
    const drt_pack_options *pack = drt_loader_pack(t.loader);
    check_ok(drt_step_file_write(path, t.data, pack, 0, 3, &err));
    check_ok(drt_step_file_read(path, &r, t.m, pack, &d, &step, &err));
    check(step == 0 && d.n == t.data->n && d.rows == t.data->rows && d.noise == t.data->noise && d.samples == 4);
    check_ok(drt_train_measure(t.tape, t.m, &r, drt_loader_options(t.loader), &d, 0, 3, &again, &err));
    check(again.loss == report.loss && again.grad_norm == report.grad_norm);
    for (int i = 0; i < 4; i++) assert_string_equal(d.sample[i]->id, t.data->sample[i]->id);

    drt_text yaml = {0};
    drt_recipe_write(&r, &yaml);
    char *recipe = drt_path_join(w->folder, "run/recipe.yaml");
    check_ok(drt_file_write(recipe, yaml.bytes, yaml.size, &err));
    drt_text_free(&yaml);
    drt_step_replay found;
    check_ok(drt_replay_step(path, 0, NULL, NULL, &found, &err));
    check(found.finite && found.step == 1 && found.samples == 4 && found.bad == 0);
    check(found.report.loss == report.loss && strstr(found.text.bytes, "step 1 again: loss "));
    drt_step_replay_free(&found);

    d.sample[2]->patches[7] = NAN;
    check_ok(drt_step_file_write(path, &d, pack, 0, 3, &err));
    check_ok(drt_replay_step(path, 1, (const char *const[]){"device=ref"}, NULL, &found, &err));
    char name[60];
    snprintf(name, sizeof name, "sample %d (id '%s'): not finite from stage ", (int)d.sample[2]->index,
             d.sample[2]->id);
    if (found.finite || found.bad != 1 || !strstr(found.text.bytes, name)) fail_msg("%s", found.text.bytes);
    drt_step_replay_free(&found);

    check_ok(drt_file_read(&bytes, &size, path, 0, &err));
    bytes[size - 100] ^= 1;
    check_ok(drt_file_write(path, bytes, size, &err));
    check_refused(drt_replay_step(path, 0, NULL, NULL, &found, &err), DRT_EFORMAT, "damaged");
    check_ok(drt_file_write(path, bytes, size / 2, &err));
    check_refused(drt_replay_step(path, 0, NULL, NULL, &found, &err), DRT_EFORMAT, "step.safetensors");
    free(bytes);
    check_ok(drt_step_file_write(path, &d, pack, 2, 3, &err)); // of which there is no checkpoint
    check_refused(drt_replay_step(path, 0, NULL, NULL, &found, &err), DRT_EIO, "step-000000002");
    drt_pack_options larger = *pack;
    larger.patches_side++;
    check_refused(drt_step_file_read(path, &r, t.m, &larger, &d, &step, &err), DRT_ECONFIG, "another size");
    d.sample[1]->pass[0].kind = DRT_PASS_KINDS;
    check_ok(drt_step_file_write(path, &d, pack, 0, 3, &err));
    check_refused(drt_step_file_read(path, &r, t.m, pack, &d, &step, &err), DRT_EFORMAT,
                  "sample 1 of it is impossible");
    char *weights = drt_path_join(w->folder, "model/model.safetensors");
    check_refused(drt_step_file_read(weights, &r, t.m, pack, &d, &step, &err), DRT_EFORMAT, "no step of a run");
    drt_training_close(&t);
    drt_recipe_free(&r);
    drt_arena_free(d.arena);
    free(path), free(run), free(recipe), free(weights);
}

// ---- what stands in a file that somebody else wrote ----------------------------------------------------------------

enum { MOST_PLACES = 1 << 16 };

// Every number of a step that becomes an index; `any`: one that may be anything.
typedef struct {
    int32_t *number;
    bool any;
} place;

static int places_of(const drt_step_data *d, const drt_pack_options *o, place *out) {
    int n = 0;
#define PLACE(...) (check(n < MOST_PLACES), out[n++] = (place){__VA_ARGS__})
    for (int k = 0; k < d->samples; k++) {
        drt_sample *s = d->sample[k];
        for (int i = 0; i < s->passes; i++) {
            drt_pass *p = &s->pass[i];
            for (int j = 0; j < p->n; j++) PLACE(&p->id[j], false), PLACE(&p->label[j], false);
            PLACE((int32_t *)&p->kind, false), PLACE(&p->prompt, false);
            PLACE(&p->permutation, p->kind != DRT_PASS_IMAGE_ORDER);
        }
        for (int i = 0; i < s->pairs; i++) {
            PLACE(&s->pair[i].image, false), PLACE(&s->pair[i].patch, false), PLACE(&s->pair[i].word, true);
            for (int j = 0; j < s->pair[i].tokens; j++) PLACE(&s->pair[i].token[j], false);
        }
        for (int i = 0; i < s->texts; i++)
            for (int j = 0; j < s->text_size[i]; j++) PLACE(&s->text[i][j], false);
        for (int i = 0; s->order && i < o->grid * o->grid; i++) PLACE((int32_t *)&s->order[i], false);
    }
    return n;
}

// One number after the other is replaced: what no model has is refused by file and sample, and whatever is let through
// can be computed.
static void no_number_leads_astray(void **state) {
    const world *w = *state;
    drt_error err = {0};
    static place all[MOST_PLACES];
    drt_step_data d = {.arena = drt_arena_new(0)};
    if (!w->folder) skip();
    world_must(w, "drt sea-labels $OLDPWD/models/tiny-clip --words world/words.txt --data world/pretrain.json "
                  "--threads 1 --out labels.sea");
    char *path = drt_path_join(w->folder, "spoilt.safetensors");
    for (int k = 0; k < WAYS; k++) {
        drt_recipe r;
        drt_training t;
        drt_step_report report;
        drt_rng g;
        int64_t step;
        int refused = 0, let = 0;
        open_training(w, &r, &t, ways[k]);
        check_ok(drt_training_measure(&t, 0, &report, &err));
        const drt_pack_options *pack = drt_loader_pack(t.loader);
        int n = places_of(t.data, pack, all);
        drt_rng_init(&g, 1, (uint64_t)k);
        for (int i = 0; i < 150; i++) {
            const place *p = &all[drt_rng_below(&g, (uint64_t)n)];
            const int32_t odd[] = {INT32_MIN, INT32_MAX, 1 << 20, -1, 0, 1, 16, 299, 300, -100, -200, -300};
            int which = (int)drt_rng_below(&g, sizeof odd / sizeof *odd);
            int32_t was = *p->number;
            *p->number = odd[which];
            check_ok(drt_step_file_write(path, t.data, pack, 0, 3, &err));
            *p->number = was;
            drt_arena_reset(d.arena);
            drt_status status = drt_step_file_read(path, &r, t.m, pack, &d, &step, &err);
            if (status) check_refused(status, DRT_EFORMAT, "spoilt.safetensors: sample ");
            else if (which < 3 && !p->any) fail_msg("%d was let through in the place of %d", odd[which], was);
            if (!status)
                check_ok(drt_train_measure(t.tape, t.m, &r, drt_loader_options(t.loader), &d, 0, 3, &report, &err));
            refused += status != DRT_OK, let += !status;
        }
        print_message("%d places, %d refused, %d let through\n", n, refused, let);
        check(refused > 40 && let > 20);
        drt_training_close(&t);
        drt_recipe_free(&r);
    }
    drt_arena_free(d.arena);
    free(path);
}

// The message leads to the place.
static void places_are_named(void **state) {
    const world *w = *state;
    drt_error err = {0};
    drt_recipe r;
    drt_training t;
    drt_step_report report;
    drt_step_data d = {.arena = drt_arena_new(0)};
    int64_t step;
    char want[200];
    if (!w->folder) skip();
    open_training(w, &r, &t, ways[0]);
    check_ok(drt_training_measure(&t, 0, &report, &err));
    const drt_pack_options *pack = drt_loader_pack(t.loader);
    char *path = drt_path_join(w->folder, "named.safetensors");
    drt_sample *s = t.data->sample[3];
    int32_t was = s->pass[1].id[2];
    s->pass[1].id[2] = 300;
    check_ok(drt_step_file_write(path, t.data, pack, 0, 3, &err));
    s->pass[1].id[2] = was;
    snprintf(want, sizeof want, "named.safetensors: sample %d (id '%s'): pass 1, id 2: token 300 is not among",
             (int)s->index, s->id);
    check_refused(drt_step_file_read(path, &r, t.m, pack, &d, &step, &err), DRT_EFORMAT, want);
    s->images = 0;
    check_ok(drt_step_file_write(path, t.data, pack, 0, 3, &err));
    s->images = 1;
    check_refused(drt_step_file_read(path, &r, t.m, pack, &d, &step, &err), DRT_EFORMAT,
                  "pass 0 shows 1 of 0 pictures");
    check_ok(drt_step_file_write(path, t.data, pack, 0, 3, &err));
    check_ok(drt_step_file_read(path, &r, t.m, pack, &d, &step, &err));
    drt_training_close(&t);
    drt_recipe_free(&r);
    drt_arena_free(d.arena);
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_can_be_kept),
        cmocka_unit_test(no_number_leads_astray),
        cmocka_unit_test(places_are_named),
    };
    return cmocka_run_group_tests(tests, world_open, world_close);
}
