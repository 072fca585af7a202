"""Reports side by side: equal protocols only, with what is larger than chance."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, overload

from scipy.special import ndtr

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.quoting import for_shell
from saddlepoint.evaluation.rows import Metric, Result, Row, gap_between, kind_of
from saddlepoint.evaluation.text import chance

LEVEL = 0.05


@dataclass(frozen=True)
class Difference:
    """Two rows of one figure.

    Attributes:
        one, two: labels of the runs.
        value: figure of ``one`` minus figure of ``two``.
        interval: 95% interval of the difference, or None where a figure has no error.
        p: two-sided p-value of no difference, corrected for the number of pairs of its figure (Holm); where a figure
            has no error, by shuffling the samples of both; None where that cannot be done either.
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
        pending: whether shuffling samples would judge them, and has not yet.
    """

    protocol: str
    metric: Metric
    rows: Mapping[str, Row]
    controls: tuple[Row, ...]
    differences: tuple[Difference, ...]
    pending: bool = False

    def text(self, names: Mapping[str, str] | None = None) -> str:
        """Say what is larger than chance, and what is not.

        Args:
            names: shorter words for the labels; None: the labels.
        """
        called = names or {label: label for label in self.rows}
        found = [d for d in self.differences if d.p is not None and d.p < LEVEL]
        if self.pending:
            return "not judged yet"
        if not self.differences or all(d.p is None for d in self.differences):
            return "no error is known: differences cannot be judged"
        if not found:
            return "no difference beyond chance"
        return "; ".join(
            f"{called[d.one]} and {called[d.two]} differ (p {_p(d.p)})"
            if d.better is None
            else f"{called[d.better]} better than {called[d.two if d.better == d.one else d.one]} (p {_p(d.p)})"
            for d in found
        )


@dataclass(frozen=True)
class Comparison(Sequence[Line]):
    """Figures of several runs side by side; a sequence of its lines.

    Attributes:
        lines: what all were measured by.
        apart: what was not compared, by protocol: who has it alone, or why it cannot be compared.
    """

    lines: tuple[Line, ...]
    apart: Mapping[str, str]

    @property
    def pending(self) -> bool:
        """Whether differences are not judged yet that shuffling samples would judge."""
        return any(line.pending for line in self.lines)

    def __len__(self) -> int:
        return len(self.lines)

    @overload
    def __getitem__(self, index: int) -> Line: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Line, ...]: ...
    def __getitem__(self, index: int | slice) -> Line | tuple[Line, ...]:
        return self.lines[index]

    def to_json(self) -> dict[str, Any]:
        """Return ``lines``, and what was ``not compared`` with the reason."""
        return {"lines": [dataclasses.asdict(line) for line in self.lines], "not compared": dict(self.apart)}


Shuffled = Callable[[str, str, str], Mapping[str, float] | None]
"""(protocol, label, label) -> p-values of the protocol's figures by name, where they have no error.

Empty: they cannot be known; None: they are not known yet."""


def compare(
    results: Mapping[str, Sequence[Result]],
    places: Mapping[str, str] | None = None,
    shuffled: Shuffled = lambda protocol, one, two: {},
) -> Comparison:
    """Set the figures of several runs side by side.

    Errors count samples (and test rows where a figure's error does), not training runs: a difference beyond chance is
    one between these generators, not between their recipes. Two figures are taken as independent, which
    overstates the error of their difference where both were compared with the same test rows.

    Args:
        results: of each run, by its label.
        places: folder of each, for advice that can be pasted; None: the labels.
        shuffled: judges figures without an error.

    Raises:
        ConfigError: on fewer than two runs; if they were measured on different data, or by no protocol in common.
    """
    if len(results) < 2:
        raise ConfigError(f"compare needs at least two runs, but got {len(results)}")
    named = {label: {r.protocol: r for r in own} for label, own in on_the_same_data(results).items()}
    apart = _apart(named)
    lines = tuple(
        _line(protocol, metric, {label: own[protocol] for label, own in named.items()}, shuffled)
        for protocol, result in next(iter(named.values())).items()
        if protocol not in apart
        for metric in result.metrics
        if all(own[protocol].find(metric.name) for own in named.values())
    )
    if not lines:
        said = "; ".join(f"{protocol}: {why}" for protocol, why in list(apart.items())[:3])
        raise ConfigError(f"these runs have no measurement in common ({said}){_advice(named, places)}")
    return Comparison(lines, apart)


def on_the_same_data(results: Mapping[str, Sequence[Result]]) -> dict[str, list[Result]]:
    """Return the results that are on data which all runs were measured against.

    Raises:
        ConfigError: if there is no such data, or a run has no results.
    """
    if bare := [label for label, own in results.items() if not own]:
        raise ConfigError(f"{', '.join(bare)} has no figures; measure it first with saddle evaluate")
    common = set.intersection(*({result.fingerprint for result in own} for own in results.values()))
    if not common:
        said = dict.fromkeys(f"{label} against '{own[-1].data}' ({own[-1].fingerprint[:12]})"
                             for label, own in results.items())  # fmt: skip
        raise ConfigError(f"figures on different data cannot be compared: {', '.join(said)}")
    # Of data that changed and came back, what was measured last counts.
    chosen = next(r.fingerprint for r in reversed(next(iter(results.values()))) if r.fingerprint in common)
    return {label: [r for r in own if r.fingerprint == chosen] for label, own in results.items()}


def _apart(named: Mapping[str, Mapping[str, Result]]) -> dict[str, str]:
    """Return what does not stand in one column, by protocol, with the reason."""
    found: dict[str, str] = {}
    for protocol in dict.fromkeys(protocol for own in named.values() for protocol in own):
        having = [label for label, own in named.items() if protocol in own]
        versions = {named[label][protocol].version for label in having}
        if len(having) < len(named):
            found[protocol] = f"{' and '.join(having)} only"
        elif len(versions) > 1:
            found[protocol] = f"measured in versions {' and '.join(map(str, sorted(versions)))}; evaluate both again"
    return found


def _advice(named: Mapping[str, Mapping[str, Result]], places: Mapping[str, str] | None) -> str:
    """Return the command that measures one run by what another has, if there is one that works."""
    for having, own in named.items():
        for label, other in named.items():
            for protocol in own:
                if protocol not in other and (argument := asked_for(protocol)):
                    place = (places or {}).get(label, label)
                    return f"; measure {label} by what {having} has: " + for_shell(
                        "saddle", "evaluate", Path(place), "--protocol", argument
                    )
    return "; measure both again, with saddle evaluate"


def asked_for(protocol: str) -> str:
    """Return the word that asks for a protocol again: its full name; "" for one that a family alone can be asked for.

    >>> asked_for("fd10k_pixels_test"), asked_for("parzen10k_cv10"), asked_for("ppl339_pixels_z")
    ('fd10k_pixels_test', 'parzen10k_cv10', '')
    """
    return "" if kind_of(protocol) == "ppl" else protocol


def _line(protocol: str, metric: Metric, results: Mapping[str, Result], shuffled: Shuffled) -> Line:
    rows = {label: row for label, result in results.items() if (row := result.find(metric.name)) is not None}
    controls = tuple(r for r in next(iter(results.values())).rows if r.role == "control" and r.metric == metric.name)
    return Line(protocol, metric, rows, controls, *_differences(protocol, metric, rows, shuffled))


def _differences(
    protocol: str, metric: Metric, rows: Mapping[str, Row], shuffled: Shuffled
) -> tuple[tuple[Difference, ...], bool]:
    """Return the differences of all pairs, and whether some are not judged yet: then the corrections are not either."""
    pairs = list(combinations(rows, 2))
    by_error = [_p_value(rows[one], rows[two]) for one, two in pairs]
    dealt = [{} if p is not None else shuffled(protocol, *pair) for pair, p in zip(pairs, by_error, strict=True)]
    pending = any(found is None for found in dealt)
    raw = [
        None if pending else (found or {}).get(metric.name) if p is None else p
        for p, found in zip(by_error, dealt, strict=True)
    ]
    found = []
    for (one, two), p, own in zip(pairs, holm(raw), by_error, strict=True):
        a, b = rows[one], rows[two]
        gap, low, high = gap_between(a, b)
        interval, better = None if own is None else (low, high), None
        if p is not None and p < LEVEL and metric.better != "neither":
            better = one if (gap < 0) == (metric.better == "lower") else two
        found.append(Difference(one, two, gap, interval, p, better))
    return tuple(found), pending


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


__all__ = ["Comparison", "Difference", "Line", "compare", "holm"]
