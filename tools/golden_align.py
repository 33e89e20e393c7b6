#!/usr/bin/env python3
"""Writes tests/golden/align/: the objectives of Direct-LLaVA, spelled plainly in PyTorch on the tiny LLaVA of
tests/golden/model/llava, with the gradients of projector, decoder, directed token, order head and log-variances.

    python tools/golden_align.py            (after tools/golden_model.py)

Every sequence runs alone, attention is a full matrix, pictures are shuffled as pixels: nothing here is packed or fused.
"""
import os

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import LlavaForConditionalGeneration

from golden_model import IGNORE, IMAGE, drt_name

DIRECTED = -300
HERE = os.path.join(os.path.dirname(__file__), "..", "tests", "golden")
OUT = os.path.join(HERE, "align")
PLAIN, IMAGE_ORDER, TEXT_ORDER = 0, 1, 2
CLASSES, GRID, SIDE, PATCH = 5, 3, 15, 5

model = LlavaForConditionalGeneration.from_pretrained(os.path.join(HERE, "model", "llava"), attn_implementation="eager").eval()
g = torch.Generator().manual_seed(17)
WIDTH = model.config.text_config.hidden_size
directed = torch.randn(WIDTH, generator=g, requires_grad=True)
head_w = (torch.randn(CLASSES, WIDTH, generator=g) / 3).requires_grad_()
head_b = (torch.randn(CLASSES, generator=g) / 3).requires_grad_()
balance = torch.tensor([0.3, -0.2, 0.1, 0.5, 0.0, 0.0], requires_grad=True)  # one an objective, in drt's order
bank = torch.stack([torch.randperm(GRID * GRID, generator=g) for _ in range(CLASSES)])
pixels = torch.randn(3, 3, SIDE, SIDE, generator=g)
for p in model.model.vision_tower.parameters():
    p.requires_grad = False


def samples(token):
    """Samples as lists of passes: kind, ids, trained or not, permutation; the order pass with drt where `token` says."""
    def order(ids, k):
        ids = {"end": ids + [DIRECTED], "start": [DIRECTED] + ids, "visual": ids}[token]
        return IMAGE_ORDER, ids, [0] * len(ids), k
    one, two = [1, IMAGE, 5, 7, 9, 11, 2], [1, 3, IMAGE, 4, IMAGE, 8, 6, 12, 2]
    words = [1, 8, IMAGE, 15, 16, 9, 5, 3, 18, 3, 5, 9, 2] + ([DIRECTED] if token == "end" else [])
    plain = [(PLAIN, one, [0, 0, 0, 1, 1, 1, 1], -1), order(one, 3)]
    if token == "end":
        plain.append((TEXT_ORDER, words, [0] * 9 + [1] * 4 + [0], -1))
    return [plain, [(PLAIN, two, [0, 0, 0, 0, 0, 1, 1, 0, 1], -1), order(two, 1)],
            [(PLAIN, [1, 20, 21, 22, 2], [0, 0, 1, 1, 1], -1)]]


def shuffled(image, order):
    """Cell i of the result shows cell order[i]: on pixels, before the tower."""
    out, cell = torch.empty_like(image), SIDE // GRID
    for i, j in enumerate(order.tolist()):
        y, x, sy, sx = i // GRID * cell, i % GRID * cell, j // GRID * cell, j % GRID * cell
        out[:, y:y + cell, x:x + cell] = image[:, sy:sy + cell, sx:sx + cell]
    return out


def visual_tokens(images):
    h = model.model.vision_tower(pixel_values=images, output_hidden_states=True).hidden_states[-2][:, 1:]
    return model.model.multi_modal_projector(h)


def run(ids, trained, seen):
    """One sequence: final states, attention of every layer, visual rows, (row, token it predicts)."""
    rows, marks, labels, image = [], [], [], 0
    for token, t in zip(ids, trained):
        if token == IMAGE:
            rows.append(seen[image])
            marks += [1] * len(seen[image])
            labels += [IGNORE] * len(seen[image])
            image += 1
        else:
            rows.append(directed[None] if token == DIRECTED else model.model.language_model.embed_tokens.weight[token][None])
            marks.append(0)
            labels.append(token if t else IGNORE)
    y = model.model.language_model(inputs_embeds=torch.cat(rows)[None], output_attentions=True)
    predicts = [(r, labels[r + 1]) for r in range(len(labels) - 1) if labels[r + 1] != IGNORE]
    return y.last_hidden_state[0], [a[0] for a in y.attentions], torch.tensor(marks).bool(), predicts


def losses(token):
    words, orders, mass, pair, first = {PLAIN: [], TEXT_ORDER: []}, [], [], [], 0
    for passes in samples(token):
        n = sum(i == IMAGE for i in passes[0][1])
        own = pixels[first:first + n]
        first += n
        for kind, ids, trained, k in passes:
            images = torch.stack([shuffled(x, bank[k]) for x in own]) if kind == IMAGE_ORDER else own
            states, attention, visual, predicts = run(ids, trained, visual_tokens(images) if n else [])
            if kind == IMAGE_ORDER:
                read = {"end": states[-1], "start": states[0], "visual": states[visual].mean(0)}[token]
                orders.append(F.cross_entropy((head_w @ read + head_b)[None], torch.tensor([k])))
                continue
            for r, label in predicts:
                words[kind].append(F.cross_entropy(model.lm_head(states[r])[None], torch.tensor([label])))
                if n:  # A: [layers, heads, visual rows]
                    a = torch.stack([layer[:, r, visual] for layer in attention])
                    mass.append((1 - a.sum(-1)).mean())
                    pair.append((1 - a).mean())
    mean = lambda x: torch.stack(x).mean() if x else None
    return {"language": mean(words[PLAIN]), "image_order": mean(orders), "text_order": mean(words[TEXT_ORDER]),
            "mass": mean(mass), "pair": mean(pair)}


def gradients(out, name, loss):
    every = {drt_name(n): p for n, p in model.named_parameters() if p.requires_grad}
    every |= {"directed": directed, "order.weight": head_w, "order.bias": head_b, "balance": balance}
    for p in every.values():
        p.grad = None
    loss.backward(retain_graph=True)
    out[f"loss.{name}"] = loss.detach()
    for n, p in every.items():
        if p.grad is not None:
            out[f"grad.{name}.{n}"] = p.grad.clone()


def write(token, wanted, total):
    out = {"pixels": pixels, "bank": bank.to(torch.int32), "directed": directed, "order.weight": head_w, "order.bias": head_b,
           "balance": balance}
    for s, passes in enumerate(samples(token)):
        for p, (kind, ids, trained, k) in enumerate(passes):
            out[f"s.{s}.p.{p}.ids"] = torch.tensor(ids, dtype=torch.int32)
            out[f"s.{s}.p.{p}.labels"] = torch.tensor([i if t else IGNORE for i, t in zip(ids, trained)], dtype=torch.int32)
            out[f"s.{s}.p.{p}.info"] = torch.tensor([kind, k], dtype=torch.int32)
    told = losses(token)
    for name in wanted:
        gradients(out, name, told[name])
    if total:  # METHODS 2.4 with weights 1, 0.5, 0.25, 2, fixed and learned
        parts = [told["language"], 0.5 * told["image_order"], 0.25 * told["text_order"], 2 * told["mass"]]
        gradients(out, "fixed", sum(parts))
        gradients(out, "learned", sum(torch.exp(-s) * x + s / 2 for x, s in zip(parts, balance)))
    file = os.path.join(OUT, f"{token}.safetensors")
    save_file({k: v.detach().contiguous() for k, v in out.items()}, file)
    os.chmod(file, 0o644)


if __name__ == "__main__":
    os.makedirs(OUT, exist_ok=True)
    write("end", ["image_order", "text_order", "mass", "pair"], True)
    write("start", ["image_order"], False)
    write("visual", ["image_order"], False)
