#!/usr/bin/env python3
"""Golden values of GPS (METHODS 5) from a plain PyTorch spelling: writes tests/golden/align/gps.safetensors.

  python3 -m pip install torch safetensors numpy && tools/golden_gps.py

Only needed to make the file anew; tests/align/gps_test.c reads it. Everything is computed in f64 from f32 numbers. The
noise and the dropout masks are the functions of (key, row, column) that src/kernels/kernels.h and
src/tensor/permutation.c spell; the optimal assignments are scipy's where it is installed, else those of the file.
"""
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from gps_plain import sinkhorn

PATH = Path(__file__).parent.parent / "tests/golden/align/gps.safetensors"
WIDTH, LAYERS, LENGTHS, ALPHA, BOUND = 12, 3, (7, 5), 0.5, 15.0
M32, M64 = (1 << 32) - 1, (1 << 64) - 1
GENERATOR = torch.Generator().manual_seed(20251123)


def draw(*shape):
    return torch.randn(*shape, generator=GENERATOR)


def scramble(x):
    x = (x ^ x >> 16) * 0x7FEB352D & M32
    x = (x ^ x >> 15) * 0x846CA68B & M32
    return x ^ x >> 16


def place_hash(key, row, col):
    row = scramble(key >> 32 ^ scramble((key + row) & M32))
    return scramble((row + col * 0x9E3779B9) & M32)


def hash_of(*words):
    h = 0xCBF29CE484222325
    for byte in b"".join(w.to_bytes(8, "little") for w in words):
        h = (h ^ byte) * 0x100000001B3 & M64
    z = h + 0x9E3779B97F4A7C15 & M64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & M64
    z = (z ^ z >> 27) * 0x94D049BB133111EB & M64
    return z ^ z >> 31


def table(rows, cols, f):
    return torch.tensor([[f(r, c) for c in range(cols)] for r in range(rows)], dtype=torch.float64)


def gumbel(key, n):
    return table(n, n, lambda r, c: -math.log(-math.log(((place_hash(key, r, c) >> 9) + 0.5) * 2.0 ** -23)))


def drop(x, rate, key):
    if not rate:
        return x
    return x * table(*x.shape, lambda r, c: place_hash(key, r, c) >= int(rate * 2 ** 32)) / (1 - rate)


def block(w, layer, x, rate, noise):
    """x of all sequences after one block, and its raw scores. The last block is spelled whole here, too."""
    p = lambda name: w[f"blocks.{layer}.{name}"]
    qkv = x @ p("qkv.weight").T
    last = qkv.shape[1] == 2 * WIDTH
    q, k = qkv[:, :WIDTH], qkv[:, WIDTH:2 * WIDTH]
    scores, mixed, at = [], [], 0
    for n in LENGTHS:
        own = slice(at, at + n)
        scores.append(q[own] @ k[own].T / math.sqrt(WIDTH))
        if not last:
            mixed.append(scores[-1].softmax(1) @ qkv[own, 2 * WIDTH:])
        at += n
    if last:
        return None, scores
    x = F.layer_norm(x + torch.cat(mixed), (WIDTH,), p("norm1.weight"), p("norm1.bias"))
    h = drop(F.relu(F.linear(x, p("up.weight"), p("up.bias"))), rate, hash_of(noise, layer))
    x = x + F.linear(h, p("down.weight"), p("down.bias"))
    return F.layer_norm(x, (WIDTH,), p("norm2.weight"), p("norm2.bias")), scores


def weights():
    w = {}
    for l in range(LAYERS):
        last = l == LAYERS - 1
        w[f"blocks.{l}.qkv.weight"] = draw((2 if last else 3) * WIDTH, WIDTH) * 0.5
        if last:
            break
        for name, shape, scale, mean in [("norm1.weight", (WIDTH,), 0.2, 1), ("norm1.bias", (WIDTH,), 0.2, 0),
                                         ("up.weight", (4 * WIDTH, WIDTH), 0.3, 0), ("up.bias", (4 * WIDTH,), 0.2, 0),
                                         ("down.weight", (WIDTH, 4 * WIDTH), 0.2, 0), ("down.bias", (WIDTH,), 0.2, 0),
                                         ("norm2.weight", (WIDTH,), 0.2, 1), ("norm2.bias", (WIDTH,), 0.2, 0)]:
            w[f"blocks.{l}.{name}"] = draw(*shape) * scale + mean
    return w


def assignments(out):
    """Scores of 60 rows with many ties, and of 200; the best sums."""
    for n, spread in [(60, 3), (200, 1000)]:
        gain = torch.randint(spread, (n, n), generator=GENERATOR).float() / 4
        try:
            from scipy.optimize import linear_sum_assignment
            best = gain.double().numpy()[linear_sum_assignment(gain.numpy(), maximize=True)].sum()
        except ImportError:
            best = load_file(PATH)[f"assign.{n}.best"].item()
        out[f"assign.{n}"], out[f"assign.{n}.best"] = gain, torch.tensor([best], dtype=torch.float32)


def main():
    w, x = weights(), draw(sum(LENGTHS), WIDTH)
    targets = [torch.randperm(n, generator=GENERATOR) for n in LENGTHS]
    out = {f"w.{k}": v for k, v in w.items()} | {"x": x, "target": torch.cat(targets).int()}
    for case, tau, noise, rate, sweeps, hard in [("plain", 1.0, 0, 0.0, 4, False), ("noisy", 2.0, 77, 0.25, 20, False),
                                                 ("hard", 0.5, 78, 0.25, 7, True), ("sharp", 0.02, 0, 0.0, 50, False)]:
        p = {k: v.double().requires_grad_() for k, v in w.items()}
        h = x.double().requires_grad_()
        y = h
        for layer in range(LAYERS):
            y, scores = block(p, layer, y, rate, noise)
        loss = 0
        for s, (n, target) in enumerate(zip(LENGTHS, targets)):
            z = scores[s] + ALPHA * torch.eye(n) + (gumbel(hash_of(noise, s), n) if noise else 0)
            plan = sinkhorn((z / torch.tensor(tau).double()).clamp(-BOUND, BOUND), sweeps)
            used = plan
            if hard:
                used = F.one_hot(plan.argmax(1), n) + (plan - plan.detach())
            square = (used - F.one_hot(target, n)).square().mean()
            cross = F.nll_loss(plan.clamp_min(1e-12).log(), target)
            entropy = -(plan * plan.clamp_min(1e-12).log()).sum(1).mean()
            loss = loss + (square + cross + 0.01 * entropy) / len(LENGTHS)
            out[f"{case}.plan.{s}"] = plan.detach().float().contiguous()
        names = list(p)
        for name, g in zip(names + ["x"], torch.autograd.grad(loss, [p[k] for k in names] + [h])):
            out[f"{case}.grad.{name}"] = g.float().contiguous()
        out[f"{case}.loss"] = loss.detach().float().reshape(1)
    assignments(out)
    save_file({k: v.clone().contiguous() for k, v in out.items()}, PATH)
    print(f"{PATH.name}: {PATH.stat().st_size} bytes")


if __name__ == "__main__":
    main()
