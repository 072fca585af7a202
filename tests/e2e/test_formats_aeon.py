"""The archives of series that aeon ships are read as aeon reads them, where its reader is right."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

from saddlepoint.data.options import Options
from saddlepoint.data.tables.formats import READERS
from saddlepoint.data.tables.ucr import CASE, CLASS, TARGET

pytestmark = pytest.mark.slow

AEON = "aeon==1.6.0"
"""It wants an older pandas than this project is tested with, so it has an environment of its own."""

READ = """
import json, sys
from pathlib import Path
import numpy as np
import aeon.datasets as a

out = Path(sys.argv[1])
root = Path(a.__file__).parent / "data"
found = {}
for path in sorted(root.rglob("*.ts")) + sorted(root.rglob("*.arff")):
    try:
        x, y = (a.load_from_ts_file if path.suffix == ".ts" else a.load_from_arff_file)(str(path))
    except Exception as error:
        print("aeon cannot read", path.name, error)
        continue
    cases = [np.atleast_2d(np.asarray(case, float)) for case in x]
    name = f"{len(found)}.npz"
    np.savez(out / name, *cases)
    found[str(path)] = {"values": name, "labels": [str(label) for label in y]}
for path in sorted(root.rglob("*.tsf")):
    frame, meta = a.load_from_tsf_file(str(path))
    name = f"{len(found)}.npz"
    np.savez(out / name, *[np.atleast_2d(np.array([float(v) for v in row])) for row in frame["series_value"]])
    starts = frame["start_timestamp"].astype(str).tolist() if "start_timestamp" in frame else []
    found[str(path)] = {"values": name, "labels": [], "starts": starts}
(out / "found.json").write_text(json.dumps(found))
"""


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, object]]]:
    """Return what aeon reads of the files that come with it, by path; and where the values are."""
    folder = tmp_path_factory.mktemp("aeon")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", AEON]
    subprocess.run(install, check=True, env=clean, timeout=900)
    subprocess.run([python, "-c", READ, folder], check=True, env=clean, timeout=900, stdout=sys.stderr)
    return folder, json.loads((folder / "found.json").read_text())


def test_archives_are_read_as_aeon_reads_them(read: tuple[Path, dict[str, dict[str, object]]]) -> None:
    folder, found = read
    kinds = {Path(path).suffix for path in found}
    assert kinds == {".ts", ".arff", ".tsf"}
    assert len(found) > 25
    for path, kept in found.items():
        with np.load(folder / str(kept["values"])) as arrays:
            cases = [arrays[name] for name in arrays.files]
        frame = READERS[Path(path).suffix](Path(path), Options())
        data = frame.data
        if frame.group is None:  # a flat .arff has a row for each series
            assert frame.label is not None
            assert np.array_equal(data.drop(columns=frame.label).to_numpy(float), np.concatenate(cases)), path
            assert data[frame.label].tolist() == kept["labels"], path
            continue
        groups = [rows for _, rows in data.groupby(CASE, sort=False)]
        assert len(groups) == len(cases), path
        columns = [name for name in data.columns if name == "x" or (name[0] == "x" and name[1:].isdigit())]
        for rows, case in zip(groups, cases, strict=True):
            assert np.array_equal(rows[columns].to_numpy(float).T, case, equal_nan=True), path
        labels = list(kept["labels"])  # type: ignore[call-overload]
        name = CLASS if CLASS in data else TARGET if TARGET in data else ""
        if name == CLASS:  # aeon turns them into small letters
            own = [str(rows[CLASS].iloc[0]).lower() for rows in groups]
            assert own == [str(label).lower() for label in labels], path
        elif name == TARGET:
            assert np.array_equal([rows[TARGET].iloc[0] for rows in groups], np.array(labels, float)), path
        else:
            assert labels == [], path
        if kept.get("starts") and frame.time:
            starts = np.array([rows[frame.time].to_numpy()[0] for rows in groups])
            assert np.array_equal(starts, np.array(kept["starts"], starts.dtype)), path
