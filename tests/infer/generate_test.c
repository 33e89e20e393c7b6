// Answers of a model: the cache changes nothing, the batch changes nothing, choices are judged by their probability.
#include "support/check.h"
#include "support/tiny_model.h"

#include "infer/generate.h"
#include "infer/pick.h"
#include "infer/picture.h"

#include <math.h>
#include <stdio.h>

typedef struct {
    drt_model *m;
    drt_device *dev;
    drt_tape *t;
    float *pixels;                // 4 pictures
    const drt_token_mixer *order; // of `whole`; NULL: none
    int prompt;                   // ids that it moves
} world;

static int setup(void **state) {
    world *w = calloc(1, sizeof *w);
    drt_error err = {0};
    check_ok(drt_device_open(&w->dev, "cpu", 2, &err));
    w->t = drt_tape_new(w->dev, &err);
    w->m = tiny_llava(3, 0);
    w->pixels = tiny_pixels(w->m, 4, 8);
    *state = w;
    return 0;
}

static int teardown(void **state) {
    world *w = *state;
    free(w->pixels);
    drt_model_close(w->m);
    drt_tape_free(w->t);
    drt_device_close(w->dev);
    free(w);
    return 0;
}

#define IMG DRT_IMAGE_TOKEN
static const int32_t text_a[] = {1, 40, IMG, 80, 91, 200}, text_b[] = {1, 17, 33},
                     text_c[] = {1, 60, IMG, 7, IMG, 333, 9, 12, 80};
static const int32_t text_d[] = {1, 410, 22, 22, 22, 118, 90};

// [4]: one picture, none, two, none.
static void four_prompts(const world *w, drt_prompt *p) {
    int64_t size = drt_picture_size(w->m);
    p[0] = (drt_prompt){.id = text_a, .n = 6, .patches = w->pixels, .images = 1, .stream = 10};
    p[1] = (drt_prompt){.id = text_b, .n = 3, .stream = 11};
    p[2] = (drt_prompt){.id = text_c, .n = 9, .patches = w->pixels + size, .images = 2, .stream = 12};
    p[3] = (drt_prompt){.id = text_d, .n = 7, .stream = 13};
}

// Logits [rows of id, vocab] without any cache: the sequence run at once, as in training. malloc'ed.
static float *whole(const world *w, const int32_t *id, int n, const float *patches, int64_t *rows_out) {
    const drt_model *m = w->m;
    int32_t token[256], visual[256], position[256], reach[256], offsets[2] = {0, 0};
    int rows = 0, images = 0;
    drt_error err = {0};
    for (int i = 0; i < n; i++) {
        bool image = id[i] == IMG;
        for (int j = 0; j < (image ? TINY_PATCHES : 1); j++, rows++) {
            token[rows] = image ? -1 : id[i];
            visual[rows] = image ? images * TINY_PATCHES + j : -1;
            position[rows] = rows;
            reach[rows] = rows + 1;
        }
        images += image;
    }
    offsets[1] = rows;
    int32_t select[256];
    for (int i = 0; i < rows; i++) select[i] = i;
    drt_tape_begin(w->t, false);
    drt_mat pixels = drt_mat_f32((float *)patches, images * TINY_PATCHES, 3 * TINY_PATCH * TINY_PATCH);
    drt_tensor *seen = images ? drt_visual_tokens(w->t, m, pixels, false) : NULL;
    int32_t moved[2][256], end = (int32_t)drt_id_rows(m, id, w->prompt);
    const drt_mixer_rows all = {1, offsets, &end, token, visual};
    drt_mixer_places at;
    if (w->order) check(drt_token_mixer_places(w->t, m, w->order, &all, seen, &at));
    for (int r = 0; r < rows; r++) {
        int to = w->order ? at.to[r] : r;
        moved[0][to] = token[r], moved[1][to] = visual[r];
    }
    const drt_splice splice = {rows, moved[0], moved[1]};
    const drt_decoder_rows r = {
        .sequences = 1, .offsets = offsets, .position = position, .reach = reach, .select = select, .selected = rows};
    drt_tensor *x = drt_decoder_run(w->t, &m->language, drt_splice_rows(w->t, m, &splice, seen), &r, NULL);
    x = drt_decoder_logits(w->t, &m->language, x);
    check_ok(drt_tape_failed(w->t, &err));
    float *out = malloc((size_t)rows * (size_t)m->config.language.vocab * sizeof *out);
    memcpy(out, x->value.data, (size_t)rows * (size_t)m->config.language.vocab * sizeof *out);
    *rows_out = rows;
    return out;
}

static float difference(const float *a, const float *b, int64_t n) {
    float most = 0;
    for (int64_t i = 0; i < n; i++) most = fmaxf(most, fabsf(a[i] - b[i]));
    return most;
}

// Fed in pieces of any size, beside another sequence, cut back and fed again: the logits of one run over everything.
static void cache_changes_nothing(void **state) {
    const world *w = *state;
    drt_error err = {0};
    drt_session *s = NULL;
    drt_mat logits;
    int64_t rows, vocab = w->m->config.language.vocab;
    float *want = whole(w, text_c, 9, w->pixels, &rows), *other = whole(w, text_d, 7, NULL, &rows);
    const int64_t last = drt_id_rows(w->m, text_c, 9) - 1;
    check_ok(drt_session_new(&s, w->m, w->t, 3, 40, &err));
    const drt_feed one[] = {{0, text_d, 2, NULL, 0}, {2, text_c, 4, w->pixels, 0}};
    const drt_feed two[] = {{2, text_c + 4, 3, w->pixels + drt_picture_size(w->m), 0}};
    const drt_feed wrong[] = {{0, text_b, 3, NULL, 0}, {2, text_b, 3, NULL, 0}};
    const drt_feed three[] = {{0, text_d + 2, 5, NULL, 0}, {2, text_c + 7, 2, NULL, 0}};
    check_ok(drt_session_feed(s, one, 2, &logits, &err));
    check_ok(drt_session_feed(s, two, 1, &logits, &err));
    assert_int_equal(drt_session_length(s, 2), last - 1);
    check_ok(drt_session_feed(s, wrong, 2, &logits, &err));
    check(difference(drt_row(logits, 1), want + last * vocab, vocab) > 0.1f); // what stands in the cache matters
    drt_session_cut(s, 0, 2);
    drt_session_cut(s, 2, last - 1);
    check_ok(drt_session_feed(s, three, 2, &logits, &err));
    assert_int_equal(logits.rows, 2);
    check(difference(drt_row(logits, 0), other + 6 * vocab, vocab) < 2e-5f);
    check(difference(drt_row(logits, 1), want + last * vocab, vocab) < 2e-5f);
    assert_int_equal(drt_session_length(s, 1), 0);
    const drt_feed many = {1, text_d, 7, NULL, 0}, stranger = {1, &(int32_t){9999}, 1, NULL, 0};
    for (int i = 0; i < 5; i++) check_ok(drt_session_feed(s, &many, 1, &logits, &err));
    check_refused(drt_session_feed(s, &many, 1, &logits, &err), DRT_EARG, "room of 40");
    check_refused(drt_session_feed(s, &stranger, 1, &logits, &err), DRT_EARG, "token 9999");
    assert_int_equal(drt_session_length(s, 1), 35);
    drt_session_free(s);
    free(want), free(other);
}

// The greedy answer, one whole run a token.
static int by_hand(const world *w, const drt_prompt *p, int n, int32_t *out) {
    drt_error err = {0};
    drt_picker picker;
    int32_t id[64];
    memcpy(id, p->id, (size_t)p->n * sizeof *id);
    check_ok(drt_picker_new(&picker, w->m, NULL, 0, &err));
    int made = 0;
    for (; made < n; made++) {
        int64_t rows;
        float *logits = whole(w, id, p->n + made, p->patches, &rows);
        out[made] = drt_pick(&picker, logits + (rows - 1) * w->m->config.language.vocab, 0, 0, NULL);
        id[p->n + made] = out[made];
        free(logits);
        if (picker.ends[out[made]]) break;
    }
    drt_picker_free(&picker);
    return made;
}

static void greedy_batch_as_by_hand(void **state) {
    const world *w = *state;
    drt_error err = {0};
    drt_prompt p[4];
    drt_reply r[4], one;
    int different = 0;
    four_prompts(w, p);
    const drt_generate_options o = {.max_new_tokens = 20};
    check_ok(drt_generate(w->m, w->t, p, 4, &o, r, &err));
    for (int i = 0; i < 4; i++) {
        int32_t want[20];
        int n = by_hand(w, &p[i], 20, want);
        assert_int_equal(r[i].n, n);
        assert_memory_equal(r[i].id, want, (size_t)n * sizeof *want);
        assert_int_equal(r[i].finish, n == 20 ? DRT_FINISH_LENGTH : DRT_FINISH_EOS);
        for (int k = 1; k < n; k++) different += want[k] != want[k - 1];
        check_ok(drt_generate(w->m, w->t, &p[i], 1, &o, &one, &err));
        assert_int_equal(one.n, n);
        assert_memory_equal(one.id, want, (size_t)n * sizeof *want);
        assert_string_equal(one.text, r[i].text);
        drt_replies_free(&one, 1);
    }
    check(different > 10); // the model says more than one word over and over
    drt_replies_free(r, 4);
}

// The row of EOS becomes a little larger than that of the fifth token of an answer: the answer must end there, the
// others go on.
static void eos_ends_one_answer_only(void **state) {
    const world *w = *state;
    drt_error err = {0};
    drt_prompt p[4];
    drt_reply r[4], cut[4];
    four_prompts(w, p);
    const drt_generate_options o = {.max_new_tokens = 12};
    check_ok(drt_generate(w->m, w->t, p, 4, &o, r, &err));
    int32_t chosen = -1, at = -1;
    for (int k = 2; k < r[2].n && chosen < 0; k++) {
        bool first = true;
        for (int j = 0; j < k; j++) first &= r[2].id[j] != r[2].id[k];
        if (first) chosen = r[2].id[k], at = k;
    }
    check(chosen >= 0);
    drt_mat head = w->m->language.head->tensor.value;
    float *row = drt_row(head, w->m->config.language.eos), saved[20];
    memcpy(saved, row, sizeof saved);
    for (int k = 0; k < 20; k++) row[k] = 1.001f * drt_row(head, chosen)[k];
    check_ok(drt_generate(w->m, w->t, p, 4, &o, cut, &err));
    memcpy(row, saved, sizeof saved);
    assert_int_equal(cut[2].finish, DRT_FINISH_EOS);
    assert_int_equal(cut[2].n, at);
    for (int i = 0; i < 4; i++) {
        int n = 0; // the others stop where they would have said the same
        while (n < r[i].n && r[i].id[n] != chosen) n++;
        assert_int_equal(cut[i].n, n);
        assert_memory_equal(cut[i].id, r[i].id, (size_t)n * sizeof *r[i].id);
    }
    drt_replies_free(r, 4);
    drt_replies_free(cut, 4);
}

static void sampling_is_reproducible(void **state) {
    const world *w = *state;
    drt_error err = {0};
    drt_prompt p[4];
    drt_reply a[4], b[4], c[4], alone;
    four_prompts(w, p);
    drt_generate_options o = {.max_new_tokens = 15, .temperature = 1.5, .top_p = 0.95, .seed = 4};
    check_ok(drt_generate(w->m, w->t, p, 4, &o, a, &err));
    check_ok(drt_generate(w->m, w->t, p, 4, &o, b, &err));
    check_ok(drt_generate(w->m, w->t, &p[2], 1, &o, &alone, &err));
    o.seed = 5;
    check_ok(drt_generate(w->m, w->t, p, 4, &o, c, &err));
    int same = 0;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(a[i].n, b[i].n);
        assert_memory_equal(a[i].id, b[i].id, (size_t)a[i].n * sizeof *a[i].id);
        same += a[i].n == c[i].n && !memcmp(a[i].id, c[i].id, (size_t)a[i].n * sizeof *a[i].id);
    }
    assert_int_equal(same, 0);
    assert_int_equal(alone.n, a[2].n); // the batch around it does not matter
    assert_memory_equal(alone.id, a[2].id, (size_t)alone.n * sizeof *alone.id);
    drt_replies_free(a, 4), drt_replies_free(b, 4), drt_replies_free(c, 4), drt_replies_free(&alone, 1);
}

// log P of a continuation from whole runs.
static double judged(const world *w, const drt_prompt *p, const drt_choice *c) {
    int32_t id[64];
    int64_t rows, vocab = w->m->config.language.vocab;
    memcpy(id, p->id, (size_t)p->n * sizeof *id);
    memcpy(id + p->n, c->id, (size_t)c->n * sizeof *id);
    float *logits = whole(w, id, p->n + c->n, p->patches, &rows);
    double total = 0;
    for (int k = 0; k < c->n; k++) {
        const float *row = logits + (rows - c->n - 1 + k) * vocab;
        double sum = 0;
        for (int64_t v = 0; v < vocab; v++) sum += exp(row[v]);
        total += row[c->id[k]] - log(sum);
    }
    free(logits);
    return total;
}

static void choices_by_probability(void **state) {
    const world *w = *state;
    drt_error err = {0};
    static const int32_t x[] = {50, 2}, y[] = {61, 62, 63, 2}, z[] = {80, 2};
    const drt_choice three[] = {{y, 4}, {x, 2}, {z, 2}}, two[] = {{z, 2}, {x, 2}};
    drt_prompt p[4];
    drt_reply with[4], without[4];
    four_prompts(w, p);
    drt_generate_options o = {.max_new_tokens = 10};
    check_ok(drt_generate(w->m, w->t, p, 4, &o, without, &err));
    p[0].choice = three, p[0].choices = 3;
    p[2].choice = three, p[2].choices = 3;
    p[3].choice = two, p[3].choices = 2;
    check_ok(drt_generate(w->m, w->t, p, 4, &o, with, &err));
    assert_null(with[1].logprob);
    assert_int_equal(with[1].best, -1);
    for (int i = 0; i < 4; i++) {
        int best = -1;
        double most = -INFINITY;
        for (int k = 0; k < p[i].choices; k++) {
            double want = judged(w, &p[i], &p[i].choice[k]);
            check(fabs(with[i].logprob[k] - want) < 1e-4);
            if (want > most) most = want, best = k;
        }
        assert_int_equal(with[i].best, best);
        // Comparing leaves no trace in what is written.
        assert_int_equal(with[i].n, without[i].n);
        assert_memory_equal(with[i].id, without[i].id, (size_t)with[i].n * sizeof *with[i].id);
    }
    check(fabs(with[0].logprob[1] - with[2].logprob[1]) > 1e-3); // the prompt matters
    drt_replies_free(with, 4);
    o.max_new_tokens = 0;
    check_ok(drt_generate(w->m, w->t, p, 4, &o, with, &err));
    assert_int_equal(with[0].n, 0);
    check(fabs(with[3].logprob[0] - judged(w, &p[3], &two[0])) < 1e-4);
    drt_replies_free(with, 4), drt_replies_free(without, 4);
}

// Answers in an input order, and the probabilities of choices, are those of whole runs over rows in that order; what is
// said after the first answer leaves the order as it was.
static void input_order(void **state) {
    world *w = *state;
    static const int32_t x[] = {50, 2}, y[] = {61, 62, 63, 2}, z[] = {80};
    const drt_choice three[] = {{y, 4}, {x, 2}, {z, 1}};
    drt_error err = {0};
    for (int way = 0; way < 3; way++) {
        const drt_token_mixer mixer = {DRT_INPUT_TOKEN_MIXER, way == 2 ? 0.3f : 0.0f, (drt_mixer_side)(way % 2)};
        const drt_generate_options plain = {.max_new_tokens = 12}, mixed = {.max_new_tokens = 12, .order = &mixer};
        drt_prompt p[4];
        drt_reply have[4], other[4];
        four_prompts(w, p);
        p[0].choice = p[2].choice = three, p[0].choices = p[2].choices = 3;
        p[2].prompt = 7; // ids behind it belong to an answer
        check_ok(drt_generate(w->m, w->t, p, 4, &plain, other, &err));
        check_ok(drt_generate(w->m, w->t, p, 4, &mixed, have, &err));
        w->order = &mixer;
        for (int i = 0; i < 4; i++) {
            int32_t want[12];
            w->prompt = p[i].prompt ? p[i].prompt : p[i].n;
            int n = by_hand(w, &p[i], 12, want);
            assert_int_equal(have[i].n, n);
            assert_memory_equal(have[i].id, want, (size_t)n * sizeof *want);
            for (int k = 0; k < p[i].choices; k++) {
                check(fabs(have[i].logprob[k] - judged(w, &p[i], &three[k])) < 1e-4);
                check(fabs(have[i].logprob[k] - other[i].logprob[k]) > 1e-3);
            }
        }
        w->order = NULL;
        // A model that was trained in an order has it without being told, and can be told otherwise.
        drt_reply own[4], none[4];
        const drt_generate_options told = {.max_new_tokens = 12, .order = &(drt_token_mixer){DRT_INPUT_NONE}};
        w->m->config.order = mixer;
        check_ok(drt_generate(w->m, w->t, p, 4, &plain, own, &err));
        check_ok(drt_generate(w->m, w->t, p, 4, &told, none, &err));
        w->m->config.order = (drt_token_mixer){0};
        for (int i = 0; i < 4; i++)
            for (int k = 0; k < p[i].choices; k++)
                check(own[i].logprob[k] == have[i].logprob[k] && none[i].logprob[k] == other[i].logprob[k]);
        drt_replies_free(have, 4), drt_replies_free(other, 4), drt_replies_free(own, 4), drt_replies_free(none, 4);
    }
}

typedef struct {
    drt_text text[4];
    int calls, stop_after;
} listener;

static bool listen(void *user, int index, const char *text, size_t size) {
    listener *l = user;
    drt_text_add(&l->text[index], text, size);
    return ++l->calls != l->stop_after;
}

static void streaming_and_stop_strings(void **state) {
    const world *w = *state;
    drt_error err = {0};
    drt_prompt p[4];
    drt_reply r[4], cut[4];
    listener heard = {0}, short_ear = {.stop_after = 3};
    four_prompts(w, p);
    drt_generate_options o = {.max_new_tokens = 20, .temperature = 1, .seed = 1, .on_text = listen, .user = &heard};
    check_ok(drt_generate(w->m, w->t, p, 4, &o, r, &err));
    for (int i = 0; i < 4; i++) assert_string_equal(heard.text[i].bytes ? heard.text[i].bytes : "", r[i].text);
    // A stop string from the middle of an answer: three bytes that go over token borders or not.
    size_t size = strlen(r[3].text);
    check(size > 12);
    char stop[4] = {0};
    memcpy(stop, r[3].text + 8, 3);
    const char *stops[] = {"never said", stop};
    size_t at = (size_t)(strstr(r[3].text, stop) - r[3].text);
    o.stop = stops, o.stops = 2, o.on_text = NULL;
    check_ok(drt_generate(w->m, w->t, p, 4, &o, cut, &err));
    assert_int_equal(cut[3].finish, DRT_FINISH_STOP);
    check(cut[3].n < r[3].n && strlen(cut[3].text) <= at && !strncmp(cut[3].text, r[3].text, strlen(cut[3].text)));
    drt_replies_free(cut, 4);
    o.stops = 0, o.on_text = listen, o.user = &short_ear;
    check_ok(drt_generate(w->m, w->t, &p[1], 1, &o, cut, &err));
    assert_int_equal(cut[0].finish, DRT_FINISH_CALLER);
    assert_int_equal(cut[0].n, 3);
    drt_replies_free(cut, 1), drt_replies_free(r, 4);
    for (int i = 0; i < 4; i++) drt_text_free(&heard.text[i]), drt_text_free(&short_ear.text[i]);
}

static void refusals(void **state) {
    const world *w = *state;
    drt_error err = {0};
    drt_prompt p[4];
    drt_reply r[4];
    int32_t many[TINY_POSITIONS];
    four_prompts(w, p);
    const drt_generate_options o = {.max_new_tokens = 200};
    for (int i = 0; i < TINY_POSITIONS; i++) many[i] = 20 + i;
    p[1] = (drt_prompt){.id = many, .n = TINY_POSITIONS};
    check_refused(drt_generate(w->m, w->t, p, 4, &o, r, &err), DRT_EDATA, "prompt 2 takes 320 rows of the 320");
    assert_null(r[0].id);
    p[1].n = TINY_POSITIONS - 3; // the answer ends where the positions end
    check_ok(drt_generate(w->m, w->t, p + 1, 1, &o, r, &err));
    assert_int_equal(r[0].n, 3);
    assert_int_equal(r[0].finish, DRT_FINISH_LENGTH);
    drt_replies_free(r, 1);
    p[0].images = 2;
    check_refused(drt_generate(w->m, w->t, p, 1, &o, r, &err), DRT_EARG, "1 places for images and brings 2");
    float *weight = w->m->language.final->tensor.value.data, was = weight[3];
    weight[3] = NAN;
    check_refused(drt_generate(w->m, w->t, p + 3, 1, &o, r, &err), DRT_ENUMERIC, "weights are damaged");
    weight[3] = was;
    drt_model *clip = tiny_clip(1);
    check_refused(drt_generate(clip, w->t, p + 3, 1, &o, r, &err), DRT_ECONFIG, "CLIP");
    drt_model_close(clip);
    check_ok(drt_generate(w->m, w->t, p + 3, 1, &o, r, &err)); // no failure sticks
    drt_replies_free(r, 1);
}

static void pictures(void **state) {
    const world *w = *state;
    drt_error err = {0};
    int64_t n = drt_picture_size(w->m);
    assert_int_equal(n, TINY_PATCHES * 3 * TINY_PATCH * TINY_PATCH);
    float *x = malloc((size_t)n * sizeof *x);
    check_ok(drt_picture_black(w->m, x, &err));
    for (int64_t i = 0; i < n; i++) {
        int channel = (int)(i % (3 * TINY_PATCH * TINY_PATCH)) / (TINY_PATCH * TINY_PATCH);
        check(fabsf(x[i] + w->m->preprocess.mean[channel] / w->m->preprocess.std[channel]) < 1e-5f);
    }
    check_refused(drt_picture_read(w->m, "no/such.png", x, &err), DRT_EIO, "no/such.png");
    drt_model_kind was = w->m->config.kind;
    w->m->config.kind = DRT_MODEL_LANGUAGE;
    check_refused(drt_picture_read(w->m, "a.png", x, &err), DRT_ECONFIG, "no vision tower");
    w->m->config.kind = was;
    free(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cache_changes_nothing),
        cmocka_unit_test(greedy_batch_as_by_hand),
        cmocka_unit_test(eos_ends_one_answer_only),
        cmocka_unit_test(sampling_is_reproducible),
        cmocka_unit_test(choices_by_probability),
        cmocka_unit_test(input_order),
        cmocka_unit_test(streaming_and_stop_strings),
        cmocka_unit_test(refusals),
        cmocka_unit_test(pictures),
    };
    return cmocka_run_group_tests_name("generate", tests, setup, teardown);
}
