"""Where samples stand, by all figures of a report: how like the data, how much of its variety, whether they copy.

The worst figure decides, and is named first: a small distance does not outweigh samples that lie outside the data, and
no figure outweighs copies. docs/evaluation.md has the rule with its limits.
"""

from __future__ import annotations

from dataclasses import dataclass

from saddlepoint.evaluation.measurements.distribution import FRECHET, UNBIASED
from saddlepoint.evaluation.measurements.divergence import LEVEL
from saddlepoint.evaluation.rows import Metric, Report, Row, kind_of
from saddlepoint.evaluation.text import chance, judged

STANDINGS = ("near", "different", "far", "narrow", "copies", "unknown")
"""What `Judgement.standing` can be."""

NEAR, DIFFERENT, FAR = 0, 1, 2

_BY_FEATURES = ("fd", "kd", "prdc")
"""Kinds of protocols whose features may be plain pixels."""

_VETOES = ("memorisation", "feature-copies", "leave-out", "membership-inference", "ppl")
"""Kinds of protocols that can refuse samples, and cannot praise them."""

_BLIND = 0.05
"""Width in nats of the bound's interval above which a small bound says nothing."""

_BOUND = (0.05, 0.3)
"""Lower ends of the bound, in nats, from which samples are different, and far."""

_SPREAD = (0.05, 0.25)
"""Fréchet distance beyond held-out rows', in units of what the mean of the data alone would get, from which samples are
different, and far."""

_OF_NOISE = (0.1, 1.0)
"""The same for the kernel distance, in units of uniform noise's: it has no scale of its own."""

_PRECISION = (0.9, 0.5)
"""Share of held-out rows' precision below which samples are different, and far."""

_QUALITY = (0.9, 0.5)
"""Share of samples within 3 sigma of a mode (real ones: .99) below which samples are different, and far."""

_VARIETY = ((0.95, "nearly all"), (0.75, "most"), (0.3, "a part"), (-1.0, "little"))
"""Shares of held-out rows' recall or coverage above which the words hold."""

_NARROW = 0.75
"""Share of the variety below which no samples are called near the data."""


@dataclass(frozen=True)
class Judgement:
    """What all figures say together.

    Attributes:
        standing: one of `STANDINGS`: ``near``, ``different`` or ``far`` from the data; ``narrow``: near, with a part of
            its variety; ``copies`` of training rows; ``unknown``: nothing measured can tell.
        parts: what is said of likeness, variety and copying, as parts of one sentence.
    """

    standing: str
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Voice:
    """What one figure says of likeness.

    Attributes:
        level: `NEAR`, `DIFFERENT` or `FAR`; None: it cannot tell.
        says: its figure in words, to be set in brackets.
        whole: the sentence it makes on its own; "": one is made of level and words.
    """

    level: int | None
    says: str
    whole: str = ""


def judge(report: Report, held_out: str) -> Judgement:
    """Weigh all figures of a report on images or vectors.

    Args:
        report: its verdict is not looked at.
        held_out: name of the control row of held-out rows, such as ``held-out images``.
    """
    noun = held_out.removeprefix("held-out ")
    level, likeness = likeness_of(report, noun)
    share, variety = _variety(report, held_out)
    copying = _copying(report)
    copies = any(row is not None and row.details.get("copying") for row in _near_copies(report))
    parts = tuple(part for part in (likeness, variety, _labels(report), copying) if part)
    if copies:
        return Judgement("copies", parts)
    if level is None:
        return Judgement("narrow" if share is not None and share < _NARROW else "unknown", parts)
    if level == NEAR and share is not None and share < _NARROW:
        return Judgement("narrow", parts)
    return Judgement(("near", "different", "far")[level], parts)


def likeness_of(report: Report, noun: str) -> tuple[int | None, str]:
    """Return the level of the worst figure of likeness (None: nothing can tell) and the words for it."""
    voices = [voice for voice in (_probed(report, noun), *_measured(report, f"held-out {noun}")) if voice is not None]
    known = [voice for voice in voices if voice.level is not None]
    if not known:
        return None, next((voice.whole for voice in voices), "")
    level = max(voice.level or 0 for voice in known)
    first, *others = sorted(known, key=lambda voice: -(voice.level or 0))
    if first.whole:
        added = [voice.says for voice in others if (voice.level or 0) > NEAR]
        return level, first.whole + (f" ({'; '.join(added)})" if added else "")
    word = ("close to", "different from", "far from")[level]
    says = "; ".join(voice.says for voice in (first, *others))
    return level, f"the samples are {word} real {noun} ({says})"


def _probed(report: Report, noun: str) -> Voice | None:
    """What a fresh probe says; it sees pixels themselves, so it needs no extractor."""
    bound, test = report.find("jsd"), report.find("jsd", "two-sample accuracy")
    if bound is None:
        return None
    accuracy = "" if test is None else f"; it is right in {test.value:.0%} of cases"
    says = "a fresh probe finds little" + accuracy
    low, high = bound.interval or (bound.value, bound.value)
    # A probe that learned from few rows finds little, whatever there is to find.
    blind = high - low > _BLIND
    p = report.find("jsd", "two-sample p-value")
    if low <= 0 and (p is None or p.value >= LEVEL):
        whole = f"a fresh probe cannot tell the samples from real {noun}" + (
            ", but it saw few of them" if blind else ""
        )
        return Voice(None if blind else NEAR, says, whole)
    if low <= 0 or (low < _BOUND[0] and blind):
        told = f"a fresh probe tells the samples from real {noun}"
        return Voice(DIFFERENT, says, f"{told}, but it saw too few to say how different they are{accuracy}")
    shows = f"a fresh probe shows a Jensen-Shannon divergence of at least {low:.2f} of .69 nats{accuracy}"
    return Voice(_level(low, _BOUND), shows)


def _level(value: float, steps: tuple[float, float]) -> int:
    return NEAR if value < steps[0] else DIFFERENT if value < steps[1] else FAR


def _measured(report: Report, held_out: str) -> list[Voice]:
    """What distances and precision say; by plain pixels nothing is called near, for blurs are near there, too."""
    measures = (("modes", _by_modes), ("fd", _by_frechet), ("kd", _by_kernel), ("prdc", _by_precision))
    found = [(kind, measure(report, held_out)) for kind, measure in measures]
    voices = [(kind, voice) for kind, voice in found if voice is not None]
    return [
        Voice(None, voice.says) if voice.level == NEAR and by_pixels(report, kind) else voice for kind, voice in voices
    ]


def by_pixels(report: Report, kind: str) -> bool:
    """Whether a protocol was measured on plain pixels."""
    return any(kind_of(r.protocol) == kind and cannot_judge(r.protocol) for r in report.results)


def ranks(protocol: str) -> bool:
    """Whether a good figure speaks for samples by itself, so that runs may be ordered by it.

    None by plain pixels does, nor one that a generator of one picture has at its best: it copies nothing, and its paths
    have no length.

    >>> ranks("fd1k_mnist-lenet_test"), ranks("fd1k_pixels_test"), ranks("ppl379_mnist-lenet_z")
    (True, False, False)
    """
    return not cannot_judge(protocol) and kind_of(protocol) not in _VETOES


def cannot_judge(protocol: str) -> bool:
    """Whether a figure is one by which nothing can be called good: a distance or a share by plain pixels.

    >>> cannot_judge("prdc379_pixels_test"), cannot_judge("prdc379_dino_test"), cannot_judge("memorisation379_pixels")
    (True, False, False)
    """
    return kind_of(protocol) in _BY_FEATURES and "_pixels" in protocol


def _pair(report: Report, kind: str, metric: str, held_out: str) -> tuple[Row, Row] | None:
    """Return the model's row and that of held-out rows, if they are of about as many samples."""
    model, real = report.find(kind, metric), report.find(kind, metric, held_out)
    if model is None or real is None:
        return None
    n, other = (int(row.details.get("n", 0)) for row in (model, real))
    return (model, real) if abs(n - other) <= 0.2 * max(n, other) else None


def _says(metric: Metric, model: Row, real: Row) -> str:
    return f"{metric.name} {metric.show(model.value)}, {real.row} {metric.show(real.value)}"


def _by_modes(report: Report, held_out: str) -> Voice | None:
    """The share of samples within 3 sigma of a mode, of data whose modes are known."""
    row = report.find("modes", "high-quality share")
    if row is None:
        return None
    level = FAR if row.value < _QUALITY[1] else DIFFERENT if row.value < _QUALITY[0] else NEAR
    return Voice(level, f"{row.value:.0%} of the samples lie within 3 sigma of a mode")


def _by_frechet(report: Report, held_out: str) -> Voice | None:
    """Judge by the figure without bias where there is one; that as published depends on the number of rows."""
    raw = report.find("fd", FRECHET.name)
    unbiased = (report.find("fd", UNBIASED.name), report.find("fd", UNBIASED.name, held_out))
    pair = unbiased if None not in unbiased else _pair(report, "fd", FRECHET.name, held_out)
    if raw is None or pair is None or not raw.details.get("spread"):
        return None
    model, real = pair
    assert model is not None
    assert real is not None
    share = (model.value - real.value) / float(raw.details["spread"])
    shown = report.find("fd", FRECHET.name, held_out)
    level: int | None = _level(share, _SPREAD)
    # Of fewer rows than features the raw figure is mostly its bias, which is smaller for what varies less, as blurs do.
    few = min(int(raw.details.get(n, 0)) for n in ("n_real", "n_fake")) < int(raw.details.get("dimensions", 0))
    if few and None in unbiased and level == NEAR:
        level = None
    return Voice(level, _says(FRECHET, raw, shown if shown is not None else real))


def _by_kernel(report: Report, held_out: str) -> Voice | None:
    model, real = report.find("kd"), report.find("kd", None, held_out)
    noise = report.find("kd", None, "uniform noise")
    if model is None or real is None or noise is None or noise.value <= real.value:
        return None
    metric = Metric(model.metric, "lower", digits=3)
    if judged(model, real) and model.value <= real.value + chance(model, real):
        return Voice(NEAR, _says(metric, model, real))
    return Voice(_level((model.value - real.value) / (noise.value - real.value), _OF_NOISE), _says(metric, model, real))


def _by_precision(report: Report, held_out: str) -> Voice | None:
    pair = _pair(report, "prdc", "precision", held_out)
    if pair is None or pair[1].value <= 0:
        return None
    model, real = pair
    share = model.value / real.value
    level = FAR if share < _PRECISION[1] else DIFFERENT if share < _PRECISION[0] else NEAR
    if level == DIFFERENT and judged(model, real) and model.value >= real.value - chance(model, real):
        level = NEAR
    return Voice(level, f"precision {model.value:.2f}, {real.row} {real.value:.2f}")


def _variety(report: Report, held_out: str) -> tuple[float | None, str]:
    """Return the share of the variety that the worst figure shows (None: not measured), and words."""
    if (modes := report.find("modes", "modes")) is not None:
        of = modes.details.get("of")
        return (modes.value / float(of) if of else None), f"{modes.value:.0f} of {of or '?'} modes are hit"
    shares = []
    for name in ("recall", "coverage"):
        model, real = report.find("prdc", name), report.find("prdc", name, held_out)
        if model is not None and real is not None and real.value > 0:
            shares.append((model.value / real.value, f"{name} {model.value:.2f}, held-out {real.value:.2f}"))
    lost = missing_classes(report)
    missing = f"classes {lost} are missing or rare" if lost else ""
    if not shares:
        return (0.0, missing) if lost else (None, "")
    share, figures = min(shares)
    word = next(word for least, word in _VARIETY if share > least)
    told = f"they have {word} of the variety ({figures})" + (f", and {missing}" if missing else "")
    return (min(share, _NARROW / 2) if lost else share), told


def missing_classes(report: Report) -> str:
    """Return the names of classes that hold less than half their share of the data, joined; "" if none."""
    row = report.find("classes")
    return "" if row is None else str(row.details.get("rare", ""))


def _labels(report: Report) -> str:
    """Say whether samples are of the class that was asked for, where they are not."""
    row = report.find("accuracy")
    return "" if row is None or row.value >= 0.9 else f"{row.value:.0%} of them show the class that was asked for"


def _near_copies(report: Report) -> tuple[Row | None, Row | None]:
    """Return the shares of near copies, by pixels (or shapes) and by features."""
    return report.find("memorisation", "near copies"), report.find("feature-copies")


def _copying(report: Report) -> str:
    rows = [row for row in _near_copies(report) if row is not None]
    for row in rows:
        if row.details.get("copying"):
            by = ", by features," if row.metric.endswith("by features") else ""
            return f"some are copies of training data: {row.value:.1%} lie nearer to it{by} than 99% of real rows do"
    return "there is no sign that they copy training data" if rows else ""


def blurs_win(report: Report) -> bool:
    """Whether k-means centroids come nearer than held-out rows by plain pixels: such a figure cannot judge."""
    for kind in ("fd", "kd"):
        names = {row.row.split()[0]: row.row for row in report.rows if row.role == "control"}
        real, blurs = (report.find(kind, None, names.get(word, word)) for word in ("held-out", "k-means"))
        if by_pixels(report, kind) and real is not None and blurs is not None and blurs.value < real.value:
            return True
    return False
