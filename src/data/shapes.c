// Writes the shapes world to a folder. Sample i of a split depends on the seed, the split and i alone, so a larger
// data set begins with the smaller one.
#include "data/shapes.h"

#include "base/file.h"
#include "data/shapes_files.h"
#include "data/shapes_world.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    PRETRAIN,
    FINETUNE,
    CLIP,
    TEXT,
    REPEAT,
    RELATE,
    MAP, // training
    EXIST,
    COUNT,
    COLOR,
    RELATION,
    READ,
    CHOICE,
    TEXT_EXIST,
    TEXT_RELATION,
    TEXT_COUNT,
    TEXT_COLOR,
    MAP_EXIST,
    MAP_RELATION,
    MAP_COUNT,
    MAP_COLOR, // questions
    ORDER,
    CAPTIONS,
    EVAL_CLIP, // other held-out files
    N_FILES,
    FIRST_TASK = EXIST,
    N_TASKS = ORDER - EXIST
};

static const char *const file_names[N_FILES] = {
    "pretrain.json",
    "finetune.json",
    "clip.json",
    "text.json",
    "repeat.json",
    "relate.json",
    "map.json",
    "eval/exist.jsonl",
    "eval/count.jsonl",
    "eval/color.jsonl",
    "eval/relation.jsonl",
    "eval/text.jsonl",
    "eval/choice.jsonl",
    "eval/text_exist.jsonl",
    "eval/text_relation.jsonl",
    "eval/text_count.jsonl",
    "eval/text_color.jsonl",
    "eval/map_exist.jsonl",
    "eval/map_relation.jsonl",
    "eval/map_count.jsonl",
    "eval/map_color.jsonl",
    "eval/order.json",
    "eval/captions.json",
    "eval/clip.json",
};
enum { BY_PICTURE, BY_DESCRIPTION, BY_MAP, WAYS }; // what the questions of a task are asked of
static const struct {
    const char *name;
    drt_shapes_ask_kind kind;
    int by;
} tasks[N_TASKS] = {
    {"exist", ASK_EXIST, BY_PICTURE},
    {"count", ASK_COUNT, BY_PICTURE},
    {"color", ASK_COLOR, BY_PICTURE},
    {"relation", ASK_RELATION, BY_PICTURE},
    {"text", ASK_TEXT, BY_PICTURE},
    {"choice", ASK_CHOICE, BY_PICTURE},
    {"text_exist", ASK_EXIST, BY_DESCRIPTION},
    {"text_relation", ASK_RELATION, BY_DESCRIPTION},
    {"text_count", ASK_COUNT, BY_DESCRIPTION},
    {"text_color", ASK_COLOR, BY_DESCRIPTION},
    {"map_exist", ASK_EXIST, BY_MAP},
    {"map_relation", ASK_RELATION, BY_MAP},
    {"map_count", ASK_COUNT, BY_MAP},
    {"map_color", ASK_COLOR, BY_MAP},
};

typedef struct {
    const drt_shapes_config *config;
    drt_progress progress;
    int64_t done, total;
    shapes_list file[N_FILES];
    shapes_tally finetuned, read, asked[WAYS];
    shapes_vocabulary words;
    drt_shapes_summary sum;
    drt_text entry, caption; // reused
    drt_error *err;
} world;

static drt_rng stream(const world *w, const char *name, int64_t i) {
    drt_rng r;
    drt_rng_init(&r, w->config->seed, drt_hash(name, strlen(name)) + (uint64_t)i);
    return r;
}

// Closes an entry: into its file, and its words into the vocabulary.
static drt_status add(world *w, int file) {
    if (w->entry.failed || w->caption.failed) return drt_fail(w->err, DRT_ENOMEM, "%s: no memory", file_names[file]);
    drt_shapes_list_add(&w->file[file], &w->entry);
    w->entry.size = 0;
    return DRT_OK;
}

static const char *caption(world *w, const drt_shapes_scene *s, drt_shapes_style style, drt_rng *r,
                           drt_shapes_known *known) {
    w->caption.size = 0;
    if (!drt_shapes_caption(&w->caption, s, style, r, known))
        drt_shapes_caption(&w->caption, s, STYLE_PLACES, r, known);
    if (w->caption.failed) return "";
    drt_shapes_words_add(&w->words, w->caption.bytes);
    return w->caption.bytes;
}

static void learn_words(world *w, const drt_shapes_question *q) {
    drt_shapes_words_add(&w->words, q->text);
    drt_shapes_words_add(&w->words, q->answer);
}

// Pictures are not synced one by one: world.json, written last, says that all are there.
static drt_status save_picture(world *w, const drt_shapes_scene *s, const char *name) {
    drt_image image = {0};
    unsigned char *bytes = NULL;
    size_t size = 0;
    drt_status status = drt_shapes_draw(s, &image, w->err);
    if (status) return status;
    status = s->quality ? drt_image_encode_jpeg(&image, s->quality, &bytes, &size, w->err)
                        : drt_image_encode_png(&image, &bytes, &size, w->err);
    drt_image_free(&image);
    if (status) return status;
    char *path = drt_path_join(w->config->out, name);
    FILE *f = path ? fopen(path, "wb") : NULL;
    errno = path ? errno : ENOMEM;
    bool good = f && fwrite(bytes, 1, size, f) == size;
    good = f && fclose(f) == 0 && good;
    if (!good) status = drt_fail(w->err, DRT_EIO, "%s: cannot write: %s", path ? path : name, strerror(errno));
    w->sum.image_bytes += (int64_t)size;
    free(path), free(bytes);
    return status;
}

static void name_picture(char name[64], const char *split, int64_t i, const drt_shapes_scene *s) {
    snprintf(name, 64, "images/%s/%06lld.%s", split, (long long)i, s->quality ? "jpg" : "png");
}

static drt_status make_reading(world *w, int file, drt_shapes_lesson lesson, const char *name, int64_t i) {
    drt_rng r = stream(w, name, i);
    char id[40];
    snprintf(id, sizeof id, "%s-%06lld", file == FINETUNE ? "text" : name, (long long)i);
    w->sum.text_turns += drt_shapes_put_reading(&w->entry, id, lesson, &r, &w->words, file == TEXT ? &w->read : NULL);
    return add(w, file);
}

static drt_status make_train(world *w, int64_t i) {
    char name[64], id[40];
    drt_rng r = stream(w, "train/scene", i);
    drt_shapes_scene s;
    drt_shapes_sample(&s, false, &r);
    name_picture(name, "train", i, &s);
    snprintf(id, sizeof id, "train-%06lld", (long long)i);
    drt_status status = save_picture(w, &s, name);
    if (status) return status;

    r = stream(w, "train/caption", i);
    const char *text = caption(w, &s, drt_shapes_pick_style(&r), &r, NULL);
    drt_shapes_put_pair(&w->entry, id, name, "<image>\ndescribe the picture.", text);
    if ((status = add(w, PRETRAIN))) return status;
    if (i % 5 == 0) {
        snprintf(id, sizeof id, "describe-%06lld", (long long)i);
        drt_shapes_put_pair(&w->entry, id, name, "<image>\ndescribe the picture.", text);
        if ((status = add(w, FINETUNE))) return status;
    }

    r = stream(w, "train/talk", i);
    drt_shapes_question q[MAX_TURNS];
    int n = drt_shapes_conversation(q, &s, NULL, false, &r);
    for (int k = 0; k < n; k++) drt_shapes_tally_add(&w->finetuned, &q[k]), learn_words(w, &q[k]);
    snprintf(id, sizeof id, "train-%06lld", (long long)i);
    drt_shapes_put_conversation(&w->entry, id, name, "<image>", q, n);
    w->sum.turns += n + (i % 5 == 0);
    if ((status = add(w, FINETUNE))) return status;
    // LLaVA's mixture has conversations without a picture, too: the decoder shall not forget what it can do.
    if (i % 10 == 0 && (status = make_reading(w, FINETUNE, LESSON_MAPS, "train/text", i))) return status;

    r = stream(w, "train/clip", i);
    drt_shapes_put_contrast(&w->entry, id, name, &s, &r);
    return add(w, CLIP);
}

static drt_status make_text(world *w, int64_t i) {
    static const struct {
        const char *name;
        int file, one_in;
        drt_shapes_lesson lesson;
    } kind[] = {{"repeat", REPEAT, 5, LESSON_REPEAT},
                {"relate", RELATE, 1, LESSON_RELATE},
                {"map", MAP, 1, LESSON_MAPS},
                {"text", TEXT, 1, LESSON_TEXT}};
    drt_status status = DRT_OK;
    for (int k = 0; !status && k < (int)(sizeof kind / sizeof *kind); k++) {
        if (i % kind[k].one_in == 0) status = make_reading(w, kind[k].file, kind[k].lesson, kind[k].name, i);
    }
    return status;
}

static drt_status ask(world *w, int task, const char *image, const char *lead, const drt_shapes_question *q) {
    int file = FIRST_TASK + task;
    drt_shapes_tally_add(&w->asked[tasks[task].by], q);
    learn_words(w, q);
    drt_shapes_put_question(&w->entry, w->file[file].n, image, lead, q);
    return add(w, file);
}

// One question of every task that is asked in this way, if the scene allows it; existence is asked twice, once with
// each answer, so that every category is half yes.
static drt_status ask_all(world *w, int by, const drt_shapes_scene *s, const char *image, const char *lead,
                          const drt_shapes_known *known, int64_t i, drt_rng *r) {
    drt_shapes_question q, no;
    drt_status status = DRT_OK;
    for (int t = 0; t < N_TASKS && !status; t++) {
        bool can = false;
        if (tasks[t].by != by) continue;
        if (tasks[t].kind == ASK_EXIST) {
            if (!drt_shapes_ask_exist(&no, s, false, (int)(i % 3), r) ||
                !drt_shapes_ask_exist(&q, s, true, (int)(i % 3), r))
                continue;
            status = ask(w, t, image, lead, &q);
            if (!status) status = ask(w, t, image, lead, &no);
            continue;
        }
        for (int tries = 0; tries < 4 && !can; tries++) can = drt_shapes_ask(&q, tasks[t].kind, s, known, r);
        if (can) status = ask(w, t, image, lead, &q);
    }
    return status;
}

static drt_status make_eval(world *w, int64_t i) {
    char name[64], id[40];
    drt_rng r = stream(w, "eval/scene", i);
    drt_shapes_scene s;
    drt_shapes_sample(&s, true, &r);
    name_picture(name, "eval", i, &s);
    snprintf(id, sizeof id, "eval-%06lld", (long long)i);
    drt_status status = save_picture(w, &s, name);
    if (status) return status;

    r = stream(w, "eval/questions", i);
    if ((status = ask_all(w, BY_PICTURE, &s, name, NULL, NULL, i, &r))) return status;

    r = stream(w, "eval/caption", i);
    w->caption.size = 0;
    if (drt_shapes_caption(&w->caption, &s, STYLE_TWO_READINGS, &r, NULL)) {
        drt_shapes_put_pair(&w->entry, id, name, "<image>\ndescribe the picture.", w->caption.bytes);
        if ((status = add(w, ORDER))) return status;
    }
    const char *text = caption(w, &s, drt_shapes_pick_style(&r), &r, NULL);
    drt_shapes_put_pair(&w->entry, id, name, "<image>\ndescribe the picture.", text);
    if ((status = add(w, CAPTIONS))) return status;
    drt_shapes_put_contrast(&w->entry, id, name, &s, &r);
    return add(w, EVAL_CLIP);
}

static drt_status make_eval_text(world *w, int64_t i) {
    static const char *const streams[WAYS] = {[BY_DESCRIPTION] = "eval/text", [BY_MAP] = "eval/map"};
    drt_status status = DRT_OK;
    for (int by = BY_DESCRIPTION; by < WAYS && !status; by++) {
        drt_rng r = stream(w, streams[by], i);
        drt_shapes_scene s;
        drt_shapes_sample(&s, true, &r);
        drt_shapes_known known;
        w->caption.size = 0;
        if (by == BY_MAP) drt_shapes_map(&w->caption, &s, &known);
        else drt_shapes_tell(&w->caption, &s, &r, &known);
        if (w->caption.failed) return drt_fail(w->err, DRT_ENOMEM, "no memory");
        drt_shapes_words_add(&w->words, w->caption.bytes);
        status = ask_all(w, by, &s, NULL, w->caption.bytes, &known, i, &r);
    }
    return status;
}

static int by_name(const void *a, const void *b) { return strcmp(a, b); }

static void put_strings(drt_text *t, const char *name, const char *const *list, int n) {
    drt_text_printf(t, ",\n\"%s\": [", name);
    for (int i = 0; i < n; i++) drt_text_printf(t, "%s\"%s\"", i ? ", " : "", list[i]);
    drt_text_puts(t, "]");
}

static void put_answers(drt_text *t, const shapes_tally *tally, drt_shapes_ask_kind kind) {
    for (int set = 0; set < ANSWER_SETS; set++) {
        drt_text_printf(t, "%s[", set ? ", " : "");
        int n = MAX_ANSWERS;
        while (n && !tally->of[kind][set][n - 1]) n--;
        for (int i = 0; i < n; i++) drt_text_printf(t, "%s%lld", i ? ", " : "", (long long)tally->of[kind][set][i]);
        drt_text_puts(t, "]");
    }
}

static drt_status write_world(world *w) {
    const drt_shapes_config *c = w->config;
    drt_text t = {0};
    drt_text_printf(&t, "{\"seed\": %llu,\n\"train\": %lld, \"eval\": %lld, \"text\": %lld,\n",
                    (unsigned long long)c->seed, (long long)c->train, (long long)c->eval, (long long)c->text);
    drt_text_printf(&t,
                    "\"image_bytes\": %lld, \"text_bytes\": %lld, \"turns\": %lld, \"text_turns\": %lld,\n\"files\": {",
                    (long long)w->sum.image_bytes, (long long)w->sum.text_bytes, (long long)w->sum.turns,
                    (long long)w->sum.text_turns);
    for (int i = 0, n = 0; i < N_FILES; i++) {
        if (w->file[i].name)
            drt_text_printf(&t, "%s\n  \"%s\": {\"entries\": %lld, \"bytes\": %zu}", n++ ? "," : "", file_names[i],
                            (long long)w->file[i].n, w->file[i].bytes);
    }
    drt_text_puts(&t, "},\n\"tasks\": {");
    for (int i = 0; i < N_TASKS; i++) {
        drt_text_printf(&t, "%s\n  \"%s\": {\"questions\": %lld, \"prior\": %.4f, \"answers\": [", i ? "," : "",
                        tasks[i].name, (long long)w->sum.task[i].questions, w->sum.task[i].prior);
        put_answers(&t, &w->asked[tasks[i].by], tasks[i].kind);
        drt_text_puts(&t, "]}");
    }
    drt_text_puts(&t, "}");
    put_strings(&t, "shapes", drt_shapes_names, N_SHAPES);
    put_strings(&t, "colors", drt_shapes_colors, N_COLORS);
    put_strings(&t, "sizes", drt_shapes_sizes, N_SIZES);
    put_strings(&t, "textures", drt_shapes_textures, N_TEXTURES);
    put_strings(&t, "places", drt_shapes_places, N_PLACES);
    put_strings(&t, "signs", drt_shapes_signs, N_WORDS);
    put_strings(&t, "grounds", drt_shapes_grounds, N_GROUNDS);
    drt_shapes_words_add(&w->words, "describe the a picture");
    drt_shapes_words_add(&w->words, drt_shapes_short);
    drt_shapes_words_add(&w->words, drt_shapes_letter);
    w->sum.words = w->words.n;
    qsort(w->words.slot, WORD_SLOTS, WORD_SIZE, by_name);
    const char *sorted[WORD_SLOTS];
    for (int i = 0; i < w->words.n; i++) sorted[i] = w->words.slot[WORD_SLOTS - w->words.n + i];
    put_strings(&t, "words", sorted, w->words.n);
    drt_text_puts(&t, "}\n");
    char *path = drt_path_join(c->out, "world.json");
    drt_status status = t.failed || !path ? drt_fail(w->err, DRT_ENOMEM, "world.json: no memory")
                                          : drt_file_write(path, t.bytes, t.size, w->err);
    free(path), drt_text_free(&t);
    return status;
}

// Folders, and nothing stale in them: only what an earlier run of this program made (world.json stands there).
static drt_status prepare(world *w) {
    static const char *const folders[] = {"images/train", "images/eval", "eval"};
    drt_status status = drt_make_folders(w->config->out, w->err);
    char *mark = drt_path_join(w->config->out, "world.json"), *images = drt_path_join(w->config->out, "images");
    if (!status && (!mark || !images)) status = drt_fail(w->err, DRT_ENOMEM, "%s: no memory", w->config->out);
    if (!status && drt_file_exists(mark)) {
        if (remove(mark)) status = drt_fail(w->err, DRT_EIO, "%s: cannot remove: %s", mark, strerror(errno));
        if (!status) status = drt_remove_tree(images, w->err);
    }
    for (int i = 0; i < 3 && !status; i++) {
        char *path = drt_path_join(w->config->out, folders[i]);
        status = path ? drt_make_folders(path, w->err) : drt_fail(w->err, DRT_ENOMEM, "no memory");
        free(path);
    }
    for (int i = 0; i < N_FILES && !status; i++) {
        if (i < TEXT || i > MAP || w->config->text)
            status = drt_shapes_list_open(&w->file[i], w->config->out, file_names[i], w->err);
    }
    free(mark), free(images);
    return status;
}

static drt_status run(world *w) {
    static drt_status (*const make[4])(world *, int64_t) = {make_train, make_text, make_eval, make_eval_text};
    const drt_shapes_config *c = w->config;
    const int64_t n[4] = {c->train, c->text, c->eval, c->eval};
    w->total = c->train + c->text + 2 * c->eval;
    for (int part = 0; part < 4; part++) {
        for (int64_t i = 0; i < n[part]; i++) {
            drt_status status = make[part](w, i);
            if (status) return status;
            drt_progress_at(&w->progress, ++w->done, w->total);
        }
    }
    for (int i = 0; i < N_FILES; i++) {
        if (!w->file[i].open) continue;
        drt_status status = drt_shapes_list_close(&w->file[i], w->err);
        if (status) return status;
        w->sum.text_bytes += (int64_t)w->file[i].bytes;
    }
    w->sum.n_tasks = N_TASKS;
    w->sum.order = w->file[ORDER].n;
    for (int i = 0; i < N_TASKS; i++) {
        const shapes_tally *trained = tasks[i].by != BY_PICTURE && c->text ? &w->read : &w->finetuned;
        w->sum.task[i].name = tasks[i].name;
        w->sum.task[i].questions = w->file[FIRST_TASK + i].n;
        w->sum.task[i].prior = drt_shapes_prior(trained, &w->asked[tasks[i].by], tasks[i].kind);
    }
    drt_status status = drt_shapes_write_words(c->out, w->err);
    return status ? status : write_world(w);
}

static drt_status check_count(const char *name, int64_t n, int64_t least, drt_error *err) {
    if (n >= least && n <= 10000000) return DRT_OK;
    return drt_fail(err, DRT_EARG, "%s is %lld; give a number from %lld to 10000000", name, (long long)n,
                    (long long)least);
}

drt_status drt_shapes_generate(const drt_shapes_config *config, drt_shapes_summary *summary, drt_error *err) {
    drt_status status;
    if (!config->out || !*config->out) return drt_fail(err, DRT_EARG, "no folder to write to; name one");
    if ((status = check_count("train", config->train, 1, err)) ||
        (status = check_count("eval", config->eval, 1, err)) || (status = check_count("text", config->text, 0, err)))
        return status;
    double started = drt_clock();
    world *w = calloc(1, sizeof *w);
    if (!w) return drt_fail(err, DRT_ENOMEM, "no memory");
    w->config = config, w->progress = config->progress, w->err = err;
    if (!(status = prepare(w))) status = run(w);
    for (int i = 0; i < N_FILES; i++) {
        if (w->file[i].open) drt_writer_abandon(&w->file[i].writer);
    }
    w->sum.seconds = drt_clock() - started;
    if (summary) *summary = w->sum;
    drt_text_free(&w->entry), drt_text_free(&w->caption);
    free(w);
    return status;
}
