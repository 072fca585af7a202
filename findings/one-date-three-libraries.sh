#!/usr/bin/env bash
# The same CSV of dates, read with each library's own recognition of dates: pandas takes 01/02/2021 for 2 January, polars
# and DuckDB for 1 February, pyarrow for text. With two digits of the year (01/02/21) the three that read it find the
# years 2021, 21 and 2001. None of them says a word.
#
# Guess before it was run: all take the month first, as pandas does, or leave text. Missed.
# Versions: pandas 3.1.1, polars 2.1.0, duckdb 2.0.1, pyarrow 26.0.1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target packages pandas==3.1.1 polars==2.1.0 duckdb==2.0.1 pyarrow==26.0.1 2>pip.log ||
  { cat pip.log; exit 2; }
PYTHONPATH=packages "${PYTHON:-python3}" -W ignore - <<'EOF'
import datetime as dt

import duckdb
import pandas as pd
import polars as pl
import pyarrow.csv


def first(name, form):
    days = [dt.date(2021, 2, day) for day in range(1, 10)]
    with open(name, "w") as file:
        file.writelines(["date,value\n", *(f"{day.strftime(form)},{day.day}\n" for day in days)])
    found = {
        "pandas": pd.read_csv(name, parse_dates=["date"])["date"][0].date(),
        "polars": pl.read_csv(name, try_parse_dates=True)["date"][0],
        "duckdb": duckdb.sql(f"select date from '{name}' limit 1").fetchall()[0][0],
        "pyarrow": pyarrow.csv.read_csv(name)["date"][0].as_py(),
    }
    print(f"1 February 2021 as {days[0].strftime(form)}:", *(f"{who} {what}" for who, what in found.items()), sep="\n  ")
    return found


long = first("long.csv", "%d/%m/%Y")
assert long["pandas"] == dt.date(2021, 1, 2)
assert long["polars"] == long["duckdb"] == dt.date(2021, 2, 1)
assert long["pyarrow"] == "01/02/2021"
short = first("short.csv", "%d/%m/%y")
assert short["pandas"] == dt.date(2021, 1, 2)
assert short["polars"] == dt.date(21, 2, 1)
assert short["duckdb"] == dt.date(2001, 2, 21)
EOF
