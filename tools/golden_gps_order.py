#!/usr/bin/env python3
"""Writes tests/golden/align/gps_order.safetensors: GPS (METHODS 5) as an order of the input, spelled plainly in PyTorch on
the tiny LLaVA of tests/golden/model/llava: mixed rows, chosen rows and assigned rows, what each of language, guided and
image_order loses, and the gradients of decoder, projector, permuter, directed token and order head.

    python tools/golden_gps_order.py            (after tools/golden_model.py)

Every sequence runs alone: its rows are spliced, the prompt's are multiplied by a permutation matrix of their own, marks
are moved by the largest share.
"""
import os

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import golden_align as plain
from golden_align import DIRECTED, IGNORE, IMAGE, IMAGE_ORDER, PLAIN, WIDTH, bank, model, pixels
from golden_gps import gumbel, hash_of, place_hash
from gps_plain import chosen, plan, scores

BOS, EOS = 1, 2
LAYERS, HIDDEN, ALPHA, SWEEPS, NOISE, DROP = 3, 20, 0.5, 6, 91, 0.25
ONE = [BOS, 5, IMAGE, 7, 9, 30, 11, 12, EOS]
# kind, ids, where answers stand, permutation: one picture, two, one behind the first answer, none.
SAMPLES = [
    [(PLAIN, ONE, [5, 6, 7, 8], -1), (IMAGE_ORDER, ONE + [DIRECTED], [5, 6, 7, 8], 3)],
    [(PLAIN, [BOS, 3, IMAGE, 4, 6, IMAGE, 8, 6, 4, 12, EOS], [8, 9, 10], -1)],
    [(PLAIN, [BOS, 14, IMAGE, 15, 17, 16, EOS, 20, IMAGE, 21, 22, EOS], [5, 6, 10, 11], -1)],
    [(PLAIN, [BOS, 20, 21, 22, EOS], [2, 3, 4], -1)],
]
generator = torch.Generator().manual_seed(23)
pictures = torch.cat([pixels, torch.randn(2, 3, plain.SIDE, plain.SIDE, generator=generator)])


def weights():
    draw = lambda *shape: torch.randn(*shape, generator=generator)
    w = {}
    for layer in range(LAYERS):
        last = layer == LAYERS - 1
        w[f"{layer}.qkv.weight"] = draw((2 if last else 3) * WIDTH, WIDTH) * (0.35 if last else 0.25)
        if last:
            break
        for name, shape, scale, mean in [("norm1.weight", (WIDTH,), 0.2, 1), ("norm1.bias", (WIDTH,), 0.2, 0),
                                         ("up.weight", (HIDDEN, WIDTH), 0.2, 0), ("up.bias", (HIDDEN,), 0.2, 0),
                                         ("down.weight", (WIDTH, HIDDEN), 0.2, 0), ("down.bias", (WIDTH,), 0.2, 0),
                                         ("norm2.weight", (WIDTH,), 0.2, 1), ("norm2.bias", (WIDTH,), 0.2, 0)]:
            w[f"{layer}.{name}"] = draw(*shape) * scale + mean
    return {"blocks." + k: v.requires_grad_() for k, v in w.items()}


permuter = weights()


def dropped(x, key, first):
    """Dropout by place; `first`: the row of x among those of all prompts of the batch."""
    keep = [[place_hash(key, first + r, c) >= int(DROP * 2 ** 32) for c in range(x.shape[1])] for r in range(len(x))]
    return x * torch.tensor(keep) / (1 - DROP)


def plan_of(x, tau, noise, sequence, first):
    # The batch is the step's first: its masks have a key of their own.
    drop = (lambda h, layer: dropped(h, hash_of(hash_of(noise, 0) | 1, layer), first)) if noise else lambda h, layer: h
    return plan(scores(permuter, x, drop), ALPHA, tau, SWEEPS, gumbel(hash_of(noise, sequence), len(x)) if noise else 0)


class Case:
    def __init__(self, name, tau, noise, hard):
        self.name, self.tau, self.noise, self.hard = name, tau, noise, hard
        self.sequence = self.first = 0

    def permuted(self, x, marks, lead, end):
        """Rows and marks of one sequence in their new order; the row of each place."""
        order = torch.arange(len(x))
        self.sequence += 1
        if end - lead < 2 or not any(marks[lead:end]):
            return x, marks, order
        p = plan_of(x[lead:end], self.tau, self.noise, self.sequence - 1, self.first)
        self.first += end - lead
        column = chosen(p, self.hard, x[lead:end])
        if self.hard:
            p = F.one_hot(column, len(p)) + (p - p.detach())
        order[lead:end] = lead + column
        return torch.cat([x[:lead], p @ x[lead:end], x[end:]]), marks[order], order


def run(case, kind, ids, answer, images):
    seen = plain.visual_tokens(images) if len(images) else []
    embed = model.model.language_model.embed_tokens.weight
    rows, labels, marks, image, prompt = [], [], [], 0, 0
    for i, token in enumerate(ids):
        new = seen[image] if token == IMAGE else plain.directed[None] if token == DIRECTED else embed[token][None]
        image += token == IMAGE
        rows.append(new)
        marks += [token == IMAGE] * len(new)
        labels += [token if kind == PLAIN and i in answer else IGNORE] * len(new)
        if i < answer[0]:
            prompt = len(marks)
    x, marks, order = case.permuted(torch.cat(rows), torch.tensor(marks), 1, prompt)
    y = model.model.language_model(inputs_embeds=x[None], output_attentions=True)
    predicts = [(r, labels[r + 1]) for r in range(len(labels) - 1) if labels[r + 1] != IGNORE]
    return y.last_hidden_state[0], [a[0] for a in y.attentions], marks, predicts, order


def losses(out, case):
    words, mass, pair, orders, first = [], [], [], [], 0
    for s, passes in enumerate(SAMPLES):
        n = sum(i == IMAGE for i in passes[0][1])
        own = pictures[first:first + n]
        first += n
        for p, (kind, ids, answer, k) in enumerate(passes):
            images = torch.stack([plain.shuffled(x, bank[k]) for x in own]) if k >= 0 else own
            states, attention, marks, predicts, order = run(case, kind, ids, answer, images)
            out[f"order.{case.name}.s.{s}.p.{p}"] = order.int()
            if k >= 0:
                orders.append(F.cross_entropy((plain.head_w @ states[-1] + plain.head_b)[None], torch.tensor([k])))
                continue
            for r, label in predicts:
                words.append(F.cross_entropy(model.lm_head(states[r])[None], torch.tensor([label])))
                if n:
                    a = torch.stack([layer[:, r, marks] for layer in attention])
                    mass.append((1 - a.sum(-1)).mean())
    mean = lambda x: torch.stack(x).mean()
    return mean(words) + 0.5 * mean(orders) + 2 * mean(mass)


def gradients(out, name, loss):
    for p in permuter.values():
        p.grad = None
    plain.gradients(out, name, loss)
    for n, p in permuter.items():
        out[f"grad.{name}.{n}"] = p.grad.clone()


if __name__ == "__main__":
    out = {"pixels": pictures, "bank": bank.to(torch.int32), "directed": plain.directed, "order.weight": plain.head_w,
           "order.bias": plain.head_b}
    out |= {f"w.{k}": v for k, v in permuter.items()}
    for s, passes in enumerate(SAMPLES):
        for p, (kind, ids, answer, k) in enumerate(passes):
            labels = [t if kind == PLAIN and i in answer else IGNORE for i, t in enumerate(ids)]
            out[f"s.{s}.p.{p}.ids"] = torch.tensor(ids, dtype=torch.int32)
            out[f"s.{s}.p.{p}.labels"] = torch.tensor(labels, dtype=torch.int32)
            out[f"s.{s}.p.{p}.prompt"] = torch.tensor([answer[0]], dtype=torch.int32)
            out[f"s.{s}.p.{p}.info"] = torch.tensor([kind, k], dtype=torch.int32)
    for case in (Case("mixed", 1.0, NOISE, ""), Case("chosen", 0.5, NOISE, "argmax"),
                 Case("assigned", 0.7, 0, "assignment")):
        gradients(out, case.name, losses(out, case))
    file = os.path.join(plain.OUT, "gps_order.safetensors")
    save_file({k: v.detach().contiguous() for k, v in out.items()}, file)
    os.chmod(file, 0o644)
    print(f"{os.path.getsize(file)} bytes")
