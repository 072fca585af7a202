"""The verdict weighs all figures: planted samples that are far, narrow, copied, collapsed, and as good as real rows."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from saddlepoint import evaluation as ev
from saddlepoint.data.dataset import Dataset, Split
from saddlepoint.evaluation.measurements import distribution, divergence, series
from saddlepoint.evaluation.report.judgement import STANDINGS, judge, likeness_of
from saddlepoint.evaluation.report.page import STANDING, Training, write_page

ROWS, WIDTH = 400, 6
WEIGHED = ("fd", "kd", "prdc", "memorisation")


def _normal(seed: int, n: int = ROWS) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, WIDTH)).astype(np.float32)


def _jittered(rows: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    chosen = rows[rng.integers(0, len(rows), ROWS)]
    return (chosen + rng.normal(0, 1e-4, chosen.shape)).astype(np.float32)


DATA = Dataset(
    "cloud",
    "vector",
    {"train": Split(_normal(0, 800)), "valid": Split(_normal(1)), "test": Split(_normal(2))},
    (),
    "ab",
)

PLANTED: dict[str, tuple[Callable[[], np.ndarray], str, tuple[str, ...]]] = {
    "all fine": (lambda: _normal(3), "near", ("close to real vectors", "nearly all of the variety", "no sign")),
    "far": (lambda: _normal(3) + 3, "far", ("far from real vectors", "Fréchet distance 5")),
    "different": (lambda: _normal(3) + 0.35, "different", ("different from real vectors",)),
    "narrow": (lambda: _jittered(_normal(4, 90), 5), "narrow", ("a part of the variety (recall",)),
    "copies": (lambda: _jittered(DATA.splits["train"].x, 5), "copies", ("some are copies of training data",)),
    "collapsed": (lambda: _jittered(_normal(4, 1), 5), "far", ("far from real vectors", "little of the variety")),
}


def test_of_fewer_rows_than_features_no_frechet_distance_says_near() -> None:
    def rows(seed: int, n: int = 60) -> np.ndarray:
        return np.random.default_rng(seed).normal(size=(n, 100)).astype(np.float32)

    splits = {name: Split(rows(seed)) for seed, name in enumerate(("train", "valid", "test"))}
    data = Dataset("wide cloud", "vector", splits, (), "wide")
    # What varies less than the data has a smaller raw figure than the data's own rows.
    dull, far = (torch.from_numpy(x) for x in (0.7 * rows(3), rows(3) + 1))
    found = {name: ev.evaluate(lambda n, seed, x=x: x[:n], data, ["fd"]) for name, x in (("dull", dull), ("far", far))}
    model, held_out = (found["dull"].find("fd", None, name) for name in (None, "held-out vectors"))
    assert model is not None
    assert held_out is not None
    assert model.value < held_out.value
    assert found["dull"].standing == "unknown"
    assert found["far"].standing == "far"


@pytest.mark.parametrize("name", PLANTED)
def test_planted_samples_get_their_verdict(name: str) -> None:
    make, standing, words = PLANTED[name]
    x = torch.from_numpy(make())
    report = ev.evaluate(lambda n, seed: x[:n], DATA, WEIGHED)
    assert report.standing == standing, report.verdict
    for word in words:
        assert word in report.verdict


def _report(*results: ev.Result) -> ev.Report:
    return ev.Report(results, "generator", "")


def _result(protocol: str, *rows: ev.Row) -> ev.Result:
    metrics = tuple(ev.Metric(name, "lower", digits=3) for name in dict.fromkeys(row.metric for row in rows))
    return ev.Result(protocol, "", metrics, rows, "", "faces", "ab", 0)


def _frechet(model: float, held_out: float, blurs: float, features: str = "mnist-lenet") -> ev.Result:
    name, n = distribution.FRECHET.name, {"n": 500}
    return _result(
        f"fd500_{features}_test",
        ev.Row(name, "generator", model, details={**n, "spread": 900.0}),
        *(ev.Row(name, row, value, role="control", details=n)
          for row, value in (("held-out images", held_out), ("k-means centroids", blurs))),
    )  # fmt: skip


def _recall(model: float, held_out: float = 0.8) -> ev.Result:
    pairs = [("precision", 0.8, 0.8), ("recall", model, held_out)]
    return _result(
        "prdc500_pixels_test",
        *(ev.Row(name, row, value, role="model" if row == "generator" else "control", details={"n": 500})
          for name, own, real in pairs for row, value in (("generator", own), ("held-out images", real))),
    )  # fmt: skip


def test_a_distance_of_304_is_not_outweighed_by_recall() -> None:
    found = judge(_report(_frechet(304.0, 12.0, 160.0), _recall(0.78)), "held-out images")
    assert found.standing == "far"
    assert found.parts[0].startswith(
        "the samples are far from real images (Fréchet distance 304.0, held-out images 12.00)"
    )
    assert "nearly all of the variety" in found.parts[1]


def test_by_plain_pixels_nothing_is_near() -> None:
    report = _report(_frechet(40.0, 43.2, 37.3, "pixels"), _recall(0.78))
    assert judge(report, "held-out images").standing == "unknown"
    assert judge(_report(_frechet(40.0, 43.2, 60.0), _recall(0.78)), "held-out images").standing == "near"
    far = judge(_report(_frechet(400.0, 43.2, 37.3, "pixels"), _recall(0.78)), "held-out images")
    assert far.standing == "far"


def test_the_worst_figure_is_named_first() -> None:
    rows = (
        ev.Row(divergence.BOUND.name, "generator", 0.1, None, (0.08, 0.12)),
        ev.Row(divergence.ACCURACY.name, "generator", 0.7),
        ev.Row(divergence.P_VALUE.name, "generator", 1e-9),
    )
    report = _report(_result("jsd500_pixels_test", *rows), _frechet(304.0, 12.0, 160.0))
    level, words = likeness_of(report, "images")
    assert level == 2
    assert re.match(r"the samples are far from real images \(Fréchet .*; a fresh probe .* at least 0.08 of .69", words)


@pytest.mark.parametrize(
    ("held_out", "standing", "words"),
    [
        (0.1, "far", "(right in 97% of cases)"),
        (0.49, "different", "(right in 97% of cases; of held-out windows, which are of another time, 99%)"),
    ],
)
def test_a_classifier_that_tells_one_season_from_another_calls_no_samples_far(
    held_out: float, standing: str, words: str
) -> None:
    rows = [("generator", 0.47), (series.HELD_OUT, held_out), (series.TRAINING, 0.01)]
    told = _result(
        "discriminative-h32_1k_blocks_train",
        *(
            ev.Row(series.H32.name, name, value, interval=(value - 0.01, value + 0.01),
                   role="model" if name == "generator" else "control", details={"accuracy": value + 0.5})
            for name, value in rows
        ),
    )  # fmt: skip
    found = series.summarise_series(_report(told))
    assert found[0] == standing
    assert words in found[1]


@pytest.mark.parametrize("standing", STANDINGS)
def test_only_near_the_data_is_green_and_the_doctor_never_is(tmp_path: Path, standing: str) -> None:
    report = ev.Report(_report(_frechet(1, 1, 1)).results, "generator", "Words.", standing=standing)
    for verdict in ("healthy", "no trouble seen", "too early to tell", "finished", "mode collapse"):
        page = write_page(tmp_path / "index.html", report, Training([], verdict)).read_text()
        tones = re.findall(r'class="tag (\w+)">([^<]+)', page)
        assert [word for _, word in tones] == [html.escape(STANDING[standing][0]), verdict]
        assert [tone == "good" for tone, _ in tones] == [standing == "near", False]
