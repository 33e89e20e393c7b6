#!/usr/bin/env python3
"""Writes tests/golden/model/{clip_odd,siglip,siglip_odd,llava_siglip,llava_siglip_bare,llava_siglip_cut,llava_s2,
llava_s2_b}: tiny random Hugging Face folders and what `transformers` computes with them, for tests/model/pair_test.c and
llava_test.c; and tests/golden/images/scales.safetensors, the scales of a picture, for image_scales_test.c.

    python tools/golden_vision.py            (needs torch, transformers, safetensors; seconds)

The parts are golden_model.py's: weights at which every path matters, gradients named as drt names the parameter.
"""
import json
import os
import types

import torch
from safetensors.torch import save_file
from transformers import (CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig, LlamaConfig, LlavaConfig,
                          LlavaForConditionalGeneration, SiglipConfig, SiglipModel, SiglipTextConfig,
                          SiglipVisionConfig)

from golden_images import scene
from golden_model import OUT, gradients, llava_expected, llava_old_name, randomize, save, write_folder

IMAGES = 3


def texts_of(text, seed):
    """CLIP: bos, some words, eos, of any length. SigLIP: some words, padding to the last position."""
    g = torch.Generator().manual_seed(seed)
    for k in range(IMAGES):
        n = 1 + 2 * k
        words = torch.randint(3, text.vocab_size - 3, (n,), generator=g).tolist()
        if text.model_type == "clip_text_model":
            yield [text.bos_token_id, *words, text.eos_token_id]
        else:
            yield words + [text.pad_token_id] * (text.max_position_embeddings - n)


def pair_expected(folder, model, seed):
    write_folder(folder, randomize(model, seed))
    vision, texts = model.config.vision_config, list(texts_of(model.config.text_config, seed))
    side = vision.image_size
    pixels = torch.randn(IMAGES, 3, side, side, generator=torch.Generator().manual_seed(seed + 1))
    seen = model.vision_model(pixel_values=pixels, output_hidden_states=True)
    read = torch.cat([model.text_model(input_ids=torch.tensor([t])).pooler_output for t in texts])
    own, siglip = torch.arange(IMAGES), model.config.model_type == "siglip"
    image, text = (seen.pooler_output, read) if siglip else (model.visual_projection(seen.pooler_output), model.text_projection(read))
    image, text = torch.nn.functional.normalize(image, dim=-1), torch.nn.functional.normalize(text, dim=-1)
    logits = model.logit_scale.exp() * image @ text.T + (model.logit_bias if siglip else 0)
    if siglip:
        whole = model(input_ids=torch.tensor(texts), pixel_values=pixels, return_loss=True)
        assert (whole.logits_per_image - logits).abs().max() < 1e-5
        loss = whole.loss
    else:
        loss = (torch.nn.functional.cross_entropy(logits, own) + torch.nn.functional.cross_entropy(logits.T, own)) / 2
    loss.backward()
    out = {"pixels": pixels, "hidden": torch.stack(seen.hidden_states), "pooled_images": seen.pooler_output,
           "images": image, "texts": text, "logits": logits, "loss": loss}
    out |= {f"ids.{k}": torch.tensor(t) for k, t in enumerate(texts)}
    gradients(model, out)
    save(folder, out)


def clip_odd():
    vision = CLIPVisionConfig(hidden_size=21, intermediate_size=11, num_hidden_layers=2, num_attention_heads=3, image_size=17,
                              patch_size=4, hidden_act="gelu", layer_norm_eps=1e-3)
    text = CLIPTextConfig(hidden_size=6, intermediate_size=9, num_hidden_layers=2, num_attention_heads=1, vocab_size=23,
                          max_position_embeddings=13, bos_token_id=21, eos_token_id=22, pad_token_id=0, hidden_act="gelu")
    return CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=5))


def siglip(vision, text):
    return SiglipModel(SiglipConfig(text_config=SiglipTextConfig(**text).to_dict(),
                                    vision_config=SiglipVisionConfig(**vision).to_dict()))


SIGLIP = [  # of two odd sizes; in both the patches leave pixels over, as 384 / 14 does
    (dict(hidden_size=18, intermediate_size=25, num_hidden_layers=3, num_attention_heads=3, image_size=17, patch_size=5),
     dict(hidden_size=14, intermediate_size=19, num_hidden_layers=2, num_attention_heads=2, vocab_size=30,
          max_position_embeddings=7, projection_size=18, pad_token_id=1)),
    (dict(hidden_size=10, intermediate_size=33, num_hidden_layers=2, num_attention_heads=1, image_size=13, patch_size=3,
          layer_norm_eps=1e-3),
     dict(hidden_size=15, intermediate_size=8, num_hidden_layers=2, num_attention_heads=5, vocab_size=21,
          max_position_embeddings=11, projection_size=10, pad_token_id=0, hidden_act="gelu")),
]


def llava(vision, layer, strategy="full"):
    text = LlamaConfig(hidden_size=18, intermediate_size=22, num_hidden_layers=2, num_attention_heads=3, num_key_value_heads=1,
                       vocab_size=37, max_position_embeddings=96)
    return randomize(LlavaForConditionalGeneration(LlavaConfig(
        vision_config=SiglipVisionConfig(**vision), text_config=text, image_token_index=36, vision_feature_layer=layer,
        vision_feature_select_strategy=strategy)), 13)


def tiles(pixels, side, scales):
    """[b, 3, h, h] -> a list of one batch [b, (side_i / side)^2, 3, side, side] for each scale."""
    out = []
    for s in scales:
        x = torch.nn.functional.interpolate(pixels, size=s, mode="bicubic")
        n = s // side
        out.append(x.reshape(len(x), 3, n, side, n, side).permute(0, 2, 4, 1, 3, 5).reshape(len(x), n * n, 3, side, side))
    return out


S2 = {  # of two odd sizes: seed, sides in pixels, patches along the tower's own, layers of the decoder
    "llava_s2": (17, (8, 16, 24), 2, 1, dict(hidden_size=18, intermediate_size=22, num_attention_heads=3, vocab_size=37)),
    "llava_s2_b": (18, (15, 45), 3, 2, dict(hidden_size=20, intermediate_size=19, num_attention_heads=2, vocab_size=29,
                                            num_key_value_heads=1)),
}


def s2(folder):
    """A LLaVA whose tower sees several scales, as the S2-Wrapper merges them: no class of transformers has it."""
    seed, scales, p, layers, more = S2[folder]
    vision = dict(hidden_size=12, intermediate_size=13, num_hidden_layers=3, num_attention_heads=3, image_size=scales[0],
                  patch_size=scales[0] // p)
    text = LlamaConfig(num_hidden_layers=layers, max_position_embeddings=96, **more)
    model = LlavaForConditionalGeneration(LlavaConfig(vision_config=CLIPVisionConfig(**vision), text_config=text,
                                                      image_token_index=text.vocab_size - 1))
    projector, tower, side = model.model.multi_modal_projector, model.model.vision_tower, scales[0]
    projector.linear_1 = torch.nn.Linear(12 * len(scales), text.hidden_size)

    def features(pixel_values, **_):
        columns = []
        for x in tiles(pixel_values, side, scales):
            b, n = len(x), int(x.shape[1] ** 0.5)
            seen = tower(x.flatten(0, 1), output_hidden_states=True).hidden_states[-2][:, 1:]
            grid = seen.reshape(b, n, n, p, p, 12).permute(0, 5, 1, 3, 2, 4).reshape(b, 12, p * n, p * n)
            columns.append(torch.nn.functional.interpolate(grid, size=p, mode="area").flatten(2).transpose(1, 2))
        return types.SimpleNamespace(pooler_output=list(projector(torch.cat(columns, -1))))
    model.model.get_image_features = features
    return randomize(model, seed)


def s2_expected(folder):
    model, scales = s2(folder), S2[folder][1]
    path = os.path.join(write_folder(folder, model), "config.json")
    config = json.load(open(path)) | {"drt_s2_scales": ",".join(map(str, scales))}
    json.dump(config, open(path, "w"), indent=2)
    llava_expected(folder, model, scales[-1], lambda x: torch.cat(tiles(x, scales[0], scales), 1).flatten(0, 1))


def scales_expected():
    """One picture of 36 x 36 in scales of 12, 24 and 36 with CLIP's mean and deviation, patches of 5: rows as drt's."""
    picture = torch.from_numpy(scene(36, 36))
    mean, std = torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711])
    pixels = ((picture / 255 - mean) / std).permute(2, 0, 1)[None]
    views = torch.cat(tiles(pixels, 12, (12, 24, 36)), 1)[0]
    rows = views[:, :, :10, :10].reshape(14, 3, 2, 5, 2, 5).permute(0, 2, 4, 1, 3, 5).reshape(56, 75)
    file = os.path.join(OUT, "..", "images", "scales.safetensors")
    save_file({"picture": picture.contiguous(), "rows": rows.contiguous()}, file)
    os.chmod(file, 0o644)


if __name__ == "__main__":
    pair_expected("clip_odd", clip_odd(), 31)
    for folder, sizes, seed in zip(("siglip", "siglip_odd"), SIGLIP, (37, 41)):
        pair_expected(folder, siglip(*sizes), seed)
    model = llava(SIGLIP[0][0], -2)
    write_folder("llava_siglip", model)
    llava_expected("llava_siglip", model)
    model = llava(dict(SIGLIP[1][0], vision_use_head=False), -1)
    write_folder("llava_siglip_bare", model, llava_old_name)
    llava_expected("llava_siglip_bare", model)
    model = llava(SIGLIP[1][0], -2, "default")  # without the first patch, as TinyLLaVA's
    write_folder("llava_siglip_cut", model)
    llava_expected("llava_siglip_cut", model)
    s2_expected("llava_s2")
    s2_expected("llava_s2_b")
    scales_expected()
