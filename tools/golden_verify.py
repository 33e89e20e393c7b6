#!/usr/bin/env python3
"""Makes a golden file for `drt verify`: what `transformers` computes at every stage of a LLaVA folder or a decoder.

  python3 tools/golden_verify.py MODEL OUT.safetensors [--image F] [--prompt TEXT] [--dtype float32|bfloat16|float16]
  python3 tools/golden_verify.py      makes tests/golden/verify: a tiny random LLaVA with its golden file, and one of the
                                      same model with matrices rounded to bf16

TEXT is the whole prompt as the model is to read it, with <image> where the picture goes; \\n in it is a line end. Without a
tokenizer in MODEL the words are drawn, and without --image the picture of a LLaVA. The
format is in src/eval/verify.h. Needs torch, transformers, pillow, numpy.
"""
import argparse
import io
import json
import os
import shutil

import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoConfig, AutoTokenizer, CLIPVisionConfig, LlamaConfig, LlavaConfig

IMAGE, NEW = -200, 32
GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "golden")


def load(folder, dtype):
    kind = AutoConfig.from_pretrained(folder).model_type
    cls = transformers.LlavaForConditionalGeneration if kind == "llava" else transformers.AutoModelForCausalLM
    return cls.from_pretrained(folder, dtype=dtype, attn_implementation="eager").eval()


def encode(folder, prompt):
    """As LLaVA does: the stretches between images each on their own, one BOS in front."""
    tok = AutoTokenizer.from_pretrained(folder)
    ids, bos = [], tok.bos_token_id
    for i, chunk in enumerate(prompt.split("<image>")):
        part = tok(chunk).input_ids if chunk or not i else []
        if i and part and bos is not None and part[0] == bos:
            part = part[1:]
        ids += ([IMAGE] if i else []) + part
    return ids


def pixels_of(folder, picture):
    """[1, 3, S, S] by the folder's image processor; in front of it the square that image_aspect_ratio `pad` asks for."""
    with open(os.path.join(folder, "preprocessor_config.json"), encoding="utf-8") as f:
        how = json.load(f)
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    if how.get("image_aspect_ratio") == "pad" and image.width != image.height:
        side = max(image.size)
        square = Image.new("RGB", (side, side), tuple(int(x * 255) for x in how["image_mean"]))
        square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
        image = square
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    except (TypeError, ValueError):  # transformers 4
        processor = transformers.AutoImageProcessor.from_pretrained(folder, use_fast=False)
    return processor(images=image, return_tensors="pt")["pixel_values"].float()


class Stages:
    """Keeps what the modules of a model give out, under the names of drt's stages."""

    def __init__(self, model):
        self.kept, self.model = {}, model
        named = dict(model.named_modules())
        tower = next((k for k in named if k.endswith("vision_tower")), None)
        lists = [k for k in named if k.endswith(".layers") and not (tower and k.startswith(tower))]
        body = lists[0][:-len(".layers")]
        if tower is not None:
            config = model.config
            layer, n = config.vision_feature_layer, config.vision_config.num_hidden_layers
            last = layer if layer >= 0 else n + 1 + layer
            inner = tower if tower + ".embeddings" in named else tower + ".vision_model"
            self.out(named[inner + ".embeddings"], "vision.embedding")
            before = named.get(inner + ".pre_layrnorm", named[inner + ".embeddings"])
            self.out(before, "vision.0")
            for i in range(last):
                self.out(named[f"{inner}.encoder.layers.{i}"], f"vision.{i + 1}")
            self.out(next(m for k, m in named.items() if k.endswith("multi_modal_projector")), "projector")
        first = named[body + ".layers.0"]
        first.register_forward_pre_hook(
            lambda m, a, k: self.keep("splice", a[0] if a else k["hidden_states"]), with_kwargs=True)
        for i in range(len(named[body + ".layers"])):
            self.out(named[f"{body}.layers.{i}"], f"decoder.{i + 1}")
        self.out(named.get(body + ".norm", named.get(body + ".final_layernorm")), "final")

    def keep(self, name, value):
        if name not in self.kept:  # later passes are those of the greedy tokens
            value = value[0] if isinstance(value, tuple) else value
            self.kept[name] = value.detach().float().reshape(-1, value.shape[-1]).clone()

    def out(self, module, name):
        module.register_forward_hook(lambda m, a, value: self.keep(name, value))


def run(model, ids, pixels):
    """Stages of the prompt, then NEW greedy tokens and how far their logits lie above the next."""
    stages = Stages(model)
    words = torch.tensor(ids)
    args = {}
    if pixels is not None:
        c = model.config
        token = getattr(c, "image_token_id", None) or c.image_token_index
        side = c.vision_config.image_size // c.vision_config.patch_size
        classes = any(k.endswith("class_embedding") for k, _ in model.named_parameters())
        rows = side * side + (c.vision_feature_select_strategy == "full" and classes)
        at = ids.index(IMAGE)
        words = torch.tensor(ids[:at] + [token] * rows + ids[at + 1:])
        args["pixel_values"] = pixels.to(model.dtype)
    greedy, margins, cache = [], [], None
    limit = getattr(model.config, "text_config", model.config).max_position_embeddings - len(words)
    with torch.no_grad():
        for i in range(min(NEW, limit)):
            out = model(input_ids=words[None], past_key_values=cache, use_cache=True, **args)
            cache, args = out.past_key_values, {}
            if not i:
                stages.kept["logits"] = out.logits[0].float()
            best = out.logits[0, -1].float().topk(2)
            greedy.append(int(best.indices[0]))
            margins.append(float(best.values[0] - best.values[1]))
            words = torch.tensor([greedy[-1]])
    return stages.kept, greedy, margins


def make(folder, out, picture, prompt, dtype, halves=False):
    """halves: with matrices rounded to bf16, as drt keeps them with --dtype bf16."""
    model = load(folder, getattr(torch, dtype))
    with torch.no_grad():
        for p in model.parameters():
            if halves and p.ndim > 1:
                p.copy_(p.bfloat16().float())
    about = {"dtype": dtype, "format": "pt",
             "made_by": f"transformers {transformers.__version__}, torch {torch.__version__}"}
    pixels = None
    if any(os.path.exists(os.path.join(folder, f)) for f in ("tokenizer.json", "tokenizer.model")):
        ids = encode(folder, prompt)
        about["prompt"] = prompt
    else:  # nothing that could read the prompt: any words, and any picture
        c = getattr(model.config, "text_config", model.config)
        ids = torch.randint(c.vocab_size - 1, (11,), generator=torch.Generator().manual_seed(5)).tolist()
        if hasattr(model.config, "vision_config") and picture is None:
            side = model.config.vision_config.image_size
            pixels = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(6))
        ids[4:5] = [IMAGE] if pixels is not None or picture is not None else ids[4:5]
    tensors = {"ids": torch.tensor(ids)}
    if picture is not None:
        pixels = pixels_of(folder, picture)
        tensors["picture"] = torch.from_numpy(np.frombuffer(picture, np.uint8).copy())
    if pixels is not None:
        tensors["stage.pixels"] = pixels[0]
    kept, greedy, margins = run(model, ids, pixels)
    tensors |= {f"stage.{k}": v for k, v in kept.items()}
    tensors |= {"greedy": torch.tensor(greedy), "greedy_margin": torch.tensor(margins)}
    save_file({k: v.contiguous() for k, v in tensors.items()}, out, about)
    print(f"{out}: {len(kept)} stages, {len(ids)} tokens, {about['made_by']}")


def tiny(folder):
    """A LLaVA of a few thousand weights with tokenizer and preprocessor, and its golden file."""
    torch.manual_seed(11)
    model_folder = os.path.join(folder, "model")
    os.makedirs(model_folder, exist_ok=True)
    source = os.path.join(GOLDEN, "templates", "bytes")
    shutil.copy(os.path.join(source, "tokenizer.json"), model_folder)
    with open(os.path.join(source, "tokenizer.json"), encoding="utf-8") as f:
        vocab = len(json.load(f)["model"]["vocab"])
    with open(os.path.join(model_folder, "tokenizer_config.json"), "w", encoding="utf-8") as f:
        json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>",
                   "unk_token": "<unk>"}, f)
    with open(os.path.join(model_folder, "preprocessor_config.json"), "w", encoding="utf-8") as f:
        json.dump({"image_processor_type": "CLIPImageProcessor", "crop_size": {"height": 23, "width": 23},
                   "size": {"shortest_edge": 23}, "do_center_crop": True, "do_convert_rgb": True, "do_normalize": True,
                   "do_rescale": True, "do_resize": True, "resample": 3, "rescale_factor": 1 / 255,
                   "image_mean": [0.48145466, 0.4578275, 0.40821073],
                   "image_std": [0.26862954, 0.26130258, 0.27577711], "image_aspect_ratio": "pad"}, f)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(hidden_size=12, intermediate_size=20, num_hidden_layers=4,
                                       num_attention_heads=2, image_size=23, patch_size=5),
        text_config=LlamaConfig(hidden_size=18, intermediate_size=26, num_hidden_layers=3, num_attention_heads=3,
                                num_key_value_heads=1, vocab_size=vocab + 1, max_position_embeddings=128),
        image_token_index=vocab, vision_feature_layer=-2, image_seq_length=16)
    model = transformers.LlavaForConditionalGeneration(config).eval()
    with torch.no_grad():
        for p in model.parameters():  # alive: the usual 0.02 leaves every stage near its input
            p.normal_(0, 1 / max(p.shape[-1], 4) ** 0.5) if p.ndim > 1 else p.add_(torch.randn_like(p) * 0.1)
    model.save_pretrained(model_folder)
    os.path.exists(x := os.path.join(model_folder, "generation_config.json")) and os.remove(x)
    rng = np.random.default_rng(3)
    rough = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)).resize((41, 30), Image.Resampling.BICUBIC)
    picture = io.BytesIO()
    rough.save(picture, "PNG")
    for halves in (False, True):
        make(model_folder, os.path.join(folder, "golden_bf16.safetensors" if halves else "golden.safetensors"),
             picture.getvalue(), "USER: <image>\nWhat is the color of the ring? ASSISTANT:", "float32", halves)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model", nargs="?")
    parser.add_argument("out", nargs="?")
    parser.add_argument("--image")
    parser.add_argument("--prompt")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    a = parser.parse_args()
    if not a.model:
        return tiny(os.path.join(GOLDEN, "verify"))
    if not a.out:
        parser.error("OUT.safetensors is wanted")
    picture = None
    if a.image:
        with open(a.image, "rb") as f:
            picture = f.read()
    prompt = a.prompt or ("USER: <image>\\nWhat is shown in this image? ASSISTANT:" if picture else "Once upon a time")
    return make(a.model, a.out, picture, prompt.replace("\\n", "\n"), a.dtype)


if __name__ == "__main__":
    main()
