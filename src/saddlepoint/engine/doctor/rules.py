"""What one evaluation during training looks like: rules and every threshold in them; docs/doctor.md explains them.

An evaluation is a log line with indicators (`diagnostics.py`). `suspect` is a pure function of the evaluations so far;
`verdict.py` makes a verdict of several that agree.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

Verdict = Literal[
    "too early to tell",
    "no trouble seen",
    "discriminator too strong",
    "discriminator too weak",
    "partial collapse",
    "full collapse",
    "diverged",
    "finished",
]

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
ALARMS: tuple[Verdict, ...] = VERDICTS[2:7]

REACH = 5.0  # root mean square distance of samples from the data's centre, in units of the data's own
LOGITS = 300.0  # mean size of D's logits; sigmoid(-17) is already lost in fp32
FULL = 0.2  # spread below which the samples are one sample
# Shares of the data's spread, nearest distance and axes (images), effective modes: below these a part is missing.
SPREAD, NEAREST, RANK, MODES = 0.6, 0.3, 0.12, 0.7
# Of windows: sizes of steps in time, as shares of the data's, below and above which no window of the data moves.
FLAT, ROUGH = 0.4, 2.0
# In few dimensions, share of the data rows with a sample close by, below which nothing is known to be in order: samples
# lie between the modes, or far from all.
COVERED = 0.2
CIRCLING = 0.8  # standard deviations of the data by which the samples' centre jumps from one evaluation to the next
SURE = -0.35  # V above which D is sure
IGNORANT = -1.36  # V below which D knows nothing (-log 4 = -1.386)
FOOLED, CLUELESS = -1.42, 0.6  # V below which D is not ignorant but fooled, unless `separation` is below the second
WRONG = -4.0  # V below which D has lost the game: its loss is three times that of one that knows nothing
SCATTERED = 3.0  # nearest distance among samples over that among data rows, above which samples lie between the modes
# Energy distances, as shares of the data's mean distance. 0.41 is a generator that paints the mean image.
POOR, BAD = 0.05, 0.15
MEAN = 0.4  # energy distance of a generator that paints the mean of the data; what is no nearer has learned nothing
# Energy distance in the classifier's features, as a share of the data's mean distance there; 0.5 is that of blurs.
UNLIKE = 0.25
MEMORISING = 0.75  # probability that D prefers a training row to a held-out one; 1/2 without memory
VANISHING = 0.01  # G's gradient as a share of its largest so far
# Distance of the last quarter of training over that of the quarter before, below which a run is recovering.
IMPROVEMENT = 0.85
ORDERED = 0.8  # share of the pairs of a later and an earlier evaluation in which it must have fallen
# Ranges of the raw distance over so many evaluations, as shares of it, below which G gets nowhere, and does not move.
STUCK, STILL, STUCK_EVALUATIONS = 0.1, 0.01, 5
TOLD_APART = 0.8  # probability that D prefers a data row to a sample, above which it is D that is too strong
RECENT = 3  # evaluations over which V is taken
CLASSIFIED = ("classes", "raw feature distance")
"""Indicators that need a classifier; they are not taken at every evaluation."""

Suspicion = tuple[Verdict, tuple[str, ...]]


@dataclass(frozen=True)
class Evaluation:
    """One evaluation: the indicators of a log line, V, and what it looks like by itself once indicators can tell."""

    nimg: int
    indicators: Mapping[str, float]
    value: float | None
    suspicion: Verdict = "too early to tell"
    evidence: tuple[str, ...] = ()
    judged: bool = False

    def get(self, name: str, default: float) -> float:
        """Return an indicator, or ``default`` where it was not taken."""
        return float(self.indicators.get(name, default))

    @property
    def distance(self) -> float:
        """Mean of the distances of G's samples and of its average's, as shares of the data's mean distance.

        Of windows the distance of their steps in time where it is larger.
        """
        levels = (self.get("raw distance", 0.0) + self.get("distance", 0.0)) / 2
        return max(levels, self.get("raw step distance", 0.0))

    @property
    def feature_distance(self) -> float:
        """Distance of G's samples in the features of the classifier, if there is one, else 0."""
        return self.get("raw feature distance", 0.0)

    @property
    def high_dimensional(self) -> bool:
        """Whether neighbours and axes say something about diversity."""
        return self.get("axes", 2.0) > 10

    @property
    def of_windows(self) -> bool:
        """Whether the data are windows of series."""
        return "time steps" in self.indicators


def suspect(
    evaluation: Evaluation, evaluations: Sequence[Evaluation], vanishing: bool, young: bool = False
) -> Suspicion:
    """Return what one evaluation looks like, and why.

    Args:
        evaluation: the latest.
        evaluations: all up to and with it.
        vanishing: whether G's gradient is a small part of its largest so far.
        young: whether samples that are far and alike may still spread by themselves, although nothing moves yet.
    """
    # The first rule that holds: what cannot be mended, then what samples are, then who is to blame for their distance.
    if why := _diverged(evaluation):
        return "diverged", why
    values = [e.value for e in evaluations[-RECENT:] if e.value is not None]
    value = statistics.median(values) if values else 0.0
    # A D that is fooled now and then has a low V too, but it tells samples from data when asked again.
    ignorant = value < IGNORANT and (value > FOOLED or evaluation.get("separation", 0.5) < CLUELESS)
    game, lacking = _game(evaluation, vanishing), _missing(evaluation)
    missing = tuple(lacking.values())
    if evaluation.get("spread", 1.0) < FULL:  # of one sample no other indicator means anything
        return _collapsed(evaluation, evaluations, ignorant, vanishing, game)
    far = f"distance of the samples to the data is {evaluation.distance:.2f}"
    unlike = evaluation.feature_distance > UNLIKE
    if ignorant and (evaluation.distance > BAD or unlike or (missing and evaluation.distance > POOR)):
        seen = (f"in the classifier's features it is {evaluation.feature_distance:.2f}",) if unlike else ()
        return "discriminator too weak", (*game, *missing, far, *seen)
    # From here on a run that gets better is left alone: the dynamics of 2014 are far off, and sure, for 300 kimg.
    better = recovering(evaluations)
    if evaluation.value is not None and evaluation.value < WRONG and not better:
        return "discriminator too weak", (f"D takes samples for data: V is {evaluation.value:.1f}", *missing)
    # Modes may be hit and still be wider than the data's: data rows have samples close by then, or will have.
    scattered = evaluation.get("nearest", 1.0) > SCATTERED and evaluation.get("coverage", 0.0) < COVERED
    if ignorant and not better and scattered and not falling(evaluations, "nearest"):
        apart = f"samples lie {evaluation.get('nearest', 1):.1f} times as far from one another as data rows"
        return "discriminator too weak", (*game, apart)
    if evaluation.get("memorising", 0.5) > MEMORISING and not better:
        prefers = f"with probability {evaluation.get('memorising', 0):.2f}"
        return "discriminator too strong", (f"D memorises: it prefers training rows to held-out ones {prefers}",)
    if better or (missing and rising(evaluations, "spread")):
        return _still_learning(evaluation, missing)
    sure = evaluation.value is not None and evaluation.value > SURE
    # A D that is sure is no trouble yet where G still moves; one that is not, where only the spread is missing.
    excused = not stuck(evaluations) if sure else bool(missing) and not stuck(evaluations, STILL)
    if young and excused and evaluation.distance < MEAN and lacking.keys() <= {"spread"}:
        return _still_learning(evaluation, missing)
    if missing:
        return "partial collapse", (*missing, *game)
    jump = circling(evaluations)  # only far from the data: near it, the centre's jumps are small in any case
    if jump > CIRCLING and evaluation.distance > BAD:
        moves = f"their centre moves by {jump:.1f} standard deviations from one evaluation to the next"
        return "partial collapse", (f"samples circle: {moves}", *game)
    return _stagnating(evaluation, evaluations, vanishing, sure, (*game, f"{far} and does not fall"))


def _collapsed(
    evaluation: Evaluation, evaluations: Sequence[Evaluation], ignorant: bool, vanishing: bool, game: tuple[str, ...]
) -> Suspicion:
    """Say why samples are alike; where they become less so, it is too early."""
    alike = f"samples differ by {evaluation.get('spread', 1):.0%} of what data rows differ"
    if evaluation.get("spread", 1) > FULL / 4 and rising(evaluations, "spread"):
        return "too early to tell", (f"{alike}, and by more from one evaluation to the next",)
    if ignorant:
        return "discriminator too weak", (*game, alike)
    silenced = vanishing and evaluation.value is not None and evaluation.value > SURE
    return ("discriminator too strong", game) if silenced else ("full collapse", (alike, *game))


def _still_learning(evaluation: Evaluation, missing: tuple[str, ...]) -> Suspicion:
    """Of samples that come nearer, or may yet: no trouble, or too early while they are far or lack a part."""
    if evaluation.distance > BAD or missing:
        return "too early to tell", (*missing, f"distance of the samples to the data is {evaluation.distance:.2f}")
    return _in_order(evaluation)


def _stagnating(
    evaluation: Evaluation, evaluations: Sequence[Evaluation], vanishing: bool, sure: bool, evidence: tuple[str, ...]
) -> Suspicion:
    """Say which side is to blame where samples of full diversity are far from the data and do not come nearer."""
    if sure and (evaluation.distance > POOR or vanishing):
        return "discriminator too strong", evidence
    if evaluation.distance > BAD or (evaluation.distance > POOR and stuck(evaluations)):
        separation = evaluation.indicators.get("separation")
        if separation is None:
            return "partial collapse", evidence
        told = f"D prefers a data row to a sample with probability {separation:.2f}"
        return ("discriminator too strong" if separation > TOLD_APART else "discriminator too weak"), (*evidence, told)
    return _in_order(evaluation)


def _in_order(evaluation: Evaluation) -> Suspicion:
    """No trouble; too early where, in few dimensions, samples lie close to hardly any data row."""
    if not evaluation.high_dimensional and evaluation.get("coverage", 1.0) < COVERED:
        return "too early to tell", (
            f"only {evaluation.get('coverage', 1):.0%} of the data rows have a sample close by",
        )
    return "no trouble seen", ()


def _diverged(evaluation: Evaluation) -> tuple[str, ...]:
    found = []
    if evaluation.get("reach", 0.0) > REACH:
        found.append(f"samples lie {evaluation.get('reach', 0):.3g} times as far from the data's centre as data rows")
    if evaluation.get("logit scale", 0.0) > LOGITS:
        found.append(f"D's logits have a mean size of {evaluation.get('logit scale', 0):.3g}")
    return tuple(found)


def _game(evaluation: Evaluation, vanishing: bool) -> tuple[str, ...]:
    """Say how the game stands."""
    found = []
    if evaluation.value is not None and (evaluation.value > SURE or evaluation.value < IGNORANT):
        knows = "D is sure" if evaluation.value > SURE else "D knows nothing"
        found.append(f"{knows}: V is {evaluation.value:.2f}")
    if vanishing:
        found.append("G's gradient has vanished")
    return tuple(found)


def _missing(evaluation: Evaluation) -> dict[str, str]:
    """Say which part of the data's diversity is missing, by the indicator that shows it."""
    limits = [("spread", SPREAD, "of the data's spread"), ("modes", MODES, "of the modes")]
    if "nearest" in evaluation.indicators and evaluation.high_dimensional:
        limits += [("nearest", NEAREST, "of the data's nearest distances"), ("rank", RANK, "of the data's axes")]
    found = {
        n: f"samples have {evaluation.get(n, 1):.0%} {of_what}"
        for n, limit, of_what in limits
        if evaluation.get(n, 1) < limit
    }
    if evaluation.get("classes", 1.0) < MODES:
        found["classes"] = f"the classifier sees {evaluation.get('classes', 1):.0%} of the classes"
    if not FLAT <= evaluation.get("roughness", 1.0) <= ROUGH:
        found["roughness"] = f"steps in time are {evaluation.get('roughness', 1):.0%} as large as the data's"
    return found


def recovering(evaluations: Sequence[Evaluation]) -> bool:
    """Whether the distance of the last quarter of training is clearly below that of the quarter before.

    Where a classifier looks too, the distance in its features must have fallen as well.
    """
    older, newer = _quarters(evaluations)
    return bool(older) and all(_fell([f(e) for e in older], [f(e) for e in newer]) for f in _figures(evaluations[-1]))


def rising(evaluations: Sequence[Evaluation], name: str) -> bool:
    """Whether an indicator that is too small has clearly risen since the quarter of training before the last."""
    older, newer = _quarters(evaluations)
    return bool(older) and _fell([e.get(name, 1.0) for e in newer], [e.get(name, 1.0) for e in older])


def falling(evaluations: Sequence[Evaluation], name: str) -> bool:
    """Whether an indicator that is too large has clearly fallen since the quarter of training before the last."""
    older, newer = _quarters(evaluations)
    return bool(older) and _fell([e.get(name, 1.0) for e in older], [e.get(name, 1.0) for e in newer])


def _quarters(evaluations: Sequence[Evaluation]) -> tuple[Sequence[Evaluation], Sequence[Evaluation]]:
    """Return the evaluations of the third and of the last quarter of training; of a young run the last four, halved."""
    now = evaluations[-1].nimg  # by samples seen, not by count: evaluations are dense at first
    newer = [e for e in evaluations if e.nimg > 0.75 * now]
    older = [e for e in evaluations if 0.5 * now < e.nimg <= 0.75 * now]
    if len(newer) >= 2 and len(older) >= 2:
        return older, newer
    return (evaluations[-4:-2], evaluations[-2:]) if len(evaluations) >= 4 else ((), ())


def _figures(evaluation: Evaluation) -> list[Callable[[Evaluation], float]]:
    return [lambda e: e.distance] + (
        [lambda e: e.feature_distance] if "raw feature distance" in evaluation.indicators else []
    )


def _fell(older: Sequence[float], newer: Sequence[float]) -> bool:
    # The mean, and the order of pairs (Mann and Whitney's U as a share): a distance that jumps about is no recovery.
    share = statistics.fmean(late < early for late in newer for early in older)
    return statistics.fmean(newer) < IMPROVEMENT * statistics.fmean(older) and share >= ORDERED


def stuck(evaluations: Sequence[Evaluation], least: float = STUCK) -> bool:
    """Whether the raw distance has moved by less than this share over the last half of training (five evaluations)."""
    recent = [e.get("raw distance", 0.0) for e in evaluations if 2 * e.nimg > evaluations[-1].nimg]
    return len(recent) >= STUCK_EVALUATIONS and max(recent) - min(recent) < least * abs(statistics.fmean(recent))


def circling(evaluations: Sequence[Evaluation]) -> float:
    """Return the root mean square jump of the samples' centre over six evaluations, in the data's deviations."""
    # Adversarial training that circles moves from mode to mode: each evaluation alone looks like a partial collapse.
    recent = [
        [e.indicators[name] for name in ("centre 1", "centre 2") if name in e.indicators] for e in evaluations[-6:]
    ]
    jumps = [math.dist(a, b) for a, b in pairwise(recent) if len(a) == len(b)]
    return math.sqrt(statistics.fmean(jump**2 for jump in jumps)) if len(jumps) >= 3 else 0.0
