#!/usr/bin/env bash
# A label map that went through float (a resampling does that) and is saved by nibabel with set_data_dtype(uint8) is
# not cast: a scale is chosen that spreads its values over the whole range of the type. The labels 0, 1, 2, 3 are stored as 0,
# 85, 170, 255 with a slope of 0.01176, and get_fdata() gives 1.00000002, 2.00000004, 3.00000006: labels == 1 finds no voxel.
# The same map saved as an integer array keeps its labels.
#
# Guess before it was run: whole numbers that fit the type come back exactly. Missed.
# Versions: nibabel 5.4.2, numpy 2.4.6.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target packages nibabel==5.4.2 numpy==2.4.6 2>pip.log ||
  { cat pip.log; exit 2; }
PYTHONPATH=packages "${PYTHON:-python3}" -W ignore - <<'EOF'
import nibabel as nib
import numpy as np

labels = np.arange(16).reshape(2, 2, 4) % 4
image = nib.Nifti1Image(labels.astype(np.float64), np.eye(4))
image.set_data_dtype(np.uint8)
nib.save(image, "float.nii")
read = nib.load("float.nii")
stored, given = np.unique(read.dataobj.get_unscaled()), np.unique(read.get_fdata())
print("stored", stored, "slope", read.dataobj.slope, "given", [f"{value:.9f}" for value in given])
assert stored.tolist() == [0, 85, 170, 255]
assert not (read.get_fdata() == 1).any()
assert np.allclose(given, [0, 1, 2, 3], atol=1e-6)
nib.save(nib.Nifti1Image(labels.astype(np.uint8), np.eye(4)), "whole.nii")
assert np.unique(nib.load("whole.nii").get_fdata()).tolist() == [0, 1, 2, 3]
EOF
