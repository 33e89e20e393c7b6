#!/usr/bin/env python3
"""Writes tests/golden/model/half.safetensors: what transformers computes in bf16 with folders of tests/golden/model and
tests/golden/decoders.

    python tools/golden_half.py            (needs torch, transformers, safetensors; seconds)

For each folder, weights rounded to bf16 and the samples of its expected.safetensors (tools/golden_model.py):
  FOLDER.exact    logits computed in f32 from these weights
  FOLDER.bf16     logits computed in bf16 throughout
  FOLDER.loss     mean cross-entropy in f32 from these weights
  FOLDER.grad.NAME    of llava and llama its gradients; others' are held against those of expected.safetensors
Of pairs of towers in place of logits: FOLDER.images.exact, .bf16, FOLDER.texts.exact, .bf16, the embeddings of unit length;
their gradients are held against those of expected.safetensors.
"""
import os

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPModel, LlamaForCausalLM, LlavaForConditionalGeneration, SiglipModel

from golden_layouts import PROJECTORS, SCALED, projected, scaled_gemma
from golden_model import IGNORE, IMAGE, OUT, drt_name, expand, image_rows, pictures
from golden_vision import S2, s2

torch.set_num_threads(1)
SEEING = ("llava_old", "llava_siglip", "llava_siglip_bare", "llava_siglip_cut", *S2, *PROJECTORS, SCALED,
          *(f"../decoders/llava_{d}{size}" for d in ("gemma", "qwen2", "phi3", "phi") for size in ("", "_b")))
PAIRS = {"clip": CLIPModel, "clip_odd": CLIPModel, "siglip": SiglipModel, "siglip_odd": SiglipModel}


def maker(folder):
    """What makes the model of a folder; some have no class of transformers that would read them."""
    if folder in S2:
        return lambda: s2(folder)
    if folder in PROJECTORS:
        return lambda: projected(folder)
    kind = LlamaForCausalLM if folder == "llama" else LlavaForConditionalGeneration
    return scaled_gemma if folder == SCALED else lambda: kind.from_pretrained(os.path.join(OUT, folder))


def run(model, given, dtype, pixels=None):
    """pixels: of the pictures, where the tower does not take them as they are given."""
    logits, loss, words, seen = [], 0, 0, 0
    pixels = given.get("pixels") if pixels is None else pixels
    for k in range(8):
        if f"s.{k}.p.0.ids" not in given:
            break
        ids, labels = given[f"s.{k}.p.0.ids"].tolist(), given[f"s.{k}.p.0.labels"].tolist()
        n, rows, token = sum(i == IMAGE for i in ids), 1, 0
        x = {}
        if pixels is not None:
            rows, token = image_rows(model.config), model.config.image_token_index
            if n:
                x["pixel_values"] = pixels[seen:seen + n].to(dtype)
            seen += n
        y = model(input_ids=expand(ids, rows, token), **x).logits[0].float()
        logits.append(y)
        wanted = torch.tensor([t for i, l in zip(ids, given[f"s.{k}.p.0.labels"].tolist())
                               for t in ([IGNORE] * rows if i == IMAGE else [l])])
        loss = loss + torch.nn.functional.cross_entropy(y[:-1], wanted[1:], ignore_index=IGNORE, reduction="sum")
        words += int((wanted[1:] != IGNORE).sum())
    return torch.cat(logits), loss / words


def halved(made):
    """A model with weights rounded to bf16, in bf16; then the same weights in f32, as drt has them: vectors unrounded."""
    rounded = made().eval().to(torch.bfloat16)
    yield rounded
    model, whole = rounded.float(), dict(made().named_parameters())
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
    for folder in ("llava", "llama", *SEEING):
        path, name = os.path.join(OUT, folder), os.path.basename(folder)
        given = load_file(os.path.join(path, "expected.safetensors"))
        pixels = pictures(S2[folder][1][-1]) if folder in S2 else None
        models = halved(maker(folder))
        with torch.no_grad():
            out[f"{name}.bf16"], _ = run(next(models), given, torch.bfloat16, pixels)
        model = next(models)
        logits, loss = run(model, given, torch.float32, pixels)
        out[f"{name}.exact"], out[f"{name}.loss"] = logits, loss[None]
        if folder in SEEING:
            continue
        loss.backward()
        for parameter, p in model.named_parameters():
            if p.grad is not None:
                out[f"{name}.grad.{drt_name(parameter)}"] = p.grad
    for folder, kind in PAIRS.items():
        path = os.path.join(OUT, folder)
        given = load_file(os.path.join(path, "expected.safetensors"))
        for model, way in zip(halved(lambda: kind.from_pretrained(path)), ("bf16", "exact")):
            with torch.no_grad():
                images, texts = embeddings(model, given, torch.bfloat16 if way == "bf16" else torch.float32)
            out[f"{folder}.images.{way}"], out[f"{folder}.texts.{way}"] = images, texts
    file = os.path.join(OUT, "half.safetensors")
    save_file({k: v.detach().contiguous() for k, v in out.items()}, file)
    os.chmod(file, 0o644)
    for what in ("llava", "llama", *map(os.path.basename, SEEING), *(f"{p}.{x}" for p in PAIRS for x in ("images", "texts"))):
        a, b = out[f"{what}.bf16"], out[f"{what}.exact"]
        print(f"{what}: bf16 and exact are {(a - b).norm() / b.norm():.2e} apart")


main()
