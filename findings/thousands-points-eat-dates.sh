#!/usr/bin/env bash
# pandas.read_csv(sep=";", decimal=",", thousands=".") is how a German CSV is read: 1.234,5 is 1234.5. The option takes
# the points out of every column: the dates 01.02.2020, 02.02.2020 come back as the whole numbers 1022020, 2022020, and
# a column written 1.5, 2.25 as 15 and 225; no error, no warning. With parse_dates the dates stay whole, but are read
# month first (2 January), unless dayfirst is given too.
#
# Guess before it was run: a column of dates stays text. Missed.
# Versions: pandas 3.1.1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target packages pandas==3.1.1 2>pip.log ||
  { cat pip.log; exit 2; }
PYTHONPATH=packages "${PYTHON:-python3}" -W ignore - <<'EOF'
import io

import pandas as pd

TEXT = "datum;wert;alt\n01.02.2020;1.234,5;1.5\n02.02.2020;2.345,5;2.25\n"
how = {"sep": ";", "decimal": ",", "thousands": "."}
table = pd.read_csv(io.StringIO(TEXT), **how)
print(TEXT, "is read as", table.to_string(index=False), sep="\n")
assert table["datum"].tolist() == [1022020, 2022020]
assert table["wert"].tolist() == [1234.5, 2345.5]
assert table["alt"].tolist() == [15, 225]
parsed = pd.read_csv(io.StringIO(TEXT), parse_dates=["datum"], **how)["datum"][0]
print("with parse_dates the first date is", parsed.date())
assert (parsed.month, parsed.day) == (1, 2)
right = pd.read_csv(io.StringIO(TEXT), parse_dates=["datum"], dayfirst=True, **how)["datum"][0]
assert (right.month, right.day) == (2, 1)
EOF
