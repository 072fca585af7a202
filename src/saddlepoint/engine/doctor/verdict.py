"""The training doctor: a verdict from the lines of a log.

`diagnose` is a pure function of the log, so that a resumed run hears the same verdicts at the same steps.
`diagnostics.py` takes the indicators, `rules.py` says what one evaluation looks like, this page what several that
agree mean, and `monitor.py` acts on it. docs/doctor.md explains the thresholds.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from saddlepoint.engine.doctor.rules import ALARMS, BAD, CLASSIFIED, VANISHING, VERDICTS, Evaluation, Verdict, suspect

__all__ = ["ALARMS", "VERDICTS", "Diagnosis", "Verdict", "Watch", "diagnose", "plateau"]

# Samples seen, from the start of the game on, in which no evaluation counts: of images, of windows and others, and of
# points in few dimensions, whose samples jump from mode to mode before they cover them.
GRACE_OF_IMAGES, GRACE, GRACE_OF_POINTS = 16_500, 20_000, 40_000
# Samples of windows seen before which a small spread alone is no alarm: prices of twenty years are learned slowly.
YOUNG = 100_000
LATEST_START = 20_000  # a game that has not started after this many samples and the grace period is judged as it is
PERSISTENCE = 3  # evaluations in a row that must agree, to raise an alarm and to take it back
# Samples seen that these evaluations must span: so many, and this share of all that were seen, so that a verdict lasts.
SPAN, SPAN_SHARE = 8_000, 0.1
AGREED = 0.8  # share of the evaluations in that span that must agree, beside the latest ones
STARTED = 0.02  # nats by which V must leave -log 4: D has learned something, the game has started

LOG4 = math.log(4.0)

# A plateau is looked for in the last third of training, with this many evaluations in it, over this many samples.
PLATEAU_SHARE, PLATEAU_EVALUATIONS, PLATEAU_NIMG = 1 / 3, 12, 60_000
CHANGES = ("rollback", "remedy")
"""Events after which training is another: gone back, or with other options from where it stands."""


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor says.

    Attributes:
        verdict: one of `VERDICTS`. "no trouble seen" is no praise: it says that training does not look broken, not
            that its samples are good, which only `saddle evaluate` says.
        evidence: what it rests on, in words with figures; empty where no trouble is seen.
        since: samples seen when it began.
        suspicion: what the last evaluation alone looks like; an alarm needs several that agree.
    """

    verdict: Verdict = "too early to tell"
    evidence: tuple[str, ...] = ()
    since: int = 0
    suspicion: Verdict = "too early to tell"

    @property
    def alarming(self) -> bool:
        """Whether something is wrong."""
        return self.verdict in ALARMS

    def __str__(self) -> str:
        reasons = "; ".join(self.evidence)
        return f"{self.verdict} since {self.since / 1000:,.0f} kimg" + (f": {reasons}" if reasons else "")


def diagnose(history: Iterable[Mapping[str, Any]]) -> Diagnosis:
    """Return the verdict at the end of a log.

    Args:
        history: the log's lines in order, as `saddlepoint.load(run).log` gives them; of use are those with indicators.
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
        evaluations: the evaluations among them.
    """

    diagnosis: Diagnosis = field(default_factory=Diagnosis)
    evaluations: list[Evaluation] = field(default_factory=list)
    _plateaus: list[str | None] = field(default_factory=list)
    _started: int | None = None
    _begun: int = 0
    _largest_gradient: float = 0.0
    _classified: Mapping[str, float] = field(default_factory=dict)

    def add(self, line: Mapping[str, Any]) -> Diagnosis:
        """Take one more line of the log into account and return the verdict."""
        event = line.get("event")
        if event == "diverged":
            what = f"{line.get('what', 'a number')} is not finite"
            self.diagnosis = Diagnosis("diverged", (what,), int(line["nimg"]), "diverged")
        elif event in CHANGES:
            # What is tried now is judged afresh, and gets its time to show.
            self.diagnosis = Diagnosis(since=int(line["nimg"]))
            self.evaluations, self._plateaus, self._begun = [], [], int(line["nimg"])
        elif line.get("signs"):
            value = line.get("V")
            indicators = {**self._classified, **line["signs"]}
            # What the classifier saw stands until it is asked again.
            self._classified = {name: indicators[name] for name in CLASSIFIED if name in indicators}
            evaluation = Evaluation(int(line["nimg"]), indicators, None if value is None else float(value))
            self.evaluations.append(self._judged(evaluation))
            self._plateaus.append(plateau(self.evaluations))
            self.diagnosis = self._with_hysteresis()
        return self.diagnosis

    @property
    def sound(self) -> bool:
        """Whether the latest evaluations, after the grace period, all see no trouble: a state worth coming back to."""
        recent = self.evaluations[-PERSISTENCE:]
        well = len(recent) == PERSISTENCE and all(e.suspicion == "no trouble seen" for e in recent)
        return well and not self.diagnosis.alarming

    def _judged(self, evaluation: Evaluation) -> Evaluation:
        """Return the evaluation with its suspicion; none in the grace period."""
        if self._started is None and (evaluation.value is None or abs(evaluation.value + LOG4) > STARTED):
            self._started = evaluation.nimg
        known = self._largest_gradient  # before this one: a gradient is held against what came before
        self._largest_gradient = max(known, evaluation.get("gradient G", 0.0))
        # A game that starts late has its grace period then; one that never starts is judged as it is.
        started = LATEST_START if self._started is None else self._started
        if evaluation.nimg < max(started, self._begun) + _grace(evaluation):
            return evaluation
        # Without a D, whose gradient is noted too, a small gradient says that little is left to learn.
        plays = "gradient D" in evaluation.indicators and known > 0
        vanishing = plays and evaluation.get("gradient G", math.inf) < VANISHING * known
        young = evaluation.of_windows and evaluation.nimg < self._begun + YOUNG
        suspicion, evidence = suspect(evaluation, [*self.evaluations, evaluation], vanishing, young)
        return Evaluation(evaluation.nimg, evaluation.indicators, evaluation.value, suspicion, evidence, judged=True)

    def _with_hysteresis(self) -> Diagnosis:
        """An alarm is raised, renamed and taken back only by evaluations that agree over some time."""
        before, latest, recent = self.diagnosis, self.evaluations[-1], self._recent()
        names = [evaluation.suspicion for evaluation in recent]
        # Raising and taking back ask for the same agreement; between the two the verdict stays what it was.
        ill, fine = (self._agree(recent, [(name in ALARMS) is wanted for name in names]) for wanted in (True, False))
        if before.alarming:
            if fine:
                return self._well(Diagnosis(since=recent[0].nimg), latest)
            if not ill or before.verdict in names:
                told = next(
                    (evaluation for evaluation in reversed(recent) if evaluation.suspicion == before.verdict), None
                )
                evidence = told.evidence if ill and told else before.evidence
                return Diagnosis(before.verdict, evidence, before.since, latest.suspicion)
        elif not ill:
            return self._well(before, latest)
        verdict = _majority([name for name in names if name in ALARMS])
        told = next(evaluation for evaluation in reversed(recent) if evaluation.suspicion == verdict)
        since = next(evaluation for evaluation in recent if evaluation.suspicion in ALARMS).nimg
        return Diagnosis(verdict, told.evidence, since, latest.suspicion)

    def _agree(self, recent: Sequence[Evaluation], same: Sequence[bool]) -> bool:
        """Whether the latest evaluations are of one mind, and most of those over the span, for long enough."""
        if len(recent) < PERSISTENCE or not all(same[-PERSISTENCE:]) or statistics.fmean(same) < AGREED:
            return False
        return recent[-1].nimg - recent[same.index(True)].nimg >= max(SPAN, AGREED * self._span())

    def _span(self) -> float:
        # It grows with training: what lasted 8 kimg of a thousand is a moment.
        return max(SPAN, SPAN_SHARE * (self.evaluations[-1].nimg - self._begun))

    def _recent(self) -> list[Evaluation]:
        """Return the evaluations that must agree: the latest ones, and all over the span."""
        latest, span, count = self.evaluations[-1].nimg, self._span(), PERSISTENCE
        while count < len(self.evaluations) and latest - self.evaluations[-count].nimg < span:
            count += 1
        return self.evaluations[-count:]

    def _well(self, before: Diagnosis, latest: Evaluation) -> Diagnosis:
        """Too early to tell, no trouble seen, or finished when two evaluations in a row find no improvement.

        Finished is taken back where no evaluation over the span finds that.
        """
        found = self._plateaus[-1]
        if before.verdict == "finished" and any(self._plateaus[-len(self._recent()) :]):
            return Diagnosis("finished", (found,) if found else before.evidence, before.since, latest.suspicion)
        if found is not None and all(self._plateaus[-2:]):
            return Diagnosis("finished", (found,), latest.nimg, latest.suspicion)
        recent = self.evaluations[-PERSISTENCE:]
        told = len(recent) == PERSISTENCE and all(evaluation.judged for evaluation in recent)
        clear = told and latest.suspicion == "no trouble seen"
        # One evaluation that looks ill changes nothing, but it does not show either that all is well.
        clear = clear or (latest.suspicion in ALARMS and before.verdict == "no trouble seen")
        verdict: Verdict = "no trouble seen" if clear else "too early to tell"
        evidence = latest.evidence if latest.suspicion == "too early to tell" else ()
        since = before.since if before.verdict == verdict else latest.nimg
        return Diagnosis(verdict, evidence, since, latest.suspicion)


def _grace(evaluation: Evaluation) -> int:
    """Return for how many samples nothing can be told of such data."""
    if evaluation.of_windows:
        return GRACE
    return GRACE_OF_IMAGES if evaluation.high_dimensional else GRACE_OF_POINTS


def plateau(evaluations: Sequence[Evaluation]) -> str | None:
    """Say in words that the distance no longer falls beyond its error, or that it rises; None while it falls.

    The later half of the evaluations in the last third of training is held against the earlier one. The distance is
    that in the classifier's features where there is one.
    """
    if not evaluations:
        return None
    # The features of a classifier see more than principal axes do: strokes, not shares of ink.
    name = "raw feature distance" if "raw feature distance" in evaluations[-1].indicators else "distance"
    start = evaluations[-1].nimg * (1 - PLATEAU_SHARE)
    recent = [evaluation for evaluation in evaluations if evaluation.nimg > start and name in evaluation.indicators]
    if name in CLASSIFIED:
        # What the classifier saw is repeated until it is asked again; it counts once.
        recent = [next(same) for _, same in groupby(recent, key=lambda evaluation: evaluation.get(name, 0.0))]
    if len(recent) < PLATEAU_EVALUATIONS or evaluations[-1].nimg - start < PLATEAU_NIMG:
        return None
    middle = len(recent) // 2
    older, newer = ([evaluation.get(name, 0.0) for evaluation in part] for part in (recent[:middle], recent[middle:]))
    # Standard error of the difference of two means, from the scatter within each.
    error = math.hypot(*(statistics.stdev(part) / len(part) ** 0.5 for part in (older, newer)))
    gain = statistics.fmean(older) - statistics.fmean(newer)
    if gain > 2 * error or recent[-1].distance > BAD:  # far from the data, standing still is trouble, not an end
        return None
    before, now = statistics.fmean(older), statistics.fmean(newer)
    change = f"it rises, by more than ±{2 * error:.4f}" if -gain > 2 * error else f"no change beyond ±{2 * error:.4f}"
    return (
        f"{name} to the data {now:.4f} over the last {len(newer)} evaluations, "
        f"{before:.4f} over the {len(older)} before: {change}"
    )


def _majority(names: Sequence[Verdict]) -> Verdict:
    """The most frequent name, the latest among equals."""
    return Counter(reversed(names)).most_common(1)[0][0]  # among equals Counter keeps the order of arrival
