// A folder of LLaVA-1.5-7B's true shape: written with random bf16 weights (13.5 GB in three shards), opened, asked with
// one picture and 64 words, saved again. One JSON line per stage: seconds, and what the process holds then: anonymous
// memory, pages of the mapped files, the most of both together so far.
// Usage: build/bench/large FOLDER [threads]    (27 GB of disk; both folders are removed at the end). Without a folder:
// nothing.
#include "common/timing.h"

#include "base/file.h"
#include "base/half.h"
#include "base/progress.h"
#include "base/rng.h"
#include "format/safetensors.h"
#include "infer/picture.h"
#include "infer/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SHARDS = 3, LARGEST = 32064 * 4096, WORDS = 64, ANSWER = 8 };

// As llava-hf/llava-1.5-7b-hf: keys that are left out have transformers' defaults, which are these sizes.
static const char config[] =
    "{\"model_type\": \"llava\", \"architectures\": [\"LlavaForConditionalGeneration\"], \"image_token_index\": "
    "32000,\n"
    " \"vision_feature_layer\": -2, \"vision_feature_select_strategy\": \"default\", \"projector_hidden_act\": "
    "\"gelu\",\n"
    " \"text_config\": {\"model_type\": \"llama\", \"hidden_size\": 4096, \"intermediate_size\": 11008,\n"
    "  \"num_hidden_layers\": 32, \"num_attention_heads\": 32, \"max_position_embeddings\": 4096, \"rms_norm_eps\": "
    "1e-05,\n"
    "  \"vocab_size\": 32064},\n"
    " \"vision_config\": {\"model_type\": \"clip_vision_model\", \"hidden_size\": 1024, \"image_size\": 336,\n"
    "  \"intermediate_size\": 4096, \"num_attention_heads\": 16, \"num_hidden_layers\": 24, \"patch_size\": 14,\n"
    "  \"projection_dim\": 768, \"vocab_size\": 32000}}\n";

static void report(const char *stage, double from, double rows) {
    double seconds = drt_clock() - from;
    printf("{\"stage\": \"%s\", \"seconds\": %.3f, ", stage, seconds);
    if (rows > 0) printf("\"rows_per_second\": %.2f, ", rows / seconds);
    printf("\"anonymous_mb\": %.0f, \"mapped_mb\": %.0f, \"most_mb\": %.0f}\n", 1e-6 * bench_held("RssAnon"),
           1e-6 * bench_held("RssFile"), 1e-6 * bench_held("VmHWM"));
    fflush(stdout);
}

// Every tensor of a shard is a stretch of the same random numbers.
static drt_status write_shard(const drt_params *p, const drt_model_config *c, const uint16_t *numbers, int from, int to,
                              const char *path, drt_text *index, const char *name, drt_error *err) {
    drt_st_entry *entry = calloc((size_t)p->slices, sizeof *entry);
    char(*names)[400] = calloc((size_t)p->slices, sizeof *names);
    int n = 0;
    if (!entry || !names) return drt_fail(err, DRT_ENOMEM, "no memory");
    for (int i = from; i < to; i++, n++) {
        const drt_slice *s = &p->slice[i];
        drt_layout_name(names[n], sizeof *names, DRT_LAYOUT_HF, c, s);
        entry[n] = (drt_st_entry){.name = names[n], .dtype = "BF16", .ndim = s->ndim};
        memcpy(entry[n].shape, s->shape, sizeof s->shape);
        bool ones = s->ndim == 1 && strstr(s->name, "norm") && strstr(s->name, "weight");
        entry[n].bytes = ones ? numbers + LARGEST + 4096 : numbers + 8 * (i % 512);
        drt_text_printf(index, "%s\"%s\": \"%s\"", index->size > 20 ? ",\n" : "\n", names[n], name);
    }
    drt_status status = drt_safetensors_write(path, entry, n, NULL, err);
    free(entry), free(names);
    return status;
}

static drt_status make(const char *folder, drt_error *err) {
    drt_model_config c;
    drt_model *m = NULL;
    const drt_model_options none = {0};
    drt_text index = {0};
    drt_rng rng;
    char *path = drt_path_join(folder, "config.json"), name[60];
    uint16_t *numbers = malloc((LARGEST + 8192) * sizeof *numbers);
    if (!path || !numbers) return drt_fail(err, DRT_ENOMEM, "no memory");
    drt_rng_init(&rng, 1, 1);
    for (int i = 0; i < LARGEST + 4096; i++) // 0.02 times a sum of three uniforms: near enough to normal
        numbers[i] = drt_f32_to_bf16(
            (float)(0.04 * (drt_rng_uniform(&rng) + drt_rng_uniform(&rng) + drt_rng_uniform(&rng) - 1.5)));
    for (int i = 0; i < 4096; i++) numbers[LARGEST + 4096 + i] = drt_f32_to_bf16(1);
    drt_status status = drt_make_folders(folder, err);
    if (!status) status = drt_file_write(path, config, sizeof config - 1, err);
    if (!status) status = drt_model_config_read(&c, folder, err);
    if (!status) status = drt_model_declare(&m, &c, &none, err);
    drt_text_puts(&index, "{\"weight_map\": {");
    for (int k = 0; !status && k < SHARDS; k++) {
        free(path);
        snprintf(name, sizeof name, "model-%05d-of-%05d.safetensors", k + 1, SHARDS);
        path = drt_path_join(folder, name);
        int n = m->params->slices;
        status = write_shard(m->params, &c, numbers, n * k / SHARDS, n * (k + 1) / SHARDS, path, &index, name, err);
    }
    free(path);
    drt_text_puts(&index, "}}\n");
    path = drt_path_join(folder, "model.safetensors.index.json");
    if (!status) status = drt_file_write(path, index.bytes, index.size, err);
    drt_text_free(&index);
    drt_model_close(m);
    free(numbers), free(path);
    return status;
}

static drt_status ask(const drt_model *m, drt_tape *t, drt_error *err) {
    int32_t id[WORDS + 1];
    drt_session *s = NULL;
    drt_mat logits;
    int64_t size = drt_picture_size(m), rows;
    float *patches = malloc((size_t)size * sizeof *patches);
    if (!patches) return drt_fail(err, DRT_ENOMEM, "no memory");
    for (int64_t i = 0; i < size; i++) patches[i] = (float)(i * 7919 % 401 - 200) * 0.01f;
    for (int i = 0; i < WORDS; i++) id[i] = 1 + 431 * i;
    id[WORDS] = id[20];
    id[20] = DRT_IMAGE_TOKEN;
    rows = drt_id_rows(m, id, WORDS + 1);
    double start = drt_clock();
    drt_tape_begin(t, false);
    drt_tensor *seen = drt_visual_tokens(t, m, drt_mat_f32(patches, size / 588, 588), false);
    drt_status status = drt_tape_failed(t, err);
    if (!status) report("picture through tower and projector", start, (double)seen->value.rows);
    start = drt_clock();
    if (!status) status = drt_session_new(&s, m, t, 1, rows + ANSWER, err);
    drt_feed feed = {0, id, WORDS + 1, patches, 0};
    if (!status) status = drt_session_feed(s, &feed, 1, &logits, err);
    if (!status) report("prompt, picture included", start, (double)rows);
    start = drt_clock();
    for (int i = 0; !status && i < ANSWER; i++) {
        int32_t best = 0;
        for (int32_t k = 1; k < logits.cols; k++)
            if (drt_row(logits, 0)[k] > drt_row(logits, 0)[best]) best = k;
        status = drt_session_feed(s, &(drt_feed){.id = &best, .n = 1}, 1, &logits, err);
    }
    if (!status) report("answer", start, ANSWER);
    drt_session_free(s);
    free(patches);
    return status;
}

static drt_status measure(const char *folder, const char *again, int threads, drt_error *err) {
    drt_model *m = NULL;
    drt_device *dev = NULL;
    drt_tape *t = NULL;
    const drt_model_options as_stored = {.keep = DRT_KEEP_STORED};
    double start = drt_clock();
    drt_status status = drt_model_open(&m, folder, &as_stored, err);
    if (!status) report("open", start, 0);
    if (!status) status = drt_device_open(&dev, "cpu", threads, err);
    if (!status && !(t = drt_tape_new(dev, err))) status = DRT_ENOMEM;
    if (!status) status = ask(m, t, err);
    start = drt_clock();
    if (!status) status = drt_model_save(m, again, "BF16", err);
    if (!status) report("save", start, 0);
    drt_tape_free(t);
    drt_device_close(dev);
    drt_model_close(m);
    return status;
}

int main(int argc, char **argv) {
    drt_error err = {0};
    if (argc < 2) return 0;
    char *folder = drt_path_join(argv[1], "llava-7b-shape"), *again = drt_path_join(argv[1], "llava-7b-again");
    int rc = 1;
    if (!folder || !again) return 1;
    double start = drt_clock();
    pid_t child = fork(); // so that what writing takes does not count below
    if (!child) {
        drt_status status = make(folder, &err);
        if (status) fprintf(stderr, "large: %s\n", err.text);
        _exit(status ? 1 : 0);
    }
    if (child > 0 && waitpid(child, &rc, 0) == child && !rc) {
        report("write the folder", start, 0);
        rc = measure(folder, again, argc > 2 ? atoi(argv[2]) : 0, &err) != DRT_OK;
        if (rc) fprintf(stderr, "large: %s\n", err.text);
    }
    drt_remove_tree(folder, NULL), drt_remove_tree(again, NULL);
    free(folder), free(again);
    return rc != 0;
}
