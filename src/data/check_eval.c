// What evaluation files ask: JSON lines of questions ({"image": "a.jpg", "text": "..."}), or samples of LLaVA's schema.
#include "data/check_parts.h"

#include "base/digest.h"
#include "base/file.h"
#include "data/json_split.h"
#include "data/space.h"
#include "format/json_read.h"

#include <omp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    drt_checker *k;
    const char *file;
    char *text, *folder, *above; // the file's bytes; folders that its pictures may start from
    int64_t room_pictures, room_questions;
} reader;

static char *decoded(const drt_json_text *text) {
    char *out = malloc(text->size + 1);
    if (out) out[drt_json_decode(text, out)] = 0;
    return out;
}

// Digest of a question's words; 0: it has none.
static uint64_t question_digest(const char *text) {
    drt_digest d;
    size_t n = strlen(text), at = 0, size, words = 0;
    drt_digest_begin(&d);
    for (const char *word; (word = drt_next_word(text, n, &at, &size)); words++) {
        drt_digest_add(&d, word, size);
        drt_digest_add(&d, " ", 1);
    }
    uint64_t h = drt_digest_end(&d);
    return words ? h | 1 : 0;
}

static bool keep_picture(reader *q, const char *name) {
    drt_checker *k = q->k;
    int64_t n = k->c->eval_pictures;
    if (n == q->room_pictures) {
        int64_t room = n ? 2 * n : 64;
        char **more = realloc(k->eval_name, (size_t)room * sizeof *more);
        if (!more) return false;
        k->eval_name = more;
        q->room_pictures = room;
    }
    char *path = drt_path_join(q->folder, name);
    if (path && !drt_file_exists(path)) { // DIR/eval/TASK.jsonl names pictures from DIR
        char *other = drt_path_join(q->above, name);
        if (other && drt_file_exists(other)) {
            free(path);
            path = other;
        } else free(other);
    }
    k->eval_name[n] = path;
    k->c->eval_pictures += path != NULL;
    return path != NULL;
}

static bool keep_question(reader *q, const char *text) {
    drt_checker *k = q->k;
    uint64_t digest = question_digest(text);
    if (!digest) return true;
    if (k->questions == q->room_questions) {
        int64_t room = k->questions ? 2 * k->questions : 64;
        uint64_t *more = realloc(k->question, (size_t)room * sizeof *more);
        if (!more) return false;
        k->question = more;
        q->room_questions = room;
    }
    k->question[k->questions++] = digest;
    return true;
}

static bool read_images(reader *q, drt_json_reader *r, int *images) {
    bool many = drt_json_peek(r) == '[', first = true, good = true;
    while (good && (many ? drt_json_element(r, &first) : first)) {
        drt_json_text text;
        first = false;
        if (drt_json_peek(r) != '"') {
            drt_json_skip(r);
            continue;
        }
        drt_json_string(r, &text);
        char *name = decoded(&text);
        good = name && keep_picture(q, name);
        free(name);
        ++*images;
    }
    return good;
}

// The question: "text" or "question", else the first turn of "conversations".
static void read_turns(drt_json_reader *r, drt_json_text *question) {
    bool begin = true;
    if (drt_json_peek(r) != '[') {
        drt_json_skip(r);
        return;
    }
    while (drt_json_element(r, &begin)) {
        drt_json_text key;
        bool first = true;
        if (drt_json_peek(r) != '{') drt_json_skip(r);
        else
            while (drt_json_member(r, &first, &key)) {
                bool value = drt_json_is(&key, "value") && !question->bytes && drt_json_peek(r) == '"';
                if (value) drt_json_string(r, question);
                else drt_json_skip(r);
            }
    }
}

static drt_status found(void *user, uint64_t at, uint64_t size, drt_error *err) {
    reader *q = user;
    drt_json_reader r = {.at = q->text + at, .end = q->text + at + size};
    drt_json_text key, question = {0};
    int images = 0;
    bool good = true;
    for (bool first = true; good && drt_json_member(&r, &first, &key);) {
        bool text = drt_json_is(&key, "text") || drt_json_is(&key, "question");
        if (drt_json_is(&key, "image")) good = read_images(q, &r, &images);
        else if (text && drt_json_peek(&r) == '"') drt_json_string(&r, &question);
        else if (drt_json_is(&key, "conversations")) read_turns(&r, &question);
        else drt_json_skip(&r);
    }
    if (r.why) return drt_fail(err, DRT_EFORMAT, "byte %llu: %s", (unsigned long long)(r.at - q->text), r.why);
    q->k->c->eval_questions++;
    char *text = good && !images && question.bytes ? decoded(&question) : NULL;
    if (text) good = keep_question(q, text);
    free(text);
    return good ? DRT_OK : drt_fail(err, DRT_ENOMEM, "no memory for its questions");
}

static drt_status read_file(reader *q, drt_error *err) {
    size_t size;
    const char *slash = strrchr(q->file, '/');
    drt_status status = drt_file_read(&q->text, &size, q->file, 0, err);
    if (status) return status;
    q->folder = slash ? strndup(q->file, (size_t)(slash - q->file) + (slash == q->file)) : strdup(".");
    const char *last = q->folder ? strrchr(q->folder, '/') : NULL;
    if (last && last > q->folder) q->above = strndup(q->folder, (size_t)(last - q->folder));
    else if (q->folder) q->above = strdup(last ? "/" : strcmp(q->folder, ".") ? "." : "..");
    drt_json_splitter split = {.found = found, .user = q};
    if (!q->above) status = drt_fail(err, DRT_ENOMEM, "no memory");
    if (!status) status = drt_json_split_feed(&split, q->text, size, err);
    if (!status) status = drt_json_split_end(&split, err);
    if (status) drt_fail_in(err, "%s", q->file);
    free(q->text), free(q->folder), free(q->above);
    q->text = q->folder = q->above = NULL;
    return status;
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }
static int by_digest(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

bool drt_check_is_asked(const drt_checker *k, const char *text) {
    uint64_t q = k->questions ? question_digest(text) : 0;
    return q && bsearch(&q, k->question, (size_t)k->questions, sizeof q, by_digest);
}

// Pictures once each, decoded as the data's are.
static drt_status look(drt_checker *k, drt_error *err) {
    drt_data_check *c = k->c;
    int64_t n = 0, missing = 0;
    if (c->eval_pictures) qsort(k->eval_name, (size_t)c->eval_pictures, sizeof *k->eval_name, by_text);
    for (int64_t i = 0; i < c->eval_pictures; i++) {
        if (n && !strcmp(k->eval_name[i], k->eval_name[n - 1])) free(k->eval_name[i]);
        else k->eval_name[n++] = k->eval_name[i];
    }
    c->eval_pictures = n;
    k->eval = calloc((size_t)n + 1, sizeof *k->eval);
    if (!k->eval) return drt_fail(err, DRT_ENOMEM, "no memory for %lld pictures", (long long)n);
    drt_progress bar = drt_check_bar(k, "decoding evaluation pictures");
    atomic_int done = 0;
#pragma omp parallel for schedule(dynamic, 1) reduction(+ : missing)
    for (int64_t i = 0; i < n; i++) {
        char *bytes;
        size_t size;
        int64_t pixels = 0;
        if (drt_file_read(&bytes, &size, k->eval_name[i], 0, NULL)) missing++;
        else drt_check_picture(k, &k->eval[i], bytes, size, k->eval_name[i], &pixels);
        free(bytes);
        int now = atomic_fetch_add(&done, 1) + 1;
        if (omp_get_thread_num() == 0 && now < n) drt_progress_at(&bar, now, n);
    }
    c->eval_missing = missing;
    if (k->questions) qsort(k->question, (size_t)k->questions, sizeof *k->question, by_digest);
    return DRT_OK;
}

drt_status drt_check_eval_read(drt_checker *k, drt_error *err) {
    reader q = {.k = k};
    drt_status status = DRT_OK;
    for (int i = 0; !status && i < k->o->n_eval; i++) {
        q.file = k->o->eval[i];
        status = read_file(&q, err);
    }
    return status ? status : look(k, err);
}

void drt_check_eval_free(drt_checker *k) {
    for (int64_t i = 0; i < k->c->eval_pictures; i++) {
        if (k->eval) free(k->eval[i].text);
        free(k->eval_name[i]);
    }
    free(k->eval), free(k->eval_name), free(k->question);
}
