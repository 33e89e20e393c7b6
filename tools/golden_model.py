#!/usr/bin/env python3
"""Writes tests/golden/model/: tiny random Hugging Face folders and what `transformers` computes with them.

    python tools/golden_model.py            (needs torch, transformers, safetensors; minutes are not needed, seconds are)

Each folder is one that drt_model_open must read; expected.safetensors beside it holds inputs, outputs and gradients.
Gradients are named as drt names the parameter ("grad.model.layers.0.self_attn.q_proj.weight").
"""
import json
import os
import shutil

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
import torch
from safetensors.torch import load_file, save_file
from transformers import (CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig, LlamaConfig, LlamaForCausalLM,
                          LlavaConfig, LlavaForConditionalGeneration)

torch.set_num_threads(1)
OUT = os.path.join(os.path.dirname(__file__), "..", "tests", "golden", "model")
IMAGE, IGNORE = -200, -100


def randomize(model, seed):
    """Weights of a size at which every path matters: initialisation at 0.02 would hide mistakes."""
    g = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=g)
        if p.dim() == 0:
            value = torch.tensor(1.3)
        elif p.dim() == 1:
            value = noise if "class_embedding" in name else 0.2 * noise + (1 if "norm" in name and "weight" in name else 0)
        else:
            value = noise if "embed" in name and p.dim() == 2 else noise / p[0].numel() ** 0.5
        p.data.copy_(value)
    return model.eval()


def drt_name(name):
    """A parameter of transformers 5 by the name it has in drt."""
    for old, new in (("model.vision_tower.vision_model.", "vision_model."), ("model.vision_tower.", "vision_model."),
                     ("model.language_model.", "model."), ("model.multi_modal_projector.", "multi_modal_projector.")):
        if name.startswith(old):
            return new + name[len(old):]
    return name


def gradients(model, into, prefix="grad."):
    for name, p in model.named_parameters():
        if p.grad is not None:
            into[prefix + drt_name(name)] = p.grad.clone()
            p.grad = None


def save(folder, tensors):
    tensors = {k: (v.to(torch.int32) if v.dtype == torch.int64 else v).detach().contiguous() for k, v in tensors.items()}
    file = os.path.join(OUT, folder, "expected.safetensors")
    save_file(tensors, file)
    os.chmod(file, 0o644)


def write_folder(folder, model, rename=None):
    path = os.path.join(OUT, folder)
    shutil.rmtree(path, ignore_errors=True)
    model.save_pretrained(path)
    generation = os.path.join(path, "generation_config.json")
    if os.path.exists(generation):
        os.remove(generation)
    os.chmod(os.path.join(path, "model.safetensors"), 0o644)
    if rename:
        file = os.path.join(path, "model.safetensors")
        save_file({rename(k): v for k, v in load_file(file).items()}, file, metadata={"format": "pt"})
    return path


def llava_old_name(name):
    """llava-hf folders of 2023 to 2025 have a level "vision_model." inside the tower."""
    return name.replace("vision_tower.", "vision_tower.vision_model.") if "vision_model." not in name else name


def llava(folder):
    if folder == "llava":
        vision = dict(hidden_size=20, intermediate_size=28, num_hidden_layers=3, num_attention_heads=2, image_size=15, patch_size=5)
        text = dict(hidden_size=18, intermediate_size=22, num_hidden_layers=2, num_attention_heads=3, num_key_value_heads=1,
                    vocab_size=37, max_position_embeddings=96)
        more = {}
    else:  # head size apart from the width, image not a multiple of the patch, class row kept, tied, old names
        vision = dict(hidden_size=12, intermediate_size=13, num_hidden_layers=2, num_attention_heads=3, image_size=14, patch_size=4,
                      hidden_act="gelu", layer_norm_eps=1e-3)
        text = dict(hidden_size=24, intermediate_size=17, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=10,
                    vocab_size=31, max_position_embeddings=80, rms_norm_eps=1e-3, tie_word_embeddings=True,
                    rope_parameters={"rope_type": "default", "rope_theta": 5e5})
        more = dict(vision_feature_layer=-1, vision_feature_select_strategy="full", tie_word_embeddings=True)
    config = LlavaConfig(vision_config=CLIPVisionConfig(**vision), text_config=LlamaConfig(**text),
                         image_token_index=text["vocab_size"] - 1, **more)
    model = randomize(LlavaForConditionalGeneration(config), 7)
    if more:  # short words: a tied decoder that hears itself above all repeats one token for ever
        model.get_input_embeddings().weight.data.mul_(0.2)
    path = write_folder(folder, model, llava_old_name if more else None)
    if more:  # and the config as it was written then
        file = os.path.join(path, "config.json")
        c = json.load(open(file))
        c["text_config"]["rope_theta"] = c["text_config"].pop("rope_parameters")["rope_theta"]
        json.dump(c, open(file, "w"), indent=2)
    return model


SAMPLES = [  # ids and labels; IMAGE stands for a whole image
    ([1, IMAGE, 5, 7, 9, 11, 2], [0, 0, 0, 1, 1, 1, 1]),
    ([1, 3, IMAGE, 4, IMAGE, 8, 6, 12, 13, 14, 2], [0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1]),
    ([1, 20, 21, 22, 2], [0, 0, 1, 1, 1]),
]


def expand(ids, rows, token):
    return torch.tensor([t for i in ids for t in ([token] * rows if i == IMAGE else [i])])[None]


def image_rows(c):
    """Rows that a picture takes in the decoder."""
    patches = (c.vision_config.image_size // c.vision_config.patch_size) ** 2
    # "default" cuts off the first row, whatever it is
    return patches + (c.vision_config.model_type == "clip_vision_model") - (c.vision_feature_select_strategy == "default")


def pictures(side):
    """Of all samples, in their order."""
    images = sum(i == IMAGE for ids, _ in SAMPLES for i in ids)
    return torch.randn(images, 3, side, side, generator=torch.Generator().manual_seed(3))


NEW = 64


@torch.no_grad()
def greedy(logits_of, prompts, barred=None):
    """A prompt and the 64 tokens that follow it, each from a run over everything before it: the first prompt after which
    no choice is a toss-up, `barred` is not among the tokens, and these are many."""
    for prompt in prompts:
        ids, margin = list(prompt), float("inf")
        while len(ids) < len(prompt) + NEW and margin > 5e-4 and ids[-1] != barred:
            best = logits_of(ids).topk(2)
            margin = min(margin, (best.values[0] - best.values[1]).item())
            ids.append(best.indices[0].item())
        new = ids[len(prompt):]
        if len(new) == NEW and margin > 5e-4 and new[-1] != barred and len(set(new)) > 6:
            print(f"{len(set(new))} different tokens, least margin {margin:.1e}")
            return {"greedy.prompt": torch.tensor(prompt), "greedy.tokens": torch.tensor(new)}
    raise SystemExit("no prompt is answered decidedly and with many tokens")


def drawn_prompts(vocab, front=()):
    for seed in range(30):
        words = torch.randint(0, vocab, (5 - len(front),), generator=torch.Generator().manual_seed(seed)).tolist()
        yield [*front, *words]


def llava_greedy(model, pixels):
    """About the first picture."""
    c = model.config
    words, rows, token = c.text_config.vocab_size - 1, image_rows(c), c.image_token_index
    assert token == words  # the last: drawn words are others

    def logits_of(ids):
        return model(input_ids=expand(ids, rows, token), pixel_values=pixels[:1]).logits[0, -1]
    return greedy(logits_of, drawn_prompts(words, (1, IMAGE)), token)


def llava_expected(folder, model=None, side=None, views=lambda pixels: pixels):
    """side: of the pictures, where it is not the tower's; views: what drt hands the tower for them."""
    model = model or llava(folder)
    c = model.config
    rows = image_rows(c)
    pixels = pictures(side or c.vision_config.image_size)
    out, logits, loss, words, seen = {"pixels": views(pixels)}, [], 0, 0, 0
    for k, (ids, trained) in enumerate(SAMPLES):
        n = sum(i == IMAGE for i in ids)
        x = dict(input_ids=expand(ids, rows, c.image_token_index))
        if n:
            x["pixel_values"] = pixels[seen:seen + n]
        seen += n
        y = model(**x).logits[0]
        logits.append(y)
        labels = expand([i if t else IMAGE if i == IMAGE else IGNORE for i, t in zip(ids, trained)], rows, IGNORE)[0]
        loss = loss + torch.nn.functional.cross_entropy(y[:-1], labels[1:], ignore_index=IGNORE, reduction="sum")
        words += int((labels[1:] != IGNORE).sum())
        out[f"s.{k}.p.0.ids"] = torch.tensor(ids)
        out[f"s.{k}.p.0.labels"] = torch.tensor([i if t else IGNORE for i, t in zip(ids, trained)])
    loss = loss / words
    loss.backward()
    out |= {"logits": torch.cat(logits), "loss": loss} | llava_greedy(model, pixels)
    gradients(model, out)
    save(folder, out)


def llama_expected(folder, **more):
    c = LlamaConfig(hidden_size=24, intermediate_size=23, num_hidden_layers=2, num_attention_heads=4, vocab_size=29,
                    max_position_embeddings=64, **more)
    decoder_expected(folder, randomize(LlamaForCausalLM(c), 11))


def decoder_expected(folder, model, **more):
    """Folder of a causal LM; logits, loss and gradients of three texts; `more`: further tensors."""
    write_folder(folder, model)
    out, logits, loss = {}, [], 0
    for k, n in enumerate((7, 1, 13)):
        ids = torch.randint(0, model.config.vocab_size, (1, n), generator=torch.Generator().manual_seed(k))
        y = model(input_ids=ids).logits[0]
        logits.append(y)
        loss = loss + torch.nn.functional.cross_entropy(y[:-1], ids[0, 1:], reduction="sum")
        out[f"s.{k}.p.0.ids"] = ids[0]
        out[f"s.{k}.p.0.labels"] = torch.cat([torch.tensor([IGNORE]), ids[0, 1:]])
    loss = loss / 18
    loss.backward()
    out |= {"logits": torch.cat(logits), "loss": loss} | more
    gradients(model, out)
    save(folder, out)


TEXTS = [[28, 4, 9, 29], [28, 3, 29, 5, 29], [28, 7, 29]]


def clip_expected(folder):
    vision = CLIPVisionConfig(hidden_size=12, intermediate_size=19, num_hidden_layers=3, num_attention_heads=2, image_size=10, patch_size=3)
    text = CLIPTextConfig(hidden_size=10, intermediate_size=17, num_hidden_layers=2, num_attention_heads=5, vocab_size=30,
                          max_position_embeddings=9, bos_token_id=28, eos_token_id=29, pad_token_id=0)
    model = randomize(CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=7)), 5)
    write_folder(folder, model)
    pixels = torch.randn(3, 3, 10, 10, generator=torch.Generator().manual_seed(1))
    seen = model.vision_model(pixel_values=pixels, output_hidden_states=True)
    image = torch.nn.functional.normalize(model.visual_projection(seen.pooler_output), dim=-1)
    read = [model.text_model(input_ids=torch.tensor([t])).pooler_output for t in TEXTS]
    words = torch.nn.functional.normalize(model.text_projection(torch.cat(read)), dim=-1)
    logits = model.logit_scale.exp() * image @ words.T
    own = torch.arange(3)
    loss = (torch.nn.functional.cross_entropy(logits, own) + torch.nn.functional.cross_entropy(logits.T, own)) / 2
    loss.backward()
    out = {"pixels": pixels, "hidden": torch.stack(seen.hidden_states), "pooled_images": seen.pooler_output,
           "images": image, "texts": words, "logits": logits, "loss": loss, "pooled_texts": torch.cat(read)}
    out |= {f"ids.{k}": torch.tensor(t) for k, t in enumerate(TEXTS)}
    gradients(model, out)
    # CLIP's old rule, eos_token_id 2: the row of the largest id.
    old = [[28, 3, 29, 5, 29], [4, 2, 9, 2], [7]]
    model.text_model.config.eos_token_id = 2
    if hasattr(model.text_model, "eos_token_id"):
        model.text_model.eos_token_id = 2
    out["old_pooled"] = torch.cat([model.text_model(input_ids=torch.tensor([t])).pooler_output for t in old])
    out |= {f"old_ids.{k}": torch.tensor(t) for k, t in enumerate(old)}
    save(folder, out)


if __name__ == "__main__":
    llava_expected("llava")
    llava_expected("llava_old")
    llama_expected("llama", num_key_value_heads=2)
    llama_expected("llama_tied", num_key_value_heads=4, tie_word_embeddings=True)
    clip_expected("clip")
