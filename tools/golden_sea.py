#!/usr/bin/env python3
"""Writes tests/golden/align/sea.safetensors: the loss of SEA on the tiny LLaVA of tests/golden/model/llava, spelled
plainly in PyTorch, with gradients; and tests/golden/align/joint.safetensors: single patches in the joint space of the
tiny CLIP and SigLIP folders.

    python tools/golden_sea.py            (after tools/golden_align.py)
"""
import os

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import CLIPModel, SiglipModel

from golden_align import HERE, OUT, DIRECTED, PLAIN, drt_name, model, pixels, run, samples, visual_tokens

# Of each sample: image, patch, tokens of the word.
PAIRS = [[(0, 0, [5]), (0, 4, [7, 9]), (0, 8, [3, 4, 6])], [(0, 2, [8]), (1, 1, [10, 11]), (1, 7, [12])], []]
log_scale = torch.tensor([0.4], requires_grad=True)


def alignment(pairs):
    """-1/2N sum of log softmax over the rows and over the columns of e^log_scale cos(x_i, t_j).

    pairs: number of the image among all, patch, ids of the word.
    """
    x, t = [], []
    for image, patch, ids in pairs:
        x.append(visual_tokens(pixels[image:image + 1])[0, patch])
        # The label's embedding is where the decoder has it: nothing flows back.
        t.append(torch.stack([model.model.language_model.embed_tokens.weight[i] for i in ids]).mean(0).detach())
    scores = log_scale.exp() * F.normalize(torch.stack(x), dim=-1) @ F.normalize(torch.stack(t), dim=-1).T
    loss = torch.zeros(())
    for i in range(len(pairs)):
        own = scores[i, i].exp()
        loss = loss - torch.log(own / scores[i].exp().sum()) - torch.log(own / scores[:, i].exp().sum())
    return loss / (2 * len(pairs))


def language():
    every, first = [], 0
    for passes in samples("visual"):
        kind, ids, trained, _ = passes[0]
        n = sum(i < 0 for i in ids)
        seen = visual_tokens(pixels[first:first + n]) if n else []
        states, _, _, predicts = run(ids, trained, seen)
        first += n
        every += [F.cross_entropy(model.lm_head(states[r])[None], torch.tensor([label])) for r, label in predicts]
    return torch.stack(every).mean()


def gradients(out, name, loss):
    every = {drt_name(n): p for n, p in model.named_parameters() if p.requires_grad} | {"log_scale": log_scale}
    for p in every.values():
        p.grad = None
    loss.backward()
    out[f"loss.{name}"] = loss.detach()
    out |= {f"grad.{name}.{n}": p.grad.clone() for n, p in every.items() if p.grad is not None}


def sea():
    out, all_pairs, first = {"pixels": pixels, "log_scale": log_scale}, [], 0
    for s, passes in enumerate(samples("visual")):
        kind, ids, trained, _ = passes[0]
        assert kind == PLAIN and DIRECTED not in ids
        out[f"s.{s}.p.0.ids"] = torch.tensor(ids, dtype=torch.int32)
        out[f"s.{s}.p.0.labels"] = torch.tensor([i if t else -100 for i, t in zip(ids, trained)], dtype=torch.int32)
        if PAIRS[s]:
            out[f"s.{s}.pairs"] = torch.tensor([[i, p, len(w)] for i, p, w in PAIRS[s]], dtype=torch.int32)
            out[f"s.{s}.pair_ids"] = torch.tensor([i for _, _, w in PAIRS[s] for i in w], dtype=torch.int32)
        all_pairs.append([(first + i, p, w) for i, p, w in PAIRS[s]])
        first += sum(i < 0 for i in ids)
    gradients(out, "whole", alignment(all_pairs[0] + all_pairs[1]))
    # Cut into two batches of three pairs each: every token is told from those of its own batch.
    gradients(out, "cut", (alignment(all_pairs[0]) + alignment(all_pairs[1])) / 2)
    gradients(out, "sum", language() + 0.5 * alignment(all_pairs[0] + all_pairs[1]))
    return out


def joint():
    out = {}
    for folder in "clip", "clip_odd", "siglip", "siglip_odd":
        kind = SiglipModel if "siglip" in folder else CLIPModel
        m = kind.from_pretrained(os.path.join(HERE, "model", folder)).eval()
        images = load_file(os.path.join(HERE, "model", folder, "expected.safetensors"))["pixels"]
        v = m.vision_model
        with torch.no_grad():
            hidden = v(pixel_values=images, output_hidden_states=True).hidden_states[-1]
            rows = v.post_layernorm(hidden)
            if kind is CLIPModel:
                rows = m.visual_projection(rows[:, 1:])
            else:  # the head, shown one patch at a time
                rows = torch.stack([v.head(rows[:, p:p + 1]) for p in range(rows.shape[1])], 1)
        out[folder] = F.normalize(rows, dim=-1).flatten(0, 1)
    return out


def write(name, tensors):
    file = os.path.join(OUT, f"{name}.safetensors")
    save_file({k: v.detach().contiguous() for k, v in tensors.items()}, file)
    os.chmod(file, 0o644)


if __name__ == "__main__":
    write("sea", sea())
    write("joint", joint())
