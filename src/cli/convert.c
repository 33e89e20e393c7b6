// drt convert: the same model in another layout, in another type of number.
#include "cli/commands.h"
#include "cli/open.h"
#include "cli/options.h"

#include "model/model.h"

#include <stdio.h>
#include <string.h>

static const char help[] =
    "drt convert IN OUT [--layout hf|llava] [--dtype f32|f16|bf16] [--vision DIR] [--language DIR]\n"
    "\n"
    "Writes the model in folder IN again as OUT, a new folder, reads OUT back and compares every number before\n"
    "it says done. IN may be in any layout that drt reads, safetensors or pytorch_model.bin.\n"
    "\n"
    "  --layout hf       one folder for transformers: LlavaForConditionalGeneration, CLIPModel, ... (default)\n"
    "  --layout llava    the original LLaVA's: names with mm_projector, the tower in OUT/vision_tower\n"
    "  --dtype T         type of the numbers (default: that of IN). f16 holds nothing above 65504, bf16 rounds to\n"
    "                    8 bits; what already is of the type stays the same to the last bit\n"
    "  --vision DIR      the vision tower of an original LLaVA whose config names it elsewhere\n"
    "  --language DIR    the language model under a folder that holds mm_projector.bin alone\n"
    "\n"
    "An original LLaVA has no <image> in its vocabulary. With --layout hf it gets one: a row in the embedding\n"
    "and the output projection, an entry in the tokenizer's files. What a training keeps beside its model for the\n"
    "next one (directed.safetensors, sea.safetensors) stays in IN; a permuter (gps.safetensors) goes along, in f32.\n"
    "\n"
    "  drt convert out/run/model models/mine --dtype bf16\n"
    "  drt convert llava-v1.5-7b llava-hf --vision clip-vit-large-patch14-336\n";

int drt_cli_convert(int argc, char **argv) {
    static const char *const layouts[] = {"hf", "llava"};
    const char *folder[2] = {NULL, NULL}, *name = NULL, *layout = "hf", *dtype = NULL;
    drt_model_options o = {.keep = DRT_KEEP_STORED, .look_through = true};
    const drt_option options[] = {{"--dtype", &name, NULL, false},
                                  {"--layout", &layout, NULL, false},
                                  {"--vision", &o.vision, NULL, false},
                                  {"--language", &o.decoder, NULL, false}};
    int n = 2, rc = drt_options_parse(argc, argv, options, 4, folder, &n, help), which;
    if (rc) return rc == 1 ? 0 : 2;
    if (n < 2 || !strcmp(folder[0], folder[1])) {
        fputs("drt convert: IN and OUT are wanted, two folders\nTry: drt convert --help\n", stderr);
        return 2;
    }
    if ((which = drt_cli_word("convert", "--layout", layout, layouts, 2)) < 0) return 2;
    if (name && !(dtype = drt_cli_dtype("convert", name))) return 2;
    if (!drt_cli_new_folder("convert", folder[1])) return 2;
    drt_error err = {0};
    drt_model *m = NULL;
    drt_progress reading = {.report = drt_progress_terminal, .user = stderr, .what = "reading weights"};
    o.image_row = which == DRT_LAYOUT_HF;
    o.progress = &reading;
    drt_status status = drt_model_open(&m, folder[0], &o, &err);
    if (!status && !dtype) dtype = m->dtype;
    if (!status) status = drt_cli_save(m, folder[1], (drt_layout)which, dtype, &err);
    if (!status) printf("%s: %d tensors as %s, read back and compared\n", folder[1], m->params->slices, dtype);
    else fprintf(stderr, "drt convert: %s\n", err.text);
    if (!status && m->added.image >= 0) printf("added <image> to the vocabulary as id %d\n", m->added.image);
    drt_model_close(m);
    return status ? 1 : 0;
}
