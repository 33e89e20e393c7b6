#!/usr/bin/env python3
"""Makes a golden file for `drt verify`: what `transformers` computes at every stage of a LLaVA folder, a decoder, the two
towers of CLIP or SigLIP, or a vision tower alone.

  python3 tools/golden_verify.py MODEL OUT.safetensors [--image F] [--prompt TEXT] [--dtype float32|bfloat16|float16]
  python3 tools/golden_verify.py      makes tests/golden/verify: a tiny random LLaVA, CLIP and SigLIP, each with its
                                      golden file and one of the same model with matrices rounded to bf16; and of
                                      the LLaVA with three permuters

A LLaVA whose config.json names gps as its order is run in that order (gps_plain.py), which transformers knows nothing of.
TEXT is the whole prompt as the model is to read it, with <image> where the picture goes; \\n in it is a line end. To
two towers each line of it is a text to score the picture against. Without a tokenizer in MODEL the words are drawn,
and without --image the picture. The format is in src/eval/verify.h. Needs torch, transformers, pillow, numpy.
"""
import argparse
import io
import json
import os
import shutil
import tempfile

import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from transformers import (AutoConfig, AutoTokenizer, CLIPConfig, CLIPTextConfig, CLIPVisionConfig, LlamaConfig,
                          LlavaConfig, SiglipConfig, SiglipTextConfig, SiglipVisionConfig)

from gps_plain import Permuter

IMAGE, NEW = -200, 32
TOWERS = ("clip", "siglip", "clip_vision_model", "siglip_vision_model")
GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "golden")
LLAVA_PROMPT = "USER: <image>\nWhat is the color of the ring? ASSISTANT:"


def load(folder, dtype):
    kind = AutoConfig.from_pretrained(folder).model_type
    cls = transformers.LlavaForConditionalGeneration if kind == "llava" else \
        transformers.AutoModel if kind in TOWERS else transformers.AutoModelForCausalLM
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


def permute_prompt(model, permuter, lead):
    """The spliced rows of a prompt in the permuter's order before the decoder reads them, those in front of `lead` aside."""
    def hook(module, args, more):
        x = more["inputs_embeds"]
        if x.shape[1] > 1:
            more = more | {"inputs_embeds": torch.cat([x[:, :lead], permuter(x[0, lead:])[None]], 1)}
        return args, more
    body = next(m for k, m in model.named_modules() if k.endswith("language_model"))
    body.register_forward_pre_hook(hook, with_kwargs=True)


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
        rows = side * side + classes - (c.vision_feature_select_strategy == "default")
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


def encode_texts(folder, prompt, text):
    """One text a line. CLIP's have any length; SigLIP's are padded to the last position, which is read."""
    tok = AutoTokenizer.from_pretrained(folder)
    how = {"padding": "max_length"} if text.model_type == "siglip_text_model" else {}
    return [tok(line, truncation=True, max_length=text.max_position_embeddings, **how).input_ids
            for line in prompt.split("\n")]


def some_texts(text, g):
    """For a folder without a tokenizer."""
    words = [torch.randint(3, text.vocab_size - 3, (n,), generator=g).tolist() for n in (1, 3, 4)]
    if text.model_type == "siglip_text_model":
        return [w + [text.pad_token_id] * (text.max_position_embeddings - len(w)) for w in words]
    return [[text.bos_token_id, *w, text.eos_token_id] for w in words]


@torch.no_grad()
def run_towers(model, texts, pixels):
    """Stages of a picture, of texts read one by one, and their scores."""
    kept, pair = {}, hasattr(model, "text_model")
    eye = getattr(model, "vision_model", model)
    put = lambda name, x: kept.__setitem__(name, x.float().reshape(-1, x.shape[-1]).clone())
    eye.embeddings.register_forward_hook(lambda m, a, x: put("vision.embedding", x))
    seen = eye(pixel_values=pixels.to(model.dtype), output_hidden_states=True)
    for i, x in enumerate(seen.hidden_states):
        put(f"vision.{i}", x)
    if seen.pooler_output is not None:
        put("vision.pooled", seen.pooler_output)
    if not pair:
        return kept
    siglip = model.config.model_type == "siglip"
    read = [model.text_model(input_ids=torch.tensor([t]), output_hidden_states=True) for t in texts]
    for i in range(len(read[0].hidden_states)):
        put(f"text.{i}" if i else "text.embedding", torch.cat([x.hidden_states[i][0] for x in read]))
    # SigLIP's pooler_output is already behind the projection.
    put("text.pooled", torch.cat([x.last_hidden_state[:, -1] if siglip else x.pooler_output for x in read]))
    image, text = seen.pooler_output, torch.cat([x.pooler_output for x in read])
    if not siglip:
        image, text = model.visual_projection(image), model.text_projection(text)
    image, text = image / image.norm(dim=-1, keepdim=True), text / text.norm(dim=-1, keepdim=True)
    put("vision.joint", image)
    put("text.joint", text)
    whole = [model(input_ids=torch.tensor([t]), pixel_values=pixels.to(model.dtype)).logits_per_image for t in texts]
    put("logits", torch.cat(whole, -1))
    mine = image @ text.T * model.logit_scale.exp() + (model.logit_bias if siglip else 0)
    assert model.dtype != torch.float32 or (mine - kept["logits"]).abs().max() < 1e-4
    return kept


def make_towers(model, folder, pixels, prompt, about):
    text = getattr(model.config, "text_config", None)
    texts = []
    if text is not None and has_tokenizer(folder):
        texts = encode_texts(folder, prompt, text)
        about["prompt"] = prompt
    elif text is not None:
        texts = some_texts(text, torch.Generator().manual_seed(5))
    tensors = {"ids": torch.tensor([i for t in texts for i in t]), "lengths": torch.tensor([len(t) for t in texts])} \
        if texts else {}
    return tensors | {f"stage.{k}": v for k, v in run_towers(model, texts, pixels).items()}


def make_decoder(model, folder, pixels, prompt, about):
    if has_tokenizer(folder):
        ids = encode(folder, prompt)
        about["prompt"] = prompt
    else:  # any words
        c = getattr(model.config, "text_config", model.config)
        ids = torch.randint(c.vocab_size - 1, (11,), generator=torch.Generator().manual_seed(5)).tolist()
        ids[4:5] = [IMAGE] if pixels is not None else ids[4:5]
    order = json.load(open(os.path.join(folder, "config.json"), encoding="utf-8")).get("drt_order", {}).get("name")
    if order == "gps" and pixels is not None:
        about["order"] = order
        bos = AutoTokenizer.from_pretrained(folder).bos_token_id if has_tokenizer(folder) else None
        permute_prompt(model, Permuter(folder), int(ids[0] == bos))
    kept, greedy, margins = run(model, ids, pixels)
    return {"ids": torch.tensor(ids), "greedy": torch.tensor(greedy), "greedy_margin": torch.tensor(margins)} | \
        {f"stage.{k}": v for k, v in kept.items()}


def has_tokenizer(folder):
    return any(os.path.exists(os.path.join(folder, f)) for f in ("tokenizer.json", "tokenizer.model", "spiece.model"))


def make(folder, out, picture, prompt, dtype, halves=False):
    """halves: with matrices rounded to bf16, as drt keeps them with --dtype bf16."""
    model = load(folder, getattr(torch, dtype))
    with torch.no_grad():
        for p in model.parameters():
            if halves and p.ndim > 1:
                p.copy_(p.bfloat16().float())
    about = {"dtype": dtype, "format": "pt",
             "made_by": f"transformers {transformers.__version__}, torch {torch.__version__}"}
    towers, tensors, pixels = model.config.model_type in TOWERS, {}, None
    eye = getattr(model.config, "vision_config", model.config if towers else None)
    if picture is not None:
        pixels = pixels_of(folder, picture)
        tensors["picture"] = torch.from_numpy(np.frombuffer(picture, np.uint8).copy())
    elif eye is not None and (towers or not has_tokenizer(folder)):
        pixels = torch.randn(1, 3, eye.image_size, eye.image_size, generator=torch.Generator().manual_seed(6))
    if pixels is not None:
        tensors["stage.pixels"] = pixels[0]
    tensors |= make_towers(model, folder, pixels, prompt, about) if towers else \
        make_decoder(model, folder, pixels, prompt, about)
    save_file({k: v.contiguous() for k, v in tensors.items()}, out, about)
    print(f"{out}: {sum(k.startswith('stage.') for k in tensors)} stages, {about['made_by']}")


def alive(model):
    """The usual 0.02 leaves every stage near its input."""
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim > 1:
                p.normal_(0, 1 / max(p.shape[-1], 4) ** 0.5)
            else:
                p.add_(torch.randn_like(p) * 0.1)
    return model.eval()


def tokenizer_file(folder, before, behind):
    """The byte-level tokenizer of the golden files, with these tokens around a text; the size of its vocabulary."""
    with open(os.path.join(GOLDEN, "templates", "bytes", "tokenizer.json"), encoding="utf-8") as f:
        tok = json.load(f)
    own, part = tok["post_processor"], lambda t: {"SpecialToken": {"id": t, "type_id": 0}}
    own["single"] = [*map(part, before), {"Sequence": {"id": "A", "type_id": 0}}, *map(part, behind)]
    vocab = tok["model"]["vocab"]
    own["special_tokens"] = {t: {"id": t, "ids": [vocab[t]], "tokens": [t]} for t in ("<s>", "</s>")}
    with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as f:
        json.dump(tok, f, ensure_ascii=False, separators=(",", ":"))
    with open(os.path.join(folder, "tokenizer_config.json"), "w", encoding="utf-8") as f:
        json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>",
                   "unk_token": "<unk>"} | ({} if before else {"pad_token": "<unk>"}), f)
    return len(vocab)


def preprocessor_file(folder, side, siglip=False, **more):
    how = {"do_convert_rgb": True, "do_normalize": True, "do_rescale": True, "do_resize": True, "resample": 3,
           "rescale_factor": 1 / 255} | more
    if siglip:
        how |= {"image_processor_type": "SiglipImageProcessor", "size": {"height": side, "width": side},
                "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    else:
        how |= {"image_processor_type": "CLIPImageProcessor", "crop_size": {"height": side, "width": side},
                "size": {"shortest_edge": side}, "do_center_crop": True,
                "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
    with open(os.path.join(folder, "preprocessor_config.json"), "w", encoding="utf-8") as f:
        json.dump(how, f)


def tiny_llava(vocab):
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(hidden_size=12, intermediate_size=20, num_hidden_layers=4,
                                       num_attention_heads=2, image_size=23, patch_size=5),
        text_config=LlamaConfig(hidden_size=18, intermediate_size=26, num_hidden_layers=3, num_attention_heads=3,
                                num_key_value_heads=1, vocab_size=vocab + 1, max_position_embeddings=128),
        image_token_index=vocab, vision_feature_layer=-2, image_seq_length=16)
    return transformers.LlavaForConditionalGeneration(config)


def tiny_clip(vocab):
    vision = CLIPVisionConfig(hidden_size=12, intermediate_size=20, num_hidden_layers=3, num_attention_heads=2,
                              image_size=17, patch_size=4)
    text = CLIPTextConfig(hidden_size=10, intermediate_size=14, num_hidden_layers=2, num_attention_heads=2,
                          vocab_size=vocab, max_position_embeddings=20, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=9)
    return transformers.CLIPModel(config)


def tiny_siglip(vocab):
    vision = SiglipVisionConfig(hidden_size=14, intermediate_size=18, num_hidden_layers=2, num_attention_heads=2,
                                image_size=19, patch_size=6)
    text = SiglipTextConfig(hidden_size=9, intermediate_size=15, num_hidden_layers=3, num_attention_heads=3,
                            vocab_size=vocab, max_position_embeddings=16, projection_size=14, bos_token_id=1,
                            eos_token_id=2, pad_token_id=0)
    return transformers.SiglipModel(SiglipConfig(text_config=text.to_dict(), vision_config=vision.to_dict()))


def a_picture():
    rng = np.random.default_rng(3)
    rough = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)).resize((41, 30), Image.Resampling.BICUBIC)
    picture = io.BytesIO()
    rough.save(picture, "PNG")
    return picture.getvalue()


def tiny(folder, build, side, prompt, before, behind, **how):
    """A model of a few thousand weights with tokenizer and preprocessor, and its golden files."""
    torch.manual_seed(11)
    model_folder = os.path.join(folder, "model")
    os.makedirs(model_folder, exist_ok=True)
    vocab = tokenizer_file(model_folder, before, behind)
    preprocessor_file(model_folder, side, **how)
    alive(build(vocab)).save_pretrained(model_folder)
    os.path.exists(x := os.path.join(model_folder, "generation_config.json")) and os.remove(x)
    for halves in (False, True):
        make(model_folder, os.path.join(folder, "golden_bf16.safetensors" if halves else "golden.safetensors"),
             a_picture(), prompt, "float32", halves)


def tiny_gps(folder, hard):
    """The same model with a permuter: gps/HARD has what is beside its files, and their golden file."""
    own = os.path.join(folder, "gps", hard)
    os.makedirs(own, exist_ok=True)
    g, d, h = torch.Generator().manual_seed(29), 18, 16
    draw = lambda *shape: torch.randn(*shape, generator=g)
    w = {"blocks.0.qkv.weight": draw(3 * d, d) * 0.3, "blocks.0.norm1.weight": 1 + 0.2 * draw(d),
         "blocks.0.norm1.bias": 0.2 * draw(d), "blocks.0.up.weight": draw(h, d) * 0.3, "blocks.0.up.bias": 0.2 * draw(h),
         "blocks.0.down.weight": draw(d, h) * 0.3, "blocks.0.down.bias": 0.2 * draw(d),
         "blocks.0.norm2.weight": 1 + 0.2 * draw(d), "blocks.0.norm2.bias": 0.2 * draw(d),
         "blocks.1.qkv.weight": draw(2 * d, d) * 0.3}
    save_file(w, os.path.join(own, "gps.safetensors"), {
        "layers": "2", "hidden": str(h), "alpha": "0.5", "tau": "0.5" if hard == "soft" else "0.2", "sweeps": "20",
        "tolerance": "0", "hard": hard})
    with tempfile.TemporaryDirectory() as whole:
        shutil.copytree(os.path.join(folder, "model"), whole, dirs_exist_ok=True)
        shutil.copy(os.path.join(own, "gps.safetensors"), whole)
        path = os.path.join(whole, "config.json")
        with open(path, encoding="utf-8") as f:
            config = json.load(f) | {"drt_order": {"name": "gps"}}
        with open(path, "w", encoding="utf-8") as f:
            json.dump(config, f)
        make(whole, os.path.join(own, "golden.safetensors"), a_picture(), LLAVA_PROMPT, "float32")


def all_tiny(folder):
    tiny(folder, tiny_llava, 23, LLAVA_PROMPT, ["<s>"], [],
         image_aspect_ratio="pad")
    for hard in ("argmax", "assignment", "soft"):
        tiny_gps(folder, hard)
    texts = "a red ring\nthe ring on a small box\ntwo"
    tiny(os.path.join(folder, "clip"), tiny_clip, 17, texts, ["<s>"], ["</s>"])
    tiny(os.path.join(folder, "siglip"), tiny_siglip, 19, texts, [], ["</s>"], siglip=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model", nargs="?")
    parser.add_argument("out", nargs="?")
    parser.add_argument("--image")
    parser.add_argument("--prompt")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    a = parser.parse_args()
    if not a.model:
        return all_tiny(os.path.join(GOLDEN, "verify"))
    if not a.out:
        parser.error("OUT.safetensors is wanted")
    picture = None
    if a.image:
        with open(a.image, "rb") as f:
            picture = f.read()
    prompt = a.prompt or ("USER: <image>\\nWhat is shown in this image? ASSISTANT:" if picture else "Once upon a time")
    if not a.prompt and AutoConfig.from_pretrained(a.model).model_type in TOWERS:
        prompt = "a photo of a cat\\na photo of a dog\\na drawing"
    return make(a.model, a.out, picture, prompt.replace("\\n", "\n"), a.dtype)


if __name__ == "__main__":
    main()
