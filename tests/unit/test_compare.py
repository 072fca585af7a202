"""Comparisons: what is larger than chance, and what must not stand in one column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from saddlepoint.core.errors import ConfigError
from saddlepoint.evaluation import Metric, Result, Row, compare
from saddlepoint.evaluation.report.compare import holm
from saddlepoint.metrics.bootstrap import proportion

FD = Metric("Fréchet distance", "lower")
RECALL = Metric("recall", "higher")


def _result(
    value: float,
    error: float | None = 1.0,
    *,
    protocol: str = "fd10k_pixels_test",
    metrics: Sequence[Metric] = (FD,),
    fingerprint: str = "ab",
    version: int = 1,
) -> Result:
    rows = [Row(metric.name, "generator", value, error) for metric in metrics]
    rows += [Row(metric.name, "held-out images", 0.5, 0.1, role="control") for metric in metrics]
    return Result(protocol, "", tuple(metrics), tuple(rows), "", "blobs", fingerprint, 0, version)


def test_a_difference_beyond_chance_names_the_better_run() -> None:
    line = compare({"a": [_result(3.0)], "b": [_result(9.0)]})[0]
    (difference,) = line.differences
    assert difference.value == -6.0
    assert difference.better == "a"
    # z = 6 / sqrt 2, two-sided.
    assert difference.p == pytest.approx(2 * stats.norm.sf(6 / 2**0.5), rel=1e-9)
    assert difference.interval == pytest.approx((-6 - 1.96 * 2**0.5, -6 + 1.96 * 2**0.5))
    assert "a better than b" in line.text()
    assert line.controls[0].value == 0.5
    higher = compare({k: [_result(v, 0.01, metrics=(RECALL,))] for k, v in (("a", 0.2), ("b", 0.9))})[0]
    assert higher.differences[0].better == "b"


def test_a_difference_within_chance_is_none() -> None:
    line = compare({"a": [_result(3.0)], "b": [_result(5.0)]})[0]
    assert line.differences[0].better is None
    assert line.text() == "no difference beyond chance"
    unknown = compare({"a": [_result(3.0, None)], "b": [_result(9.0)]})[0]
    assert unknown.differences[0].p is None
    assert "cannot be judged" in unknown.text()


def test_figures_without_a_better_end_differ_or_not() -> None:
    """A Parzen figure far above that of real images is no praise."""
    neither = Metric("log-likelihood", "neither")
    far, near = (
        compare({"a": [_result(236.0, metrics=(neither,))], "b": [_result(value, metrics=(neither,))]})[0]
        for value in (163.0, 235.0)
    )
    assert far.text() == "a and b differ (p < .001)"
    assert near.text() == "no difference beyond chance"


def test_an_interval_serves_where_there_is_no_standard_error() -> None:
    def with_interval(value: float) -> Result:
        row = Row(FD.name, "generator", value, None, (value - 1.96, value + 1.96))
        return Result("fd10k_pixels_test", "", (FD,), (row,), "", "blobs", "ab", 0)

    direct = compare({"a": [_result(3.0)], "b": [_result(6.5)]})[0].differences[0]
    found = compare({"a": [with_interval(3.0)], "b": [with_interval(6.5)]})[0].differences[0]
    assert found.p == pytest.approx(direct.p)


def test_shares_are_compared_by_their_intervals() -> None:
    """Newcombe 1998, table II: 56/70 against 48/80 and 10/10 against 0/10, method 10, to four places."""

    def share(hits: int, n: int) -> Result:
        found = proportion(np.arange(n) < hits)
        row = Row(RECALL.name, "generator", found.value, found.standard_error, found.interval)
        return Result("accuracy", "", (RECALL,), (row,), "", "blobs", "ab", 0)

    for (a, m), (b, n), wanted in (((56, 70), (48, 80), (0.0524, 0.3339)), ((10, 10), (0, 10), (0.6075, 1.0))):
        (found,) = compare({"a": [share(a, m)], "b": [share(b, n)]})[0].differences
        assert found.interval is not None
        assert found.interval == pytest.approx(wanted, abs=5e-5)
    # Nothing among 10 and 1 among 10: both standard errors together would be those of the second alone.
    (few,) = compare({"a": [share(0, 10)], "b": [share(1, 10)]})[0].differences
    assert few.interval is not None
    assert few.interval[0] < 0 < few.interval[1]
    assert compare({"a": [share(0, 10)], "b": [share(0, 10)]})[0].differences[0].interval != (0.0, 0.0)


def test_many_pairs_are_corrected_and_the_error_rate_holds() -> None:
    assert holm([0.01, 0.02, 0.03]) == pytest.approx([0.03, 0.04, 0.04])
    assert holm([0.9, None, 0.8]) == [1.0, None, 1.0]
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(400):
        results = {str(i): [_result(float(value))] for i, value in enumerate(rng.normal(10, 1, 5))}
        alarms += any(d.better for d in compare(results)[0].differences)
    # Ten pairs at once: without a correction about 28% of such tables would raise a false alarm.
    assert alarms / 400 < 0.08


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (_result(1.0, protocol="fd5k_pixels_test"), "saddle evaluate b --protocol fd10k_pixels_test"),
        (_result(1.0, fingerprint="cd"), "different data"),
        (_result(1.0, protocol="fd5k_pixels_test", fingerprint="cd"), "different data"),
        (_result(1.0, version=2), "measured in versions 1 and 2; evaluate both again"),
    ],
)
def test_what_was_measured_differently_is_refused(other: Result, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        compare({"a": [_result(1.0)], "b": [other]})


def test_what_all_have_is_compared_and_the_rest_is_named() -> None:
    """Path lengths of z and of w are two measurements; runs of both kinds of family have all else in common."""
    z, w = (_result(5.0, protocol=f"ppl10k_pixels_{space}") for space in ("z", "zw"))
    found = compare({"a": [_result(3.0), z], "b": [w, _result(9.0)]})
    assert [line.protocol for line in found] == ["fd10k_pixels_test"]
    assert found.apart == {"ppl10k_pixels_z": "a only", "ppl10k_pixels_zw": "b only"}
    assert found.to_json()["not compared"] == found.apart
    with pytest.raises(ConfigError, match="measure both again, with saddle evaluate") as caught:
        compare({"a": [z], "b": [w]})
    # No family with w can be asked for paths in z alone: that command would not work.
    assert "--protocol" not in str(caught.value)


def test_advice_names_the_whole_path() -> None:
    one, two = _result(1.0, protocol="parzen10k_cv10"), _result(1.0)
    with pytest.raises(ConfigError, match="saddle evaluate 'my runs/b' --protocol parzen10k_cv10"):
        compare({"a": [one], "b": [two]}, {"a": "my runs/a", "b": "my runs/b"})


def test_results_on_data_of_before_are_left_out() -> None:
    old, new = _result(1.0, fingerprint="cd"), _result(3.0)
    found = compare({"a": [old, new], "b": [_result(9.0)]})
    assert found[0].rows["a"].value == 3.0


def test_figures_without_an_error_are_judged_by_shuffling() -> None:
    asked = []

    def shuffled(protocol: str, one: str, two: str) -> dict[str, float]:
        asked.append((protocol, one, two))
        return {FD.name: 0.02}

    known = compare({"a": [_result(3.0)], "b": [_result(9.0)]}, shuffled=shuffled)[0].differences[0]
    assert known.interval is not None
    assert not asked  # an error that is known is used
    runs = {label: [_result(value, None)] for label, value in (("a", 3.0), ("b", 9.0), ("c", 4.0))}
    line = compare(runs, shuffled=shuffled)[0]
    assert asked == [("fd10k_pixels_test", one, two) for one, two in (("a", "b"), ("a", "c"), ("b", "c"))]
    # Three pairs: Holm's correction makes .06 of .02.
    assert [d.p for d in line.differences] == pytest.approx([0.06] * 3)
    pair = compare({"a": [_result(3.0, None)], "b": [_result(9.0)]}, shuffled=shuffled)[0]
    assert (pair.differences[0].better, pair.differences[0].interval) == ("a", None)
    assert pair.text({"a": "x", "b": "y"}) == "x better than y (p .020)"


def test_what_shuffling_would_judge_is_pending_and_uncorrected() -> None:
    runs = {label: [_result(value, None)] for label, value in (("a", 3.0), ("b", 9.0), ("c", 4.0))}
    found = compare(runs, shuffled=lambda protocol, one, two: {FD.name: 0.01} if one == "a" else None)
    assert found.pending
    assert found.to_json()["lines"][0]["pending"]
    # One of three pairs is not known, so Holm's correction of the others is not either.
    assert [d.p for d in found[0].differences] == [None] * 3
    assert found[0].text() == "not judged yet"
    assert not compare(runs, shuffled=lambda protocol, one, two: {}).pending


def test_one_run_is_no_comparison() -> None:
    with pytest.raises(ConfigError, match="at least two"):
        compare({"a": [_result(1.0)]})


def test_a_run_without_figures_is_no_comparison() -> None:
    with pytest.raises(ConfigError, match="b has no figures; measure it first"):
        compare({"a": [_result(1.0)], "b": []})
