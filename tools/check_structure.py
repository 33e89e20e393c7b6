#!/usr/bin/env python3
"""Checks the house rules of docs/architecture.md that a compiler does not.

  python3 tools/check_structure.py [FOLDER]      one line per finding; status 1 if any of them breaks a rule
  python3 tools/check_structure.py --self-test   proves that every rule can be broken

Rules: includes point only downward through the rooms of src/; every path that README.md or docs/*.md names in
backticks exists; no source file has more than 500 lines; nothing is left to be done later in the sources; no path of
somebody's machine. Functions of more than 60 lines and lines of more than 120 columns are listed, but break nothing.
"""
import glob
import os
import re
import subprocess
import sys
import tempfile

ROOMS = "base kernels tensor format data model align infer eval train serve api cli".split()
MOST_LINES, MOST_FUNCTION, MOST_COLUMNS = 500, 60, 120
SOURCE = (".c", ".h", ".cu", ".cuh", ".py", ".sh")
LATER = re.compile(r"\b(TO" r"DO|FIX" r"ME)\b")
MACHINE = re.compile(r"(?<![\w.])/(?:wo" r"rk|ho" r"me/\w+)/")
GENERATED = ("out", "build", "build-asan")


def files_of(root):
    """All files that are tracked or could be: relative paths, sorted."""
    try:
        out = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=root,
                             capture_output=True, check=True).stdout.decode()
        names = out.split("\0")[:-1]
    except (OSError, subprocess.CalledProcessError):
        names = [os.path.relpath(os.path.join(d, f), root) for d, _, fs in os.walk(root) for f in fs]
    return sorted({n for n in names if os.path.isfile(os.path.join(root, n))})


def room_of(path):
    """'base/text.h' -> (0, 'base', ''); 'kernels/cpu/x.h' -> (1, 'kernels', 'cpu'); None outside the rooms."""
    parts = path.split("/")
    if len(parts) < 2 or parts[0] not in ROOMS:
        return None
    return ROOMS.index(parts[0]), parts[0], parts[1] if len(parts) > 2 else ""


def check_includes(root, name, lines, report):
    """A file of src/ includes from its own room or one below, always by its path from src/."""
    here = room_of(name[4:]) if name.startswith("src/") else None
    for number, line in enumerate(lines, 1):
        match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if not match:
            continue
        target, where = match.group(1), f"{name}:{number}"
        roots = ["src", "include"] + ([] if here else ["tests", "bench", os.path.dirname(name)])
        if not any(os.path.exists(os.path.join(root, r, target)) for r in roots):
            report(True, where, f'include "{target}" is not a path from {", ".join(r + "/" for r in roots)}')
            continue
        there = room_of(target)
        if not here or not there:
            continue
        if there[0] > here[0]:
            report(True, where, f'{here[1]}/ includes "{target}" from a room above it')
        elif there[1] == "kernels" and there[2] and here[1] != "kernels":
            report(True, where, f'{here[1]}/ includes "{target}": only kernels/ knows its backends')
        elif here[2] == "ref" and there[2] not in ("", "ref"):
            report(True, where, f'kernels/ref is the oracle and includes "{target}"')


def check_sizes(name, lines, report):
    if len(lines) > MOST_LINES:
        report(True, f"{name}:1", f"{len(lines)} lines, more than {MOST_LINES}: split it")
    for number, line in enumerate(lines, 1):
        if len(line) > MOST_COLUMNS:
            report(False, f"{name}:{number}", f"{len(line)} columns, more than {MOST_COLUMNS}")
    if not name.endswith((".c", ".h", ".cu", ".cuh")):
        return
    start, head, inside = 0, "", False
    for number, line in enumerate(lines, 1):
        if inside:
            if line.startswith("}"):
                if number - start + 1 > MOST_FUNCTION:
                    title = re.search(r"(\w+)\s*\(", head)
                    report(False, f"{name}:{start}", f"function {title.group(1)} has {number - start + 1} lines, "
                           f"more than {MOST_FUNCTION}")
                inside, head = False, ""
            continue
        if not head:
            if not re.match(r"[A-Za-z_]", line):
                continue
            start = number
        head += line + " "
        if line.rstrip().endswith("{"):
            is_function = "(" in head and "=" not in head.split("(")[0] and not re.match(r"(typedef|extern\s)", head)
            inside = is_function
            head = head if is_function else ""
        elif line.rstrip().endswith((";", "}", ",")) and "(" not in head or line.rstrip().endswith(";"):
            head = ""


def named_paths(text):
    """(line, path) of everything in backticks or links outside code blocks that may be a path of this repository."""
    fenced = False
    for number, line in enumerate(text.split("\n"), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        if fenced:
            continue
        for span in re.findall(r"`([^`]+)`", line):
            for word in span.split():
                yield number, word
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", line):
            if "://" not in link and not link.startswith("mailto:"):
                yield number, "link:" + link


def braces(pattern):
    match = re.search(r"\{([^{}]*)\}", pattern)
    if not match:
        return [pattern]
    return [p for choice in match.group(1).split(",")
            for p in braces(pattern[:match.start()] + choice + pattern[match.end():])]


def check_document(root, name, text, report):
    tops = {e for e in os.listdir(root) if e not in GENERATED and e != ".git"}
    tops |= {"src", "tests", "tools", "docs", "configs", "bench", "include"}
    folder = os.path.dirname(name)
    for number, word in named_paths(text):
        tried = [""]
        if word.startswith("link:"):
            word, tried = word[5:], [folder]
        else:
            word = re.sub(r":\d+$", "", word.strip(",;()")).removeprefix("./")
            first = word.split("/")[0]
            if not re.fullmatch(r"[\w.*{},/-]+", word) or word.startswith(("-", ".", "/")) and first not in tops:
                continue
            if "/" not in word:
                if not re.fullmatch(r"[A-Z]\w*\.md|Makefile|\w+\.md", word):
                    continue
                tried = ["", folder, "docs"]
            elif first in ROOMS and (word.endswith((".c", ".h")) or word == first + "/"):
                tried = ["src", ""]
            elif first not in tops:
                continue
        for path in braces(word):
            if not any(glob.glob(os.path.join(root, t, path)) for t in tried):
                report(True, f"{name}:{number}", f"`{path}` does not exist")


def check(root):
    """All findings as (breaks a rule, 'file:line', message)."""
    findings = []

    def report(breaks, where, message):
        findings.append((breaks, where, message))

    for name in files_of(root):
        try:
            with open(os.path.join(root, name), encoding="utf-8") as file:
                text = file.read()
        except UnicodeDecodeError:
            continue  # pictures, weights
        lines = text.split("\n")[:-1] if text.endswith("\n") else text.split("\n")
        code = name.endswith(SOURCE) or name in ("Makefile", ".ci/run")
        if code:
            check_sizes(name, lines, report)
        if name.endswith((".c", ".h", ".cu", ".cuh")):
            check_includes(root, name, lines, report)
        if name == "README.md" or re.fullmatch(r"docs/[^/]+\.md", name):
            check_document(root, name, text, report)
        if not code and not name.endswith((".md", ".yaml", ".yml")):
            continue
        for number, line in enumerate(lines, 1):
            if LATER.search(line):
                report(True, f"{name}:{number}", "something is left to be done later: do it or write an issue")
            if MACHINE.search(line):
                report(True, f"{name}:{number}", "a path of somebody's machine")
    return findings


def self_test():
    """A small tree with every fault once; each must be found, and nothing else."""
    function = "int long_one(int a,\n             int b) {\n" + "    a++;\n" * 60 + "}\n"
    table = "static const int table[] = {\n" + "    1,\n" * 70 + "};\n"
    tree = {
        "src/base/text.h": "int x;\n",
        "src/base/up.c": '#include "tensor/tape.h"\n',
        "src/base/lost.c": '#include "text.h"\n#include "base/text.h"\n',
        "src/tensor/tape.h": table,
        "src/tensor/deep.c": '#include "kernels/cpu/gemm.h"\n#include "base/text.h"\n',
        "src/kernels/cpu/gemm.h": "int y;\n",
        "src/kernels/open.c": '#include "kernels/cpu/gemm.h"\n',
        "src/kernels/ref/add.c": '#include "kernels/cpu/gemm.h"\n',
        "src/train/big.c": "int a;\n" * 501,
        "src/train/long.c": function,
        "src/eval/later.c": "// TO" "DO\n// " + "x" * 118 + "\n",
        "tests/base/any_test.c": '#include "tensor/tape.h"\n#include "base/text.h"\n',
        "README.md": "`src/base/text.h` `src/base/none.h` `out/demo/report.html` `docs/` `a/b` `src/{base,tensor}/`\n"
                     "`tensor/tape.h` `tensor/none.c` [x](docs/a.md) [y](docs/none.md) `src/base/*.c`\n"
                     "```\n`src/no/matter`\n```\n",
        "docs/a.md": "`README.md` `/wo" "rk/x`\n",
    }
    expected = [(True, "src/base/up.c:1"), (True, "src/base/lost.c:1"), (True, "src/tensor/deep.c:1"),
                (True, "src/kernels/ref/add.c:1"), (True, "src/train/big.c:1"), (False, "src/train/long.c:1"),
                (True, "src/eval/later.c:1"), (False, "src/eval/later.c:2"),
                (True, "README.md:1"), (True, "README.md:2"), (True, "README.md:2"),
                (True, "docs/a.md:1")]
    with tempfile.TemporaryDirectory() as root:
        for name, text in tree.items():
            os.makedirs(os.path.dirname(os.path.join(root, name)), exist_ok=True)
            with open(os.path.join(root, name), "w", encoding="utf-8") as file:
                file.write(text)
        found = check(root)
    if sorted(f[:2] for f in found) == sorted(expected):
        return 0
    for breaks, where, message in found:
        print(f"found: {breaks} {where}: {message}")
    print("check_structure: the self-test expected", sorted(expected))
    return 1


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
    findings = check(root)
    for breaks, where, message in findings:
        print(f"{where}: {'' if breaks else 'note: '}{message}")
    return 1 if any(f[0] for f in findings) else 0


if __name__ == "__main__":
    sys.exit(main())
