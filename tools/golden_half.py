#!/usr/bin/env python3
"""Writes tests/golden/model/half.safetensors: what transformers computes in bf16 with folders of tests/golden/model.

    python tools/golden_half.py            (needs torch, transformers, safetensors; seconds)

For each folder, weights rounded to bf16 and the samples of its expected.safetensors (tools/golden_model.py):
  FOLDER.exact    logits computed in f32 from these weights
  FOLDER.bf16     logits computed in bf16 throughout
  FOLDER.loss, FOLDER.grad.NAME    mean cross-entropy and its gradients, in f32 from these weights
Of pairs of towers in place of logits: FOLDER.images.exact, .bf16, FOLDER.texts.exact, .bf16, the embeddings of unit length;
their gradients are held against those of expected.safetensors.
"""
import os

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPModel, LlamaForCausalLM, LlavaForConditionalGeneration, SiglipModel

from golden_model import IGNORE, IMAGE, OUT, drt_name, expand

torch.set_num_threads(1)
PAIRS = {"clip": CLIPModel, "clip_odd": CLIPModel, "siglip": SiglipModel, "siglip_odd": SiglipModel}


def run(model, kind, given, dtype):
    logits, loss, words, seen = [], 0, 0, 0
    for k in range(8):
        if f"s.{k}.p.0.ids" not in given:
            break
        ids, labels = given[f"s.{k}.p.0.ids"].tolist(), given[f"s.{k}.p.0.labels"].tolist()
        n, rows, token = sum(i == IMAGE for i in ids), 1, 0
        x = {}
        if kind == "llava":
            c = model.config
            rows, token = (c.vision_config.image_size // c.vision_config.patch_size) ** 2, c.image_token_index
            if n:
                x["pixel_values"] = given["pixels"][seen:seen + n].to(dtype)
            seen += n
        y = model(input_ids=expand(ids, rows, token), **x).logits[0].float()
        logits.append(y)
        wanted = torch.tensor([t for i, l in zip(ids, given[f"s.{k}.p.0.labels"].tolist())
                               for t in ([IGNORE] * rows if i == IMAGE else [l])])
        loss = loss + torch.nn.functional.cross_entropy(y[:-1], wanted[1:], ignore_index=IGNORE, reduction="sum")
        words += int((wanted[1:] != IGNORE).sum())
    return torch.cat(logits), loss / words


def halved(kind, path):
    """A model with weights rounded to bf16, in bf16; then the same weights in f32, as drt has them: vectors unrounded."""
    rounded = kind.from_pretrained(path).eval().to(torch.bfloat16)
    yield rounded
    model, whole = rounded.float(), dict(kind.from_pretrained(path).named_parameters())
    for name, p in model.named_parameters():
        if p.dim() < 2:
            p.data.copy_(whole[name].data)
    yield model


def embeddings(model, given, dtype):
    """Of pictures and of texts; a text is one sequence, as CLIP's have any length."""
    seen = model.vision_model(pixel_values=given["pixels"].to(dtype)).pooler_output
    texts = [given[f"ids.{k}"][None].long() for k in range(len(seen))]
    read = torch.cat([model.text_model(input_ids=t).pooler_output for t in texts])
    if isinstance(model, CLIPModel):
        seen, read = model.visual_projection(seen), model.text_projection(read)
    return [torch.nn.functional.normalize(x, dim=-1).float() for x in (seen, read)]


def main():
    out = {}
    for folder, kind in (("llava", LlavaForConditionalGeneration), ("llama", LlamaForCausalLM)):
        path = os.path.join(OUT, folder)
        given = load_file(os.path.join(path, "expected.safetensors"))
        models = halved(kind, path)
        with torch.no_grad():
            out[f"{folder}.bf16"], _ = run(next(models), folder, given, torch.bfloat16)
        model = next(models)
        logits, loss = run(model, folder, given, torch.float32)
        loss.backward()
        out[f"{folder}.exact"], out[f"{folder}.loss"] = logits, loss[None]
        for name, p in model.named_parameters():
            if p.grad is not None:
                out[f"{folder}.grad.{drt_name(name)}"] = p.grad
    for folder, kind in PAIRS.items():
        path = os.path.join(OUT, folder)
        given = load_file(os.path.join(path, "expected.safetensors"))
        for model, way in zip(halved(kind, path), ("bf16", "exact")):
            with torch.no_grad():
                images, texts = embeddings(model, given, torch.bfloat16 if way == "bf16" else torch.float32)
            out[f"{folder}.images.{way}"], out[f"{folder}.texts.{way}"] = images, texts
    file = os.path.join(OUT, "half.safetensors")
    save_file({k: v.detach().contiguous() for k, v in out.items()}, file)
    os.chmod(file, 0o644)
    for what in ("llava", "llama", *(f"{p}.{x}" for p in PAIRS for x in ("images", "texts"))):
        a, b = out[f"{what}.bf16"], out[f"{what}.exact"]
        print(f"{what}: bf16 and exact are {(a - b).norm() / b.norm():.2e} apart")


main()
