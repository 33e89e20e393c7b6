// drt sea-labels: the words for every patch of a data set's pictures.
#include "cli/commands.h"
#include "cli/open.h"
#include "cli/options.h"

#include "eval/sea_labels.h"
#include "eval/words.h"

#include <stdio.h>

static const char help[] =
    "drt sea-labels MODEL --words FILE --data JSON --out FILE\n"
    "\n"
    "Finds for each patch of every picture of a data set the ten words of a list that MODEL's text tower holds for "
    "most\n"
    "like it, and keeps them in one file: the labels of objective sea (recipe keys objectives.sea, sea.labels), which\n"
    "draws visual tokens to the words for what they show. Memory does not grow with the list of words.\n"
    "\n"
    "  MODEL           a CLIP or SigLIP folder: the one that the LLaVA's vision tower is from\n"
    "  --words FILE    one word a line (drt shapes writes its world's into words.txt)\n"
    "  --data JSON     samples, as for training\n"
    "  --images DIR    folder that image names start from (default: the folder of JSON)\n"
    "  --out FILE      the labels, keyed by the content of picture files\n"
    "  --negate WHICH  score words by -cosine: auto (default: true for CLIP, whose patches point away from their\n"
    "                  words, false for SigLIP), true, false. Only words with a score above 0 become labels\n"
    "  --aspect WHICH  how pictures are prepared: square (default) or pad, as data.aspect of the training\n"
    "  --limit N       only the first N samples (default 0: all)\n"
    "  --scores F.svg  draw how the scores of labels are spread, and the mean scores of words\n"
    "  --chunk N       words compared at a time (default 1024)\n"
    "  --device NAME   cpu (default), or ref: slow and plain\n"
    "  --threads N     default: all cores\n"
    "\n"
    "  drt sea-labels models/tiny-clip --words out/demo/world/words.txt --data out/demo/world/pretrain.json \\\n"
    "      --negate false --out out/demo/world/labels.sea\n";

static drt_status draw_scores(const char *labels, const char *path, drt_progress *progress, drt_error *err) {
    drt_word_labels *l = NULL;
    drt_text svg = {0};
    progress->what = "reading labels";
    progress->started = progress->last = 0;
    drt_status status = drt_word_labels_open(&l, labels, err);
    if (!status) status = drt_scores_svg(l, progress, &svg, err);
    if (!status) status = drt_file_write(path, svg.bytes, svg.size, err);
    if (!status) printf("written: %s\n", path);
    drt_word_labels_close(l);
    drt_text_free(&svg);
    return status;
}

static drt_status run(const char *folder, const char *scores, const drt_sea_labels_options *o, drt_tape *tape,
                      drt_error *err) {
    const drt_model_options inference = {0};
    drt_model *m = NULL;
    drt_sea_labels_result r;
    drt_status status = drt_model_open(&m, folder, &inference, err);
    if (!status) status = drt_sea_labels(m, tape, o, &r, err);
    drt_model_close(m);
    if (status) return status;
    printf("%s: %lld words, %lld pictures; %.1f %% of %lld patches have labels; scores are %s\n", o->out,
           (long long)r.words, (long long)r.pictures, 100.0 * (double)r.labelled / (double)r.patches,
           (long long)r.patches, r.negated ? "-cosine" : "the cosine");
    if (2 * r.labelled < r.patches)
        printf("few patches have a word with a positive score: this tower's patches may point the other way "
               "(--negate %s)\n",
               r.negated ? "false" : "true");
    return scores ? draw_scores(o->out, scores, o->progress, err) : DRT_OK;
}

int drt_cli_sea_labels(int argc, char **argv) {
    static const char *const aspects[] = {"square", "pad"};
    const char *model = NULL, *scores = NULL, *negate = "auto", *aspect = "square", *limit = "0", *chunk = "1024",
               *name = "cpu", *threads = NULL;
    drt_sea_labels_options o = {0};
    const drt_option options[] = {
        {"--words", &o.words, NULL, true},    {"--data", &o.data, NULL, true},      {"--out", &o.out, NULL, true},
        {"--images", &o.images, NULL, false}, {"--negate", &negate, NULL, false},   {"--aspect", &aspect, NULL, false},
        {"--scores", &scores, NULL, false},   {"--limit", &limit, NULL, false},     {"--chunk", &chunk, NULL, false},
        {"--device", &name, NULL, false},     {"--threads", &threads, NULL, false},
    };
    int n_rest = 1,
        rc = drt_options_parse(argc, argv, options, sizeof options / sizeof *options, &model, &n_rest, help);
    long long n_limit, n_chunk;
    if (rc) return rc == 1 ? 0 : rc;
    if (!drt_option_model("sea-labels", n_rest)) return 2;
    if (!drt_option_number("sea-labels", "--limit", limit, 0, 1LL << 40, &n_limit)) return 2;
    if (!drt_option_number("sea-labels", "--chunk", chunk, 1, 1 << 20, &n_chunk)) return 2;
    int sign = drt_cli_word("sea-labels", "--negate", negate, drt_sea_negate_names, DRT_SEA_NEGATES),
        how = drt_cli_word("sea-labels", "--aspect", aspect, aspects, 2);
    if (sign < 0 || how < 0) return 2;
    drt_progress progress = {.report = drt_progress_terminal, .user = stderr};
    o.negate = (drt_sea_negate)sign;
    o.aspect = (drt_aspect)how;
    o.limit = n_limit;
    o.chunk = (int)n_chunk;
    o.progress = &progress;
    drt_error err = {0};
    drt_device *dev;
    drt_tape *tape;
    if (!drt_cli_open("sea-labels", name, threads, &dev, &tape)) return 2;
    drt_status status = run(model, scores, &o, tape, &err);
    if (status) fprintf(stderr, "drt sea-labels: %s\n", err.text);
    drt_cli_close(dev, tape);
    return status ? 1 : 0;
}
