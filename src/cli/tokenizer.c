// drt tokenizer: learns a byte-level BPE vocabulary from the texts of data files.
#include "cli/commands.h"
#include "cli/options.h"

#include "align/methods.h"
#include "data/dataset.h"
#include "format/bpe_train.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "drt tokenizer --size N --out DIR FILE.json ...\n"
    "\n"
    "Learns a byte-level BPE vocabulary from the conversations of LLaVA data files, as the template v1\n"
    "writes them, and saves it as a Hugging Face tokenizer folder.\n"
    "\n"
    "  --size N    most tokens\n"
    "  --out DIR   folder to write\n"
    "\n"
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

int drt_cli_tokenizer(int argc, char **argv) {
    static const char *const special[] = {"<unk>", "<s>", "</s>", "<image>"};
    const char *size = NULL, *out = NULL, *file[MOST_FILES];
    const drt_option options[] = {{"--size", &size, NULL, true}, {"--out", &out, NULL, true}};
    int n = MOST_FILES, rc = drt_options_parse(argc, argv, options, 2, file, &n, help);
    long long most;
    if (rc) return rc == 1 ? 0 : 2;
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
