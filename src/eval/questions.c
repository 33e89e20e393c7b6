#include "eval/questions.h"

#include "base/file.h"
#include "base/rng.h"
#include "base/text.h"

#include <dirent.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef struct {
    const char *folder, *path;
    drt_arena *arena;
    drt_error *err;
    int line;
    const char **answer; // of questions without `answers`: all that occur, [n_answers]
    int n_answers, room;
} reader;

static const char *const yes_no_answers[] = {"no", "yes"};

static drt_status no_memory(const reader *r) { return drt_fail(r->err, DRT_ENOMEM, "%s: no memory", r->path); }

static bool says_yes_or_no(const char *s) { return !strcasecmp(s, "yes") || !strcasecmp(s, "no"); }

static bool is_letter(const char *s) { return s[0] >= 'A' && s[0] <= 'E' && !s[1]; }

// A string of the line's object; *out NULL if the key is absent and may be.
static drt_status take_string(reader *r, const json_t *o, const char *key, bool needed, const char **out) {
    const json_t *v = json_object_get(o, key);
    *out = NULL;
    if (json_is_string(v)) {
        *out = drt_arena_strdup(r->arena, json_string_value(v));
        return *out ? DRT_OK : no_memory(r);
    }
    if (!needed && (!v || json_is_null(v))) return DRT_OK;
    return drt_fail(r->err, DRT_EDATA, "%s:%d: \"%s\" is %s; it must be a string", r->path, r->line, key,
                    v ? "something else" : "missing");
}

static drt_status take_id(reader *r, const json_t *o, drt_question *q) {
    const json_t *v = json_object_get(o, "question_id");
    if (!json_is_integer(v)) return take_string(r, o, "question_id", true, &q->id);
    drt_text t = {0};
    drt_text_printf(&t, "%lld", (long long)json_integer_value(v));
    q->id = t.failed ? NULL : drt_arena_strdup(r->arena, t.bytes);
    drt_text_free(&t);
    return q->id ? DRT_OK : no_memory(r);
}

static drt_status take_image(reader *r, const json_t *o, drt_question *q) {
    const char *name;
    drt_status status = take_string(r, o, "image", false, &name);
    if (status || !name) return status;
    char *path = drt_path_join(r->folder, name);
    q->image = path ? drt_arena_strdup(r->arena, path) : NULL;
    free(path);
    if (!q->image) return no_memory(r);
    if (drt_file_exists(q->image)) return DRT_OK;
    return drt_fail(r->err, DRT_EDATA,
                    "%s:%d: question %s: there is no picture %s; give the folder that holds the pictures", r->path,
                    r->line, q->id, q->image);
}

static drt_status take_allowed(reader *r, const json_t *o, drt_question *q) {
    const json_t *list = json_object_get(o, "answers");
    size_t n = json_array_size(list);
    if (!list || json_is_null(list)) return DRT_OK;
    if (!n || n > 1000)
        return drt_fail(r->err, DRT_EDATA, "%s:%d: \"answers\" is no list of 1 to 1000", r->path, r->line);
    q->allowed = drt_arena_array(r->arena, (int64_t)n, sizeof *q->allowed);
    if (!q->allowed) return no_memory(r);
    q->right = -1;
    for (size_t i = 0; i < n; i++) {
        const char *s = json_string_value(json_array_get(list, i));
        if (!s || !*s)
            return drt_fail(r->err, DRT_EDATA, "%s:%d: number %zu of \"answers\" is no text", r->path, r->line, i + 1);
        if (!(q->allowed[i] = drt_arena_strdup(r->arena, s))) return no_memory(r);
        if (q->right < 0 && !strcmp(s, q->answer)) q->right = (int)i;
    }
    q->n_allowed = (int)n;
    if (q->right >= 0) return DRT_OK;
    return drt_fail(r->err, DRT_EDATA, "%s:%d: the answer '%s' is not among \"answers\"", r->path, r->line, q->answer);
}

static drt_status note_answer(reader *r, const char *answer) {
    for (int i = 0; i < r->n_answers; i++)
        if (!strcmp(r->answer[i], answer)) return DRT_OK;
    if (r->n_answers == r->room) {
        int room = r->room ? 2 * r->room : 16;
        const char **more = drt_arena_array(r->arena, room, sizeof *more);
        if (!more) return no_memory(r);
        if (r->n_answers) memcpy(more, r->answer, (size_t)r->n_answers * sizeof *more);
        r->answer = more;
        r->room = room;
    }
    r->answer[r->n_answers++] = answer;
    return DRT_OK;
}

static drt_status take_question(reader *r, const char *line, size_t size, drt_question *q) {
    json_error_t where;
    json_t *o = json_loadb(line, size, 0, &where);
    if (!json_is_object(o)) {
        json_decref(o);
        return drt_fail(r->err, DRT_EFORMAT, "%s:%d: not a JSON object: %s", r->path, r->line, where.text);
    }
    const char *category = NULL;
    drt_status status = take_id(r, o, q);
    if (!status) status = take_string(r, o, "text", true, &q->text);
    if (!status) status = take_string(r, o, "answer", true, &q->answer);
    if (!status) status = take_string(r, o, "category", false, &category);
    if (!status) status = take_image(r, o, q);
    if (!status && !*q->answer) status = drt_fail(r->err, DRT_EDATA, "%s:%d: \"answer\" is empty", r->path, r->line);
    if (!status) status = take_allowed(r, o, q);
    if (!status) {
        q->category = category ? category : "";
        q->yes_no = says_yes_or_no(q->answer);
        if (!q->allowed) status = note_answer(r, q->answer);
    }
    json_decref(o);
    return status;
}

// Gives questions without `answers` the set of the whole file.
static void share_answers(const reader *r, drt_questions *out) {
    bool yes_no = true;
    for (int i = 0; i < r->n_answers; i++) yes_no &= says_yes_or_no(r->answer[i]);
    const char **set = yes_no && r->n_answers < 3 ? (const char **)yes_no_answers : r->answer;
    int n = set == r->answer ? r->n_answers : 2;
    for (int64_t i = 0; i < out->n && n <= DRT_MOST_ALLOWED; i++) {
        drt_question *q = &out->at[i];
        if (q->allowed) continue;
        q->allowed = set;
        q->n_allowed = n;
        for (int k = 0; k < n; k++)
            if (!strcasecmp(set[k], q->answer)) q->right = k;
    }
}

typedef struct {
    uint64_t set, answer;
} vote;

static int by_set(const void *a, const void *b) {
    const vote *x = a, *y = b;
    if (x->set != y->set) return x->set < y->set ? -1 : 1;
    return x->answer < y->answer ? -1 : x->answer > y->answer;
}

// For every set of allowed answers the most frequent one, as a share of all.
static drt_status prior_of_file(const reader *r, drt_questions *out) {
    vote *v = malloc((size_t)out->n * sizeof *v);
    int64_t right = 0;
    if (!v) return no_memory(r);
    for (int64_t i = 0; i < out->n; i++) {
        const drt_question *q = &out->at[i];
        v[i] = (vote){(uint64_t)q->n_allowed, drt_hash(q->answer, strlen(q->answer))};
        for (int k = 0; k < q->n_allowed; k++) {
            uint64_t pair[2] = {v[i].set, drt_hash(q->allowed[k], strlen(q->allowed[k]))};
            v[i].set = drt_hash(pair, sizeof pair);
        }
    }
    qsort(v, (size_t)out->n, sizeof *v, by_set);
    for (int64_t i = 0, most = 0, run = 0; i < out->n; i++) {
        bool same_set = i && v[i].set == v[i - 1].set;
        if (!same_set) right += most, most = 0;
        run = same_set && v[i].answer == v[i - 1].answer ? run + 1 : 1;
        if (run > most) most = run;
        if (i == out->n - 1) right += most;
    }
    out->prior = (double)right / (double)out->n;
    free(v);
    return DRT_OK;
}

// world.json of a shapes world knows what was frequent in training. Absent, or silent on this task: not used.
static void prior_of_world(const reader *r, drt_questions *out) {
    char *path = drt_path_join(r->folder, "world.json");
    json_t *o = path ? json_load_file(path, 0, NULL) : NULL;
    const json_t *prior = json_object_get(json_object_get(json_object_get(o, "tasks"), out->task), "prior");
    out->prior_of_world = json_is_number(prior);
    if (out->prior_of_world) out->prior = json_number_value(prior);
    json_decref(o);
    free(path);
}

static int64_t count_lines(const char *s) {
    int64_t n = 1;
    for (; (s = strchr(s, '\n')); s++) n++;
    return n;
}

static drt_status read_lines(reader *r, const char *bytes, int64_t limit, drt_questions *out) {
    int64_t room = count_lines(bytes);
    if (limit > 0 && limit < room) room = limit;
    out->at = drt_arena_array(r->arena, room, sizeof *out->at);
    if (!out->at) return no_memory(r);
    for (const char *line = bytes, *end; *line && out->n < room; line = *end ? end + 1 : end) {
        end = strchrnul(line, '\n');
        r->line++;
        if (line + strspn(line, " \t\r") == end) continue;
        drt_question *q = &out->at[out->n];
        memset(q, 0, sizeof *q);
        drt_status status = take_question(r, line, (size_t)(end - line), q);
        if (status) return status;
        out->images |= q->image != NULL;
        out->n++;
    }
    return out->n ? DRT_OK : drt_fail(r->err, DRT_EDATA, "%s: holds no question", r->path);
}

drt_status drt_questions_read(drt_questions *out, const char *folder, const char *task, int64_t limit, drt_arena *arena,
                              drt_error *err) {
    drt_text path = {0};
    drt_text_printf(&path, "%s/eval/%s.jsonl", folder, task);
    reader r = {.folder = folder, .path = path.failed ? task : path.bytes, .arena = arena, .err = err};
    *out = (drt_questions){.task = drt_arena_strdup(arena, task), .letters = true};
    char *bytes = NULL;
    drt_status status = path.failed || !out->task ? no_memory(&r) : drt_file_read(&bytes, NULL, path.bytes, 0, err);
    if (!status) status = read_lines(&r, bytes, limit, out);
    free(bytes);
    if (!status) share_answers(&r, out);
    for (int64_t i = 0; i < out->n && !status; i++) {
        out->letters &= is_letter(out->at[i].answer) && out->at[i].n_allowed > 0;
        for (int k = 0; k < out->at[i].n_allowed; k++) out->letters &= is_letter(out->at[i].allowed[k]);
    }
    if (!status) status = prior_of_file(&r, out);
    if (!status) prior_of_world(&r, out);
    drt_text_free(&path);
    return status;
}

static int by_name(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

drt_status drt_questions_list(const char *folder, const char ***tasks, int *n, drt_arena *arena, drt_error *err) {
    enum { MOST = 256 };
    char *path = drt_path_join(folder, "eval");
    DIR *d = path ? opendir(path) : NULL;
    *n = 0;
    *tasks = drt_arena_array(arena, MOST, sizeof **tasks);
    for (struct dirent *e; d && *tasks && *n < MOST && (e = readdir(d));) {
        size_t size = strlen(e->d_name);
        if (size < 7 || strcmp(e->d_name + size - 6, ".jsonl")) continue;
        char *name = drt_arena_strdup(arena, e->d_name);
        if (!name) continue;
        name[size - 6] = 0;
        (*tasks)[(*n)++] = name;
    }
    if (d) closedir(d);
    free(path);
    if (*n) {
        qsort(*tasks, (size_t)*n, sizeof **tasks, by_name);
        return DRT_OK;
    }
    if (drt_file_exists(folder) && !drt_is_folder(folder))
        return drt_fail(err, DRT_EIO, "%s: is a file; name the folder whose eval/TASK.jsonl hold the questions",
                        folder);
    return drt_fail(err, DRT_EIO,
                    "%s/eval: holds no questions (*.jsonl); make some with drt shapes --out %s --train 4000 --eval 500",
                    folder, folder);
}
