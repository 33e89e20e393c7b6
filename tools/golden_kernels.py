#!/usr/bin/env python3
"""Golden values of the kernels from PyTorch: writes tests/golden/kernels/<suite>.safetensors.

  python3 -m pip install torch safetensors numpy && tools/golden_kernels.py

Only needed to make the files anew; tests read them. Inputs are f32; answers and gradients are computed by torch and
torch.autograd in f64 from these inputs and stored as f32. Tensors are named <test>/<case>/<argument> as in
tests/kernels/<suite>_test.c, and p holds the parameters that the comment at the top of each test lists.
"""
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

EPS = 1e-5  # tests/kernels/norm_test.c
GENERATOR = torch.Generator().manual_seed(20240607)
ACTIVATIONS = [F.gelu, lambda x: x * torch.sigmoid(1.702 * x), F.silu, F.relu,
               lambda x: F.gelu(x, approximate="tanh")]


def draw(*shape):
    """Numbers that f32 holds exactly, as f64."""
    return torch.randn(*shape, generator=GENERATOR, dtype=torch.float32).double()


def below(n, count):
    return torch.randint(n, (count,), generator=GENERATOR)


class Suite:
    def __init__(self, name):
        self.name, self.tensors, self.cases = name, {}, {}

    def case(self, test, p, **arguments):
        i = self.cases.get(test, 0)
        self.cases[test] = i + 1
        arguments["p"] = torch.tensor(p)
        for name, t in arguments.items():
            t = t.detach()
            if t.dtype.is_floating_point:
                t = t.float()
            else:
                t = t.int()
            self.tensors[f"{test}/{i}/{name}"] = t.contiguous().clone()

    def save(self):
        path = Path(__file__).parent.parent / "tests/golden/kernels" / f"{self.name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(self.tensors, path)
        print(f"{path.name}: {path.stat().st_size} bytes, {sum(self.cases.values())} cases")


def gradients(outputs, projections, inputs):
    return torch.autograd.grad(sum((y * dy).sum() for y, dy in zip(outputs, projections)), inputs)


def matrix():
    s = Suite("matrix")
    for m, n, k, ta, tb, bias in [(5, 7, 3, 0, 0, 0), (4, 4, 9, 1, 0, 1), (3, 17, 8, 0, 1, 1), (6, 5, 5, 1, 1, 0)]:
        a, b, v = draw(*((k, m) if ta else (m, k))), draw(*((n, k) if tb else (k, n))), draw(1, n)
        c = (a.T if ta else a) @ (b.T if tb else b) + (v if bias else 0)
        s.case("matmul", [m, n, k, ta, tb, bias, 0, 0], a=a, b=b, bias=v, c=c)
    for rows, i, o in [(7, 13, 5), (1, 4, 9)]:
        x, w, b, dy = (draw(*shape).requires_grad_() for shape in [(rows, i), (o, i), (1, o), (rows, o)])
        y = F.linear(x, w, b[0])
        dx, dw, db = gradients([y], [dy], [x, w, b])
        s.case("linear", [rows, i, o, 0, 0], x=x, w=w, b=b, dy=dy, y=y, dx=dx, dw=dw, db=db)
    x = draw(13, 7)
    s.case("col_sum", [13, 7, 0, 0], x=x, out=x.sum(0, keepdim=True))
    src, f, di, si = draw(6, 5), draw(9), below(4, 9), below(6, 9)
    s.case("copy_rows", [4, 6, 5, 9, 15, 0], src=src, s=f, di=di, si=si,
           dst=torch.zeros(4, 5).double().index_add(0, di, src[si] * f[:, None]))
    x, dy, f, index = draw(5, 4).requires_grad_(), draw(11, 4), draw(11), below(5, 11)
    y = x.index_select(0, index) * f[:, None]
    s.case("gather", [5, 11, 4], x=x, dy=dy, s=f, index=index, y=y, dx=gradients([y], [dy], [x])[0])
    a, b = draw(3, 5), draw(3, 5)
    s.case("add", [3, 5, 0, 0], a=a, b=b, y=a + b)
    s.case("scale", [3, 5, 0, 0], x=a, y=a * torch.tensor(-0.7, dtype=torch.float32).double())
    x, f = draw(9, 7), draw(9)
    s.case("sum", [9, 7, 1, 0], x=x, s=f, sum=(x * f[:, None]).sum()[None], squares=x.square().sum()[None])
    half(s)
    s.save()


def half(s):
    """16-bit operands: numbers that the type holds, multiplied as they are."""
    own = torch.Generator().manual_seed(20251121)
    numbers = [torch.float32, torch.bfloat16, torch.float16]  # as drt_dtype counts them

    def held(rows, cols, t):
        return torch.randn(rows, cols, generator=own).to(numbers[t]).double()

    for m, n, k, ta, tb, bias, t, u in [(5, 7, 3, 0, 0, 0, 1, 1), (4, 4, 9, 1, 0, 1, 1, 1), (3, 17, 40, 0, 1, 1, 1, 1),
                                        (11, 17, 40, 0, 1, 0, 1, 1), (3, 6, 33, 0, 1, 1, 0, 2), (12, 6, 5, 0, 1, 1, 0, 2)]:
        a, b = held(*((k, m) if ta else (m, k)), t), held(*((n, k) if tb else (k, n)), u)
        v = held(1, n, 0)
        c = (a.T if ta else a) @ (b.T if tb else b) + (v if bias else 0)
        s.case("matmul_half", [m, n, k, ta, tb, bias, 0, 0, t, u], a=a, b=b, bias=v, c=c)
    for t in (1, 2):
        src, f = held(6, 21, t), held(9, 1, 0)[:, 0]
        di, si = torch.randint(4, (9,), generator=own), torch.randint(6, (9,), generator=own)
        s.case("copy_rows", [4, 6, 21, 9, 15, 0, t], src=src, s=f, di=di, si=si,
               dst=torch.zeros(4, 21).double().index_add(0, di, src[si] * f[:, None]))


def activation():
    s = Suite("activation")
    for kind, act in enumerate(ACTIVATIONS):
        if kind == 4:  # kinds that came later leave the other suites their numbers
            state = GENERATOR.get_state()
        x = draw(7, 13) * 3
        x[0, :4] = torch.tensor([0.0, -0.0, 6.5, -6.5])
        x = x.float().double().requires_grad_()
        dy, y = draw(7, 13), act(x)
        s.case("activate", [kind, 7, 13], x=x, y=y)
        s.case("activate_back", [kind, 7, 13], x=x, dy=dy, dx=gradients([y], [dy], [x])[0])
        x, dy = draw(5, 14).requires_grad_(), draw(5, 7)
        gate, up = x.chunk(2, dim=1)
        y = act(gate) * up
        s.case("glu", [kind, 5, 7], x=x, y=y)
        s.case("glu_back", [kind, 5, 7], x=x, dy=dy, dx=gradients([y], [dy], [x])[0])
    GENERATOR.set_state(state)
    s.save()


def norm():
    s = Suite("norm")
    plain, small = 0, 2  # kinds of input in norm_test.c
    for rows, cols, kind in [(7, 13, plain), (1, 31, plain), (5, 16, small)]:
        p = [rows, cols, 0, 0, kind, 0]
        x = (draw(rows, cols) * (1e-3 if kind == small else 1)).float().double().requires_grad_()
        w, b = draw(1, cols).requires_grad_(), draw(1, cols).requires_grad_()
        dy = draw(rows, cols)
        eps = torch.tensor(EPS, dtype=torch.float32).double().item()
        y = F.layer_norm(x, (cols,), w[0], b[0], eps)
        rstd = 1 / (x.var(1, correction=0, keepdim=True) + eps).sqrt()
        s.case("layer_norm", p, x=x, w=w, b=b, y=y, stat=torch.cat([x.mean(1, keepdim=True), rstd], 1))
        dx, dw, db = gradients([y], [dy], [x, w, b])
        s.case("layer_norm_back", p, x=x, w=w, b=b, dy=dy, dx=dx, dw=dw, db=db)
        y = F.rms_norm(x, (cols,), w[0], eps)
        s.case("rms_norm", p, x=x, w=w, y=y, stat=1 / (x.square().mean(1, keepdim=True) + eps).sqrt())
        dx, dw = gradients([y], [dy], [x, w])
        s.case("rms_norm_back", p, x=x, w=w, dy=dy, dx=dx, dw=dw)
        y = F.normalize(x, dim=1)
        s.case("unit_rows", p, x=x, y=y, norm=x.norm(dim=1, keepdim=True))
        s.case("unit_rows_back", p, x=x, dy=dy, dx=gradients([y], [dy], [x])[0])
    s.save()


def rope():
    """Rotary positions as in transformers: apply_rotary_pos_emb and rotate_half of modeling_llama.py; of a part of each
    head as in modeling_phi.py."""
    s = Suite("rope")
    own = torch.Generator().manual_seed(20251122)  # leaves the draws of the other cases as they were
    for rows, heads, size, still in [(9, 2, 8, 0), (3, 1, 20, 0), (5, 3, 10, 6), (4, 2, 9, 3)]:
        turning = size - still
        frequency = 1.0 / (10000 ** (torch.arange(0, turning, 2).double() / turning))
        angle = torch.arange(50).double()[:, None] * frequency
        table = torch.cat([angle.cos(), angle.sin()], 1).float().double()
        if still:
            x = torch.randn(rows, heads * size, generator=own).double()
            position = torch.randint(50, (rows,), generator=own)
        else:
            x, position = draw(rows, heads * size), below(50, rows)
        cos, sin = (t[position].repeat(1, 2)[:, None] for t in table.chunk(2, dim=1))
        h = x.view(rows, heads, size).requires_grad_()
        turned, rest = h[..., :turning], h[..., turning:]
        rotated = torch.cat([-turned[..., turning // 2:], turned[..., : turning // 2]], -1)
        y = torch.cat([turned * cos + rotated * sin, rest], -1)
        s.case("rope", [rows, heads, size, 0, 0, still], x=x, table=table, position=position, y=y.reshape(rows, -1))
        dx = gradients([y], [x.view_as(h)], [h])[0]
        s.case("rope", [rows, heads, size, 1, 0, still], x=x, table=table, position=position, y=dx.reshape(rows, -1))
    s.save()


def attend(q, k, v, lengths, reach, visual, heads, kv, size):
    """out, lse, mass of varlen attention, by scaled_dot_product_attention where its mask allows and by softmax."""
    outs, lses, masses, at_q, at_k = [], [], [], 0, 0
    for nq, nk in lengths:
        split = lambda t, at, n, h: t[at: at + n].view(n, h, size).transpose(0, 1)
        qs, ks, vs = split(q, at_q, nq, heads), split(k, at_k, nk, kv), split(v, at_k, nk, kv)
        ks, vs = (t.repeat_interleave(heads // kv, 0) for t in (ks, vs))
        sees = torch.arange(nk)[None] < reach[at_q: at_q + nq, None]
        scores = (qs @ ks.transpose(1, 2) / math.sqrt(size)).masked_fill(~sees, -math.inf)
        weights = torch.where(sees, scores, 0).exp() * sees  # rows that see nothing must not make NaN
        a = weights / weights.sum(-1, keepdim=True).clamp_min(1e-300)
        out = a @ vs
        if nq and nk and bool(sees.any(1).all()):
            torch.testing.assert_close(out, F.scaled_dot_product_attention(qs, ks, vs, attn_mask=sees))
        outs.append(out.transpose(0, 1).reshape(nq, heads * size))
        lses.append(scores.logsumexp(-1).T if nk else torch.full((nq, heads), -math.inf).double())
        masses.append((a * visual[at_k: at_k + nk].double()).sum(-1).T)
        at_q, at_k = at_q + nq, at_k + nk
    return torch.cat(outs), torch.cat(lses), torch.cat(masses)


def attention():
    s = Suite("attention")
    everything, causal, other = 0, 1, 2
    cases = [
        ([(6, 6)], 1, 1, 8, causal, 0),
        ([(5, 5), (9, 9)], 4, 2, 8, causal, 3),
        ([(7, 7), (4, 4)], 2, 2, 20, everything, 3),
        ([(1, 9), (3, 12)], 4, 1, 16, causal, 3),
        ([(4, 6), (0, 3), (5, 5)], 2, 1, 5, other, 3),
        ([(33, 33)], 1, 1, 4, causal, 3),
    ]
    for lengths, heads, kv, size, mode, flags in cases:
        nq, nk = (sum(l[i] for l in lengths) for i in (0, 1))
        offsets = lambda i: torch.tensor([sum(l[i] for l in lengths[:n]) for n in range(len(lengths) + 1)])
        reach = []
        for a, b in lengths:
            if mode == causal:
                reach += [b - a + i + 1 for i in range(a)]
            elif mode == everything:
                reach += [b] * a
            else:
                reach += [min(b, i // 2 * 3) for i in range(a)]
        reach, visual = torch.tensor(reach), below(2, nk)
        q, k, v = draw(nq, heads * size), draw(nk, kv * size), draw(nk, kv * size)
        for t in (q, k, v):
            t.requires_grad_()
        out, lse, mass = attend(q, k, v, lengths, reach, visual, heads, kv, size)
        dout, dmass = draw(nq, heads * size), draw(nq, heads)
        p = [len(lengths), heads, kv, size, mode, flags, 0]
        common = dict(q=q, k=k, v=v, q_offsets=offsets(0), k_offsets=offsets(1), reach=reach, visual=visual)
        s.case("attention", p, **common, out=out, lse=lse, mass=mass)
        outputs, projections = ([out, mass], [dout, dmass]) if flags & 2 else ([out], [dout])
        dq, dk, dv = gradients(outputs, projections, [q, k, v])
        s.case("attention_back", p, **common, dout=dout, dmass=dmass, dq=dq, dk=dk, dv=dv)
    s.save()


def loss():
    s = Suite("loss")
    for rows, classes in [(9, 13), (3, 67)]:
        x = (draw(rows, classes) * 3).float().double().requires_grad_()
        label, weight = below(classes, rows), draw(rows)
        label[0] = x[0].argmax()
        losses = F.cross_entropy(x, label, reduction="none")
        p = [rows, classes, 0, 0, 0]
        hit = (x.argmax(1) == label).double()
        s.case("cross_entropy", p, logits=x, label=label, lse=x.logsumexp(1), loss=losses, hit=hit)
        dx = gradients([losses], [weight], [x])[0]
        s.case("cross_entropy_back", p, logits=x, label=label, weight=weight, dlogits=dx)
    f32 = lambda x: torch.tensor(x, dtype=torch.float32).double().item()
    for decay, step, factor in [(0, 1, 100), (10, 3, 30)]:
        n = 17
        w0, g, m0, v0 = draw(n), draw(n), draw(n) * (step > 1), (draw(n).square() * (step > 1)).float().double()
        w = w0.clone().requires_grad_()
        # Numbers as f32 holds them: 1 - 0.999 differs from 1 - 0.999f in the fifth digit.
        betas = f32(0.9), f32(0.999)
        o = torch.optim.AdamW([w], lr=f32(0.01), betas=betas, eps=f32(1e-8), weight_decay=f32(decay / 100))
        o.state[w] = {"step": torch.tensor(float(step - 1)), "exp_avg": m0.clone(), "exp_avg_sq": v0.clone()}
        w.grad = g * f32(factor / 100)
        o.step()
        m, v = o.state[w]["exp_avg"], o.state[w]["exp_avg_sq"]
        s.case("adamw", [n, decay, step, factor], w0=w0, g=g, m0=m0, v0=v0, w=w, m=m, v=v)
    s.save()


def sinkhorn():
    s = Suite("sinkhorn")

    def plan(x, sweeps):
        for _ in range(sweeps):
            x = x - x.logsumexp(1, keepdim=True)
            x = x - x.logsumexp(0, keepdim=True)
        return x.exp()

    for n, sweeps, spread in [(5, 1, 1), (9, 3, 2), (17, 50, 4), (6, 2, 60)]:
        x, dp = (draw(n, n) * spread).float().double().requires_grad_(), draw(n, n)
        y = plan(x, sweeps)
        if spread < 10:  # the plain form agrees
            k = x.exp()
            for _ in range(sweeps):
                k = k / k.sum(1, keepdim=True)
                k = k / k.sum(0, keepdim=True)
            torch.testing.assert_close(k, y)
        p = [n, sweeps, 0, 3 if spread > 10 else 0, 0, 0, 0]  # kinds of scores in sinkhorn_test.c
        s.case("sinkhorn", p, s=x, plan=y)
        s.case("sinkhorn_back", p, s=x, dp=dp, ds=gradients([y], [dp], [x])[0])
    for n in (4, 13):  # through so many sweeps that the limit is reached
        x, dp = draw(n, n).requires_grad_(), draw(n, n)
        s.case("sinkhorn_implicit", [n, 200, 0, 0, 0, 0, 1], s=x, dp=dp,
               ds=gradients([plan(x, 400)], [dp], [x])[0])
    s.save()


if __name__ == "__main__":
    for suite in (matrix, activation, norm, rope, attention, loss, sinkhorn):
        suite()
