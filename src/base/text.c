#include "base/text.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool reserve(drt_text *t, size_t more) {
    if (t->failed) return false;
    if (more > SIZE_MAX / 4 - t->size) return !(t->failed = true);
    size_t need = t->size + more + 1;
    if (need <= t->room) return true;
    size_t room = t->room ? t->room : 64;
    while (room < need) room *= 2;
    char *p = realloc(t->bytes, room);
    if (!p) return !(t->failed = true);
    t->bytes = p;
    t->room = room;
    return true;
}

void drt_text_add(drt_text *t, const void *bytes, size_t n) {
    if (!reserve(t, n)) return;
    if (n) memcpy(t->bytes + t->size, bytes, n);
    t->size += n;
    t->bytes[t->size] = 0;
}

void drt_text_puts(drt_text *t, const char *s) { drt_text_add(t, s, strlen(s)); }

void drt_text_printf(drt_text *t, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0) t->failed = true;
    else if (reserve(t, (size_t)n)) {
        vsnprintf(t->bytes + t->size, (size_t)n + 1, format, again);
        t->size += (size_t)n;
    }
    va_end(again);
}

int drt_utf8(const char *text, const char *end) {
    const unsigned char *p = (const unsigned char *)text;
    int64_t left = end - text;
    unsigned c = p[0];
    int n = c < 0x80 ? 1 : c < 0xC2 ? 0 : c <= 0xDF ? 2 : c <= 0xEF ? 3 : c <= 0xF4 ? 4 : 0;
    if (left < n) return 0;
    for (int i = 1; i < n; i++)
        if ((p[i] & 0xC0) != 0x80) return 0;
    bool bad = (c == 0xE0 && p[1] < 0xA0) || (c == 0xED && p[1] > 0x9F) || (c == 0xF0 && p[1] < 0x90) ||
               (c == 0xF4 && p[1] > 0x8F);
    return bad ? 0 : n;
}

bool drt_is_utf8(const char *s) {
    const char *end = s + strlen(s);
    for (int n; s < end; s += n)
        if (!(n = drt_utf8(s, end))) return false;
    return true;
}

void drt_text_json(drt_text *t, const char *s) {
    drt_text_add(t, "\"", 1);
    const char *end = s + strlen(s);
    for (int n; s < end; s += n ? n : 1) {
        unsigned char c = (unsigned char)*s;
        n = drt_utf8(s, end);
        if (c == '"' || c == '\\') drt_text_printf(t, "\\%c", c);
        else if (c == '\n') drt_text_add(t, "\\n", 2);
        else if (c < 0x20 || c == 0x7f) drt_text_printf(t, "\\u%04x", c);
        else if (n) drt_text_add(t, s, (size_t)n);
        else drt_text_puts(t, "\xEF\xBF\xBD");
    }
    drt_text_add(t, "\"", 1);
}

void drt_text_html(drt_text *t, const char *s) {
    for (; *s; s++) {
        switch (*s) {
        case '&': drt_text_puts(t, "&amp;"); break;
        case '<': drt_text_puts(t, "&lt;"); break;
        case '>': drt_text_puts(t, "&gt;"); break;
        case '"': drt_text_puts(t, "&quot;"); break;
        case '\'': drt_text_puts(t, "&#39;"); break;
        default: drt_text_add(t, s, 1);
        }
    }
}

void drt_text_plain(drt_text *t, const char *s) {
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s, next = (unsigned char)s[1];
        if (c == '\n') drt_text_puts(t, "\xE2\x86\xB5"); // ↵
        else if (c < 0x20 || c == 0x7F) drt_text_puts(t, "\xC2\xB7");
        else if (c == 0xC2 && next >= 0x80 && next < 0xA0) drt_text_puts(t, "\xC2\xB7"), s++;
        else drt_text_add(t, s, 1);
    }
}

void drt_text_base64(drt_text *t, const void *bytes, size_t n) {
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *p = bytes;
    for (size_t i = 0; i < n; i += 3) {
        unsigned v = (unsigned)p[i] << 16 | (i + 1 < n ? (unsigned)p[i + 1] << 8 : 0) | (i + 2 < n ? p[i + 2] : 0);
        char out[4] = {digit[v >> 18], digit[v >> 12 & 63], i + 1 < n ? digit[v >> 6 & 63] : '=',
                       i + 2 < n ? digit[v & 63] : '='};
        drt_text_add(t, out, 4);
    }
}

void drt_text_free(drt_text *t) {
    free(t->bytes);
    memset(t, 0, sizeof *t);
}

int drt_edit_distance(const char *a, const char *b) {
    enum { MOST = 64 };
    int n = (int)strlen(a), m = (int)strlen(b), d[3][MOST + 1];
    if (n > MOST || m > MOST) return MOST;
    for (int j = 0; j <= m; j++) d[0][j] = j;
    for (int i = 1; i <= n; i++) {
        int *now = d[i % 3], *last = d[(i + 2) % 3], *before = d[(i + 1) % 3];
        now[0] = i;
        for (int j = 1; j <= m; j++) {
            int best = last[j - 1] + (a[i - 1] != b[j - 1]);
            if (last[j] + 1 < best) best = last[j] + 1;
            if (now[j - 1] + 1 < best) best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            now[j] = best;
        }
    }
    return d[n % 3][m];
}

int drt_place_of(const char *word, const char *const *words, int n) {
    int i = 0;
    while (i < n && strcmp(words[i], word)) i++;
    return i;
}

const char *drt_nearest(const char *word, const char *const *words, int n) {
    int most = (int)strlen(word) / 2 + 1, best = most + 1;
    const char *found = NULL;
    for (int i = 0; i < n; i++) {
        bool begun = *word && !strncmp(word, words[i], strlen(word)); // "--temp" of "--temperature"
        int d = begun ? 0 : drt_edit_distance(word, words[i]);
        if (d < best) best = d, found = words[i];
    }
    return best <= most ? found : NULL;
}
