// What a character is, as HF tokenizers sees it. Its tables for normal forms are those of Unicode 9 and for punctuation
// those of Unicode 8; utf8proc knows newer characters, which are listed here and treated as unknown, so that the same
// text has the same ids.
#include "format/tokenizer_internal.h"

#include <string.h>
#include <utf8proc.h>

typedef struct {
    int32_t from, to;
} range;

// Characters after Unicode 9 that decompose or have a combining class (up to Unicode 15).
static const range new_in_normal_forms[] = {
    {0x7fd, 0x7fd},     {0x898, 0x89f},     {0x8ca, 0x8d3},     {0x9fe, 0x9fe},     {0xc3c, 0xc3c},
    {0xd3b, 0xd3c},     {0xeba, 0xeba},     {0x1715, 0x1715},   {0x1abf, 0x1ace},   {0x1df6, 0x1dfa},
    {0x32ff, 0x32ff},   {0xa7f2, 0xa7f4},   {0xa82c, 0xa82c},   {0xab69, 0xab69},   {0x10781, 0x10785},
    {0x10787, 0x107b0}, {0x107b2, 0x107ba}, {0x10d24, 0x10d27}, {0x10eab, 0x10eac}, {0x10efd, 0x10eff},
    {0x10f46, 0x10f50}, {0x10f82, 0x10f85}, {0x11070, 0x11070}, {0x1133b, 0x1133b}, {0x1145e, 0x1145e},
    {0x11839, 0x1183a}, {0x11930, 0x11930}, {0x11938, 0x11938}, {0x1193d, 0x1193e}, {0x11943, 0x11943},
    {0x119e0, 0x119e0}, {0x11a34, 0x11a34}, {0x11a47, 0x11a47}, {0x11a99, 0x11a99}, {0x11d42, 0x11d42},
    {0x11d44, 0x11d45}, {0x11d97, 0x11d97}, {0x11f41, 0x11f42}, {0x16ff0, 0x16ff1}, {0x1e030, 0x1e06d},
    {0x1e08f, 0x1e08f}, {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae}, {0x1e2ec, 0x1e2ef}, {0x1e4ec, 0x1e4ef},
    {0x1f16c, 0x1f16c}, {0x1fbf0, 0x1fbf9}};

// Punctuation after Unicode 8 (up to Unicode 15).
static const range new_punctuation[] = {{0x61d, 0x61d},     {0x9fd, 0x9fd},     {0xa76, 0xa76},     {0xc77, 0xc77},
                                        {0xc84, 0xc84},     {0x1b7d, 0x1b7e},   {0x2e43, 0x2e4f},   {0x2e52, 0x2e5d},
                                        {0x10ead, 0x10ead}, {0x10f55, 0x10f59}, {0x10f86, 0x10f89}, {0x1144b, 0x1144f},
                                        {0x1145a, 0x1145b}, {0x1145d, 0x1145d}, {0x11660, 0x1166c}, {0x116b9, 0x116b9},
                                        {0x1183b, 0x1183b}, {0x11944, 0x11946}, {0x119e2, 0x119e2}, {0x11a3f, 0x11a46},
                                        {0x11a9a, 0x11a9c}, {0x11a9e, 0x11aa2}, {0x11b00, 0x11b09}, {0x11c41, 0x11c45},
                                        {0x11c70, 0x11c71}, {0x11ef7, 0x11ef8}, {0x11f43, 0x11f4f}, {0x11fff, 0x11fff},
                                        {0x12ff1, 0x12ff2}, {0x16e97, 0x16e9a}, {0x16fe2, 0x16fe2}, {0x1e95e, 0x1e95f}};

static bool listed(const range *r, int n, int32_t c) {
    int low = 0;
    while (low < n) {
        int middle = (low + n) / 2;
        if (c > r[middle].to) low = middle + 1;
        else if (c < r[middle].from) n = middle;
        else return true;
    }
    return false;
}

static bool is_new(int32_t c) {
    if (c < 0x7fd || (c >= 0x3300 && c < 0xa7f2) || (c >= 0xac00 && c < 0x10781)) return false; // CJK, Hangul
    return listed(new_in_normal_forms, sizeof new_in_normal_forms / sizeof *new_in_normal_forms, c);
}

// Most characters are looked up once here and spared what follows.
static bool decomposes(int32_t c) {
    bool hangul = c >= 0xac00 && c <= 0xd7a3;
    return hangul || (utf8proc_get_property(c)->decomp_seqindex != UINT16_MAX && !is_new(c));
}

int drt_tok_decompose(int32_t c, bool compatible, int32_t out[DRT_TOK_PARTS]) {
    int unused = 0, options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compatible ? UTF8PROC_COMPAT : 0), n = 0;
    if (decomposes(c)) n = (int)utf8proc_decompose_char(c, out, DRT_TOK_PARTS, options, &unused);
    if (n > 0 && n <= DRT_TOK_PARTS) return n;
    out[0] = c;
    return 1;
}

int drt_tok_combining_class(int32_t c) { return is_new(c) ? 0 : utf8proc_get_property(c)->combining_class; }

bool drt_tok_may_combine(int32_t c, bool compatible) {
    int32_t parts[DRT_TOK_PARTS];
    if (c < 0x300 || is_new(c)) return false;
    drt_tok_decompose(c, compatible, parts);
    utf8proc_category_t k = utf8proc_category(c = parts[0]);
    return k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_MC || k == UTF8PROC_CATEGORY_ME ||
           (c >= 0x1160 && c <= 0x11ff) || (c >= 0xd7b0 && c <= 0xd7ff);
}

bool drt_tok_is_space(int32_t c) { // Unicode's White_Space
    return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) ||
           c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool drt_tok_is_number(int32_t c) {
    utf8proc_category_t k = utf8proc_category(c);
    return k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
}

bool drt_tok_is_punctuation(int32_t c) {
    if (c < 0x80) return c && strchr("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", c);
    if (c == 0x166d || c == 0x111c9) return true; // no longer, since Unicode 12 and 11
    utf8proc_category_t k = utf8proc_category(c);
    return k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO &&
           !listed(new_punctuation, sizeof new_punctuation / sizeof *new_punctuation, c);
}

bool drt_tok_is_word(int32_t c) {
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    default: // the joiners, and symbols that are Alphabetic all the same
        return c == 0x200c || c == 0x200d || (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) ||
               (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189);
    }
}
