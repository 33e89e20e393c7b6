#!/usr/bin/env python3
"""Writes tests/fuzz/corpus/NAME/edge-*: sound inputs with one thing wrong, mostly a step beyond an end.

    python3 tools/fuzz_edges.py            (needs nothing but tests/golden)

Of a check that no input needs no test would see that it is gone. Built with ASan, tests/fuzz/corpus_test.c sees it by
these.
"""
import io
import json
import os
import struct
import tarfile
import zipfile

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests")


def golden(*path):
    with open(os.path.join(ROOT, "golden", *path), "rb") as f:
        return f.read()


def put(target, name, data):
    folder = os.path.join(ROOT, "fuzz", "corpus", target)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "edge-" + name), "wb") as f:
        f.write(data)


def patched(data, old, new):
    assert old in data
    return data.replace(old, new, 1)


def safetensors():
    text = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    put("safetensors", "header-beyond", struct.pack("<Q", 200) + text[:20])
    put("safetensors", "tensor-beyond", struct.pack("<Q", len(text)) + text + b"1234")
    large = text.replace(b"[2]", b"[200]")
    put("safetensors", "shape-beyond", struct.pack("<Q", len(large)) + large + b"12345678")


def torch_bin():
    with zipfile.ZipFile(os.path.join(ROOT, "golden", "torch", "bzip2.bin")) as z:
        pickle = z.read("archive/data.pkl")
    # {"a": 64 floats}; the fuzz target gives a bare pickle a storage of 16, in a file of some hundred bytes: 2 are asked for.
    count, size, offset, stride, far = b"K\x02t", b"K\x02\x85", b"QK\x00", b"K\x01\x85", b"M\x60\xea"
    pickle = patched(patched(pickle, b"K@t", count), b"K@\x85", size)
    many = patched(patched(pickle, count, far + b"t"), size, far + b"\x85")
    put("torch_bin", "storage-small", many)
    put("torch_bin", "view-long", patched(pickle, size, far + b"\x85"))
    put("torch_bin", "view-beyond", patched(pickle, offset, b"Q" + far))
    put("torch_bin", "view-stride", patched(pickle, stride, far + b"\x85"))
    put("torch_bin", "pickle-cut", pickle[:-60])
    put("torch_bin", "memo-empty", pickle[:-2] + b"h\xee0.")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        z.writestr(zipfile.ZipInfo("a/data.pkl"), many)
        z.writestr(zipfile.ZipInfo("a/data/0"), bytes(8))
    whole = out.getvalue()
    at = whole.rindex(b"PK\1\2") + 20  # both sizes of the storage, in the directory
    put("torch_bin", "entry-beyond", whole[:at] + struct.pack("<II", 240000, 240000) + whole[at + 8:])


def config():
    tower = {"model_type": "clip_vision_model", "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2,
             "num_attention_heads": 2, "image_size": 10, "patch_size": 5, "projection_dim": 4}
    for name, change in (("patch", {"patch_size": 11}), ("no-heads", {"num_attention_heads": 0}),
                         ("no-pixels", {"image_size": 0}), ("heads", {"num_attention_heads": 3})):
        put("config", name, json.dumps(dict(tower, **change)).encode())
    decoder = {"model_type": "llama", "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
               "num_attention_heads": 2, "vocab_size": 9}
    yarn = {"rope_type": "yarn", "factor": 3.7, "beta_fast": 2.5, "mscale": 0.7, "mscale_all_dim": 0.9}
    longrope = {"rope_type": "longrope", "short_factor": [1, 1.0000011], "long_factor": [1.3, 999999.9],
                "original_max_position_embeddings": 77}
    for name, change in (("no-context", {"max_position_embeddings": 0}), ("no-groups", {"num_key_value_heads": 0}),
                         ("window", {"sliding_window": 0, "model_type": "mistral"}), ("yarn", {"rope_scaling": yarn}),
                         ("longrope", {"rope_scaling": longrope}),
                         ("pairs", {"rope_scaling": dict(longrope, short_factor=[1] * 129)}),
                         ("least", {"rope_scaling": dict(longrope, short_factor=[1.00000001e-6, 1])})):
        put("config", name, json.dumps(dict(decoder, **change)).encode())


def image():
    for name in ("2x3.png", "1x1.jpg", "palette2.png"):
        data = golden("images", name)
        put("image", "cut-" + name, data[:len(data) * 3 // 4])
    data = golden("images", "1x1.jpg")
    at = data.index(b"\xff\xdb") + 2  # the length of a marker that is skipped or read
    put("image", "marker-beyond.jpg", data[:at] + b"\xff\xff" + data[at + 2:])


def tokenizer():
    model, at = golden("tokenizer", "spm-unigram-bytes.model"), 0
    for _ in range(8):  # pieces, of fewer than 128 bytes
        at += 2 + model[at + 1]
    put("tokenizer", "field-beyond", model[:at] + b"\n\x40abc")
    put("tokenizer", "number-cut", model[:at] + b"\n\x08\n\x01a\x15\x00\x00\x00")
    put("tokenizer", "fixed-cut", model[:at] + b"\x15")
    put("tokenizer", "varint-cut", model[:at] + b"\x18\xff\xff")
    whole = {"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}}
    for name, change in (("id-beyond", {"vocab": {"a": 0, "b": 1, "ab": 1 << 30}}),
                         ("id-negative", {"vocab": {"a": 0, "b": 1, "ab": -1}}),
                         ("id-twice", {"vocab": {"a": 0, "b": 1, "ab": 1}}),
                         ("merge-unknown", {"merges": [["a", "b"], ["ab", "c"]]}),
                         ("merge-one", {"merges": ["ab"]})):
        text = json.dumps({"model": dict(whole["model"], **change)}).encode()
        put("tokenizer", name, text + b"\0abba")


def dataset():
    sample = b'[{"id":"a","image":"b.png","conversations":[{"from":"human","value":"<image>"},{"from":"gpt","value":"c"}]}]'
    for at in (7, 8, 60, len(sample) - 2):
        put("dataset", f"cut-{at}", sample[:at])
    put("dataset", "escape-cut", sample[:8] + b"\\")
    put("dataset", "no-text", b'[{"conversations":[{"from":"human"},{"value":""}],"image":[1]}]')


def labels(version=1, side=1, wide=2, words=4, pictures=1, size=24, mark=0.5, ends=(3, 13, 17, 24), word=3, score=0x3900):
    """A file of labels of one patch (src/data/word_labels.h); its hashes are 0, the fuzz target makes them right."""
    header = b"drt-sea\0" + struct.pack("<6I3Q8f2Q", version, side, 1, wide, 0, 0, words, pictures, size, *[mark] * 8, 0, 0)
    text = b"redlight bluering\xc3\xa9toile"
    return header + struct.pack("<4Q", *ends) + text + struct.pack("<QHHQ", 7, word, score, 0)


def word_labels():
    for name, change in (("sound", {}), ("version", {"version": 2}), ("side", {"side": 0}), ("wide", {"wide": 4}),
                         ("words", {"words": 1 << 40}), ("pictures", {"pictures": 1 << 31}), ("bytes", {"size": 1 << 60}),
                         ("mark", {"mark": float("nan")}), ("order", {"ends": (13, 3, 17, 24)}),
                         ("end-beyond", {"ends": (3, 13, 17, 200)}), ("word-beyond", {"word": 4}),
                         ("score-infinite", {"score": 0x7c00}), ("score-negative", {"score": 0xbc00})):
        put("word_labels", name, labels(**change))
    put("word_labels", "cut", labels()[:150])
    put("word_labels", "empty", b"")


INDEX_NAME = 0xedab54e3c84fa998  # digest of "data.json"


def index(file=0, at=10, size=20, words=3, first=0, samples=1, files=1, seen=2, changed=5, version=1, sketch=7):
    """An index of tests/fuzz/index_fuzz.c's file (src/data/index.c); its digest is the target's business."""
    header = b"drt-idx\0" + struct.pack("<4IQ", version, files, samples, seen, 0)
    entry = struct.pack("<4Q2q", INDEX_NAME, 1000, sketch, 9, changed, first)
    return b"\1" + header + entry + struct.pack("<Q2I2i2HI", at, size, 4, file, words, 1, 2, 0)


def indices():
    for name, change in (("sound", {}), ("file-beyond", {"file": 1}), ("file-negative", {"file": -1}),
                         ("at-beyond", {"at": 1 << 60}), ("size-beyond", {"size": 991}), ("no-words", {"words": 0}),
                         ("empty", {"size": 0}), ("first-beyond", {"first": 2}), ("first-negative", {"first": -1}),
                         ("samples", {"samples": 2}), ("files", {"files": 1 << 31}), ("seen", {"seen": 3}),
                         ("version", {"version": 2}), ("changed", {"changed": 6}), ("sketch", {"sketch": 8})):
        put("index", name, index(**change))
    put("index", "cut", index()[:40])
    put("index", "list-spaces", b"\0" + b" " * 7)
    for name, text in (("list", '{"id": "a"}\n'), ("list-number", '{"sample": 1}'), ("list-digest", '{"quarantine": 1, "digest": "x"}'),
                       ("list-cut", '{"id": "'), ("list-blank", "\n \n"), ("list-large", '{"sample": 99999999999999999999999}')):
        put("index", name, b"\0" + text.encode())


def tars():
    def shard(format, *entries):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=format) as t:
            for name, data in entries:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                t.addfile(info, io.BytesIO(data))
        return out.getvalue()
    talk = b'{"conversations":[{"from":"human","value":"<image>"},{"from":"gpt","value":"c"}]}'
    whole = shard(tarfile.USTAR_FORMAT, ("a.json", talk), ("a.jpg", b"picture"))[:2560]
    put("tar", "sound", whole)
    put("tar", "shard", shard(tarfile.USTAR_FORMAT, ("a.json", talk), ("a.jpg", b"picture"), ("b.txt", b"words"))[:4096])
    put("tar", "caption", shard(tarfile.USTAR_FORMAT, ("b.txt", b"words \0 \xff"), ("b.0.png", b""), ("b.1.png", b"x"))[:3584])
    put("tar", "gnu", shard(tarfile.GNU_FORMAT, ("l" * 120 + ".txt", b"long"))[:3072])
    put("tar", "pax", shard(tarfile.PAX_FORMAT, ("\u00e9" * 90 + ".txt", b"long"))[:3072])
    put("tar", "two", shard(tarfile.USTAR_FORMAT, ("a.txt", b"1"), ("b.txt", b"2"))[:2048])
    put("tar", "no-key", shard(tarfile.USTAR_FORMAT, ("plain", b"1"), (".hidden.txt", b"2"))[:2048])
    put("tar", "picture-alone", shard(tarfile.USTAR_FORMAT, ("a.png", b"1"))[:1024])
    put("tar", "cut-header", whole[:300])
    put("tar", "cut-data", whole[:530])
    put("tar", "size-beyond", patched(whole, b"00000000007", b"77777777777"))
    put("tar", "checksum", b"b" + whole[1:])
    put("tar", "empty", b"")


if __name__ == "__main__":
    for make in (safetensors, torch_bin, config, image, tokenizer, dataset, word_labels, indices, tars):
        make()
