#!/usr/bin/env python3
"""Does transformers load a LLaVA or a decoder that drt wrote, and compute the same?

    python tools/check_saved.py FOLDER EXPECTED LOGITS [FOLDER EXPECTED LOGITS ...]

EXPECTED: a file of tools/golden_model.py or golden_decoders.py (samples and pixels); LOGITS: drt's logits over these
samples. Exit status 1 if a logit is more than 1e-4 off, a weight is missing or strange, or the tokenizer (if there is
one) cannot be loaded.
"""
import os
import sys

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, LlavaForConditionalGeneration

torch.set_num_threads(1)


def visual_rows(c):
    if c.model_type != "llava":
        return 0
    rows = (c.vision_config.image_size // c.vision_config.patch_size) ** 2
    # "default" cuts off the first row, whatever it is
    return rows + (c.vision_config.model_type == "clip_vision_model") - (c.vision_feature_select_strategy == "default")


def check(folder, expected, logits):
    kind = LlavaForConditionalGeneration if AutoConfig.from_pretrained(folder).model_type == "llava" else AutoModelForCausalLM
    model, told = kind.from_pretrained(folder, output_loading_info=True)
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if told[problem]:
            sys.exit(f"{folder}: {problem}: {sorted(told[problem])[:5]}")
    rows, seen, out = visual_rows(model.config), 0, []
    for k in range(100):
        ids = expected.get(f"s.{k}.p.0.ids")
        if ids is None:
            break
        n = int((ids == -200).sum())
        ids = torch.tensor([t for i in ids.tolist() for t in ([model.config.image_token_index] * rows if i == -200 else [i])])
        pixels = {"pixel_values": expected["pixels"][seen:seen + n]} if n else {}
        seen += n
        with torch.no_grad():
            out.append(model(input_ids=ids[None], **pixels).logits[0])
    gap = (torch.cat(out) - logits).abs().max().item()
    print(f"{folder}: {len(out)} samples, logits {gap:.1e} apart")
    if os.path.exists(os.path.join(folder, "tokenizer.json")):
        print(f"{folder}: tokenizer of {len(AutoTokenizer.from_pretrained(folder))} tokens")
    return gap <= 1e-4


arguments = sys.argv[1:]
good = [check(arguments[i], load_file(arguments[i + 1]), load_file(arguments[i + 2])["logits"]) for i in range(0, len(arguments), 3)]
sys.exit(0 if good and all(good) else 1)
