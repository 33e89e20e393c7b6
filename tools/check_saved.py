#!/usr/bin/env python3
"""Does transformers load a LLaVA folder that drt wrote, and compute the same?

    python tools/check_saved.py FOLDER EXPECTED LOGITS

EXPECTED: a file of tools/golden_model.py (samples and pixels); LOGITS: drt's logits over these samples. Exit status 1 if
a logit is more than 1e-4 off, a weight is missing or strange, or the tokenizer (if there is one) cannot be loaded.
"""
import os
import sys

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, LlavaForConditionalGeneration

torch.set_num_threads(1)
folder, expected, logits = sys.argv[1], load_file(sys.argv[2]), load_file(sys.argv[3])["logits"]
model, told = LlavaForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
    if told[kind]:
        sys.exit(f"{folder}: {kind}: {sorted(told[kind])[:5]}")
c = model.config
rows = (c.vision_config.image_size // c.vision_config.patch_size) ** 2
rows += c.vision_feature_select_strategy == "full" and c.vision_config.model_type == "clip_vision_model"
seen, out = 0, []
for k in range(100):
    ids = expected.get(f"s.{k}.p.0.ids")
    if ids is None:
        break
    n = int((ids == -200).sum())
    ids = torch.tensor([t for i in ids.tolist() for t in ([c.image_token_index] * rows if i == -200 else [i])])
    pixels = {"pixel_values": expected["pixels"][seen:seen + n]} if n else {}
    seen += n
    with torch.no_grad():
        out.append(model(input_ids=ids[None], **pixels).logits[0])
gap = (torch.cat(out) - logits).abs().max().item()
print(f"{folder}: {len(out)} samples, logits {gap:.1e} apart")
if os.path.exists(os.path.join(folder, "tokenizer.json")):
    print(f"{folder}: tokenizer of {len(AutoTokenizer.from_pretrained(folder))} tokens")
sys.exit(0 if gap <= 1e-4 else 1)
