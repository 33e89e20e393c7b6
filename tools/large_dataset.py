#!/usr/bin/env python3
"""Makes a data set of the size and shape of LLaVA-1.5's second stage, to measure `drt data check` and training with.

    python3 tools/large_dataset.py out/large [--samples 665000] [--pictures 2000]

Writes FOLDER/train.json (about 1.6 KB a sample: 1 GB) and FOLDER/images/N.jpg, which repeat among the samples. Nine
samples in ten have a picture; conversations have one to eight rounds. The same arguments give the same files.
Needs numpy and Pillow.
"""
import argparse
import json
import os
import random

import numpy as np
from PIL import Image

SIZES = ((640, 480), (480, 640), (640, 427), (500, 375), (1024, 768))


def picture(number):
    """A picture that costs a JPEG decoder what a photograph does: coarse shapes, texture, grain."""
    draw = np.random.default_rng(number)
    width, height = SIZES[number % len(SIZES)]
    total = np.zeros((height, width, 3))
    for cells, weight in ((4, 90), (12, 45), (48, 25), (160, 12)):
        grid = draw.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        total += weight * (np.asarray(Image.fromarray(grid).resize((width, height), Image.BICUBIC)) / 255.0 - 0.5)
    total += draw.normal(0, 4, (height, width, 1))
    return Image.fromarray(np.clip(total + 128, 0, 255).astype(np.uint8))


def words(draw, vocabulary, n):
    text = " ".join(draw.choices(vocabulary, k=n))
    return text[0].upper() + text[1:] + "."


def sample(draw, vocabulary, number, pictures):
    rounds = draw.choice((1, 1, 2, 3, 5, 8))
    seen = draw.random() < 0.9
    turns = []
    for i in range(rounds):
        question = words(draw, vocabulary, draw.randint(6, 20))[:-1] + "?"
        if seen and i == 0:
            question = draw.choice(("<image>\n" + question, question + "\n<image>"))
        turns.append({"from": "human", "value": question})
        turns.append({"from": "gpt", "value": words(draw, vocabulary, draw.choice((1, 3, 12, 60, 110)))})
    made = {"id": f"{number:012d}"}
    if seen:
        made["image"] = f"{number % pictures:06d}.jpg"
    return dict(made, conversations=turns)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    arguments.add_argument("folder")
    arguments.add_argument("--samples", type=int, default=665000)
    arguments.add_argument("--pictures", type=int, default=2000)
    asked = arguments.parse_args()
    images = os.path.join(asked.folder, "images")
    os.makedirs(images, exist_ok=True)
    for i in range(asked.pictures):
        picture(i).save(os.path.join(images, f"{i:06d}.jpg"), quality=88)
    draw = random.Random(42)
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    vocabulary = ["".join(draw.choices(letters, range(26, 0, -1), k=draw.randint(2, 9))) for _ in range(4000)]
    vocabulary += ["caf\u00e9", "\u201cquoted\u201d", "two\nlines", "\u4e2d\u6587"]
    with open(os.path.join(asked.folder, "train.json"), "w") as out:
        for i in range(asked.samples):
            out.write(",\n" if i else "[\n")
            json.dump(sample(draw, vocabulary, i, asked.pictures), out)
        out.write("\n]\n")


if __name__ == "__main__":
    main()
