#!/usr/bin/env bash
# A zarr array of format 2 has fill_value 0 unless told otherwise. xarray takes a format-2 fill value for the mark of
# missing values: every 0 that was stored comes back as NaN, and whole numbers as float64. The same array in format 3
# (fill_value 0 as well) comes back as it was. So rain of format 2 has no dry day, with no word; mask_and_scale=False
# gives the zeros back.
#
# Guess before it was run: zeros are zeros in both formats. Missed.
# Versions: xarray 2026.9.0, zarr 3.1.6.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target packages xarray==2026.9.0 zarr==3.1.6 2>pip.log ||
  { cat pip.log; exit 2; }
PYTHONPATH=packages "${PYTHON:-python3}" -W ignore - <<'EOF'
import numpy as np
import xarray as xr
import zarr

RAIN = np.array([0, 3, 0, 0, 7], dtype=np.int32)
for form in (2, 3):
    group = zarr.open_group(f"rain{form}", mode="w", zarr_format=form)
    named = {"dimension_names": ("time",)} if form == 3 else {}
    array = group.create_array("rain", shape=RAIN.shape, dtype=RAIN.dtype, **named)
    if form == 2:
        array.attrs["_ARRAY_DIMENSIONS"] = ["time"]
    array[:] = RAIN
    read = xr.open_zarr(f"rain{form}", consolidated=False)["rain"]
    plain = xr.open_zarr(f"rain{form}", consolidated=False, mask_and_scale=False)["rain"]
    print(f"format {form}: zarr says {group['rain'][:]}, fill value {array.fill_value}; xarray says {read.values}")
    assert np.array_equal(group["rain"][:], RAIN)
    assert array.fill_value == 0
    assert np.array_equal(plain.values, RAIN)
    if form == 2:
        assert read.dtype == np.float64
        assert np.array_equal(np.isnan(read.values), RAIN == 0)
    else:
        assert np.array_equal(read.values, RAIN)
EOF
