#include "data/shapes_files.h"

#include "data/space.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

void drt_shapes_tally_add(shapes_tally *t, const drt_shapes_question *q) {
    for (int i = 0; i < q->n_answers && i < MAX_ANSWERS; i++) {
        if (!strcmp(q->answers[i], q->answer)) t->of[q->kind][q->n_answers == 2][i]++;
    }
}

double drt_shapes_prior(const shapes_tally *trained, const shapes_tally *asked, drt_shapes_ask_kind kind) {
    int64_t right = 0, all = 0;
    for (int set = 0; set < ANSWER_SETS; set++) {
        int most = 0;
        for (int i = 0; i < MAX_ANSWERS; i++) {
            if (trained->of[kind][set][i] > trained->of[kind][set][most]) most = i;
            all += asked->of[kind][set][i];
        }
        right += asked->of[kind][set][most];
    }
    return all ? (double)right / (double)all : 0;
}

void drt_shapes_words_add(shapes_vocabulary *v, const char *text) {
    while (*text) {
        while (*text && !isalnum((unsigned char)*text)) text++;
        size_t n = 0;
        while (isalnum((unsigned char)text[n])) n++;
        if (n && n < WORD_SIZE && v->n < WORD_SLOTS / 2) {
            size_t at = drt_hash(text, n) % WORD_SLOTS;
            while (v->slot[at][0] && (strncmp(v->slot[at], text, n) || v->slot[at][n])) at = (at + 1) % WORD_SLOTS;
            if (!v->slot[at][0]) memcpy(v->slot[at], text, n), v->n++;
        }
        text += n;
    }
}

drt_status drt_shapes_write_words(const char *folder, drt_error *err) {
    static const struct {
        const char *const *list;
        int n;
    } all[] = {{drt_shapes_names, N_SHAPES},      {drt_shapes_colors, N_COLORS}, {drt_shapes_sizes, N_SIZES},
               {drt_shapes_textures, N_TEXTURES}, {drt_shapes_places, N_PLACES}, {drt_shapes_signs, N_WORDS}};
    drt_text t = {0};
    shapes_vocabulary seen = {0};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        for (int k = 0; k < all[i].n; k++) {
            size_t size = strlen(all[i].list[k]), at = 0, n;
            for (const char *word; (word = drt_next_word(all[i].list[k], size, &at, &n));) {
                char one[WORD_SIZE] = {0};
                int before = seen.n;
                memcpy(one, word, n);
                drt_shapes_words_add(&seen, one);
                if (seen.n > before) drt_text_printf(&t, "%s\n", one);
            }
        }
    char *path = drt_path_join(folder, "words.txt");
    drt_status status = path && !t.failed ? drt_file_write(path, t.bytes, t.size, err)
                                          : drt_fail(err, DRT_ENOMEM, "words.txt: no memory");
    drt_text_free(&t);
    free(path);
    return status;
}

drt_status drt_shapes_list_open(shapes_list *l, const char *folder, const char *name, drt_error *err) {
    char *path = drt_path_join(folder, name);
    if (!path) return drt_fail(err, DRT_ENOMEM, "%s: no memory", name);
    drt_status status = drt_writer_open(&l->writer, path, err);
    free(path);
    if (status) return status;
    size_t n = strlen(name);
    l->name = name, l->n = 0, l->open = true, l->lines = n > 6 && !strcmp(name + n - 6, ".jsonl");
    if (!l->lines) drt_writer_put(&l->writer, "[", 1);
    return DRT_OK;
}

void drt_shapes_list_add(shapes_list *l, const drt_text *entry) {
    if (l->lines) {
        drt_writer_put(&l->writer, entry->bytes, entry->size);
        drt_writer_put(&l->writer, "\n", 1);
    } else {
        drt_writer_put(&l->writer, l->n ? ",\n" : "\n", l->n ? 2 : 1);
        drt_writer_put(&l->writer, entry->bytes, entry->size);
    }
    l->n++;
}

drt_status drt_shapes_list_close(shapes_list *l, drt_error *err) {
    if (!l->lines) drt_writer_put(&l->writer, "\n]\n", 3);
    l->bytes = l->writer.written;
    l->open = false;
    return drt_writer_commit(&l->writer, err);
}

static void put_head(drt_text *t, const char *id, const char *image) {
    drt_text_puts(t, "{\"id\": ");
    drt_text_json(t, id);
    if (image) {
        drt_text_puts(t, ", \"image\": ");
        drt_text_json(t, image);
    }
}

static void put_turn(drt_text *t, const char *human, const char *gpt, bool first) {
    drt_text_puts(t, first ? "{\"from\": \"human\", \"value\": " : ", {\"from\": \"human\", \"value\": ");
    drt_text_json(t, human);
    drt_text_puts(t, "}, {\"from\": \"gpt\", \"value\": ");
    drt_text_json(t, gpt);
    drt_text_puts(t, "}");
}

void drt_shapes_put_pair(drt_text *t, const char *id, const char *image, const char *human, const char *gpt) {
    put_head(t, id, image);
    drt_text_puts(t, ", \"conversations\": [");
    put_turn(t, human, gpt, true);
    drt_text_puts(t, "]}");
}

void drt_shapes_put_conversation(drt_text *t, const char *id, const char *image, const char *lead,
                                 const drt_shapes_question *q, int n) {
    put_head(t, id, image);
    drt_text_puts(t, ", \"conversations\": [");
    drt_text human = {0};
    bool told = false; // as in LLaVA's mixture, only the first short answer is asked for in so many words
    for (int i = 0; i < n; i++) {
        human.size = 0;
        if (i == 0) drt_text_printf(&human, "%s\n", lead);
        drt_text_puts(&human, q[i].text);
        if (q[i].kind == ASK_CHOICE) drt_text_puts(&human, drt_shapes_letter);
        else if (!told) drt_text_puts(&human, drt_shapes_short), told = true;
        t->failed |= human.failed;
        if (!human.failed) put_turn(t, human.bytes, q[i].answer, i == 0);
    }
    drt_text_free(&human);
    drt_text_puts(t, "]}");
}

void drt_shapes_put_question(drt_text *t, int64_t id, const char *image, const char *lead,
                             const drt_shapes_question *q) {
    drt_text_printf(t, "{\"question_id\": %lld", (long long)id);
    if (image) {
        drt_text_puts(t, ", \"image\": ");
        drt_text_json(t, image);
    }
    drt_text text = {0};
    if (lead) drt_text_printf(&text, "%s\n", lead);
    drt_text_printf(&text, "%s%s", q->text, q->kind == ASK_CHOICE ? drt_shapes_letter : drt_shapes_short);
    drt_text_puts(t, ", \"text\": ");
    drt_text_json(t, text.failed ? "" : text.bytes);
    t->failed |= text.failed;
    drt_text_free(&text);
    drt_text_puts(t, ", \"answer\": ");
    drt_text_json(t, q->answer);
    drt_text_puts(t, ", \"answers\": [");
    for (int i = 0; i < q->n_answers; i++) drt_text_printf(t, "%s\"%s\"", i ? ", " : "", q->answers[i]);
    drt_text_printf(t, "], \"category\": \"%s\"}", q->category);
}

void drt_shapes_put_contrast(drt_text *t, const char *id, const char *image, const drt_shapes_scene *s, drt_rng *r) {
    enum { NEGATIVES = 4 };
    drt_shapes_style style = drt_shapes_pick_style(r);
    drt_rng words = *r, choices = *r; // the negatives repeat the caption's draws
    drt_rng_next(&choices);
    drt_text caption = {0}, negative[NEGATIVES] = {{0}};
    if (!drt_shapes_caption(&caption, s, style, r, NULL)) {
        style = STYLE_PLACES;
        words = *r;
        drt_shapes_caption(&caption, s, style, r, NULL);
    }
    int n = drt_shapes_hard_negatives(negative, NEGATIVES, s, style, &words, &choices);
    put_head(t, id, image);
    drt_text_puts(t, ", \"caption\": ");
    drt_text_json(t, caption.failed ? "" : caption.bytes);
    drt_text_puts(t, ", \"negatives\": [");
    for (int i = 0; i < n; i++) {
        if (i) drt_text_puts(t, ", ");
        drt_text_json(t, negative[i].bytes);
    }
    drt_text_puts(t, "], \"patches\": [");
    uint8_t patches[SHAPES_GRID * SHAPES_GRID][SHAPES_LABELS];
    drt_shapes_patches(s, patches);
    for (int i = 0; i < SHAPES_GRID * SHAPES_GRID; i++) {
        const uint8_t *p = patches[i];
        drt_text_printf(t, "%s[%d,%d,%d,%d,%d]", i ? "," : "", p[0], p[1], p[2], p[3], p[4]);
    }
    drt_text_puts(t, "]}");
    t->failed |= caption.failed;
    drt_text_free(&caption);
    for (int i = 0; i < NEGATIVES; i++) t->failed |= negative[i].failed, drt_text_free(&negative[i]);
}
