"""The pairs that are shown as the closest: by features, unless pixels alone show copies. Pages and studio agree."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from saddlepoint import evaluation
from saddlepoint.run.run import Run
from saddlepoint.run.samples import memorised
from saddlepoint.run.samples.neighbours import Neighbours

TRAIN = np.arange(6, dtype=np.uint8)[:, None, None, None].repeat(8, 2).repeat(8, 3) * 20


def result(protocol: str, pairs: list[list[float]], copying: bool = False, seed: int = 3) -> Any:
    details = {"pairs": pairs, "copying": copying}
    return SimpleNamespace(protocol=protocol, seed=seed, rows=[SimpleNamespace(role="model", details=details)])


@pytest.mark.parametrize(
    ("measured", "pair"),
    [
        ([result("memorisation1k_test", [[2, 4, 0.5]])], [2, 4, 0.5]),
        (
            [
                result("feature-copies1k_i_test", [[1, 5, 7.0]]),
                result("memorisation1k_test", [[2, 4, 0.5]]),
            ],
            [1, 5, 7.0],
        ),
        (  # pixels see copies that features do not
            [
                result("feature-copies1k_i_test", [[1, 5, 7.0]], seed=4),
                result("memorisation1k_test", [[2, 4, 0.5]], copying=True),
            ],
            [2, 4, 0.5],
        ),
        (
            [
                result("memorisation1k_test", [[2, 4, 0.5]], copying=True, seed=4),
                result("feature-copies1k_i_test", [[1, 5, 7.0]], copying=True),
            ],
            [1, 5, 7.0],
        ),
        (  # the latest of a kind
            [result("memorisation1k_test", [[0, 1, 0.2]], seed=4), result("memorisation1k_test", [[2, 4, 0.5]])],
            [2, 4, 0.5],
        ),
    ],
)
def test_pairs_are_those_of_features_unless_only_pixels_show_copies(
    measured: list[Any], pair: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "read_results", lambda path: measured)
    monkeypatch.setattr(memorised, "in_bytes", lambda run: TRAIN)
    drawn: list[int] = []

    def sample(n: int, *, seed: int) -> torch.Tensor:
        drawn.append(seed)
        return torch.from_numpy(TRAIN[:n] / 127.5 - 1).float()

    run: Run = SimpleNamespace(path=tmp_path, sample=sample)  # type: ignore[assignment]
    picture, distances = memorised.copies(run)
    assert (distances, drawn) == (pair[2:], [3])
    assert {20 * int(pair[0]), 20 * int(pair[1])} <= set(np.asarray(picture.convert("L")).ravel().tolist())


class Means:
    """Features of pictures: their mean."""

    name = "means"

    def extract(self, images: np.ndarray) -> SimpleNamespace:
        return SimpleNamespace(x=images.reshape(len(images), -1).mean(1, keepdims=True).astype(np.float32))


def test_the_nearest_training_picture_is_that_by_features_or_by_pixels() -> None:
    rng = np.random.default_rng(0)
    train = rng.integers(0, 256, (40, 1, 8, 8), dtype=np.uint8)
    images = rng.integers(0, 256, (6, 1, 8, 8), dtype=np.uint8)
    run: Run = SimpleNamespace()  # type: ignore[assignment]
    flat = [x.reshape(len(x), -1).astype(float) for x in (images, train)]
    by_pixels = ((flat[0][:, None] - flat[1]) ** 2).sum(2).argmin(1)
    by_means = np.abs(flat[0].mean(1)[:, None] - flat[1].mean(1)).argmin(1)
    assert by_pixels.tolist() != by_means.tolist()
    for extractor, wanted, words in ((None, by_pixels, "pixels"), (Means(), by_means, "features of means")):
        found = Neighbours(run)
        features = None if extractor is None else extractor.extract(train).x
        vars(found).update(extractor=extractor, _train=train, _features=features)
        assert found.look(images).tolist() == wanted.tolist()
        assert found.told_by == words
