#!/usr/bin/env python3
"""Times the cases of bench/model.c in PyTorch and transformers, in turn with build/bench/model: the same sizes
(bench/sizes/NAME.json), lengths, data type and threads. Each program runs in a process of its own, so that peak memory
can be compared (drt's first; with --rounds 1 only one is there at a time, for sizes that fill the memory); activations
are the highest memory less weights, gradients, optimizer state and what the process held before. One JSON line per
program and round, and one per case with the best of PyTorch.

Usage: tools/peers/model_step.py SIZE CASE... [--dtype f32|bf16|f16] [--threads 2] [--rounds 3] [--steps 3] [-c]
  SIZE     demo, small, ragged, slice     CASE     vision, stage1, stage2, guided, order
  --ways   eager,sdpa,compile: how transformers runs (guided and order read attentions: there sdpa is left out, and
           compile attends as eager does)
  -c       processor time instead of the clock
  -k       drt knows the features of intact pictures, as from the second round of an epoch on
bf16, f16: f32 masters and such products, as drt's recipe key dtype, in two ways: by autocast over f32 weights, and
(+masters) by weights and activations in 16 bits, whose gradients step f32 masters. AdamW is fused, frozen parts run under
no_grad. stage2_step.py times `drt train` itself on a real world. Needs torch and transformers; run it in drt's own folder after `make bench-built`."""
import argparse, json, os, statistics, subprocess, sys, tempfile, time

READS_ATTENTIONS = "guided", "order"
HALVES = {"bf16": lambda torch: torch.bfloat16, "f16": lambda torch: torch.float16}
PICTURE = 33  # where it stands: behind BOS and BENCH_PROMPT words (bench/common/sizes.h)

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("size")
parser.add_argument("cases", nargs="+")
parser.add_argument("--dtype", default="f32", choices=["f32", "bf16", "f16"])
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--steps", type=int, default=3, help="timed steps of a round, after two that are not")
parser.add_argument("--ways", default="eager,sdpa,compile")
parser.add_argument("-c", dest="cpu", action="store_true")
parser.add_argument("-k", dest="known", action="store_true")
parser.add_argument("--drt", default="build/bench/model")
parser.add_argument("--worker", help=argparse.SUPPRESS)
args = parser.parse_args()
if unknown := set(args.ways.split(",")) - {"eager", "sdpa", "compile"}:
    parser.error(f"--ways: {', '.join(unknown)} is none of eager, sdpa, compile")
if unknown := set(args.cases) - {"vision", "stage1", "stage2", "guided", "order"}:
    parser.error(f"case {', '.join(unknown)} is none of vision, stage1, stage2, guided, order")


def memory(field):
    return next(1024 * int(l.split()[1]) for l in open("/proc/self/status") if l.startswith(field))


class Peer:
    def __init__(self, size, case, way):
        import torch
        import transformers
        from transformers.initialization import no_init_weights

        self.torch, self.case, self.way = torch, case, way
        torch.set_num_threads(args.threads)
        torch.manual_seed(0)
        torch.ones(64, 64) @ torch.ones(64, 64)
        before = memory("VmRSS")
        text = size.pop("bench_text")
        config = transformers.LlavaConfig(**size)
        way, *masters = way.split("+")
        attends = "eager" if way == "eager" or case in READS_ATTENTIONS else "sdpa"
        config._attn_implementation = attends
        with no_init_weights():
            self.model = transformers.LlavaForConditionalGeneration._from_config(config, attn_implementation=attends)
        for p in self.model.parameters():
            bound = 1.0 if p.dim() < 2 else 1.7 / p.shape[-1] ** 0.5
            p.data.uniform_(1.0, 1.0) if p.dim() < 2 else p.data.uniform_(-bound, bound)
        learns = {"vision": (), "stage1": ("projector",)}.get(case, ("projector", "language_model", "lm_head"))
        for name, p in self.model.named_parameters():
            p.requires_grad = any(part in name for part in learns)
        self.learn = [p for p in self.model.parameters() if p.requires_grad]
        self.masters = [p.detach().clone().requires_grad_() for p in self.learn] if masters else self.learn
        self.optimizer = torch.optim.AdamW(self.masters, lr=1e-5, weight_decay=0, fused=True) if self.learn else None
        if masters:
            self.model.to(HALVES[args.dtype](torch))
        # Weights and gradients; masters and theirs; moments.
        self.bytes = sum(p.nbytes * (2 if p.requires_grad else 1) for p in self.model.parameters())
        self.bytes += sum(p.nbytes * (4 if masters else 2) for p in self.masters)
        self.autocast = args.dtype in HALVES and not masters
        self.model.train()
        self.call = torch.compile(self.model) if way == "compile" else self.model
        self.make_batch(config, text)
        self.used = before + self.bytes
        open("/proc/self/clear_refs", "w").write("5")

    # BOS, common words, picture, own words: the batch of bench/common/sizes.c, padded to its longest sequence.
    def make_batch(self, config, text):
        torch, vision = self.torch, config.vision_config
        patches = (vision.image_size // vision.patch_size) ** 2
        order, n = self.case == "order", len(text)
        text = text + text if order else text
        most = max(text) + patches + order
        ids = torch.zeros(len(text), most, dtype=torch.long)
        labels, mask = torch.full_like(ids, -100), torch.zeros_like(ids)
        for i, rows in enumerate(text):
            place = torch.arange(rows + 1)  # the picture is one of them, as in drt
            own = torch.where(place < PICTURE, 0, i)
            words = (own * 8191 + place * 131) % (config.text_config.vocab_size - 100) + 3
            words[0] = 1
            ids[i, :PICTURE], ids[i, PICTURE : PICTURE + patches] = words[:PICTURE], config.image_token_index
            ids[i, PICTURE + patches : patches + rows] = words[PICTURE + 1 :]
            mask[i, : patches + rows + (i >= n)] = 1
            if i < n:
                answer = PICTURE + 1 + (rows - PICTURE) // 4
                labels[i, patches + answer - 1 : patches + rows] = words[answer:]
        self.rows, self.last = int(mask.sum()), torch.tensor([patches + r for r in text[n:]])
        pixels = torch.randn(len(text), 3, vision.image_size, vision.image_size).to(self.model.dtype)
        self.visual = (ids == config.image_token_index).to(self.model.dtype)
        self.batch = {"input_ids": ids, "labels": labels, "attention_mask": mask, "pixel_values": pixels}
        if order:
            self.head = torch.nn.Linear(config.text_config.hidden_size, 24)

    def loss(self):
        torch, n = self.torch, self.batch["labels"]
        if self.case not in READS_ATTENTIONS:
            return self.call(**self.batch, use_cache=False).loss
        order = self.case == "order"
        out = self.call(**self.batch, use_cache=False, output_attentions=True, output_hidden_states=order)
        responds = torch.nn.functional.pad(n[:, 1:], (0, 1), value=-100) >= 0
        mass = [(a * self.visual[:, None, None]).sum(-1).transpose(1, 2)[responds].mean() for a in out.attentions]
        loss = out.loss + 0.1 * (1 - sum(mass) / len(mass))
        if order:
            k = len(self.last)
            states = out.hidden_states[-1][k:][torch.arange(k), self.last]
            loss = loss + 0.5 * torch.nn.functional.cross_entropy(self.head(states.float()), torch.arange(k) % 24)
        return loss

    def step(self):
        torch = self.torch
        with torch.autocast("cpu", HALVES.get(args.dtype, HALVES["bf16"])(torch), enabled=self.autocast):
            if self.case == "vision":
                with torch.no_grad():
                    model = self.model.model
                    model.get_image_features(self.batch["pixel_values"])
                return 0.0
            loss = self.loss()
        for p in self.learn:
            p.grad = None
        loss.backward()
        if self.masters is not self.learn:
            for p, master in zip(self.learn, self.masters):
                master.grad = p.grad.float()
        torch.nn.utils.clip_grad_norm_(self.masters, 1.0)
        self.optimizer.step()
        if self.masters is not self.learn:
            with torch.no_grad():
                torch._foreach_copy_(self.learn, self.masters)
        return float(loss.detach())

    def measure(self, unmeasured):
        now, times = time.process_time if args.cpu else time.perf_counter, []
        for i in range(-unmeasured, args.steps):
            start = now()
            loss = self.step()
            if i >= 0:
                times.append(1e3 * (now() - start))
        return {"op": self.case, "way": self.way, "dtype": args.dtype, "threads": args.threads,
                "rows": self.batch["input_ids"].numel(), "rows_without_padding": self.rows,
                "median_ms": round(statistics.median(times), 2), "best_ms": round(min(times), 2),
                "weights_mb": round(1e-6 * self.bytes, 1),
                "activations_mb": round(1e-6 * (memory("VmHWM") - self.used), 1), "loss": round(loss, 4)}


class Worker:
    """A process that holds one way of PyTorch and measures whenever it is told to."""

    def __init__(self, case, way):
        command = [sys.executable, __file__, args.size, case, "--worker", way, "--dtype", args.dtype, "--threads",
                   str(args.threads), "--steps", str(args.steps)] + (["-c"] if args.cpu else [])
        self.said = tempfile.TemporaryFile("w+")
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=self.said, text=True)

    def measure(self):
        try:
            self.process.stdin.write("go\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return None
        return next((json.loads(l) for l in self.process.stdout if l.startswith("{")), None)

    def end(self):
        self.process.stdin.close()
        self.process.wait()
        self.said.seek(0)
        return (self.said.read().strip().splitlines() or ["no output"])[-1]


def run_drt(case):
    asked = {"-c": args.cpu, "-k": args.known}
    flags = ["-q", "-d", args.dtype, *(flag for flag, on in asked.items() if on)]
    command = [args.drt, "-s", args.size, "-t", str(args.threads), "-n", str(args.steps), *flags, case]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{args.drt}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(case):
    ours, theirs, workers = [], {}, {}
    ways = [way for way in args.ways.split(",") if way != "sdpa" or case not in READS_ATTENTIONS]
    if args.dtype in HALVES and case != "vision":
        ways += [way + "+masters" for way in ways]
    for last in [k == args.rounds - 1 for k in range(args.rounds)]:
        ours.append(run_drt(case))
        print(json.dumps(ours[-1]), flush=True)
        for way in list(ways):
            worker = workers.setdefault(way, None) or Worker(case, way)
            workers[way] = worker
            line = worker.measure()
            why = worker.end() if last or not line else None
            if line:
                theirs.setdefault(way, []).append(line)
                print(json.dumps(line), flush=True)
            else:
                print(json.dumps({"op": case, "way": way, "failed": why}), flush=True)
                ways.remove(way)
    if not theirs:
        return
    median = lambda lines, key: statistics.median(l[key] for l in lines)
    best = min(theirs, key=lambda w: median(theirs[w], "median_ms"))
    least = min(theirs, key=lambda w: median(theirs[w], "activations_mb"))
    ratios = [t["median_ms"] / o["median_ms"] for o, t in zip(ours, theirs[best])]
    held = median(ours, "activations_mb"), median(theirs[best], "activations_mb")
    print(json.dumps({
        "op": case, "size": args.size, "shape": ours[0]["shape"], "dtype": args.dtype, "threads": args.threads,
        "clock": "processor" if args.cpu else "wall", "known": args.known, "drt_ms": median(ours, "median_ms"),
        "way": best, "torch_ms": median(theirs[best], "median_ms"), "ratio": round(statistics.median(ratios), 2),
        "ratio_from": round(min(ratios), 2), "ratio_to": round(max(ratios), 2), "drt_activations_mb": held[0],
        "torch_activations_mb": held[1], "activations": round(held[0] / held[1], 3),
        "torch_least_activations_mb": median(theirs[least], "activations_mb"), "least_way": least}), flush=True)


os.environ["OMP_NUM_THREADS"] = str(args.threads)
if args.worker:
    peer, unmeasured = None, 2
    for line in sys.stdin:
        size = json.load(open(f"bench/sizes/{args.size}.json"))
        peer = peer or Peer(size, args.cases[0], args.worker)
        print(json.dumps(peer.measure(unmeasured)), flush=True)
        unmeasured = 1  # what lay still in the meantime
else:
    for case in args.cases:
        compare(case)
