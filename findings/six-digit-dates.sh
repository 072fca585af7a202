#!/usr/bin/env bash
# Dates as 210301, year first, are read by pandas.to_datetime as long as the two digits of the year can be no day: 800102
# is 2 January 1980, as in the data set Garch of R's Ecdat. From 2001 on they can: the first days of March 2021, 210301,
# 210302, ... become 21 March of 2001, 2002, ...: days turn into years, with nothing but the warning that no form was found.
# format="%y%m%d" reads both. Two digits are completed differently as well: 1/1/70 is 2070, but 1970 with a format.
#
# Guess before it was run: 210304 is 4 March 2021. Missed.
# Versions: pandas 3.1.1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target packages pandas==3.1.1 2>pip.log ||
  { cat pip.log; exit 2; }
PYTHONPATH=packages "${PYTHON:-python3}" -W ignore - <<'EOF'
import pandas as pd

old = pd.to_datetime(["800102", "800103", "800131"])
print("800102, 800103, 800131:", *old.date)
assert [str(day) for day in old.date] == ["1980-01-02", "1980-01-03", "1980-01-31"]
texts = [f"2103{day:02d}" for day in (1, 2, 3, 31)]
new = pd.to_datetime(texts)
print(", ".join(texts) + ":", *new.date)
assert [str(day) for day in new.date] == ["2001-03-21", "2002-03-21", "2003-03-21", "2031-03-21"]
right = pd.to_datetime(texts, format="%y%m%d")
assert [str(day) for day in right.date] == ["2021-03-01", "2021-03-02", "2021-03-03", "2021-03-31"]
assert pd.to_datetime("1/1/70").year == 2070
assert pd.to_datetime("1/1/70", format="%d/%m/%y").year == 1970
EOF
