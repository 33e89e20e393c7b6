// The decoder's parameters by their names in checkpoints, its rotary angles, and its starting values.
#include "model/decoder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// What a family calls its tensors inside a layer, and its last norm. Tensors that lie one below the other in one
// parameter (one product makes them all): q, k, v and gate, up; phi3's files hold them so.
typedef struct {
    const char *qkv[3], *out, *up[2], *down, *norm1, *norm2, *final;
} words;

static const words llama_words = {{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"},
                                  "self_attn.o_proj",
                                  {"mlp.gate_proj", "mlp.up_proj"},
                                  "mlp.down_proj",
                                  "input_layernorm",
                                  "post_attention_layernorm",
                                  "norm"};
static const words phi3_words = {{"self_attn.qkv_proj"},
                                 "self_attn.o_proj",
                                 {"mlp.gate_up_proj"},
                                 "mlp.down_proj",
                                 "input_layernorm",
                                 "post_attention_layernorm",
                                 "norm"};
static const words phi_words = {{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"},
                                "self_attn.dense",
                                {"mlp.fc1"},
                                "mlp.fc2",
                                "input_layernorm",
                                NULL,
                                "final_layernorm"};

static const words *words_of(drt_decoder_family f) {
    return f == DRT_PHI3 ? &phi3_words : f == DRT_PHI ? &phi_words : &llama_words;
}

// What the declarations of one layer have in common.
typedef struct {
    drt_params *p;
    int layer;
} place;

// The map [sum of rows, cols] of several tensors one below the other, and its bias [1, sum of rows] if *b is wanted.
static drt_param *map(const place *at, const char *const *names, const int64_t *rows, int n, int64_t cols,
                      double deviation, drt_param **b) {
    int64_t total = 0, row = 0;
    char name[256];
    for (int i = 0; i < n; i++) total += rows[i];
    drt_param *w = drt_param_add(at->p, DRT_LANGUAGE, total, cols, DRT_INIT_NORMAL, (float)deviation);
    if (b) *b = drt_param_add(at->p, DRT_LANGUAGE, 1, total, DRT_INIT_CONSTANT, 0);
    for (int i = 0; i < n; row += rows[i++]) {
        snprintf(name, sizeof name, "model.layers.%d.%s.weight", at->layer, names[i]);
        drt_param_name(at->p, w, row, rows[i], name, 2, (int64_t[]){rows[i], cols});
        if (!b) continue;
        snprintf(name, sizeof name, "model.layers.%d.%s.bias", at->layer, names[i]);
        drt_param_name(at->p, *b, row, rows[i], name, 1, &rows[i]);
    }
    return w;
}

// A norm that begins as 1; prefix: "model.layers.N." or "model.".
static drt_param *norm(drt_params *p, const drt_decoder_config *s, const char *prefix, const char *name,
                       drt_param **b) {
    drt_param *w = drt_param_named(p, DRT_LANGUAGE, 1, s->width, true, DRT_INIT_CONSTANT, s->norm_from_one ? 0 : 1,
                                   "%s%s.weight", prefix, name);
    if (s->layer_norm)
        *b = drt_param_named(p, DRT_LANGUAGE, 1, s->width, true, DRT_INIT_CONSTANT, 0, "%s%s.bias", prefix, name);
    return w;
}

static void layer_declare(drt_decoder_layer *l, const drt_decoder_config *s, const place *at) {
    const words *word = words_of(s->family);
    int64_t d = s->width, q = (int64_t)s->head_size * s->heads, kv = (int64_t)s->head_size * s->kv_heads;
    // Embeddings at 1/sqrt(width) let a small decoder look things up (docs/shapes.md); the rest as usual.
    double wide = 1 / sqrt((double)d), deep = 0.02 / sqrt(2.0 * s->layers);
    char prefix[40];
    snprintf(prefix, sizeof prefix, "model.layers.%d.", at->layer);
    l->norm1 = norm(at->p, s, prefix, word->norm1, &l->norm1_b);
    if (word->qkv[1]) l->qkv = map(at, word->qkv, (int64_t[]){q, kv, kv}, 3, d, wide, s->qkv_bias ? &l->qkv_b : NULL);
    else l->qkv = map(at, word->qkv, (int64_t[]){q + 2 * kv}, 1, d, wide, s->qkv_bias ? &l->qkv_b : NULL);
    l->out = map(at, &word->out, &d, 1, q, deep, s->out_bias ? &l->out_b : NULL);
    if (!s->parallel) l->norm2 = norm(at->p, s, prefix, word->norm2, &l->norm2_b);
    int64_t f = s->ffn, whole = s->gated ? 2 * f : f;
    if (word->up[1]) l->up = map(at, word->up, (int64_t[]){f, f}, 2, d, wide, s->mlp_bias ? &l->up_b : NULL);
    else l->up = map(at, word->up, &whole, 1, d, wide, s->mlp_bias ? &l->up_b : NULL);
    l->down = map(at, &word->down, &d, 1, f, deep, s->mlp_bias ? &l->down_b : NULL);
}

// The pair that makes so many turns in the original context, between pairs.
static double pair_of(const drt_decoder_config *s, double turns) {
    return s->rotary * log(s->scaling.original / (turns * 2 * 3.14159265358979323846)) / (2 * log(s->rope_theta));
}

// YaRN: slow pairs are stretched, fast ones are not, between them in proportion to the pair's number.
static float yarn(const drt_decoder_config *s, int j) {
    const drt_rope_scaling *c = &s->scaling;
    double from = pair_of(s, c->high), to = pair_of(s, c->low);
    if (c->truncate) from = floor(from), to = ceil(to);
    from = fmax(from, 0), to = fmin(to, s->rotary - 1);
    if (from == to) to += 0.001;
    float period = (float)pow(s->rope_theta, (float)(2 * j) / (float)s->rotary);
    float ramp = fminf(fmaxf(((float)j - (float)from) / (float)(to - from), 0), 1), keep = 1 - ramp;
    return 1 / ((float)c->factor * period) * (1 - keep) + 1 / period * keep;
}

// Turns a position makes of pair j, in radians. As transformers: every step is rounded to f32.
static float frequency(const drt_decoder_config *s, int j) {
    const drt_rope_scaling *c = &s->scaling;
    float plain = 1 / (float)pow(s->rope_theta, (float)(2 * j) / (float)s->rotary), factor = (float)c->factor;
    if (c->kind == DRT_ROPE_LINEAR) return plain / factor;
    if (c->kind == DRT_ROPE_YARN) return yarn(s, j);
    if (c->kind == DRT_ROPE_LONGROPE)
        return 1 / (c->shorter[j] * (float)pow(s->rope_theta, (float)(2 * j) / (float)s->rotary));
    if (c->kind != DRT_ROPE_LLAMA3) return plain; // dynamic, too: it begins behind `positions`
    // Slow pairs (few turns in the original context) are stretched, fast ones are not, those between are mixed.
    float length = 1 / plain * (float)(2 * 3.14159265358979323846);
    float turns = 1 / length * (float)c->original;
    if (length > (float)(c->original / c->low)) return plain / factor;
    if (length < (float)(c->original / c->high)) return plain;
    float fast = (turns - (float)c->low) / (float)(c->high - c->low);
    return (1 - fast) * plain / factor + fast * plain;
}

static drt_status rope_table(drt_decoder *m, drt_error *err) {
    int rows = drt_decoder_context(&m->size), turning = m->size.rotary, half = turning / 2;
    m->rope = malloc((size_t)rows * (size_t)turning * sizeof *m->rope);
    if (!m->rope) return drt_fail(err, DRT_ENOMEM, "no memory for rotary angles of %d positions", rows);
    float *first = m->rope; // holds the frequencies until it is made, last of all
    float length = m->size.scaling.kind >= DRT_ROPE_YARN ? (float)m->size.scaling.attention : 1;
    for (int j = 0; j < half; j++) first[j] = frequency(&m->size, j);
    for (int pos = rows - 1; pos >= 0; pos--) {
        float *row = m->rope + (size_t)pos * (size_t)turning;
        for (int j = 0; j < half; j++) {
            float angle = (float)pos * first[j];
            row[j] = cosf(angle) * length;
            row[half + j] = sinf(angle) * length;
        }
    }
    return DRT_OK;
}

drt_status drt_decoder_declare(drt_decoder *m, const drt_decoder_config *size, drt_params *p, drt_error *err) {
    m->size = *size;
    int64_t d = size->width;
    double wide = 1 / sqrt((double)d);
    m->embedding = drt_param_named(p, DRT_LANGUAGE, size->vocab, d, false, DRT_INIT_NORMAL, (float)wide,
                                   "model.embed_tokens.weight");
    m->layer = calloc((size_t)size->layers, sizeof *m->layer);
    if (!m->layer) return drt_fail(err, DRT_ENOMEM, "no memory for %d layers", size->layers);
    for (int i = 0; i < size->layers; i++) layer_declare(&m->layer[i], size, &(place){p, i});
    m->final = norm(p, size, "model.", words_of(size->family)->final, &m->final_b);
    m->head = m->embedding;
    if (!size->tied)
        m->head =
            drt_param_named(p, DRT_LANGUAGE, size->vocab, d, false, DRT_INIT_NORMAL, (float)wide, "lm_head.weight");
    if (size->head_bias)
        m->head_b = drt_param_named(p, DRT_LANGUAGE, 1, size->vocab, true, DRT_INIT_CONSTANT, 0, "lm_head.bias");
    return rope_table(m, err);
}

// Makes head h of the first layer look `offset` words back: a constant in channel 0 of the embedding gives every query
// and key the same part, and turning the query's by the rotary angle of `offset` positions puts the peak there.
static void look_back(drt_decoder *m, int h, int offset) {
    enum { PAIRS = 5 };
    const float tilt = 5.0f / 3; // with the constant of 3 below: scores that peak at about 20
    const drt_decoder_config *s = &m->size;
    int64_t d = s->width, half = s->rotary / 2;
    float *q = drt_row(m->layer[0].qkv->tensor.value, (int64_t)h * s->head_size),
          *k = q + (int64_t)s->heads * s->head_size * d;
    for (int64_t i = 0; i < s->head_size * d; i++) q[i] *= 0.3f, k[i] *= 0.3f;
    for (int64_t f = 0; f < s->head_size; f++) q[f * d] = k[f * d] = 0;
    for (int64_t f = 0; f < PAIRS && f < half; f++) {
        double angle = -offset * pow(s->rope_theta, -2.0 * (double)f / s->rotary);
        k[f * d] = tilt;
        q[f * d] = tilt * (float)cos(angle);
        q[(f + half) * d] = tilt * (float)sin(angle);
    }
}

void drt_decoder_init(drt_decoder *m) {
    const drt_decoder_config *s = &m->size;
    size_t head = (size_t)s->head_size * (size_t)s->width, group = (size_t)(s->heads / s->kv_heads);
    for (int i = 0; i < s->layers; i++) {
        float *q = m->layer[i].qkv->tensor.value.data, *k = q + (size_t)s->heads * head;
        for (size_t h = 0; h < (size_t)s->kv_heads; h++) memcpy(k + h * head, q + h * group * head, head * sizeof *k);
    }
    drt_mat e = m->embedding->tensor.value;
    if (s->heads == s->kv_heads && s->heads >= 4) {
        for (int64_t r = 0; r < e.rows; r++) *drt_row(e, r) = 3 / sqrtf((float)s->width);
        for (int h = 0; h < 4; h++) look_back(m, h, h + 1);
    }
    if (m->head != m->embedding) memcpy(m->head->tensor.value.data, e.data, (size_t)(e.rows * e.cols) * sizeof(float));
}

void drt_decoder_free(drt_decoder *m) {
    free(m->layer);
    free(m->rope);
    m->layer = NULL;
    m->rope = NULL;
}
