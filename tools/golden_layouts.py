#!/usr/bin/env python3
"""Writes folders under tests/golden/model that tools/golden_model.py does not: llava_{linear,mlp3,identity}, LLaVAs with
the projectors that transformers lacks, and what PyTorch computes with them; llava_original, the weights of llava as the
original LLaVA's program saves them (pytorch_model.bin, the tower in a folder of its own), and llava_stage1, what its first
stage saves (mm_projector.bin).

    python tools/golden_layouts.py          (needs what tools/golden_model.py needs)
"""
import json
import os
import shutil

import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

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


def projector(folder, name, layers, v, d):
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(hidden_size=v, intermediate_size=9, num_hidden_layers=2, num_attention_heads=2,
                                       image_size=8, patch_size=4),
        text_config=LlamaConfig(hidden_size=d, intermediate_size=11, num_hidden_layers=1, num_attention_heads=2,
                                vocab_size=24, max_position_embeddings=96), image_token_index=23)
    model = LlavaForConditionalGeneration(config)
    model.model.multi_modal_projector = Projector(layers, v, d)
    path = write_folder(folder, randomize(model, 16))
    file = os.path.join(path, "config.json")
    c = json.load(open(file))
    c["drt_projector"] = name
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


if __name__ == "__main__":
    original()
    projector("llava_linear", "linear", 1, 12, 8)
    projector("llava_mlp3", "mlp3x_gelu", 3, 12, 8)
    projector("llava_identity", "identity", 0, 8, 8)
