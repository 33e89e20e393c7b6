#!/usr/bin/env python3
"""Writes tests/golden/torch/: files of torch.save in every form that drt reads, or must refuse, and the tensors in them.

    python tools/golden_torch.py            (needs torch, safetensors)

They are the fuzz target's first corpus too, so they are tiny.
"""
import io
import json
import os
import shutil
import struct
import zipfile
import zlib

import torch
from safetensors.torch import save_file

torch.set_num_threads(1)
OUT = os.path.join(os.path.dirname(__file__), "..", "tests", "golden", "torch")


class Sneaky:
    """Unpickled by Python, it would run a command."""

    def __reduce__(self):
        return os.system, ("echo this must never run",)


def tensors():
    g = torch.Generator().manual_seed(4)
    base = torch.randn(4, 6, generator=g)
    out = {
        "f32": torch.randn(3, 2, generator=g),
        "f16": torch.randn(5, generator=g).half(),
        "bf16": torch.randn(2, 3, generator=g).bfloat16(),
        "f64": torch.randn(2, generator=g).double(),
        "i64": torch.arange(4) - 1,
        "i32": torch.arange(3, dtype=torch.int32),
        "i16": torch.arange(3, dtype=torch.int16),
        "i8": torch.arange(3, dtype=torch.int8) - 1,
        "u8": torch.arange(3, dtype=torch.uint8),
        "bool": torch.tensor([True, False]),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 7),
        "base": base,
        "tied": base,                   # the same storage
        "view": base[1:3],              # an offset
        "columns": base[:, 1:4],        # strides and an offset
        "transposed": base.t(),
        "turned": torch.randn(2, 3, 4, generator=g).permute(2, 0, 1),
        "parameter": torch.nn.Parameter(torch.randn(3, generator=g)),
    }
    return out


def state_dict(values):
    """With the attribute that modules give it, which is pickled by the instruction BUILD."""
    d = torch.nn.Linear(1, 1).state_dict()
    d.clear()
    d.update(values)
    return d


def write(name, data):
    with open(os.path.join(OUT, name), "wb") as f:
        f.write(data)


def saved(value, **how):
    f = io.BytesIO()
    torch.save(value, f, **how)
    return f.getvalue()


def saved_old(value):
    """In the format before torch 1.6. It names storages by their addresses; numbered, they give the same file each time."""
    address, number = torch.UntypedStorage._cdata, {}
    torch.UntypedStorage._cdata = property(lambda s: number.setdefault(address.__get__(s), 100 + len(number)))
    try:
        return saved(value, _use_new_zipfile_serialization=False)
    finally:
        del torch.UntypedStorage._cdata


def repacked(data, method):
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for i in old.infolist():
            new.writestr(zipfile.ZipInfo(i.filename), old.read(i), method)  # dated 1980, not now
    return out.getvalue()


def zip64(data):
    """The same entries, every size and place as zip64 writes those beyond 4 GB."""
    out, central, n = b"", b"", 0
    with zipfile.ZipFile(io.BytesIO(data)) as old:
        for i in old.infolist():
            body, name = old.read(i), i.filename.encode()
            extra = struct.pack("<HHQQ", 1, 16, len(body), len(body))
            where, date, crc, large = len(out), 0x21, zlib.crc32(body), 0xFFFFFFFF
            out += struct.pack("<I5H3I2H", 0x04034B50, 45, 0, 0, 0, date, crc, large, large, len(name), len(extra))
            out += name + extra + body
            extra = struct.pack("<HHQQQ", 1, 24, len(body), len(body), where)
            central += struct.pack("<I6H3I5H2I", 0x02014B50, 45, 45, 0, 0, 0, date, crc, large, large, len(name), len(extra),
                                   0, 0, 0, 0, large) + name + extra
            n += 1
    at = len(out)
    out += central
    end = len(out)
    out += struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, n, n, len(central), at)
    out += struct.pack("<IIQI", 0x07064B50, 0, end, 1)
    return out + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)


def main():
    torch.manual_seed(4)  # of module.bin's weights
    shutil.rmtree(OUT, ignore_errors=True)
    os.makedirs(os.path.join(OUT, "sharded"))
    values = tensors()
    plain = saved(state_dict(values))
    write("plain.bin", plain)
    for protocol in (3, 4, 5):
        write(f"protocol{protocol}.bin", saved(values, pickle_protocol=protocol))
    write("deflated.bin", repacked(plain, zipfile.ZIP_DEFLATED))
    write("zip64.bin", zip64(plain))
    save_file({k: v.detach().clone().contiguous() for k, v in values.items()}, os.path.join(OUT, "expected.safetensors"))
    os.chmod(os.path.join(OUT, "expected.safetensors"), 0o644)
    write("old.bin", saved_old(values))
    write("sneaky.bin", saved({"a": torch.ones(2), "b": Sneaky()}))
    write("module.bin", saved(torch.nn.Linear(2, 2)))
    write("nested.bin", saved({"state_dict": {"a": torch.ones(2)}, "epoch": 3, "loss": 0.5, "note": None, "seen": [1, 2]}))
    write("expanded.bin", saved({"a": torch.ones(1).expand(3)}))
    write("bzip2.bin", repacked(saved({"a": torch.ones(64)}), zipfile.ZIP_BZIP2))
    names = ["f32", "bf16", "transposed"]
    index = {}
    for k, name in enumerate(names):
        file = f"pytorch_model-0000{k + 1}-of-0000{len(names)}.bin"
        write(f"sharded/{file}", saved(state_dict({name: values[name]})))
        index[name] = file
    write("sharded/pytorch_model.bin.index.json", json.dumps({"metadata": {}, "weight_map": index}, indent=1).encode())


if __name__ == "__main__":
    main()
