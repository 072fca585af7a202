#!/usr/bin/env bash
# pandas.read_csv(sep=None, engine="python") finds the separator itself, by csv.Sniffer of Python, on the first line.
# - A table of one column called "time" is split at the letter t: columns "" and "ime", the times in the first.
# - Without a first line of names, 2021-01-01 10:00;1,5 is split at the decimal comma.
# - A file with a byte order mark keeps it in the first name (danish_data of statsmodels: "period" is not found), while
#   sep="," takes it off.
# No error and no warning in any of them.
#
# Guess before it was run: the semicolon is found, and one column stays one. Missed.
# Versions: pandas 3.1.1, Python 3.11.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target packages pandas==3.1.1 2>pip.log ||
  { cat pip.log; exit 2; }
PYTHONPATH=packages "${PYTHON:-python3}" -W ignore - <<'EOF'
import io

import pandas as pd


def sniffed(text, **how):
    read = pd.read_csv(io.BytesIO(text.encode()), sep=None, engine="python", **how)
    print(repr(text[:40]), "is read as", read.head(2).to_string(index=False), sep="\n")
    return read


one = sniffed("time\n" + "".join(f"2021-01-01 1{hour}:00\n" for hour in range(9)))
assert [str(name) for name in one.columns] == ["Unnamed: 0", "ime"]
assert one["ime"].isna().all()
comma = sniffed("".join(f"2021-01-01 1{hour}:00;1,{hour}\n" for hour in range(9)), header=None)
assert comma.iloc[3].tolist() == ["2021-01-01 13:00;1", 3]
mark = sniffed("\ufeffperiod,lrm\n1974Q1,11.6\n1974Q2,11.7\n")
assert "period" not in mark
assert "period" in pd.read_csv(io.BytesIO("\ufeffperiod,lrm\n1974Q1,11.6\n".encode()), sep=",")
EOF
