"""What is known of the real rows alone is computed once, kept, and computed again where a file is damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import saddlepoint.evaluation as ev
from saddlepoint.data.dataset import Dataset, Split
from saddlepoint.evaluation import real_rows
from saddlepoint.metrics.bootstrap import Estimate
from saddlepoint.metrics.manifold import Known, manifold


def _vectors(seed: int, n: int, spread: float = 1.0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(n, 3)) * spread).astype(np.float32)


DATA = Dataset(
    "clouds", "vector",
    {"train": Split(_vectors(0, 120)), "valid": Split(_vectors(1, 40)), "test": Split(_vectors(2, 60))}, (), "cd" * 32,
)  # fmt: skip


def _measured(cache: Path | None, spread: float) -> ev.Report:
    samples = torch.from_numpy(_vectors(3, 60, spread))
    return ev.evaluate(lambda n, seed: samples[:n], DATA, ["kd", "prdc"], cache_dir=cache)


def _figures(report: ev.Report) -> list[tuple[str, float]]:
    return [(row.row, row.value) for row in report.rows]


def test_figures_are_the_same_with_and_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = _figures(_measured(None, 1.2))
    assert _figures(_measured(tmp_path, 1.2)) == alone
    known: list[list[str]] = []

    def watched(real: np.ndarray, fake: np.ndarray, *, known_now: Known | None = None) -> dict[str, Estimate]:
        known.append(sorted(known_now or {}))
        return manifold(real, fake, known=known_now)

    def refused(rows: np.ndarray) -> None:
        raise AssertionError("sums within the real rows are there")

    monkeypatch.setattr(real_rows, "sums_within", refused)
    monkeypatch.setattr(real_rows, "manifold", lambda real, fake, known: watched(real, fake, known_now=known))
    # Other samples of the same data, control rows kept.
    other = _figures(_measured(tmp_path, 0.8))
    assert known == [["all/5"]]
    monkeypatch.undo()
    assert other == _figures(_measured(None, 0.8))


@pytest.mark.parametrize("damage", ["cut", "another shape", "a part missing"])
def test_damaged_files_are_made_again(damage: str, tmp_path: Path) -> None:
    expected = _figures(_measured(tmp_path, 1.2))
    kept = sorted((tmp_path / "features").glob("*.npz"))
    assert kept
    for path in kept:
        if damage == "cut":
            path.write_bytes(path.read_bytes()[:100])
            continue
        arrays = dict(np.load(path))
        name = sorted(arrays)[0]
        if damage == "a part missing":
            del arrays[name]
        else:
            arrays = {key: table[..., :1] if table.ndim else table for key, table in arrays.items()}
        np.savez(path, **arrays)
    for path in tmp_path.glob("*.json"):
        path.unlink()
    assert _figures(_measured(tmp_path, 1.2)) == expected
