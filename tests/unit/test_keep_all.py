"""Few pictures: what is set aside is said, all can be kept, and what that costs is said where figures stand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from saddlepoint import evaluation as ev
from saddlepoint.data import load_dataset


def _folder(path: Path, count: int) -> str:
    path.mkdir()
    rng = np.random.default_rng(0)
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path / f"{i:03d}.png")
    return str(path)


def _said(findings: tuple[object, ...]) -> str:
    return "\n".join(str(getattr(finding, "says", finding)) for finding in findings)


def test_few_rows_are_said_with_the_way_to_keep_all(tmp_path: Path) -> None:
    five = load_dataset(_folder(tmp_path / "five", 5))
    assert {name: len(split) for name, split in five.splits.items()} == {"train": 3, "valid": 1, "test": 1}
    said = _said(five.findings)
    assert "1 row for valid and 1 row for test were set aside from 5" in said
    assert "only 3 remain to train on (--splits all trains on all" in said
    many = load_dataset(_folder(tmp_path / "many", 130))
    assert len(many.splits["train"]) == 104
    assert "remain to train on" not in _said(many.findings)


def test_all_are_kept_and_no_figure_claims_to_see_copies(tmp_path: Path) -> None:
    data = load_dataset(_folder(tmp_path / "fifty", 50), splits="all")
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 50, "valid": 5, "test": 5}
    assert "all 50 rows are trained on" in _said(data.findings)
    assert {row.tobytes() for row in data.splits["test"].x} <= {row.tobytes() for row in data.splits["train"].x}
    x = torch.from_numpy(np.array(data.splits["train"].x)).float() / 127.5 - 1
    bench = ev.sets.Bench(ev.Subject("generator", lambda n, seed: x[:n]), data, 0)
    assert "training rows too" in ev.get_protocol("memorisation").unfit(bench)
    report = ev.evaluate(lambda n, seed: x[:n], data, ["fd"])
    assert any("test rows are training rows too" in sentence for sentence in report.limits)
    held = load_dataset(str(tmp_path / "fifty"))
    assert not ev.get_protocol("memorisation").unfit(ev.sets.Bench(bench.subject, held, 0))
