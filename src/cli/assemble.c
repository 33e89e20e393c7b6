// drt assemble: a vision tower and a language model become a LLaVA that has learnt nothing yet.
#include "cli/commands.h"
#include "cli/open.h"
#include "cli/options.h"

#include "model/model.h"

#include <stdio.h>

static const char help[] =
    "drt assemble --vision DIR --language DIR --out DIR [--projector P] [--layer L] [--dtype T] [--seed S]\n"
    "\n"
    "Joins the vision tower of one folder and the language model of another by a new projector: the\n"
    "starting point of stage 1, in a folder that transformers loads as LlavaForConditionalGeneration. Where\n"
    "the vocabulary has no <image>, it gets a row for it, and the tokenizer's files name it.\n"
    "\n"
    "  --vision DIR      folder of a CLIPModel, SiglipModel, or a vision tower of these alone\n"
    "  --language DIR    folder of a language model and its tokenizer\n"
    "  --out DIR         folder to write, new or empty\n"
    "  --projector P     linear, mlpNx_gelu (N layers; default mlp2x_gelu), identity\n"
    "  --layer L         hidden layer of the tower that the projector reads (default -2: the last but one)\n"
    "  --dtype T         f32, f16 or bf16 (default: that of the two folders, f32 if they differ)\n"
    "  --seed S          of the projector (default 42)\n"
    "\n"
    "  drt assemble --vision clip-vit-large-patch14-336 --language vicuna-7b --out llava-start\n";

int drt_cli_assemble(int argc, char **argv) {
    const char *vision = NULL, *language = NULL, *out = NULL, *projector = "mlp2x_gelu", *layer = "-2", *name = NULL,
               *seed = "42", *dtype = NULL;
    const drt_option options[] = {{"--vision", &vision, NULL, true}, {"--language", &language, NULL, true},
                                  {"--out", &out, NULL, true},       {"--projector", &projector, NULL, false},
                                  {"--layer", &layer, NULL, false},  {"--dtype", &name, NULL, false},
                                  {"--seed", &seed, NULL, false}};
    int n = 0, rc = drt_options_parse(argc, argv, options, 7, NULL, &n, help), layers = drt_projector_layers(projector);
    long long s, l;
    if (rc) return rc == 1 ? 0 : 2;
    if (!drt_option_number("assemble", "--seed", seed, 0, 1LL << 53, &s) ||
        !drt_option_number("assemble", "--layer", layer, -1000, 1000, &l))
        return 2;
    if (layers < 0) {
        fprintf(stderr, "drt assemble: --projector is linear, identity or mlpNx_gelu (N to %d), not '%s'\n",
                DRT_PROJECTOR_LAYERS, projector);
        return 2;
    }
    if (name && !(dtype = drt_cli_dtype("assemble", name))) return 2;
    if (!drt_cli_new_folder("assemble", out)) return 2;
    drt_error err = {0};
    drt_model *m = NULL;
    const drt_model_options o = {.seed = (uint64_t)s, .image_row = true};
    drt_status status = drt_model_assemble(&m, vision, language, layers, (int)l, &o, &err);
    if (!status) status = drt_cli_save(m, out, DRT_LAYOUT_HF, dtype ? dtype : m->dtype, &err);
    if (!status)
        printf("%s: %.2f M parameters, <image> is id %d, read back and compared\n", out, 1e-6 * (double)m->params->size,
               m->config.image_token);
    else fprintf(stderr, "drt assemble: %s\n", err.text);
    drt_model_close(m);
    return status ? 1 : 0;
}
