"""Protocols of time series: their names, control rows, verdicts, and the page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from saddlepoint import evaluation as ev
from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.data.dataset import Dataset, Split
from saddlepoint.evaluation.protocol import task_of
from saddlepoint.evaluation.report.page import write_page
from saddlepoint.evaluation.rows import kind_of
from saddlepoint.evaluation.sequences import SEQUENCE_CONTROLS
from saddlepoint.evaluation.sets import Bench
from saddlepoint.figures import series
from saddlepoint.metrics.series_baselines import shuffled_in_time

FAST = ["acf", "cross-correlation", "increments", "marginals", "memorisation"]


def _windows(seed: int, n: int) -> np.ndarray:
    """Independent windows of slow sines of 2 features, the second a step behind."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0.2, 0.6, (n, 1)) * np.arange(13) + rng.uniform(0, 6.28, (n, 1))
    x = (np.sin(angle) + 1) / 2
    return np.stack([x[:, 1:], x[:, :-1]], 2).astype(np.float32)


def _dataset(ragged: bool = False) -> Dataset:
    splits = {name: _windows(seed, n) for seed, (name, n) in enumerate((("train", 300), ("valid", 60), ("test", 80)))}
    if ragged:
        for x in splits.values():
            x[::3, 9:] = np.nan
    return Dataset("waves", "sequence", {name: Split(x) for name, x in splits.items()}, (), "cd" * 32)


def _sampler(x: np.ndarray) -> Callable[[int, int], torch.Tensor]:
    return lambda n, seed: torch.from_numpy(x[:n])


@pytest.mark.parametrize("ragged", [False, True])
def test_every_fast_protocol_measures_the_model_and_all_controls(ragged: bool) -> None:
    data = _dataset(ragged)
    fake = _windows(9, 300)
    report = ev.evaluate(_sampler(fake), data, FAST)
    assert [result.protocol for result in report.results] == [
        "acf300_train", "cross-correlation300_train", "increments300_train", "marginals300_train",
        "memorisation100_shapes_test",
    ]  # fmt: skip
    assert {row.row for row in report.results[0].rows} == {"generator", *SEQUENCE_CONTROLS}
    for kind in ("acf", "increments"):
        rows = {
            name: report.find(kind, None, name) for name in ("training windows", "shuffled in time", "constant windows")
        }
        values = {name: row.value for name, row in rows.items() if row is not None}
        assert values["training windows"] == pytest.approx(0, abs=1e-9)
        assert min(values["shuffled in time"], values["constant windows"]) > 0.2
    mixed, noise = (report.find("marginals", None, name) for name in ("shuffled in time", "uniform noise"))
    assert mixed is not None
    assert noise is not None
    assert mixed.value < 1e-9 < noise.value
    copied = report.find("memorisation", "copies", "training windows")
    assert copied is not None
    assert copied.value == 1
    assert "no sign that they copy" in report.verdict


def test_a_model_without_dynamics_is_told_so_in_words() -> None:
    data = _dataset()
    mixed = shuffled_in_time(data.splits["train"].x, np.random.default_rng(5))
    report = ev.evaluate(_sampler(mixed), data, ["acf", "marginals"])
    acf, marginals = report.results
    assert "does not reach the block bootstrap" in acf.verdict
    assert "the samples know no more of time" in acf.verdict
    assert "order of time does not enter" in marginals.verdict
    assert "no nearer to the data than the best baseline" in report.verdict


def test_a_blind_figure_is_called_blind() -> None:
    """Windows of independent steps: shuffling changes nothing, and the figure cannot know."""
    rng = np.random.default_rng(0)
    splits = {
        name: Split(rng.random((n, 8, 2), dtype=np.float32))
        for name, n in (("train", 200), ("valid", 30), ("test", 40))
    }
    data = Dataset("noise", "sequence", splits, (), "ef" * 32)
    report = ev.evaluate(_sampler(rng.random((200, 8, 2), dtype=np.float32)), data, ["acf"])
    assert "know no more of time" in report.results[0].verdict or "Blind to time" in report.results[0].verdict


def test_scores_are_called_by_their_full_names_and_those_of_2019_run_on_request_only() -> None:
    bench = Bench(ev.Subject("generator", _sampler(_windows(9, 300))), _dataset(), 0)
    for name in (
        "discriminative-h32_300_blocks_train", "discriminative-2019_300_random_train", "predictive-2019_300_train",
        "forecast300_test", "cross-correlation2k_train",
    ):  # fmt: skip
        protocol = ev.get_protocol(name)
        assert protocol.on_request == ("2019" in name)
        assert kind_of(name) == protocol.kind
        if "2k" in name:
            with pytest.raises(ConfigError, match="cross-correlation300_train"):
                task_of(name, bench)
        else:
            found, task = task_of(name, bench)
            assert found.full_name(task) == name
    with pytest.raises(ConfigError, match="cannot be measured here"):
        task_of("fd", bench)
    protocol, task = task_of("classifier", bench)
    (row,) = protocol.measure(bench.control("uniform noise", 300), task)
    assert (row.metric, row.role) == (protocol.metrics[0].name, "control")
    assert row.value > 0.45


def test_copies_cannot_be_told_where_the_parts_share_windows() -> None:
    data = _dataset()
    shared = Dataset("all", "sequence", dict.fromkeys(("train", "valid", "test"), data.splits["train"]), (), "01" * 32)
    with pytest.raises(ConfigError, match="test windows are training windows too"):
        ev.evaluate(_sampler(_windows(9, 300)), shared, ["memorisation"])


@pytest.mark.parametrize("where", [(0, 3, 0), (0, slice(0, 2)), (0, slice(None))])
def test_samples_with_other_gaps_than_an_early_end_are_refused(where: tuple[object, ...]) -> None:
    fake = _windows(9, 300)
    fake[where] = np.nan
    with pytest.raises(DataError, match="1 of 300 samples"):
        ev.evaluate(_sampler(fake), _dataset(), ["acf"])


def test_the_page_of_sequences_has_paths_autocorrelation_and_maps(tmp_path: Path) -> None:
    data = _dataset(ragged=True)
    report = ev.evaluate(_sampler(_windows(9, 300)), data, ["acf"])
    text = write_page(tmp_path / "index.html", report).read_text()
    assert text.count("<img") == 5, "paths and autocorrelation of two columns, and the maps"
    assert "t-SNE" in text
    assert text.index("block bootstrap") < text.index("shuffled in time") < text.index("uniform noise")


def test_pictures_show_both_kinds_and_refuse_other_shapes() -> None:
    x = _windows(0, 40)
    picture = np.asarray(series.autocorrelation_plot(x, x[:, ::-1], ("a", "b")))
    grey, orange = (
        (np.abs(picture.astype(int) - colour).sum(2) < 40).sum() for colour in ((122, 122, 122), (217, 95, 2))
    )
    assert orange > 100
    # Autocorrelation does not know the direction of time: the curve drawn last covers the first.
    assert grey < orange
    with pytest.raises(DataError, match="make them equal"):
        series.paths(x, x[:, :8])
    with pytest.raises(DataError, match="needs 5"):
        series.maps(x, x[:3])
