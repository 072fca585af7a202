"""Membership inference: figures against closed forms and other code, attacks against planted generators."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, mannwhitneyu, norm
from torch import Tensor

from saddlepoint import evaluation as ev
from saddlepoint.core.errors import DataError
from saddlepoint.data.dataset import Dataset, Split
from saddlepoint.evaluation.measurements.membership import AREA, AREA_LOGIT, BY_LOGIT, BY_SAMPLES, RATE, _told
from saddlepoint.evaluation.rows import Row
from saddlepoint.metrics.membership import _clopper_pearson, curve_area, power_at_low_error

KIND = "membership-inference"


@pytest.mark.parametrize("apart", [0.0, 2.0])
def test_intervals_hold_the_truth_of_normal_scores(apart: float) -> None:
    """Members N(d, 1), others N(0, 1): TPR at 1% is P(z > 2.326 - d), AUC P(z < d / sqrt 2); both draws count."""
    rng, missed = np.random.default_rng(0), np.zeros(2)
    truth = norm.sf(norm.isf(0.01) - apart), norm.cdf(apart / 2**0.5)
    for _ in range(300):
        members, others = rng.normal(apart, 1, 300), rng.normal(0, 1, 400)
        for number, measure in enumerate((power_at_low_error, curve_area)):
            interval = measure(members, others).interval
            assert interval is not None
            missed[number] += not interval[0] <= truth[number] <= interval[1]
    assert missed[0] <= 0.05 * 300  # Bonferroni: more often held than said
    assert 3 <= missed[1] <= 0.09 * 300


def test_an_interval_for_members_alone_would_not_hold() -> None:
    """The threshold is a guess too: with few non-members Wilson's interval of the members misses more often."""
    rng, missed = np.random.default_rng(1), 0
    for _ in range(300):
        found = power_at_low_error(rng.normal(2, 1, 2000), rng.normal(0, 1, 200))
        share, truth = found.value, norm.sf(norm.isf(0.01) - 2)
        missed += abs(share - truth) > 1.96 * (share * (1 - share) / 2000) ** 0.5
    assert missed > 0.3 * 300


def test_the_area_is_that_of_the_rank_test_with_ties() -> None:
    rng = np.random.default_rng(2)
    members, others = rng.integers(0, 6, 80).astype(float), rng.integers(0, 5, 60).astype(float)
    area = curve_area(members, others)
    assert area.value == pytest.approx(mannwhitneyu(members, others).statistic / (80 * 60))
    pairs = (members[:, None] > others).astype(float) + 0.5 * (members[:, None] == others)
    delong = pairs.mean(1).var(ddof=1) / 80 + pairs.mean(0).var(ddof=1) / 60
    assert area.standard_error == pytest.approx(delong**0.5)


@pytest.mark.parametrize("hits", [0, 1, 17, 40])
def test_clopper_pearson_is_scipys(hits: int) -> None:
    found = binomtest(hits, 40).proportion_ci(0.975, "exact")
    assert _clopper_pearson(hits / 40, 40) == pytest.approx((found.low, found.high), abs=1e-12)


def test_rows_that_come_several_times_say_no_more() -> None:
    rng = np.random.default_rng(3)
    members, others = rng.normal(1, 1, 300), rng.normal(0, 1, 300)
    for measure in (power_at_low_error, curve_area):
        once, again = measure(members, others), measure(members.repeat(4), others.repeat(4), together=(4, 4))
        assert again.value == pytest.approx(once.value)
        assert again.interval == pytest.approx(once.interval, abs=2e-3)


def test_the_area_of_few_rows_has_no_interval() -> None:
    members, others = np.arange(8.0) + 0.5, np.arange(8.0)
    found = curve_area(members, others, together=(1, 4))
    assert found.value == pytest.approx((members[:, None] > others).mean())
    assert (found.interval, found.standard_error) == (None, None)
    assert "no interval: 2 independent rows of the rarer kind" in str(found.details["limitation"])


def test_few_rows_have_no_interval_and_say_so() -> None:
    rng = np.random.default_rng(4)
    found = power_at_low_error(rng.normal(size=400), rng.normal(size=99))
    assert found.interval is None
    assert "1% of fewer than 100" in str(found.details["limitation"])
    assert power_at_low_error(rng.normal(size=400), rng.normal(size=800), together=(1, 9)).interval is None
    with pytest.raises(DataError, match="4 members"):
        power_at_low_error(np.zeros(4), np.zeros(300))
    with pytest.raises(DataError, match="not finite"):
        curve_area(np.full(9, np.nan), np.zeros(9))


def _vectors(seed: int, n: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(5, 6)) * 3
    return (centres[rng.integers(0, 5, n)] + rng.normal(size=(n, 6))).astype(np.float32)


def _images(seed: int, n: int) -> np.ndarray:
    """Smooth random pictures: nine random waves."""
    rng, grid = np.random.default_rng(seed), np.linspace(0, 1, 8)
    waves = np.stack([np.sin(np.pi * (k + 1) * grid) for k in range(3)])
    x = np.einsum("nij,ih,jw->nhw", rng.normal(size=(n, 3, 3)), waves, waves) * 40 + 128
    return np.clip(x, 0, 255).astype(np.uint8)[:, None]


def _windows(seed: int, n: int) -> np.ndarray:
    """Independent windows of a slow random walk and of noise."""
    rng = np.random.default_rng(seed)
    walk = rng.normal(size=(n, 10, 2)).cumsum(1) * np.array([0.05, 0.1])
    return (0.5 + walk).astype(np.float32)


MAKERS: dict[str, Callable[[int, int], np.ndarray]] = {"vector": _vectors, "image": _images, "sequence": _windows}


def _data(modality: str, test: int = 1000) -> Dataset:
    sizes = {"train": 800, "valid": 400, "test": test}
    splits = {name: Split(MAKERS[modality](seed, n)) for seed, (name, n) in enumerate(sizes.items())}
    return Dataset("planted", modality, splits, (), "ab" * 32)  # type: ignore[arg-type]


def _as_samples(x: np.ndarray) -> Tensor:
    return torch.from_numpy(x).float() / 127.5 - 1 if x.dtype == np.uint8 else torch.from_numpy(x)


def _attacked(data: Dataset, copies: float, **more: Callable[..., Tensor]) -> ev.Report:
    """Measure a generator of which so large a share are training rows, each another one; the others it draws anew."""
    train = data.splits["train"].x
    known = round(copies * len(train))
    order = np.random.default_rng(7).permutation(len(train))
    # The report's pictures ask for as many as there are test rows.
    x = np.concatenate([train[order[:known]], MAKERS[data.modality](8, 1000)])
    subject = ev.Subject("generator", lambda n, seed: _as_samples(x[:n]), **more)  # type: ignore[arg-type]
    return ev.evaluate(subject, data, [KIND])


def _row(report: ev.Report, metric: ev.Metric, row: str | None = None) -> Row:
    found = report.find(KIND, metric.name, row)
    assert found is not None
    return found


@pytest.mark.parametrize("modality", MAKERS)
def test_what_copies_is_found_and_what_never_saw_the_rows_is_not(modality: str) -> None:
    data = _data(modality)
    copier, innocent, mixed = (_attacked(data, share) for share in (1.0, 0.0, 0.25))
    assert _row(copier, BY_SAMPLES).value == 1.0
    assert _row(copier, AREA).value > 0.99
    assert "tells training rows from others" in copier.results[0].verdict
    found = _row(innocent, BY_SAMPLES)
    assert found.interval is not None
    assert found.interval[0] <= 0.01 <= found.interval[1]
    assert found.interval[1] < 0.06
    area = _row(innocent, AREA)
    assert area.interval is not None
    assert abs(area.value - 0.5) < 0.05
    assert "does not tell training rows" in innocent.results[0].verdict
    share = _row(mixed, BY_SAMPLES)
    assert share.interval is not None
    assert share.interval[0] <= 0.25 + 0.75 * 0.01 <= share.interval[1]
    assert share.interval[0] > 0.01


@pytest.mark.parametrize("modality", MAKERS)
def test_the_control_rows_know_all_members_or_none(modality: str) -> None:
    """Held-out rows of the validation split are samples there, and must not be non-members too."""
    report = _attacked(_data(modality), 0.0)
    ignorant = "halves of the training time" if modality == "sequence" else f"held-out {modality}s"
    assert _row(report, BY_SAMPLES, ignorant).value < 0.05
    assert abs(_row(report, AREA, ignorant).value - 0.5) < 0.07
    # As many samples as training rows: all of them.
    assert _row(report, BY_SAMPLES, f"training {'windows' if modality == 'sequence' else modality + 's'}").value == 1.0


def test_noisy_copies_hide_in_the_plain_distance_but_not_from_the_attack() -> None:
    """Rows in thin regions are far from all samples, members or not: only the neighbourhood tells."""
    rng = np.random.default_rng(0)
    wide = {
        name: _vectors(seed, n) * np.exp(rng.normal(size=(n, 1))).astype(np.float32)
        for seed, (name, n) in enumerate((("train", 800), ("valid", 400), ("test", 1000)))
    }
    data = Dataset("wide", "vector", {name: Split(x) for name, x in wide.items()}, (), "cd" * 32)
    x = wide["train"] * (1 + 0.05 * rng.normal(size=wide["train"].shape)).astype(np.float32)
    drawn = np.concatenate([x, x])
    report = ev.evaluate(lambda n, seed: torch.from_numpy(drawn[:n]), data, [KIND])
    distances = [np.linalg.norm(wide[name][:, None] - x, axis=2).min(1) for name in ("train", "test")]
    plain = power_at_low_error(*(-d for d in distances))
    assert plain.value < 0.6
    assert _row(report, BY_SAMPLES).value > 0.9


def test_a_discriminator_that_knows_its_rows_gives_them_away() -> None:
    data = _data("vector")
    known = {row.tobytes() for row in data.splits["train"].x}

    def knowing(x: Tensor, labels: np.ndarray | None) -> Tensor:
        noise = torch.randn(len(x), generator=torch.Generator().manual_seed(0))
        return noise + 8 * torch.tensor([row.numpy().tobytes() in known for row in x])

    report = _attacked(data, 0.0, logits=knowing)
    assert _row(report, BY_LOGIT).value > 0.99
    assert _row(report, AREA_LOGIT).value > 0.99
    assert _row(report, BY_SAMPLES).value < 0.06  # who has the samples alone learns nothing
    guessing = _attacked(data, 0.0, logits=lambda x, labels: x[:, 0])
    assert abs(_row(guessing, AREA_LOGIT).value - 0.5) < 0.05
    assert not [row for row in report.rows if row.metric == BY_LOGIT.name and row.role == "control"]


def test_windows_of_a_later_time_are_told_by_shape_alone_no_better() -> None:
    """A level that rises for ever: by values held-out windows are far from every sample, whoever was trained on."""

    def at(seed: int, n: int, level: float) -> np.ndarray:
        return np.asarray(_windows(seed, n) + level, dtype=np.float32)

    splits = {"train": Split(at(0, 800, 0.0)), "valid": Split(at(1, 200, 3.0)), "test": Split(at(2, 1000, 6.0))}
    data = Dataset("rising", "sequence", splits, (), "ef" * 32)
    report = ev.evaluate(lambda n, seed: torch.from_numpy(at(3, n, 0.0)), data, [KIND])
    found = _row(report, BY_SAMPLES)
    assert found.interval is not None
    assert found.interval[0] <= 0.01 <= found.interval[1]


TELLS, NOT = "tells training rows from others", "does not tell training rows from others"


@pytest.mark.parametrize(
    ("low", "floor", "words"),
    [
        (None, None, "may or may not tell training rows"), (0.02, None, TELLS), (RATE, None, NOT), (0.005, None, NOT),
        (0.02, (0.0, 0.015), TELLS), (0.02, (0.0, 0.03), NOT), (0.02, (0.0, 0.001), TELLS), (0.005, (0.0, 0.001), NOT),
    ],
)  # fmt: skip
def test_members_are_told_by_more_than_guessing_and_than_a_set_that_cannot_know_them(
    low: float | None, floor: tuple[float, float] | None, words: str
) -> None:
    own = Row(BY_SAMPLES.name, "generator (EMA)", 0.5, interval=None if low is None else (low, 0.9))
    other = None if floor is None else Row(BY_SAMPLES.name, "held-out", 0.0, interval=floor, role="control")
    assert _told(own, other) == words


def test_a_floor_without_an_interval_is_its_value() -> None:
    own = Row(BY_SAMPLES.name, "generator (EMA)", 0.5, interval=(0.02, 0.9))
    for value, words in ((0.01, TELLS), (0.03, NOT)):
        assert _told(own, Row(BY_SAMPLES.name, "held-out", value, role="control")) == words


def test_small_data_has_no_interval_and_the_verdict_says_why() -> None:
    splits = {"train": Split(_vectors(0, 120)), "valid": Split(_vectors(1, 20)), "test": Split(_vectors(2, 20))}
    report = ev.evaluate(
        lambda n, seed: torch.from_numpy(_vectors(3, n)), Dataset("few", "vector", splits, (), "01" * 32), [KIND]
    )
    assert _row(report, BY_SAMPLES).interval is None
    assert "40 non-members" in report.results[0].verdict
    assert report.results[0].protocol == "membership-inference120_values_test"


def test_the_same_seed_gives_the_same_figures_and_another_chooses_other_members() -> None:
    data = _data("vector")
    big = {**data.splits, "train": Split(_vectors(0, 3000))}
    data = Dataset("big", "vector", big, (), "23" * 32)
    x = _vectors(5, 3000)
    one, two, other = (
        ev.evaluate(lambda n, seed: torch.from_numpy(x[:n]), data, [KIND], seed=seed) for seed in (0, 0, 1)
    )
    assert one.rows == two.rows
    assert _row(one, AREA).value != _row(other, AREA).value


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(DataError, match="10 samples"):
        ev.evaluate(
            ev.Subject("file", lambda n, seed: torch.from_numpy(_vectors(3, n)), count=10), _data("vector"), [KIND]
        )
