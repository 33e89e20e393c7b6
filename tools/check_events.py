#!/usr/bin/env python3
"""What TensorBoard reads in a folder of event files, one line per value.

  python3 tools/check_events.py FOLDER

Lines: scalar TAG STEP VALUE | histogram TAG STEP MIN MAX NUMBER SUM | image TAG STEP WIDTH HEIGHT SHA1 |
text TAG STEP "..."; sorted by kind, tag and step.
"""
import hashlib
import json
import sys

from tensorboard.backend.event_processing import event_accumulator, tag_types
from tensorboard.util import tensor_util


def main():
    kinds = (tag_types.SCALARS, tag_types.HISTOGRAMS, tag_types.IMAGES, tag_types.TENSORS)
    events = event_accumulator.EventAccumulator(sys.argv[1], size_guidance={k: 0 for k in kinds})
    events.Reload()
    lines = []
    for tag in events.Tags()[tag_types.SCALARS]:
        lines += [("scalar", tag, e.step, f"{e.value:.9g}") for e in events.Scalars(tag)]
    for tag in events.Tags()[tag_types.HISTOGRAMS]:
        for e in events.Histograms(tag):
            h = e.histogram_value
            assert abs(sum(h.bucket) - h.num) < 1e-9 and sorted(h.bucket_limit) == list(h.bucket_limit), h
            lines.append(("histogram", tag, e.step, f"{h.min:.9g} {h.max:.9g} {h.num:.9g} {h.sum:.9g}"))
    for tag in events.Tags()[tag_types.IMAGES]:
        lines += [("image", tag, e.step, f"{e.width} {e.height} " + hashlib.sha1(e.encoded_image_string).hexdigest())
                  for e in events.Images(tag)]
    for tag in events.Tags()[tag_types.TENSORS]:
        lines += [("text", tag, e.step, json.dumps(tensor_util.make_ndarray(e.tensor_proto).item().decode()))
                  for e in events.Tensors(tag)]
    for line in sorted(lines):
        print(*line)


if __name__ == "__main__":
    main()
