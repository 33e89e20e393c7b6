// The permuter beside a model: gps.safetensors is written and read back, goes along when a model is written anew, and
// is refused where it does not fit.
#include "support/check.h"
#include "support/tiny_model.h"

#include "base/file.h"
#include "format/safetensors.h"
#include "model/inspect.h"

#include <math.h>
#include <stdio.h>

static const drt_model_options plain = {0};

static bool same(drt_mat a, drt_mat b) {
    return a.cols == b.cols && !memcmp(a.data, b.data, (size_t)a.cols * sizeof(float));
}

static void check_same(const drt_model *a, const drt_model *b) {
    int seen = 0;
    assert_int_equal(b->config.order.order, DRT_INPUT_GPS);
    check(b->extra.permuter != NULL);
    assert_memory_equal(&a->extra.permuter->shape, &b->extra.permuter->shape, sizeof a->extra.permuter->shape);
    assert_true(a->extra.permuter->how.tau == b->extra.permuter->how.tau);
    assert_true(a->extra.permuter->how.alpha == b->extra.permuter->how.alpha);
    assert_int_equal(a->extra.permuter->how.hard, b->extra.permuter->how.hard);
    assert_int_equal(a->extra.permuter->how.choice, b->extra.permuter->how.choice);
    assert_int_equal(a->extra.permuter->how.sinkhorn.sweeps, b->extra.permuter->how.sinkhorn.sweeps);
    for (int i = 0; i < a->params->slices; i++) {
        const drt_slice *s = &a->params->slice[i], *other = drt_params_find(b->params, s->name);
        if (s->param->group != DRT_PERMUTER) continue;
        check(other && same(drt_slice_numbers(s), drt_slice_numbers(other)));
        seen++;
    }
    assert_int_equal(seen, 1 * 9 + 1);
}

// In both layouts, in 16 bits: the permuter stays f32, to the last bit.
static void there_and_back(void **state) {
    (void)state;
    drt_error err = {0};
    for (int hard = 0; hard < 3; hard++) {
        char *hf = test_folder("hf"), *llava = test_folder("llava");
        drt_model *m = tiny_gps(7, hard > 0), *again, *third, *without;
        m->extra.permuter->how.choice = hard == 2 ? DRT_GPS_ASSIGNMENT : DRT_GPS_ARGMAX;
        m->extra.permuter->how.alpha = 0.1f;
        m->extra.permuter->how.sinkhorn.sweeps = 17;
        check_ok(drt_model_save(m, hf, "BF16", &err));
        check_ok(drt_model_compare(m, hf, "BF16", &err));
        check_ok(drt_model_open(&again, hf, &plain, &err));
        check_same(m, again);
        check_ok(drt_model_save_as(again, llava, DRT_LAYOUT_LLAVA, "BF16", &err));
        check_ok(drt_model_compare(again, llava, "BF16", &err));
        check_ok(drt_model_open(&third, llava, &plain, &err));
        check_same(m, third);
        // The model's own file holds nothing of it.
        drt_weights *w;
        char *path = drt_path_join(hf, "model.safetensors");
        check_ok(drt_weights_open(&w, path, &err));
        for (int i = 0; i < drt_weights_count(w); i++) check(strncmp(drt_weights_at(w, i)->name, "blocks.", 7));
        drt_weights_close(w);
        // A training without it leaves it where it is.
        const drt_model_options none = {.permuter = &(drt_permuter_shape){0}};
        check_ok(drt_model_open(&without, hf, &none, &err));
        check(!without->extra.permuter);
        // What differs is seen.
        ((float *)m->extra.permuter->block[0].qkv->tensor.value.data)[5] += 1;
        check_refused(drt_model_compare(m, hf, "BF16", &err), DRT_EIO, "blocks.0.qkv.weight");
        drt_model_close(m), drt_model_close(again), drt_model_close(third), drt_model_close(without);
        free(hf), free(llava), free(path);
    }
}

// A training goes on with what is there, if it is of the shape that the recipe wants.
static void goes_on(void **state) {
    (void)state;
    drt_error err = {0};
    char *folder = test_folder("on");
    drt_model *m = tiny_gps(8, true), *again;
    check_ok(drt_model_save(m, folder, "F32", &err));
    const drt_permuter_shape shape[] = {{.hidden = 16, .layers = 2}, {.hidden = 16, .layers = 3}, {.layers = 2}};
    drt_model_options o = {.permuter = &shape[0], .learns = {[DRT_PERMUTER] = true}, .seed = 5};
    check_ok(drt_model_open(&again, folder, &o, &err));
    check_same(m, again);
    check(again->extra.permuter->block[0].qkv->tensor.needs_grad);
    drt_model_close(again);
    o.permuter = &shape[1];
    check_refused(drt_model_open(&again, folder, &o, &err), DRT_ECONFIG,
                  "2 layers with 16 columns inside, the recipe wants "
                  "3 with 16; set gps.layers");
    o.permuter = &shape[2];
    check_refused(drt_model_open(&again, folder, &o, &err), DRT_ECONFIG, "wants 2 with 80");
    drt_model_close(m);
    free(folder);
}

// Writes FOLDER/gps.safetensors anew: metadata `key` as `value` (NULL: left out), tensor `name` with a NaN, or in
// another shape, or left out, or one too many.
typedef enum { SOUND, NOT_A_NUMBER, OTHER_SHAPE, LEFT_OUT, ONE_MORE } spoil;
static void rewrite(const drt_model *m, const char *folder, const char *key, const char *value, spoil how) {
    const char *metadata[15] = {"layers", "2",      "hidden", "16",        "alpha", "0.5",  "tau",
                                "0.1",    "sweeps", "50",     "tolerance", "1e-6",  "hard", "argmax"};
    drt_st_entry entry[20];
    drt_error err = {0};
    float bad[3 * 20 * 20] = {0};
    int n = 0;
    for (int i = 0; i < 14; i += 2)
        if (key && !strcmp(metadata[i], key)) {
            if (value) metadata[i + 1] = value;
            else memmove(metadata + i, metadata + i + 2, (size_t)(15 - i - 2) * sizeof *metadata), i = 14;
        }
    for (int i = 0; i < m->params->slices; i++) {
        const drt_slice *s = &m->params->slice[i];
        if (s->param->group != DRT_PERMUTER) continue;
        entry[n] = (drt_st_entry){.name = s->name, .dtype = "F32", .ndim = s->ndim, .bytes = drt_slice_numbers(s).data};
        memcpy(entry[n++].shape, s->shape, sizeof s->shape);
    }
    bad[7] = NAN;
    if (how == NOT_A_NUMBER) entry[0].bytes = bad;
    if (how == OTHER_SHAPE) entry[0].shape[1]--;
    if (how == ONE_MORE) entry[n] = entry[0], entry[n++].name = "blocks.7.qkv.weight";
    char *path = drt_path_join(folder, "gps.safetensors");
    check_ok(drt_safetensors_write(path, entry + (how == LEFT_OUT), n - (how == LEFT_OUT), metadata, &err));
    free(path);
}

static void refused(void **state) {
    static const struct {
        const char *key, *value;
        spoil how;
        drt_status code;
        const char *says;
    } rows[] = {
        {NULL, NULL, SOUND, DRT_OK, "argmax at temperature 0.1"},
        {"hard", "soft", SOUND, DRT_OK, "rows mixed at temperature 0.1"},
        {"layers", NULL, SOUND, DRT_EFORMAT, "metadata 'layers' is missing"},
        {"layers", "0", SOUND, DRT_EFORMAT, "metadata 'layers' is 0"},
        {"layers", "3", SOUND, DRT_EFORMAT, "tensor 'blocks.1.qkv.weight' is no F32 of the shape"},
        {"layers", "1", SOUND, DRT_EFORMAT, "tensor 'blocks.0.qkv.weight' is no F32 of the shape"},
        {"hidden", "1e9", SOUND, DRT_EFORMAT, "metadata 'hidden' is 1e9"},
        {"tau", "nan", SOUND, DRT_EFORMAT, "metadata 'tau' is nan"},
        {"tau", "0", SOUND, DRT_EFORMAT, "metadata 'tau' is 0"},
        {"sweeps", "many", SOUND, DRT_EFORMAT, "metadata 'sweeps' is many"},
        {"hard", "soon", SOUND, DRT_EFORMAT, "metadata 'hard' is soon"},
        {"hard", NULL, SOUND, DRT_EFORMAT, "metadata 'hard' is missing"},
        {NULL, NULL, NOT_A_NUMBER, DRT_ENUMERIC, "tensor 'blocks.0.qkv.weight' holds NaN"},
        {NULL, NULL, OTHER_SHAPE, DRT_EFORMAT, "tensor 'blocks.0.qkv.weight' is no F32 of the shape"},
        {NULL, NULL, LEFT_OUT, DRT_EFORMAT, "tensor 'blocks.0.qkv.weight' is missing"},
        {NULL, NULL, ONE_MORE, DRT_EFORMAT, "holds 11 tensors, a permuter of its header has 10"},
    };
    (void)state;
    drt_error err = {0};
    char *folder = test_folder("spoilt"), *path = drt_path_join(folder, "gps.safetensors");
    drt_model *m = tiny_gps(9, true), *again;
    check_ok(drt_model_save(m, folder, "F32", &err));
    for (size_t i = 0; i <= sizeof rows / sizeof *rows; i++) {
        const bool gone = i == sizeof rows / sizeof *rows;
        const drt_status code = gone ? DRT_EIO : rows[i].code;
        const char *says = gone ? "gps.safetensors is missing, and the model's config.json names gps" : rows[i].says;
        drt_text told = {0};
        int faults = 0;
        if (gone) remove(path);
        else rewrite(m, folder, rows[i].key, rows[i].value, rows[i].how);
        if (code) check_refused(drt_model_open(&again, folder, &plain, &err), code, says);
        else {
            check_ok(drt_model_open(&again, folder, &plain, &err));
            drt_model_close(again);
        }
        check_ok(drt_model_inspect(folder, &(drt_inspect_options){0}, &told, &faults, &err));
        check(strstr(told.bytes, "order      gps") != NULL);
        if (!strstr(told.bytes, says)) fail_msg("'%s' not in: %s", says, told.bytes);
        if (code) check(faults > 0);
        drt_text_free(&told);
    }
    drt_model_close(m);
    free(folder), free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(there_and_back), cmocka_unit_test(goes_on),
                                       cmocka_unit_test(refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
