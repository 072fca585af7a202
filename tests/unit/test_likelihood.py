"""The protocols of explicit models and of encoders, against closed forms and planted failures."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from saddlepoint import evaluation as ev
from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.core.types import from_bytes
from saddlepoint.data.dataset import Dataset, Split
from saddlepoint.data.spec import DataSpec, DataStats
from saddlepoint.engine.machine import runtime
from saddlepoint.evaluation.report.page import write_page
from saddlepoint.family import build_family, get_family, get_preset
from saddlepoint.run.run import Run

FEATURES, SQUARE = 3, (1, 4, 4)


def _points(seed: int, n: int) -> Split:
    return Split(np.random.default_rng(seed).normal(size=(n, FEATURES)).astype(np.float32))


def _vectors() -> Dataset:
    splits = {"train": _points(0, 400), "valid": _points(1, 50), "test": _points(2, 300)}
    return Dataset("normal", "vector", splits, (), "ab" * 32)


def _pictures() -> Dataset:
    rng = np.random.default_rng(0)
    splits = {
        name: Split(rng.integers(0, 256, (n, 1, 4, 4), dtype=np.uint8), np.arange(n) % 3)
        for name, n in (("train", 60), ("valid", 20), ("test", 40))
    }
    return Dataset("squares", "image", splits, ("a", "b", "c"), "cd" * 32)


def _normal(x: Tensor) -> Tensor:
    return -0.5 * x.double().square().sum(1) - FEATURES / 2 * math.log(2 * math.pi)


def _subject(
    log_p: Callable[[Tensor], Tensor] | None = None,
    *,
    error: float = 0.0,
    kind: str = "exact",
    observed: str = "values",
    estimator: str = "",
    shape: tuple[int, ...] = (FEATURES,),
    **more: Any,
) -> ev.Subject:
    explicit = None
    if log_p is not None:
        explicit = ev.Explicit(kind, observed, estimator, lambda x, seed: (log_p(x), error))
    return ev.Subject("model", lambda n, seed: torch.zeros(n, *shape), explicit=explicit, **more)


def _measured(subject: ev.Subject, data: Dataset, name: str) -> dict[tuple[str, str], ev.Row]:
    report = ev.evaluate(subject, data, [name])
    return {(row.metric, row.row): row for row in report.rows}


def test_likelihood_is_the_mean_of_held_out_rows_beside_training_rows() -> None:
    data = _vectors()
    rows = _measured(_subject(_normal), data, "likelihood")
    own, known = (_normal(torch.from_numpy(data.splits[split].x)) for split in ("test", "train"))
    held_out, training = (rows[f"log p(x), {word} rows", "model"] for word in ("held-out", "training"))
    assert held_out.value == pytest.approx(float(own.mean()), rel=1e-6)
    assert held_out.standard_error == pytest.approx(float(own.std()) / 300**0.5, rel=1e-6)
    known = known[np.linspace(0, 399, 300).round().astype(int)]
    assert training.value == pytest.approx(float(known.mean()), abs=0.1)
    gap = rows["log p(x), training minus held-out rows", "model"]
    assert gap.value == pytest.approx(training.value - held_out.value)
    assert gap.interval is not None
    assert gap.interval[0] < 0 < gap.interval[1]
    assert not any(metric.startswith("bits") for metric, _ in rows)


def test_what_rows_share_widens_the_mean_and_leaves_the_gap() -> None:
    plain, shared = (_measured(_subject(_normal, error=error), _vectors(), "likelihood") for error in (0.0, 2.0))
    key, gap = ("log p(x), held-out rows", "model"), ("log p(x), training minus held-out rows", "model")
    own = plain[key].standard_error
    assert own is not None
    assert shared[key].standard_error == pytest.approx(math.hypot(own, 2.0))
    assert shared[gap].standard_error == pytest.approx(plain[gap].standard_error)


def test_a_model_that_learned_its_rows_by_heart_shows_a_gap() -> None:
    """Kernels of width .05 on the training rows: the rows themselves are far likelier than others."""
    data = _vectors()
    train = torch.from_numpy(data.splits["train"].x)

    def kernels(x: Tensor) -> Tensor:
        squares = torch.cdist(x, train).double().square() / 0.05**2
        return (
            torch.logsumexp(-0.5 * squares, 1)
            - math.log(len(train))
            - FEATURES * math.log(0.05 * math.sqrt(2 * math.pi))
        )

    report = ev.evaluate(_subject(kernels), data, ["likelihood"])
    gap = report.find("likelihood", "log p(x), training minus held-out rows")
    assert gap is not None
    assert gap.interval is not None
    assert gap.interval[0] > 10
    assert "learned that much by heart" in report.results[0].verdict
    assert "none is learned by heart" in ev.evaluate(_subject(_normal), data, ["likelihood"]).results[0].verdict


def test_uniform_levels_are_eight_bits() -> None:
    data, d = _pictures(), 16
    subject = _subject(
        lambda x: torch.full((len(x),), -d * math.log(256.0)), observed="levels", kind="lower bound", shape=SQUARE
    )
    rows = _measured(subject, data, "likelihood")
    bits = rows["bits per dimension, held-out rows", "model"]
    assert bits.value == pytest.approx(8.0)
    assert rows["bits per dimension, training rows", "model"].value == pytest.approx(8.0)
    assert rows["log p(x), held-out rows", "model"].details["kind"] == "lower bound"


def test_the_model_is_given_images_in_the_inside_range() -> None:
    data, seen = _pictures(), list[Tensor]()

    def log_p(x: Tensor) -> Tensor:
        seen.append(x)
        return torch.zeros(len(x))

    _measured(_subject(log_p, observed="binary", shape=SQUARE), data, "likelihood")
    expected = from_bytes(torch.from_numpy(np.concatenate([data.splits["test"].x, data.splits["train"].x[:0]])))
    assert torch.equal(seen[-1][:40], expected)
    assert len(seen[-1]) == 80


def test_the_name_says_what_the_figure_depends_on() -> None:
    subject = _subject(_normal, kind="lower bound", observed="binary", estimator="iw50")
    full = "likelihood300_binary-lower-bound-iw50_test"
    assert ev.evaluate(subject, _vectors(), ["likelihood"]).results[0].protocol == full
    some = "likelihood20_binary-lower-bound-iw50_test"
    report = ev.evaluate(subject, _vectors(), [some])
    assert report.results[0].protocol == some
    assert report.rows[0].details["n"] == 20


def test_a_bound_takes_a_thousand_rows_an_exact_likelihood_all() -> None:
    splits = {"train": _points(0, 1500), "valid": _points(1, 20), "test": _points(2, 1200)}
    data = Dataset("normal", "vector", splits, (), "ab" * 32)
    names = [
        ev.evaluate(_subject(_normal, kind=kind), data, ["likelihood"]).results[0].protocol
        for kind in ("exact", "lower bound", "annealed importance sampling")
    ]
    assert [name.split("_")[0] for name in names] == ["likelihood1200", "likelihood1k", "likelihood1k"]


def test_a_gan_is_told_what_to_ask_for_instead() -> None:
    with pytest.raises(ConfigError, match=r"has no likelihood.*parzen.*jsd"):
        ev.evaluate(_subject(), _vectors(), ["likelihood"])
    with pytest.raises(ConfigError, match=r"has no encoder.*--project"):
        ev.evaluate(_subject(), _vectors(), ["replication"])
    report = ev.evaluate(_subject(), _vectors())
    told = (*report.omitted, *(result.protocol for result in report.results))
    assert not [name for name in told if name.startswith(("likelihood", "replication"))]


def test_both_are_measured_without_being_asked_for() -> None:
    subject = _subject(_normal, replicate=lambda x, labels, seed: x)
    names = [result.protocol for result in ev.evaluate(subject, _vectors()).results]
    assert any(name.startswith("likelihood300") for name in names)
    assert any(name.startswith("replication300") for name in names)


def test_a_likelihood_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(DataError, match="of 1 of 600 rows is not finite"):
        ev.evaluate(
            _subject(lambda x: torch.cat([torch.tensor([-math.inf]), torch.zeros(len(x) - 1)])),
            _vectors(), ["likelihood"],
        )  # fmt: skip


@pytest.mark.parametrize(("factor", "share"), [(1.0, 0.0), (0.5, 0.25)])
def test_replication_is_the_mean_squared_error_beside_that_of_the_mean(factor: float, share: float) -> None:
    data = _vectors()
    subject = _subject(replicate=lambda x, labels, seed: factor * x)
    rows = _measured(subject, data, "replication")
    test, train = data.splits["test"].x.astype(np.float64), data.splits["train"].x.astype(np.float64)
    own = rows["squared error, held-out rows", "model"]
    assert own.value == pytest.approx(share * np.square(test).mean(), abs=1e-9)
    floor = rows["squared error, held-out rows", "mean training row"]
    assert floor.value == pytest.approx(np.square(test - train.mean(0)).mean(), rel=1e-6)
    assert floor.role == "control"


def test_replication_of_images_is_in_units_of_their_range_and_shown() -> None:
    """What is black throughout costs the mean square of grey in [0, 1]."""
    data, asked = _pictures(), list[Tensor | None]()

    def black(x: Tensor, labels: Tensor | None, seed: int) -> Tensor:
        asked.append(labels)
        return torch.full_like(x, -1.0)

    subject = _subject(replicate=black, shape=SQUARE)
    report = ev.evaluate(subject, data, ["replication"])
    own = report.find("replication")
    assert own is not None
    assert own.value == pytest.approx(np.square(data.splits["test"].x / 255).mean(), rel=1e-5)
    assert asked[0] is not None
    assert torch.equal(asked[0], torch.from_numpy(data.splits["test"].labels))
    assert report.gallery is not None
    assert report.gallery.replicas is not None
    went_in, came_out = report.gallery.replicas.transpose(1, 0, 2, 3, 4)
    assert len(went_in) == 24
    assert {row.tobytes() for row in went_in} <= {row.tobytes() for row in data.splits["test"].x}
    assert not came_out.any()


def test_a_page_shows_what_went_in_above_what_came_out(tmp_path: Any) -> None:
    subject = _subject(replicate=lambda x, labels, seed: x, shape=SQUARE)
    page = write_page(tmp_path / "index.html", ev.evaluate(subject, _pictures(), ["replication"])).read_text()
    assert "What goes in, and what comes out" in page
    assert "below each in a yellow frame" in page


def test_an_encoder_that_knows_its_rows_only_gives_others_back_badly() -> None:
    """The nearest training row comes out: nothing is lost of those, and of held-out rows much."""
    data = _vectors()
    train = torch.from_numpy(data.splits["train"].x)
    subject = _subject(replicate=lambda x, labels, seed: train[torch.cdist(x, train).argmin(1)])
    rows = _measured(subject, data, "replication")
    assert rows["squared error, training rows", "model"].value == 0
    assert rows["squared error, held-out rows", "model"].value > 0.05


def test_a_run_says_how_likely_samples_are_and_the_same_for_a_seed() -> None:
    family = build_family("flow", get_preset(get_family("flow"), "small")[1], DataSpec("vector", (2,)))
    family.reset_parameters(runtime.stream("cpu", "weights"))
    x = torch.randn(9, 2, generator=torch.Generator().manual_seed(0))
    family.prepare(DataStats(x.mean(0), x.std(0), x))
    run = Run(Path("made"), {"family": "flow"}, family.eval(), 1, True)
    found = run.log_likelihood(x, seed=3)
    direct = family.log_likelihood(x, generator=runtime.stream("cpu", "likelihood", 3))
    assert torch.equal(found.values, direct.values)
    assert torch.equal(run.log_likelihood(x, seed=3).values, found.values)
    assert found.values.shape == (9,)
