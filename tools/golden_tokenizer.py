#!/usr/bin/env python3
"""Writes tests/golden/tokenizer/: small tokenizers of several kinds, and what HF `tokenizers` makes of odd strings.

    python3 tools/golden_tokenizer.py            (needs `tokenizers`, version 0.20 or later)

KIND.json is a tokenizer.json; KIND.cases.json a list of {"text", "ids", "places", "decoded"}: places are [from, to] in
bytes of the UTF-8 text. They are left out where normalising changes the text: HF then points to the first of the
characters that were composed, drt to all of them. train.txt is what "gpt2" was trained on, each line a text given twice:
drt's trainer must learn the same from it.
"""
import json
import os
import random
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "golden", "tokenizer")
VOCAB = 700
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
CLIP = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
TEXT = """A red circle stands left of the blue square. What is above the green triangle?
The picture shows a small yellow star; below it there's a large purple hexagon, isn't it?
How many shapes are there? There are 3 shapes, 12 corners and 2048 pixels: I'm sure, we've counted them.
USER: Describe the image. ASSISTANT: The image shows two dogs and a cat, they're asleep.
Der große Bär schläft über dem Fluß; l'été dernier, où étiez-vous ? ¿Qué pasó, señor?
Быстрая лиса прыгает через ленивую собаку. Γρήγορη αλεπού. 敏捷的棕色狐狸跳过了懒狗。素早い茶色の狐。
빠른 갈색 여우가 게으른 개를 뛰어넘는다. तेज़ लोमड़ी कूदती है। สุนัขจิ้งจอก. الثعلب السريع. 😀😂🎉👍🏽
def forward(x, weights):\n    for w in weights:\n        x = x @ w\n\n    return x  # the end\n""".split("\n")
SPECIAL = ["<unk>", "<s>", "</s>", "<image>"]


def tokens(*contents, **how):
    return [AddedToken(c, normalized=False, **how) for c in contents]


def train(tok, alphabet=True, first=(), **more):
    start = pre_tokenizers.ByteLevel.alphabet() if alphabet else []
    trainer = trainers.BpeTrainer(vocab_size=VOCAB, special_tokens=tokens(*SPECIAL, *first, special=True),
                                  show_progress=False, initial_alphabet=start, **more)
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(TEXT * 2, trainer)
    return tok


def byte_level(pattern=None, normalizer=None, prefix=False):
    tok = Tokenizer(models.BPE())
    if normalizer:
        tok.normalizer = normalizer
    last = pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=pattern is None)
    split = [pre_tokenizers.Split(Regex(pattern), "isolated")] if pattern else []
    tok.pre_tokenizer = pre_tokenizers.Sequence(split + [last]) if split else last
    return train(tok)


def llama3():
    tok = byte_level(LLAMA3)
    tok.add_special_tokens(tokens("<|begin_of_text|>", "<|eot_id|>", special=True))
    j = json.loads(tok.to_str())
    j["model"]["ignore_merges"] = True
    return Tokenizer.from_str(json.dumps(j))


def qwen():
    tok = byte_level(QWEN, normalizers.NFC())
    tok.add_special_tokens(tokens("<|im_start|>", "<|im_end|>", special=True))
    return tok


def clip():
    tok = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tok.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "),
                                           normalizers.Lowercase()])
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(CLIP), "removed", invert=True),
                                                 pre_tokenizers.ByteLevel(add_prefix_space=False)])
    # The trainer numbers letters with a suffix in the order of a hash table, another one each time. Given to it as special
    # tokens they have an order; afterwards they are pieces like any other.
    words = [w for line in TEXT for w, _ in tok.pre_tokenizer.pre_tokenize_str(tok.normalizer.normalize_str(line))]
    j = json.loads(train(tok, first=sorted({w[-1] + "</w>" for w in words}), end_of_word_suffix="</w>").to_str())
    j["added_tokens"] = [t for t in j["added_tokens"] if t["content"] in SPECIAL]
    return Tokenizer.from_str(json.dumps(j))


def added():
    """Added tokens of every sort, in text that starts every piece with a space."""
    tok = byte_level(prefix=True)
    tok.add_tokens(tokens("<left>", lstrip=True) + tokens("<right>", rstrip=True) + tokens("word", single_word=True) +
                   tokens("<both>", lstrip=True, rstrip=True, single_word=True) + tokens("<a>", "<ab>", "  ", "\n\n"))
    return tok


def pieces():
    """Parts that no big model uses: characters in place of bytes, all the other splits and normalisers."""
    tok = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tok.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.Lowercase(), normalizers.Prepend("_"),
                                           normalizers.Replace("ll", "LL")])
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Digits(individual_digits=False),
        pre_tokenizers.Punctuation("merged_with_previous"), pre_tokenizers.Split("e", "merged_with_next"),
        pre_tokenizers.Split(Regex("[aio]"), "contiguous"), pre_tokenizers.Split("z", "removed")])
    tok = train(tok, alphabet=False)
    tok.add_tokens([AddedToken("Marked", normalized=True)])
    return tok


def digits():
    """Pre-tokenizers after ByteLevel see the letters of bytes."""
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.ByteLevel(add_prefix_space=False),
        pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated")])
    return train(tok)


KINDS = {"gpt2": byte_level, "llama3": llama3, "qwen": qwen, "clip": clip, "added": added, "pieces": pieces,
         "digits": digits}
FIXED = ["", " ", "a", "\n", "USER: <image>\nWhat is left of the red circle? ASSISTANT: The blue square.</s>",
         "It's 'S I'LL we'd they'RE 'ſ", "1234567890 12 3.14 ½ ² Ⅷ ٣", "   three  spaces\t\ttabs \r\n\r\n end   ",
         "\u00a0nbsp\u2003em\u3000ideographic\u180evowel\u200bzero\x85next\x1funit",
         "e\u0301 E\u0301 \u00e9 a\u0323\u0307 a\u0307\u0323",
         "\u1100\u1161\u11a8 \uac01 \uac00\u11a8", "\u0f71\u0344\u0308 x\uff9e \u304b\u3099",
         "\ufb01 \ufb03 \u212b \u1e9e \u0130 I\u0307 ǆ",
         "👩‍👩‍👧‍👦 👍🏽 🇩🇪🇯🇵 ❤️ 1️⃣", "nul\x00inside\x7f", "<s><s></s><unk>",
         "<imag <image <image>> <IMAGE>", "don't</s>USER",
         "<a><ab><abc <left>  x  <right>  y  <both>  word wordy aword word", "\n\n<both>  up  <left>",
         "  <left>  <left> x",
         "Marked marked MARKED unmarked", "allez hello zz eee aaa", "a" * 200, "ab" * 60, "\U0010ffff \ue000 \ufffd",
         "e\u0321\U00010f4f\u035f \u05de\u1715\u05bc \u2e5b",  # younger than HF's tables of normal forms
         "".join(chr(c) for c in range(1, 256)), "ÄÖÜ äöü ß Straße ΣΑΣ Σ"]
WORDS = [w for line in TEXT for w in line.split()]
ADDED = SPECIAL + ["<|im_start|>", "<|im_end|>", "<|eot_id|>", "<left>", "<right>", "<both>", "word", "<ab>", "Marked"]
# Characters that were there in Unicode 3.2: the tables of all libraries agree on them.
POOL = [chr(c) for c in range(0x30000) if unicodedata.ucd_3_2_0.category(chr(c)) not in ("Cn", "Cs", "Co")]
MARKS = [chr(c) for c in range(0x300, 0x34f)] + list("\u05b0\u0651\u093c\u0e49\u3099\uff9e\u1161\u11a8\u20dd")
SPACES = [" ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u2003", "\x85", "\u3000", "\u2028", "\x0b"]


def odd_string(r):
    parts = []
    for _ in range(r.choice([2, 3, 5, 8])):
        parts.append(r.choice([
            lambda: r.choice(WORDS) + r.choice(["", " ", ". "]), lambda: r.choice(SPACES) * r.choice([1, 1, 3]),
            lambda: "".join(r.choices(POOL, k=r.randint(1, 3))),
            lambda: r.choice("eaoAö가ᄀかक") + "".join(r.choices(MARKS, k=2)),
            lambda: r.choice(["", " ", "  "]) + r.choice(ADDED) + r.choice(["", " ", "  "]),
            lambda: str(r.randint(0, 10 ** 6)), lambda: "".join(r.choices("!\"#'()*+,-./:;<=>?[]_{|}~", k=3))])())
    return "".join(parts)


def case(tok, text):
    e = tok.encode(text, add_special_tokens=False)
    at = [0]
    for c in text:
        at.append(at[-1] + len(c.encode()))
    out = {"text": text, "ids": e.ids}
    name = type(tok.normalizer).__name__
    form = "NFKD" if "NFKD" in repr(tok.normalizer) else "NFC"
    if name == "NoneType" or unicodedata.normalize(form, text) == text:
        out["places"] = [[at[a], at[b]] for a, b in e.offsets]
    if not tok.model.end_of_word_suffix and "Marked" not in tok.get_vocab():
        out["decoded"] = tok.decode(e.ids, skip_special_tokens=False)
    return out


def main():
    os.makedirs(OUT, exist_ok=True)
    with open(os.path.join(OUT, "train.txt"), "w") as f:
        f.write("\n".join(TEXT) + "\n")
    for kind, make in KINDS.items():
        tok = make()
        with open(os.path.join(OUT, kind + ".json"), "w") as f:
            json.dump(json.loads(tok.to_str()), f, ensure_ascii=False, separators=(",", ":"))
            f.write("\n")
        r = random.Random(kind)
        cases = [case(tok, t) for t in FIXED + [odd_string(r) for _ in range(40)]]
        with open(os.path.join(OUT, kind + ".cases.json"), "w") as f:
            f.write("[" + ",\n".join(json.dumps(c, ensure_ascii=True, separators=(",", ":")) for c in cases) + "]\n")


if __name__ == "__main__":
    main()
