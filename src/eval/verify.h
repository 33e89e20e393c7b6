// A certificate that a model computes what another program computed: a run compared stage by stage with a golden file.
//
//   drt_certificate c;
//   if (drt_verify(model, tape, "golden.safetensors", &c, &err)) ...   // could not be judged
//   drt_certificate_table(&c, &text);                                  // for people; drt_certificate_json for programs
//   if (c.first) printf("%s is %g off\n", c.first->name, c.first->difference);
//   drt_certificate_free(&c);
//
// A golden file is a safetensors file (tools/golden_verify.py makes them from any folder that `transformers` loads):
//   metadata       prompt (the text with its <image>; to two towers every line of it is a text), dtype (of the run:
//                  float32, bfloat16, float16), made_by, order (gps: the prompt's rows in the permuter's order; absent:
//                  as they are spliced, whatever the folder was trained with)
//   picture        U8 [n]: the bytes of a picture file; absent without one
//   ids            I64 [n]: the prompt, -200 where the image goes; texts one behind the other, with what goes around
//                  them, and lengths I64 [texts]
//   stage.pixels   [3, S, S] after normalisation
//   stage.NAME     [rows, columns]: vision.embedding (before a tower's first norm), vision.0 ... (hidden states); then
//                  LLaVA, decoders: projector, splice (what the first decoder layer reads), decoder.1 ..., final,
//                  logits; towers: vision.pooled (before a projection), vision.joint (of length 1), text.embedding,
//                  text.1 ..., text.pooled (the row that stands for a text, behind the last norm), text.joint, logits
//                  [1, texts]
//   greedy         I64 [n]: the likeliest tokens one after another, no token banned; greedy_margin F32 [n]: how far the
//                  logit of each lies above the next one's
// Any of them but ids may be absent and is then not compared, but not all; a vision tower alone has no ids.
//
// A stage is in order when no number is further off than
//   8 * rms * (u * sqrt(length) + h * sqrt(roundings))
// rms: of the golden stage. length: of all sums on the way to the stage (rounding errors of f32 sums grow with the root
// of their number), u = 2^-24. roundings: tensors on the way; h is the rounding of the coarser side: 2^-9 where the
// model's weights are kept in bf16 or the golden run was one of bf16, 2^-12 for a golden run of f16, else 0. Where
// tokens or pixels differ, the rest runs on the golden ones, so that it is judged too.
#ifndef DRT_EVAL_VERIFY_H
#define DRT_EVAL_VERIFY_H

#include "base/text.h"
#include "model/model.h"

typedef struct {
    char name[40];
    int64_t rows, cols;
    double difference, tolerance; // largest difference; infinite where shapes differ or a number is none
    bool ok;
    char note[160]; // "" or what else there is to say
} drt_certificate_stage;

typedef struct {
    drt_certificate_stage *stage; // [n] in the order of the run
    int n;
    const drt_certificate_stage *first; // the first that differs; NULL: none
    char made_by[120], dtype[16];       // as in the golden file
} drt_certificate;

// DRT_EFORMAT: no such golden file. DRT_EDATA: it is another kind of model's (a picture for a decoder alone, ids beyond
// the vocabulary, more rows than positions, lengths of other texts).
drt_status drt_verify(const drt_model *m, drt_tape *t, const char *golden, drt_certificate *out, drt_error *err);
void drt_certificate_free(drt_certificate *c); // leaves it zeroed
void drt_certificate_table(const drt_certificate *c, drt_text *out);
void drt_certificate_json(const drt_certificate *c, drt_text *out);

#endif
