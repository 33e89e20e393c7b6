// The decoder's half of config.json: families, what their configs leave out, and what this version cannot run.
#include "format/hf_config_read.h"

#include <math.h>

static const struct {
    const char *type, *architecture;
} families[DRT_DECODER_FAMILIES] = {
    [DRT_LLAMA] = {"llama", "LlamaForCausalLM"}, [DRT_MISTRAL] = {"mistral", "MistralForCausalLM"},
    [DRT_QWEN2] = {"qwen2", "Qwen2ForCausalLM"}, [DRT_GEMMA] = {"gemma", "GemmaForCausalLM"},
    [DRT_PHI3] = {"phi3", "Phi3ForCausalLM"},    [DRT_PHI] = {"phi", "PhiForCausalLM"},
};
static const char *const ropes[DRT_ROPES] = {"default", "linear", "dynamic", "llama3", "yarn", "longrope"};

// What each family's config means where it is silent: the defaults of Hugging Face's configuration classes. A 0 for
// kv_heads is `heads`, for head_size the width by the heads, for `rotary` the whole head.
static const drt_decoder_config standard[DRT_DECODER_FAMILIES] = {
    [DRT_LLAMA] = {.width = 4096,
                   .layers = 32,
                   .heads = 32,
                   .ffn = 11008,
                   .vocab = 32000,
                   .positions = 2048,
                   .eps = 1e-6f,
                   .act = DRT_ACT_SILU,
                   .gated = true,
                   .bos = 1,
                   .eos = 2,
                   .pad = -1},
    [DRT_MISTRAL] = {.width = 4096,
                     .layers = 32,
                     .heads = 32,
                     .kv_heads = 8,
                     .ffn = 14336,
                     .vocab = 32000,
                     .positions = 4096 * 32,
                     .eps = 1e-6f,
                     .act = DRT_ACT_SILU,
                     .gated = true,
                     .window = 4096,
                     .bos = 1,
                     .eos = 2,
                     .pad = -1},
    [DRT_QWEN2] = {.width = 4096,
                   .layers = 32,
                   .heads = 32,
                   .kv_heads = 32,
                   .ffn = 22016,
                   .vocab = 151936,
                   .positions = 32768,
                   .eps = 1e-6f,
                   .act = DRT_ACT_SILU,
                   .gated = true,
                   .qkv_bias = true,
                   .window = 4096,
                   .window_from = 28,
                   .bos = -1,
                   .eos = -1,
                   .pad = -1},
    [DRT_GEMMA] = {.width = 3072,
                   .layers = 28,
                   .heads = 16,
                   .kv_heads = 16,
                   .head_size = 256,
                   .ffn = 24576,
                   .vocab = 256000,
                   .positions = 8192,
                   .eps = 1e-6f,
                   .act = DRT_ACT_GELU_TANH,
                   .gated = true,
                   .norm_from_one = true,
                   .words_scaled = true,
                   .tied = true,
                   .bos = 2,
                   .eos = 1,
                   .pad = 0},
    [DRT_PHI3] = {.width = 3072,
                  .layers = 32,
                  .heads = 32,
                  .ffn = 8192,
                  .vocab = 32064,
                  .positions = 4096,
                  .eps = 1e-5f,
                  .act = DRT_ACT_SILU,
                  .gated = true,
                  .bos = 1,
                  .eos = 32000,
                  .pad = 32000},
    [DRT_PHI] = {.width = 2048,
                 .layers = 24,
                 .heads = 32,
                 .ffn = 8192,
                 .vocab = 51200,
                 .positions = 2048,
                 .eps = 1e-5f,
                 .act = DRT_ACT_GELU_TANH,
                 .parallel = true,
                 .layer_norm = true,
                 .qkv_bias = true,
                 .out_bias = true,
                 .mlp_bias = true,
                 .head_bias = true,
                 .bos = 1,
                 .eos = 2,
                 .pad = -1},
};

static int family_of(const char *model_type) {
    for (int f = 0; f < DRT_DECODER_FAMILIES; f++)
        if (!strcmp(families[f].type, model_type)) return f;
    return -1;
}

bool drt_is_decoder(const char *model_type) { return family_of(model_type) >= 0; }
const char *drt_decoder_architecture(const drt_decoder_config *l) { return families[l->family].architecture; }

// A number whose null says "none" (0 or -1), where its absence says the standard.
static int whole_or_none(reader *r, const json_t *o, const char *key, int standard, int none) {
    return json_is_null(json_object_get(o, key)) ? none : whole(r, o, key, standard);
}

// LLaMA-3's and others' chat models list several ids that end an answer.
static void eos_read(reader *r, const json_t *o, drt_decoder_config *l) {
    const json_t *v = json_object_get(o, "eos_token_id");
    int n = (int)json_array_size(v);
    l->eos = whole_or_none(r, o, "eos_token_id", l->eos, -1);
    if (n > 1 + DRT_MORE_EOS) refuse(r, "eos_token_id lists %d ids; this version knows %d", n, 1 + DRT_MORE_EOS);
    for (int i = 1; i < n && i <= DRT_MORE_EOS; i++) {
        const json_t *id = json_array_get(v, (size_t)i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > 1 << 30)
            refuse(r, "eos_token_id lists something that is no token");
        else l->also_eos[l->more_eos++] = (int)json_integer_value(id);
    }
}

static void pairs_read(reader *r, const json_t *p, const char *key, float out[DRT_LONGROPE_PAIRS], int *n) {
    const json_t *list = json_object_get(p, key);
    *n = (int)json_array_size(list);
    if (*n > DRT_LONGROPE_PAIRS) {
        refuse(r, "%s: more than %d numbers", key, DRT_LONGROPE_PAIRS);
        *n = DRT_LONGROPE_PAIRS;
    }
    for (int i = 0; i < *n; i++) {
        const json_t *v = json_array_get(list, (size_t)i);
        out[i] = json_is_number(v) ? (float)json_number_value(v) : 0;
        if (!(out[i] > 1e-6f && out[i] < 1e6f)) refuse(r, "%s: number %d divides no angle", key, i + 1);
    }
}

// The scalings that also make queries and keys longer. Where a config leaves that out: YaRN's and LongRoPE's papers.
static void longer_read(reader *r, const json_t *o, const json_t *p, drt_decoder_config *l) {
    drt_rope_scaling *s = &l->scaling;
    const bool yarn = s->kind == DRT_ROPE_YARN;
    int n;
    s->original = whole(r, p, "original_max_position_embeddings", l->positions);
    // Beside rope_scaling, where Phi-3's configs have it, it wins.
    s->original = whole(r, o, "original_max_position_embeddings", l->family == DRT_PHI3 ? 4096 : s->original);
    s->factor = real(r, p, "factor", s->original > 0 ? (double)l->positions / s->original : 1);
    double log_factor = s->factor > 1 ? log(s->factor) : 0;
    if (yarn) {
        double numerator = real(r, p, "mscale", 0), denominator = real(r, p, "mscale_all_dim", 0);
        s->attention = 0.1 * log_factor + 1;
        if (numerator != 0 && denominator != 0)
            s->attention = (0.1 * numerator * log_factor + 1) / (0.1 * denominator * log_factor + 1);
        s->high = real(r, p, "beta_fast", 32), s->low = real(r, p, "beta_slow", 1);
        s->truncate = truth(p, "truncate", true);
    } else {
        s->attention = s->original > 1 ? sqrt(1 + log_factor / log(s->original)) : 1;
        pairs_read(r, p, "short_factor", s->shorter, &s->pairs);
        pairs_read(r, p, "long_factor", s->longer, &n);
        if (n != s->pairs) refuse(r, "long_factor has %d numbers, short_factor %d", n, s->pairs);
    }
    s->attention = real(r, p, "attention_factor", s->attention);
}

static void rope_read(reader *r, const json_t *o, drt_decoder_config *l) {
    // transformers 5 keeps everything in rope_parameters; a rope_scaling of before wins over it, as there.
    const json_t *p = json_object_get(o, "rope_scaling");
    if (!json_is_object(p)) p = json_object_get(o, "rope_parameters");
    l->rope_theta = real(r, p, "rope_theta", real(r, o, "rope_theta", 10000));
    const char *kind = word(p, "rope_type", word(p, "type", "default"));
    if (l->family == DRT_PHI3 && (!strcmp(kind, "su") || !strcmp(kind, "yarn"))) kind = "longrope"; // older names
    int k = drt_place_of(kind, ropes, DRT_ROPES);
    if (k == DRT_ROPES) {
        refuse(r,
               "rope scaling \"%s\": this version runs default, linear, dynamic, llama3, yarn and longrope; use a "
               "checkpoint of this model without the stretched context",
               kind);
        return;
    }
    l->scaling.kind = k;
    if (k >= DRT_ROPE_YARN) longer_read(r, o, p, l);
    else if (k) l->scaling.factor = real(r, p, "factor", 0);
    if (l->scaling.kind == DRT_ROPE_LLAMA3) {
        l->scaling.low = real(r, p, "low_freq_factor", 0);
        l->scaling.high = real(r, p, "high_freq_factor", 0);
        l->scaling.original = whole(r, p, "original_max_position_embeddings", 0);
    }
    double share = l->family == DRT_PHI ? 0.5 : 1;
    share = real(r, p, "partial_rotary_factor", real(r, o, "partial_rotary_factor", share));
    if (share != 1 && l->family != DRT_PHI && l->family != DRT_PHI3)
        refuse(r, "partial_rotary_factor %g: %s turns whole heads", share, families[l->family].type);
    l->rotary = share >= 0 && share <= 1 ? (int)(l->head_size * share) : -1;
}

// Which layers see a sliding window: from `window_from` on, all or none. layer_types may say so layer by layer.
static void window_read(reader *r, const json_t *o, drt_decoder_config *l) {
    const json_t *types = json_object_get(o, "layer_types");
    bool used = l->family == DRT_QWEN2 ? truth(o, "use_sliding_window", false)
                                       : l->family == DRT_MISTRAL || l->family == DRT_PHI3;
    l->window = used ? whole_or_none(r, o, "sliding_window", l->window, 0) : 0;
    l->window_from = l->family == DRT_QWEN2 ? whole(r, o, "max_window_layers", l->window_from) : 0;
    int n = (int)json_array_size(types), first = l->layers;
    if (n && n != l->layers) refuse(r, "layer_types lists %d layers, num_hidden_layers says %d", n, l->layers);
    for (int i = 0; i < n; i++) {
        const char *type = json_string_value(json_array_get(types, (size_t)i));
        bool slides = type && !strcmp(type, "sliding_attention");
        if (slides && i < first) first = i;
        if (!type || (!slides && strcmp(type, "full_attention")))
            refuse(r, "layer_types has \"%s\"; this version runs full_attention and sliding_attention",
                   type ? type : "?");
        if (!slides && i > first) refuse(r, "layer_types: full_attention behind sliding_attention is not supported");
    }
    if (n) l->window_from = first;
    if (n && first < l->layers && !l->window)
        refuse(r, "layer_types has sliding_attention, but there is no sliding_window in use");
    if (l->window_from >= l->layers) l->window = 0;
    if (!l->window) l->window_from = 0;
}

static void traits_read(reader *r, const json_t *o, drt_decoder_config *l) {
    // Gemma's first configs say "gelu" and mean the tanh form that it was trained with; transformers reads them so.
    if (l->family != DRT_GEMMA || strcmp(word(o, "hidden_act", ""), "gelu")) l->act = act(r, o, "hidden_act", l->act);
    if (l->family == DRT_LLAMA || l->family == DRT_GEMMA) l->qkv_bias = l->out_bias = truth(o, "attention_bias", false);
    if (l->family == DRT_LLAMA) l->mlp_bias = truth(o, "mlp_bias", false);
    if (truth(o, "qk_layernorm", false)) refuse(r, "qk_layernorm: norms of queries and keys are not supported");
    if (truth(o, "use_bidirectional_attention", false))
        refuse(r, "use_bidirectional_attention: this version runs causal decoders");
    l->tied = truth(o, "tie_word_embeddings", l->tied);
}

void drt_decoder_config_parse(reader *r, const json_t *o, const char *part, const char *model_type,
                              drt_decoder_config *l) {
    r->part = part;
    int family = family_of(model_type);
    if (family < 0) {
        refuse(r, "model_type \"%s\" is none of the decoders that this version runs: " DRT_DECODERS, model_type);
        family = DRT_LLAMA;
    }
    *l = standard[family];
    l->family = (drt_decoder_family)family;
    l->width = whole(r, o, "hidden_size", l->width);
    l->ffn = whole(r, o, "intermediate_size", l->ffn);
    l->layers = whole(r, o, "num_hidden_layers", l->layers);
    l->heads = whole(r, o, "num_attention_heads", l->heads);
    l->kv_heads = whole_or_none(r, o, "num_key_value_heads", l->kv_heads ? l->kv_heads : l->heads, l->heads);
    l->head_size = whole(r, o, "head_dim", l->head_size ? l->head_size : l->heads > 0 ? l->width / l->heads : 0);
    if (l->heads > 0 && l->width % l->heads && !standard[family].head_size && !json_object_get(o, "head_dim"))
        refuse(r, "hidden_size %d is not a multiple of num_attention_heads %d, and there is no head_dim", l->width,
               l->heads);
    l->vocab = whole(r, o, "vocab_size", l->vocab);
    l->positions = whole(r, o, "max_position_embeddings", l->positions);
    l->eps = (float)real(r, o, l->layer_norm ? "layer_norm_eps" : "rms_norm_eps", l->eps);
    l->bos = whole_or_none(r, o, "bos_token_id", l->bos, -1);
    eos_read(r, o, l);
    l->pad = whole_or_none(r, o, "pad_token_id", l->pad, -1);
    rope_read(r, o, l);
    window_read(r, o, l);
    traits_read(r, o, l);
}

static drt_status longer_check(const drt_decoder_config *l, const char *name, drt_error *err) {
    const drt_rope_scaling *s = &l->scaling;
    if (s->kind < DRT_ROPE_YARN) return DRT_OK;
    if (s->original < 1 || !(s->attention > 0 && s->attention < 1e3))
        return drt_fail(err, DRT_ECONFIG,
                        "%s: rope_scaling %s: original_max_position_embeddings is %d, attention_factor %g", name,
                        ropes[s->kind], s->original, s->attention);
    if (s->kind == DRT_ROPE_YARN && !(s->low > 0 && s->high >= s->low && l->rope_theta > 1))
        return drt_fail(err, DRT_ECONFIG,
                        "%s: rope_scaling yarn wants 0 < beta_slow <= beta_fast and a rope_theta above 1; they are "
                        "%g, %g and %g",
                        name, s->low, s->high, l->rope_theta);
    if (s->kind == DRT_ROPE_LONGROPE && s->pairs != l->rotary / 2)
        return drt_fail(err, DRT_ECONFIG, "%s: short_factor has %d numbers, but %d pairs of a head turn", name,
                        s->pairs, l->rotary / 2);
    return DRT_OK;
}

drt_status drt_decoder_config_check(const drt_decoder_config *l, const char *name, drt_error *err) {
    drt_status status = DRT_OK;
    WITHIN("hidden_size", l->width, 1, 1 << 17);
    WITHIN("intermediate_size", l->ffn, 1, 1 << 20);
    WITHIN("num_hidden_layers", l->layers, 1, 1024);
    WITHIN("num_attention_heads", l->heads, 1, 1 << 12);
    WITHIN("num_key_value_heads", l->kv_heads, 1, l->heads);
    WITHIN("head_dim", l->head_size, 2, 1 << 12);
    WITHIN("vocab_size", l->vocab, 1, 1 << 24);
    // Rotary angles are a table: a GB of them is more than any model needs.
    WITHIN("max_position_embeddings", l->positions, 1, (1 << 28) / l->head_size);
    WITHIN("sliding_window", l->window, 0, 1 << 28);
    WITHIN("max_window_layers", l->window_from, 0, l->layers);
    if (!status) status = eps_check(name, l->layer_norm ? "layer_norm_eps" : "rms_norm_eps", l->eps, err);
    if (status) return status;
    if (l->heads % l->kv_heads)
        return drt_fail(err, DRT_ECONFIG, "%s: num_attention_heads %d is not a multiple of num_key_value_heads %d",
                        name, l->heads, l->kv_heads);
    if (l->rotary < 2 || l->rotary > l->head_size || l->rotary % 2)
        return drt_fail(err, DRT_ECONFIG,
                        "%s: %d of %d channels of a head would turn (head_dim, partial_rotary_factor); it must be an "
                        "even number of them",
                        name, l->rotary, l->head_size);
    if (!(l->rope_theta > 0)) return drt_fail(err, DRT_ECONFIG, "%s: rope_theta is %g", name, l->rope_theta);
    if (l->scaling.kind && l->scaling.kind != DRT_ROPE_LONGROPE && !(l->scaling.factor >= 1))
        return drt_fail(err, DRT_ECONFIG, "%s: the factor of rope_scaling is %g or missing; it must be 1 or more", name,
                        l->scaling.factor);
    if (l->scaling.kind == DRT_ROPE_LLAMA3 &&
        !(l->scaling.low > 0 && l->scaling.high > l->scaling.low && l->scaling.original >= 1))
        return drt_fail(err, DRT_ECONFIG,
                        "%s: rope_scaling llama3 wants 0 < low_freq_factor < high_freq_factor and "
                        "original_max_position_embeddings; they are %g, %g and %d",
                        name, l->scaling.low, l->scaling.high, l->scaling.original);
    return longer_check(l, name, err);
}

int drt_decoder_context(const drt_decoder_config *l) {
    int rows = l->window && l->window < l->positions ? l->window : l->positions;
    return l->scaling.kind == DRT_ROPE_LONGROPE && l->scaling.original < rows ? l->scaling.original : rows;
}

// ---- out --------------------------------------------------------------------------------------------------------

// partial_rotary_factor: a number of which int(head_dim * number) is l->rotary again.
static double rotary_share(const drt_decoder_config *l) {
    double share = (double)l->rotary / l->head_size;
    return (int)(l->head_size * share) < l->rotary ? nextafter(share, 2) : share;
}

static void pairs_write(const char *key, const float *x, int n, drt_text *out) {
    drt_text_printf(out, ", \"%s\": [", key);
    for (int i = 0; i < n; i++) drt_text_printf(out, "%s%.9g", i ? ", " : "", (double)x[i]);
    drt_text_puts(out, "]");
}

static void rope_write(const drt_decoder_config *l, const char *indent, drt_text *out) {
    const drt_rope_scaling *s = &l->scaling;
    drt_text_printf(out, "%s\"rope_theta\": %.17g,\n", indent, l->rope_theta);
    if (l->rotary != l->head_size || l->family == DRT_PHI)
        drt_text_printf(out, "%s\"partial_rotary_factor\": %.17g,\n", indent, rotary_share(l));
    if (!s->kind) return;
    drt_text_printf(out, "%s\"rope_scaling\": {\"rope_type\": \"%s\"", indent, ropes[s->kind]);
    if (s->kind != DRT_ROPE_LONGROPE) drt_text_printf(out, ", \"factor\": %.17g", s->factor);
    if (s->kind == DRT_ROPE_LLAMA3)
        drt_text_printf(out,
                        ", \"low_freq_factor\": %.17g, \"high_freq_factor\": %.17g, "
                        "\"original_max_position_embeddings\": %d",
                        s->low, s->high, s->original);
    if (s->kind == DRT_ROPE_YARN)
        drt_text_printf(out, ", \"beta_fast\": %.17g, \"beta_slow\": %.17g, \"truncate\": %s", s->high, s->low,
                        s->truncate ? "true" : "false");
    if (s->kind == DRT_ROPE_LONGROPE) {
        pairs_write("short_factor", s->shorter, s->pairs, out);
        pairs_write("long_factor", s->longer, s->pairs, out);
    }
    if (s->kind >= DRT_ROPE_YARN)
        drt_text_printf(out, ", \"attention_factor\": %.17g, \"original_max_position_embeddings\": %d", s->attention,
                        s->original);
    drt_text_puts(out, "},\n");
    if (s->kind >= DRT_ROPE_YARN)
        drt_text_printf(out, "%s\"original_max_position_embeddings\": %d,\n", indent, s->original);
}

static void truth_write(const char *key, bool value, const char *indent, drt_text *out) {
    drt_text_printf(out, "%s\"%s\": %s,\n", indent, key, value ? "true" : "false");
}

void drt_eos_write(const drt_decoder_config *l, const char *key, drt_text *out) {
    drt_text_printf(out, "\"%s\": ", key);
    if (l->eos < 0) drt_text_puts(out, "null");
    else drt_text_printf(out, "%s%d", l->more_eos ? "[" : "", l->eos);
    for (int i = 0; l->eos >= 0 && i < l->more_eos; i++) drt_text_printf(out, ", %d", l->also_eos[i]);
    if (l->eos >= 0 && l->more_eos) drt_text_puts(out, "]");
}

void drt_decoder_config_write(const drt_decoder_config *l, const char *indent, drt_text *out) {
    const struct {
        const char *key;
        int value;
    } keys[] = {{"hidden_size", l->width},
                {"intermediate_size", l->ffn},
                {"num_hidden_layers", l->layers},
                {"num_attention_heads", l->heads},
                {"num_key_value_heads", l->kv_heads},
                {"head_dim", l->head_size},
                {"vocab_size", l->vocab},
                {"max_position_embeddings", l->positions}},
      ids[] = {{"bos_token_id", l->bos}, {"pad_token_id", l->pad}};
    drt_text_printf(out, "%s\"model_type\": \"%s\",\n%s\"hidden_act\": \"%s\",\n", indent, families[l->family].type,
                    indent, drt_act_names[l->act]);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        drt_text_printf(out, "%s\"%s\": %d,\n", indent, keys[i].key, keys[i].value);
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        if (ids[i].value >= 0) drt_text_printf(out, "%s\"%s\": %d,\n", indent, ids[i].key, ids[i].value);
        else drt_text_printf(out, "%s\"%s\": null,\n", indent, ids[i].key);
    }
    drt_text_puts(out, indent);
    drt_eos_write(l, "eos_token_id", out);
    drt_text_printf(out, ",\n%s\"%s\": %.9g,\n", indent, l->layer_norm ? "layer_norm_eps" : "rms_norm_eps",
                    (double)l->eps);
    rope_write(l, indent, out);
    if (l->family == DRT_LLAMA || l->family == DRT_GEMMA) truth_write("attention_bias", l->qkv_bias, indent, out);
    if (l->family == DRT_LLAMA) truth_write("mlp_bias", l->mlp_bias, indent, out);
    if (l->family == DRT_QWEN2) {
        truth_write("use_sliding_window", l->window > 0, indent, out);
        drt_text_printf(out, "%s\"max_window_layers\": %d,\n", indent, l->window ? l->window_from : l->layers);
    }
    if (l->window) drt_text_printf(out, "%s\"sliding_window\": %d,\n", indent, l->window);
    else if (l->family != DRT_LLAMA) drt_text_printf(out, "%s\"sliding_window\": null,\n", indent);
    drt_text_printf(out, "%s\"tie_word_embeddings\": %s", indent, l->tied ? "true" : "false");
}
