"""Times one step of the permutation experiment (`drt gps`) in drt and in PyTorch: same sizes, same threads, f32, AdamW
(fused), clipping, dropout, Gumbel noise, 50 sweeps in the log domain or fewer where all rows sum to 1 within 1e-6.
Processor seconds, so that other programs on the machine count little, or those of the clock (--clock wall: on a quiet
machine, with all its threads); the first two steps of each are left out, in which memory is still new.

Usage: tools/peers/gps_step.py [--tokens 800] [--width 2048] [--sets 4] [--steps 3] [--threads 1] [--trim]
                               [--dtype f32|f16] [--autocast bfloat16|float16] [--clock processor|wall]
--dtype is drt's; PyTorch computes in f32 without --autocast.
PyTorch runs the last block whole, as the authors' program does, although nothing reads what lies behind its scores;
--trim leaves that out there, too. Needs torch."""
import argparse, math, os, statistics, subprocess, time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
for name, default in [("tokens", 800), ("width", 2048), ("sets", 4), ("steps", 3), ("threads", 1)]:
    parser.add_argument(f"--{name}", type=int, default=default)
parser.add_argument("--trim", action="store_true")
parser.add_argument("--dtype", default="f32", choices=["f32", "f16"])
parser.add_argument("--autocast", choices=["bfloat16", "float16"])
parser.add_argument("--clock", default="processor", choices=["processor", "wall"])
parser.add_argument("--drt", default="build/drt")
args = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = str(args.threads)

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_num_threads(args.threads)
LAYERS, SWEEPS, TAU, ALPHA = 4, 50, 2.0, 0.5
FIRST = 2  # steps that are not counted
now = time.process_time if args.clock == "processor" else time.monotonic


def drt_seconds():
    """Seconds of each step but the first ones, read as its line comes."""
    run = subprocess.Popen([args.drt, "gps", "--tokens", str(args.tokens), "--width", str(args.width), "--sets",
                            str(args.sets), "--stop", str(args.steps), "--threads", str(args.threads), "--dtype", args.dtype],
                           stdout=subprocess.PIPE, text=True)
    used = []
    for line in run.stdout:
        if line.startswith("step "):
            fields = open(f"/proc/{run.pid}/stat").read().rsplit(")", 1)[1].split()
            processor = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            used.append(processor if args.clock == "processor" else now())
    if run.wait():
        raise SystemExit("drt gps failed")
    return [b - a for a, b in zip(used, used[1:])][FIRST - 1:]


class Block(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.d = d
        self.q, self.k, self.v = (nn.Linear(d, d, bias=False) for _ in range(3))
        self.up, self.down, self.drop = nn.Linear(d, 4 * d), nn.Linear(4 * d, d), nn.Dropout(0.1)
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)

    def scores(self, x):
        return self.q(x) @ self.k(x).transpose(1, 2) / math.sqrt(self.d)

    def forward(self, x):
        s = self.scores(x)
        x = self.norm1(x + s.softmax(-1) @ self.v(x))
        return self.norm2(x + self.down(self.drop(F.relu(self.up(x))))), s


def sinkhorn(z):
    for _ in range(SWEEPS):
        z = z - z.logsumexp(2, keepdim=True)
        z = z - z.logsumexp(1, keepdim=True)
        with torch.no_grad():
            if (z.exp().sum(2) - 1).abs().max() < 1e-6:
                break
    return z.exp()


def torch_seconds():
    torch.manual_seed(0)
    b, n, d = args.sets, args.tokens, args.width
    blocks = nn.ModuleList(Block(d) for _ in range(LAYERS))
    optimizer = torch.optim.AdamW(blocks.parameters(), lr=1e-4, weight_decay=1e-5, fused=True)
    tokens, target = torch.randn(b, n, d), torch.stack([torch.randperm(n) for _ in range(b)])
    wanted, used = F.one_hot(target, n).float(), []
    for _ in range(args.steps):
        started = now()
        x = tokens
        with torch.autocast("cpu", getattr(torch, args.autocast or "bfloat16"), enabled=bool(args.autocast)):
            for i, block in enumerate(blocks):
                if args.trim and i == LAYERS - 1:
                    s = block.scores(x)
                else:
                    x, s = block(x)
        s = s.float()
        noise = -torch.log(-torch.log(torch.rand_like(s).clamp_(1e-10, 1 - 1e-7)))
        plan = sinkhorn(((s + ALPHA * torch.eye(n) + noise) / TAU).clamp(-15, 15))
        log = plan.clamp_min(1e-12).log()
        loss = F.mse_loss(plan, wanted) + F.nll_loss(log.flatten(0, 1), target.flatten())
        loss = loss - 0.01 * (plan * log).sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(blocks.parameters(), 0.5)
        optimizer.step()
        right = (plan.argmax(-1) == target).float().mean().item()
        used.append(now() - started)
        print(f"torch: loss {loss.item():.4f}, accuracy {right:.4f}, {used[-1]:.2f} s", flush=True)
    return used[FIRST:]


ours = drt_seconds()
print("drt:", " ".join(f"{s:.2f}" for s in ours), "s", flush=True)
theirs = torch_seconds()
a, b = statistics.median(ours), statistics.median(theirs)
print(f"{args.sets} x {args.tokens} tokens of {args.width}, {args.threads} threads, {args.clock}: drt {a:.2f} s, torch {b:.2f} s a step "
      f"({args.dtype}, {args.autocast or 'float32'}, {torch.__version__}{', trimmed' if args.trim else ''}): {b / a:.2f} times")
