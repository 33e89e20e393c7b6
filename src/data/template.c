#include "data/template.h"

#include "base/file.h"
#include "format/json.h"

#include <stdlib.h>
#include <string.h>

// LLaVA spells its system prompt for a "user" (training, benchmarks) and for a "human" (demos, v0).
#define POLITE(who)                                                                                                    \
    "A chat between a curious " who " and an artificial intelligence assistant. The assistant gives helpful, "         \
    "detailed, and polite answers to the " who "'s questions."
#define HELPFUL                                                                                                        \
    "You are a helpful language and vision assistant. You are able to understand the visual content that the user "    \
    "provides, and assist the user with a variety of tasks using natural language."
#define VICUNA(name_, who)                                                                                             \
    {                                                                                                                  \
        .name = name_, .system_before = "", .system = POLITE(who), .system_after = " ",                                \
        .human_first = "USER: ", .human_next = "USER: ", .human_end = " ", .assistant = "ASSISTANT:", .gap = " ",      \
        .end = "</s>", .after = ""                                                                                     \
    }
#define PLAIN(name_, human_end_, caption_)                                                                             \
    {                                                                                                                  \
        .name = name_, .system_before = "", .system = "", .system_after = "", .human_first = "", .human_next = "",     \
        .human_end = human_end_, .assistant = "", .gap = "", .end = "\n", .after = "", .caption = caption_             \
    }
// Turns with a heading of special tokens and a special token at the end.
#define HEADED(name_, system_before_, system_, system_after_, inside_, human_, human_end_, assistant_, end_, after_)   \
    .name = name_, .system_before = system_before_, .system = system_, .system_after = system_after_,                  \
    .system_inside = inside_, .human_first = human_, .human_next = human_, .human_end = human_end_,                    \
    .assistant = assistant_, .gap = "", .end = end_, .after = after_

// plain_ask is ours: `plain` that keeps the human's words, for puzzles asked in the pretraining stage.
static const drt_template templates[] = {
    VICUNA("v1", "user"),
    VICUNA("vicuna_v1", "user"),
    VICUNA("llava_v1", "human"),
    PLAIN("plain", "", true),
    PLAIN("plain_ask", "\n", false),
    {.name = "v0",
     .system_before = "",
     .system = POLITE("human"),
     .system_after = "###",
     .human_first = "Human: ",
     .human_next = "Human: ",
     .human_end = "###",
     .assistant = "Assistant:",
     .gap = " ",
     .end = "###",
     .after = ""},
    {.name = "llama_2",
     .system_before = "<<SYS>>\n",
     .system = HELPFUL,
     .system_after = "\n<</SYS>>\n\n",
     .system_inside = true,
     .human_first = "[INST] ",
     .human_next = "<s>[INST] ",
     .human_end = " [/INST]",
     .assistant = "",
     .gap = " ",
     .end = " </s>",
     .after = "",
     .token = {"<s>"}},
    {HEADED("llama_3", "<|start_header_id|>system<|end_header_id|>\n\n", HELPFUL, "<|eot_id|>", false,
            "<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>",
            "<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>", ""),
     .token = {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}},
    {HEADED("chatml", "<|im_start|>system\n", "You are a helpful assistant.", "<|im_end|>\n", false,
            "<|im_start|>user\n", "<|im_end|>\n", "<|im_start|>assistant\n", "<|im_end|>", "\n"),
     .token = {"<|im_start|>", "<|im_end|>"}},
    {HEADED("gemma", "", "", "\n\n", true, "<start_of_turn>user\n", "<end_of_turn>\n", "<start_of_turn>model\n",
            "<end_of_turn>", "\n"),
     .token = {"<start_of_turn>", "<end_of_turn>"}},
    {HEADED("phi3", "<|system|>\n", "You are a helpful AI assistant.", "<|end|>\n", false, "<|user|>\n", "<|end|>\n",
            "<|assistant|>\n", "<|end|>", "\n"),
     .token = {"<|system|>", "<|user|>", "<|assistant|>", "<|end|>"}},
    {HEADED("mpt", "<|im_start|>system\n",
            "A conversation between a user and an LLM-based AI assistant. The assistant gives helpful and honest "
            "answers.",
            "<|im_end|>", false, "<|im_start|>user\n", "<|im_end|>", "<|im_start|>assistant\n", "<|im_end|>", ""),
     .token = {"<|im_start|>", "<|im_end|>"}},
};
static const char *const names[] = {"v1",      "vicuna_v1", "llava_v1", "plain", "plain_ask", "v0",
                                    "llama_2", "llama_3",   "chatml",   "gemma", "phi3",      "mpt"};
enum { TEMPLATES = sizeof templates / sizeof *templates };
_Static_assert(sizeof names / sizeof *names == TEMPLATES, "one name for each template");

const drt_template *drt_template_find(const char *name) {
    for (int i = 0; i < TEMPLATES; i++)
        if (!strcmp(templates[i].name, name)) return &templates[i];
    return NULL;
}

const char *const *drt_template_names(int *n) {
    *n = TEMPLATES;
    return names;
}

drt_status drt_template_check(const drt_template *how, const drt_tokenizer *tok, drt_error *err) {
    for (int i = 0; i < DRT_TEMPLATE_TOKENS && how->token[i]; i++)
        if (drt_tokenizer_id(tok, how->token[i]) < 0)
            return drt_fail(err, DRT_ECONFIG,
                            "template '%s' writes %s, which is no token of this tokenizer; use another template "
                            "(--template or data.template; v1 needs no such tokens), or add it to added_tokens in "
                            "tokenizer.json and a row to the embeddings",
                            how->name, how->token[i]);
    return DRT_OK;
}

// ---- choosing ------------------------------------------------------------------------------------------------------

// A list of named templates, as some tokenizers have it: the one called "default", or the first.
static const char *template_text(const json_t *value) {
    size_t i;
    json_t *one;
    const json_t *best = json_array_get(value, 0);
    json_array_foreach(value, i, one) {
        const char *name = json_string_value(json_object_get(one, "name"));
        if (name && !strcmp(name, "default")) best = one;
    }
    return json_string_value(json_is_array(value) ? json_object_get(best, "template") : value);
}

// *text: the chat template of FOLDER/FILE, malloc'ed; NULL if there is none.
static drt_status read_chat_template(char **text, const char *folder, const char *file, drt_error *err) {
    enum { MOST = 16 << 20 };
    char *path = drt_path_join(folder, file), *bytes = NULL;
    size_t size;
    json_error_t why;
    drt_status status = path ? DRT_OK : drt_fail(err, DRT_ENOMEM, "%s: no memory", folder);
    *text = NULL;
    if (path && drt_file_exists(path)) status = drt_file_read(&bytes, &size, path, MOST, err);
    if (bytes && !strcmp(file, "chat_template.jinja")) {
        *text = bytes;
        bytes = NULL;
    } else if (bytes) {
        json_t *root = drt_json_load(bytes, size, 0, &why);
        const char *found = template_text(json_object_get(root, "chat_template"));
        if (!root) status = drt_fail(err, DRT_EFORMAT, "%s: line %d: %s", path, why.line, why.text);
        else if (found && !(*text = strdup(found))) status = drt_fail(err, DRT_ENOMEM, "%s: no memory", path);
        json_decref(root);
    }
    free(bytes), free(path);
    return status;
}

static const drt_template *recognise(const char *text) {
    static const char *const marks[][2] = {
        {"<|start_header_id|>", "llama_3"},
        {"<|im_start|>", "chatml"},
        {"<start_of_turn>", "gemma"},
        {"<|end|>", "phi3"},
        {"<<SYS>>", "llama_2"},
        {"ASSISTANT:", "v1"},
    };
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (strstr(text, marks[i][0])) return drt_template_find(marks[i][1]);
    return NULL;
}

drt_status drt_template_choose(const drt_template **out, const char *named, const char *folder, drt_error *err) {
    static const char *const files[] = {"chat_template.jinja", "chat_template.json", "processor_config.json",
                                        "tokenizer_config.json"};
    *out = drt_template_find(*named ? named : "v1");
    if (!*out)
        return drt_fail(err, DRT_ECONFIG,
                        "%s/config.json: there is no template '%s'; drt_template must name one of drt's",
                        folder ? folder : ".", named);
    for (size_t i = 0; !*named && folder && i < sizeof files / sizeof *files; i++) {
        char *text;
        drt_status status = read_chat_template(&text, folder, files[i], err);
        if (status) return status;
        if (!text) continue;
        *out = recognise(text);
        free(text);
        break;
    }
    return DRT_OK;
}
