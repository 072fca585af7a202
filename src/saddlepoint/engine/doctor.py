"""The training doctor: a verdict from the lines of a log.

`diagnose` is a pure function of the log, so it can be asked again of any log, and a resumed run, whose log was cut
back to its checkpoint, hears the same verdicts at the same steps. `engine/signs.py` takes the signs, `engine/care.py`
acts on verdicts. Every threshold is a constant of this page; docs/doctor.md explains them.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import Any, Literal, get_args

Verdict = Literal[
    "healthy",
    "discriminator too strong",
    "discriminator too weak",
    "partial collapse",
    "full collapse",
    "diverged",
    "finished",
]

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
ALARMS: tuple[Verdict, ...] = VERDICTS[1:6]

GRACE = 20_000
"""Samples seen, from the start of the game on, in which no alarm is raised."""

LATEST_START = 20_000
"""A game that has not started after this many samples and the grace period is judged as it is."""

PERSISTENCE = 3
"""Exams in a row that must agree, to raise an alarm and to take it back."""

SPAN = 8_000
"""Samples seen that these exams must span."""

STARTED = 0.02
"""Nats by which V must leave -log 4: D has learned something, the game has started."""

REACH = 5.0
"""Root mean square distance of samples from the data's centre, in units of the data's own."""

LOGITS = 300.0
"""Mean size of D's logits; sigmoid(-17) is already lost in fp32."""

FULL = 0.2
"""Spread below which the samples are one sample."""

SPREAD, NEAREST, RANK, MODES = 0.6, 0.3, 0.12, 0.7
"""Shares of the data's spread, nearest distance (images), participating axes (images) and effective modes below which a
part of the data is missing."""

CIRCLING = 0.8
"""Standard deviations of the data by which the samples' centre jumps from exam to exam."""

SURE = -0.35
"""V above which D is sure."""

IGNORANT = -1.36
"""V below which D knows nothing (-log 4 = -1.386)."""

FOOLED, CLUELESS = -1.42, 0.6
"""V below which D is not ignorant but fooled, unless `separation` is below the second number."""

WRONG = -4.0
"""V below which D has lost the game: its loss is three times that of one that knows nothing."""

SCATTERED = 3.0
"""Nearest distance among samples over that among data rows, above which samples lie between the modes."""

POOR, BAD = 0.05, 0.15
"""Energy distances, as shares of the data's mean distance. 0.41 is a generator that paints the mean image."""

UNLIKE = 0.25
"""Energy distance in the classifier's features, as a share of the data's mean distance there; 0.5 is that of blurs."""

MEMORISING = 0.75
"""Probability that D prefers a training row to a held-out one; 1/2 without memory."""

VANISHING = 0.01
"""G's gradient as a share of its largest so far."""

IMPROVEMENT = 0.85
"""Distance of the last quarter of training over that of the quarter before, below which a run is recovering."""

ORDERED = 0.8
"""Share of the pairs of a later and an earlier exam in which it must have fallen."""

STUCK, STUCK_EXAMS = 0.1, 5
"""Range of the raw distance, as a share of it, below which G has not moved over these many exams."""

TOLD_APART = 0.8
"""Probability that D prefers a data row to a sample, above which it is D that is too strong."""

PLATEAU_SHARE, PLATEAU_EXAMS, PLATEAU_NIMG = 1 / 3, 12, 60_000
"""A plateau is looked for in the last third of training, with this many exams in it, over this many samples."""

CLASSIFIED = ("classes", "raw feature distance")
"""Signs that need a classifier; they are not taken at every exam."""

LOG4 = math.log(4.0)


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor says.

    Attributes:
        verdict: one of `VERDICTS`.
        evidence: what it rests on, in words with figures; empty for healthy.
        since: samples seen when it began.
        suspicion: what the last exam alone looks like; an alarm needs several that agree.
    """

    verdict: Verdict = "healthy"
    evidence: tuple[str, ...] = ()
    since: int = 0
    suspicion: Verdict = "healthy"

    @property
    def alarming(self) -> bool:
        """Whether something is wrong."""
        return self.verdict in ALARMS

    def __str__(self) -> str:
        reasons = "; ".join(self.evidence)
        return f"{self.verdict} since {self.since / 1000:,.0f} kimg" + (f": {reasons}" if reasons else "")


@dataclass(frozen=True)
class Exam:
    """One exam: the signs of a log line, V, and what it looks like by itself if the grace period is over."""

    nimg: int
    signs: Mapping[str, float]
    value: float | None
    suspicion: Verdict = "healthy"
    evidence: tuple[str, ...] = ()
    judged: bool = False

    def get(self, name: str, default: float) -> float:
        """Return a sign, or ``default`` where it was not taken."""
        return float(self.signs.get(name, default))

    @property
    def distance(self) -> float:
        """Mean of the distances of G's samples and of its average's, as shares of the data's mean distance."""
        return (self.get("raw distance", 0.0) + self.get("distance", 0.0)) / 2

    @property
    def feature_distance(self) -> float:
        """Distance of G's samples in the features of the classifier, if there is one, else 0."""
        return self.get("raw feature distance", 0.0)


def diagnose(history: Iterable[Mapping[str, Any]]) -> Diagnosis:
    """Return the verdict at the end of a log.

    Args:
        history: the log's lines in order, as `saddlepoint.load(run).log` gives them. Lines without signs do not count.
    """
    watch = Watch()
    for line in history:
        watch.add(line)
    return watch.diagnosis


@dataclass
class Watch:
    """`diagnose`, line by line.

    Attributes:
        diagnosis: the verdict after the lines added so far.
        exams: the exams among them.
    """

    diagnosis: Diagnosis = field(default_factory=Diagnosis)
    exams: list[Exam] = field(default_factory=list)
    _started: int | None = None
    _largest_gradient: float = 0.0
    _classified: Mapping[str, float] = field(default_factory=dict)

    def add(self, line: Mapping[str, Any]) -> Diagnosis:
        """Take one more line of the log into account and return the verdict."""
        event = line.get("event")
        if event == "diverged":
            what = f"{line.get('what', 'a number')} is not finite"
            self.diagnosis = Diagnosis("diverged", (what,), int(line["nimg"]), "diverged")
        elif event == "rollback":
            # What came before was healthy; what is tried now is judged afresh.
            self.diagnosis = Diagnosis(since=int(line["nimg"]))
        elif line.get("signs"):
            value = line.get("V")
            signs = {**self._classified, **line["signs"]}
            # What the classifier saw stands until it is asked again.
            self._classified = {name: signs[name] for name in CLASSIFIED if name in signs}
            exam = Exam(int(line["nimg"]), signs, None if value is None else float(value))
            self.exams.append(self._judged(exam))
            self.diagnosis = self._with_hysteresis()
        return self.diagnosis

    @property
    def sound(self) -> bool:
        """Whether the latest exams, after the grace period, all look healthy: a state worth coming back to."""
        recent = self.exams[-PERSISTENCE:]
        well = len(recent) == PERSISTENCE and all(e.judged and e.suspicion == "healthy" for e in recent)
        return well and not self.diagnosis.alarming

    def _judged(self, exam: Exam) -> Exam:
        """Return the exam with its suspicion; none in the grace period."""
        if self._started is None and (exam.value is None or abs(exam.value + LOG4) > STARTED):
            self._started = exam.nimg
        known = self._largest_gradient
        self._largest_gradient = max(known, exam.get("gradient G", 0.0))
        # A game that starts late has its grace period then; one that never starts is judged as it is.
        if exam.nimg < (LATEST_START if self._started is None else self._started) + GRACE:
            return exam
        vanishing = known > 0 and exam.get("gradient G", math.inf) < VANISHING * known
        suspicion, evidence = _suspect(exam, [*self.exams, exam], vanishing)
        return Exam(exam.nimg, exam.signs, exam.value, suspicion, evidence, judged=True)

    def _with_hysteresis(self) -> Diagnosis:
        """An alarm is raised, renamed and taken back only by exams that agree."""
        before, latest = self.diagnosis, self.exams[-1]
        recent = self.exams[-PERSISTENCE:]
        while len(self.exams) > len(recent) and latest.nimg - recent[0].nimg < SPAN:
            recent = self.exams[-len(recent) - 1 :]
        names = [exam.suspicion for exam in recent]
        agreed = len(recent) >= PERSISTENCE and latest.nimg - recent[0].nimg >= SPAN
        ill = agreed and all(name in ALARMS for name in names)
        if before.alarming:
            if agreed and not any(name in ALARMS for name in names):
                return Diagnosis(since=recent[0].nimg)
            if not ill or len(set(names)) > 1:
                return Diagnosis(before.verdict, before.evidence, before.since, latest.suspicion)
        elif not ill:
            return self._well(before, latest)
        verdict = before.verdict if before.verdict in names else _majority(names)
        told = next(exam for exam in reversed(recent) if exam.suspicion == verdict)
        since = before.since if before.verdict == verdict else recent[0].nimg
        return Diagnosis(verdict, told.evidence, since, latest.suspicion)

    def _well(self, before: Diagnosis, latest: Exam) -> Diagnosis:
        """Healthy, or finished when two exams in a row find no improvement."""
        found = plateau(self.exams)
        if found is not None and (before.verdict == "finished" or plateau(self.exams[:-1]) is not None):
            since = before.since if before.verdict == "finished" else latest.nimg
            return Diagnosis("finished", (found,), since, latest.suspicion)
        since = latest.nimg if before.verdict == "finished" else before.since
        return Diagnosis("healthy", (), since, latest.suspicion)


def plateau(exams: Sequence[Exam]) -> str | None:
    """Say in words that the distance no longer falls beyond its error, or None.

    Of the exams in the last third of training the later half is held against the earlier one; the error is that of
    their means, from their scatter. The distance is that in the classifier's features where there is one.
    """
    if not exams:
        return None
    # The features of a classifier see more than principal axes do: strokes, not shares of ink.
    name = "raw feature distance" if "raw feature distance" in exams[-1].signs else "distance"
    start = exams[-1].nimg * (1 - PLATEAU_SHARE)
    recent = [exam for exam in exams if exam.nimg > start and name in exam.signs]
    if name in CLASSIFIED:
        # What the classifier saw is repeated until it is asked again; it counts once.
        recent = [next(same) for _, same in groupby(recent, key=lambda exam: exam.get(name, 0.0))]
    if len(recent) < PLATEAU_EXAMS or exams[-1].nimg - start < PLATEAU_NIMG:
        return None
    middle = len(recent) // 2
    older, newer = ([exam.get(name, 0.0) for exam in part] for part in (recent[:middle], recent[middle:]))
    error = math.hypot(*(statistics.stdev(part) / len(part) ** 0.5 for part in (older, newer)))
    gain = statistics.fmean(older) - statistics.fmean(newer)
    if gain > 2 * error or recent[-1].distance > BAD:
        return None
    return (
        f"{name} to the data {statistics.fmean(newer):.4f} over the last {len(newer)} exams, "
        f"{statistics.fmean(older):.4f} over the {len(older)} before: no change beyond ±{2 * error:.4f}"
    )


def recovering(exams: Sequence[Exam]) -> bool:
    """Whether the distance of the last quarter of training is clearly below that of the quarter before.

    Clearly: the mean has fallen by `IMPROVEMENT`, and of the pairs of a later and an earlier exam `ORDERED` fell, so
    that a distance that jumps about is no recovery. Where a classifier looks too, the distance in its features must
    have fallen as well.
    """
    now = exams[-1].nimg
    newer = [e for e in exams if e.nimg > 0.75 * now]
    older = [e for e in exams if 0.5 * now < e.nimg <= 0.75 * now]
    if len(newer) < 2 or len(older) < 2:
        return False
    return all(_fell([figure(e) for e in older], [figure(e) for e in newer]) for figure in _figures(exams[-1]))


def _figures(exam: Exam) -> list[Callable[[Exam], float]]:
    return [lambda e: e.distance] + ([lambda e: e.feature_distance] if "raw feature distance" in exam.signs else [])


def _fell(older: Sequence[float], newer: Sequence[float]) -> bool:
    share = statistics.fmean(late < early for late in newer for early in older)
    return statistics.fmean(newer) < IMPROVEMENT * statistics.fmean(older) and share >= ORDERED


def stuck(exams: Sequence[Exam]) -> bool:
    """Whether the raw distance has hardly moved over the last half of training (at least five exams)."""
    recent = [e.get("raw distance", 0.0) for e in exams if 2 * e.nimg > exams[-1].nimg]
    return len(recent) >= STUCK_EXAMS and max(recent) - min(recent) < STUCK * abs(statistics.fmean(recent))


def circling(exams: Sequence[Exam]) -> float:
    """Return the root mean square jump of the samples' centre over the last six exams, in the data's deviations."""
    recent = [[e.signs[name] for name in ("centre 1", "centre 2") if name in e.signs] for e in exams[-6:]]
    jumps = [math.dist(a, b) for a, b in pairwise(recent) if len(a) == len(b)]
    return math.sqrt(statistics.fmean(jump**2 for jump in jumps)) if len(jumps) >= 3 else 0.0


def _suspect(exam: Exam, exams: Sequence[Exam], vanishing: bool) -> tuple[Verdict, tuple[str, ...]]:
    """Return what one exam looks like, and why; ``exams`` are all up to and with this one."""
    if why := _diverged(exam):
        return "diverged", why
    values = [e.value for e in exams[-PERSISTENCE:] if e.value is not None]
    value = statistics.median(values) if values else 0.0
    # A D that is fooled now and then has a low V too, but it tells samples from data when asked again.
    ignorant = value < IGNORANT and (value > FOOLED or exam.get("separation", 0.5) < CLUELESS)
    game, missing = _game(exam, vanishing), _missing(exam)
    if exam.get("spread", 1.0) < FULL:
        alike = f"samples differ by {exam.get('spread', 1):.0%} of what data rows differ"
        if ignorant:
            return "discriminator too weak", (*game, alike)
        silenced = vanishing and exam.value is not None and exam.value > SURE
        return ("discriminator too strong", game) if silenced else ("full collapse", (alike, *game))
    far = f"distance of the samples to the data is {exam.distance:.2f}"
    unlike = exam.feature_distance > UNLIKE
    if ignorant and (exam.distance > BAD or unlike or (missing and exam.distance > POOR)):
        seen = (f"in the classifier's features it is {exam.feature_distance:.2f}",) if unlike else ()
        return "discriminator too weak", (*game, *missing, far, *seen)
    better = recovering(exams)
    if exam.value is not None and exam.value < WRONG and not better:
        return "discriminator too weak", (f"D takes samples for data: V is {exam.value:.1f}", *missing)
    if ignorant and not better and exam.get("nearest", 1.0) > SCATTERED:
        scattered = f"samples lie {exam.get('nearest', 1):.1f} times as far from one another as data rows"
        return "discriminator too weak", (*game, scattered)
    if exam.get("memorising", 0.5) > MEMORISING and not better:
        prefers = f"with probability {exam.get('memorising', 0):.2f}"
        return "discriminator too strong", (f"D memorises: it prefers training rows to held-out ones {prefers}",)
    if better:
        return "healthy", ()
    if missing:
        return "partial collapse", (*missing, *game)
    jump = circling(exams)
    if jump > CIRCLING and exam.distance > BAD:
        moves = f"their centre moves by {jump:.1f} standard deviations from exam to exam"
        return "partial collapse", (f"samples circle: {moves}", *game)
    return _stagnating(exam, exams, vanishing, (*game, f"{far} and does not fall"))


def _stagnating(
    exam: Exam, exams: Sequence[Exam], vanishing: bool, evidence: tuple[str, ...]
) -> tuple[Verdict, tuple[str, ...]]:
    """Say which side is to blame where samples of full diversity are far from the data and do not come nearer."""
    sure = exam.value is not None and exam.value > SURE
    if sure and (exam.distance > POOR or vanishing):
        return "discriminator too strong", evidence
    if exam.distance > BAD or (exam.distance > POOR and stuck(exams)):
        separation = exam.signs.get("separation")
        if separation is None:
            return "partial collapse", evidence
        told = f"D prefers a data row to a sample with probability {separation:.2f}"
        return ("discriminator too strong" if separation > TOLD_APART else "discriminator too weak"), (*evidence, told)
    return "healthy", ()


def _diverged(exam: Exam) -> tuple[str, ...]:
    found = []
    if exam.get("reach", 0.0) > REACH:
        found.append(f"samples lie {exam.get('reach', 0):.3g} times as far from the data's centre as data rows")
    if exam.get("logit scale", 0.0) > LOGITS:
        found.append(f"D's logits have a mean size of {exam.get('logit scale', 0):.3g}")
    return tuple(found)


def _game(exam: Exam, vanishing: bool) -> tuple[str, ...]:
    """Say how the game stands."""
    found = []
    if exam.value is not None and (exam.value > SURE or exam.value < IGNORANT):
        knows = "D is sure" if exam.value > SURE else "D knows nothing"
        found.append(f"{knows}: V is {exam.value:.2f}")
    if vanishing:
        found.append("G's gradient has vanished")
    return tuple(found)


def _missing(exam: Exam) -> tuple[str, ...]:
    """Say which part of the data's diversity is missing."""
    limits = [("spread", SPREAD, "of the data's spread"), ("modes", MODES, "of the modes")]
    if "nearest" in exam.signs and _is_high_dimensional(exam):
        limits += [("nearest", NEAREST, "of the data's nearest distances"), ("rank", RANK, "of the data's axes")]
    found = [f"samples have {exam.get(n, 1):.0%} {words}" for n, limit, words in limits if exam.get(n, 1) < limit]
    if exam.get("classes", 1.0) < MODES:
        found.append(f"the classifier sees {exam.get('classes', 1):.0%} of the classes")
    return tuple(found)


def _is_high_dimensional(exam: Exam) -> bool:
    return exam.get("axes", 2.0) > 10


def _majority(names: Sequence[Verdict]) -> Verdict:
    """The most frequent name, the latest among equals."""
    return Counter(reversed(names)).most_common(1)[0][0]
