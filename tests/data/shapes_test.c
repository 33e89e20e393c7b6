// The shapes world: same bytes from the same seed, splits that share no scene, and answers that an independent
// reader finds again. The reader below knows the world's language, not its code: it reads facts from a description
// or from a scene's coordinates, then answers the question as a person would.
#include "support/check.h"
#include "support/json.h"

#include "base/file.h"
#include "data/shapes.h"
#include "data/shapes_world.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
    char size[16], texture[16], color[16], name[16];
    double x, y; // -1: not told
} thing;
typedef struct {
    int n, relations;
    thing thing[8];
    struct {
        int a, b;
        char word[16];
    } relation[8];
    char sign[16];
} facts;

static void facts_from_scene(facts *f, const drt_shapes_scene *s) {
    memset(f, 0, sizeof *f);
    for (int i = 0; i < s->n; i++) {
        const drt_shapes_object *o = &s->object[i];
        thing *t = &f->thing[f->n++];
        strcpy(t->size, o->radius < 8.5f ? "small" : "large"); // by what is drawn, not by what was meant
        strcpy(t->texture, drt_shapes_textures[o->texture]);
        strcpy(t->color, drt_shapes_colors[o->color]);
        strcpy(t->name, drt_shapes_names[o->shape]);
        t->x = o->x, t->y = o->y;
    }
    if (s->word >= 0) strcpy(f->sign, drt_shapes_signs[s->word]);
}

static int index_of(const facts *f, const char *color, const char *name) {
    for (int i = 0; i < f->n; i++) {
        if (!strcmp(f->thing[i].color, color) && !strcmp(f->thing[i].name, name)) return i;
    }
    return -1;
}

static void read_item(facts *f, const char *item) {
    char row[16] = "", column[16] = "";
    thing *t = &f->thing[f->n];
    if (sscanf(item, "a sign that says %15s", f->sign) == 1) return;
    int n = sscanf(item, "a %15s %15s %15s %15s at the %15s %15s", t->size, t->texture, t->color, t->name, row, column);
    check(n == 4 || n == 6);
    t->x = t->y = -1;
    if (n == 6) {
        t->y = !strcmp(row, "top") ? 12 : !strcmp(row, "middle") ? 32 : 52;
        t->x = !strcmp(column, "left") ? 12 : !strcmp(column, "center") ? 32 : 52;
    }
    f->n++;
}

// "a small striped red ring at the top left, a ... . the red ring is left of the blue star. ..."
static void facts_from_text(facts *f, const char *text) {
    char copy[1024], *rest = copy;
    memset(f, 0, sizeof *f);
    snprintf(copy, sizeof copy, "%s", text);
    char *sentences = strstr(copy, ". ");
    if (sentences) *sentences = 0, sentences += 2;
    for (char *item; (item = strsep(&rest, ","));) read_item(f, item + (*item == ' '));
    for (char *one; sentences && *sentences; sentences = one) {
        if ((one = strstr(sentences, ". "))) *one = 0, one += 2;
        char color[16], name[16], word[16], color2[16], name2[16];
        bool of = strstr(sentences, " of the ") != NULL;
        int n = sscanf(sentences, of ? "the %15s %15s is %15s of the %15s %15s" : "the %15s %15s is %15s the %15s %15s",
                       color, name, word, color2, name2);
        check(n == 5);
        int k = f->relations++;
        f->relation[k].a = index_of(f, color, name), f->relation[k].b = index_of(f, color2, name2);
        strcpy(f->relation[k].word, word);
        if (!one) break;
    }
}

// By coordinates with a clear margin, or by what is said.
static const char *relation(const facts *f, int a, int b) {
    static const char *const words[] = {"left", "right", "above", "below"};
    check(a >= 0 && b >= 0);
    if (f->thing[a].x >= 0) {
        double dx = f->thing[a].x - f->thing[b].x, dy = f->thing[a].y - f->thing[b].y;
        check(dx * dx >= 4 * dy * dy || dy * dy >= 4 * dx * dx);
        return dx * dx > dy * dy ? words[dx > 0] : words[2 + (dy > 0)];
    }
    for (int k = 0; k < f->relations; k++) {
        int w = 0;
        while (strcmp(f->relation[k].word, words[w])) w++;
        if (f->relation[k].a == a && f->relation[k].b == b) return words[w];
        if (f->relation[k].a == b && f->relation[k].b == a) return words[w ^ 1];
    }
    return "unknown";
}

static int count_like(const facts *f, const char *word, const char *name) {
    int n = 0;
    for (int i = 0; i < f->n; i++) {
        const thing *t = &f->thing[i];
        bool plural = !strncmp(word, t->name, strlen(t->name)) && strlen(word) > strlen(t->name);
        bool first = !*word || plural || !strcmp(word, t->color) || !strcmp(word, t->name) || !strcmp(word, t->size);
        n += first && (!name || !strcmp(name, t->name));
    }
    return n;
}

static const char *yes(bool b) { return b ? "yes" : "no"; }

static const char *where(const thing *t, char out[64]) {
    sprintf(out, "%s %s",
            t->y < 23   ? "top"
            : t->y < 43 ? "middle"
                        : "bottom",
            t->x < 22   ? "left"
            : t->x < 42 ? "center"
                        : "right");
    return out;
}

static const char *neighbour(const facts *f, const char *word, int of, char out[64]) {
    strcpy(out, "unknown");
    for (int i = 0; i < f->n; i++) {
        bool comparable = f->thing[i].x < 0;
        double dx = f->thing[i].x - f->thing[of].x, dy = f->thing[i].y - f->thing[of].y;
        comparable |= dx * dx >= 4 * dy * dy || dy * dy >= 4 * dx * dx;
        if (i != of && comparable && !strcmp(relation(f, i, of), word))
            sprintf(out, "%s %s", f->thing[i].color, f->thing[i].name);
    }
    return out;
}

// The answer to the question's first line; `out` holds it where it must be put together.
static const char *answer(const facts *f, const char *q, char out[64]) {
    char a[16], b[16], c[16], d[16], e[16];
    if (!strcmp(q, "is there a sign?")) return yes(*f->sign);
    if (!strcmp(q, "what word is on the sign?")) return f->sign;
    if (sscanf(q, "is there %*[an] %15s %15[a-z]?", a, b) == 2)
        return yes(count_like(f, a, strcmp(b, "shape") ? b : NULL) > 0);
    if (sscanf(q, "is there %*[an] %15[a-z]?", a) == 1) return yes(count_like(f, a, NULL) > 0);
    if (sscanf(q, "how many %15s %15s are there?", a, b) == 2) {
        bool all = !strcmp(a, "shapes"), simple = !strcmp(b, "are");
        sprintf(out, "%d", all ? f->n : count_like(f, a, NULL));
        check(simple || !strcmp(b, "shapes"));
        return out;
    }
    for (int i = 0; i < f->n; i++) {
        if (sscanf(q, "what color is the %15[a-z]?", a) == 1 && !strcmp(f->thing[i].name, a)) return f->thing[i].color;
        if (sscanf(q, "which shape is %15[a-z]?", a) == 1 && !strcmp(f->thing[i].color, a)) return f->thing[i].name;
    }
    if (sscanf(q, "what size is the %15s %15[a-z]?", a, b) == 2) return f->thing[index_of(f, a, b)].size;
    if (sscanf(q, "what texture is the %15s %15[a-z]?", a, b) == 2) return f->thing[index_of(f, a, b)].texture;
    if (sscanf(q, "where is the %15s %15s relative to the %15s %15[a-z]?", a, b, c, d) == 4)
        return relation(f, index_of(f, a, b), index_of(f, c, d));
    if (sscanf(q, "where is the %15s %15[a-z]?", a, b) == 2) return where(&f->thing[index_of(f, a, b)], out);
    if (sscanf(q, "is the %15s %15s %15s of the %15s %15[a-z]?", a, b, e, c, d) == 5 ||
        sscanf(q, "is the %15s %15s %15s the %15s %15[a-z]?", a, b, e, c, d) == 5)
        return yes(!strcmp(relation(f, index_of(f, a, b), index_of(f, c, d)), e));
    if (sscanf(q, "what is %15s of the %15s %15[a-z]?", e, c, d) == 3 ||
        sscanf(q, "what is %15s the %15s %15[a-z]?", e, c, d) == 3)
        return neighbour(f, e, index_of(f, c, d), out);
    fail_msg("the reader does not understand: %s", q);
    return NULL;
}

static void check_answer(const facts *f, const char *text, const char *given, const char *context) {
    char out[64], line[128], option[64];
    snprintf(line, sizeof line, "%.*s", (int)strcspn(text, "\n"), text);
    const char *right = answer(f, line, out);
    const char *options = strstr(text, "\nA. ");
    if (options) { // the letter stands before the right answer, and that stands there once
        snprintf(option, sizeof option, "\n%s. %s\n", given, right);
        char all[400];
        snprintf(all, sizeof all, "%s\n", text);
        if (!strstr(all, option)) fail_msg("%s: %s -> %s, not %s", context, text, given, right);
        return;
    }
    if (strcmp(right, given)) fail_msg("%s: %s -> %s, the reader says %s", context, text, given, right);
}

static void answers_are_true(void **state) {
    (void)state;
    int asked[N_ASKS] = {0};
    for (int i = 0; i < 3000; i++) {
        drt_rng r;
        drt_shapes_scene s;
        drt_shapes_known known;
        drt_shapes_question q[MAX_TURNS];
        facts f;
        drt_rng_init(&r, 11, (uint64_t)i);
        drt_shapes_sample(&s, i % 4 == 0, &r);
        facts_from_scene(&f, &s);
        int n = drt_shapes_conversation(q, &s, NULL, false, &r);
        for (int k = 0; k < n; k++) check_answer(&f, q[k].text, q[k].answer, "picture"), asked[q[k].kind]++;
        // The same from the description alone: it must hold every answer.
        drt_text t = {0};
        drt_shapes_caption(&t, &s, (drt_shapes_style)(i % 3), &r, &known);
        facts_from_text(&f, t.bytes);
        n = drt_shapes_conversation(q, &s, &known, false, &r);
        for (int k = 0; k < n; k++) check_answer(&f, q[k].text, q[k].answer, t.bytes), asked[q[k].kind]++;
        drt_text_free(&t);
    }
    for (int k = 0; k < N_ASKS; k++) assert_true(asked[k] > 100);
}

// The reader must be able to find a lie.
static void reader_rejects(void **state) {
    (void)state;
    facts f;
    char out[64];
    facts_from_text(&f, "a small solid red ring at the top left, a large dotted blue star at the top right");
    assert_string_equal(answer(&f, "is the red ring left of the blue star?", out), "yes");
    assert_string_equal(answer(&f, "is the red ring right of the blue star?", out), "no");
    assert_string_equal(answer(&f, "is there a blue ring?", out), "no");
    assert_string_equal(answer(&f, "how many stars are there?", out), "1");
    facts_from_text(&f, "a small solid red ring, a large dotted blue star. the blue star is below the red ring");
    assert_string_equal(answer(&f, "where is the red ring relative to the blue star?", out), "above");
    assert_string_equal(answer(&f, "what is below the red ring?", out), "blue star");
}

static void negatives_differ(void **state) {
    (void)state;
    int total = 0, n_scenes = 0;
    for (int i = 0; i < 2000; i++) {
        drt_rng r, again;
        drt_shapes_scene s;
        drt_text right = {0}, wrong[4] = {{0}};
        drt_rng_init(&r, 5, (uint64_t)i);
        drt_shapes_sample(&s, false, &r);
        again = r;
        drt_shapes_style style = (drt_shapes_style)(i % 5);
        drt_rng choices = r;
        if (!drt_shapes_caption(&right, &s, style, &again, NULL)) {
            drt_text_free(&right); // nothing in a line
            continue;
        }
        n_scenes++;
        int n = drt_shapes_hard_negatives(wrong, 4, &s, style, &r, &choices);
        total += n;
        for (int a = 0; a < n; a++) {
            assert_string_not_equal(wrong[a].bytes, right.bytes);
            for (int b = 0; b < a; b++) assert_string_not_equal(wrong[a].bytes, wrong[b].bytes);
        }
        // A sentence of two readings is false if no pair of objects makes it true.
        for (int a = 0; a < n && style == STYLE_TWO_READINGS; a++) {
            char c[16], m[16], w[16], c2[16], m2[16];
            facts f;
            facts_from_scene(&f, &s);
            int got = strstr(wrong[a].bytes, " of a")
                          ? sscanf(wrong[a].bytes, "%*[an] %15s %15s %15s of %*[an] %15s %15s", c, m, w, c2, m2)
                          : sscanf(wrong[a].bytes, "%*[an] %15s %15s %15s %*[an] %15s %15s", c, m, w, c2, m2);
            assert_int_equal(got, 5);
            int x = index_of(&f, c, m), y = index_of(&f, c2, m2);
            if (x < 0 || y < 0) continue;
            double dx = f.thing[x].x - f.thing[y].x, dy = f.thing[x].y - f.thing[y].y;
            double claimed = !strcmp(w, "left") ? -dx : !strcmp(w, "right") ? dx : !strcmp(w, "above") ? -dy : dy;
            assert_true(claimed < 8); // pixels; jitter within a row or column stays below that
        }
        for (int a = 0; a < 4; a++) drt_text_free(&wrong[a]);
        drt_text_free(&right);
    }
    assert_true(n_scenes > 1000 && total > 3 * n_scenes);
}

// What covers the patch in the middle of an object is that object, and most of the picture is background.
static void patches_hold_objects(void **state) {
    (void)state;
    int covered = 0, objects = 0;
    for (int i = 0; i < 300; i++) {
        drt_rng r;
        drt_shapes_scene s;
        uint8_t patch[64][SHAPES_LABELS];
        drt_rng_init(&r, 3, (uint64_t)i);
        drt_shapes_sample(&s, false, &r);
        drt_shapes_patches(&s, patch);
        for (int k = 0; k < s.n; k++) {
            const drt_shapes_object *o = &s.object[k];
            int seen = 0;
            for (int p = 0; p < 64; p++) {
                bool here = patch[p][0] == o->color + 1 && patch[p][1] == o->shape + 1 && patch[p][2] == o->size + 1;
                float dx = (float)(p % 8 * 8 + 4) - o->x, dy = (float)(p / 8 * 8 + 4) - o->y;
                assert_true(!here || dx * dx + dy * dy < (o->radius + 6) * (o->radius + 6));
                seen += here;
            }
            covered += seen > 0, objects++;
        }
        int words = 0;
        for (int p = 0; p < 64; p++) words += patch[p][3] > 0;
        assert_true(s.word < 0 ? words == 0 : words >= 2);
    }
    assert_true(covered * 100 >= objects * 99);
}

static drt_shapes_config small_world(const char *out, uint64_t seed) {
    return (drt_shapes_config){.out = out, .train = 60, .eval = 40, .text = 50, .seed = seed};
}

static uint64_t hash_file(const char *folder, const char *name) {
    char *path = drt_path_join(folder, name), *bytes = NULL;
    size_t n;
    drt_error err = {0};
    check_ok(drt_file_read(&bytes, &n, path, 0, &err));
    uint64_t h = drt_hash(bytes, n);
    free(bytes), free(path);
    return h;
}

static void same_seed_same_bytes(void **state) {
    (void)state;
    static const char *const names[] = {"pretrain.json", "finetune.json",    "clip.json",         "text.json",
                                        "world.json",    "eval/exist.jsonl", "eval/choice.jsonl", "eval/order.json"};
    drt_error err = {0};
    char *a = test_folder("shapes-a"), *b = test_folder("shapes-b");
    drt_shapes_config one = small_world(a, 9), two = small_world(b, 10);
    check_ok(drt_shapes_generate(&one, NULL, &err));
    two.train = 90;
    check_ok(drt_shapes_generate(&two, NULL, &err)); // another world in the same folder must leave nothing behind
    for (int k = 0; k < 8; k++) assert_true(hash_file(a, names[k]) != hash_file(b, names[k]));
    two = small_world(b, 9);
    check_ok(drt_shapes_generate(&two, NULL, &err));
    for (int k = 0; k < 8; k++) assert_true(hash_file(a, names[k]) == hash_file(b, names[k]));
    json_t *list = test_json(a, "pretrain.json"), *entry;
    size_t i;
    json_array_foreach(list, i, entry) {
        const char *image = json_string_value(json_object_get(entry, "image"));
        assert_true(hash_file(a, image) == hash_file(b, image));
    }
    json_decref(list);
    char *stale = drt_path_join(b, "images/train/000089.jpg"), *stale2 = drt_path_join(b, "images/train/000089.png");
    assert_false(drt_file_exists(stale) || drt_file_exists(stale2));
    free(stale), free(stale2);
    check_ok(drt_remove_tree(a, &err));
    check_ok(drt_remove_tree(b, &err));
    free(a), free(b);
}

static void splits_are_disjoint(void **state) {
    (void)state;
    for (int i = 0; i < 2000; i++) {
        drt_rng r;
        drt_shapes_scene s;
        drt_rng_init(&r, (uint64_t)(i % 7), (uint64_t)i);
        drt_shapes_sample(&s, i % 2, &r);
        assert_int_equal(drt_shapes_held_out(&s), i % 2);
        // Light and jitter do not move a scene to the other side.
        s.look.light += 0.1f, s.object[0].x += 1, s.width++, s.quality = 0;
        assert_int_equal(drt_shapes_held_out(&s), i % 2);
    }
}

// So many samples with a picture and without.
static void check_conversations(const char *folder, const char *name, size_t seen, size_t read) {
    json_t *list = test_json(folder, name), *entry, *turn;
    size_t i, k, images = 0;
    assert_int_equal(json_array_size(list), seen + read);
    json_array_foreach(list, i, entry) {
        json_t *turns = json_object_get(entry, "conversations");
        const char *image = json_string_value(json_object_get(entry, "image"));
        images += image != NULL;
        assert_true(json_array_size(turns) % 2 == 0 && json_array_size(turns) > 0);
        if (image) hash_file(folder, image); // it is there
        json_array_foreach(turns, k, turn) {
            const char *value = json_string_value(json_object_get(turn, "value"));
            assert_string_equal(json_string_value(json_object_get(turn, "from")), k % 2 ? "gpt" : "human");
            assert_true(*value);
            assert_int_equal(strncmp(value, "<image>\n", 8) == 0, image && k == 0);
        }
    }
    assert_int_equal(images, seen);
    json_decref(list);
}

static void files_follow_their_schemas(void **state) {
    (void)state;
    drt_error err = {0};
    drt_shapes_summary sum;
    char *folder = test_folder("shapes-schema");
    drt_shapes_config c = small_world(folder, 1);
    c.eval = 300;
    check_ok(drt_shapes_generate(&c, &sum, &err));
    check_conversations(folder, "pretrain.json", 60, 0);
    check_conversations(folder, "finetune.json", 72, 6);
    check_conversations(folder, "text.json", 0, 50);
    check_conversations(folder, "eval/order.json", (size_t)sum.order, 0);
    check_conversations(folder, "eval/captions.json", 300, 0);
    json_t *clip = test_json(folder, "clip.json"), *entry;
    size_t i;
    json_array_foreach(clip, i, entry) {
        assert_int_equal(json_array_size(json_object_get(entry, "patches")), 64);
        assert_in_range(json_array_size(json_object_get(entry, "negatives")), 1, 4);
    }
    json_decref(clip);
    assert_true(sum.words > 50 && sum.words <= 250);
    for (int t = 0; t < sum.n_tasks; t++) {
        char name[64];
        snprintf(name, sizeof name, "eval/%s.jsonl", sum.task[t].name);
        char *path = drt_path_join(folder, name);
        FILE *f = fopen(path, "r");
        int64_t lines = 0;
        for (json_t *q; (q = json_loadf(f, JSON_DISABLE_EOF_CHECK, NULL)); lines++) {
            json_t *answers = json_object_get(q, "answers"), *one;
            bool allowed = false;
            json_array_foreach(answers, i, one) allowed |= json_equal(one, json_object_get(q, "answer"));
            assert_true(allowed);
            assert_int_equal(json_integer_value(json_object_get(q, "question_id")), lines);
            json_decref(q);
        }
        fclose(f), free(path);
        assert_int_equal(lines, sum.task[t].questions);
        // yes/no 1/2; the others have four answers or more. Room for 4 standard deviations of 100 questions.
        double most = strstr(sum.task[t].name, "exist") ? 0.5 : 0.6;
        assert_true(sum.task[t].prior > 0 && sum.task[t].prior <= most);
        assert_true(lines >= 80);
    }
    check_ok(drt_remove_tree(folder, &err));
    free(folder);
}

static void bad_requests_are_refused(void **state) {
    (void)state;
    drt_error err = {0};
    drt_shapes_config c = small_world("/proc/nowhere/shapes", 1);
    check_refused(drt_shapes_generate(&c, NULL, &err), DRT_EIO, "/proc/nowhere");
    c = small_world("", 1);
    check_refused(drt_shapes_generate(&c, NULL, &err), DRT_EARG, "no folder");
    c = small_world("unused", 1);
    c.train = 0;
    check_refused(drt_shapes_generate(&c, NULL, &err), DRT_EARG, "train is 0");
    c.train = 5, c.eval = -3;
    check_refused(drt_shapes_generate(&c, NULL, &err), DRT_EARG, "eval is -3");
    c.eval = 5, c.text = -1;
    check_refused(drt_shapes_generate(&c, NULL, &err), DRT_EARG, "text is -1");
    // A picture that cannot be written stops the work, and no list of samples is left behind.
    char *folder = test_folder("shapes-blocked"), *images = drt_path_join(folder, "images");
    check_ok(drt_file_write(images, "x", 1, &err));
    c = small_world(folder, 1);
    check_refused(drt_shapes_generate(&c, NULL, &err), DRT_EIO, "images");
    char *list = drt_path_join(folder, "pretrain.json");
    assert_false(drt_file_exists(list));
    check_ok(drt_remove_tree(folder, &err));
    free(list), free(images), free(folder);
}

// The answers of a large sample: none dominates.
static void answers_are_balanced(void **state) {
    (void)state;
    static const struct {
        drt_shapes_ask_kind kind;
        int n;
        double most;
    } limits[] = {{ASK_EXIST, 2, 0.53},    {ASK_COUNT, 5, 0.40},    {ASK_COLOR, 8, 0.18},
                  {ASK_RELATION, 2, 0.53}, {ASK_RELATION, 4, 0.30}, {ASK_TEXT, 10, 0.13},
                  {ASK_CHOICE, 4, 0.28},   {ASK_PLACE, 9, 0.18},    {ASK_SIZE, 2, 0.53}};
    for (int l = 0; l < (int)(sizeof limits / sizeof *limits); l++) {
        int seen[12] = {0}, total = 0;
        for (int i = 0; total < 4000; i++) {
            drt_rng r;
            drt_shapes_scene s;
            drt_shapes_question q;
            drt_rng_init(&r, 21, (uint64_t)i);
            drt_shapes_sample(&s, false, &r);
            if (!drt_shapes_ask(&q, limits[l].kind, &s, NULL, &r) || q.n_answers != limits[l].n) continue;
            for (int a = 0; a < q.n_answers; a++) seen[a] += !strcmp(q.answers[a], q.answer);
            total++;
        }
        for (int a = 0; a < 12; a++) {
            if (seen[a] > limits[l].most * total)
                fail_msg("kind %d answer %d: %d of %d", limits[l].kind, a, seen[a], total);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reader_rejects),           cmocka_unit_test(answers_are_true),
        cmocka_unit_test(answers_are_balanced),     cmocka_unit_test(negatives_differ),
        cmocka_unit_test(patches_hold_objects),     cmocka_unit_test(splits_are_disjoint),
        cmocka_unit_test(same_seed_same_bytes),     cmocka_unit_test(files_follow_their_schemas),
        cmocka_unit_test(bad_requests_are_refused),
    };
    return cmocka_run_group_tests_name("shapes", tests, NULL, NULL);
}
