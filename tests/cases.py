"""Small inputs as people bring them: kinds found in public reports and data sets, each of which was misread once."""

from __future__ import annotations

import datetime as dt
import io
import json
import math
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

CASES = (
    "ddmmyy.csv",
    "dd-mm-yyyy.csv",
    "no-header.csv",
    "unix.csv",
    "unix-three-assets.csv",
    "date-and-time.csv",
    "sentinel.csv",
    "shards.zip",
    "flat-test",
    "twelve-bits",
    "pages",
    "windows.npy",
)


def make_cases(folder: Path) -> None:
    """Write all cases into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    _tables(folder)
    _images(folder, np.random.default_rng(0))


def _tables(folder: Path) -> None:
    _days(folder / "ddmmyy.csv", "%d/%m/%y")
    _days(folder / "dd-mm-yyyy.csv", "%d-%m-%Y")
    _days(folder / "no-header.csv", "%Y-%m-%d", header=False)
    start = 1_514_764_800
    rows = [f"{start + 60 * i},{100 + math.sin(i / 7):.2f}" for i in range(600)]
    _lines(folder / "unix.csv", ["Timestamp,Open", *rows])
    rows = [f"{start + 60 * i},{a},{100 * (a + 1) + math.sin(i / 7):.2f}" for i in range(600) for a in range(3)]
    _lines(folder / "unix-three-assets.csv", ["Timestamp,Asset_ID,Open", *rows])
    times = [dt.datetime(2006, 12, 16, 17, 24) + dt.timedelta(minutes=i) for i in range(4000)]
    rows = [f"{t.day}/{t.month}/{t.year};{t:%H:%M:%S};{240 + i % 7 / 10};;" for i, t in enumerate(times)]
    _lines(folder / "date-and-time.csv", ["Date;Time;Voltage;;", *rows])
    times = [dt.datetime(2004, 3, 10) + dt.timedelta(hours=i) for i in range(800)]
    values = [-200 if i % 9 == 4 else round(2.6 + math.sin(i / 12), 1) for i in range(800)]
    rows = [f"{t:%Y-%m-%d %H:%M},{value}" for t, value in zip(times, values, strict=True)]
    _lines(folder / "sentinel.csv", ["time,CO", *rows])


def _days(path: Path, form: str, *, header: bool = True) -> None:
    days = [dt.date(2016, 3, 1) + dt.timedelta(i) for i in range(600)]
    rows = [f"{day.strftime(form)},{100 + 10 * math.sin(i / 30):.2f},{i}" for i, day in enumerate(days)]
    _lines(path, [*(["Date,Close,Index"] if header else []), *rows])


def _lines(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n")


def _images(folder: Path, rng: np.random.Generator) -> None:
    with zipfile.ZipFile(folder / "shards.zip", "w") as archive:
        for i in range(1100):
            archive.writestr(f"{i // 1000:05d}/img{i:08d}.png", _png(rng))
        archive.writestr("dataset.json", json.dumps({"labels": None}))
    for name in ("train/low", "train/med", "train/high"):
        for i in range(15):
            _picture(folder / "flat-test" / name / f"{i}.png", rng.integers(0, 256, (32, 32, 3), np.uint8))
    for i in range(6):
        _picture(folder / "flat-test" / "test" / f"{i}.png", rng.integers(0, 256, (32, 32, 3), np.uint8))
    for i in range(30):
        _picture(folder / "twelve-bits" / f"{i}.png", rng.integers(0, 4096, (32, 32), np.uint16))
    for i in range(8):
        _picture(folder / "pages" / f"{i}.tif", *(rng.integers(0, 256, (32, 32), np.uint8) for _ in range(6)))
    np.save(folder / "windows.npy", rng.random((300, 24, 5), dtype=np.float32))


def _png(rng: np.random.Generator) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)).save(buffer, "png")
    return buffer.getvalue()


def _picture(path: Path, first: np.ndarray, *pages: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    more = {"save_all": True, "append_images": [Image.fromarray(page) for page in pages]} if pages else {}
    Image.fromarray(first).save(path, **more)
