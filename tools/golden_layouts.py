#!/usr/bin/env python3
"""Writes tests/golden/model/llava_{linear,mlp3,identity}: LLaVAs with the projectors that transformers lacks, and what
PyTorch computes with them.

    python tools/golden_layouts.py          (needs what tools/golden_model.py needs)
"""
import json
import os

import torch
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
                                vocab_size=24, max_position_embeddings=64), image_token_index=23)
    model = LlavaForConditionalGeneration(config)
    model.model.multi_modal_projector = Projector(layers, v, d)
    path = write_folder(folder, randomize(model, 13))
    file = os.path.join(path, "config.json")
    c = json.load(open(file))
    c["drt_projector"] = name
    json.dump(c, open(file, "w"), indent=2)
    llava_expected(folder, model)


if __name__ == "__main__":
    projector("llava_linear", "linear", 1, 12, 8)
    projector("llava_mlp3", "mlp3x_gelu", 3, 12, 8)
    projector("llava_identity", "identity", 0, 8, 8)
