#!/usr/bin/env python3
"""Compares drt with HF `tokenizers` and `sentencepiece` on many random strings: ids, and the text they decode to.

    python3 tools/check_tokenizers.py [--strings 20000] [--drt build/drt] [--data DIR] [--only WORD] [--keep DIR]

Tokenizers of every kind are trained on this repository's texts; with --data, a folder that holds llama2-tokenizer.model
and clip-bpe-vocab-16e6.txt.gz, the LLaMA-2 and CLIP vocabularies are used as well. --keep leaves the tokenizers in DIR.
Prints a line a kind; status 1 if anything differs. Needs `tokenizers`, `sentencepiece`, `transformers` and `protobuf`.
"""
import argparse
import glob
import json
import os
import random
import subprocess
import sys
import tempfile
import unicodedata

import sentencepiece as spm

import golden_tokenizer as small
import tokenizer_kinds as kinds

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
MARKED = ["\u2581", " \u2581", "\u2581\u2581 ", "<0x41>", "<0xE2>", "a b", "circle", "<sep>", "<start_of_turn>", "e s",
          "</word>", "<|user|> ", "<|end|>\n", "<bos>"]


def corpus():
    lines = list(small.TEXT) * 8
    paths = sorted(glob.glob(os.path.join(ROOT, "docs", "*.md"))) + sorted(glob.glob(os.path.join(ROOT, "src/*/*.c")))
    for path in paths:
        with open(path, encoding="utf-8") as f:
            lines += [line.rstrip("\n") for line in f if line.strip()]
    return lines


def any_string(r, pool):
    """Half are like the golden strings, half any characters."""
    if r.random() < 0.5:
        text = small.odd_string(r)
        return text + r.choice(MARKED) + small.odd_string(r) if r.random() < 0.3 else text
    return "".join(r.choice(pool[r.randrange(len(pool))]) for _ in range(r.randint(1, 30)))


def long_strings():
    """Words without end: what no pattern cuts is merged in windows."""
    lines = "".join(corpus()).replace("<", "")  # no special tokens
    return ["".join(lines.split())[:60000], "".join(c for c in lines if c.isalpha())[:60000],
            "".join(chr(0x4e00 + i * i % 5000) for i in range(20000)), "ab" * 9999 + "c" + "=" * 9999]


def pools(everything):
    """ASCII, two bytes, three bytes, emoji, all. PCRE2 10.42 knows Unicode 14, as Python 3.11 does; HF's tables of
    normal forms are older still: of what is normalised only characters that were there in Unicode 3.2."""
    def known(c):
        ch = chr(c)
        if 0xd800 <= c < 0xe000:
            return False
        if everything:
            return unicodedata.category(ch) != "Cn"
        return unicodedata.ucd_3_2_0.category(ch) not in ("Cn", "Co")
    last = 0x110000 if everything else 0x30000
    ranges = [(1, 0x80), (0x80, 0x800), (0x800, 0x10000), (0x1f300, 0x1f700), (0x10000, last)]
    return [p for p in ([chr(c) for c in range(a, b) if known(c)] for a, b in ranges) if p]


def train_byte_level(make, lines):
    keep, small.TEXT, small.VOCAB = small.TEXT, lines, 8000
    try:
        return make()
    finally:
        small.TEXT, small.VOCAB = keep, 700


def hf_makers(lines, data):
    models = {k: kinds.train_spm(k, lines, 6000) for k in kinds.SPM}
    byte_level = {k: (lambda make=make: train_byte_level(make, lines)) for k, make in small.KINDS.items()
                  if k in ("gpt2", "llama3", "qwen", "clip", "added")}
    llama = models["spm-llama"]
    out = dict(byte_level)
    out.update({"llama": lambda: kinds.llama(llama), "llama-first": lambda: kinds.llama_first(llama),
                "phi3": lambda: kinds.phi3(llama), "gemma": lambda: kinds.gemma(llama),
                "metaspace": lambda: kinds.old_metaspace(llama), "siglip": lambda: kinds.siglip(models["spm-unigram"]),
                "unigram-bytes": lambda: kinds.unigram_bytes(models["spm-unigram-bytes"])})
    if data:
        real = open(os.path.join(data, "llama2-tokenizer.model"), "rb").read()
        models["real-llama2.model"] = real
        out["real-llama2"] = lambda: kinds.llama(real)
        out["real-llama2-first"] = lambda: kinds.llama_first(real)
        out["real-clip"] = lambda: kinds.clip(os.path.join(data, "clip-bpe-vocab-16e6.txt.gz"))
    return models, out


def hf_answers(tok, texts):
    for text in texts:
        ids = tok.encode(text, add_special_tokens=False).ids
        back = tok.decode(ids, skip_special_tokens=False)
        if getattr(tok.model, "end_of_word_suffix", None) == "</w>":
            back = None  # drt puts spaces between words; the raw decoder of `tokenizers` leaves the suffix in place
        yield ids, back


def siglip_answers(tok, texts):
    """Ids of the class, text of SentencePiece: drt decodes a file of SentencePiece as SentencePiece does, whichever class
    names it. (The class writes <unk> for " \u2047 ", and puts spaces around special tokens.)"""
    for text in texts:
        ids = tok(text, add_special_tokens=False)["input_ids"]
        yield ids, tok.sp_model.decode(ids)


def spm_answers(model, texts):
    sp = spm.SentencePieceProcessor(model_proto=model)
    for text in texts:
        ids = sp.encode(text)
        yield ids, sp.decode(ids)


def compare(name, path, drt, texts, answers):
    lines = "".join(json.dumps(t) + "\n" for t in texts)
    run = subprocess.run([drt, "tokenizer", "--show", path], input=lines.encode(), capture_output=True)
    if run.returncode:
        print(f"{name}: drt failed: {run.stderr.decode().strip()}")
        return False
    got = [json.loads(line) for line in run.stdout.decode().split("\n")[:-1]]
    wrong_ids = wrong_text = 0
    for text, answer, (ids, back) in zip(texts, got, answers):
        bad_ids, bad_text = answer["ids"] != ids, back is not None and answer["text"] != back
        if (bad_ids or bad_text) and wrong_ids + wrong_text < 5:
            print(f"  {name}: {text!r}:\n    ids {answer['ids']}, expected {ids};\n    text {answer['text']!r}, "
                  f"expected {back!r}")
        wrong_ids += bad_ids
        wrong_text += bad_text
    ok = len(got) == len(texts) and not wrong_ids and not wrong_text
    print(f"{name:20} {len(got)} strings, {sum(len(a['ids']) for a in got)} ids: {wrong_ids} with other ids, "
          f"{wrong_text} with another text")
    return ok


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--strings", type=int, default=20000)
    p.add_argument("--drt", default=os.path.join(ROOT, "build", "drt"))
    p.add_argument("--data")
    p.add_argument("--only", default="")
    p.add_argument("--keep")
    a = p.parse_args()
    folder = a.keep or tempfile.mkdtemp()
    os.makedirs(folder, exist_ok=True)
    models, makers = hf_makers(corpus(), a.data)
    ok = True
    for name in list(models) + list(makers):
        if a.only not in name:
            continue
        r = random.Random(name)
        tables = name in ("qwen", "clip", "real-clip", "siglip")
        pool = pools(not tables)
        # drt knows special tokens in a text, as HF does; SentencePiece itself does not.
        hidden = ("<s>", "</s>", "<unk>", "<pad>") if name in models else ()
        texts = []
        while len(texts) < a.strings:
            text = any_string(r, pool)
            if not any(s in text for s in hidden):
                texts.append(text)
        texts += long_strings()
        path = os.path.join(folder, name.removesuffix(".model") + (".model" if name in models else ".json"))
        if name == "spm-siglip":
            path = os.path.join(folder, name)
            tok = kinds.siglip_folder(models[name], path)
            ok &= compare(name, path, a.drt, texts, siglip_answers(tok, texts))
        elif name in models:
            with open(path, "wb") as f:
                f.write(models[name])
            ok &= compare(name, path, a.drt, texts, spm_answers(models[name], texts))
        else:
            tok = makers[name]()
            tok.save(path)
            ok &= compare(name, path, a.drt, texts, hf_answers(tok, texts))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
