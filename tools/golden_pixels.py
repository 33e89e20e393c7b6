#!/usr/bin/env python3
"""Are drt's pixels PIL's and HF's? Random pictures of random sizes in every mode, for CLIP and SigLIP, square and pad.

    python tools/golden_pixels.py [COUNT [SEED]]     (200 1; needs build/tests/format/image_test; a minute)

Draws COUNT pictures into a temporary folder, writes what PIL (decode) and HF's processors of the PIL backend (prepare)
make of them beside them, and lets tests/format/image_test.c compare. The exit status is the test's; every line that
differs is printed. The committed pictures of golden_images.py hold one of each kind.
"""
import os
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image

import golden_images as golden

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def wide(rgb):
    return rgb.astype(np.int64) * 256 + (rgb.astype(np.int64) * 37 + 101) % 256


def exif(turn):
    e = Image.Exif()
    e[0x0112] = turn
    return e


def kinds(image, r):
    """Name, PIL's format, the picture, options of save; or bytes."""
    rgb, grey = np.asarray(image), image.convert("L")
    alpha = Image.fromarray(r.integers(0, 256, rgb.shape[:2], dtype=np.uint8))
    clear, palette = image.copy(), image.quantize(int(r.integers(2, 257)))
    clear.putalpha(alpha)
    ink = Image.merge("CMYK", [*image.split(), grey.transpose(Image.Transpose.ROTATE_180)])
    quality = int(r.integers(20, 96))
    sampling = int(r.integers(0, 3))
    return [
        ("grey.png", grey, {}), ("grey-alpha.png", Image.merge("LA", [grey, alpha]), {}), ("bits.png", image.convert("1"), {}),
        ("rgb.png", image, {}), ("rgba.png", clear, {}), ("palette.png", palette, {}),
        ("palette-clear.png", palette, dict(transparency=bytes(r.integers(0, 256, 2, dtype=np.uint8)))),
        ("palette-hole.png", palette, dict(transparency=1)),
        ("rgb-hole.png", image, dict(transparency=tuple(int(v) for v in rgb[0, 0]))),
        ("grey16.png", Image.fromarray((np.asarray(grey).astype(np.uint16) * int(r.integers(1, 257)))), {}),
        ("rgb16.png", golden.png(wide(rgb), 16, 2, int(r.integers(0, 2))), None),
        ("rgba16.png", golden.png(wide(np.asarray(clear)), 16, 6, int(r.integers(0, 2))), None),
        ("grey.jpg", grey, dict(quality=quality)), ("rgb.jpg", image, dict(quality=quality, subsampling=sampling)),
        ("progressive.jpg", image, dict(quality=quality, subsampling=sampling, progressive=True)),
        ("cmyk.jpg", ink, dict(quality=quality)), ("turned.jpg", image, dict(quality=quality, exif=exif(int(r.integers(2, 9))))),
        ("lossy.webp", image, dict(quality=quality)), ("lossless.webp", image, dict(lossless=True)),
        ("lossy-alpha.webp", clear, dict(quality=quality)), ("lossless-alpha.webp", clear, dict(lossless=True, exact=True)),
    ]


def draw(folder, i, r):
    width, height = (int(v) for v in np.exp(r.uniform(np.log(2), np.log(300), 2)))
    pixels = golden.scene(width, height).astype(np.int64) * int(r.integers(1, 8)) + r.integers(0, 60, (height, width, 3))
    options = kinds(Image.fromarray((pixels % 256).astype(np.uint8)), r)
    name, image, how = options[i % len(options)]
    name = "%03d-%s" % (i, name)
    path = os.path.join(folder, name)
    if how is None:
        open(path, "wb").write(image)
    else:
        image.save(path, **how)
    return name


def main():
    count, seed = (int(v) for v in (sys.argv[1:] + ["200", "1"][len(sys.argv) - 1:])[:2])
    r, lines = np.random.default_rng(seed), [""]
    with tempfile.TemporaryDirectory() as folder:
        for i in range(count):
            name = draw(folder, i, r)
            image = Image.open(os.path.join(folder, name)).convert("RGB")
            lines.append("decode %s %d %d %s" % (name, *image.size, golden.drt_hash(image.tobytes())))
            size = [336, 384][i % 2] if i % 50 < 2 else int(r.integers(14, 90))
            lines += golden.prepare_lines(name, image, size)
        with open(os.path.join(folder, "expected.txt"), "w") as f:
            f.write("\n".join(lines) + "\n")
        test = os.path.join(ROOT, "build", "tests", "format", "image_test")
        code = subprocess.run([test], cwd=ROOT, env=dict(os.environ, DRT_GOLDEN_IMAGES=folder)).returncode
    print("%d pictures, %d lines: %s" % (count, len(lines) - 1, "DIFFERENT" if code else "all the same"))
    return code


if __name__ == "__main__":
    sys.exit(main())
