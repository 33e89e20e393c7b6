"""GPS (METHODS 5) spelled plainly in PyTorch, for golden files: scores, plan, choice, and the permuter of a folder. Written
by itself, from METHODS; what it shares with drt is the file's format (docs/model.md)."""
import math
import os

import torch
import torch.nn.functional as F
from safetensors import safe_open

BOUND = 15.0


def scores(w, x, drop=lambda h, layer: h):
    """x [n, d] -> q k^T / sqrt(d) of the last block; w: tensors by their names. Behind them nothing is read."""
    layers, d = sum(k.endswith("qkv.weight") for k in w), x.shape[1]
    for layer in range(layers):
        p = lambda name: w[f"blocks.{layer}.{name}"]
        qkv = x @ p("qkv.weight").T
        s = qkv[:, :d] @ qkv[:, d:2 * d].T / math.sqrt(d)
        if layer == layers - 1:
            return s
        x = F.layer_norm(x + s.softmax(1) @ qkv[:, 2 * d:], (d,), p("norm1.weight"), p("norm1.bias"))
        h = drop(F.relu(F.linear(x, p("up.weight"), p("up.bias"))), layer)
        x = F.layer_norm(x + F.linear(h, p("down.weight"), p("down.bias")), (d,), p("norm2.weight"), p("norm2.bias"))


def sinkhorn(z, sweeps):
    for _ in range(sweeps):
        z = z - z.logsumexp(1, keepdim=True)
        z = z - z.logsumexp(0, keepdim=True)
    return z.exp()


def plan(s, alpha, tau, sweeps, noise=0):
    z = s.double() + alpha * torch.eye(len(s), dtype=torch.float64) + noise
    return sinkhorn((z / tau).clamp(-BOUND, BOUND), sweeps).float()


def assigned(gain):
    """The best assignment, row by row along cheapest paths; its prices prove that no other is worth more."""
    n = len(gain)
    cost, u, v, taker = (-gain).tolist(), [0.0] * n, [0.0] * n, [-1] * n
    for row in range(n):
        reach, before, done, i, j = [math.inf] * n, [-1] * n, [False] * n, row, -1
        while i >= 0:
            for c in range(n):
                new = cost[i][c] - u[i] - v[c] + (reach[j] if j >= 0 else 0)
                if not done[c] and new < reach[c]:
                    reach[c], before[c] = new, j
            j = min((c for c in range(n) if not done[c]), key=lambda c: reach[c])
            done[j], i = True, taker[j]
        for c in range(n):
            if done[c] and c != j:
                u[taker[c]] += reach[j] - reach[c]
                v[c] -= reach[j] - reach[c]
        u[row] += reach[j]
        while j >= 0:
            taker[j] = taker[before[j]] if before[j] >= 0 else row
            j = before[j]
    column = torch.tensor([taker.index(r) for r in range(n)])
    price = torch.tensor(u, dtype=torch.float64)[:, None] + torch.tensor(v, dtype=torch.float64)
    assert (-gain - price).min() > -1e-12 and (-gain - price)[range(n), column].abs().max() < 1e-12
    return column


def chosen(p, hard, x):
    """The row of x that stands, or where rows are mixed counts most, at each place. Equal words are as good as each other."""
    if hard == "assignment":
        return assigned(p.detach().double())
    top = p.topk(2, dim=1)
    same = (x[top.indices[:, 0]] == x[top.indices[:, 1]]).all(1)
    assert (same | (top.values[:, 0] - top.values[:, 1] > 1e-5)).all(), "too close to call"
    return p.argmax(1)


class Permuter:
    """FOLDER/gps.safetensors as a function of the rows of a prompt."""

    def __init__(self, folder):
        with safe_open(os.path.join(folder, "gps.safetensors"), "pt") as f:
            self.how, self.w = f.metadata(), {k: f.get_tensor(k) for k in f.keys()}

    def __call__(self, x):
        h = self.how
        p = plan(scores(self.w, x.float()), float(h["alpha"]), float(h["tau"]), int(h["sweeps"]))
        return (p @ x.float()).to(x.dtype) if h["hard"] == "soft" else x[chosen(p, h["hard"], x)]
