#!/usr/bin/env python3
"""Writes tests/golden/lora/: adapters of `peft` for tiny models of the other golden folders, and what they compute.

    python tools/golden_lora.py [NAME ...]         (needs torch, transformers, peft, safetensors; seconds)
    python tools/golden_lora.py --check NAME DIR   DIR, an adapter that drt wrote of tests/golden/lora/NAME, loaded by
                                                   peft: the same logits as expected.safetensors

NAME/adapter_*: the folder as peft writes it. expected.safetensors beside it: texts and pictures, logits, loss, and the
gradients "grad.TENSOR" of the adapter's tensors, all without dropout.
"""
import json
import os
import shutil
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, CLIPModel, LlavaForConditionalGeneration, SiglipModel

import golden_model as golden

ROOT = os.path.join(golden.OUT, "..")
CASES = {  # name: base, and what peft is told
    "llava": ("model/llava", dict(r=3, lora_alpha=5, lora_dropout=0.25, target_modules="all-linear")),
    "llava_saved": ("model/llava", dict(r=1, lora_alpha=2, target_modules=r"model\.language_model\..*\.(q|v)_proj",
                                        modules_to_save=["multi_modal_projector"])),
    "phi3": ("decoders/phi3_a", dict(r=4, lora_alpha=4, target_modules="all-linear")),
    "llava_ends": ("model/llava", dict(r=2, lora_alpha=3, target_modules=["lm_head", "patch_embedding", "fc2", "linear_1"])),
    "phi": ("decoders/phi_a", dict(r=3, lora_alpha=5, use_rslora=True, target_modules=r"lm_head|model\..*\.dense")),
    "clip": ("model/clip", dict(r=2, lora_alpha=3, target_modules="all-linear")),
    "siglip": ("model/siglip", dict(r=2, lora_alpha=12, target_modules=r".*(layers.*(fc1|v_proj)|head\.mlp\.fc2|text_model\.head|patch_embedding)")),
    "qwen2": ("decoders/qwen2_a", dict(r=2, lora_alpha=3, use_rslora=True, target_modules=["k_proj", "up_proj", "o_proj"])),
}


def base(name):
    path = os.path.join(ROOT, CASES[name][0])
    kind = (LlavaForConditionalGeneration if "llava" in name else CLIPModel if name == "clip" else
            SiglipModel if name == "siglip" else AutoModelForCausalLM)
    return kind.from_pretrained(path, attn_implementation="eager")


def samples(name, model):
    """[(ids, labels, pixels)] with images expanded, and the same as drt's rig reads them."""
    out = {}
    if "clip" in name or "siglip" in name:
        of = load_file(os.path.join(ROOT, CASES[name][0], "expected.safetensors"))
        out = {k: v for k, v in of.items() if k.startswith("ids.") or k == "pixels"}
        return [([out[f"ids.{k}"].long()[None] for k in range(len(out) - 1)], None, out["pixels"])], out
    if "llava" not in name:
        texts = [torch.randint(0, model.config.vocab_size, (n,), generator=torch.Generator().manual_seed(n)) for n in (7, 13)]
        for k, ids in enumerate(texts):
            out[f"s.{k}.p.0.ids"] = ids
            out[f"s.{k}.p.0.labels"] = torch.cat([torch.tensor([golden.IGNORE]), ids[1:]])
        return [(ids[None], torch.cat([torch.tensor([golden.IGNORE]), ids[1:]]), None) for ids in texts], out
    c, list_, seen = model.config, [], 0
    side, rows = c.vision_config.image_size, (c.vision_config.image_size // c.vision_config.patch_size) ** 2
    pixels = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(3))
    for k, (ids, trained) in enumerate(golden.SAMPLES):
        n = sum(i == golden.IMAGE for i in ids)
        labels = golden.expand([i if t else golden.IMAGE if i == golden.IMAGE else golden.IGNORE
                                for i, t in zip(ids, trained)], rows, golden.IGNORE)[0]
        list_.append((golden.expand(ids, rows, c.image_token_index), labels, pixels[seen:seen + n] if n else None))
        seen += n
        out[f"s.{k}.p.0.ids"] = torch.tensor(ids)
        out[f"s.{k}.p.0.labels"] = torch.tensor([i if t else golden.IGNORE for i, t in zip(ids, trained)])
    return list_, out | {"pixels": pixels}


def run_pair(model, texts, pixels):
    """Scores of all pairs, and the loss that the family learns by. Texts of a CLIP are read one by one: padded they would
    need a mask."""
    bare = getattr(model, "base_model", model)
    bare = getattr(bare, "model", bare) if hasattr(model, "peft_config") else model
    siglip = bare.config.model_type == "siglip"
    image = bare.vision_model(pixel_values=pixels).pooler_output
    text = torch.cat([bare.text_model(input_ids=t).pooler_output for t in texts])
    if not siglip:
        image, text = bare.visual_projection(image), bare.text_projection(text)
    image, text = torch.nn.functional.normalize(image, dim=-1), torch.nn.functional.normalize(text, dim=-1)
    y = bare.logit_scale.exp() * image @ text.T + (bare.logit_bias if siglip else 0)
    own = torch.arange(len(y))
    cross = torch.nn.functional.cross_entropy
    if siglip:
        return y, -torch.nn.functional.logsigmoid((2 * torch.eye(len(y)) - 1) * y).sum() / len(y)
    return y, (cross(y, own) + cross(y.T, own)) / 2


def run(model, list_):
    if list_[0][1] is None:
        return run_pair(model, list_[0][0], list_[0][2])
    logits, loss, words = [], 0, 0
    for ids, labels, pixels in list_:
        y = model(input_ids=ids, **({} if pixels is None else {"pixel_values": pixels})).logits[0]
        logits.append(y)
        loss = loss + torch.nn.functional.cross_entropy(y[:-1], labels[1:], ignore_index=golden.IGNORE, reduction="sum")
        words += int((labels[1:] != golden.IGNORE).sum())
    return torch.cat(logits), loss / words


def make(name):
    bare = base(name)
    list_, out = samples(name, bare)
    plain, _ = run(bare, list_)
    model = get_peft_model(bare, LoraConfig(**CASES[name][1])).eval()
    g = torch.Generator().manual_seed(23)
    for p in model.parameters():
        if p.requires_grad:
            p.data.copy_(torch.randn(p.shape, generator=g) / (p[0].numel() ** 0.5 if p.dim() > 1 else 3))
    logits, loss = run(model, list_)
    assert (logits - plain).abs().max() > 0.5, (logits - plain).abs().max()  # the adapter matters
    loss.backward()
    for key, p in model.named_parameters():
        if p.grad is not None:
            key = key.replace(".default", "").replace(".modules_to_save", "")
            out["grad." + key] = p.grad
    out |= {"logits": logits, "loss": loss}
    folder = os.path.join(ROOT, "lora", name)
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder, save_embedding_layers=name == "phi")  # the base's lm_head beside the adapter's, or not
    os.remove(os.path.join(folder, "README.md"))
    file = os.path.join(folder, "adapter_config.json")
    config = json.load(open(file))
    config["base_model_name_or_path"] = os.path.basename(CASES[name][0])
    for key in ("target_modules", "modules_to_save"):
        if isinstance(config[key], list):
            config[key].sort()
    json.dump(config, open(file, "w"), indent=2, sort_keys=True)
    file = os.path.join(folder, "expected.safetensors")
    save_file({k: (v.to(torch.int32) if v.dtype == torch.int64 else v).detach().contiguous() for k, v in out.items()}, file)
    for f in os.listdir(folder):
        os.chmod(os.path.join(folder, f), 0o644)
    print(f"{name}: {sum(p.requires_grad for p in model.parameters())} tensors, logits move by "
          f"{(logits - plain).abs().max():.2f}, {sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder))} bytes")


def check(name, folder):
    bare = base(name)
    list_, _ = samples(name, bare)
    logits, _ = run(PeftModel.from_pretrained(bare, folder).eval(), list_)
    want = load_file(os.path.join(ROOT, "lora", name, "expected.safetensors"))["logits"]
    gap = (logits - want).abs().max().item()
    print(f"{name}: peft loads {folder}, logits {gap:.1e} apart")
    return gap <= 1e-5


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] == "--check":
        sys.exit(not check(sys.argv[2], sys.argv[3]))
    for name in sys.argv[1:] or CASES:
        make(name)
