"""The step of bench/step.c in eager PyTorch, written as Hugging Face's models are: padded batch, module by module,
F.scaled_dot_product_attention, logits of all rows, AdamW (foreach). With -g attention is eager too, because the guided
mass needs the probabilities. One JSON line.
Usage: bench/torch_step.py [-t threads] [-n repeats] [-g] [-c: processor time]"""
import argparse, json, time
import torch, torch.nn as nn, torch.nn.functional as F

IMAGES, PATCHES, VISION, WIDTH, HEADS, FFN, LAYERS, CLASSES = 32, 64, 128, 192, 4, 512, 4, 500


class VisionBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(VISION), nn.LayerNorm(VISION)
        self.q, self.k, self.v, self.o = (nn.Linear(VISION, VISION) for _ in range(4))
        self.up, self.down = nn.Linear(VISION, 4 * VISION), nn.Linear(4 * VISION, VISION)

    def forward(self, x):
        b, t, _ = x.shape
        n = self.n1(x)
        q, k, v = (f(n).view(b, t, 4, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        x = x + self.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, VISION))
        return x + self.down(F.gelu(self.up(self.n2(x))))


class RMSNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5))


def turn(x, cos, sin):
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat((-b, a), -1) * sin


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.n1, self.n2 = RMSNorm(), RMSNorm()
        self.q, self.k, self.v, self.o = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))
        self.gate, self.up = nn.Linear(WIDTH, FFN, bias=False), nn.Linear(WIDTH, FFN, bias=False)
        self.down = nn.Linear(FFN, WIDTH, bias=False)

    def forward(self, x, cos, sin, mask, guided):
        b, t, _ = x.shape
        n = self.n1(x)
        q, k, v = (f(n).view(b, t, HEADS, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        q, k, probability = turn(q, cos, sin), turn(k, cos, sin), None
        if guided:
            probability = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + mask).softmax(-1)
            a = probability @ v
        else:
            a = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.o(a.transpose(1, 2).reshape(b, t, WIDTH))
        n = self.n2(x)
        return x + self.down(F.silu(self.gate(n)) * self.up(n)), probability


def main():
    p = argparse.ArgumentParser()
    p.add_argument("-t", type=int, default=2)
    p.add_argument("-n", type=int, default=11)
    p.add_argument("-g", action="store_true")
    p.add_argument("-c", action="store_true")
    o = p.parse_args()
    torch.set_num_threads(o.t)
    torch.manual_seed(0)
    tower = nn.Sequential(*[VisionBlock() for _ in range(LAYERS)])
    projector = nn.Sequential(nn.Linear(VISION, WIDTH, bias=False), nn.GELU(), nn.Linear(WIDTH, WIDTH, bias=False))
    table, head, last = nn.Embedding(CLASSES, WIDTH), nn.Linear(WIDTH, CLASSES, bias=False), RMSNorm()
    blocks = nn.ModuleList(Block() for _ in range(LAYERS))
    trained = [w for m in (projector, table, head, last, blocks) for w in m.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.0)

    lengths = torch.tensor([80 + s * 37 % 64 for s in range(IMAGES)])
    most = int(lengths.max())
    at = torch.arange(most)
    alive = at[None] < lengths[:, None]
    ids = (torch.arange(IMAGES * most).view(IMAGES, most) * 31) % CLASSES
    labels = torch.where(alive & (at >= 8 + PATCHES)[None], (ids * 17) % CLASSES, -100)
    visual = ((at >= 8) & (at < 8 + PATCHES)).float()
    mask = torch.zeros(IMAGES, 1, most, most).masked_fill_(~((at[None] <= at[:, None]) & alive[:, None, None, :]), -1e9)
    angle = at[:, None] / 10000 ** (torch.arange(0, WIDTH // HEADS, 2) / (WIDTH // HEADS))
    cos, sin = torch.cat((angle, angle), -1).cos(), torch.cat((angle, angle), -1).sin()
    pixels = torch.randn(IMAGES, PATCHES + 1, VISION)

    def step():
        with torch.no_grad():
            seen = tower(pixels)[:, 1:]
        x = table(ids)
        x = torch.cat((x[:, :8], projector(seen), x[:, 8 + PATCHES:]), 1)
        guide = 0.0
        for block in blocks:
            x, probability = block(x, cos, sin, mask, o.g)
            if o.g:
                guide = guide + (1 - (probability * visual).sum(-1))[(labels >= 0)[:, None].expand(-1, HEADS, -1)].mean()
        logits = head(last(x))
        loss = F.cross_entropy(logits.view(-1, CLASSES), labels.view(-1), ignore_index=-100) + guide / LAYERS
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()

    now, times = time.process_time if o.c else time.perf_counter, []
    for i in range(-2, o.n):
        start = now()
        step()
        if i >= 0:
            times.append((now() - start) * 1e6)
    times.sort()
    print(json.dumps({"op": "step_guided" if o.g else "step", "shape": f"{int(lengths.sum())} rows in {IMAGES}x{most}",
                      "dtype": "f32", "device": "torch " + torch.__version__, "threads": o.t,
                      "median_us": round(times[len(times) // 2]), "best_us": round(times[0])}))


main()
