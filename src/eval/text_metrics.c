#include "eval/text_metrics.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

// Reads one character; an invalid byte is returned as a character of its own with *code = -1. Returns its length.
static int next_character(const char *s, utf8proc_int32_t *code) {
    utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)s, -1, code);
    if (n > 0) return (int)n;
    *code = -1;
    return 1;
}

// What Python's str.split() and strip() take for white space.
static bool is_space(utf8proc_int32_t c) {
    if (c < 0) return false;
    if (c < 0x80) return (c >= 9 && c <= 13) || (c >= 28 && c <= 32);
    utf8proc_category_t k = utf8proc_category(c);
    return c == 0x85 || k == UTF8PROC_CATEGORY_ZS || k == UTF8PROC_CATEGORY_ZL || k == UTF8PROC_CATEGORY_ZP;
}

static bool is_digit(const char *s) {
    utf8proc_int32_t c;
    next_character(s, &c);
    return c >= 0 && utf8proc_category(c) == UTF8PROC_CATEGORY_ND;
}

static char *lower(const char *s) {
    drt_text out = {0};
    drt_text_puts(&out, "");
    while (*s) {
        utf8proc_int32_t c;
        utf8proc_uint8_t bytes[4];
        int n = next_character(s, &c);
        if (c < 0) drt_text_add(&out, s, 1);
        else drt_text_add(&out, bytes, (size_t)utf8proc_encode_char(utf8proc_tolower(c), bytes));
        s += n;
    }
    if (!out.failed) return out.bytes;
    drt_text_free(&out);
    return NULL;
}

// Cuts white space off both ends, in place.
static void strip(char *s) {
    utf8proc_int32_t c;
    char *from = s, *end = s;
    int n;
    while (*from && (n = next_character(from, &c), is_space(c))) from += n;
    for (char *p = from; *p; p += n) {
        n = next_character(p, &c);
        if (!is_space(c)) end = p + n;
    }
    n = end > from ? (int)(end - from) : 0;
    memmove(s, from, (size_t)n);
    s[n] = 0;
}

static void flatten_lines(char *s) {
    for (; *s; s++)
        if (*s == '\n' || *s == '\t') *s = ' ';
}

// Step 1 of TextVQA: lower-case, no commas and question marks, "'s" on its own.
static char *textvqa_word_forms(const char *answer) {
    char *small = lower(answer);
    drt_text out = {0};
    drt_text_puts(&out, "");
    for (const char *p = small; p && *p; p++) {
        if (*p == ',' || *p == '?') continue;
        // The comma is deleted before 's is looked for, so "',s" counts as well.
        const char *next = p + 1;
        while (*next == ',' || *next == '?') next++;
        if (*p == '\'' && *next == 's') drt_text_puts(&out, " ");
        drt_text_add(&out, p, 1);
    }
    free(small);
    if (!out.failed) return out.bytes;
    drt_text_free(&out);
    return NULL;
}

// Steps 2 and 3. Whether a sign vanishes or becomes a space is decided on the whole string as it came in.
static void settle_punctuation(char *s) {
    static const char signs[] = ";/[]\"{}()=+\\_-><@`,?!";
    bool vanish[sizeof signs - 1] = {false}, all = false;
    for (char *p = s; *p; p++) {
        all |= p > s && *p == ',' && p[-1] >= '0' && p[-1] <= '9' && is_digit(p + 1);
        char *sign = strchr(signs, *p);
        if (sign && (p[1] == ' ' || (p > s && p[-1] == ' '))) vanish[sign - signs] = true;
    }
    char *to = s;
    for (char *p = s; *p; p++) {
        char *sign = strchr(signs, *p);
        if (!sign) *to++ = *p;
        else if (!all && !vanish[sign - signs]) *to++ = ' ';
    }
    *to = 0;
    to = s;
    int deleted = 0;
    for (char *p = s; *p; p++) {
        if (*p == '.' && deleted < 32 && !is_digit(p + 1)) deleted++;
        else *to++ = *p;
    }
    *to = 0;
}

// Contractions that are found without their apostrophes.
static const char *const single[] = {
    "ain't", "aren't", "can't", "could've", "couldn't", "didn't", "doesn't", "don't", "hadn't", "hasn't", "haven't",
    "he'd", "he's", "how'd", "how'll", "how's", "I'm", "I've", "isn't", "it'd", "it'll", "ma'am", "mightn't",
    "might've", "mustn't", "must've", "needn't", "not've", "o'clock", "oughtn't", "shan't", "should've", "shouldn't",
    "somebody'll", "somebody's", "someone'd", "someone'll", "someone's", "something'd", "something'll", "that's",
    "there'd", "there're", "there's", "they'd", "they'll", "they're", "they've", "'twas", "wasn't", "we've", "weren't",
    "what'll", "what're", "what's", "what've", "when's", "where'd", "where's", "where've", "who'd", "who'll", "who's",
    "who've", "why'll", "why're", "why's", "won't", "would've", "wouldn't", "y'all", "you'd", "you'll", "you're",
    "you've"};
// Found with exactly one of their two apostrophes.
static const char *const twice[] = {
    "couldn't've", "hadn't've", "he'd've", "I'd've", "it'd've", "mightn't've", "she'd've", "shouldn't've",
    "somebody'd've", "someone'd've", "something'd've", "there'd've", "they'd've", "we'd've", "who'd've", "wouldn't've",
    "you'd've"};
static const char *const special[][2] = {
    {"let's", "let's"}, {"she's", "she's"}, {"ow's'at", "'ow's'at"}, {"'ows'at", "'ow's'at"}, {"'ow'sat", "'ow's'at"},
    {"somebody'd", "somebodyd"}, {"yall'll", "y'all'll"}, {"y'allll", "y'all'll"}, {"yall'd've", "y'all'd've"},
    {"y'alld've", "y'all'd've"}, {"y'all'dve", "y'all'd've"}};
_Static_assert(sizeof single / sizeof *single == 75 && sizeof twice / sizeof *twice == 17, "as in the evaluator");

// Whether `word` is `full` without its apostrophe number `which` (-1: without all of them).
static bool lacks(const char *word, const char *full, int which) {
    int at = 0;
    for (; *full; full++) {
        if (*full == '\'' && (which < 0 || at++ == which)) continue;
        if (*word++ != *full) return false;
    }
    return !*word;
}

static const char *contraction(const char *word) {
    for (size_t i = 0; i < sizeof single / sizeof *single; i++)
        if (lacks(word, single[i], -1)) return single[i];
    for (size_t i = 0; i < sizeof twice / sizeof *twice; i++)
        if (lacks(word, twice[i], 0) || lacks(word, twice[i], 1)) return twice[i];
    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
        if (!strcmp(word, special[i][0])) return special[i][1];
    return word;
}

// Step 4: numbers become digits, articles go, contractions get their apostrophes back.
static void settle_words(drt_text *out, char *s) {
    static const char *const numbers[] = {"zero", "one", "two", "three", "four", "five",
                                          "six",  "seven", "eight", "nine", "ten", "none"};
    static const char *const digits[] = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "0"};
    bool first = true;
    while (*s) {
        utf8proc_int32_t c;
        int n;
        while (*s && (n = next_character(s, &c), is_space(c))) s += n;
        char *start = s;
        while (*s && (n = next_character(s, &c), !is_space(c))) s += n;
        if (s == start) break;
        bool end = !*s;
        *s = 0;
        const char *word = start;
        for (int i = 0; i < 12; i++)
            if (!strcmp(word, numbers[i])) word = digits[i];
        if (strcmp(word, "a") && strcmp(word, "an") && strcmp(word, "the")) {
            if (!first) drt_text_puts(out, " ");
            drt_text_puts(out, contraction(word));
            first = false;
        }
        if (end) break;
        s += n;
    }
}

void drt_answer_normalise(drt_text *out, const char *answer, drt_answer_rules rules) {
    char *s = rules == DRT_ANSWER_TEXTVQA ? textvqa_word_forms(answer) : strdup(answer), *small = NULL;
    drt_text_puts(out, "");
    if (s && rules != DRT_ANSWER_VQA_REFERENCE) {
        strip(s);
        flatten_lines(s);
        strip(s);
    }
    if (s) settle_punctuation(s);
    if (s && rules == DRT_ANSWER_VQA_REFERENCE) drt_text_puts(out, s);
    else if (s && (small = lower(s))) settle_words(out, small);
    else out->failed = true;
    free(s);
    free(small);
}

bool drt_answer_matches(const char *prediction, const char *reference) {
    drt_text a = {0}, b = {0};
    drt_answer_normalise(&a, prediction, DRT_ANSWER_TEXTVQA);
    drt_answer_normalise(&b, reference, DRT_ANSWER_TEXTVQA);
    bool same = !a.failed && !b.failed && !strcmp(a.bytes, b.bytes);
    drt_text_free(&a);
    drt_text_free(&b);
    return same;
}
