// drt data: what is wrong with a dataset, and what a model sees of it.
#include "cli/commands.h"
#include "cli/open.h"
#include "cli/options.h"

#include "base/file.h"
#include "eval/data_report.h"
#include "eval/report_parts.h"
#include "format/hf_config.h"
#include "train/preview.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] = "drt data check DATA [--images DIR] [--model DIR] [--eval FILE,FILE] [--out DIR]\n"
                           "drt data preview RECIPE.yaml [key=value ...] [--step N] [--samples N] [--out DIR]\n"
                           "\n"
                           "  check      reads every sample, decodes every picture, says by name what is wrong\n"
                           "  preview    samples as the model will see them, token by token\n"
                           "\n"
                           "  --help     behind check or preview: more of it\n";

static const char check_help[] =
    "drt data check DATA [--images DIR] [--model DIR] [--eval FILE,FILE] [--out DIR]\n"
    "\n"
    "Reads every sample and decodes every picture, on all cores, and says by name what is wrong: lines that are no\n"
    "JSON, samples that are malformed, answers that are empty, <image> that disagree with pictures, pictures that\n"
    "are missing, truncated or corrupt, duplicates (the same bytes, or the same to the eye), what evaluation files\n"
    "ask, too. With a model, also samples that are too long once pictures are put in. Samples that cannot be trained\n"
    "on go on a list beside the data, DATA.quarantine.jsonl, which training leaves out unasked. The exit status is 0\n"
    "if the list is empty, else 1.\n"
    "\n"
    "  DATA            JSON of LLaVA's schema, JSON lines, tar shards of WebDataset, or a folder of them\n"
    "  --images DIR    folder that names of pictures start from; default: the folder of DATA\n"
    "  --model DIR     a model's folder: its tokenizer, template and rows of a picture; weights are not read\n"
    "  --template T    how conversations are written: plain for stage 1; default: the model's own\n"
    "  --context N     rows of a sequence at most; default 2048, or what the model has\n"
    "  --eval FILES    evaluation files, separated by commas: JSON lines of questions, or LLaVA's schema\n"
    "  --out DIR       report.html and report.json; default: DATA.check\n"
    "  --quarantine F  write the list to another file\n"
    "  --threads N     default: all cores\n"
    "\n"
    "  drt data check out/demo/world/finetune.json --model out/demo/stage1/model --eval "
    "out/demo/world/eval/color.jsonl\n";

typedef struct {
    const char *data, *images, *model, *how, *context, *eval, *out, *quarantine, *threads;
    long long rows;
} asked;

// What a model makes of a sample, from its small files alone.
typedef struct {
    drt_tokenizer *tokenizer;
    drt_dataset_rows rows;
    const drt_template *how;
} reader;

static drt_status open_reader(reader *q, const asked *a, drt_error *err) {
    drt_model_config config;
    if (!a->model) return DRT_OK;
    drt_status status = drt_model_config_read(&config, a->model, err);
    if (!status && !drt_has_decoder(&config))
        status = drt_fail(err, DRT_ECONFIG, "%s has no decoder, hence no rows", a->model);
    if (!status) status = drt_tokenizer_open(&q->tokenizer, a->model, err);
    if (!status && !q->how) status = drt_template_choose(&q->how, config.conversation, a->model, err);
    if (!status && !q->how)
        status = drt_fail(err, DRT_ECONFIG, "%s has a chat template that drt does not know; name one (--template)",
                          a->model);
    if (!status) status = drt_template_check(q->how, q->tokenizer, err);
    if (status) return status;
    int most = drt_decoder_context(&config.language);
    q->rows = (drt_dataset_rows){.tokenizer = q->tokenizer,
                                 .context = a->rows < most ? (int)a->rows : most,
                                 .image_rows = config.kind == DRT_MODEL_LLAVA ? drt_visual_rows(&config) : 0};
    return DRT_OK;
}

static drt_status write_in(const char *folder, const char *name, drt_text *text, drt_error *err) {
    drt_status status = drt_report_save(text, folder, name, err);
    if (!status) printf("written: %s/%s\n", folder, name);
    drt_text_free(text);
    return status;
}

static drt_status write_report(const drt_data_check *c, const char *folder, drt_error *err) {
    drt_text text = {0};
    drt_data_json(c, &text);
    drt_status status = write_in(folder, "report.json", &text, err);
    if (status) return status;
    drt_data_html(c, &text);
    return write_in(folder, "report.html", &text, err);
}

static drt_status check(const asked *a, drt_data_check_options *o, bool *clean, drt_error *err) {
    reader q = {.how = o->how};
    drt_data_check c = {0};
    char *out = a->out ? strdup(a->out) : drt_beside(a->data, ".check");
    drt_status status =
        out ? drt_data_check_may_save(a->data, a->quarantine, err) : drt_fail(err, DRT_ENOMEM, "no memory");
    if (!status) status = open_reader(&q, a, err);
    if (!status) status = drt_make_folders(out, err); // what cannot be written is told before hours of decoding
    o->how = q.how;
    o->rows = q.tokenizer ? &q.rows : NULL;
    if (!status) status = drt_data_check_run(&c, a->data, o, err);
    if (!status) {
        drt_text text = {0};
        drt_data_table(&c, 10, &text);
        fputs(text.failed ? "" : text.bytes, stdout);
        drt_text_free(&text);
        status = write_report(&c, out, err);
    }
    if (!status) status = drt_data_check_save(&c, a->quarantine, err);
    *clean = !c.quarantined;
    drt_data_check_free(&c);
    drt_tokenizer_close(q.tokenizer);
    free(out);
    return status;
}

// "a,b" -> its parts, in a copy that *copy owns.
static bool split(const char *list, char **copy, const char ***out, int *n) {
    *n = 0;
    *copy = strdup(list ? list : "");
    *out = calloc(strlen(list ? list : "") / 2 + 2, sizeof **out);
    if (!*copy || !*out) return false;
    for (char *rest = *copy, *part; (part = strsep(&rest, ","));)
        if (*part) (*out)[(*n)++] = part;
    return true;
}

static int data_check(int argc, char **argv) {
    asked a = {.context = "2048"};
    const drt_option options[] = {
        {"--images", &a.images, NULL, false},
        {"--model", &a.model, NULL, false},
        {"--template", &a.how, NULL, false},
        {"--context", &a.context, NULL, false},
        {"--eval", &a.eval, NULL, false},
        {"--out", &a.out, NULL, false},
        {"--quarantine", &a.quarantine, NULL, false},
        {"--threads", &a.threads, NULL, false},
    };
    int n_rest = 1,
        rc = drt_options_parse(argc, argv, options, sizeof options / sizeof *options, &a.data, &n_rest, check_help);
    long long threads = 0;
    if (rc) return rc == 1 ? 0 : rc;
    if (!n_rest) {
        fputs("drt data check: which data? Name a file or a folder.\nTry: drt data check --help\n", stderr);
        return 2;
    }
    drt_progress bar = {.report = drt_progress_terminal, .user = stderr};
    drt_data_check_options o = {.images = a.images, .progress = &bar};
    if (!drt_option_number("data check", "--context", a.context, 1, 1 << 24, &a.rows) ||
        (a.threads && !drt_option_number("data check", "--threads", a.threads, 1, 4096, &threads)) ||
        (a.how && !drt_cli_template("data check", a.how, &o.how)))
        return 2;
    if (threads) omp_set_num_threads((int)threads);
    char *names;
    const char **eval;
    drt_error err = {0};
    bool clean = false;
    drt_status status = split(a.eval, &names, &eval, &o.n_eval) ? DRT_OK : drt_fail(&err, DRT_ENOMEM, "no memory");
    o.eval = eval;
    if (!status) status = check(&a, &o, &clean, &err);
    free(names), free(eval);
    if (status) fprintf(stderr, "drt data check: %s\n", err.text);
    return status || !clean ? 1 : 0;
}

// ---- preview -------------------------------------------------------------------------------------------------------

static const char preview_help[] =
    "drt data preview RECIPE.yaml [key=value ...] [--step N] [--samples N] [--out DIR]\n"
    "\n"
    "Shows the samples of a step as training will see them, token by token: what is trained on, what is masked, where\n"
    "pictures stand, what the context cuts off; with --out also as a page with the pictures as they go in, shuffled\n"
    "ones with their permutation, and the packed batch as a drawing. It opens the model and the data as training does\n"
    "and refuses what training refuses. Keys are those of drt train; `out` need not be given.\n"
    "\n"
    "  --step N       which step of the schedule; default 0, the first\n"
    "  --samples N    how many of its samples; default 4\n"
    "  --out DIR      preview.html and batch.svg\n"
    "\n"
    "  drt data preview configs/demo-llava-1.yaml data.file=out/demo/world/pretrain.json --out out/preview\n";

static drt_status preview(const drt_recipe *r, long long step, int samples, const char *out, drt_error *err) {
    drt_preview *p;
    drt_progress bar = {.report = drt_progress_terminal, .user = stderr, .what = "checking pictures"};
    drt_text text = {0};
    drt_status status = drt_preview_open(&p, r, step, &bar, err);
    if (status) return status;
    drt_preview_text(p, samples, isatty(fileno(stdout)), &text);
    if (text.failed) status = drt_fail(err, DRT_ENOMEM, "no memory for the preview");
    else fputs(text.bytes, stdout);
    drt_text_free(&text);
    if (!status && out) status = drt_make_folders(out, err);
    if (!status && out) {
        drt_preview_html(p, samples, &text);
        status = write_in(out, "preview.html", &text, err);
    }
    if (!status && out) {
        drt_preview_batch(p, &text);
        status = write_in(out, "batch.svg", &text, err);
    }
    drt_preview_close(p);
    return status;
}

// Words with '=' are keys of the recipe, as for drt train.
static int data_preview(int argc, char **argv) {
    const char *file = NULL, *step = "0", *samples = "4", *out = NULL;
    const char **override = calloc((size_t)argc + 1, sizeof *override);
    char **left = calloc((size_t)argc + 1, sizeof *left);
    int n = 0, n_left = 0, n_rest = 1, rc = 2;
    long long n_step, n_samples;
    const drt_option options[] = {
        {"--step", &step, NULL, false}, {"--samples", &samples, NULL, false}, {"--out", &out, NULL, false}};
    for (int i = 0; override && left && i < argc; i++) {
        if (i && argv[i][0] != '-' && strchr(argv[i], '=')) override[n++] = argv[i];
        else left[n_left++] = argv[i];
    }
    if (override && left) rc = drt_options_parse(n_left, left, options, 3, &file, &n_rest, preview_help);
    if (!rc && !(drt_option_number("data preview", "--step", step, 0, 1LL << 40, &n_step) &&
                 drt_option_number("data preview", "--samples", samples, 1, 1 << 20, &n_samples)))
        rc = 2;
    if (!rc) {
        drt_recipe r;
        drt_error err = {0};
        drt_status status = drt_recipe_load(&r, file, n, override, &err);
        if (!status) {
            // Nothing is written to a run's folder, but every recipe has one.
            if (!*r.out) status = drt_recipe_set(&r, "out", "none", &err);
            if (!status) status = drt_recipe_complete(&r, &err);
            if (!status) status = preview(&r, n_step, (int)n_samples, out, &err);
            drt_recipe_free(&r);
        }
        if (status) fprintf(stderr, "drt data preview: %s\n", err.text);
        rc = status ? 3 : 0;
    }
    free(override), free(left);
    return rc == 1 ? 0 : rc == 3 ? 1 : rc;
}

int drt_cli_data(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "check")) return data_check(argc - 1, argv + 1);
    if (argc > 1 && !strcmp(argv[1], "preview")) return data_preview(argc - 1, argv + 1);
    bool asked = argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h");
    if (!asked) fprintf(stderr, "drt data: no such thing as '%s'\n", argv[1]);
    fputs(help, asked ? stdout : stderr);
    return asked && argc > 1 ? 0 : 2;
}
