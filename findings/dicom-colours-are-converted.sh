#!/usr/bin/env bash
# Dataset.pixel_array of pydicom was the values as they are stored. In pydicom 3 a picture stored as YBR_FULL comes back
# converted to RGB, while the data set still says YBR_FULL: who converts by that word converts twice. The values as stored
# come from pydicom.pixels.pixel_array(..., raw=True). Grey values are still left alone: MONOCHROME1 is not inverted.
#
# Guess before it was run: the values as stored. Missed.
# Versions: pydicom 3.0.2, numpy 2.4.6.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target packages pydicom==3.0.2 numpy==2.4.6 2>pip.log ||
  { cat pip.log; exit 2; }
PYTHONPATH=packages "${PYTHON:-python3}" -W ignore - <<'EOF'
import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import convert_color_space, pixel_array
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid


def write(name, kind, values):
    picture = Dataset()
    picture.file_meta = FileMetaDataset()
    picture.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    picture.SOPClassUID = SecondaryCaptureImageStorage
    picture.SOPInstanceUID = generate_uid()
    picture.Rows, picture.Columns = values.shape[:2]
    picture.SamplesPerPixel = 3 if values.ndim == 3 else 1
    if values.ndim == 3:
        picture.PlanarConfiguration = 0
    picture.PhotometricInterpretation = kind
    picture.BitsAllocated = picture.BitsStored = 8
    picture.HighBit, picture.PixelRepresentation = 7, 0
    picture.PixelData = values.tobytes()
    picture.save_as(name, enforce_file_format=True)
    return dcmread(name)


stored = np.full((4, 4, 3), [100, 100, 200], np.uint8)
picture = write("colour.dcm", "YBR_FULL", stored)
print("stored", stored[0, 0], "pixel_array", picture.pixel_array[0, 0], "still called", picture.PhotometricInterpretation)
assert np.array_equal(picture.pixel_array, convert_color_space(stored, "YBR_FULL", "RGB"))
assert not np.array_equal(picture.pixel_array, stored)
assert picture.PhotometricInterpretation == "YBR_FULL"
assert np.array_equal(pixel_array("colour.dcm", raw=True), stored)
grey = np.arange(16, dtype=np.uint8).reshape(4, 4)
assert np.array_equal(write("grey.dcm", "MONOCHROME1", grey).pixel_array, grey)
EOF
