#!/usr/bin/env python3
"""Adds to tests/golden/tokenizer/ the kinds that know pieces of text instead of bytes: BPE with byte fallback and
Unigram as tokenizer.json, and SentencePiece's tokenizer.model.

    python3 tools/golden_tokenizer_pieces.py            (needs `tokenizers` 0.20 or later, `sentencepiece` 0.2 or later,
                                                         `transformers`, `protobuf`)

spm-siglip is a folder: what SigLIP does to a text before SentencePiece only the class named in tokenizer_config.json
tells, and its ids are those of transformers' SiglipTokenizer.

KIND.cases.json is a list of {"text", "ids", "decoded"}; "random" instead of "text": ids in no order, and what they
decode to. check_tokenizers.py compares many more strings, without files.
"""
import json
import os
import random

import sentencepiece as spm

import check_tokenizers as check
import golden_tokenizer as small
import tokenizer_kinds as kinds


def texts_for(kind):
    r = random.Random(kind)
    pool = check.pools(kind != "siglip")
    return small.FIXED + check.MARKED + [check.any_string(r, pool) for _ in range(60)]


def random_ids(kind, size, left_out):
    r = random.Random(kind)
    return [[i for i in (r.choice([r.randrange(size), r.randrange(3, min(size, 262))]) for _ in range(r.randint(1, 12)))
             if i not in left_out] for _ in range(40)]


def siglip(model):
    tok = kinds.siglip_folder(model, os.path.join(small.OUT, "spm-siglip"))
    odd = ["A Photo, of 2 Cats!", "don't_stop-me NOW...", "  two  spaces, \t\n and more \u3000 ", "!?", "_", "ΟΔΥΣΣΕΥΣ ΣΑΣ Σ Σ1",
           "ΑΣ'Σ ΑΣ. ʰΣ ΑΣ\u00adΑ A\u02b0Σ", "İSTANBUL ẞ DŽ", "a\x1cb\x1fc", "\u2581Photo \u2581 of", "a red </s> blue Square",
           "</s>The  sign", "it's <unk>\n 3 Shapes </s>"]
    texts = odd + [t for t in texts_for("spm-siglip") if not any(s in t for s in ("</s>", "<unk>", "<pad>"))]
    write("spm-siglip", [{"text": t, "ids": tok(t, add_special_tokens=False)["input_ids"]} for t in texts])


def write(kind, cases):
    with open(os.path.join(small.OUT, kind + ".cases.json"), "w") as f:
        f.write("[" + ",\n".join(json.dumps(c, ensure_ascii=True, separators=(",", ":")) for c in cases) + "]\n")


def main():
    lines = small.TEXT * 8
    models = {kind: kinds.train_spm(kind, lines, 700) for kind in kinds.SPM}
    siglip(models.pop("spm-siglip"))
    for kind, model in models.items():
        with open(os.path.join(small.OUT, kind + ".model"), "wb") as f:
            f.write(model)
        sp = spm.SentencePieceProcessor(model_proto=model)
        cases = [{"text": t, "ids": sp.encode(t), "decoded": sp.decode(sp.encode(t))} for t in texts_for(kind)
                 if not any(s in t for s in ("<s>", "</s>", "<unk>", "<pad>"))]  # drt takes these for special tokens
        control = [i for i in range(len(sp)) if sp.is_control(i)]
        write(kind, cases + [{"random": ids, "decoded": sp.decode(ids)} for ids in random_ids(kind, len(sp), control)])
    made = {"llama": kinds.llama(models["spm-llama"]), "llama-first": kinds.llama_first(models["spm-llama"]),
            "phi3": kinds.phi3(models["spm-llama"]), "gemma": kinds.gemma(models["spm-llama"]),
            "metaspace": kinds.old_metaspace(models["spm-llama"]), "siglip": kinds.siglip(models["spm-unigram"]),
            "unigram-bytes": kinds.unigram_bytes(models["spm-unigram-bytes"])}
    for kind, tok in made.items():
        with open(os.path.join(small.OUT, kind + ".json"), "w") as f:
            json.dump(json.loads(tok.to_str()), f, ensure_ascii=False, separators=(",", ":"))
            f.write("\n")
        encoded = [(t, tok.encode(t, add_special_tokens=False).ids) for t in texts_for(kind)]
        cases = [{"text": t, "ids": ids, "decoded": tok.decode(ids, skip_special_tokens=False)} for t, ids in encoded]
        write(kind, cases + [{"random": ids, "decoded": tok.decode(ids, skip_special_tokens=False)}
                             for ids in random_ids(kind, tok.get_vocab_size(), [])])


if __name__ == "__main__":
    main()
