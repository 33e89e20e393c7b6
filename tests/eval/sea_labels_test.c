// Labels of patches: the same words as a plain search over all of them finds, whatever the chunks; what is refused; and
// what is read back from them: nearest words and alignment accuracy.
#include "support/check.h"
#include "support/tiny_model.h"

#include "eval/letters.h"
#include "eval/sea_labels.h"
#include "eval/word_picture.h"
#include "eval/word_search.h"
#include "eval/words.h"
#include "infer/picture.h"
#include "model/joint.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

enum { PICTURES = 5, WORDS = 23, MOST = 10 };

static char *folder;
static char path_of[8][600];
enum { WORDS_TXT, DATA_JSON, LABELS, LABELS2 };

static void write_bytes(const char *name, const void *bytes, size_t size) {
    drt_error err = {0};
    char *path = drt_path_join(folder, name);
    check_ok(drt_file_write(path, bytes, size, &err));
    free(path);
}

// Random pictures, of which the last is the first one again, under another name.
static int begin(void **state) {
    static const char *const names[] = {"words.txt", "data.json", "labels.sea", "more.sea"};
    drt_error err = {0};
    drt_rng r;
    drt_text json = {0}, words = {0};
    (void)state;
    folder = test_folder("sea-labels");
    for (int i = 0; i < 4; i++) snprintf(path_of[i], sizeof *path_of, "%s/%s", folder, names[i]);
    drt_rng_init(&r, 4, 4);
    drt_text_puts(&json,
                  "[{\"id\": \"t\", \"conversations\": [{\"from\": \"human\", \"value\": \"a\"}, {\"from\": \"gpt\", "
                  "\"value\": \"b\"}]}");
    for (int k = 0; k <= PICTURES; k++) {
        drt_image image;
        char name[32];
        check_ok(drt_image_new(&image, TINY_IMAGE + k % 3, TINY_IMAGE, &err));
        drt_rng own = r;
        if (k == PICTURES)
            drt_rng_init(&own, 4, 4), drt_image_free(&image), drt_image_new(&image, TINY_IMAGE, TINY_IMAGE, &err);
        for (int i = 0; i < 3 * image.width * image.height; i++) image.rgb[i] = (uint8_t)drt_rng_below(&own, 256);
        r = own;
        snprintf(name, sizeof name, "%d.png", k);
        char *path = drt_path_join(folder, name);
        check_ok(drt_image_write(&image, path, &err));
        free(path);
        drt_image_free(&image);
        drt_text_printf(&json, ",\n{\"image\": \"%s\", \"caption\": \"x\"}", name);
    }
    drt_text_puts(&json, "]");
    write_bytes("data.json", json.bytes, json.size);
    for (int i = 0; i < WORDS; i++) drt_text_printf(&words, "w%d a%d\n", i * i, i % 5);
    write_bytes("words.txt", words.bytes, words.size);
    drt_text_free(&json), drt_text_free(&words);
    return 0;
}

typedef struct {
    drt_model *m;
    drt_device *dev;
    drt_tape *t;
} setup;

static setup open_on(const char *device, drt_model *m) {
    setup s = {.m = m};
    drt_error err = {0};
    check_ok(drt_device_open(&s.dev, device, 1, &err));
    s.t = drt_tape_new(s.dev, &err);
    check(s.t);
    return s;
}

static void close_all(setup *s) {
    drt_tape_free(s->t);
    drt_model_close(s->m);
    drt_device_close(s->dev);
}

static drt_sea_labels_options plain(void) {
    return (drt_sea_labels_options){
        .words = path_of[WORDS_TXT], .data = path_of[DATA_JSON], .out = path_of[LABELS], .negate = DRT_SEA_PLAIN};
}

// ---- extraction ----------------------------------------------------------------------------------------------------

// Scores of all words for the patches of a picture, [patches, WORDS], by the plainest way.
static void all_scores(setup *s, int picture, bool negated, double *out) {
    drt_error err = {0};
    char name[32];
    int32_t id[64], offsets[2] = {0};
    const int joint = s->m->config.text.joint;
    static double text[WORDS][64];
    for (int w = 0; w < WORDS; w++) {
        char word[32];
        int n = snprintf(word, sizeof word, "w%d a%d", w * w, w % 5);
        drt_tape_begin(s->t, false);
        check_ok(drt_joint_text(s->m, word, (size_t)n, id, &offsets[1], &err));
        drt_tensor *row = drt_text_embedding(s->t, s->m, id, offsets, 1, false);
        check_ok(drt_tape_failed(s->t, &err));
        for (int c = 0; c < joint; c++) text[w][c] = drt_row(row->value, 0)[c];
    }
    float *pixels = malloc((size_t)drt_picture_size(s->m) * sizeof *pixels);
    snprintf(name, sizeof name, "%d.png", picture);
    char *path = drt_path_join(folder, name);
    check_ok(drt_picture_read(s->m, path, pixels, &err));
    drt_tape_begin(s->t, false);
    drt_tensor *h = drt_vision_hidden(s->t, &s->m->vision, drt_picture_rows(s->m, pixels, 1), -1, false);
    drt_tensor *rows = drt_patch_embedding(s->t, s->m, h);
    check_ok(drt_tape_failed(s->t, &err));
    for (int p = 0; p < TINY_PATCHES; p++)
        for (int w = 0; w < WORDS; w++) {
            double sum = 0;
            for (int c = 0; c < joint; c++) sum += text[w][c] * drt_row(rows->value, p)[c];
            out[p * WORDS + w] = negated ? -sum : sum;
        }
    free(pixels), free(path);
}

static void as_a_plain_search(void **state) {
    static const char *const devices[] = {"ref", "cpu"};
    (void)state;
    for (int k = 0; k < 4; k++) {
        drt_error err = {0};
        setup s = open_on(devices[k % 2], tiny_clip(3));
        drt_sea_labels_options o = plain();
        drt_sea_labels_result r;
        o.negate = k < 2 ? DRT_SEA_AUTO : DRT_SEA_PLAIN;
        check_ok(drt_sea_labels(s.m, s.t, &o, &r, &err));
        check(r.pictures == PICTURES && r.words == WORDS && r.patches == PICTURES * TINY_PATCHES &&
              r.negated == (k < 2));
        drt_word_labels *l;
        check_ok(drt_word_labels_open(&l, o.out, &err));
        check(drt_word_labels_tell(l)->negated == (k < 2) && drt_word_labels_tell(l)->side == 3);
        check(drt_tower_is(s.m, drt_word_labels_tell(l)->tower));
        int64_t labelled = 0, positive = 0;
        for (int i = 0; i <= PICTURES; i++) {
            char name[32];
            int64_t at;
            int32_t word[TINY_PATCHES * MOST];
            float score[TINY_PATCHES * MOST];
            static double all[TINY_PATCHES * WORDS];
            snprintf(name, sizeof name, "%d.png", i);
            char *path = drt_path_join(folder, name);
            check_ok(drt_word_labels_find_file(l, path, &at, &err));
            check_ok(drt_word_labels_read(l, at, word, score, &err));
            all_scores(&s, i, k < 2, all);
            for (int p = 0; p < TINY_PATCHES; p++) {
                // The j-th label has the j-th largest score; f16 keeps 2^-11 of it, the sums a few roundings.
                bool used[WORDS] = {false};
                for (int j = 0; j < MOST; j++) {
                    int best = -1;
                    for (int w = 0; w < WORDS; w++)
                        if (!used[w] && (best < 0 || all[p * WORDS + w] > all[p * WORDS + best])) best = w;
                    used[best] = true;
                    double want = fmax(all[p * WORDS + best], 0);
                    check(fabs(score[p * MOST + j] - want) <= 0x1p-11 * want + 1e-5);
                    if (score[p * MOST + j] > 0)
                        check(fabs(all[p * WORDS + word[p * MOST + j]] - want) <= 0x1p-11 * want + 1e-5);
                    positive += want > 1e-4, labelled += score[p * MOST + j] > 0;
                }
            }
            free(path);
        }
        check(positive > 100 && labelled >= positive);
        drt_word_labels_close(l);
        close_all(&s);
    }
}

// Where pieces of the work begin and end changes nothing: the same bytes. On ref, whose sums do not depend on shapes.
static void streams(void **state) {
    static const int chunks[] = {1, 2, 7, 22, 23, 1000}, batches[] = {1, 2, 5, 3, 4, 9};
    (void)state;
    drt_error err = {0};
    setup s = open_on("ref", tiny_clip(3));
    drt_sea_labels_options o = plain();
    drt_sea_labels_result r;
    char *want, *have;
    size_t size, n;
    check_ok(drt_sea_labels(s.m, s.t, &o, &r, &err));
    check_ok(drt_file_read(&want, &size, o.out, 0, &err));
    for (int i = 0; i < 6; i++) {
        o.chunk = chunks[i], o.batch = batches[i], o.out = path_of[LABELS2];
        check_ok(drt_sea_labels(s.m, s.t, &o, &r, &err));
        check_ok(drt_file_read(&have, &n, o.out, 0, &err));
        check(n == size && !memcmp(have, want, n));
        free(have);
    }
    o.most = 3; // fewer labels are the first of many
    check_ok(drt_sea_labels(s.m, s.t, &o, &r, &err));
    drt_word_labels *few, *many;
    check_ok(drt_word_labels_open(&few, o.out, &err));
    check_ok(drt_word_labels_open_memory(&many, want, size, "x", &err));
    for (int i = 0; i < PICTURES; i++) {
        int32_t a[TINY_PATCHES * MOST], b[TINY_PATCHES * MOST];
        float x[TINY_PATCHES * MOST], y[TINY_PATCHES * MOST];
        check_ok(drt_word_labels_read(few, i, a, x, &err));
        check_ok(drt_word_labels_read(many, i, b, y, &err));
        for (int p = 0; p < TINY_PATCHES; p++)
            for (int k = 0; k < 3; k++) check(a[p * 3 + k] == b[p * MOST + k] && x[p * 3 + k] == y[p * MOST + k]);
    }
    drt_word_labels_close(few), drt_word_labels_close(many);
    free(want);
    close_all(&s);
}

// Memory is that of a chunk: the tape holds no more for a list twenty times as long.
static void bounded_memory(void **state) {
    (void)state;
    drt_error err = {0};
    size_t peak[2];
    for (int k = 0; k < 2; k++) {
        setup s = open_on("cpu", tiny_clip(3));
        drt_sea_labels_options o = plain();
        drt_sea_labels_result r;
        drt_text words = {0};
        for (int i = 0; i < (k ? 6000 : 300); i++) drt_text_printf(&words, "%06d\n", i);
        write_bytes("long.txt", words.bytes, words.size);
        drt_text_free(&words);
        char *path = drt_path_join(folder, "long.txt");
        o.words = path, o.chunk = 100;
        check_ok(drt_sea_labels(s.m, s.t, &o, &r, &err));
        peak[k] = drt_tape_peak(s.t);
        free(path);
        close_all(&s);
    }
    print_message("300 words: %zu bytes, 6000 words: %zu bytes\n", peak[0], peak[1]);
    check(peak[0] > 0 && peak[1] < peak[0] + peak[0] / 8); // longer numbers have a token more here and there
}

static void refusals(void **state) {
    (void)state;
    drt_error err = {0};
    setup s = open_on("cpu", tiny_clip(3)), llava = open_on("cpu", tiny_llava(3, 0));
    drt_sea_labels_options o = plain();
    drt_sea_labels_result r;
    unlink(path_of[LABELS]);
    check_refused(drt_sea_labels(llava.m, llava.t, &o, &r, &err), DRT_ECONFIG, "no text tower");
    check(strstr(err.text, "image_order") && strstr(err.text, "token_mixer")); // what still works
    write_bytes("words.txt", "a\n\nb\n", 5);
    check_refused(drt_sea_labels(s.m, s.t, &o, &r, &err), DRT_EDATA, "words.txt:2: an empty line");
    write_bytes("words.txt", "a\nb\na\n", 6);
    check_refused(drt_sea_labels(s.m, s.t, &o, &r, &err), DRT_EDATA, "stands in line 1 already");
    o.words = "no/such/list";
    check_refused(drt_sea_labels(s.m, s.t, &o, &r, &err), DRT_EIO, "no/such/list");
    o.words = path_of[WORDS_TXT];
    free(folder);
    begin(NULL); // the list is whole again
    o = plain();
    o.out = "no/such/folder/x.sea";
    check_refused(drt_sea_labels(s.m, s.t, &o, &r, &err), DRT_EIO, "no/such/folder/x.sea");
    o = plain();
    o.limit = 1; // the sample without a picture
    check_refused(drt_sea_labels(s.m, s.t, &o, &r, &err), DRT_EDATA, "no sample has a picture");
    // A single word on the far side of every patch: nothing would be learned.
    char *one = drt_path_join(folder, "one.txt");
    o = plain();
    o.words = one, o.limit = 2;
    int empty = 0;
    for (int w = 0; w < 300 && !empty; w++) {
        char word[16];
        write_bytes("one.txt", word, (size_t)snprintf(word, sizeof word, "%d\n", w));
        for (int sign = 0; sign < 2 && !empty; sign++) {
            o.negate = sign ? DRT_SEA_PLAIN : DRT_SEA_NEGATE;
            drt_status status = drt_sea_labels(s.m, s.t, &o, &r, &err);
            if (!status) continue;
            check_refused(status, DRT_EDATA, sign ? "set negate to true" : "set negate to false");
            empty++;
        }
    }
    check(empty);
    free(one);
    close_all(&s), close_all(&llava);
}

// ---- reading out ---------------------------------------------------------------------------------------------------

static void nearest_words(void **state) {
    (void)state;
    drt_error err = {0};
    setup s = open_on("cpu", tiny_llava(8, 0));
    drt_word_list list;
    check_ok(drt_word_list_open(&list, path_of[WORDS_TXT], &err));
    const drt_words_from from = {.list = &list};
    float *pixels = tiny_pixels(s.m, 2, 5), cosine[2 * TINY_PATCHES];
    int32_t word[2 * TINY_PATCHES];
    check_ok(drt_words_nearest(s.m, s.t, &from, pixels, 2, word, cosine, &err));
    // Every word's row by hand, against every visual token.
    drt_tape_begin(s.t, false);
    drt_tensor *seen = drt_visual_tokens(s.t, s.m, drt_picture_rows(s.m, pixels, 2), false);
    check(seen->value.rows == 2 * TINY_PATCHES);
    const int d = (int)seen->value.cols;
    for (int p = 0; p < 2 * TINY_PATCHES; p++) {
        const float *x = drt_row(seen->value, p);
        double best = -2, second = -2;
        int nearest = -1;
        for (int w = 0; w < WORDS; w++) {
            char text[32];
            int32_t *id;
            int n, size = snprintf(text, sizeof text, "w%d a%d", w * w, w % 5);
            double dot = 0, xx = 0, tt = 0;
            check_ok(drt_sea_tokens(s.m->tokenizer, text, (size_t)size, &id, &n, &err));
            for (int c = 0; c < d; c++) {
                double mean = 0;
                for (int k = 0; k < n; k++)
                    mean += drt_row(s.m->language.embedding->tensor.value, id[k])[c] / (double)n;
                dot += x[c] * mean, xx += (double)x[c] * x[c], tt += mean * mean;
            }
            free(id);
            dot /= sqrt(xx * tt);
            if (dot > best) second = best, best = dot, nearest = w;
            else if (dot > second) second = dot;
        }
        check(fabs(cosine[p] - best) < 1e-5);
        if (best - second > 1e-5) check(word[p] == nearest);
    }
    char *name[2 * TINY_PATCHES];
    check_ok(drt_words_names(&from, word, 2 * TINY_PATCHES, name, &err));
    for (int p = 0; p < 2 * TINY_PATCHES; p++) {
        char text[32];
        snprintf(text, sizeof text, "w%d a%d", word[p] * word[p], word[p] % 5);
        check(!strcmp(name[p], text));
        free(name[p]);
    }
    s.m->config.front = -1; // a patch without visual token has none either
    check_refused(drt_words_nearest(s.m, s.t, &from, pixels, 2, word, cosine, &err), DRT_ECONFIG,
                  "words want all patches");
    s.m->config.front = 0;
    // Weights that are no numbers have no nearest word.
    for (int i = 0; i < s.m->params->n; i++)
        if (s.m->params->at[i]->group == DRT_PROJECTOR) *(float *)s.m->params->at[i]->tensor.value.data = NAN;
    check_refused(drt_words_nearest(s.m, s.t, &from, pixels, 2, word, cosine, &err), DRT_ENUMERIC, "are not numbers");
    setup clip = open_on("cpu", tiny_clip(3));
    check_refused(drt_words_nearest(clip.m, clip.t, &from, pixels, 1, word, cosine, &err), DRT_ECONFIG,
                  "use a LLaVA folder");
    close_all(&clip);
    drt_word_list_close(&list);
    free(pixels);
    close_all(&s);
}

// Labels made by hand: what the model is nearest to for some patches, something else for others, nothing for one.
static void accuracy(void **state) {
    (void)state;
    drt_error err = {0};
    setup s = open_on("cpu", tiny_llava(8, 0));
    drt_word_list list;
    char *path = drt_path_join(folder, "0.png");
    uint64_t key;
    float *pixels = malloc((size_t)drt_picture_size(s.m) * sizeof *pixels), cosine[TINY_PATCHES];
    int32_t near[TINY_PATCHES], word[TINY_PATCHES * 2];
    float score[TINY_PATCHES * 2];
    check_ok(drt_word_list_open(&list, path_of[WORDS_TXT], &err));
    check_ok(drt_picture_key_of(path, &key, &err));
    check_ok(drt_picture_read(s.m, path, pixels, &err));
    check_ok(drt_words_nearest(s.m, s.t, &(drt_words_from){.list = &list}, pixels, 1, near, cosine, &err));
    double mean = 0;
    for (int p = 0; p < TINY_PATCHES; p++) {
        bool right = p < 4;
        word[2 * p] = (near[p] + 1) % WORDS, score[2 * p] = p < 7 ? 0.5f : 0;
        word[2 * p + 1] = right ? near[p] : 0, score[2 * p + 1] = right ? 0.25f : 0;
        if (p >= 7) word[2 * p] = 0;
        else mean += cosine[p] / 7;
    }
    drt_word_labels_about about = {.side = 3, .most = 2, .pictures = 1};
    drt_tower_marks(s.m, about.tower);
    for (int way = 0; way < 3; way++) {
        drt_word_labels_writer w;
        drt_word_labels *l;
        drt_alignment a;
        about.padded = way == 1;
        about.tower[3] += way == 2;
        check_ok(drt_word_labels_create(&w, path_of[LABELS], &about, &list, &key, &err));
        drt_word_labels_put(&w, word, score);
        check_ok(drt_word_labels_commit(&w, &err));
        check_ok(drt_word_labels_open(&l, path_of[LABELS], &err));
        const char *const one[] = {path}, *const other[] = {path_of[WORDS_TXT]};
        drt_status status = drt_eval_alignment(s.m, s.t, l, one, 1, 1, NULL, &a, &err);
        if (way == 1) check_refused(status, DRT_ECONFIG, "prepared with aspect pad");
        if (way == 2) check_refused(status, DRT_ECONFIG, "of another vision tower");
        if (way == 0) {
            check_ok(status);
            s.m->config.front = -1;
            check_refused(drt_word_labels_fit(l, s.m, DRT_ASPECT_SQUARE, &err), DRT_ECONFIG, "leaves out the first");
            s.m->config.front = 0;
            check(a.pictures == 1 && a.patches == 7 && a.right == 4 && fabs(a.cosine - mean) < 1e-6);
            char *changed = drt_path_join(folder, "1.png");
            const char *const two[] = {path, changed};
            check_refused(drt_eval_alignment(s.m, s.t, l, two, 2, 2, NULL, &a, &err), DRT_EDATA,
                          "1.png has no labels in");
            check(drt_eval_alignment(s.m, s.t, l, other, 1, 1, NULL, &a, &err));
            free(changed);
            drt_word_verdict verdict[TINY_PATCHES];
            check_ok(drt_words_judge(s.m, l, path, near, verdict, &err));
            for (int p = 0; p < TINY_PATCHES; p++)
                check(verdict[p] == (p < 4 ? DRT_WORD_RIGHT : p < 7 ? DRT_WORD_WRONG : DRT_WORD_UNJUDGED));
            check_ok(drt_words_judge(s.m, l, path_of[WORDS_TXT], near, verdict, &err));
            for (int p = 0; p < TINY_PATCHES; p++) check(verdict[p] == DRT_WORD_UNJUDGED);
            drt_text svg = {0};
            check_ok(drt_scores_svg(l, NULL, &svg, &err));
            check(strstr(svg.bytes, "% of 23 words are used") && strstr(svg.bytes, "</svg>"));
            drt_text_free(&svg);
        }
        drt_word_labels_close(l);
    }
    drt_word_list_close(&list);
    free(path), free(pixels);
    close_all(&s);
}

// ---- drawing -------------------------------------------------------------------------------------------------------

static bool same(const drt_image *a, const drt_image *b, int x, int y, int size) {
    for (int dy = 0; dy < size; dy++)
        if (memcmp(a->rgb + 3 * ((y + dy) * a->width + x), b->rgb + 3 * ((y + dy) * b->width + x), 3 * (size_t)size))
            return false;
    return true;
}

static void words_are_drawn(void **state) {
    (void)state;
    drt_error err = {0};
    drt_image seen, a, b;
    check_ok(drt_image_new(&seen, 20, 20, &err));
    char *word[] = {"cup", "", "unquestionably long", "\xc3\xa9t\xc3\xa9"};
    drt_word_verdict verdict[4] = {DRT_WORD_UNJUDGED, DRT_WORD_RIGHT, DRT_WORD_WRONG, DRT_WORD_UNJUDGED};
    check_ok(drt_word_picture(&seen, 2, word, verdict, &a, &err));
    int cell = a.width / 2;
    check(a.width == a.height && cell > 50);
    // One patch changes with its word and its verdict, the others stay.
    for (int i = 0; i < 4; i++) {
        char *kept = word[i];
        word[i] = i ? "x" : "cap";
        check_ok(drt_word_picture(&seen, 2, word, verdict, &b, &err));
        for (int k = 0; k < 4; k++) check(same(&a, &b, k % 2 * cell, k / 2 * cell, cell) == (k != i));
        drt_image_free(&b);
        word[i] = kept;
    }
    verdict[0] = DRT_WORD_RIGHT;
    check_ok(drt_word_picture(&seen, 2, word, verdict, &b, &err));
    check(!same(&a, &b, 0, 0, cell) && same(&a, &b, cell, 0, cell));
    drt_image_free(&a), drt_image_free(&b), drt_image_free(&seen);
    check(drt_letters_count(word[3]) == 3 && drt_letters_bytes(word[3], 1) == 2 && drt_letters_bytes("ab", 9) == 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_a_plain_search), cmocka_unit_test(streams),       cmocka_unit_test(bounded_memory),
        cmocka_unit_test(refusals),          cmocka_unit_test(nearest_words), cmocka_unit_test(accuracy),
        cmocka_unit_test(words_are_drawn),
    };
    return cmocka_run_group_tests(tests, begin, NULL);
}
