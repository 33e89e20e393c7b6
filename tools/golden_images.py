#!/usr/bin/env python3
"""Golden pictures for tests/format/image_test.c: small files of every kind, and what PIL and HF make of them.

  python3 tools/golden_images.py              computes tests/golden/images/expected.txt anew from the committed pictures
  python3 tools/golden_images.py --check      the same, but only compares; status 1 if a line differs
  python3 tools/golden_images.py --pictures   draws the pictures anew first (their bytes depend on PIL's encoders)

Needs numpy, pillow >= 13 (its resize chooses the order of passes) and transformers. Lines of expected.txt:
  decode FILE WIDTH HEIGHT HASH                   Image.open(FILE).convert("RGB")
  resize FILE WIDTH HEIGHT HASH                   the same, .resize((WIDTH, HEIGHT), BICUBIC)
  prepare FILE SIZE square|pad HASH HASH TOWER    TOWER's (clip, siglip) image processor after LLaVA's padding: uint8;
                                                  patches of 7 in f32
HASH is drt_hash of src/base/rng.c over the RGB bytes, rows from the top, or over the f32 of drt_image_patches.
"""
import io
import os
import struct
import sys
import zlib

import numpy as np
import PIL
from PIL import Image

try:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil as Clip
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil as Siglip
except ImportError:  # transformers 4, where the PIL ones were the only ones
    from transformers import CLIPImageProcessor as Clip, SiglipImageProcessor as Siglip

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "golden", "images")
PATCH = 7
MASK = (1 << 64) - 1


def drt_hash(data):
    h = 0xCBF29CE484222325
    for byte in data:
        h = ((h ^ byte) * 0x100000001B3) & MASK
    h = (h + 0x9E3779B97F4A7C15) & MASK
    h = ((h ^ (h >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    h = ((h ^ (h >> 27)) * 0x94D049BB133111EB) & MASK
    return "%016x" % (h ^ (h >> 31))


def scene(width, height):
    """[height, width, 3] uint8: smooth slopes, hard edges, fine lines and a noisy corner."""
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    r = 255 * x // max(width - 1, 1)
    g = (255 * y // max(height - 1, 1) + 40 * ((x // 5 + y // 3) % 2)) % 256
    b = np.where((x - width // 2) ** 2 + (y - height // 2) ** 2 < (min(width, height) // 3) ** 2, 230, 25 + x % 2 * 60)
    noise = (x * 7919 + y * 104729 + x * y * 31) * 2654435761 % 4294967296 >> 24
    out = np.stack([r, g, b], -1)
    corner = (x > width * 2 // 3) & (y > height * 2 // 3)
    out[corner] = np.stack([noise, noise * 3 % 256, 255 - noise], -1)[corner]
    return out.astype(np.uint8)


# --- PNG, written here because PIL writes neither interlaced files nor all depths ---

ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def packed(samples, depth):
    """[h, w * channels] integers -> the filtered (type 0) rows of a PNG."""
    out = b""
    for row in samples:
        bits = "".join(format(int(v), "0%db" % depth) for v in row)
        bits += "0" * (-len(bits) % 8)
        out += b"\0" + int(bits, 2).to_bytes(len(bits) // 8, "big")
    return out


def png(samples, depth, kind, interlaced, extra=b""):
    """samples: [h, w, channels] integers below 2^depth; kind: PNG's colour type."""
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    height, width, channels = samples.shape
    passes = [samples[y::dy, x::dx] for x, y, dx, dy in ADAM7] if interlaced else [samples]
    rows = b"".join(packed(p.reshape(p.shape[0], -1), depth) for p in passes if p.size)
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlaced)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(rows, 9)) +
            chunk(b"IEND", b""))


def png_files():
    rgb = scene(29, 23).astype(np.int64)
    alpha = (np.add.outer(np.arange(23), np.arange(29)) * 11 % 256)[..., None]
    grey = rgb.sum(-1, keepdims=True) // 3
    wide = lambda v: v * 256 + (v * 37 + 101) % 256  # 16 bits; rounding them to 8 is not the same as cutting
    palette = scene(16, 16).reshape(-1, 3)

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    for interlaced in (0, 1):
        end = "-interlaced.png" if interlaced else ".png"
        for depth in (1, 2, 4, 8):
            yield "grey%d%s" % (depth, end), png(grey >> (8 - depth), depth, 0, interlaced)
            colours = palette[:: max(1, 256 >> depth)][: 1 << depth]
            extra = chunk(b"PLTE", colours.tobytes()) + chunk(b"tRNS", bytes([0, 128]))
            yield "palette%d%s" % (depth, end), png(grey >> (8 - depth), depth, 3, interlaced, extra)
        # Pillow clips 16-bit grey at 255, so that some of it must lie below.
        yield "grey16" + end, png(np.where(grey > 128, wide(grey), grey), 16, 0, interlaced)
        yield "rgb8" + end, png(rgb, 8, 2, interlaced)
        yield "rgb16" + end, png(wide(rgb), 16, 2, interlaced)
        yield "la8" + end, png(np.concatenate([grey, alpha], -1), 8, 4, interlaced)
        yield "la16" + end, png(wide(np.concatenate([grey, alpha], -1)), 16, 4, interlaced)
        yield "rgba8" + end, png(np.concatenate([rgb, alpha], -1), 8, 6, interlaced)
        yield "rgba16" + end, png(wide(np.concatenate([rgb, alpha], -1)), 16, 6, interlaced)
    yield "palette-short.png", png(grey, 8, 3, 0, chunk(b"PLTE", palette[:100].tobytes()))  # indices past its end
    yield "rgb8-transparent.png", png(rgb, 8, 2, 0, chunk(b"tRNS", struct.pack(">3H", *rgb[3, 3])))
    for width, height in ((1, 1), (1, 37), (53, 1), (2, 3), (40, 301), (301, 40)):
        yield "%dx%d.png" % (width, height), png(scene(width, height).astype(np.int64), 8, 2, 0)


def saved(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def ycck(cmyk):
    """Adobe's marker says 'no transform'; said otherwise, the same bytes are a YCCK picture."""
    at = cmyk.index(b"Adobe") + 11
    return cmyk[:at] + b"\2" + cmyk[at + 1:]


def jpeg_files():
    image, large = Image.fromarray(scene(61, 47)), Image.fromarray(scene(403, 302))
    for name, subsampling in (("444", 0), ("422", 1), ("420", 2)):
        yield name + ".jpg", saved(image, "JPEG", quality=85, subsampling=subsampling)
        yield name + "-progressive.jpg", saved(image, "JPEG", quality=70, subsampling=subsampling, progressive=True)
    yield "restart.jpg", saved(image, "JPEG", quality=60, restart_marker_blocks=3)
    yield "rgb.jpg", saved(image, "JPEG", quality=90, keep_rgb=True)
    yield "grey.jpg", saved(image.convert("L"), "JPEG", quality=90)
    inks = [*np.moveaxis(scene(61, 47), -1, 0), scene(61, 47)[::-1, :, 0]]
    ink = Image.merge("CMYK", [Image.fromarray(c) for c in inks])
    yield "cmyk.jpg", saved(ink, "JPEG", quality=90)
    yield "ycck.jpg", ycck(saved(ink, "JPEG", quality=90))
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn me": PIL's open() does not
    yield "turned.jpg", saved(image, "JPEG", quality=85, exif=exif)
    yield "1x1.jpg", saved(image.crop((30, 20, 31, 21)), "JPEG")
    yield "17x1.jpg", saved(image.crop((30, 20, 47, 21)), "JPEG")
    yield "scene.jpg", saved(large, "JPEG", quality=75)


def webp_files():
    image = Image.fromarray(scene(61, 47))
    clear = image.copy()
    clear.putalpha(Image.fromarray(scene(61, 47)[..., 1] // 64 * 85))
    yield "lossy.webp", saved(image, "WEBP", quality=80)
    yield "lossless.webp", saved(image, "WEBP", lossless=True)
    yield "lossy-alpha.webp", saved(clear, "WEBP", quality=60)
    yield "lossless-alpha.webp", saved(clear, "WEBP", lossless=True, exact=True)
    yield "animated.webp", saved(image, "WEBP", save_all=True, append_images=[image.rotate(90)], quality=10)


def draw():
    os.makedirs(FOLDER, exist_ok=True)
    for files in (png_files(), jpeg_files(), webp_files()):
        for name, data in files:
            with open(os.path.join(FOLDER, name), "wb") as f:
                f.write(data)


# --- what PIL and HF make of them ---

# One axis, both, larger, smaller, extremes; 60 x 44 and 60 x 45 stand on both sides of the rule in rows_first.
SIZES = [(61, 20), (30, 47), (20, 15), (7, 5), (1, 1), (122, 94), (200, 1), (1, 90), (63, 46), (60, 44), (60, 45),
         (90, 9)]
OTHERS = [("1x1.png", 5, 9), ("1x37.png", 6, 7), ("53x1.png", 7, 30), ("2x3.png", 301, 2), ("scene.jpg", 97, 61),
          ("scene.jpg", 504, 311), ("40x301.png", 30, 100), ("40x301.png", 30, 299)]
PREPARE = [("scene.jpg", 336), ("scene.jpg", 56), ("420.jpg", 35), ("420.jpg", 140), ("1x1.png", 14), ("1x37.png", 28),
           ("53x1.png", 28), ("40x301.png", 28), ("301x40.png", 28), ("40x301.png", 63), ("301x40.png", 63),
           ("rgba8.png", 42), ("2x3.png", 21), ("scene.jpg", 384), ("grey1.png", 30), ("grey8.png", 23), ("la8.png", 33),
           ("palette8.png", 28), ("palette4-interlaced.png", 35), ("grey16.png", 25), ("rgb16.png", 21), ("cmyk.jpg", 40),
           ("grey.jpg", 37), ("420-progressive.jpg", 50), ("turned.jpg", 45), ("lossy-alpha.webp", 49),
           ("lossless.webp", 31)]


def padded(image, mean):
    """LLaVA's expand2square."""
    side = max(image.size)
    out = Image.new("RGB", (side, side), tuple(int(255 * x) for x in mean))
    out.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return out


def prepared(image, size, aspect, tower):
    """Of an RGB picture, as LLaVA hands it over: alpha is dropped. (The processors of transformers 5 lay a picture that is
    transparent, or whose info still names a transparent colour, on white first; those of LLaVA's transformers did not.)"""
    image.info.pop("transparency", None)
    square = {"height": size, "width": size}
    how = Clip(size={"shortest_edge": size}, crop_size=square) if tower == "clip" else Siglip(size=square)
    image = padded(image, how.image_mean) if aspect == "pad" else image
    pixels = how(image, return_tensors="np", do_rescale=False, do_normalize=False)["pixel_values"][0]
    values = how(image, return_tensors="np")["pixel_values"][0]
    n = size // PATCH
    values = values[:, :n * PATCH, :n * PATCH]
    rows = values.reshape(3, n, PATCH, n, PATCH).transpose(1, 3, 0, 2, 4)
    return drt_hash(pixels.astype(np.uint8).transpose(1, 2, 0).tobytes()), drt_hash(rows.astype("<f4").tobytes())


def prepare_lines(name, image, size):
    return ["prepare %s %d %s %s %s %s" % (name, size, aspect, *prepared(image, size, aspect, tower), tower)
            for tower in ("clip", "siglip") for aspect in ("square", "pad")]


def expected():
    lines = ["# tools/golden_images.py with pillow " + PIL.__version__.split(".")[0]]
    pictures = {}
    for name in sorted(os.listdir(FOLDER)):
        if name not in ("expected.txt", "animated.webp", "scales.safetensors"):
            image = pictures[name] = Image.open(os.path.join(FOLDER, name)).convert("RGB")
            lines.append("decode %s %d %d %s" % (name, *image.size, drt_hash(image.tobytes())))
    for name, width, height in [("444.jpg", *size) for size in SIZES] + OTHERS:
        out = pictures[name].resize((width, height), Image.BICUBIC)
        lines.append("resize %s %d %d %s" % (name, width, height, drt_hash(out.tobytes())))
    for name, size in PREPARE:
        lines += prepare_lines(name, pictures[name], size)
    return "\n".join(lines) + "\n"


def main():
    if "--pictures" in sys.argv:
        draw()
    path, text = os.path.join(FOLDER, "expected.txt"), expected()
    if "--check" not in sys.argv:
        with open(path, "w") as f:
            f.write(text)
        return 0
    old, new = open(path).read().splitlines(), text.splitlines()
    differ = sorted(set(old) ^ set(new))
    print("\n".join(differ) or "%d lines, all the same" % len(new))
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
