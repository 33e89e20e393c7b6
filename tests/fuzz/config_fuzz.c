// clang -fsanitize=fuzzer,address,undefined: any bytes are a config.json or a refusal, and so for
// preprocessor_config.json; what was accepted can be written, is accepted again, and then says the same.
#include "format/hf_config.h"
#include "format/image.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void model(const char *json) {
    drt_error err = {0};
    drt_model_config c, back;
    if (drt_model_config_parse(&c, json, "fuzz", &err)) {
        if (!err.text[0]) abort();
        return;
    }
    // An original LLaVA names a tower whose sizes stand in another folder.
    if (drt_has_vision(&c) && !c.vision.family) return;
    drt_text once = {0}, twice = {0};
    drt_model_config_write(&c, "F32", &once);
    if (once.bytes && drt_model_config_parse(&back, once.bytes, "written", &err)) abort();
    drt_model_config_write(&back, "F32", &twice);
    if (once.size != twice.size || memcmp(once.bytes, twice.bytes, once.size)) abort();
    if (drt_has_vision(&c) && (drt_patches(&c.vision) < 1 || drt_tower_rows(&c.vision) < 1)) abort();
    if (c.kind == DRT_MODEL_LLAVA && (drt_visual_rows(&c) < 1 || drt_feature_width(&c) < 1)) abort();
    if (drt_has_decoder(&c) && drt_decoder_context(&c.language) < 1) abort();
    drt_text_free(&once), drt_text_free(&twice);
}

static void pixels(const char *json) {
    drt_error err = {0};
    drt_preprocess p = drt_preprocess_clip, back = drt_preprocess_siglip;
    if (drt_preprocess_parse(&p, json, "fuzz", &err)) {
        if (!err.text[0]) abort();
        return;
    }
    drt_text out = {0};
    drt_preprocess_write(&p, &out);
    if (drt_preprocess_parse(&back, out.bytes, "written", &err)) abort();
    if (back.size != p.size || back.fit != p.fit || back.aspect != p.aspect) abort();
    for (int i = 0; i < 3; i++)
        if (back.mean[i] != p.mean[i] || back.std[i] != p.std[i]) abort();
    drt_text_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    char *json = malloc(size + 1);
    if (!json) return 0;
    if (size) memcpy(json, bytes, size);
    json[size] = 0;
    model(json);
    pixels(json);
    free(json);
    return 0;
}
