"""Verdicts from logs written by hand: each verdict, its evidence, and that one noisy evaluation says nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saddlepoint.engine.doctor import rules, verdict
from saddlepoint.engine.doctor.verdict import ALARMS, VERDICTS, Diagnosis, Watch, diagnose

HEALTHY = {
    "axes": 64.0,
    "spread": 0.9,
    "nearest": 0.85,
    "rank": 0.6,
    "reach": 0.95,
    "modes": 0.97,
    "classes": 0.97,
    "separation": 0.9,
    "memorising": 0.5,
    "logit scale": 1.2,
    "centre 1": 0.05,
    "centre 2": 0.05,
    "gradient G": 1.0,
    "gradient D": 1.0,
    "raw distance": 0.01,
    "distance": 0.01,
}
Line = dict[str, Any]
Change = Callable[[float], dict[str, float]]


def log(kimg: int, change: Change = lambda at: {}, every: int = 10, start: int = 10, value: float = -1.2) -> list[Line]:
    """A log with one line per ``every`` kimg; ``change`` gives the signs (and V) that differ from a healthy run's."""
    lines = []
    for at in range(start, kimg + 1, every):
        changed = change(at)
        v = changed.pop("V", value)
        lines.append({"step": at * 10, "nimg": at * 1000, "V": v, "signs": {**HEALTHY, **changed}})
    return lines


def ill_from(start: float, **signs: float) -> Change:
    return lambda at: dict(signs) if at >= start else {}


CASES = [
    ("full collapse", {"spread": 0.03, "modes": 0.1, "raw distance": 0.5, "distance": 0.4}, "samples differ by 3%"),
    ("partial collapse", {"modes": 0.4}, "samples have 40% of the modes"),
    ("partial collapse", {"spread": 0.4}, "samples have 40% of the data's spread"),
    ("partial collapse", {"nearest": 0.1}, "nearest distances"),
    ("partial collapse", {"rank": 0.05}, "of the data's axes"),
    ("discriminator too strong", {"V": -0.05, "raw distance": 0.3, "distance": 0.3}, "D is sure: V is -0.05"),
    ("discriminator too strong", {"memorising": 0.95}, "D memorises"),
    (
        "discriminator too strong",
        {"spread": 0.05, "V": -0.01, "gradient G": 1e-6, "raw distance": 0.4, "distance": 0.4},
        "G's gradient has vanished",
    ),
    ("discriminator too strong", {"separation": 1.0, "raw distance": 0.3, "distance": 0.3}, "does not fall"),
    ("discriminator too weak", {"V": -1.386, "raw distance": 0.3, "distance": 0.3}, "D knows nothing: V is -1.39"),
    ("discriminator too weak", {"V": -1.386, "spread": 0.01}, "samples differ by 1%"),
    ("discriminator too weak", {"V": -12.0, "separation": 0.0, "spread": 0.1}, "D knows nothing: V is -12.00"),
    ("discriminator too weak", {"V": -16.0}, "D takes samples for data: V is -16.0"),
    ("partial collapse", {"V": -3.0, "separation": 0.95, "modes": 0.3, "raw distance": 0.3}, "30% of the modes"),
    ("partial collapse", {"classes": 0.4}, "the classifier sees 40% of the classes"),
    ("diverged", {"reach": 40.0}, "40 times as far"),
    ("diverged", {"logit scale": 5000.0}, "D's logits have a mean size of 5e+03"),
]


@pytest.mark.parametrize(("verdict", "signs", "words"), CASES)
def test_each_verdict_and_its_evidence(verdict: str, signs: dict[str, float], words: str) -> None:
    found = diagnose(log(150, ill_from(80, **signs)))
    assert found.verdict == verdict
    assert words in "; ".join(found.evidence)
    assert found.since == 80_000
    assert found.alarming
    assert found.verdict in str(found)
    assert "since 80 kimg" in str(found)


WELL, EARLY = "no trouble seen", "too early to tell"


def test_an_empty_log_and_a_young_run_are_too_early_and_a_run_without_signs_of_trouble_is_no_more_than_that() -> None:
    """Two steps say nothing; from 30 kimg on signs are judged, and three evaluations must agree."""
    assert diagnose([]) == Diagnosis()
    for lines in (log(40), [{"step": 1, "nimg": 10, "V": -0.01}]):
        assert diagnose(lines).verdict == EARLY
    assert diagnose(log(100)) == Diagnosis(WELL, (), 50_000, WELL)
    assert [diagnose(log(kimg)).alarming for kimg in (10, 100)] == [False, False]


def test_a_spread_that_still_rises_is_no_collapse_and_one_that_stays_is() -> None:
    """What series look like at 45 kimg: a third of the data's spread, and more from one evaluation to the next."""

    def change(at: float) -> dict[str, float]:
        return {"spread": min(0.9, at / 250), "raw distance": 0.04, "distance": 0.04}

    said = verdicts(log(300, change))
    assert set(said) == {EARLY, WELL}
    assert diagnose(log(100, change)).evidence[0] == "samples have 40% of the data's spread"
    assert diagnose(log(150, lambda at: change(min(at, 60)))).verdict == "partial collapse"
    tiny = {"raw distance": 0.3, "distance": 0.3}
    assert diagnose(log(80, lambda at: tiny | {"spread": at / 500})).verdict == EARLY
    assert diagnose(log(120, lambda at: tiny | {"spread": 0.1})).verdict == "full collapse"


WINDOWS = {"time steps": 24.0, "roughness": 1.0, "raw step distance": 0.01}


def test_windows_that_are_alike_are_no_alarm_before_they_had_time_and_one_after() -> None:
    """Default training on stock prices at 45 kimg: 29% of the spread, .2 away; nothing moves before 60 kimg."""
    base = {**WINDOWS, "spread": 0.29, "distance": 0.2}
    change = lambda at: base | {"raw distance": 0.2 + 0.002 * (at % 20)}  # noqa: E731
    assert set(verdicts(log(90, change))) == {EARLY}
    assert diagnose(log(90, change)).evidence[0] == "samples have 29% of the data's spread"
    assert diagnose(log(150, change)).verdict == "partial collapse"
    slow = {"V": -0.1} | base
    assert diagnose(log(90, lambda at: slow | {"raw distance": 0.2 + at % 20 / 2000}, every=5)).verdict in ALARMS
    still = base | {"raw distance": 0.2}  # a generator whose learning rate is next to nothing
    assert diagnose(log(90, lambda at: dict(still), every=5)).verdict == "partial collapse"
    moving = {at: 0.2 + 0.002 * at for at in range(10, 151, 10)}  # as of a table of 200 rows, which D knows soon
    sure = lambda at: base | {"V": -0.25, "raw distance": moving[at]}  # noqa: E731
    assert diagnose(log(90, sure)).verdict == EARLY
    assert diagnose(log(150, sure)).verdict == "partial collapse"
    assert diagnose(log(90, lambda at: change(at) | {"spread": 0.05})).verdict == "full collapse"
    assert diagnose(log(90, lambda at: change(at) | {"roughness": 4.0})).verdict == "partial collapse"


def test_points_in_few_dimensions_are_in_order_only_where_samples_cover_the_data() -> None:
    """Samples between the modes of a ring have its spread and its modes; hardly a data row has one close by."""
    points = {"axes": 2.0, "coverage": 0.02}
    found = diagnose(log(200, lambda at: dict(points)))
    assert (found.verdict, found.evidence) == (EARLY, ("only 2% of the data rows have a sample close by",))
    assert diagnose(log(200, lambda at: points | {"coverage": 0.6})).verdict == WELL
    assert diagnose(log(200, lambda at: {"coverage": 0.02})).verdict == WELL  # says nothing in 64 dimensions


def test_points_jump_from_mode_to_mode_before_they_are_judged() -> None:
    ill = {"axes": 2.0, "coverage": 0.5, "modes": 0.4}
    assert first_alarm(log(200, lambda at: dict(ill))) == 70
    assert first_alarm(log(200, lambda at: {"modes": 0.4})) == 50
    assert first_alarm(log(200, lambda at: {**WINDOWS, "modes": 0.4})) == 50


def first_alarm(lines: list[Line]) -> int:
    """Return the kimg of the first alarm."""
    watch = Watch()
    return next(line["nimg"] // 1000 for line in lines if watch.add(line).alarming)


def test_no_trouble_is_not_said_while_the_latest_evaluation_looks_ill() -> None:
    assert diagnose(log(50, ill_from(50, spread=0.3))).verdict == EARLY
    assert diagnose(log(50)).verdict == WELL
    assert diagnose(log(60, ill_from(60, spread=0.3))).verdict == WELL


def test_a_spread_of_nothing_that_doubles_is_a_collapse() -> None:
    far = {"raw distance": 0.5, "distance": 0.5}
    assert diagnose(log(100, lambda at: far | {"spread": at / 50_000})).verdict == "full collapse"


@pytest.mark.parametrize(("sign", "value"), [("roughness", 0.2), ("roughness", 3.0), ("raw step distance", 0.4)])
def test_windows_whose_steps_in_time_are_no_steps_of_the_data_are_an_alarm(sign: str, value: float) -> None:
    """Lines as flat or as rough as no line of the data is, although every level is right."""
    assert diagnose(log(100, lambda at: {"roughness": 1.1, "raw step distance": 0.01})).verdict == WELL
    assert diagnose(log(100, lambda at: {"roughness": 1.0, sign: value})).alarming


def test_an_alarm_of_a_long_run_must_last_a_tenth_of_it() -> None:
    """Three evaluations of 10,000 samples are nothing at 1,000,000; what stays for 100,000 is said, once."""
    short, long = ill_from(980, spread=0.3), ill_from(900, spread=0.3)
    assert not diagnose(log(1000, short)).alarming
    assert diagnose(log(1000, long)).verdict == "partial collapse"
    jumpy = verdicts(log(1000, lambda at: {"spread": 0.3 if at > 400 and at // 30 % 2 else 0.9}))
    assert not set(jumpy) & set(ALARMS)


@pytest.mark.parametrize(("verdict", "signs", "words"), CASES)
def test_it_takes_three_evaluations_to_raise_an_alarm_and_three_to_take_it_back(
    verdict: str, signs: dict[str, float], words: str
) -> None:
    watch, said = Watch(), []
    for line in log(200, lambda at: dict(signs) if 80 <= at < 120 else {}):
        said.append(watch.add(line).verdict)
    expected = [EARLY] * 4 + [WELL] * 5 + [verdict] * 4 + [WELL] * 7
    assert said == expected


@pytest.mark.parametrize("ill", [(80,), (80, 90), (80, 100, 120, 140), (80, 90, 110, 120, 140, 150)])
def test_noisy_evaluations_raise_no_alarm(ill: tuple[int, ...]) -> None:
    for _, signs, _ in CASES:
        watch = Watch()
        for line in log(200, lambda at, signs=signs: dict(signs) if at in ill else {}):  # type: ignore[misc]
            assert not watch.add(line).alarming
        assert watch.diagnosis.suspicion == WELL


def test_evaluations_that_disagree_on_the_name_are_an_alarm_by_majority() -> None:
    def change(at: float) -> dict[str, float]:
        return {} if at < 80 else {"modes": 0.4} if at % 20 == 0 else {"spread": 0.01}

    assert diagnose(log(100, change)).verdict == "partial collapse"
    assert diagnose(log(150, change)).verdict == "partial collapse"


def test_evaluations_close_together_must_still_span_time() -> None:
    """Ten evaluations within 8,000 samples are one moment."""
    lines = log(60)
    close = [
        {"step": 7000 + i, "nimg": 70_000 + 700 * i, "V": -1.2, "signs": {**HEALTHY, "spread": 0.01}} for i in range(14)
    ]
    said = []
    watch = Watch()
    for line in [*lines, *close]:
        said.append((line["nimg"], watch.add(line).verdict))
    assert [verdict for nimg, verdict in said if nimg < 78_000] == [EARLY] * 4 + [WELL] * (2 + 12)
    assert said[-1][1] == "full collapse"


def test_no_alarm_in_the_grace_period_counted_from_the_start_of_the_game() -> None:
    """D of 2014 knows nothing for 20,000 images; what G paints then is the mean image."""

    def change(at: float) -> dict[str, float]:
        return {"V": -1.386 if at <= 20 else -0.5, "spread": 0.01 if at < 50 else 0.9}

    watch = Watch()
    assert {watch.add(line).verdict for line in log(100, change)} == {EARLY, WELL}


def test_a_game_that_never_starts_is_a_discriminator_too_weak() -> None:
    found = diagnose(log(100, lambda at: {"V": -math.log(4), "spread": 0.004, "raw distance": 0.41, "distance": 0.41}))
    assert found.verdict == "discriminator too weak"
    assert found.since == 40_000


def early_phase(at: float) -> dict[str, float]:
    """The early phase of `mnist-2014`: V as logged (D(x) .92 to .97), samples that get better from 60 kimg on."""
    v = np.interp(
        at, [10, 20, 30, 40, 50, 100, 200, 430, 850], [-1.386, -1.37, -0.7, -0.05, -0.3, -0.15, -0.19, -0.44, -0.83]
    )
    distance = np.interp(at, [10, 40, 50], [0.4, 0.6, 0.84]) if at <= 50 else 25 / at
    share = min(0.95, at / 400)
    return {
        "V": float(v),
        "raw distance": float(distance),
        "distance": float(distance),
        "spread": 0.03 if at < 60 else 0.3 + share / 2,
        "modes": 0.1 if at < 60 else share,
        "rank": 0.05 + share / 3,
        "nearest": share,
        "separation": 1.0,
    }


def test_a_discriminator_that_is_nearly_sure_while_samples_get_better_is_no_alarm() -> None:
    watch = Watch()
    said = {line["nimg"]: watch.add(line).verdict for line in log(1000, early_phase)}
    assert set(said.values()) == {EARLY, WELL}
    assert said[80_000] == said[200_000] == EARLY
    assert said[1_000_000] == WELL


def test_a_discriminator_that_knows_nothing_while_samples_are_unlike_the_data_to_the_classifier_is_too_weak() -> None:
    """Samples whose principal axes are right already: only the classifier sees that they are no digits."""
    unlike = {"V": -1.38, "raw feature distance": 0.4}
    found = diagnose(log(100, lambda at: dict(unlike)))
    assert found.verdict == "discriminator too weak"
    assert any("features it is 0.40" in reason for reason in found.evidence)
    alike = unlike | {"raw feature distance": 0.2}
    assert diagnose(log(100, lambda at: dict(alike))).verdict == WELL


def test_what_the_classifier_saw_stands_until_it_is_asked_again() -> None:
    """Missing classes told at every third evaluation raise the alarm as if told at each; a good word takes it back."""

    lines = log(200, lambda at: {"classes": 0.4 if at <= 120 else 0.95})
    for line in lines:
        if line["nimg"] % 30_000:
            del line["signs"]["classes"]
    watch = Watch()
    said = [watch.add(line).verdict for line in lines]
    # Asked at 30, 60, 90, 120 (grace period until 30), then with another answer from 150 on, which takes three.
    assert said == [EARLY] * 4 + ["partial collapse"] * 12 + [WELL] * 4


def test_what_falls_in_pixels_but_not_in_the_classifiers_features_does_not_recover() -> None:
    """Half of the classes are there all the time, while the distance in pixels halves with every doubling of time."""

    def slow(at: float, features: float) -> dict[str, float]:
        return {"classes": 0.5, "raw distance": 5 / at, "distance": 5 / at, "raw feature distance": features}

    assert diagnose(log(200, lambda at: slow(at, 0.3))).verdict == "partial collapse"
    assert diagnose(log(200, lambda at: slow(at, 50 / at))).verdict == EARLY


def test_a_plateau_is_looked_for_in_the_classifiers_features_where_there_is_one() -> None:
    def still(at: float) -> dict[str, float]:
        return {"raw feature distance": 0.05 + 0.001 * (at % 20 > 5)}

    def falling(at: float) -> dict[str, float]:
        return {"raw feature distance": 10 / at}

    assert diagnose(log(400, still)).verdict == "finished"
    assert diagnose(log(400, still)).evidence[0].startswith("raw feature distance to the data 0.05")
    assert diagnose(log(400, falling)).verdict == WELL


def test_the_same_discriminator_without_progress_is_an_alarm() -> None:
    assert diagnose(log(200, lambda at: early_phase(min(at, 80)))).verdict == "partial collapse"
    found = diagnose(
        log(200, lambda at: early_phase(at) | {"raw distance": 0.3, "distance": 0.3, "modes": 1, "spread": 0.8})
    )
    assert found.verdict == "discriminator too strong"


def test_circling_samples_are_a_partial_collapse() -> None:
    def change(at: float) -> dict[str, float]:
        return {"centre 1": 1.0 if at % 20 == 0 else -1.0, "raw distance": 0.3, "distance": 0.1}

    found = diagnose(log(100, change))
    assert found.verdict == "partial collapse"
    assert "circle" in found.evidence[0]


def test_a_generator_that_does_not_move_is_an_alarm_and_one_that_comes_nearer_is_none() -> None:
    for separation, alarm in ((0.95, "discriminator too strong"), (0.6, "discriminator too weak")):
        still = {"raw distance": 0.12, "distance": 0.12, "separation": separation}
        found = diagnose(log(120, lambda at: dict(still)))  # noqa: B023
        assert found.verdict == alarm
        assert f"with probability {separation:.2f}" in found.evidence[-1]
        assert diagnose(log(120, lambda at: still | {"raw distance": 0.12 - at / 2000})).verdict == WELL  # noqa: B023


@pytest.mark.parametrize(
    ("distances", "least", "wanted"),
    [
        ((0.3,) * 10, rules.STUCK, True),
        ((0.3,) * 8, rules.STUCK, False),  # four in the last half of training
        ((9.0, 8.0, 7.0, 6.0, 5.0, 0.3, 0.3, 0.3, 0.3, 0.3), rules.STUCK, True),  # the first half is past
        ((0.3,) * 9 + (0.32,), rules.STUCK, True),  # by 6.6% of their mean
        ((0.3,) * 9 + (0.34,), rules.STUCK, False),  # by 13%
        ((0.3,) * 9 + (0.32,), rules.STILL, False),
        ((None,) * 10, rules.STUCK, False),  # a distance that was never taken does not stand still
    ],
)
def test_a_distance_is_stuck_that_moves_by_less_than_a_share_of_itself(
    distances: tuple[float | None, ...], least: float, wanted: bool
) -> None:
    found = [
        rules.Evaluation(1000 * k, {} if distance is None else {"raw distance": distance}, None)
        for k, distance in enumerate(distances, 1)
    ]
    assert rules.stuck(found, least) is wanted


LIMITS = (
    ("reach", rules.REACH), ("logit scale", rules.LOGITS), ("memorising", rules.MEMORISING),
    ("spread", rules.SPREAD), ("modes", rules.MODES), ("classes", rules.MODES), ("nearest", rules.NEAREST),
    ("rank", rules.RANK), ("roughness", rules.ROUGH), ("roughness", rules.FLAT),
)  # fmt: skip


@pytest.mark.parametrize(("name", "limit"), LIMITS)
def test_an_indicator_at_its_limit_is_in_order_and_one_beyond_it_is_not(name: str, limit: float) -> None:
    """The limits are those that docs/doctor.md tells."""

    def said(value: float) -> str:
        one = rules.Evaluation(200_000, {**HEALTHY, name: value}, -1.2)
        return rules.suspect(one, [one], False)[0]

    beyond = 1e-3 if name in ("reach", "logit scale", "memorising") or limit == rules.ROUGH else -1e-3
    assert said(limit) == WELL
    assert said(limit * (1 + beyond)) in ALARMS


@pytest.mark.parametrize(
    ("name", "limit"),
    [("raw feature distance", rules.UNLIKE), ("raw distance", 2 * rules.BAD)],
)
def test_a_discriminator_that_knows_nothing_is_to_blame_beyond_a_limit_only(name: str, limit: float) -> None:
    indicators = {**HEALTHY, "distance": 0.0, "raw distance": 0.0}

    def said(value: float) -> str:
        one = rules.Evaluation(200_000, {**indicators, name: value}, -1.386)
        return rules.suspect(one, [one], False)[0]

    assert said(limit) == WELL
    assert said(limit * 1.001) == "discriminator too weak"


def test_samples_between_the_modes_that_d_does_not_tell_from_data_are_an_alarm() -> None:
    found = diagnose(log(100, lambda at: {"V": -1.38, "nearest": 9.0}))
    assert found.verdict == "discriminator too weak"
    assert "samples lie 9.0 times as far from one another" in found.evidence[-1]
    assert diagnose(log(100, lambda at: {"V": -1.1, "nearest": 9.0})).verdict == WELL


def test_modes_that_are_hit_and_wider_than_the_data_s_are_no_alarm() -> None:
    # What ring8 shows from 140 to 500 kimg: all eight modes, each wider than the data's, D near 1/2.
    seen = {"V": -1.375, "axes": 2.0, "nearest": 4.0, "distance": 0.003, "raw distance": 0.01, "separation": 0.58}
    assert diagnose(log(100, lambda at: seen | {"coverage": 0.3})).verdict in (WELL, "finished")
    assert diagnose(log(100, lambda at: seen | {"coverage": 0.05})).verdict == "discriminator too weak"
    nearing = diagnose(log(100, lambda at: seen | {"coverage": 0.05, "nearest": 600 / at}))
    assert nearing.verdict == "too early to tell"


def test_a_discriminator_that_knows_nothing_is_an_alarm_although_samples_get_better() -> None:
    assert diagnose(log(200, lambda at: {"V": -1.384, "raw distance": 40 / at, "distance": 40 / at})).verdict == (
        "discriminator too weak"
    )
    assert diagnose(log(200, lambda at: {"V": -1.38, "raw distance": 0.01, "distance": 0.01})).verdict == WELL


def test_a_loss_that_is_not_finite_is_a_verdict_at_once() -> None:
    lines = [*log(50), {"step": 501, "nimg": 50_100, "event": "diverged", "what": "the loss of phase 'G'"}]
    found = diagnose(lines)
    assert found.verdict == "diverged"
    assert found.evidence == ("the loss of phase 'G' is not finite",)


def noise(seed: int) -> Iterator[float]:
    yield from np.random.default_rng(seed).normal(0, 0.002, 1000)


def test_a_plateau_is_finished_and_a_slope_is_not() -> None:
    flat, falling = 0, 0
    for seed in range(40):
        errors = noise(seed)
        said = verdicts(log(400, lambda at: {"distance": 0.02 + next(errors)}))  # noqa: B023
        assert "finished" not in said[:18]
        flat += "finished" in said
        errors = noise(seed)
        falling += "finished" in verdicts(log(400, lambda at: {"distance": 15.0 / at + next(errors)}))  # noqa: B023
    assert flat == 40
    assert falling <= 2


def verdicts(lines: list[Line]) -> list[str]:
    watch = Watch()
    return [watch.add(line).verdict for line in lines]


def test_a_plateau_says_what_it_rests_on() -> None:
    found = diagnose(log(700, lambda at: {"distance": 0.02}))
    assert found.verdict == "finished"
    assert "no change beyond" in found.evidence[0]
    assert not found.alarming


def test_a_distance_that_rises_is_not_called_no_change() -> None:
    """.0027 to .0032, which was called no change beyond .0003."""
    errors = noise(0)
    found = diagnose(log(700, lambda at: {"distance": (0.0027 if at < 590 else 0.0032) + next(errors) / 50}))
    assert found.verdict == "finished"
    assert "it rises" in found.evidence[0]
    assert "no change" not in found.evidence[0]


def test_a_plateau_of_bad_samples_is_not_finished() -> None:
    found = diagnose(log(700, lambda at: {"distance": 0.4, "raw distance": 0.4}))
    assert found.verdict in ALARMS


def test_finished_is_one_line_where_the_distance_jumps_about_its_error() -> None:
    """A demo said it four times, and took it back three times, within 150 kimg."""
    errors = noise(3)
    said = verdicts(log(1500, lambda at: {"distance": 0.03 * 0.9998**at + next(errors)}))
    assert sum(a != b for a, b in pairwise(said)) == 2
    assert said[-1] == "finished"


def test_improvement_after_finished_takes_it_back() -> None:
    found = diagnose(log(900, lambda at: {"distance": 0.05 if at < 620 else 0.05 * 0.97 ** ((at - 620) / 10)}))
    assert found.verdict == WELL


@pytest.mark.parametrize("event", ["rollback", "remedy"])
def test_a_remedy_begins_afresh_and_gets_its_time(event: str) -> None:
    lines = [*log(80), {"step": 800, "nimg": 80_000, "event": event, "number": 1, "remedy": "x"}]
    ill = log(120, ill_from(0, spread=0.01), start=90)
    for count in (2, 3):
        assert diagnose([*lines, *ill[:count]]).verdict == EARLY
    assert diagnose([*lines, *ill]).verdict == "full collapse"


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_any_log_gives_one_of_the_verdicts_and_line_by_line_gives_the_same(data: st.DataObject) -> None:
    """Signs of any size, missing signs, lines without signs: no exception, a pure function, no state but the log."""
    numbers = st.floats(-1e30, 1e30)
    count = data.draw(st.integers(0, 40))
    lines: list[Line] = []
    for i in range(count):
        signs = data.draw(st.dictionaries(st.sampled_from(sorted(HEALTHY)), numbers, max_size=8))
        line: Line = {"step": i, "nimg": 5000 * i, "signs": signs}
        if data.draw(st.booleans()):
            line["V"] = data.draw(st.floats(-1e6, 0))
        lines.append(line)
    watch = Watch()
    for number, line in enumerate(lines, start=1):
        watch.add(line)
        assert watch.diagnosis == diagnose(lines[:number])
    assert watch.diagnosis.verdict in VERDICTS
    assert diagnose(json.loads(json.dumps(lines))) == watch.diagnosis


def test_the_verdicts_are_the_documented_ones() -> None:
    assert VERDICTS == (
        "too early to tell",
        "no trouble seen",
        "discriminator too strong",
        "discriminator too weak",
        "partial collapse",
        "full collapse",
        "diverged",
        "finished",
    )
    assert VERDICTS[2:7] == ALARMS
    assert verdict.GRACE == 20_000
