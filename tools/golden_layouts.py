#!/usr/bin/env python3
"""Writes folders under tests/golden/model that tools/golden_model.py does not: llava_{linear,mlp3,identity}, LLaVAs with
the projectors that transformers lacks, and what PyTorch computes with them; llava_gemma_scaled, as transformers 4 ran
Gemma in LLaVA (it multiplied all rows by the root of the width, transformers 5 multiplies those of words); llava_original, the weights of llava as the
original LLaVA's program saves them (pytorch_model.bin, the tower in a folder of its own), and llava_stage1, what its first
stage saves (mm_projector.bin); tinyllava, those of llava_siglip_cut as TinyLLaVA Factory saves them.

    python tools/golden_layouts.py          (needs what tools/golden_model.py needs)
"""
import json
import os
import shutil
import types

import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionConfig, GemmaConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from golden_decoders import tamed
from golden_model import OUT, llava_expected, randomize, write_folder


class Projector(torch.nn.Module):
    """Layers named as drt names them; GELU between them."""

    def __init__(self, layers, v, d):
        super().__init__()
        self.layers = layers
        for k in range(layers):
            setattr(self, f"linear_{k + 1}", torch.nn.Linear(d if k else v, d))

    def forward(self, x):
        for k in range(self.layers):
            x = getattr(self, f"linear_{k + 1}")(torch.nn.functional.gelu(x) if k else x)
        return x


# What config.json calls it, layers, widths of tower and decoder.
PROJECTORS = {"llava_linear": ("linear", 1, 12, 8), "llava_mlp3": ("mlp3x_gelu", 3, 12, 8),
              "llava_identity": ("identity", 0, 8, 8)}
SCALED = "llava_gemma_scaled"


def projected(folder):
    _, layers, v, d = PROJECTORS[folder]
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(hidden_size=v, intermediate_size=9, num_hidden_layers=2, num_attention_heads=2,
                                       image_size=8, patch_size=4),
        text_config=LlamaConfig(hidden_size=d, intermediate_size=11, num_hidden_layers=1, num_attention_heads=2,
                                vocab_size=24, max_position_embeddings=96), image_token_index=23)
    model = LlavaForConditionalGeneration(config)
    model.model.multi_modal_projector = Projector(layers, v, d)
    return randomize(model, 16)


def scaled_gemma():
    text = GemmaConfig(hidden_size=18, intermediate_size=23, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
                       head_dim=6, vocab_size=33, max_position_embeddings=80)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(hidden_size=12, intermediate_size=9, num_hidden_layers=2, num_attention_heads=2,
                                       image_size=11, patch_size=4), text_config=text, image_token_index=32)
    model = tamed(randomize(LlavaForConditionalGeneration(config), 16), text)
    plain = model.model.get_image_features

    def features(*args, **more):
        seen = plain(*args, **more).pooler_output
        return types.SimpleNamespace(pooler_output=[x * text.hidden_size ** 0.5 for x in seen])
    model.model.get_image_features = features
    return model


def expected(folder, model, **keys):
    """keys: of drt, in config.json."""
    file = os.path.join(write_folder(folder, model), "config.json")
    c = json.load(open(file)) | keys
    json.dump(c, open(file, "w"), indent=2)
    llava_expected(folder, model)


def original():
    """Names and keys as in liuhaotian/llava-v1.5-7b."""
    source = os.path.join(OUT, "llava")
    weights, c = load_file(os.path.join(source, "model.safetensors")), json.load(open(os.path.join(source, "config.json")))
    text, vision = c["text_config"], c["vision_config"]
    rename = {"language_model.lm_head.": "lm_head.", "language_model.model.": "model.", "lm_head.": "lm_head.",
              "multi_modal_projector.linear_1.": "model.mm_projector.0.", "multi_modal_projector.linear_2.": "model.mm_projector.2."}
    model, tower, projector = {}, {}, {}
    for name, value in weights.items():
        if name.startswith("vision_tower."):
            tower["vision_model." + name[len("vision_tower."):].removeprefix("vision_model.")] = value
            continue
        old = next(k for k in rename if name.startswith(k))
        new = rename[old] + name[len(old):]
        model[new] = value
        if "mm_projector" in new:
            projector[new] = value
    config = {k: v for k, v in text.items() if k not in ("rope_parameters", "dtype")}
    config |= dict(architectures=["LlavaLlamaForCausalLM"], model_type="llava", rope_theta=10000.0, rope_scaling=None,
                   image_aspect_ratio="pad", mm_hidden_size=vision["hidden_size"], mm_projector_type="mlp2x_gelu",
                   mm_vision_select_layer=-2, mm_vision_select_feature="patch", mm_vision_tower="somebody/tiny-tower",
                   mm_use_im_patch_token=False, mm_use_im_start_end=False, mm_resampler_type=None, use_mm_proj=True,
                   unfreeze_mm_vision_tower=False, tune_mm_mlp_adapter=False)
    for folder in ("llava_original", "llava_stage1", "llava_original/tiny-tower"):
        shutil.rmtree(os.path.join(OUT, folder), ignore_errors=True)
        os.makedirs(os.path.join(OUT, folder))
    put = lambda folder, name, value: json.dump(value, open(os.path.join(OUT, folder, name), "w"), indent=2)
    put("llava_original", "config.json", config)
    put("llava_stage1", "config.json", config | dict(model_type="llava_llama", mm_vision_tower="../llava_original/tiny-tower"))
    put("llava_original/tiny-tower", "config.json", vision | dict(model_type="clip_vision_model", architectures=["CLIPVisionModel"]))
    put("llava_original/tiny-tower", "preprocessor_config.json",
        dict(image_mean=[0.5, 0.25, 0.125], image_std=[0.5, 0.25, 1.0], crop_size=15, size=15))
    torch.save(model, os.path.join(OUT, "llava_original", "pytorch_model.bin"))
    torch.save(projector, os.path.join(OUT, "llava_stage1", "mm_projector.bin"))
    file = os.path.join(OUT, "llava_original/tiny-tower", "model.safetensors")
    save_file(tower, file, metadata={"format": "pt"})
    os.chmod(file, 0o644)


def tinyllava():
    """Names and keys of TinyLLaVA Factory's TinyLlavaForConditionalGeneration."""
    source, out = os.path.join(OUT, "llava_siglip_cut"), os.path.join(OUT, "tinyllava")
    weights, c = load_file(os.path.join(source, "model.safetensors")), json.load(open(os.path.join(source, "config.json")))
    rename = {"language_model.": "language_model.", "vision_tower.vision_model.": "vision_tower._vision_tower.vision_model.",
              "vision_tower.": "vision_tower._vision_tower.vision_model.",
              "multi_modal_projector.linear_1.": "connector._connector.0.",
              "multi_modal_projector.linear_2.": "connector._connector.2."}
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(out)
    model = {}
    for name, value in weights.items():
        old = next(k for k in rename if name.startswith(k))
        model[rename[old] + name[len(old):]] = value
    file = os.path.join(out, "model.safetensors")
    save_file(model, file, metadata={"format": "pt"})
    os.chmod(file, 0o644)
    text, vision = dict(c["text_config"]), c["vision_config"]
    text |= {"rope_theta": text.pop("rope_parameters")["rope_theta"]}
    config = dict(architectures=["TinyLlavaForConditionalGeneration"], model_type="tinyllava", connector_type="mlp2x_gelu",
                  llm_model_name_or_path="TinyLlama/TinyLlama-1.1B-Chat-v1.0", tokenizer_name_or_path="somebody/words",
                  vision_model_name_or_path="google/siglip-so400m-patch14-384", vision_model_name_or_path2="",
                  hidden_size=text["hidden_size"], vocab_size=text["vocab_size"], vision_hidden_size=vision["hidden_size"],
                  ignore_index=-100, image_token_index=-200, image_aspect_ratio="square", num_queries=128, resampler_hidden_size=768,
                  num_resampler_layers=3, pad_token="<unk>", tokenizer_model_max_length=2048, tokenizer_padding_side="right",
                  tokenizer_use_fast=False, tune_type_connector="full", tune_type_llm="full", tune_type_vision_tower="frozen",
                  tune_vision_tower_from_layer=0, use_cache=True, vision_feature_layer=-2,
                  vision_feature_select_strategy="patch", text_config=text,
                  vision_config=vision | dict(model_name_or_path="google/siglip-so400m-patch14-384", model_name_or_path2=""))
    json.dump(config, open(os.path.join(out, "config.json"), "w"), indent=2)


if __name__ == "__main__":
    original()
    tinyllava()
    expected(SCALED, scaled_gemma(), drt_visual_scaled=True)
    for folder in PROJECTORS:
        expected(folder, projected(folder), drt_projector=PROJECTORS[folder][0])
