#!/usr/bin/env bash
# dayfirst=True is for 01.02.2016, and harmless for ISO dates, which leave nothing open: so one thinks. pandas.to_datetime
# reads 2016-02-03 as 2 March with it. The twelve months of a year become twelve days of January, with a regular step, and
# no word is said; a series that has a day after the 12th first is read rightly, with a warning.
#
# Found beside a guess about other dates, which held; that ISO dates are touched was not expected.
# Versions: pandas 3.1.1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target packages pandas==3.1.1 2>pip.log ||
  { cat pip.log; exit 2; }
PYTHONPATH=packages "${PYTHON:-python3}" -W ignore - <<'EOF'
import pandas as pd

months = [f"2016-{month:02d}-01" for month in range(1, 13)]
read = pd.to_datetime(months, dayfirst=True)
print(*months[:3], "are read as", *read[:3].date, "with the step", read[1] - read[0])
assert [str(day) for day in read.date] == [f"2016-01-{month:02d}" for month in range(1, 13)]
assert str(pd.to_datetime("2016-02-03", dayfirst=True).date()) == "2016-03-02"
assert str(pd.to_datetime("2016-02-03T00:00:00Z", dayfirst=True).date()) == "2016-03-02"
days = pd.to_datetime(["2016-02-13", "2016-02-03"], dayfirst=True)
assert [str(day) for day in days.date] == ["2016-02-13", "2016-02-03"]
assert pd.to_datetime(months, dayfirst=True, format="ISO8601").month.tolist() == list(range(1, 13))
EOF
