#include "format/torch_pickle.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

typedef enum { NONE, BOOL, INT, FLOAT, TEXT, TUPLE, LIST, DICT, MARK, FUNCTION, STORAGE, TENSOR } kind;
static const char *const kind_names[] = {"None",   "a bool", "a number", "a float",    "a string",  "a tuple",
                                         "a list", "a dict", "a mark",   "a function", "a storage", "a tensor"};

typedef struct value value;

// What a pickle may name. Storage classes carry a dtype; the functions are those of `call`.
typedef enum { STORAGE_CLASS, ORDERED_DICT, REBUILD_TENSOR, REBUILD_PARAMETER } function_kind;
typedef struct {
    const char *module, *name;
    function_kind kind;
    const char *dtype;
} function;
static const function functions[] = {
    {"torch._utils", "_rebuild_tensor_v2", REBUILD_TENSOR, NULL},
    {"torch._utils", "_rebuild_parameter", REBUILD_PARAMETER, NULL},
    {"collections", "OrderedDict", ORDERED_DICT, NULL},
    {"torch", "FloatStorage", STORAGE_CLASS, "F32"},
    {"torch", "BFloat16Storage", STORAGE_CLASS, "BF16"},
    {"torch", "HalfStorage", STORAGE_CLASS, "F16"},
    {"torch", "DoubleStorage", STORAGE_CLASS, "F64"},
    {"torch", "LongStorage", STORAGE_CLASS, "I64"},
    {"torch", "IntStorage", STORAGE_CLASS, "I32"},
    {"torch", "ShortStorage", STORAGE_CLASS, "I16"},
    {"torch", "CharStorage", STORAGE_CLASS, "I8"},
    {"torch", "ByteStorage", STORAGE_CLASS, "U8"},
    {"torch", "BoolStorage", STORAGE_CLASS, "BOOL"},
};

struct value {
    kind kind;
    union {
        int64_t number; // BOOL, INT
        struct {
            const char *at; // not terminated
            size_t size;
        } text;
        struct { // TUPLE, LIST; DICT: key, value, key, value, ...
            value **at;
            size_t count, room;
        } items;
        const function *function;
        drt_torch_storage *storage;
        drt_torch_tensor *tensor;
    };
};

typedef struct {
    const unsigned char *bytes;
    size_t size, at, begin; // `begin`: byte of the instruction that runs
    value **stack, **memo;
    size_t depth, stack_room, memo_room, remembered, steps;
    const char *file;
    drt_arena *arena;
    drt_error *err;
    drt_status status; // the first failure sticks: everything below does nothing or returns NULL after it
} machine;

static const char remedy[] = "pickles can run programs, so only plain dicts of tensors are read: load the file where "
                             "you trust it and save its state dict with safetensors";

// Both return NULL.
static value *stop(machine *m, const char *what) {
    if (!m->status) m->status = drt_fail(m->err, DRT_EFORMAT, "%s: data.pkl byte %zu: %s", m->file, m->begin, what);
    return NULL;
}

static value *no_memory(machine *m) {
    if (!m->status) m->status = drt_fail(m->err, DRT_ENOMEM, "%s: no memory for its pickle", m->file);
    return NULL;
}

// ---- bytes, stack, values ------------------------------------------------------------------------------------------

static const unsigned char *take(machine *m, uint64_t n) {
    if (m->status) return NULL;
    if (n > m->size - m->at) {
        stop(m, "the pickle is cut off; copy or download the file again");
        return NULL;
    }
    m->at += n;
    return m->bytes + m->at - n;
}

static uint64_t take_number(machine *m, int bytes) {
    const unsigned char *p = take(m, (uint64_t)bytes);
    uint64_t v = 0;
    for (int i = bytes - 1; p && i >= 0; i--) v = v << 8 | p[i];
    return v;
}

// Up to the end of the line, which is passed over.
static value *take_line(machine *m, value *into) {
    const unsigned char *from = m->bytes + m->at, *end = m->status ? NULL : memchr(from, '\n', m->size - m->at);
    if (!end) {
        take(m, UINT64_MAX);
        return NULL;
    }
    into->kind = TEXT;
    into->text.at = (const char *)from;
    into->text.size = (size_t)(end - from);
    m->at += into->text.size + 1;
    return into;
}

// Doubles an array of pointers in the arena: all arrays of a value together take at most twice what the last one does.
static bool reserve(machine *m, value ***at, size_t *room, size_t need) {
    if (need <= *room) return true;
    size_t grown = *room ? 2 * *room : 4;
    while (grown < need) grown *= 2;
    value **p = drt_arena_array(m->arena, (int64_t)grown, sizeof *p);
    if (!p) {
        no_memory(m);
        return false;
    }
    if (*room) memcpy(p, *at, *room * sizeof *p);
    memset(p + *room, 0, (grown - *room) * sizeof *p);
    *at = p;
    *room = grown;
    return true;
}

static value *make(machine *m, kind k) {
    value *v = m->status ? NULL : drt_arena_zalloc(m->arena, sizeof *v);
    if (v) v->kind = k;
    else no_memory(m);
    return v;
}

static void push(machine *m, value *v) {
    if (m->status || !v || !reserve(m, &m->stack, &m->stack_room, m->depth + 1)) return;
    m->stack[m->depth++] = v;
}

static void push_number(machine *m, kind k, int64_t n) {
    value *v = make(m, k);
    if (v) v->number = n;
    push(m, v);
}

static value *pop(machine *m) {
    if (m->status) return NULL;
    if (!m->depth) return stop(m, "the pickle takes more than it made");
    return m->stack[--m->depth];
}

static value *pop_kind(machine *m, kind k) {
    value *v = pop(m);
    if (!v || v->kind == k) return v;
    char text[100];
    snprintf(text, sizeof text, "%s stands where %s belongs", kind_names[v->kind], kind_names[k]);
    return stop(m, text);
}

// Everything above the last mark, which goes too. The items stay on the stack's array: *items is valid until a push.
static size_t pop_to_mark(machine *m, value ***items) {
    size_t top = m->depth, at = top;
    while (!m->status && at && m->stack[at - 1]->kind != MARK) at--;
    if (!m->status && !at) stop(m, "the pickle takes more than it made");
    if (m->status) return 0;
    *items = m->stack + at;
    m->depth = at - 1;
    return top - at;
}

static void append(machine *m, value *list, value **items, size_t n) {
    if (m->status || !reserve(m, &list->items.at, &list->items.room, list->items.count + n)) return;
    if (n) memcpy(list->items.at + list->items.count, items, n * sizeof *items);
    list->items.count += n;
}

static void push_items(machine *m, kind k, value **items, size_t n) {
    value *v = make(m, k);
    if (!v) return;
    if (k == DICT && n % 2) {
        stop(m, "a dict has a key without a value");
        return;
    }
    append(m, v, items, n);
    push(m, v);
}

// Adds items to the list or dict below them.
static void add_items(machine *m, kind k, value **items, size_t n) {
    value *v = pop_kind(m, k);
    if (!v) return;
    if (k == DICT && n % 2) {
        stop(m, "a dict gets a key without a value");
        return;
    }
    append(m, v, items, n); // before the push, which may write over the items
    push(m, v);
}

static void push_text(machine *m, uint64_t n) {
    const unsigned char *p = take(m, n);
    value *v = make(m, TEXT);
    if (!v) return;
    v->text.at = (const char *)p;
    v->text.size = (size_t)n;
    push(m, v);
}

static void remember(machine *m, uint64_t at) {
    if (m->status) return;
    if (!m->depth) {
        stop(m, "nothing is there to be remembered");
        return;
    }
    // A pickle numbers what it remembers from 0: a larger number is no honest one, and would take memory.
    if (at > m->steps) {
        stop(m, "a memo number without reason");
        return;
    }
    if (!reserve(m, &m->memo, &m->memo_room, (size_t)at + 1)) return;
    m->remembered += !m->memo[at];
    m->memo[at] = m->stack[m->depth - 1];
}

static void recall(machine *m, uint64_t at) {
    if (m->status) return;
    if (at >= m->memo_room || !m->memo[at]) {
        stop(m, "the pickle recalls what it never made");
        return;
    }
    push(m, m->memo[at]);
}

// ---- functions -----------------------------------------------------------------------------------------------------

static bool same(const value *v, const char *word) {
    return v->text.size == strlen(word) && !memcmp(v->text.at, word, v->text.size);
}

static void push_function(machine *m, const value *module, const value *name) {
    if (!module || !name || m->status) return;
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (same(module, functions[i].module) && same(name, functions[i].name)) {
            value *v = make(m, FUNCTION);
            if (v) v->function = &functions[i];
            push(m, v);
            return;
        }
    m->status = drt_fail(m->err, DRT_EFORMAT, "%s: data.pkl byte %zu: wants '%.*s.%.*s'; %s", m->file, m->begin,
                         (int)(module->text.size < 100 ? module->text.size : 100), module->text.at,
                         (int)(name->text.size < 100 ? name->text.size : 100), name->text.at, remedy);
}

// A terminated copy in the arena; a text with a zero inside is refused.
static const char *copy_text(machine *m, const value *v) {
    char *s = drt_arena_alloc(m->arena, v->text.size + 1);
    if (!s) {
        no_memory(m);
        return NULL;
    }
    memcpy(s, v->text.at, v->text.size);
    s[v->text.size] = 0;
    if (strlen(s) != v->text.size) stop(m, "a name holds a zero byte");
    return s;
}

// ('storage', class, key, location, number of elements)
static void push_storage(machine *m) {
    value *id = pop_kind(m, TUPLE);
    if (!id) return;
    value **a = id->items.at;
    if (id->items.count != 5 || a[0]->kind != TEXT || !same(a[0], "storage") || a[1]->kind != FUNCTION ||
        a[1]->function->kind != STORAGE_CLASS || a[2]->kind != TEXT || a[4]->kind != INT || a[4]->number < 0) {
        stop(m, "a persistent id that is no torch storage");
        return;
    }
    value *v = make(m, STORAGE);
    drt_torch_storage *s = drt_arena_zalloc(m->arena, sizeof *s);
    if (!v || !s) {
        no_memory(m);
        return;
    }
    *s = (drt_torch_storage){copy_text(m, a[2]), a[1]->function->dtype, a[4]->number};
    v->storage = s;
    push(m, v);
}

static bool whole_numbers(const value *v, int64_t *out) {
    if (v->kind != TUPLE || v->items.count > DRT_WEIGHT_DIMS) return false;
    for (size_t i = 0; i < v->items.count; i++) {
        if (v->items.at[i]->kind != INT || v->items.at[i]->number < 0) return false;
        out[i] = v->items.at[i]->number;
    }
    return true;
}

// Whether every element lies in the storage, and there are no more elements than the storage has.
static bool inside(const drt_torch_tensor *t) {
    int64_t n = 1, last = t->offset, step;
    for (int d = 0; d < t->ndim; d++)
        if (__builtin_mul_overflow(n, t->shape[d], &n)) return false;
    for (int d = 0; n && d < t->ndim; d++)
        if (__builtin_mul_overflow(t->shape[d] - 1, t->stride[d], &step) || __builtin_add_overflow(last, step, &last))
            return false;
    return n ? n <= t->storage->count && last < t->storage->count : t->offset <= t->storage->count;
}

// _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[, metadata])
static value *rebuild_tensor(machine *m, const value *args) {
    value **a = args->items.at, *v = make(m, TENSOR);
    drt_torch_tensor *t = drt_arena_zalloc(m->arena, sizeof *t);
    if (!v || !t) return no_memory(m);
    if (args->items.count < 6 || args->items.count > 7 || a[0]->kind != STORAGE || a[1]->kind != INT ||
        a[1]->number < 0 || !whole_numbers(a[2], t->shape) || !whole_numbers(a[3], t->stride) ||
        a[2]->items.count != a[3]->items.count)
        return stop(m, "_rebuild_tensor_v2 is called with arguments that describe no tensor");
    t->storage = a[0]->storage;
    t->offset = a[1]->number;
    t->ndim = (int)a[2]->items.count;
    if (!inside(t))
        return stop(m, "a tensor reaches beyond its storage, or repeats elements of it (save it .contiguous())");
    v->tensor = t;
    return v;
}

static value *call(machine *m, const function *f, const value *args) {
    size_t n = args->items.count;
    if (f->kind == REBUILD_TENSOR) return rebuild_tensor(m, args);
    if (f->kind == ORDERED_DICT && !n) return make(m, DICT);
    // _rebuild_parameter(tensor, requires_grad, hooks)
    if (f->kind == REBUILD_PARAMETER && n && args->items.at[0]->kind == TENSOR) return args->items.at[0];
    char text[160];
    snprintf(text, sizeof text, "%s is called with arguments that it does not take in a state dict", f->name);
    return stop(m, text);
}

static void reduce(machine *m) {
    const value *args = pop_kind(m, TUPLE), *f = pop_kind(m, FUNCTION);
    if (args && f) push(m, call(m, f->function, args));
}

// Little-endian two's complement of n bytes.
static void push_long(machine *m, uint64_t n) {
    const unsigned char *p = take(m, n);
    uint64_t v = p && n && p[n - 1] & 0x80 ? UINT64_MAX : 0;
    if (n > 8) {
        stop(m, "a number of more than 63 bits");
        return;
    }
    for (uint64_t i = n; p && i-- > 0;) v = v << 8 | p[i];
    push_number(m, INT, (int64_t)v);
}

// ---- the instructions ----------------------------------------------------------------------------------------------

static void run_items(machine *m, int op) {
    value **items, *top;
    size_t n;
    switch (op) {
    case 't': n = pop_to_mark(m, &items), push_items(m, TUPLE, items, n); break;
    case 'l': n = pop_to_mark(m, &items), push_items(m, LIST, items, n); break;
    case 'd': n = pop_to_mark(m, &items), push_items(m, DICT, items, n); break;
    case 'e': n = pop_to_mark(m, &items), add_items(m, LIST, items, n); break;
    case 'u': n = pop_to_mark(m, &items), add_items(m, DICT, items, n); break;
    case '1': pop_to_mark(m, &items); break;
    case 'a':
        if ((top = pop(m))) add_items(m, LIST, &top, 1);
        break;
    default: // TUPLE1, TUPLE2, TUPLE3, SETITEM
        n = op == 's' ? 2 : (size_t)(op - 0x84);
        if (m->depth < n) {
            stop(m, "the pickle takes more than it made");
            return;
        }
        m->depth -= n;
        items = m->stack + m->depth;
        if (op == 's') add_items(m, DICT, items, n);
        else push_items(m, TUPLE, items, n);
    }
}

static void run_function(machine *m, int op) {
    value a, b;
    const value *name, *module;
    switch (op) {
    case 'c': module = take_line(m, &a), name = take_line(m, &b), push_function(m, module, name); break;
    case 0x93: name = pop_kind(m, TEXT), module = pop_kind(m, TEXT), push_function(m, module, name); break;
    case 'R': reduce(m); break;
    case 'b': // a state dict's own attributes (_metadata): the dict stays as it is
        pop(m);
        push(m, pop_kind(m, DICT));
        break;
    default: push_storage(m);
    }
}

static void unknown(machine *m, int op) {
    char text[400];
    snprintf(text, sizeof text, "the instruction 0x%02x ('%c') builds no dict of tensors; %s", (unsigned)op,
             op > 32 && op < 127 ? op : '?', remedy);
    stop(m, text);
}

static void run_one(machine *m, int op) {
    switch (op) {
    case 0x80: // PROTO
        if (take_number(m, 1) > 5) stop(m, "a pickle of a protocol beyond 5");
        break;
    case 0x95: take_number(m, 8); break; // FRAME: the length of what follows
    case '(': push(m, make(m, MARK)); break;
    case '0': pop(m); break;
    case '2': // DUP
        if (m->depth) push(m, m->stack[m->depth - 1]);
        else pop(m);
        break;
    case 'N': push(m, make(m, NONE)); break;
    case 0x88: push_number(m, BOOL, 1); break;
    case 0x89: push_number(m, BOOL, 0); break;
    case 'J': push_number(m, INT, (int32_t)take_number(m, 4)); break;
    case 'K': push_number(m, INT, (int64_t)take_number(m, 1)); break;
    case 'M': push_number(m, INT, (int64_t)take_number(m, 2)); break;
    case 0x8a: push_long(m, take_number(m, 1)); break;
    case 'G': take(m, 8), push(m, make(m, FLOAT)); break;
    case 0x8c: push_text(m, take_number(m, 1)); break;
    case 'X': push_text(m, take_number(m, 4)); break;
    case 0x8d: push_text(m, take_number(m, 8)); break;
    case ')': push(m, make(m, TUPLE)); break;
    case ']': push(m, make(m, LIST)); break;
    case '}': push(m, make(m, DICT)); break;
    case 'q': remember(m, take_number(m, 1)); break;
    case 'r': remember(m, take_number(m, 4)); break;
    case 0x94: remember(m, m->remembered); break; // MEMOIZE
    case 'h': recall(m, take_number(m, 1)); break;
    case 'j': recall(m, take_number(m, 4)); break;
    case 't':
    case 'l':
    case 'd':
    case 'e':
    case 'u':
    case '1':
    case 'a':
    case 's':
    case 0x85:
    case 0x86:
    case 0x87: run_items(m, op); break;
    case 'c':
    case 0x93:
    case 'R':
    case 'b':
    case 'Q': run_function(m, op); break;
    default: unknown(m, op);
    }
}

static void collect(machine *m, drt_torch_tensor **out, size_t *count) {
    value *top = pop_kind(m, DICT);
    if (!top) return;
    size_t n = top->items.count / 2;
    const value *inner = NULL;
    *out = drt_arena_array(m->arena, (int64_t)n + 1, sizeof **out);
    if (!*out) {
        no_memory(m);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const value *name = top->items.at[2 * i], *v = top->items.at[2 * i + 1];
        if (name->kind == TEXT && v->kind == DICT && !inner) inner = name;
        if (v->kind != TENSOR) continue;
        if (name->kind != TEXT) {
            stop(m, "a tensor's name is no string");
            return;
        }
        (*out)[*count] = *v->tensor;
        (*out)[(*count)++].name = copy_text(m, name);
        if (m->status) return;
    }
    if (!*count && inner && !m->status)
        m->status = drt_fail(m->err, DRT_EFORMAT,
                             "%s: holds no tensors but a dict '%.*s'; save that dict alone as pytorch_model.bin",
                             m->file, (int)(inner->text.size < 100 ? inner->text.size : 100), inner->text.at);
}

drt_status drt_torch_pickle_read(drt_torch_tensor **out, size_t *count, const unsigned char *bytes, size_t size,
                                 const char *file, drt_arena *arena, drt_error *err) {
    machine m = {.bytes = bytes, .size = size, .file = file, .arena = arena, .err = err};
    *out = NULL;
    *count = 0;
    for (;;) {
        m.begin = m.at;
        const unsigned char *op = take(&m, 1);
        if (!op || *op == '.') break;
        run_one(&m, *op);
        m.steps++;
    }
    if (!m.status) collect(&m, out, count);
    return m.status;
}
