// drt tokenizer: learns a byte-level BPE vocabulary from the texts of data files, or shows what a tokenizer does.
#include "cli/commands.h"
#include "cli/options.h"

#include "align/methods.h"
#include "data/dataset.h"
#include "format/bpe_train.h"
#include "format/tokenizer.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "drt tokenizer --size N --out DIR FILE.json ...\n"
    "drt tokenizer --show PATH\n"
    "\n"
    "Learns a byte-level BPE vocabulary from the conversations of LLaVA data files, as the template v1\n"
    "writes them, and saves it as a Hugging Face tokenizer folder.\n"
    "\n"
    "  --size N    most tokens\n"
    "  --out DIR   folder to write\n"
    "  --show PATH  a folder, tokenizer.json or tokenizer.model; reads lines from standard input. A line that is\n"
    "               a JSON string becomes {\"ids\": [...], \"text\": what the ids decode to}, a list of ids\n"
    "               {\"text\": ...}. Special tokens are shown, and none are added\n"
    "\n"
    "  echo '\"a red circle\"' | drt tokenizer --show out/tokenizer\n"
    "  drt tokenizer --size 1024 --out out/tokenizer out/shapes/finetune.json out/shapes/text.json\n";

enum { MOST_FILES = 64 };

typedef struct {
    char **text;
    int n, room;
} texts;

static drt_status add(texts *all, char *text, drt_error *err) {
    if (!text) return drt_fail(err, DRT_ENOMEM, "no memory for a text");
    if (all->n == all->room) {
        int room = all->room ? 2 * all->room : 1024;
        char **p = realloc(all->text, (size_t)room * sizeof *p);
        if (!p) {
            free(text);
            return drt_fail(err, DRT_ENOMEM, "no memory for %d texts", room);
        }
        all->text = p;
        all->room = room;
    }
    all->text[all->n++] = text;
    return DRT_OK;
}

static drt_status read_file(texts *all, const char *path, drt_error *err) {
    drt_dataset *data;
    const drt_dataset_options options = {.images = DRT_IMAGES_IGNORE};
    drt_status status = drt_dataset_open(&data, path, NULL, &options, NULL, err);
    for (int32_t i = 0; !status && i < drt_dataset_size(data); i++) {
        drt_record *r;
        drt_text t = {0};
        status = drt_dataset_at(data, i, &r, err);
        if (status) break;
        status = drt_conversation_text(drt_template_find("v1"), r->turns, r->n_turns, r->n_images, &t, err);
        if (status) drt_dataset_fail_in(data, r, err);
        int r_images = r->n_images;
        drt_record_free(r);
        if (!status) status = add(all, t.bytes, err);
        // Stage 1 asks this of every picture (METHODS 2.2).
        if (!status && r_images) status = add(all, strdup(DRT_TEXT_ORDER_PROMPT), err);
    }
    if (data) drt_dataset_close(data);
    return status;
}

// The ids of a JSON string, or those of a JSON list; malloc'ed.
static drt_status ids_of(const drt_tokenizer *tok, const json_t *line, int32_t **ids, int *n, drt_error *err) {
    drt_token *tokens = NULL;
    drt_status status = DRT_OK;
    *ids = NULL;
    *n = (int)json_array_size(line);
    if (json_is_string(line))
        status = drt_tokenizer_encode(tok, json_string_value(line), json_string_length(line), &tokens, n, err);
    else if (!json_is_array(line)) status = drt_fail(err, DRT_EARG, "neither a JSON string nor a list of ids");
    if (!status && !(*ids = malloc(((size_t)*n + 1) * sizeof **ids))) status = drt_fail(err, DRT_ENOMEM, "no memory");
    for (int i = 0; i < *n && !status; i++)
        (*ids)[i] = tokens ? tokens[i].id : (int32_t)json_integer_value(json_array_get(line, (size_t)i));
    free(tokens);
    return status;
}

static drt_status show_line(const drt_tokenizer *tok, const char *bytes, size_t size, drt_error *err) {
    json_error_t why;
    json_t *line = json_loadb(bytes, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
    int32_t *ids;
    int n;
    drt_text text = {0};
    if (!line)
        return drt_fail(err, DRT_EFORMAT, "no JSON: %s; write a text in quotes, \"like this\", or ids, [1, 2]",
                        why.text);
    drt_status status = ids_of(tok, line, &ids, &n, err);
    if (!status) status = drt_tokenizer_decode(tok, ids, n, false, &text, err);
    json_t *shown = status ? NULL : json_stringn(text.bytes, text.size);
    char *quoted = shown ? json_dumps(shown, JSON_ENCODE_ANY) : NULL;
    if (!status && !quoted) status = drt_fail(err, DRT_ENOMEM, "no memory for a line");
    if (!status) {
        putchar('{');
        for (int i = 0; i < n && json_is_string(line); i++) printf("%s%d", i ? "," : "\"ids\":[", ids[i]);
        if (json_is_string(line)) fputs(n ? "]," : "\"ids\":[],", stdout);
        printf("\"text\":%s}\n", quoted);
    }
    free(quoted), free(ids);
    json_decref(shown), json_decref(line);
    drt_text_free(&text);
    return status;
}

static int show(const char *path) {
    drt_error err = {0};
    drt_tokenizer *tok;
    char *line = NULL;
    size_t room = 0;
    drt_status status = drt_tokenizer_open(&tok, path, &err);
    int at = 0;
    for (ssize_t n; !status && (n = getline(&line, &room, stdin)) > 0; at++)
        status = show_line(tok, line, (size_t)n, &err);
    if (status && at) fprintf(stderr, "drt tokenizer: line %d: %s\n", at, err.text);
    else if (status) fprintf(stderr, "drt tokenizer: %s\n", err.text);
    drt_tokenizer_close(tok);
    free(line);
    return status ? 1 : 0;
}

int drt_cli_tokenizer(int argc, char **argv) {
    static const char *const special[] = {"<unk>", "<s>", "</s>", "<image>"};
    const char *size = NULL, *out = NULL, *path = NULL, *file[MOST_FILES];
    const drt_option options[] = {
        {"--size", &size, NULL, false}, {"--out", &out, NULL, false}, {"--show", &path, NULL, false}};
    int n = MOST_FILES, rc = drt_options_parse(argc, argv, options, 3, file, &n, help);
    long long most;
    if (rc) return rc == 1 ? 0 : 2;
    if (path && !size && !out && !n) return show(path);
    if (path || !size || !out) {
        fputs("drt tokenizer: either --show PATH alone, or --size N and --out DIR\nTry: drt tokenizer --help\n",
              stderr);
        return 2;
    }
    if (!drt_option_number("tokenizer", "--size", size, 260, 1 << 24, &most)) return 2;
    if (!n) {
        fputs("drt tokenizer: no data file\nTry: drt tokenizer --help\n", stderr);
        return 2;
    }
    drt_error err = {0};
    texts all = {0};
    drt_status status = DRT_OK;
    for (int i = 0; !status && i < n; i++) status = read_file(&all, file[i], &err);
    if (!status) status = drt_bpe_train((const char *const *)all.text, all.n, (int)most, special, 4, out, &err);
    if (status) fprintf(stderr, "drt tokenizer: %s\n", err.text);
    else printf("%s: learned from %d texts\n", out, all.n);
    for (int i = 0; i < all.n; i++) free(all.text[i]);
    free(all.text);
    return status ? 1 : 0;
}
