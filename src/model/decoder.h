// The decoder: RMS norm, rotary positions, grouped-query attention, SwiGLU; Hugging Face's LlamaForCausalLM.
#ifndef DRT_MODEL_DECODER_H
#define DRT_MODEL_DECODER_H

#include "format/hf_config.h"
#include "tensor/ops.h"
#include "tensor/params.h"

typedef struct {
    drt_param *norm1, *qkv, *out;      // qkv [(heads + 2 kv_heads) * head_size, width]
    drt_param *norm2, *gate_up, *down; // gate_up [2 ffn, width]
} drt_decoder_layer;

typedef struct {
    drt_decoder_config size;
    drt_param *embedding, *final, *head; // [vocab, d], [1, d], [vocab, d] (head == embedding when tied)
    drt_decoder_layer *layer;
    float *rope; // [positions, head_size]: cos | sin
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
    const int32_t *offsets;  // [sequences + 1]
    const int32_t *position; // [rows]
    const int32_t *reach;  // [rows] keys a row sees: causal, counted in its sequence (with cache: cached rows included)
    const uint8_t *visual; // [rows] nonzero: visual key; NULL: no guided mass
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

#endif
