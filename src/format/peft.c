#include "format/peft.h"

#include "base/file.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fnmatch.h>
#include <jansson.h>
#include <math.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

float drt_lora_scale(const drt_lora *l) { return (float)(l->alpha / (l->root ? sqrt(l->rank) : (double)l->rank)); }

// Absent, null, false, empty.
static bool is_nothing(const json_t *v) {
    return !v || json_is_null(v) || json_is_false(v) || (json_is_object(v) && !json_object_size(v)) ||
           (json_is_array(v) && !json_array_size(v));
}

static drt_status read_object(drt_lora *l, const json_t *o, const char *path, drt_error *err) {
    // What would compute something else than A and B beside a weight.
    static const char *const refused[] = {
        "use_dora",   "fan_in_fan_out",    "rank_pattern",     "alpha_pattern",           "layer_replication",
        "use_qalora", "target_parameters", "lora_bias",        "alora_invocation_tokens", "trainable_token_indices",
        "use_bdlora", "kasa_config",       "monteclora_config"};
    const json_t *r = json_object_get(o, "r"), *alpha = json_object_get(o, "lora_alpha"),
                 *drop = json_object_get(o, "lora_dropout");
    const char *kind = json_string_value(json_object_get(o, "peft_type")),
               *bias = json_string_value(json_object_get(o, "bias"));
    if (!kind || strcmp(kind, "LORA"))
        return drt_fail(err, DRT_ECONFIG, "%s: peft_type is %s; only LORA is supported", path, kind ? kind : "missing");
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (!is_nothing(json_object_get(o, refused[i])))
            return drt_fail(err, DRT_ECONFIG, "%s: %s is set, which is not supported; merge it with peft first", path,
                            refused[i]);
    if (bias && strcmp(bias, "none"))
        return drt_fail(err, DRT_ECONFIG, "%s: bias is '%s'; only adapters without biases are supported", path, bias);
    if (!json_is_integer(r) || json_integer_value(r) < 1 || json_integer_value(r) > 1 << 20)
        return drt_fail(err, DRT_ECONFIG,
                        "%s: r, the rank, is not a whole number of 1 or more: there is no adapter of rank %lld", path,
                        (long long)json_integer_value(r));
    double rate = drop ? json_number_value(drop) : 0;
    if (!json_is_number(alpha) || !isfinite(json_number_value(alpha)) || !(rate >= 0 && rate < 1))
        return drt_fail(err, DRT_ECONFIG, "%s: lora_alpha must be a number, lora_dropout one from 0 to below 1", path);
    *l = (drt_lora){.rank = (int)json_integer_value(r),
                    .alpha = json_number_value(alpha),
                    .dropout = rate,
                    .root = json_is_true(json_object_get(o, "use_rslora"))};
    return DRT_OK;
}

drt_status drt_peft_read(drt_lora *out, char **base, const char *folder, drt_error *err) {
    enum { MOST = 1 << 24 };
    char *path = drt_path_join(folder, "adapter_config.json"), *bytes = NULL;
    size_t size = 0;
    json_error_t at;
    *base = NULL;
    if (!path) return drt_fail(err, DRT_ENOMEM, "no memory");
    drt_status status = drt_file_read(&bytes, &size, path, MOST, err);
    json_t *o = status ? NULL : json_loadb(bytes, size, JSON_REJECT_DUPLICATES, &at);
    if (!status && !json_is_object(o))
        status = drt_fail(err, DRT_EFORMAT, "%s: line %d: %s", path, o ? 1 : at.line, o ? "not an object" : at.text);
    if (!status) status = read_object(out, o, path, err);
    const char *name = json_string_value(json_object_get(o, "base_model_name_or_path"));
    if (!status && name && *name && !(*base = strdup(name))) status = drt_fail(err, DRT_ENOMEM, "no memory");
    json_decref(o);
    free(bytes);
    free(path);
    return status;
}

void drt_peft_write(const drt_lora *l, const char *const *modules, int n, const char *saved, const char *base,
                    bool causal, drt_text *out) {
    drt_text_puts(out, "{\n  \"peft_type\": \"LORA\",\n  \"base_model_name_or_path\": ");
    drt_text_json(out, base);
    drt_text_printf(out,
                    ",\n  \"task_type\": %s,\n  \"r\": %d,\n  \"lora_alpha\": %.17g,\n  \"lora_dropout\": %.17g,\n"
                    "  \"use_rslora\": %s,\n  \"bias\": \"none\",\n  \"fan_in_fan_out\": false,\n"
                    "  \"inference_mode\": true,\n  \"modules_to_save\": ",
                    causal ? "\"CAUSAL_LM\"" : "null", l->rank, l->alpha, l->dropout, l->root ? "true" : "false");
    drt_text_printf(out, saved ? "[\"%s\"]" : "null", saved);
    drt_text_puts(out, ",\n  \"target_modules\": [");
    for (int i = 0; i < n; i++) {
        drt_text_puts(out, i ? ",\n    " : "\n    ");
        drt_text_json(out, modules[i]);
    }
    drt_text_puts(out, "\n  ]\n}\n");
}

bool drt_target_next(const char **targets, const char **item, size_t *n) {
    const char *p = *targets;
    while (*p == ',' || *p == ' ') p++;
    const char *end = p;
    if (*p == '/') // up to the slash that a comma or the end follows: expressions may hold both
        for (end = p + 1; *end && !(*end == '/' && (!end[1] || end[1] == ',' || end[1] == ' '));) end++;
    end += strcspn(end, ",");
    *targets = end;
    while (end > p && end[-1] == ' ') end--;
    *item = p;
    *n = (size_t)(end - p);
    return *n > 0;
}

static drt_status expression_matches(const char *text, size_t n, const char *name, bool *yes, drt_error *err) {
    int code;
    PCRE2_SIZE at;
    pcre2_code *re = pcre2_compile((PCRE2_SPTR)text, n, PCRE2_ANCHORED | PCRE2_ENDANCHORED, &code, &at, NULL);
    if (!re) {
        PCRE2_UCHAR why[200];
        pcre2_get_error_message(code, why, sizeof why);
        return drt_fail(err, DRT_ECONFIG, "target /%.*s/: character %zu: %s", (int)n, text, at + 1, (char *)why);
    }
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    int found = match ? pcre2_match(re, (PCRE2_SPTR)name, strlen(name), 0, 0, match, NULL) : PCRE2_ERROR_NOMEMORY;
    *yes = found >= 0;
    pcre2_match_data_free(match);
    pcre2_code_free(re);
    if (found >= 0 || found == PCRE2_ERROR_NOMATCH) return DRT_OK;
    return drt_fail(err, DRT_ECONFIG, "target /%.*s/: matching '%s' takes too long or too much memory", (int)n, text,
                    name);
}

drt_status drt_target_matches(const char *item, size_t n, const char *name, bool *yes, drt_error *err) {
    char word[1000];
    size_t whole = strlen(name);
    *yes = false;
    if (n >= 2 && item[0] == '/' && item[n - 1] == '/') return expression_matches(item + 1, n - 2, name, yes, err);
    if (n >= sizeof word) return drt_fail(err, DRT_ECONFIG, "target '%.40s...' is longer than any name", item);
    memcpy(word, item, n);
    word[n] = 0;
    if (word[strcspn(word, "*?[")]) *yes = !fnmatch(word, name, 0);
    else
        *yes = !strcmp(word, "all-linear") || !strcmp(word, name) ||
               (whole > n && name[whole - n - 1] == '.' && !strcmp(name + whole - n, word));
    return DRT_OK;
}
