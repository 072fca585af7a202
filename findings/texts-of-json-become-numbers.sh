#!/usr/bin/env bash
# JSON says what is text: {"file_name": "0001.png", "label": "01"}. pandas.read_json (also with lines=True, the layout of
# metadata.jsonl) makes numbers of texts that look like them: the label "01" becomes 1, the id "007" becomes 7, the
# year "1565" of the data set wheat of vega_datasets the number 1565, and the text "1e5" becomes 100000.0. Two classes
# "1" and "01" become one. dtype=False keeps them.
#
# Guess before it was run: texts of JSON stay texts. Missed.
# Versions: pandas 3.1.1, vega_datasets 0.9.0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target packages pandas==3.1.1 vega_datasets==0.9.0 2>pip.log ||
  { cat pip.log; exit 2; }
PYTHONPATH=packages "${PYTHON:-python3}" -W ignore - <<'EOF'
import io
import json
from pathlib import Path

import pandas as pd
import vega_datasets

lines = '{"file_name": "0001.png", "label": "01", "id": "007"}\n{"file_name": "0002.png", "label": "1", "id": "1e5"}\n'
read = pd.read_json(io.StringIO(lines), lines=True)
print(lines, "is read as", read.to_string(index=False), sep="\n")
assert read["label"].tolist() == [1, 1]
assert read["id"].tolist() == [7.0, 100000.0]
kept = pd.read_json(io.StringIO(lines), lines=True, dtype=False)
assert kept["label"].tolist() == ["01", "1"]
path = Path(vega_datasets.__file__).parent / "_data" / "wheat.json"
first = json.loads(path.read_text())[0]["year"]
print(f"wheat.json: the year is {first!r} in the file, {vega_datasets.data.wheat()['year'][0]!r} in the frame")
assert first == "1565"
assert vega_datasets.data.wheat()["year"][0] == 1565
EOF
