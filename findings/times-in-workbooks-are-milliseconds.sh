#!/usr/bin/env bash
# Times that pandas wrote to a workbook with DataFrame.to_excel come back from read_excel rounded to thousandths of a
# second: a signal of 3 values a second has steps of 333 and 334 ms, so that it has no regular step any more
# (infer_freq: None), and one of 4096 Hz has neighbours at the same time. The file holds enough digits: the serial number
# of the day is exact to about a microsecond. openpyxl rounds in reading, with no word.
#
# Guess before it was run: times come back within 1 microsecond. Missed.
# Versions: pandas 3.1.1, openpyxl 3.1.5.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target packages pandas==3.1.1 openpyxl==3.1.5 2>pip.log ||
  { cat pip.log; exit 2; }
PYTHONPATH=packages "${PYTHON:-python3}" -W ignore - <<'EOF'
import zipfile

import numpy as np
import openpyxl
import pandas as pd

start = pd.Timestamp("2021-01-01")
third = start + pd.to_timedelta(np.round(np.arange(9) / 3 * 1e6), unit="us")
fast = start + pd.to_timedelta(np.round(np.arange(9) / 4096 * 1e6), unit="us")
pd.DataFrame({"third": third, "fast": fast}).to_excel("x.xlsx", index=False)
read = pd.read_excel("x.xlsx")
steps = sorted(set(read["third"].diff().dropna().dt.total_seconds()))
print("steps of a third of a second come back as", steps)
print("of 9 times at 4096 Hz", read["fast"].duplicated().sum(), "repeat one before")
assert steps == [0.333, 0.334]
assert pd.infer_freq(pd.DatetimeIndex(read["third"])) is None
assert read["fast"].duplicated().sum() == 6
sheet = zipfile.ZipFile("x.xlsx").read("xl/worksheets/sheet1.xml").decode()
serials = [float(part.split("</v>")[0]) for part in sheet.split("<v>")[1:] if part.startswith("44197")]
held = [round((serial - 44197) * 86400, 5) for serial in serials[0::2]]
print("the file itself holds", held[:4])
assert np.allclose(held, np.arange(9) / 3, atol=2e-5)
EOF
