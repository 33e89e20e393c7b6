// A certificate for people and for programs.
#include "eval/verify.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

void drt_certificate_table(const drt_certificate *c, drt_text *out) {
    drt_text_printf(out, "against %s, %s\n\n%-18s %13s  %10s  %10s\n", c->made_by, c->dtype, "stage", "shape",
                    "difference", "tolerance");
    for (int i = 0; i < c->n; i++) {
        const drt_certificate_stage *s = &c->stage[i];
        char shape[40];
        snprintf(shape, sizeof shape, "%lld x %lld", (long long)s->rows, (long long)s->cols);
        drt_text_printf(out, "%-18s %13s  %10.2g  %10.2g  %s%s%s\n", s->name, shape, s->difference, s->tolerance,
                        s->ok ? "ok" : "DIFFERS", *s->note ? ": " : "", s->note);
    }
    if (c->first)
        drt_text_printf(out, "\nThe first stage that differs is %s, by %.3g where %.3g is allowed.\n", c->first->name,
                        c->first->difference, c->first->tolerance);
    else drt_text_printf(out, "\nAll %d stages agree.\n", c->n);
}

// JSON has no infinity: null.
static json_t *real(double x) { return isfinite(x) ? json_real(x) : json_null(); }

void drt_certificate_json(const drt_certificate *c, drt_text *out) {
    json_t *stages = json_array();
    for (int i = 0; i < c->n; i++) {
        const drt_certificate_stage *s = &c->stage[i];
        json_array_append_new(stages,
                              json_pack("{s:s,s:[I,I],s:o,s:o,s:b,s:s}", "stage", s->name, "shape", (json_int_t)s->rows,
                                        (json_int_t)s->cols, "difference", real(s->difference), "tolerance",
                                        real(s->tolerance), "ok", (int)s->ok, "note", s->note));
    }
    json_t *root = json_pack("{s:s,s:s,s:b,s:s?,s:o}", "made_by", c->made_by, "dtype", c->dtype, "ok", (int)!c->first,
                             "first", c->first ? c->first->name : NULL, "stages", stages);
    char *text = json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    if (text) drt_text_puts(out, text), drt_text_puts(out, "\n");
    else out->failed = true;
    free(text);
    json_decref(root);
}
