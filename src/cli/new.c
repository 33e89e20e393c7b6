// drt new: a model with random weights from a config.json, where training from nothing begins.
#include "cli/commands.h"
#include "cli/open.h"
#include "cli/options.h"

#include "base/file.h"
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "drt new --config FILE --tokenizer DIR --out DIR [--seed S]\n"
    "\n"
    "Makes a Hugging Face folder with random weights: what training from nothing starts from.\n"
    "\n"
    "  --config FILE     config.json of a vision tower, a decoder or a LLaVA\n"
    "  --tokenizer DIR   folder with tokenizer.json; its size and its special tokens replace the config's\n"
    "  --out DIR         folder to write\n"
    "  --seed S          any whole number (default 42)\n"
    "\n"
    "  drt new --config configs/tiny-clip.json --tokenizer out/tokenizer --out out/clip\n";

static void adopt(drt_model_config *c, const drt_tokenizer *t) {
    int size = drt_tokenizer_size(t), bos = drt_tokenizer_bos(t), eos = drt_tokenizer_eos(t),
        pad = drt_tokenizer_pad(t);
    int image = drt_tokenizer_id(t, "<image>");
    c->text.vocab = c->language.vocab = size;
    c->text.bos = c->language.bos = bos >= 0 ? bos : 1;
    c->text.eos = c->language.eos = eos >= 0 ? eos : 2;
    c->language.more_eos = 0;
    c->language.pad = pad;
    c->text.pad = pad >= 0 ? pad : 0;
    c->image_token = image >= 0 ? image : size - 1;
}

int drt_cli_new(int argc, char **argv) {
    const char *config = NULL, *tokenizer = NULL, *out = NULL, *seed = "42";
    const drt_option options[] = {{"--config", &config, NULL, true},
                                  {"--tokenizer", &tokenizer, NULL, true},
                                  {"--out", &out, NULL, true},
                                  {"--seed", &seed, NULL, false}};
    int n_rest = 0, rc = drt_options_parse(argc, argv, options, 4, NULL, &n_rest, help);
    long long s;
    if (rc) return rc == 1 ? 0 : 2;
    if (!drt_option_number("new", "--seed", seed, 0, 1LL << 53, &s) || !drt_cli_new_folder("new", out)) return 2;
    drt_error err = {0};
    drt_model_config c;
    drt_model *m = NULL;
    drt_tokenizer *t = NULL;
    char *json = NULL;
    drt_status status = drt_file_read(&json, NULL, config, 1 << 20, &err);
    if (!status) status = drt_model_config_parse(&c, json, config, &err);
    if (!status) status = drt_tokenizer_open(&t, tokenizer, &err);
    if (!status) {
        adopt(&c, t);
        const drt_model_options o = {.seed = (uint64_t)s};
        status = drt_model_new(&m, &c, &o, &err);
    }
    if (!status && !(m->folder = strdup(tokenizer))) status = drt_fail(&err, DRT_ENOMEM, "no memory");
    if (!status) status = drt_model_save(m, out, "F32", &err);
    if (!status)
        printf("%s: %.2f M parameters, %d tokens\n", out, 1e-6 * (double)m->params->size, drt_tokenizer_size(t));
    else fprintf(stderr, "drt new: %s\n", err.text);
    drt_model_close(m);
    drt_tokenizer_close(t);
    free(json);
    return status ? 1 : 0;
}
