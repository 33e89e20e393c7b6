// drt words: the word nearest to every visual token of a picture.
#include "cli/commands.h"
#include "cli/open.h"
#include "cli/options.h"

#include "eval/letters.h"
#include "eval/words.h"
#include "infer/picture.h"

#include <stdio.h>
#include <stdlib.h>

static const char help[] =
    "drt words MODEL --image FILE --words FILE [--out F.png]\n"
    "\n"
    "Says for each visual token of a picture which word of a list has the nearest embedding in the decoder: how\n"
    "far the projector speaks the decoder's language. Prints the words as they lie over the picture, with the mean\n"
    "cosine.\n"
    "\n"
    "  MODEL           a LLaVA folder, however it was trained\n"
    "  --image FILE    the picture\n"
    "  --words FILE    one word a line, or\n"
    "  --labels FILE   labels of drt sea-labels: its words; and where the picture is among those labelled, words that\n"
    "                  are not among their patch's labels stand in brackets, and red in the drawing, the others green\n"
    "  --out F.png     draw the words on the picture\n"
    "  --dtype TYPE    of products: f32, bf16, f16 (weights stay f32), or auto (default), as the folder stores them\n"
    "  --device NAME   cpu (default), or ref: slow and plain\n"
    "  --threads N     default: all cores\n"
    "\n"
    "  drt words out/sea/model --image out/demo/world/images/eval/000000.png --words out/demo/world/words.txt \\\n"
    "      --out words.png\n";

typedef struct {
    const char *model, *image, *words, *labels, *out;
    int keep;
} asked;

typedef struct {
    drt_model *m;
    drt_word_list list;
    drt_word_labels *labels;
    drt_words_from from;
    int side, n;
    float *pixels, *cosine;
    int32_t *word;
    char **name;
    drt_word_verdict *verdict;
} reading;

static drt_status look(reading *r, const asked *a, drt_tape *tape, drt_error *err) {
    drt_status status = DRT_OK;
    if (a->labels) status = drt_word_labels_open(&r->labels, a->labels, err);
    else status = drt_word_list_open(&r->list, a->words, err);
    r->from = (drt_words_from){.list = &r->list, .labels = r->labels};
    const drt_model_options inference = {.keep = (drt_keep)a->keep};
    if (!status) status = drt_model_open(&r->m, a->model, &inference, err);
    if (status) return status;
    const drt_tower *v = &r->m->config.vision;
    r->side = drt_has_vision(&r->m->config) ? v->image / v->patch : 0;
    r->n = r->side * r->side;
    r->pixels = malloc((size_t)drt_picture_size(r->m) * sizeof *r->pixels + 1);
    r->cosine = malloc((size_t)r->n * sizeof *r->cosine + 1);
    r->word = malloc((size_t)r->n * sizeof *r->word + 1);
    r->name = calloc((size_t)r->n + 1, sizeof *r->name);
    r->verdict = calloc((size_t)r->n + 1, sizeof *r->verdict);
    if (!r->pixels || !r->cosine || !r->word || !r->name || !r->verdict)
        return drt_fail(err, DRT_ENOMEM, "no memory for a picture");
    status = drt_picture_read(r->m, a->image, r->pixels, err);
    if (!status) status = drt_words_nearest(r->m, tape, &r->from, r->pixels, 1, r->word, r->cosine, err);
    if (!status) status = drt_words_names(&r->from, r->word, r->n, r->name, err);
    if (!status && r->labels) status = drt_words_judge(r->m, r->labels, a->image, r->word, r->verdict, err);
    return status;
}

static void print(const reading *r) {
    int widest = 0, right = 0, judged = 0;
    double cosine = 0;
    for (int i = 0; i < r->n; i++) {
        int n = drt_letters_count(r->name[i]);
        widest = n > widest ? n : widest;
        cosine += r->cosine[i] / r->n;
        right += r->verdict[i] == DRT_WORD_RIGHT, judged += r->verdict[i] != DRT_WORD_UNJUDGED;
    }
    for (int i = 0; i < r->n; i++) {
        bool wrong = r->verdict[i] == DRT_WORD_WRONG;
        int gap = widest - drt_letters_count(r->name[i]);
        printf("%s%s%s%*s%s", wrong ? "(" : " ", r->name[i], wrong ? ")" : " ", gap, "",
               i % r->side == r->side - 1 ? "\n" : "");
    }
    printf("\nmean cosine %.3f", cosine);
    if (judged) printf("; %d of %d words are among their patch's labels", right, judged);
    printf("\n");
}

static drt_status draw(const reading *r, const asked *a, drt_error *err) {
    drt_image image = {0}, ready = {0}, drawn = {0};
    drt_status status = drt_image_read(&image, a->image, err);
    if (!status) status = drt_image_prepare(&image, &r->m->preprocess, &ready, err);
    if (!status) status = drt_word_picture(&ready, r->side, r->name, r->verdict, &drawn, err);
    if (!status) status = drt_image_write(&drawn, a->out, err);
    drt_image_free(&image), drt_image_free(&ready), drt_image_free(&drawn);
    return status;
}

static drt_status run(const asked *a, drt_tape *tape, drt_error *err) {
    reading r = {0};
    drt_status status = look(&r, a, tape, err);
    if (!status) print(&r);
    if (!status && a->out) status = draw(&r, a, err);
    if (!status && a->out) printf("written: %s\n", a->out);
    for (int i = 0; r.name && i < r.n; i++) free(r.name[i]);
    free(r.name), free(r.word), free(r.cosine), free(r.pixels), free(r.verdict);
    drt_word_labels_close(r.labels);
    drt_word_list_close(&r.list);
    drt_model_close(r.m);
    return status;
}

int drt_cli_words(int argc, char **argv) {
    asked a = {0};
    const char *dtype = "auto", *name = "cpu", *threads = NULL;
    const drt_option options[] = {
        {"--image", &a.image, NULL, true},    {"--words", &a.words, NULL, false}, {"--labels", &a.labels, NULL, false},
        {"--out", &a.out, NULL, false},       {"--dtype", &dtype, NULL, false},   {"--device", &name, NULL, false},
        {"--threads", &threads, NULL, false},
    };
    int n_rest = 1,
        rc = drt_options_parse(argc, argv, options, sizeof options / sizeof *options, &a.model, &n_rest, help);
    if (rc) return rc == 1 ? 0 : rc;
    if (!drt_option_model("words", n_rest)) return 2;
    if (!a.words == !a.labels) {
        fprintf(stderr, "drt words: which words? Give --words FILE or --labels FILE, one of them\n"
                        "Try: drt words --help\n");
        return 2;
    }
    if ((a.keep = drt_cli_word("words", "--dtype", dtype, drt_keep_names, DRT_KEEPS)) < 0) return 2;
    drt_error err = {0};
    drt_device *dev;
    drt_tape *tape;
    if (!drt_cli_open("words", name, threads, &dev, &tape)) return 2;
    drt_status status = run(&a, tape, &err);
    if (status) fprintf(stderr, "drt words: %s\n", err.text);
    drt_cli_close(dev, tape);
    return status ? 1 : 0;
}
