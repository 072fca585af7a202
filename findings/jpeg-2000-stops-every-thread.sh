#!/usr/bin/env bash
# A program that decodes pictures in a thread, so that its other threads go on (a server that answers, a training that
# computes), relies on Pillow letting the interpreter go while it decodes. It does for PNG, JPEG, TIFF, WebP, GIF and
# AVIF. While it decodes JPEG 2000 no other thread of Python runs at all, for the whole of the picture: seconds for the
# 16 million pixels of a scan. Whole-slide images, satellite tiles and DICOM pictures are of this kind.
#
# Guess before it was run: every decoder of Pillow that is compiled lets other threads go on. Missed for this one.
# Versions: pillow 13.0.0, numpy 2.4.6, Python 3.11.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target packages pillow==13.0.0 numpy==2.4.6 \
  2>pip.log || { cat pip.log; exit 2; }
cat > look.py <<'END'
import io
import threading
import time

import numpy as np
from PIL import Image, features

rng = np.random.default_rng(0)
smooth = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
picture = Image.fromarray(smooth).resize((2048, 2048), Image.Resampling.BICUBIC)


def silence(kind):
    """Return the longest time for which another thread did not run, as a share of the time that decoding took."""
    file = io.BytesIO()
    picture.save(file, kind)
    over, longest = threading.Event(), [0.0]

    def tick():
        last = time.monotonic()
        while not over.is_set():
            time.sleep(0.002)
            now = time.monotonic()
            longest[0], last = max(longest[0], now - last), now

    def decode():
        began = time.monotonic()
        Image.open(io.BytesIO(file.getvalue())).load()
        took.append(time.monotonic() - began)

    took = []
    ticking, decoding = threading.Thread(target=tick), threading.Thread(target=decode)
    ticking.start()
    time.sleep(0.05)
    longest[0] = 0.0
    decoding.start()
    decoding.join()
    over.set()
    ticking.join()
    return longest[0] / took[0], took[0]


kinds = [kind for kind in ("PNG", "JPEG", "TIFF", "WEBP", "JPEG2000") if kind != "JPEG2000" or features.check("jpg_2000")]
found = {kind: min(silence(kind) for _ in range(3)) for kind in kinds}
for kind, (share, took) in found.items():
    print(f"{kind}: {took:.2f} s to decode; the other thread stood still for {share:.0%} of it at a stretch")
assert found["JPEG2000"][0] > 0.8
assert found["PNG"][0] < 0.5
END
PYTHONPATH=packages "${PYTHON:-python3}" look.py
