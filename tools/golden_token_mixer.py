#!/usr/bin/env python3
"""Writes tests/golden/align/token_mixer.safetensors: the order of METHODS 4 spelled plainly in PyTorch on the tiny LLaVA
of tests/golden/model/llava, for both sides and two values of tau: the places of all rows, and what each of language,
guided and image_order loses, with all gradients.

    python tools/golden_token_mixer.py            (after tools/golden_model.py)

Rows are moved as a list, one after the other; labels and marks are moved with them, and only then shifted.
"""
import os

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import golden_align as plain
from golden_align import IGNORE, IMAGE, IMAGE_ORDER, PLAIN, bank, model, pixels

SPECIAL = {1, 2}  # BOS and EOS of that folder
# kind, ids, where answers stand, permutation: one image in front; two images, words that come twice; a picture shown
# behind the first answer; no picture. The order head reads the visual rows.
ONE = [1, 5, IMAGE, 7, 9, 30, 11, 12, 2]
SAMPLES = [
    [(PLAIN, ONE, [5, 6, 7, 8], -1), (IMAGE_ORDER, ONE, [5, 6, 7, 8], 3)],
    [(PLAIN, [1, 3, IMAGE, 4, 6, IMAGE, 8, 6, 4, 12, 2], [8, 9, 10], -1)],
    [(PLAIN, [1, 14, IMAGE, 15, 17, 16, 2, 20, IMAGE, 21, 22, 2], [5, 6, 10, 11], -1)],
    [(PLAIN, [1, 20, 21, 22, 2], [2, 3, 4], -1)],
]
pictures = torch.cat([pixels, torch.randn(2, 3, plain.SIDE, plain.SIDE, generator=torch.Generator().manual_seed(5))])


def labels_of(kind, ids, answer):
    return [t if kind == PLAIN and i in answer else IGNORE for i, t in enumerate(ids)]


def arranged(rows, prompt, tau, side):
    """rows: (embedding, token or None) -> their numbers in the new order."""
    words = [r for r in range(prompt) if rows[r][1] is not None and rows[r][1] not in SPECIAL]
    bucket, rest = {}, []
    for r in range(prompt):
        if rows[r][1] is not None:
            continue
        s = torch.stack([F.cosine_similarity(rows[r][0].double(), rows[w][0].double(), dim=0) for w in words])
        first = {}
        for w, x in zip(words, s.tolist()):
            first.setdefault(rows[w][1], x)
        best = sorted(first.values())[-2:] + [tau]
        assert min(abs(a - b) for i, a in enumerate(best) for b in best[:i]) > 1e-4, "too close to call"
        n = int(s.argmax())
        if s[n] >= tau:
            bucket.setdefault(words[n], []).append(r)
        else:
            rest.append(r)
    order, placed = [], False
    for r in range(prompt):
        if rows[r][1] is None:
            continue
        if not placed and rows[r][1] != 1:
            order += rest
            placed = True
        own = bucket.get(r, [])
        order += own + [r] if side == "before" else [r] + own
    return order + list(range(prompt, len(rows)))


def run(kind, ids, answer, images, tau, side):
    seen = plain.visual_tokens(images) if len(images) else []
    rows, labels, image, prompt = [], [], 0, 0
    embed = model.model.language_model.embed_tokens.weight
    for i, token in enumerate(ids):
        new = [(v, None) for v in seen[image]] if token == IMAGE else [(embed[token], token)]
        image += token == IMAGE
        rows += new
        labels += [labels_of(kind, ids, answer)[i]] * len(new)
        if i < answer[0]:
            prompt = len(rows)
    order = arranged(rows, prompt, tau, side)
    x, labels = torch.stack([rows[r][0] for r in order]), [labels[r] for r in order]
    visual = torch.tensor([rows[r][1] is None for r in order])
    y = model.model.language_model(inputs_embeds=x[None], output_attentions=True)
    predicts = [(r, labels[r + 1]) for r in range(len(labels) - 1) if labels[r + 1] != IGNORE]
    return y.last_hidden_state[0], [a[0] for a in y.attentions], visual, predicts, order


def losses(out, name, tau, side):
    words, mass, orders, first = [], [], [], 0
    for s, passes in enumerate(SAMPLES):
        n = sum(i == IMAGE for i in passes[0][1])
        own = pictures[first:first + n]
        first += n
        for p, (kind, ids, answer, k) in enumerate(passes):
            images = torch.stack([plain.shuffled(x, bank[k]) for x in own]) if k >= 0 else own
            states, attention, visual, predicts, order = run(kind, ids, answer, images, tau, side)
            out[f"order.{name}.s.{s}.p.{p}"] = torch.tensor(order, dtype=torch.int32)
            if k >= 0:
                read = states[visual].mean(0)
                orders.append(F.cross_entropy((plain.head_w @ read + plain.head_b)[None], torch.tensor([k])))
                continue
            for r, label in predicts:
                words.append(F.cross_entropy(model.lm_head(states[r])[None], torch.tensor([label])))
                if n:
                    mass.append((1 - torch.stack([a[:, r, visual].sum(-1) for a in attention])).mean())
    mean = lambda x: torch.stack(x).mean()
    return mean(words) + 0.5 * mean(orders) + 2 * mean(mass)


if __name__ == "__main__":
    out = {"pixels": pictures, "bank": bank.to(torch.int32), "order.weight": plain.head_w, "order.bias": plain.head_b}
    for s, passes in enumerate(SAMPLES):
        for p, (kind, ids, answer, k) in enumerate(passes):
            out[f"s.{s}.p.{p}.ids"] = torch.tensor(ids, dtype=torch.int32)
            out[f"s.{s}.p.{p}.labels"] = torch.tensor(labels_of(kind, ids, answer), dtype=torch.int32)
            out[f"s.{s}.p.{p}.prompt"] = torch.tensor([answer[0]], dtype=torch.int32)
            out[f"s.{s}.p.{p}.info"] = torch.tensor([kind, k], dtype=torch.int32)
    for name, tau, side in (("before", 0.1, "before"), ("after", 0.1, "after"), ("high", 0.4, "before")):
        plain.gradients(out, name, losses(out, name, tau, side))
    file = os.path.join(plain.OUT, "token_mixer.safetensors")
    save_file({k: v.detach().contiguous() for k, v in out.items()}, file)
    os.chmod(file, 0o644)
