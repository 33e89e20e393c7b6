#!/usr/bin/env python3
"""Makes the golden files of tests/data: how LLaVA itself would mask and order samples.

  python3 tools/golden_data.py [FOLDER]      FOLDER defaults to tests/golden/data

Needs the package `tokenizers`. Written from docs of LLaVA-1.5's behaviour, not from drt's C code: labels come from
LLaVA's length arithmetic (rounds split at "</s>" and " ASSISTANT: ", tokenised one by one), whereas drt reads them off
byte offsets. That two unlike ways agree is the test.
"""
import json
import os
import random
import sys

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

IMAGE, IGNORE = -200, -100
SYSTEM = ("A chat between a curious {0} and an artificial intelligence assistant. The assistant gives helpful, "
          "detailed, and polite answers to the {0}'s questions.")
CORPUS = [
    SYSTEM.format("user") + " USER: ASSISTANT: ", SYSTEM.format("human") + " USER: ASSISTANT: ",
    "What is the color of the large ring left of the small blue star? A red ring. The ring is red.",
    "How many green circles are there in the picture? There are three green circles, one above the other.",
    "Is there a yellow square? Yes, right of the tree. Answer the question using a single word or phrase.",
    "Describe this image in detail. Render a clear and concise summary of the photo below.",
    "Die Straße über den Fluss, das Café, naïve façade, 東京の写真, привет мир, 1984 and 2 024.",
    "a dog runs on the beach while the sun goes down behind the mountains\nand the people are watching it",
]


def byte_level():
    """GPT-2's kind: spaces belong to the word behind them; nothing is put in front of a text."""
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=["<unk>", "<s>", "</s>", "<pad>"],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tok.train_from_iterator(CORPUS * 3, trainer)
    return tok


def word_mark():
    """LLaMA's kind: a word mark in front of every text, spaces become word marks; unknown characters become UNK."""
    tok = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tok.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    # LLaMA's merges never cross from one word into the next; the pre-tokenizer keeps them from doing so in training.
    tok.pre_tokenizer = pre_tokenizers.Split(Regex("▁+[^▁\n]*|\n"), "isolated")
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False,
                                  initial_alphabet=[chr(c) for c in range(33, 127)] + ["▁", "\n"])
    tok.train_from_iterator([c for c in CORPUS * 3 if c.isascii()], trainer)
    made = json.loads(tok.to_str())
    made["pre_tokenizer"] = None
    made["decoder"] = json.loads(byte_level().to_str())["decoder"]  # never used; drt wants one that it knows
    return Tokenizer.from_str(json.dumps(made))


class Llava:
    """LLaVA's preprocessing over one tokenizer; `tok(text)` is a text on its own with its BOS."""

    def __init__(self, tokenizer):
        self.t = tokenizer
        self.bos = [tokenizer.token_to_id("<s>")]

    def tok(self, text, image):
        if not image:
            return self.bos + self.t.encode(text, add_special_tokens=False).ids
        ids = list(self.bos)
        for i, chunk in enumerate(text.split("<image>")):
            ids += ([IMAGE] if i else []) + self.t.encode(chunk, add_special_tokens=False).ids
        return ids

    @staticmethod
    def clean(turns, images):
        if images != 1:
            return turns
        out = []
        for who, text in turns:
            if "<image>" in text:
                text = ("<image>\n" + text.replace("<image>", "").strip()).strip()
            out.append((who, text))
        return out

    def v1(self, turns, images, who, answer_open=False):
        turns = self.clean(turns, images)
        if turns[0][0] != "human":
            turns = turns[1:]
        text = SYSTEM.format(who) + " "
        for i, (_, value) in enumerate(turns):
            text += ("USER: ", "ASSISTANT: ")[i % 2] + value + (" ", "</s>")[i % 2]
        if answer_open:
            ids = self.tok(text + "ASSISTANT:", images)
            return text + "ASSISTANT:", ids, [IGNORE] * len(ids)
        ids = self.tok(text, images)
        labels, at = list(ids), 1
        labels[0] = IGNORE
        for round_ in text.split("</s>"):
            parts = round_.split(" ASSISTANT: ")
            if round_ == "" or len(parts) != 2:
                break
            instruction = len(self.tok(parts[0] + " ASSISTANT: ", images)) - 2
            labels[at:at + instruction] = [IGNORE] * instruction
            at += len(self.tok(round_, images))
        labels[at:] = [IGNORE] * (len(ids) - at)
        assert at == len(ids), "LLaVA would mask this whole sample"
        return text, ids, labels

    def plain(self, turns, images):
        head = "<image>" * images
        text = head + turns[1][1] + "\n"
        ids = self.tok(text, images)
        masked = 1 + images
        return text, ids, [IGNORE] * masked + ids[masked:]


def conversations():
    h, g = "human", "gpt"
    yield "v1", 1, [(h, "<image>\nWhat is the color of the ring?"), (g, "Red.")]
    yield "v1", 1, [(h, "What is the color of the ring?\n<image>"), (g, "The ring is red.")]
    yield "v1", 1, [(h, " <image> Is it <image>red<image>? "), (g, "Yes")]
    yield "v1", 1, [(h, "<image>"), (g, "A dog on the beach.")]
    yield "v1", 1, [(h, "<image>\nHow many?"), (g, "Three."), (h, "Are they green?"), (g, "Yes, they are."),
                    (h, "Where?"), (g, "one above the other")]
    yield "v1", 1, [(h, "Hello there."), (g, "Hi!"), (h, "<image>\nAnd this?"), (g, "A tree.")]
    yield "v1", 1, [(g, "I am dropped."), (h, "Describe <image>"), (g, "A café, 東京 and 1984.")]
    yield "v1", 1, [(h, "\u3000<image>\u00a0naïve?\u2003"), (g, "façade\nover two lines\n\n  and spaces ")]
    yield "v1", 0, [(h, "What is two and two?"), (g, "four")]
    yield "v1", 0, [(h, " spaces stay "), (g, "yes "), (h, "\n"), (g, "ok")]
    yield "v1", 0, [(h, "What does <image> mean?"), (g, "A <image> is a placeholder.")]
    yield "v1", 0, [(h, "Text without answer words"), (g, "ASSISTANT is a word"), (h, "USER:"), (g, "USER")]
    yield "v1", 2, [(h, "<image> left, <image>\nright: which is red?"), (g, "The left one.")]
    yield "v1", 3, [(h, "<image><image>"), (g, "Two rings."), (h, "and <image>?"), (g, "A star.")]
    yield "llava_v1", 1, [(h, "<image>\nWhat is this?"), (g, "A photo of the sun.")]
    yield "llava_v1", 0, [(h, "Hello"), (g, "Hello!"), (h, "Bye"), (g, "Bye!")]
    yield "plain", 1, [(h, "Render a clear summary of the photo.\n<image>"), (g, "a dog runs on the beach ")]
    yield "plain", 1, [(h, "<image>"), (g, "東京\n写真")]
    yield "plain", 2, [(h, "<image><image>"), (g, "two photos")]
    yield "plain", 0, [(h, "discarded"), (g, "the sun goes down behind the mountains")]


def prompts():
    h, g = "human", "gpt"
    yield "v1", 1, [(h, "<image>\nWhat is this?")]
    yield "v1", 1, [(h, "<image>\nWhat is this?"), (g, "A dog."), (h, "What color?")]
    yield "llava_v1", 0, [(h, "Hello there")]


def golden_conversations(tokenizers):
    cases = []
    for kind, tokenizer in tokenizers.items():
        llava = Llava(tokenizer)
        for is_prompt, source in ((False, conversations()), (True, prompts())):
            for template, images, turns in source:
                if template == "plain":
                    text, ids, labels = llava.plain(turns, images)
                else:
                    text, ids, labels = llava.v1(turns, images, "human" if template == "llava_v1" else "user",
                                                 is_prompt)
                cases.append({"tokenizer": kind, "template": template, "images": images, "prompt": is_prompt,
                              "turns": [list(t) for t in turns], "text": text, "ids": ids, "labels": labels})
    return cases


def grouped(lengths, perm, batch, parts):
    """Step 1 of LLaVA's group_by_modality_length over given lengths and a given permutation."""
    mega, out = batch * parts, []
    for start in range(0, len(perm), mega):
        chunk = sorted(perm[start:start + mega], key=lambda i: lengths[i], reverse=True)
        if len(chunk) % parts:
            bins = [chunk[k::parts] for k in range(parts)]
        else:
            bins, sums = [[] for _ in range(parts)], [0] * parts
            for i in chunk:
                k = sums.index(min(sums))
                bins[k].append(i)
                sums[k] = float("inf") if len(bins[k]) == len(chunk) // parts else sums[k] + lengths[i]
        out += [i for b in bins for i in b]
    return out


def golden_sampler():
    rng, cases = random.Random(7), []
    for images, texts, batch, parts in [(50, 30, 4, 2), (17, 23, 3, 3), (64, 64, 4, 4), (1, 40, 4, 2), (40, 1, 2, 5),
                                        (33, 0, 4, 2), (0, 29, 3, 4), (1, 0, 4, 4), (3, 2, 16, 2), (25, 50, 5, 1)]:
        lengths = [rng.randint(1, 12) for _ in range(images)] + [-rng.randint(1, 12) for _ in range(texts)]
        rng.shuffle(lengths)
        perms = []

        def permutation(n):
            perms.append(rng.sample(range(n), n))
            return perms[-1]

        if not images or not texts:
            order = grouped(lengths, permutation(len(lengths)), batch, parts)
        else:
            cut = []
            for sign in (1, -1):
                of = [i for i, x in enumerate(lengths) if x * sign > 0]
                size = [abs(lengths[i]) for i in of]
                flat = [of[i] for i in grouped(size, permutation(len(of)), batch, parts)]
                cut.append([flat[i:i + batch * parts] for i in range(0, len(flat), batch * parts)])
            rest = cut[0][:-1] + cut[1][:-1]
            order = [i for k in permutation(len(rest)) for i in rest[k]] + sorted(cut[0][-1] + cut[1][-1])
        cases.append({"batch": batch, "parts": parts, "lengths": lengths, "permutations": perms, "order": order})
    return cases


def save(folder, name, value, **how):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
        json.dump(value, f, ensure_ascii=False, **how)
        f.write("\n")


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else "tests/golden/data"
    tokenizers = {"byte_level": byte_level(), "word_mark": word_mark()}
    for kind, tokenizer in tokenizers.items():
        os.makedirs(os.path.join(folder, kind), exist_ok=True)
        save(folder, f"{kind}/tokenizer.json", json.loads(tokenizer.to_str()))
        save(folder, f"{kind}/tokenizer_config.json",
             {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})
    save(folder, "conversations.json", golden_conversations(tokenizers), separators=(",", ":"))
    save(folder, "sampler.json", golden_sampler(), separators=(",", ":"))


if __name__ == "__main__":
    main()
