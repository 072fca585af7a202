"""What an evaluation yields: rows of figures, gathered in a report that can be kept and compared."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from saddlepoint.core.durable import make_folder
from saddlepoint.core.errors import DataError
from saddlepoint.core.files import parse_json, read_regular, write_atomically

if TYPE_CHECKING:
    from saddlepoint.evaluation.report.gallery import Gallery

Role = Literal["model", "control"]
Better = Literal["lower", "higher", "neither"]

ARROWS: dict[str, str] = {"lower": "\u2193", "higher": "\u2191", "neither": ""}
DIRECTIONS: dict[str, str] = {"lower": "lower is better", "higher": "higher is better", "neither": ""}
"""How a direction is shown, and what it is called; a figure with a target, or without one, has none."""

STOPPED = "stopped before it was measured (Ctrl-C)"
"""Why a figure is missing after an interrupt."""

MOST_FIGURES = 16 * 1024**2
"""Bytes of ``metrics.jsonl`` that are read: an evaluation takes a ten-thousandth."""

_NUMBER, _MOST_DIGITS = (int, float), 17
PROTOCOL_NAME = re.compile(
    r"(?P<kind>[a-z]+(?:-[a-z]{2,})*(?:-[a-z]?\d+(?=_|$))?)(?:_?(?P<count>\d+)(?P<thousands>k?)(?=_|$))?(?:_(?P<rest>.+))?"
)
"""How a protocol is called: its kind, then what fixes its figure: ``fd10k_mnist-lenet_test``.

A kind that ends in a number is set off from its count: ``discriminative-h32_3k_blocks_train``."""


@dataclass(frozen=True)
class Metric:
    """One figure of a protocol.

    Attributes:
        name: the field's word for it.
        better: the direction in which samples are better; ``neither`` for figures with a target, or without one.
        unit: of the value; "" for none.
        digits: decimals shown of figures below 10; larger ones show fewer.
        least, most: between which the figure lies whatever the samples are, such as 0 and 1 for a share; None: no end.
    """

    name: str
    better: Better
    unit: str = ""
    digits: int = 2
    least: float | None = None
    most: float | None = None

    def show(self, value: float) -> str:
        """Return the value as people read it.

        >>> Metric("distance", "lower", digits=3).show(1690.6014)
        '1,691'
        >>> Metric("distance", "lower", digits=3).show(-0.0002)
        '0.000'
        """
        if self.name.endswith("p-value"):
            return f"{value:.2g}" if value >= 1e-4 else "<0.0001"
        large = len(str(int(abs(value)))) - 1 if math.isfinite(value) else 0
        decimals = max(0, self.digits - large) if self.digits != 1 else 1
        # What is rounded to nothing has no sign: 0.0 takes it away.
        return f"{round(value, decimals) + 0.0:,.{decimals}f}" if math.isfinite(value) else f"{value:f}"


@dataclass(frozen=True)
class Row:
    """One figure of one set of samples.

    Attributes:
        metric: name of the figure.
        row: whose figure it is: "generator (EMA)", "training images", ...
        value: the figure.
        standard_error: of the value, or None where none is known.
        interval: 95% interval, or None where none is claimed.
        role: model, or control for a row that needs no model.
        details: JSON values: counts really used, limits, what the interval covers.
    """

    metric: str
    row: str
    value: float
    standard_error: float | None = None
    interval: tuple[float, float] | None = None
    role: Role = "model"
    details: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Row:
        """Build a row from the object that `dataclasses.asdict` gives, after a passage through JSON."""
        interval = values.get("interval")
        _demand(values, metric=str, row=str, value=_NUMBER, details=dict)
        _demand({"interval": interval}, interval=(list, tuple, type(None)))
        if interval is not None and len(interval) != 2:
            raise ValueError(f"interval has {len(interval)} ends")
        for number in interval or ():
            _demand({"interval": number}, interval=_NUMBER)
        _demand({"standard_error": values.get("standard_error")}, standard_error=(*_NUMBER, type(None)))
        return cls(**{**values, "interval": None if interval is None else (interval[0], interval[1])})

    @property
    def error(self) -> float | None:
        """Standard error, or a quarter of the interval's width (1.96 standard errors on each side) without one."""
        if self.standard_error is not None or self.interval is None:
            return self.standard_error
        return (self.interval[1] - self.interval[0]) / 3.92

    @property
    def reach(self) -> tuple[float, float]:
        """How far the 95% interval reaches below and above the value; without one, 1.96 standard errors."""
        if self.interval is not None and self.interval[0] <= self.value <= self.interval[1]:
            return self.value - self.interval[0], self.interval[1] - self.value
        return (1.96 * (self.error or 0.0),) * 2


def gap_between(a: Row, b: Row) -> tuple[float, float, float]:
    """Return a - b of two independent figures with the ends of its 95% interval.

    The ends of the two intervals are combined, not two standard errors: those of shares are 0 where nothing, or
    everything, was a hit. Source: Newcombe 1998, method 10; Zou and Donner 2008.
    """
    gap = a.value - b.value
    return gap, gap - math.hypot(a.reach[0], b.reach[1]), gap + math.hypot(a.reach[1], b.reach[0])


@dataclass(frozen=True)
class Result:
    """The rows of one protocol, the model first.

    Attributes:
        protocol: full name, which fixes counts, extractor and split.
        summary: what it measures, in one line.
        metrics: its figures.
        rows: all rows.
        verdict: one or two sentences about them.
        data: name of the data set.
        fingerprint: of the data set.
        seed: of samples and controls.
        version: of the protocol.
        seconds: time the measurement took.
    """

    protocol: str
    summary: str
    metrics: tuple[Metric, ...]
    rows: tuple[Row, ...]
    verdict: str
    data: str
    fingerprint: str
    seed: int
    version: int = 1
    seconds: float = 0.0

    def find(self, metric: str, row: str | None = None) -> Row | None:
        """Return the row of a metric: the model's, or the named control's."""
        for candidate in self.rows:
            if candidate.metric == metric and (candidate.role == "model" if row is None else candidate.row == row):
                return candidate
        return None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Result:
        """Build a result from one line of ``metrics.jsonl``."""
        words = dict.fromkeys(("protocol", "summary", "verdict", "data", "fingerprint"), str)
        _demand(values, seed=int, version=int, seconds=_NUMBER, **words)
        for metric in values["metrics"]:
            _demand(metric, name=str, better=str, unit=str, digits=int)
            for end in ("least", "most"):
                _demand({end: metric.get(end)}, **{end: (*_NUMBER, type(None))})
            if metric["better"] not in DIRECTIONS or not 0 <= metric["digits"] <= _MOST_DIGITS:
                raise ValueError(f"'{metric['name'][:60]}' has no direction, or {str(metric['digits'])[:20]} digits")
        metrics = tuple(Metric(**metric) for metric in values["metrics"])
        rows = tuple(Row.from_json(row) for row in values["rows"])
        return cls(**{**values, "metrics": metrics, "rows": rows})


@dataclass(frozen=True)
class Report:
    """One evaluation.

    Attributes:
        results: one for each protocol.
        label: whose samples were measured.
        verdict: the whole in one sentence.
        omitted: protocols of the default set that were not measured, with the reason.
        limits: what a reader must know before trusting the figures.
        gallery: samples to look at; not kept in ``metrics.jsonl``.
        standing: the verdict in a word, one of `judgement.STANDINGS`: near, different, far, narrow, copies, unknown.
    """

    results: tuple[Result, ...]
    label: str
    verdict: str
    omitted: Mapping[str, str] = field(default_factory=dict)
    limits: tuple[str, ...] = ()
    gallery: Gallery | None = None
    standing: str = "unknown"

    @property
    def left_out(self) -> list[str]:
        """What was not measured, one sentence for each reason."""
        return left_out(self.omitted)

    @property
    def stopped(self) -> bool:
        """Whether measuring was interrupted, so that figures are missing."""
        return STOPPED in self.omitted.values()

    @property
    def controls(self) -> list[str]:
        """Names of the control sets: real rows first, then blurs and baselines, then noise."""
        names = dict.fromkeys(row.row for row in self.rows if row.role == "control")
        order = ("held-out", "training", "k-means", "block", "vector", "shuffled", "constant", "uniform")
        return sorted(names, key=lambda name: next((i for i, word in enumerate(order) if name.startswith(word)), 9))

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows of all protocols."""
        return tuple(row for result in self.results for row in result.rows)

    def find(self, kind: str, metric: str | None = None, row: str | None = None) -> Row | None:
        """Return a row by the kind of its protocol, such as ``fd``; the first metric, the model unless named."""
        for result in self.results:
            if kind_of(result.protocol) == kind:
                return result.find(metric or result.metrics[0].name, row)
        return None

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values: the verdict, where the samples stand, limits, and all rows of figures."""
        return {
            "label": self.label,
            "standing": self.standing,
            "verdict": self.verdict,
            "limits": list(self.limits),
            "not measured": dict(self.omitted),
            "results": [dataclasses.asdict(result) for result in self.results],
        }

    def to_jsonl(self, path: str | Path) -> None:
        """Append one JSON line for each protocol; the file is replaced as a whole, so it is never half written."""
        path = Path(path)
        earlier = read_regular(path, MOST_FIGURES) if path.exists() else b""
        lines = [json.dumps(dataclasses.asdict(result), sort_keys=True) for result in self.results]
        make_folder(path.parent)
        write_atomically(path, earlier + "".join(line + "\n" for line in lines).encode())


def read_results(path: str | Path) -> list[Result]:
    """Read ``metrics.jsonl``; of lines with the same protocol, data and seed the last one counts.

    Raises:
        DataError: if the file is missing or damaged.
    """
    path = Path(path)
    try:
        # In a cache of downloads, files are links.
        lines = read_regular(path, MOST_FIGURES, follow=True).decode().splitlines()
        found = [Result.from_json(parse_json(line)) for line in lines if line.strip()]
    except FileNotFoundError as error:
        raise DataError(f"there is no {path}: measure first, with saddle evaluate") from error
    except (OSError, ValueError, TypeError, KeyError, LookupError, AttributeError) as error:
        raise DataError(f"{path} cannot be read ({error}); remove it and run saddle evaluate again") from error
    return list({(result.protocol, result.fingerprint, result.seed): result for result in found}.values())


def label_of(results: Sequence[Result]) -> str:
    """Return what the model's rows are called."""
    return next((row.row for result in results for row in result.rows if row.role == "model"), "generator")


def left_out(omitted: Mapping[str, str]) -> list[str]:
    """Return what was not measured, one sentence for each reason.

    Args:
        omitted: reason by kind of protocol.

    >>> left_out({"accuracy": "no labels", "cas": "no labels"})
    ['Not measured: accuracy, cas: no labels.']
    """
    kinds: dict[str, list[str]] = {}
    for kind, reason in omitted.items():
        kinds.setdefault(reason, []).append(kind)
    return [f"Not measured: {', '.join(names)}: {reason}." for reason, names in kinds.items()]


def kept_results(folder: str | Path) -> list[Result]:
    """Return what ``metrics.jsonl`` in a folder keeps; nothing before anything was measured, or if it is damaged."""
    try:
        return read_results(Path(folder) / "metrics.jsonl")
    except DataError:
        return []


def _demand(values: Mapping[str, Any], **kinds: type | tuple[type, ...]) -> None:
    """Refuse a value of another type than is written."""
    for name, kind in kinds.items():
        value = values[name]
        if not isinstance(value, kind):
            raise TypeError(f"{name} is {str(value)[:60]!r}")
        if isinstance(value, int) and abs(value) >= 2**63:  # more than a float or an array may hold
            raise ValueError(f"{name} has {len(str(value))} digits")


def kind_of(protocol: str) -> str:
    """Return the word before the counts in a protocol's name.

    >>> kind_of("fd10k_mnist-lenet_test")
    'fd'
    """
    match = PROTOCOL_NAME.fullmatch(protocol)
    return protocol if match is None else match["kind"]


def short_count(n: int) -> str:
    """Return a count as it stands in a protocol's name.

    >>> short_count(10_000), short_count(180)
    ('10k', '180')
    """
    return f"{n // 1000}k" if n and n % 1000 == 0 else str(n)


def join(sentences: Sequence[str]) -> str:
    """Join sentences, leaving out empty ones."""
    return " ".join(sentence for sentence in sentences if sentence)


def closest_of(by_pixels: Row | None, by_features: Row | None) -> Row | None:
    """Return the row whose pairs of a sample and a training row are shown as the closest ones.

    Those of features, which see mirrored and moved copies and stand for what a person would choose, unless pixels alone
    show copies.
    """
    if by_pixels is None or by_features is None:
        return by_features or by_pixels
    copying = by_pixels.details.get("copying") and not by_features.details.get("copying")
    return by_pixels if copying else by_features
