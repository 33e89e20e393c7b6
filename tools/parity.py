#!/usr/bin/env python3
"""Makes every golden file anew with the installed transformers and checks drt and the committed files against them.

  make parity [PYTHON=venv/bin/python]      or: python3 tools/parity.py [WORD ...]   only scripts whose name has a WORD

Copies tools/ and tests/golden/ to out/parity/, runs there each tools/golden_*.py (without arguments a script makes its
files), compares what it wrote with the committed files, then runs from there the test programs that read golden files.
Numbers agree when they differ by at most 1e-4 of their tensor's root mean square: the order of sums is another program's
own business. Prints a table; the last line is "N agree, N differ". Needs the built tests (make parity builds them).
"""
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OUT = os.path.join(ROOT, "out", "parity")
NEEDS = os.path.join("tools", "requirements.txt")
CLOSE = 1e-4


def installed(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def lacking():
    """Other versions than those named may do; that is what this program finds out."""
    with open(os.path.join(ROOT, NEEDS), encoding="utf-8") as f:
        return [p for p in (line.split("==")[0] for line in f) if not installed(p)]


def set_up():
    shutil.rmtree(OUT, ignore_errors=True)
    shutil.copytree(os.path.join(ROOT, "tools"), os.path.join(OUT, "tools"))
    shutil.copytree(os.path.join(ROOT, "tests", "golden"), os.path.join(OUT, "tests", "golden"))
    for name in ("Makefile", "README.md", "drt.pc.in", "models", "configs", "examples", "src", "include", "bench"):
        os.symlink(os.path.join(ROOT, name), os.path.join(OUT, name))
    os.symlink(os.path.join(ROOT, os.environ.get("BUILD", "build")), os.path.join(OUT, "build"))


def files():
    """path -> time of writing, of all golden files."""
    found = {}
    for folder, _, names in os.walk(os.path.join(OUT, "tests", "golden")):
        for name in names:
            path = os.path.join(folder, name)
            found[os.path.relpath(path, OUT)] = os.stat(path).st_mtime_ns
    return found


def numbers_apart(a, b):
    """How far two arrays are apart, as a part of the first one's root mean square; whole numbers must be equal."""
    import numpy as np
    if a.shape != b.shape or a.dtype != b.dtype:
        return float("inf")
    if not a.size or np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
        return 0.0
    if a.dtype.kind != "f":
        return float("inf")
    a, b = a.astype(np.float64), b.astype(np.float64)
    apart = np.abs(a - b).max() / max(np.sqrt((a * a).mean()), 1e-30)
    return float(apart) if np.isfinite(apart) else float("inf")


def tensors_apart(old, new):
    from safetensors.torch import load_file
    import numpy as np
    import torch

    def plain(t):
        return t.float().numpy() if t.dtype in (torch.bfloat16, torch.float16) else np.asarray(t)

    a, b = load_file(old), load_file(new)
    if sorted(a) != sorted(b):
        return float("inf")
    return max((numbers_apart(plain(a[k]), plain(b[k])) for k in a), default=0.0)


def values_apart(a, b):
    """The same for JSON. The versions of programs that a config names may change."""
    if isinstance(a, dict) and isinstance(b, dict):
        a, b = ({k: v for k, v in x.items() if k not in ("transformers_version", "made_by")} for x in (a, b))
        return max((values_apart(a[k], b[k]) for k in a), default=0.0) if sorted(a) == sorted(b) else float("inf")
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return max(map(values_apart, a, b), default=0.0)
    if isinstance(a, float) and isinstance(b, (float, int)):
        return abs(a - b) / max(abs(a), 1e-30)
    return 0.0 if a == b and type(a) is type(b) else float("inf")


def apart(old, new):
    if not os.path.exists(old):
        return float("inf")
    with open(old, "rb") as f, open(new, "rb") as g:
        x, y = f.read(), g.read()
    if x == y:
        return 0.0
    if old.endswith(".safetensors"):
        return tensors_apart(old, new)
    if old.endswith(".json"):
        return values_apart(json.loads(x), json.loads(y))
    return float("inf")


class Table:
    def __init__(self):
        self.agree = self.differ = 0

    def row(self, what, ok, how, seconds):
        self.agree, self.differ = self.agree + ok, self.differ + (not ok)
        print(f"{what:32} {'agrees ' if ok else 'DIFFERS'}  {how} ({seconds:.0f} s)", flush=True)


def remake(script, table):
    before, start = files(), time.time()
    done = subprocess.run([sys.executable, os.path.join("tools", script)], cwd=OUT, capture_output=True, text=True,
                          env=dict(os.environ, TOKENIZERS_PARALLELISM="false"))
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no word").splitlines()[-1]
        table.row(script, False, f"ended with status {done.returncode}: {last}", time.time() - start)
        return
    made = [f for f, at in files().items() if before.get(f) != at]
    gaps = {f: apart(os.path.join(ROOT, f), os.path.join(OUT, f)) for f in made}
    bad = [f for f in made if gaps[f] > CLOSE]
    told = done.stdout.strip().splitlines()[-1:]  # a script that compares by itself says so
    how = f"{len(made)} files, the committed ones are " if made else (told or ["wrote nothing"])[0]
    how += f"others: {', '.join(sorted(bad)[:3])}{' ...' if len(bad) > 3 else ''}" if bad else \
        f"{max(gaps.values()):.1e} apart" if any(gaps.values()) else "the same" if made else ""
    table.row(script, not bad and bool(made or told), how, time.time() - start)


def check(program, table):
    start = time.time()
    if not os.path.exists(os.path.join(OUT, "build", "tests", program)):
        table.row(program, False, "is not built: make tests-built", 0)
        return
    done = subprocess.run([os.path.join("build", "tests", program)], cwd=OUT, capture_output=True, text=True,
                          env=dict(os.environ, OMP_WAIT_POLICY="passive", DRT="build/drt"), errors="replace")
    text = done.stdout + done.stderr
    failed = sorted(set(re.findall(r"^\[  FAILED  \] (\w+)$", text, re.M)))
    passed = len(re.findall(r"^\[       OK \]", text, re.M))
    how = f"fails: {', '.join(failed) or f'status {done.returncode}'}" if done.returncode else f"{passed} tests"
    table.row(program, not done.returncode, how, time.time() - start)


def programs():
    """Tests that read golden files, by themselves or through what they share."""
    for room in sorted(os.listdir(os.path.join(ROOT, "tests"))):
        folder = os.path.join(ROOT, "tests", room)
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
            if not name.endswith("_test.c"):
                continue
            with open(os.path.join(folder, name), encoding="utf-8") as f:
                if re.search(r"golden|support/rig\.h|support/kernel_", f.read()):
                    yield f"{room}/{name[:-2]}"


def main():
    lack = lacking()
    if lack:
        print(f"make parity compares with other programs and needs them: {', '.join(lack)} are not installed for "
              f"{sys.executable}.\nInstall them in a virtual environment and name its Python:\n"
              f"  python3 -m venv out/venv && out/venv/bin/pip install -r {NEEDS}\n"
              f"  make parity PYTHON=out/venv/bin/python")
        return 2
    import torch
    import transformers
    print(f"transformers {transformers.__version__}, torch {torch.__version__}", flush=True)
    set_up()
    table, tests = Table(), list(programs())
    for script in sorted(os.listdir(os.path.join(OUT, "tools"))):
        if re.fullmatch(r"golden_\w+\.py", script) and (not sys.argv[1:] or any(w in script for w in sys.argv[1:])):
            remake(script, table)
    for program in tests:
        check(program, table)
    print(f"{table.agree} agree, {table.differ} differ")
    return 1 if table.differ else 0


if __name__ == "__main__":
    sys.exit(main())
