"""What the doctor holds samples against: held-out rows, unless they are other than what a generator was shown."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from saddlepoint.data import Dataset
from saddlepoint.data.dataset import Split
from saddlepoint.engine.doctor.diagnostics import Evaluator
from saddlepoint.engine.doctor.reference import Cloud, drifts, repeats


def rows(seed: int, n: int, width: int = 3, shift: float = 0.0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(shift, 1.0, (n, width))).float()


@pytest.mark.parametrize("seed", range(8))
def test_more_rows_of_the_same_do_not_drift_and_those_of_another_mean_do(seed: int) -> None:
    training = rows(seed, 512)
    assert not drifts(Cloud.of(rows(seed + 100, 100)), training)
    assert not drifts(Cloud.of(rows(seed + 100, 512, shift=0.05)), training)
    assert drifts(Cloud.of(rows(seed + 100, 100, shift=1.0)), training)


def test_the_energy_distance_is_that_of_the_closed_form() -> None:
    """Of N(0, 1) and N(m, 1): 2 E|x - y| - 2 E|x - x'|, with E|N(m, 2)| in closed form; a share of E|x - x'|."""
    m = 1.5
    same = 2 / np.sqrt(np.pi)
    cross = 2 * np.exp(-(m**2) / 4) / np.sqrt(np.pi) + m * (1 - 2 * _normal_tail(m / np.sqrt(2)))
    found, error = Cloud.of(rows(0, 4000, 1)).energy(rows(1, 4000, 1, shift=m))
    assert abs(found - 2 * (cross - same) / same) < 4 * error


def _normal_tail(x: float) -> float:
    from scipy.stats import norm

    return float(norm.sf(x))


def test_most_rows_are_copies_or_are_not() -> None:
    few = rows(0, 20)
    assert repeats(few.repeat(10, 1))
    assert not repeats(torch.cat([few, few[:9]]))


def _images(train: np.ndarray) -> Dataset:
    held_out = np.random.default_rng(5).integers(0, 256, (300, 1, 8, 8), dtype=np.uint8)
    return Dataset("noise", "image", {"train": Split(train), "valid": Split(held_out)}, (), "0")


def test_a_few_pictures_told_again_and_again_are_no_reference() -> None:
    """A generator of them lacks nearly all of the data: held against themselves, it would lack nothing."""
    different = np.random.default_rng(6).integers(0, 256, (400, 1, 8, 8), dtype=np.uint8)
    few = np.tile(different[:4], (100, 1, 1, 1))
    assert not Evaluator(_images(different), 0, "cpu").drifts
    evaluator = Evaluator(_images(few), 0, "cpu")
    assert not evaluator.drifts
    assert evaluator.held_out_rows is not None
    # Rows that are all different and of another brightness are what the generator is to learn.
    assert Evaluator(_images(different // 4), 0, "cpu").drifts


def test_windows_of_another_time_are_no_reference() -> None:
    time = np.random.default_rng(7).normal(size=(400, 12, 2)).astype(np.float32)
    for shift, drifted in ((0.0, False), (3.0, True)):
        later = np.random.default_rng(8).normal(shift, 1.0, (200, 12, 2)).astype(np.float32)
        dataset = Dataset("walk", "sequence", {"train": Split(time), "valid": Split(later)}, (), "0")
        evaluator = Evaluator(dataset, 0, "cpu")
        assert evaluator.drifts is drifted
        assert (evaluator.held_out_rows is None) is drifted
