#!/usr/bin/env python3
"""Writes tests/golden/decoders/: tiny random decoders of every family, and what `transformers` computes with them.

    python tools/golden_decoders.py         (needs torch, transformers, safetensors; seconds)

Each folder is one that drt_model_open must read. expected.safetensors beside it holds texts, their logits, the loss and
its gradients (named as drt names the parameter), a prompt, and the 64 tokens that follow it greedily.
"""
import json
import os

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
import torch
from transformers import (CLIPVisionConfig, GemmaConfig, GemmaForCausalLM, LlamaConfig, LlamaForCausalLM, LlavaConfig,
                          LlavaForConditionalGeneration, MistralConfig, MistralForCausalLM, Phi3Config,
                          Phi3ForCausalLM, PhiConfig, PhiForCausalLM, Qwen2Config, Qwen2ForCausalLM,
                          SiglipVisionConfig)

import golden_model as golden

def decoder(model_class, config_class, layers, **keys):
    keys = dict(vocab_size=97, num_hidden_layers=layers, max_position_embeddings=90, bos_token_id=1, eos_token_id=2,
                pad_token_id=None, attn_implementation="eager") | keys
    model = model_class(config_class(**keys))
    return tamed(golden.randomize(model, 17), model.config)


def tamed(model, text):
    """Gemma's norms multiply by one more than the weight. A tied decoder that hears itself above all repeats one token
    for ever: its words are short."""
    if text.model_type == "gemma":
        for name, p in model.named_parameters():
            if "norm" in name and "vision" not in name:
                p.data.sub_(1)
    if text.tie_word_embeddings:
        model.get_input_embeddings().weight.data.mul_(0.05 if text.model_type == "gemma" else 0.2)
    return model


def folder(name, model):
    print(name, end=": ")
    told = golden.greedy(lambda ids: model(input_ids=torch.tensor([ids])).logits[0, -1], golden.drawn_prompts(97))
    golden.decoder_expected(f"../decoders/{name}", model, **told)


def qwen1_5(name, model):
    """The config as Qwen1.5 is published with: keys of its time, a window that is named and not used."""
    folder(name, model)
    path, c = os.path.join(golden.OUT, "..", "decoders", name, "config.json"), model.config
    same = ("hidden_act", "hidden_size", "initializer_range", "intermediate_size", "max_position_embeddings",
            "num_attention_heads", "num_hidden_layers", "num_key_value_heads", "rms_norm_eps", "tie_word_embeddings",
            "use_cache", "vocab_size", "bos_token_id", "eos_token_id")
    config = {"architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "max_window_layers": 21,
              "model_type": "qwen2", "rope_theta": 1000000.0, "sliding_window": 32768, "torch_dtype": "bfloat16",
              "transformers_version": "4.37.0", "use_sliding_window": False} | {k: getattr(c, k) for k in same}
    with open(path, "w", encoding="utf-8") as f:
        json.dump(config, f, indent=2, sort_keys=True)
    ids = torch.tensor([[5, 7, 11]])
    read = Qwen2ForCausalLM.from_pretrained(os.path.dirname(path), dtype=torch.float32).eval()
    assert (read(ids).logits - model(ids).logits).abs().max() < 1e-5


CLIP = CLIPVisionConfig(hidden_size=12, intermediate_size=13, num_hidden_layers=2, num_attention_heads=3, image_size=12,
                        patch_size=4)


def llava(name, text, vision=CLIP, seed=7, **more):
    print(name, end=": ", flush=True)
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=text.vocab_size - 1, **more)
    model = tamed(golden.randomize(LlavaForConditionalGeneration(config), seed), text)
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
    folder("llama_linear_b", decoder(*l, 3, hidden_size=27, intermediate_size=22, num_attention_heads=3, num_key_value_heads=3,
                                     head_dim=6, tie_word_embeddings=True,
                                     rope_parameters={"rope_type": "linear", "rope_theta": 700.0, "factor": 4.0}))
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
    folder("qwen2_yarn_b", decoder(*q, 3, hidden_size=25, intermediate_size=23, num_attention_heads=5, num_key_value_heads=5,
                                   head_dim=12, rope_parameters={"rope_type": "yarn", "rope_theta": 100.0, "factor": 8.0,
                                                                 "beta_fast": 3.0, "truncate": False,
                                                                 "attention_factor": 1.3,
                                                                 "original_max_position_embeddings": 48}))
    # 1.8B and up; 0.5B, which is tied.
    qwen1_5("qwen1_5_a", decoder(*q, 2, hidden_size=20, intermediate_size=35, num_attention_heads=2, num_key_value_heads=2,
                                 rope_parameters={"rope_type": "default", "rope_theta": 1e6}))
    qwen1_5("qwen1_5_b", decoder(*q, 3, hidden_size=18, intermediate_size=31, num_attention_heads=3, num_key_value_heads=3,
                                 tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 1e6}))
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
    folder("phi3_long_b", decoder(*p3, 3, hidden_size=30, intermediate_size=21, num_attention_heads=5, num_key_value_heads=5,
                                  max_position_embeddings=320, original_max_position_embeddings=80, pad_token_id=0,
                                  rope_parameters={"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0, 1.3, 2.2],
                                                   "long_factor": [1.0, 4.0, 11.0]}))
    folder("phi_a", decoder(*p, 2, hidden_size=24, intermediate_size=41, num_attention_heads=3))
    folder("phi_b", decoder(*p, 3, hidden_size=20, intermediate_size=45, num_attention_heads=2, num_key_value_heads=1,
                            rope_parameters={"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.4}))
    small = dict(vocab_size=37, num_hidden_layers=2, max_position_embeddings=80)
    llava("llava_gemma", GemmaConfig(**small, hidden_size=20, intermediate_size=27, num_attention_heads=3,
                                     num_key_value_heads=1, head_dim=8))
    llava("llava_qwen2", Qwen2Config(**small, hidden_size=18, intermediate_size=25, num_attention_heads=3,
                                     num_key_value_heads=1, tie_word_embeddings=True))
    llava("llava_phi3", Phi3Config(**small, hidden_size=24, intermediate_size=21, num_attention_heads=4,
                                   num_key_value_heads=2, pad_token_id=0))
    llava("llava_phi", PhiConfig(**small, hidden_size=24, intermediate_size=29, num_attention_heads=3))
    # Others: three layers, an odd vocabulary, and the tower that TinyLLaVA has.
    other = dict(vocab_size=31, num_hidden_layers=3, max_position_embeddings=85)
    eye = SiglipVisionConfig(hidden_size=10, intermediate_size=17, num_hidden_layers=3, num_attention_heads=1,
                             image_size=13, patch_size=3)
    llava("llava_gemma_b", GemmaConfig(**other, hidden_size=14, intermediate_size=19, num_attention_heads=2,
                                       num_key_value_heads=2, head_dim=6),
          CLIPVisionConfig(hidden_size=9, intermediate_size=15, num_hidden_layers=3, num_attention_heads=3, image_size=11,
                           patch_size=5), vision_feature_layer=-1, vision_feature_select_strategy="full")
    llava("llava_qwen2_b", Qwen2Config(**other, hidden_size=15, intermediate_size=22, num_attention_heads=5,
                                       num_key_value_heads=5, head_dim=4), eye, 10, vision_feature_select_strategy="full")
    llava("llava_phi3_b", Phi3Config(**other, hidden_size=21, intermediate_size=17, num_attention_heads=3,
                                     num_key_value_heads=3, head_dim=6, pad_token_id=0),
          eye, 10, vision_feature_select_strategy="full")
    llava("llava_phi_b", PhiConfig(**other, hidden_size=16, intermediate_size=23, num_attention_heads=2),
          eye, 10, vision_feature_select_strategy="full")
