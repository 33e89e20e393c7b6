// The decoder that drt_decoder_config describes: LLaMA, Mistral, Qwen2, Gemma, Phi-3, Phi-2. One forward pass for all.
#ifndef DRT_MODEL_DECODER_H
#define DRT_MODEL_DECODER_H

#include "format/hf_config.h"
#include "tensor/ops.h"
#include "tensor/params.h"

// A bias ("_b") is NULL where the description has none. Linear maps [out, in].
typedef struct {
    drt_param *norm1, *norm1_b; // [1, width]
    drt_param *qkv, *qkv_b;     // [(heads + 2 kv_heads) * head_size, width]
    drt_param *out, *out_b;     // [width, heads * head_size]
    drt_param *norm2, *norm2_b; // NULL in a parallel layer
    drt_param *up, *up_b;       // gated: [2 ffn, width], gate above up; else [ffn, width]
    drt_param *down, *down_b;   // [width, ffn]
} drt_decoder_layer;

typedef struct {
    drt_decoder_config size;
    drt_param *embedding;       // [vocab, width]
    drt_param *final, *final_b; // [1, width]
    drt_param *head, *head_b;   // [vocab, width] (head == embedding when tied), [1, vocab]
    drt_decoder_layer *layer;
    float *rope; // [drt_decoder_context, rotary]: cos | sin
} drt_decoder;

drt_status drt_decoder_declare(drt_decoder *m, const drt_decoder_config *size, drt_params *p, drt_error *err);
// Starts keys as copies of the queries and the output projection as a copy of the embedding. Two equal words then
// attend to each other and predict themselves from the first step on; without it a small decoder stays for millions of
// tokens at guessing among the words it has seen. Four heads of the first layer begin by looking one to four words
// back. Measured in docs/shapes.md. For models that begin with random weights.
void drt_decoder_init(drt_decoder *m);
void drt_decoder_free(drt_decoder *m);

// Keys and values of earlier rows, for generation. Sequence s owns rows [s * room, (s + 1) * room) of every layer.
typedef struct {
    int layers, sequences;
    int64_t room;         // rows a sequence
    int32_t *length;      // [sequences] rows in use
    int32_t *offsets;     // [sequences + 1]: s * room
    float *keys, *values; // [layers][sequences * room, kv_heads * head_size]
} drt_cache;
drt_status drt_cache_new(drt_cache **out, const drt_decoder_config *size, int sequences, int64_t room, drt_error *err);
void drt_cache_free(drt_cache *c);

// What a run of the decoder is told about its rows. Arrays must outlive the step.
typedef struct {
    int sequences;
    const int32_t *offsets; // [sequences + 1]
    // Sequences that begin with the same rows: key i is row key_row[i], those of sequence s from key_offsets[s] on, and
    // a sequence's own rows are the last of its keys. key_row NULL: keys are the rows.
    const int32_t *key_offsets, *key_row;
    const int32_t *position; // [rows]
    const int32_t *reach;  // [rows] keys a row sees: causal, counted in its sequence (with cache: cached rows included)
    const uint8_t *visual; // [keys] nonzero: visual key; NULL: no guided mass
    // Rows whose final state is wanted, ascending; behind the last layer's keys and values nothing else is computed.
    const int32_t *select;
    int64_t selected;
    drt_cache *cache;          // NULL in training
    const int32_t *cache_slot; // [rows] row of the cache that receives this row's key and value
    bool recompute;
} drt_decoder_rows;

// x [rows, width] -> final-norm states [selected, width]. mass (may be NULL): array of `layers` tensors,
// [rows, heads] each, the last one [selected, heads].
drt_tensor *drt_decoder_run(drt_tape *t, const drt_decoder *m, drt_tensor *x, const drt_decoder_rows *rows,
                            drt_tensor **mass);

// [n, vocab] of final states [n, width]; and their cross-entropy as drt_linear_cross_entropy takes it.
drt_tensor *drt_decoder_logits(drt_tape *t, const drt_decoder *m, drt_tensor *states);
drt_tensor *drt_decoder_loss(drt_tape *t, const drt_decoder *m, drt_tensor *states, const int32_t *label,
                             const float *weight, float *row_loss, float *hit);
// What a word's embedding is multiplied by to become its row: as transformers, rounded to the embedding's type.
float drt_word_scale(const drt_decoder *m);

#endif
