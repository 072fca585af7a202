"""Reports side by side: equal protocols only, with what is larger than chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from scipy.special import ndtr

from saddlepoint._errors import ConfigError
from saddlepoint.evaluate.rows import Metric, Result, Row, gap_between, kind_of
from saddlepoint.evaluate.words import chance

LEVEL = 0.05


@dataclass(frozen=True)
class Difference:
    """Two rows of one figure.

    Attributes:
        one, two: labels of the runs.
        value: figure of ``one`` minus figure of ``two``.
        interval: 95% interval of the difference, or None where a figure has no error.
        p: two-sided p-value of no difference, corrected for the number of pairs of its figure (Holm), or None.
        better: label of the run with the better figure if the difference is larger than chance, or None.
    """

    one: str
    two: str
    value: float
    interval: tuple[float, float] | None
    p: float | None
    better: str | None


@dataclass(frozen=True)
class Line:
    """One figure of all runs.

    Attributes:
        protocol: full name.
        metric: the figure.
        rows: row of each run, by label.
        controls: rows that need no model.
        differences: one for each pair of runs.
    """

    protocol: str
    metric: Metric
    rows: Mapping[str, Row]
    controls: tuple[Row, ...]
    differences: tuple[Difference, ...]

    def words(self) -> str:
        """Say what is larger than chance, and what is not."""
        found = [d for d in self.differences if d.p is not None and d.p < LEVEL]
        if not self.differences or all(d.p is None for d in self.differences):
            return "no error is known: differences cannot be judged"
        if not found:
            return "no difference beyond chance"
        return "; ".join(
            f"{d.one} and {d.two} differ (p {_p(d.p)})"
            if d.better is None
            else f"{d.better} better than {d.two if d.better == d.one else d.one} (p {_p(d.p)})"
            for d in found
        )


def compare(results: Mapping[str, Sequence[Result]]) -> list[Line]:
    """Set the figures of several runs side by side.

    Errors count samples (and test rows where a figure's error does), not training runs: a difference beyond chance is
    one between these generators, not between their recipes. Two figures are taken as independent, which
    overstates the error of their difference where both were compared with the same test rows.

    Args:
        results: of each run, by its label.

    Raises:
        ConfigError: on fewer than two runs; if runs were measured by different protocols, on different data, or by
            different versions of a protocol.
    """
    if len(results) < 2:
        raise ConfigError(f"compare needs at least two runs, but got {len(results)}")
    named = {label: {result.protocol: result for result in found} for label, found in results.items()}
    _check(named)
    first = next(iter(named.values()))
    return [
        _line(protocol, metric, {label: own[protocol] for label, own in named.items()})
        for protocol, result in first.items()
        for metric in result.metrics
        if all(own[protocol].find(metric.name) for own in named.values())
    ]


def _check(named: Mapping[str, Mapping[str, Result]]) -> None:
    """Refuse what does not belong in one column, naming the remedy."""
    (label, first), *rest = named.items()
    for other, own in rest:
        for protocol in sorted({*first, *own}):
            one, two = first.get(protocol), own.get(protocol)
            if one is None or two is None:
                lacking, has = (label, other) if one is None else (other, label)
                near = [name for name in named[lacking] if kind_of(name) == kind_of(protocol)]
                instead = f" (it has {', '.join(near)}, which is another measurement)" if near else ""
                raise ConfigError(
                    f"{has} was measured by {protocol}, {lacking} was not{instead}; run "
                    f"saddle evaluate {lacking} --protocol {protocol}, or name the protocols to compare with --protocol"
                )
            if one.fingerprint != two.fingerprint:
                raise ConfigError(
                    f"{label} was measured against '{one.data}' ({one.fingerprint[:12]}), {other} against "
                    f"'{two.data}' ({two.fingerprint[:12]}): figures on different data cannot be compared"
                )
            if one.version != two.version:
                raise ConfigError(
                    f"{protocol} is version {one.version} for {label} and {two.version} for {other}: "
                    f"measure both again with saddle evaluate"
                )


def _line(protocol: str, metric: Metric, results: Mapping[str, Result]) -> Line:
    rows = {label: row for label, result in results.items() if (row := result.find(metric.name)) is not None}
    controls = tuple(r for r in next(iter(results.values())).rows if r.role == "control" and r.metric == metric.name)
    return Line(protocol, metric, rows, controls, _differences(metric, rows))


def _differences(metric: Metric, rows: Mapping[str, Row]) -> tuple[Difference, ...]:
    pairs = list(combinations(rows, 2))
    raw = [_p_value(rows[one], rows[two]) for one, two in pairs]
    corrected = holm(raw)
    found = []
    for (one, two), p in zip(pairs, corrected, strict=True):
        a, b = rows[one], rows[two]
        gap, low, high = gap_between(a, b)
        interval, better = None if p is None else (low, high), None
        if p is not None and p < LEVEL and metric.better != "neither":
            better = one if (gap < 0) == (metric.better == "lower") else two
        found.append(Difference(one, two, gap, interval, p, better))
    return tuple(found)


def _p_value(a: Row, b: Row) -> float | None:
    if a.error is None or b.error is None:
        return None
    gap, error = abs(a.value - b.value), chance(a, b) / 1.96
    if error == 0:
        return 1.0 if gap == 0 else 0.0
    return float(2 * ndtr(-gap / error))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values corrected for their number by the step-down method of Holm (1979); None stays None.

    >>> holm([0.01, 0.04, None])
    [0.02, 0.04, None]
    """
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    result: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, index) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        result[index] = highest
    return result


def _p(p: float | None) -> str:
    return "?" if p is None else "< .001" if p < 0.001 else f"{p:.3f}".lstrip("0")


__all__ = ["Difference", "Line", "compare", "holm"]
