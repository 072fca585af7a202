"""Protocols, control rows and reports on a small data set made by hand."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from saddlepoint import evaluation as ev
from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.data.dataset import Dataset, Split
from saddlepoint.data.identity import identified
from saddlepoint.evaluation import Metric, Result, Row, protocol, sets
from saddlepoint.evaluation import rows as rows_of_reports
from saddlepoint.evaluation.measurements import classes, distribution, divergence, parzen
from saddlepoint.evaluation.measurements.translation import exercise
from saddlepoint.evaluation.report.facts import chosen_options
from saddlepoint.evaluation.report.judgement import likeness_of
from saddlepoint.evaluation.report.page import Training, write_page
from saddlepoint.family import get_family, get_preset
from saddlepoint.metrics import log_likelihood, parzen10k
from saddlepoint.run.run import Run
from saddlepoint.run.subject import label_of

SHAPE = (1, 4, 4)


def _images(seed: int, n: int) -> np.ndarray:
    """Bright or dark blobs: smooth pictures with a little noise."""
    rng = np.random.default_rng(seed)
    level = rng.integers(60, 190, (n, 1, 1, 1))
    return np.clip(level + rng.normal(0, 12, (n, *SHAPE)), 0, 255).astype(np.uint8)


def _dataset(train: int = 120, valid: int = 30, test: int = 40, fingerprint: str = "ab" * 32) -> Dataset:
    splits = {
        "train": Split(_images(0, train)),
        "valid": Split(_images(1, valid)),
        "test": Split(_images(2, test)),
    }
    return Dataset("blobs", "image", splits, (), fingerprint)


def _sampler(images: np.ndarray) -> Callable[[int, int], torch.Tensor]:
    return lambda n, seed: torch.from_numpy(images[:n]).float() / 127.5 - 1


def _by_name(report: ev.Report) -> dict[str, ev.Row]:
    return {row.row: row for row in report.rows}


def _parzen(sample: Callable[[int, int], torch.Tensor], data: Dataset, **options: Any) -> ev.Report:
    return ev.evaluate(sample, data, ["parzen"], **options)


def test_rows_hold_the_figures_of_the_metric_and_what_they_rest_on() -> None:
    data = _dataset()
    fakes = _images(3, 120)
    report = ev.evaluate(_sampler(fakes), data, ["parzen"], seed=5, label="generator (EMA)")
    rows = _by_name(report)
    assert list(rows) == ["generator (EMA)", "training images", "k-means centroids", "uniform noise"]
    expected = parzen10k(fakes / 255, data.splits["valid"].x / 255, data.splits["test"].x / 255)
    row = rows["generator (EMA)"]
    assert row.value == pytest.approx(expected.value, rel=1e-6)
    assert row.standard_error == pytest.approx(expected.standard_error, rel=1e-5)
    (result,) = report.results
    assert (result.protocol, result.metrics[0].unit, row.role) == ("parzen120_cv10", "nats", "model")
    assert (result.data, result.fingerprint, result.seed) == ("blobs", identified(data).fingerprint, 5)
    assert row.details == {
        "sigma": round(expected.sigma, 4), "n_centres": 120, "n_valid": 30, "n_test": 40, "as_released": False,
    }  # fmt: skip
    # All training rows are drawn here, so the control is known too: the training set itself.
    train = data.splits["train"].x / 255
    truth = rows["training images"]
    direct = log_likelihood(
        data.splits["test"].x / 255, train, parzen10k(train, data.splits["valid"].x / 255, train).sigma
    )
    assert truth.value == pytest.approx(direct.mean(), rel=1e-6)
    assert rows["k-means centroids"].details["n_centres"] == 24
    assert {rows[name].role for name in list(rows)[1:]} == {"control"}
    assert rows["uniform noise"].value < truth.value


def test_counts_are_the_released_ones_where_the_data_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("_CENTRES", 50), ("_VALID", 15), ("_TEST", 20)):
        monkeypatch.setattr(parzen, name, value)
    asked: list[tuple[int, int]] = []

    def sample(n: int, seed: int) -> torch.Tensor:
        asked.append((n, seed))
        return torch.zeros(n, *SHAPE)

    report = _parzen(sample, _dataset(train=300), seed=3)
    assert asked == [(50, 3)]
    for row in report.rows:
        assert (row.details["n_centres"], row.details["n_valid"], row.details["n_test"]) == (50, 15, 20)
        assert row.details["as_released"]
    assert "too small" not in report.verdict


def test_verdict_says_where_the_model_stands() -> None:
    data = _dataset()
    test = data.splits["test"].x
    above = _parzen(_sampler(np.concatenate([test] * 3)), data)
    assert "above the level of real training images" in above.verdict
    assert "not better than the truth" in above.verdict
    assert "too small for the released counts" in above.verdict
    same = _parzen(_sampler(data.splits["train"].x), data)
    assert "at the level of real training images" in same.verdict
    rough = data.splits["train"].x + np.random.default_rng(4).normal(0, 50, (120, *SHAPE))
    dull = _parzen(_sampler(rough.clip(0, 255)), data)
    assert "nats below the level of real training images" in dull.verdict
    black = _parzen(lambda n, seed: -torch.ones(n, *SHAPE), data)
    assert "below uniform noise" in black.verdict


def test_control_rows_are_measured_once_for_data_and_seed(tmp_path: Path) -> None:
    data = _dataset()
    sample = _sampler(_images(3, 120))
    lines: list[str] = []

    def run(data: Dataset, seed: int) -> tuple[ev.Report, int]:
        lines.clear()
        report = _parzen(sample, data, seed=seed, cache_dir=tmp_path / "cache", progress=lines.append)
        return report, sum(line.startswith("Parzen: training") for line in lines)

    first, measured = run(data, 0)
    assert measured == 1
    second, measured = run(data, 0)
    assert measured == 0
    assert second.rows[1:] == first.rows[1:]
    assert run(data, 1)[1] == 1
    assert run(_dataset(fingerprint="cd" * 32), 0)[1] == 0, "data is what rows it has, whatever it is called by"
    assert run(_dataset(test=41), 0)[1] == 1
    for kept in (tmp_path / "cache").glob("*.json"):
        kept.write_text("[{]")
    repaired, measured = run(data, 0)
    assert measured == 1
    assert [row.value for row in repaired.rows] == [row.value for row in first.rows]
    assert any("cannot be read" in line for line in lines)
    assert run(data, 0)[1] == 0
    assert not list((tmp_path / "cache").glob("*.tmp"))


def test_a_cache_that_cannot_be_written_costs_a_line_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    lines: list[str] = []
    sample = _sampler(_images(3, 120))
    report = _parzen(sample, _dataset(), cache_dir=tmp_path / "file" / "cache", progress=lines.append)
    assert len(report.rows) == 4
    assert "could not be kept" in lines[-1]


def test_equal_seeds_give_equal_figures() -> None:
    sample, data = _sampler(_images(3, 120)), _dataset()
    a, b, c = (_parzen(sample, data, seed=seed) for seed in (0, 0, 1))
    assert [row.value for row in a.rows] == [row.value for row in b.rows]
    assert _by_name(a)["uniform noise"].value != _by_name(c)["uniform noise"].value


def test_report_as_json_lines_and_page(tmp_path: Path) -> None:
    report = _parzen(_sampler(_images(3, 120)), _dataset(), label="<b>generator</b>")
    path = tmp_path / "report" / "metrics.jsonl"
    report.to_jsonl(path)
    report.to_jsonl(path)
    lines = path.read_text().splitlines()
    assert len(lines) == 2
    assert ev.Result.from_json(json.loads(lines[0])) == report.results[0]
    # Of two lines with the same name, data and seed the last one counts.
    assert ev.read_results(path) == list(report.results)
    write_page(tmp_path / "report" / "index.html", report, Training([], "healthy", ["a < b"]))
    page = (tmp_path / "report" / "index.html").read_text()
    assert "&lt;b&gt;generator&lt;/b&gt;" in page
    assert "a &lt; b" in page
    assert "<b>" not in page
    assert "<script" not in page
    assert 'src="http' not in page
    assert "href" not in page
    for row in report.rows:
        assert f"{row.value:.1f}<br><small>± {row.standard_error:.1f}</small>" in page
    assert [p.name for p in sorted(path.parent.iterdir())] == ["index.html", "metrics.jsonl"]


@pytest.mark.parametrize(
    ("values", "fine"),
    [({"interval": [0.5, 1.5]}, True), ({"interval": None, "standard_error": 0.1}, True),
     ({"interval": [None, 1.5]}, False), ({"interval": [0.5]}, False), ({"interval": [0.5, "2"]}, False),
     ({"standard_error": "0.1"}, False), ({"value": None}, False)],
)  # fmt: skip
def test_a_figure_is_read_from_numbers_only(values: dict[str, Any], fine: bool) -> None:
    kept = {"metric": "FD", "row": "generator", "value": 1.0, "details": {}} | values
    if fine:
        assert ev.Row.from_json(kept).value == 1.0
    else:
        with pytest.raises((TypeError, ValueError), match=next(iter(values))):
            ev.Row.from_json(kept)


@pytest.mark.parametrize("content", ["{", '{"protocol": 1}', "[]"])
def test_a_damaged_file_of_figures_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "metrics.jsonl").write_text(content)
    with pytest.raises(DataError, match="cannot be read"):
        ev.read_results(tmp_path / "metrics.jsonl")
    with pytest.raises(DataError, match="measure first"):
        ev.read_results(tmp_path / "none.jsonl")


def test_an_interval_survives_json_and_is_shown() -> None:
    row = ev.Row("mean", "generator", 3.25, interval=(3.0, 3.5))
    metric = ev.Metric("mean", "neither", digits=1)
    result = ev.Result("mean4_test", "", (metric,), (row,), "Fine.", "blobs", "ab", 0)
    assert ev.Result.from_json(json.loads(json.dumps(dataclasses.asdict(result)))) == result
    assert ev.shown(row, metric) == "3.2 [3.0, 3.5]"


def test_a_model_is_called_as_its_rows_are() -> None:
    metric = Metric("distance", "lower")
    control, own = Row("distance", "training images", 1.0, role="control"), Row("distance", "generator (EMA)", 2.0)
    results = [Result("fd_a", "", (metric,), rows, "", "blobs", "ab", 0) for rows in ((control,), (control, own))]
    assert rows_of_reports.label_of(results) == "generator (EMA)"
    assert rows_of_reports.label_of(results[:1]) == rows_of_reports.label_of([]) == "generator"


def test_a_tiny_p_value_is_no_zero_and_stays_in_one_piece(tmp_path: Path) -> None:
    metric = ev.Metric("two-sample p-value", "neither")
    assert [metric.show(p) for p in (0.5, 0.012, 1e-9)] == ["0.5", "0.012", "<0.0001"]
    row = ev.Row(metric.name, "generator", 1e-9)
    result = ev.Result("p4_test", "", (metric,), (row,), "", "blobs", "ab", 0)
    page = write_page(tmp_path / "p.html", ev.Report((result,), "generator", "")).read_text()
    assert '<td class="n model" data-of="generator">&lt;0.0001</td>' in page


def test_another_protocol_needs_one_registration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "_REGISTRY", dict(protocol._REGISTRY))
    mean = ev.Protocol(
        "mean", ("vector",), "mean of all coordinates", (ev.Metric("mean", "neither", digits=1),),
        measure=lambda samples, task: [ev.Row("mean", samples.name, float(samples.x.mean()), role=samples.role)],
        verdict=lambda rows, task: f"The mean is {rows[0].value:.1f}.",
        aliases=("average",), controls=lambda bench: (),
    )  # fmt: skip
    ev.register(mean)
    vectors = Split(np.zeros((20, 2), np.float32))
    data = Dataset("ring8", "vector", {"train": vectors, "valid": vectors, "test": vectors}, (), "00")
    report = ev.evaluate(lambda n, seed: torch.ones(n, 2), data, ["mean", "average", "mean20_coordinates_test"])
    assert [result.protocol for result in report.results] == ["mean20_coordinates_test"]
    assert report.verdict == "The mean is 1.0."
    with pytest.raises(ConfigError, match="measures image data, but 'ring8' holds vectors"):
        ev.evaluate(lambda n, seed: torch.ones(n, 2), data, ["parzen"])


def test_a_full_name_is_kept_exactly_or_refused() -> None:
    data, sample = _dataset(), _sampler(_images(3, 120))
    report = ev.evaluate(sample, data, ["kd30_pixels_test", "kd"])
    assert [result.protocol for result in report.results] == ["kd30_pixels_test", "kd40_pixels_test"]
    assert report.results[0].rows[0].details["n"] == 30
    with pytest.raises(ConfigError, match="'kd40_pixels_test' can"):
        ev.evaluate(sample, data, ["kd10k_pixels_test"])
    with pytest.raises(ConfigError, match="extractor"):
        ev.evaluate(sample, data, ["kd30_nothing_test"])


def test_the_default_set_says_what_it_leaves_out() -> None:
    report = ev.evaluate(_sampler(_images(3, 120)), _dataset(), seed=1)
    kinds = [ev.get_protocol(result.protocol).kind for result in report.results]
    assert {"jsd", "kd", "prdc", "memorisation", "parzen"} <= set(kinds)
    assert "classifier" in report.omitted["is"]
    assert "labels" in report.omitted["accuracy"]
    assert any("40 test rows" in sentence for sentence in report.limits)
    assert any("pixels" in sentence for sentence in report.limits)
    assert report.gallery is not None
    assert report.gallery.pairs is not None
    # Half of the samples are training rows: the verdict on the whole must say so.
    copies = np.concatenate([_dataset().splits["train"].x[:60], _images(3, 60)])[
        np.random.default_rng(0).permutation(120)
    ]
    found = ev.evaluate(_sampler(copies), _dataset(), ["memorisation"])
    assert "copies" in found.verdict


def test_a_protocol_without_features_loads_and_trains_no_extractor(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("an extractor was asked for")

    monkeypatch.setattr(sets, "extractor_for", refuse)
    report = _parzen(_sampler(_images(3, 120)), _dataset())
    assert not any("pixels" in sentence for sentence in report.limits)
    assert report.gallery is not None
    assert report.gallery.by_class is None
    with pytest.raises(AssertionError, match="an extractor"):
        ev.evaluate(_sampler(_images(3, 120)), _dataset(), ["kd"])


def test_unknown_protocol_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'parzen'"):
        ev.evaluate(_sampler(_images(0, 120)), _dataset(), ["parsen"])


@pytest.mark.parametrize("small", ["train", "valid", "test"])
def test_too_few_rows(small: str) -> None:
    with pytest.raises(DataError, match=f"9 {small} rows"):
        _parzen(_sampler(_images(0, 120)), _dataset(**{small: 9}))


def test_samples_that_cannot_be_measured() -> None:
    data = _dataset()
    broken = torch.zeros(120, *SHAPE)
    broken[[1, 5, 7], 0, 0, 0] = torch.nan
    for samples, words in (
        (broken, "3 of 120 samples"),
        (torch.zeros(120, 1, 5, 4), r"\(120, 1, 5, 4\)"),
        (torch.zeros(7, *SHAPE), r"\(7, 1, 4, 4\)"),
        (torch.full((120, *SHAPE), 255.0), r"from 255 to 255.*\[-1, 1\]"),
    ):
        with pytest.raises(DataError, match=words):
            _parzen(lambda n, seed, samples=samples: samples, data)


@pytest.mark.parametrize(
    ("value", "interval", "expected"),
    [
        (0.02, (0.015, 0.025), "close to real images"),
        (0.08, (0.02, 0.13), "too few to say how different they are; it is right in 67% of cases"),
        (0.0, (-0.01, 0.01), "cannot tell the samples from real images"),
        (0.0, (-0.06, 0.06), "cannot tell the samples from real images, but it saw few of them"),
        (0.4, (0.3, 0.5), "far from real images"),
    ],
)
def test_a_probe_that_saw_little_is_not_praise(value: float, interval: tuple[float, float], expected: str) -> None:
    class Found:
        results = ()

        def find(self, protocol: str, metric: str | None = None, row: str | None = None) -> SimpleNamespace | None:
            return SimpleNamespace(value=0.67 if metric else value, interval=interval) if protocol == "jsd" else None

    told = likeness_of(Found(), "images")[1]  # type: ignore[arg-type]
    assert expected in told
    assert told.endswith(expected) or expected.split()[0] in ("close", "far")


def test_rows_are_taken_from_all_classes_of_data_that_stands_class_by_class() -> None:
    labels = np.repeat(np.arange(4), 25)
    x = np.repeat(labels[:, None, None, None] * 50, 16, 2).reshape(100, 1, 4, 4).astype(np.uint8)
    split = Split(x, labels)
    rows, chosen = sets.spread(split, 8)
    assert chosen is not None
    assert chosen.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert rows[:, 0, 0, 0].tolist() == [50 * label for label in chosen]
    assert sets.spread(split, 100)[0] is split.x or np.shares_memory(sets.spread(split, 100)[0], split.x)
    given = exercise(Dataset("blobs", "image", {"train": split, "test": split}, ("a", "b", "c", "d"), ""), 12, 0)
    assert sorted(set(given.own)) == [0, 1, 2, 3]
    assert (given.target != given.own).all()
    assert np.array_equal(given.x, x[given.rows])


def _rows(metric: Metric, model: float, real: float, error: float | None = 0.01, n: int = 100) -> list[ev.Row]:
    return [
        ev.Row(metric.name, "generator", model, error, details={"n": 100}),
        ev.Row(metric.name, "held-out images", real, error, role="control", details={"n": n}),
    ]


def test_verdicts_claim_nothing_without_errors_or_on_other_counts() -> None:
    task: Any = SimpleNamespace(bench=SimpleNamespace(control_names=("held-out images", "", "centroids", "")))
    precision = distribution._manifold_verdict
    assert "more often than real ones" in precision(_rows(distribution.PRECISION, 0.5, 0.8), task)
    assert "as often as real ones" in precision(_rows(distribution.PRECISION, 0.79, 0.8), task)
    for rows in (_rows(distribution.PRECISION, 0.5, 0.8, None), _rows(distribution.PRECISION, 0.5, 0.8, n=50)):
        assert ", held-out 0.800" in precision(rows, task)
        assert ":" not in precision(rows, task)
    fd = distribution._frechet_verdict
    raw, unbiased = _rows(distribution.FRECHET, 5.0, 6.0), _rows(distribution.UNBIASED, 2.0, 0.5)
    assert "do not tell them apart" not in fd([*raw, *unbiased], task)
    assert "do not tell them apart" not in fd(raw, task)
    assert "do not tell them apart" in fd([*raw, *_rows(distribution.UNBIASED, 0.51, 0.5)], task)


@pytest.mark.parametrize(
    ("low", "p", "words", "likeness"),
    [(0.02, 0.16, "at least 0.020 nats, about 0.100", "tells the samples"),
     (-0.05, 0.001, "they differ; by how much", "saw too few"), (-0.05, 0.4, "no better than chance", "cannot tell")],
)  # fmt: skip
def test_verdict_and_summary_say_the_same_of_a_probe(low: float, p: float, words: str, likeness: str) -> None:
    row = ev.Row(divergence.BOUND.name, "generator", 0.1, None, (low, 0.4))
    rows = (
        row, ev.Row(divergence.ACCURACY.name, "generator", 0.6, 0.05), ev.Row(divergence.P_VALUE.name, "generator", p),
    )  # fmt: skip
    assert words in divergence._verdict(rows, SimpleNamespace())  # type: ignore[arg-type]
    result = ev.Result("jsd10k_pixels_test", "", (divergence.BOUND,), rows, "", "blobs", "ab", 0)
    report = ev.Report((result,), "generator", "")
    assert likeness in likeness_of(report, "images")[1]


def test_a_figure_of_parzen_with_fewer_samples_than_released_says_so() -> None:
    data = _dataset(train=10_000, valid=1_000, test=10_000)
    few = ev.evaluate(ev.Subject("theirs", _sampler(_images(3, 500)), count=500), data, ["parzen"])
    assert _by_name(few)["theirs"].details["as_released"] is False


def test_a_generator_without_an_average_is_not_called_one() -> None:
    def run(preset: str, averaged: bool) -> Run:
        family = SimpleNamespace(config=get_preset(get_family("gan"), preset)[1])
        return SimpleNamespace(config={}, averaged=averaged, family=family)  # type: ignore[return-value]

    assert label_of(run("mnist", averaged=True)) == "generator (EMA)"
    assert label_of(run("mnist", averaged=False)) == "generator"
    assert label_of(run("mnist-2014", averaged=True)) == "generator"


def test_noise_fills_the_ranges_of_vectors_and_no_more() -> None:
    x = np.random.default_rng(0).normal([0, 50], [1, 9], (500, 2)).astype(np.float32)
    data = Dataset("ranges", "vector", {split: Split(x) for split in ("train", "valid", "test")}, (), "ab" * 32)
    noise = sets.Bench(ev.Subject("own", lambda n: x[:n], None), data, 0).control("uniform noise", 400).x
    low, high = x.min(0), x.max(0)
    assert ((low <= noise) & (noise <= high)).all()
    assert np.ptp(noise, axis=0) == pytest.approx(np.ptp(x, axis=0), rel=0.05)


def test_what_training_chose_by_itself_is_told_and_what_was_asked_for_is_not() -> None:
    chosen = {"name": "bf16", "speedup": 2.0}
    for asked, precision, wanted in (
        ("auto", chosen, ["precision bf16"]), ("bf16", chosen, []), ("auto", {"name": "fp32"}, []), ("auto", None, []),
    ):  # fmt: skip
        config = {"data": {}, "settings": {"precision": asked}, "precision": precision}
        assert chosen_options(config) == wanted
    reading = [
        {"topic": "size", "says": "16x16", "why": "the median side is 17", "sure": False},
        {"topic": "size", "says": "8x8", "sure": True},
        {"topic": "options", "says": "width 8"},
        {"topic": "time", "says": "day"},
    ]
    assert chosen_options({"data": {"reading": reading}, "settings": {}}) == ["the median side is 17", "width 8"]


def test_samples_without_labels_show_no_class_that_was_asked_for() -> None:
    task: Any = None
    with pytest.raises(DataError, match="carry no labels"):
        classes._accuracy(ev.SampleSet("samples", "model", np.zeros((4, 1, 8, 8), np.uint8)), task)
