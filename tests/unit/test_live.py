"""Experiments as they run: theory and measurement meet on the way, controls act, every frame can be drawn."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from saddlepoint.core.errors import ConfigError
from saddlepoint.lab import EXPERIMENTS, Live
from saddlepoint.lab.games import BestDiscriminator, CounterExample, Dirac, Figure1, Vanishing
from saddlepoint.lab.trainings import Collapse, Taxonomy
from saddlepoint.objectives import theory
from saddlepoint.serve.studio import charts


def after(live: Live, frames: int) -> Live:
    for _ in range(frames):
        live.advance()
    return live


@pytest.mark.parametrize("name", list(EXPERIMENTS))
def test_frames_move_and_can_be_sent(name: str) -> None:
    live = EXPERIMENTS[name].live()
    first = live.view()
    later = after(live, 3).view()
    shown = [[charts.panel_options(panel) for panel in view.panels] for view in (first, later)]
    assert shown[0] != shown[1]
    assert len(first.sentences) == len(later.sentences)
    assert [len(panel.curves) for panel in first.panels] == [len(panel.curves) for panel in later.panels]
    json.dumps(shown, allow_nan=False)


@pytest.mark.parametrize("name", list(EXPERIMENTS))
def test_controls_refuse_what_cannot_be(name: str) -> None:
    live = EXPERIMENTS[name].live()
    with pytest.raises(ConfigError, match="there is no control 'speed'"):
        live.set({"speed": 1.0})
    control = live.controls()[0]
    with pytest.raises(ConfigError, match=control.name):
        live.set({control.name: "nonsense" if control.choices else 1e9})
    assert live.values[control.name] == control.usual
    with pytest.raises(ConfigError, match="there is no control"):
        EXPERIMENTS[name].live({"speed": 1.0})


def test_figure_1_comes_to_its_end() -> None:
    live = after(Figure1({"lr": 0.01}), 200)
    frame = live.game.frame()
    assert frame.jsd < 0.02
    assert abs(frame.v + theory.LOG4) < 0.05
    live.set({"k": 3.0})
    assert live.game.made == 0
    assert live.game.k == 3


def test_the_best_discriminator_is_reached_at_every_distance() -> None:
    live = after(BestDiscriminator({"lr": 0.01}), 150)
    live.set({"distance": 4.0})
    (panel,) = after(live, 150).view().panels
    curves = {curve.name: np.asarray(curve.y) for curve in panel.curves}
    mass = (curves["p_data"] + curves["p_g"]) / 2
    assert float((mass * abs(curves["D"] - curves["D*"])).sum() / mass.sum()) < 0.03


def test_the_saturating_generator_stays_where_the_others_go() -> None:
    live = after(Vanishing({"distance": 8.0, "lr": 0.02}), 60)
    minimax, others = live.places["minimax"][-1], [live.places[name][-1] for name in ("non-saturating", "relativistic")]
    assert minimax > 7.99
    assert max(others) < 3.0
    assert min(others) > -0.5


@pytest.mark.parametrize(
    ("gamma", "alternating", "grows"), [(0.0, False, True), (1.0, False, False), (1.0, True, False)]
)
def test_the_dirac_orbit_does_what_its_eigenvalues_say(gamma: float, alternating: bool, grows: bool) -> None:
    live = after(Dirac({"gamma": gamma, "alternating": alternating}), 100)
    assert (math.hypot(*live.orbit[-1]) > math.hypot(*live.orbit[0])) == grows
    assert (" grows, " in live.view().sentences[0]) == grows


def test_the_probe_sees_what_half_does_not() -> None:
    live = CounterExample({"distance": 3.0})
    for _ in range(100):
        live.advance()
        words = live.view().sentences
    assert f"{-theory.LOG4:.4f}" in words[0]
    truth = theory.criterion(*(np.asarray(c.y) for c in live.view().panels[0].curves), 0.1)
    assert live.told[-1][1] == pytest.approx(truth, abs=0.03)


def test_collapse_trains_with_the_doctor_beside_it() -> None:
    live = Collapse({"recipe": "remedies", "lr": 0.5, "k": 2.0, "penalty": "0.1", "objective": "minimax"})
    config = live.training.trainer.state.family.config
    usual = Collapse({"recipe": "remedies"}).training.trainer.state.family.config
    assert (config.k, config.r1_gamma, config.objective) == (2, 0.1, "minimax")
    assert config.lr == pytest.approx(usual.lr / 2)
    for _ in range(400):
        live.advance()
        if live.training.said:
            break
    assert live.training.verdict == live.training.said[-1].verdict


@pytest.mark.parametrize(("model", "word"), [("flow", "likelihood -"), ("VAE", "at least"), ("GAN", "No likelihood")])
def test_likelihoods_are_claimed_only_where_they_are(model: str, word: str) -> None:
    assert word in after(Taxonomy({"model": model}), 2).view().sentences[1]
