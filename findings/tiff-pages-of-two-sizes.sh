#!/usr/bin/env bash
# tifffile.imread gives the first series of a TIFF. Pages of one size that tifffile wrote one by one are series of their
# own: of a file of four pages imread gives one picture (8, 8). A file of four pages that Pillow wrote, of which the third
# has another size, gives (3, 8, 8): the other one is left out. No error and no warning; Pillow counts 4 in both.
# TiffFile(...).series lists what there is.
#
# Guess before it was run: all pages in a list, or an error. Missed.
# Versions: tifffile 2026.3.3, Pillow 13.0.0, numpy 2.4.6.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target packages tifffile==2026.3.3 pillow==13.0.0 numpy==2.4.6 2>pip.log ||
  { cat pip.log; exit 2; }
PYTHONPATH=packages "${PYTHON:-python3}" -W ignore - <<'EOF'
import numpy as np
import tifffile
from PIL import Image

SIDES = (8, 8, 16, 8)
with tifffile.TiffWriter("one-by-one.tif") as file:
    for side in SIDES:
        file.write(np.full((side, side), side, np.uint8), contiguous=False)
first, *more = (Image.fromarray(np.full((side, side), side, np.uint8)) for side in SIDES)
first.save("pillow.tif", save_all=True, append_images=more)
for name, shape in (("one-by-one.tif", (8, 8)), ("pillow.tif", (3, 8, 8))):
    with tifffile.TiffFile(name) as file, Image.open(name) as image:
        series = [one.shape for one in file.series]
        print(f"{name}: {image.n_frames} pages, imread gives {tifffile.imread(name).shape}, series {series}")
        assert image.n_frames == len(file.pages) == 4
        assert tifffile.imread(name).shape == shape
EOF
