#!/usr/bin/env python3
"""Writes tests/golden/decoders/: tiny random decoders of every family, and what `transformers` computes with them.

    python tools/golden_decoders.py         (needs torch, transformers, safetensors; seconds)

Each folder is one that drt_model_open must read. expected.safetensors beside it holds texts, their logits, the loss and
its gradients (named as drt names the parameter), a prompt, and the 64 tokens that follow it greedily.
"""
import os

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
import torch
from transformers import (CLIPVisionConfig, GemmaConfig, GemmaForCausalLM, LlamaConfig, LlamaForCausalLM, LlavaConfig,
                          LlavaForConditionalGeneration, MistralConfig, MistralForCausalLM, Phi3Config,
                          Phi3ForCausalLM, PhiConfig, PhiForCausalLM, Qwen2Config, Qwen2ForCausalLM)

import golden_model as golden

NEW = 64


def decoder(model_class, config_class, layers, **keys):
    keys = dict(vocab_size=97, num_hidden_layers=layers, max_position_embeddings=90, bos_token_id=1, eos_token_id=2,
                pad_token_id=None, attn_implementation="eager") | keys
    model = golden.randomize(model_class(config_class(**keys)), 17)
    if config_class is GemmaConfig:  # its norms multiply by one more than the weight
        for name, p in model.named_parameters():
            if "norm" in name:
                p.data.sub_(1)
    if model.config.tie_word_embeddings:  # short words: a decoder that only hears itself repeats one token for ever
        model.get_input_embeddings().weight.data.mul_(0.05 if config_class is GemmaConfig else 0.2)
    return model


@torch.no_grad()
def greedy(model, prompt):
    """The tokens that follow, each from a run over everything before it, and how sure the least sure one was."""
    ids, margin = prompt.tolist(), float("inf")
    for _ in range(NEW):
        best = model(input_ids=torch.tensor([ids])).logits[0, -1].topk(2)
        margin = min(margin, (best.values[0] - best.values[1]).item())
        ids.append(best.indices[0].item())
    return torch.tensor(ids[len(prompt):]), margin


def folder(name, model):
    for seed in range(20):  # a prompt after which no choice is a toss-up
        prompt = torch.randint(0, 97, (5,), generator=torch.Generator().manual_seed(seed))
        tokens, margin = greedy(model, prompt)
        if margin > 5e-4 and len(set(tokens.tolist())) > 6:
            break
    else:
        raise SystemExit(f"{name}: no prompt is answered decidedly and with many tokens")
    golden.decoder_expected(f"../decoders/{name}", model, **{"greedy.prompt": prompt, "greedy.tokens": tokens})
    path = os.path.join(golden.OUT, "..", "decoders", name)
    size = sum(os.path.getsize(os.path.join(path, f)) for f in os.listdir(path))
    print(f"{name}: {size} bytes, {len(set(tokens.tolist()))} different tokens, least margin {margin:.1e}")


def llava(name, text):
    vision = CLIPVisionConfig(hidden_size=12, intermediate_size=13, num_hidden_layers=2, num_attention_heads=3,
                              image_size=12, patch_size=4)
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=text.vocab_size - 1)
    model = golden.randomize(LlavaForConditionalGeneration(config), 7)
    if text.tie_word_embeddings:
        model.get_input_embeddings().weight.data.mul_(0.2)
    golden.write_folder(f"../decoders/{name}", model)
    golden.llava_expected(f"../decoders/{name}", model)


def dynamic_is_plain():
    """drt runs rope type "dynamic" up to max_position_embeddings as if it were plain."""
    sizes = dict(hidden_size=16, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, vocab_size=20,
                 max_position_embeddings=30)
    plain = golden.randomize(LlamaForCausalLM(LlamaConfig(**sizes)), 1)
    dynamic = LlamaForCausalLM(LlamaConfig(**sizes, rope_parameters={"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e4}))
    dynamic.load_state_dict(plain.state_dict())
    ids = torch.arange(30)[None] % 20
    assert (plain(ids).logits - dynamic.eval()(ids).logits).abs().max() < 1e-5


if __name__ == "__main__":
    os.makedirs(os.path.join(golden.OUT, "..", "decoders"), exist_ok=True)
    dynamic_is_plain()
    l, m, q, g, p3, p = ((LlamaForCausalLM, LlamaConfig), (MistralForCausalLM, MistralConfig),
                         (Qwen2ForCausalLM, Qwen2Config), (GemmaForCausalLM, GemmaConfig),
                         (Phi3ForCausalLM, Phi3Config), (PhiForCausalLM, PhiConfig))
    # LLaMA-2 and Vicuna; LLaMA-3.1 (of five rotary pairs one is fast, one between, three slow); linear, with biases.
    folder("llama_a", decoder(*l, 2, hidden_size=24, intermediate_size=33, num_attention_heads=4, rms_norm_eps=1e-5))
    folder("llama_b", decoder(*l, 3, hidden_size=20, intermediate_size=31, num_attention_heads=4, num_key_value_heads=2,
                              head_dim=10, rms_norm_eps=1e-5,
                              rope_parameters={"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0,
                                               "high_freq_factor": 4.0, "original_max_position_embeddings": 64}))
    folder("llama_linear", decoder(*l, 2, hidden_size=20, intermediate_size=29, num_attention_heads=2, num_key_value_heads=1,
                                   attention_bias=True, mlp_bias=True,
                                   rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 2.5}))
    folder("mistral_a", decoder(*m, 2, hidden_size=24, intermediate_size=35, num_attention_heads=4, num_key_value_heads=2,
                                sliding_window=80))
    folder("mistral_b", decoder(*m, 3, hidden_size=20, intermediate_size=27, num_attention_heads=2, num_key_value_heads=1,
                                head_dim=14, sliding_window=None, rope_parameters={"rope_type": "default", "rope_theta": 1e6}))
    # Qwen2 and 2.5; tied as their small ones are; b slides a window in its last layer alone.
    folder("qwen2_a", decoder(*q, 2, hidden_size=24, intermediate_size=33, num_attention_heads=4, num_key_value_heads=2,
                              rope_parameters={"rope_type": "default", "rope_theta": 1e6}))
    folder("qwen2_b", decoder(*q, 3, hidden_size=20, intermediate_size=31, num_attention_heads=2, num_key_value_heads=2,
                              tie_word_embeddings=True, use_sliding_window=True, sliding_window=75, max_window_layers=2))
    # Of eight pairs some are stretched, some are not, some lie between.
    folder("qwen2_yarn", decoder(*q, 2, hidden_size=32, intermediate_size=29, num_attention_heads=2, num_key_value_heads=1,
                                 rope_parameters={"rope_type": "yarn", "rope_theta": 300.0, "factor": 4.0, "beta_fast": 2.0,
                                                  "original_max_position_embeddings": 64}))
    folder("gemma_a", decoder(*g, 2, hidden_size=24, intermediate_size=37, num_attention_heads=3, num_key_value_heads=1,
                              head_dim=10, pad_token_id=0))
    folder("gemma_b", decoder(*g, 3, hidden_size=20, intermediate_size=31, num_attention_heads=4, num_key_value_heads=2,
                              head_dim=6, pad_token_id=0))
    folder("phi3_a", decoder(*p3, 2, hidden_size=24, intermediate_size=35, num_attention_heads=4, num_key_value_heads=4,
                             sliding_window=72, pad_token_id=0))
    folder("phi3_b", decoder(*p3, 3, hidden_size=24, intermediate_size=27, num_attention_heads=3, num_key_value_heads=1,
                             rope_parameters={"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.75},
                             pad_token_id=0))
    # As the checkpoints of 128 thousand rows; up to the original 75 the short factors hold.
    folder("phi3_long", decoder(*p3, 2, hidden_size=24, intermediate_size=29, num_attention_heads=3, num_key_value_heads=1,
                                max_position_embeddings=600, original_max_position_embeddings=75, pad_token_id=0,
                                rope_parameters={"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0, 1.1, 1.5, 2.0],
                                                 "long_factor": [1.5, 3.0, 9.0, 20.0]}))
    folder("phi_a", decoder(*p, 2, hidden_size=24, intermediate_size=41, num_attention_heads=3))
    folder("phi_b", decoder(*p, 3, hidden_size=20, intermediate_size=45, num_attention_heads=2, num_key_value_heads=1,
                            rope_parameters={"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.4}))
    small = dict(vocab_size=37, num_hidden_layers=2, max_position_embeddings=80)
    llava("llava_gemma", GemmaConfig(**small, hidden_size=20, intermediate_size=27, num_attention_heads=3,
                                     num_key_value_heads=1, head_dim=8))
    llava("llava_qwen2", Qwen2Config(**small, hidden_size=18, intermediate_size=25, num_attention_heads=3,
                                     num_key_value_heads=1, tie_word_embeddings=True))
    llava("llava_phi", PhiConfig(**small, hidden_size=24, intermediate_size=29, num_attention_heads=3))
