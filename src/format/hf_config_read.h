// Reading the keys of a config.json: for hf_config.c and hf_decoder.c. The first complaint sticks in the reader.
#ifndef DRT_FORMAT_HF_CONFIG_READ_H
#define DRT_FORMAT_HF_CONFIG_READ_H

#include "format/hf_config.h"

#include <float.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *name, *part; // file; "vision_config." or ""
    drt_error *err;
    drt_status status;
} reader;

static inline int whole(reader *r, const json_t *o, const char *key, int standard) {
    const json_t *v = json_object_get(o, key);
    if (!v || json_is_null(v)) return standard;
    if (json_is_array(v)) v = json_array_get(v, 0); // the first of several eos ids
    if (json_is_integer(v) && json_integer_value(v) >= -1000 && json_integer_value(v) <= 1 << 30)
        return (int)json_integer_value(v);
    if (!r->status)
        r->status = drt_fail(r->err, DRT_EFORMAT, "%s: %s%s is not a whole number that a model could have", r->name,
                             r->part, key);
    return standard;
}

// Nothing in a config comes near float's range; what is beyond it would become infinite.
static inline double real(reader *r, const json_t *o, const char *key, double standard) {
    const json_t *v = json_object_get(o, key);
    if (!v || json_is_null(v)) return standard;
    double x = json_number_value(v);
    // What no float can hold is zero, and a negative zero is zero, here and in what is written.
    if (json_is_number(v) && x > -1e30 && x < 1e30) return fabs(x) < FLT_TRUE_MIN ? 0 : x;
    if (!r->status)
        r->status = drt_fail(r->err, DRT_EFORMAT, "%s: %s%s is not a number%s", r->name, r->part, key,
                             json_is_number(v) ? " that a model could have" : "");
    return standard;
}

static inline const char *word(const json_t *o, const char *key, const char *standard) {
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : standard;
}

static inline bool truth(const json_t *o, const char *key, bool standard) {
    const json_t *v = json_object_get(o, key);
    return json_is_boolean(v) ? json_is_true(v) : standard;
}

// What this version cannot run: "FILE: PART" and the message.
__attribute__((format(printf, 2, 3))) static inline void refuse(reader *r, const char *format, ...) {
    char message[400];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (!r->status) r->status = drt_fail(r->err, DRT_ECONFIG, "%s: %s%s", r->name, r->part, message);
}

static inline drt_act act(reader *r, const json_t *o, const char *key, drt_act standard) {
    const char *s = word(o, key, drt_act_names[standard]);
    for (int a = 0; a < DRT_ACTS; a++)
        if (!strcmp(s, drt_act_names[a])) return (drt_act)a;
    // Two more names for the tanh form.
    if (!strcmp(s, "gelu_new") || !strcmp(s, "gelu_fast")) return DRT_ACT_GELU_TANH;
    refuse(r, "%s \"%s\" is not one of gelu, quick_gelu, gelu_pytorch_tanh, silu", key, s);
    return standard;
}

static inline drt_status within(const char *name, const char *key, int v, int least, int most, drt_error *err) {
    if (v >= least && v <= most) return DRT_OK;
    return drt_fail(err, DRT_ECONFIG, "%s: %s is %d, outside [%d, %d]", name, key, v, least, most);
}

// Added to a variance before its root is taken.
static inline drt_status eps_check(const char *name, const char *key, float eps, drt_error *err) {
    if (eps >= 0 && eps <= 1) return DRT_OK;
    return drt_fail(err, DRT_ECONFIG, "%s: %s is %g, outside [0, 1]", name, key, (double)eps);
}

#define WITHIN(key, v, least, most)                                                                                    \
    if (!status) status = within(name, key, v, least, most, err)

// The decoder's half: l from o, of this model_type; part: "text_config." or "". And a look at what came out.
void drt_decoder_config_parse(reader *r, const json_t *o, const char *part, const char *model_type,
                              drt_decoder_config *l);
drt_status drt_decoder_config_check(const drt_decoder_config *l, const char *name, drt_error *err);
// Its keys, one a line after `indent`; no braces.
void drt_decoder_config_write(const drt_decoder_config *l, const char *indent, drt_text *out);
bool drt_is_decoder(const char *model_type);
// The class of transformers for a decoder alone.
const char *drt_decoder_architecture(const drt_decoder_config *l);
#define DRT_DECODERS "llama, mistral, qwen2, gemma, phi3, phi"

#endif
