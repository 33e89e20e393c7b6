"""Times one training step of the demo's stage 2 in drt and in PyTorch: same model folder, same 32 samples, same threads,
f32, AdamW, clipping. The two take turns in one run; the figure to quote is the ratio of the medians.

Usage: tools/peers/stage2_step.py MODEL WORLD [--threads 2] [--rounds 5] [--steps 6]
  MODEL   a LLaVA folder (out/demo/llava/stage1/model); WORLD   a shapes world (out/demo/world)
Beside model_step.py, which times drt's bench on random weights: here it is `drt train` on real samples, loader, packing
and log included, against a step that is handed its batch. Needs torch and transformers. Also prints what the guided loss adds to drt's step."""
import argparse, json, os, shutil, statistics, subprocess, tempfile, time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model")
parser.add_argument("world")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--steps", type=int, default=6)
parser.add_argument("--drt", default="build/drt")
args = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = str(args.threads)

import torch
from PIL import Image
from transformers import CLIPImageProcessor, LlavaForConditionalGeneration, PreTrainedTokenizerFast

torch.set_num_threads(args.threads)
SYSTEM = ("A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
          "and polite answers to the user's questions. ")
BATCH = 32


def drt_seconds(extra):
    """Median seconds of a step, the first two steps left out (they grow the arenas)."""
    out = tempfile.mkdtemp()
    try:
        subprocess.run([args.drt, "train", "configs/demo-llava-2.yaml", f"model={args.model}", f"out={out}/run",
                        f"data.file={args.world}/finetune.json", f"data.limit={BATCH}", f"train.batch={BATCH}",
                        f"train.steps={args.steps + 2}", f"threads={args.threads}", *extra], check=True, capture_output=True)
        lines = [json.loads(line) for line in open(f"{out}/run/run.jsonl")][2:]
        return statistics.median(l["seconds"] for l in lines), lines[0]["rows"]
    finally:
        shutil.rmtree(out)


class Torch:
    def __init__(self):
        self.model = LlavaForConditionalGeneration.from_pretrained(args.model, dtype=torch.float32, attn_implementation="sdpa")
        self.model.train()
        for name, p in self.model.named_parameters():
            p.requires_grad = "vision_tower" not in name
        learn = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(learn, lr=1e-4, weight_decay=0, fused=True)
        self.learn = learn
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=f"{args.model}/tokenizer.json")
        processor = CLIPImageProcessor.from_pretrained(args.model)
        c = self.model.config
        rows = (c.vision_config.image_size // c.vision_config.patch_size) ** 2
        ids, labels, images = [], [], []
        for sample in json.load(open(f"{args.world}/finetune.json"))[:BATCH]:
            i, l = self.encode(tokenizer, sample["conversations"], rows, c.image_token_index)
            ids.append(i)
            labels.append(l)
            if "image" in sample:
                images.append(Image.open(f"{args.world}/{sample['image']}").convert("RGB"))
        longest = max(map(len, ids))
        pad = lambda x, v: torch.tensor([row + [v] * (longest - len(row)) for row in x])
        self.batch = {"input_ids": pad(ids, 0), "labels": pad(labels, -100),
                      "attention_mask": pad([[1] * len(i) for i in ids], 0),
                      "pixel_values": processor(images, return_tensors="pt")["pixel_values"]}
        self.real = sum(map(len, ids))

    @staticmethod
    def encode(tokenizer, turns, rows, image):
        encode = lambda s: tokenizer.encode(s, add_special_tokens=False)
        ids, labels = [1] + encode(SYSTEM + "USER:") + encode(" "), None
        labels = [-100] * len(ids)
        for k, turn in enumerate(turns):
            if turn["from"] == "human":
                text = turn["value"]
                if "<image>" in text:
                    piece = [image] * rows + encode("\n" + text.replace("<image>", "").strip() + " ASSISTANT:")
                else:
                    piece = encode(("USER: " if k else "") + text + " ASSISTANT:")
                ids += piece
                labels += [-100] * len(piece)
            else:
                piece = encode(" " + turn["value"] + "</s>")
                ids += piece
                labels += piece
        return ids, labels

    def step(self):
        self.optimizer.zero_grad(set_to_none=True)
        self.model(**self.batch, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(self.learn, 1.0)
        self.optimizer.step()

    def seconds(self):
        times = []
        for _ in range(args.steps):
            start = time.perf_counter()
            self.step()
            times.append(time.perf_counter() - start)
        return statistics.median(times)


peer = Torch()
peer.step()
ours, theirs, guided = [], [], []
for _ in range(args.rounds):
    seconds, rows = drt_seconds([])
    ours.append(seconds)
    theirs.append(peer.seconds())
    guided.append(drt_seconds(["objectives.guided=1"])[0])
print(f"rows: drt {rows}, PyTorch {peer.batch['input_ids'].numel()} with padding ({peer.real} without)")
for name, x in (("drt", ours), ("PyTorch", theirs), ("drt guided", guided)):
    print(f"{name:10} {1e3 * statistics.median(x):8.1f} ms  ({1e3 * min(x):.1f} … {1e3 * max(x):.1f})")
ratio = [b / a for a, b in zip(ours, theirs)]
cost = [g / a - 1 for a, g in zip(ours, guided)]
print(f"PyTorch / drt: {statistics.median(ratio):.2f} ({min(ratio):.2f} … {max(ratio):.2f})")
print(f"guidance adds {100 * statistics.median(cost):.1f} % ({100 * min(cost):.1f} … {100 * max(cost):.1f})")
