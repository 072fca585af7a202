"""The lab: its checks hold, and fail when what they check is broken."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from saddlepoint.cli.main import app
from saddlepoint.core.config import override
from saddlepoint.core.errors import ConfigError
from saddlepoint.data.spec import DataSpec
from saddlepoint.families.flow import Flow
from saddlepoint.family import build_family, get_preset
from saddlepoint.lab import EXPERIMENTS, Check, Lab, collapse, dirac, figure1, gaussians, perform, taxonomy
from saddlepoint.lab.networks import Ensemble, Monotone, Network
from saddlepoint.objectives import losses, theory

QUICK = ("optimal-discriminator", "vanishing-gradient", "counter-example")
"""Experiments of a few seconds; `dirac`, `figure1`, `collapse` and `taxonomy` run whole in the slow suite."""


def plane_flow() -> Flow:
    """Return a flow of points of the plane whose couplings do something."""
    options = override(get_preset(Flow, "small")[1], {"flow_steps": 3, "width": 16})
    flow = build_family("flow", options, DataSpec("vector", (2,)))
    assert isinstance(flow, Flow)
    generator = torch.Generator().manual_seed(0)
    flow.reset_parameters(generator)
    for weight in flow.parameters():
        weight.data += 0.03 * torch.randn(weight.shape, generator=generator)
    return flow


def broken(experiment: Callable[[Lab], list[Check]]) -> list[str]:
    return [check.what for check in experiment(Lab()) if not check.holds]


@pytest.mark.parametrize("name", QUICK)
def test_checks_hold(name: str) -> None:
    (findings,) = perform([name])
    assert [str(check) for check in findings.broken] == []
    assert len(findings.checks) >= 6


def test_experiments_side_by_side_find_the_same() -> None:
    names = ("vanishing-gradient", "counter-example")
    alone, beside = list(perform(names)), list(perform(names, processes=2))
    assert [f.experiment.name for f in beside] == list(names)
    for one, two in zip(alone, beside, strict=True):
        assert [c.what for c in one.checks] == [c.what for c in two.checks]
        np.testing.assert_allclose([c.measured for c in one.checks], [c.measured for c in two.checks], rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name not in QUICK])
def test_long_checks_hold(name: str) -> None:
    (findings,) = perform([name], seed=1)
    assert [str(check) for check in findings.broken] == []


def test_orbits_are_those_of_the_eigenvalues() -> None:
    """One game of each kind; the experiment goes through all of them."""
    for objective, gamma, alternating in (("minimax", 0.0, False), ("wasserstein", 1.0, True), ("hinge", 0.3, False)):
        game = dirac.Game(objective, gamma, alternating)
        assert game.measured_radius() == pytest.approx(game.expected_radius(dirac.SLOPES[objective]), abs=1e-6)
    assert dirac.Game("minimax").expected_radius(0.5) == pytest.approx(math.sqrt(1 + 0.1**2 / 4))
    assert dirac.Game("wasserstein", alternating=True).expected_radius(1.0) == pytest.approx(1.0)


# Four mutations of the library, each caught by the experiment that rests on it.


def test_a_wrong_optimal_discriminator_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(theory, "optimal_discriminator", lambda p, q: q / (p + q))
    monkeypatch.setattr(gaussians, "_STEPS", 1)
    assert sum("closed form" in what for what in broken(gaussians.optimal_discriminator)) == 6, "at d = 0 both are 1/2"
    assert len(broken(gaussians.vanishing_gradient)) >= 12


def test_a_discriminator_that_learns_half_of_the_game_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    real = losses.OBJECTIVES["minimax"]
    lame = losses.Objective("minimax", lambda a, b: real.discriminator(a, b / 2), real.generator)
    monkeypatch.setitem(losses.OBJECTIVES, "minimax", lame)
    found = broken(gaussians.optimal_discriminator)
    assert any("mean |D - D*|" in what for what in found)
    assert any("V(D, G)" in what for what in found)


def test_a_penalty_without_its_half_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    real = dirac.r1
    monkeypatch.setattr(dirac, "r1", lambda critic, x: 2 * real(critic, x))
    monkeypatch.setattr(dirac, "NORMS", {})
    found = broken(dirac.experiment)
    assert found
    assert all("R1" in what for what in found)


def test_a_flipped_sign_of_the_non_saturating_loss_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    real = losses.OBJECTIVES["non-saturating"]
    wrong = losses.Objective(real.name, real.discriminator, lambda a, b: -real.generator(a, b))
    monkeypatch.setitem(losses.OBJECTIVES, real.name, wrong)
    assert all("non-saturating" in what or "d = 10" in what for what in broken(gaussians.vanishing_gradient))
    assert len(broken(gaussians.vanishing_gradient)) >= 12


def test_a_check_fails_on_what_is_no_number() -> None:
    assert Check("", 1.0, high=1.0).holds
    assert not Check("", float("nan"), high=1.0).holds
    assert not Check.near("", 1.2, 1.0, 0.1).holds
    assert str(Check("error", 0.5, high=0.25)) == "error: 0.5 (at most 0.25)"


def test_networks_of_an_ensemble_are_independent() -> None:
    generator = torch.Generator().manual_seed(0)
    pair = Ensemble(2, (3, 8, 1), generator)
    x = torch.randn(2, 5, 3, generator=generator)
    (slope,) = torch.autograd.grad(pair(x)[0].sum(), pair.weights[0])
    assert slope[0].abs().sum() > 0
    assert slope[1].abs().sum() == 0
    alone = Network((3, 8, 1), generator)
    for mine, theirs in zip(alone.parameters(), pair.parameters(), strict=True):
        mine.data = theirs.data[1:].clone()
    torch.testing.assert_close(alone(x[1]), pair(x)[1])


def test_a_monotone_map_rises() -> None:
    generator = torch.Generator().manual_seed(0)
    rising = Monotone(16, generator)
    for parameter in rising.parameters():
        parameter.data = 2 * torch.randn(parameter.shape, generator=generator)
    x = rising(torch.linspace(-5, 5, 500)[:, None]).squeeze(1)
    assert bool((x.diff() > 0).all())


def test_a_flow_is_a_density_whatever_its_weights() -> None:
    flow = plane_flow()
    assert [str(check) for check in taxonomy.check_flow(flow) if not check.holds] == []


def test_a_density_that_forgets_a_determinant_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    flow, whole = plane_flow(), Flow.log_density
    monkeypatch.setattr(Flow, "log_density", lambda self, x, noise: whole(self, x, noise) + 0.1)
    assert [check.what for check in taxonomy.check_flow(flow) if not check.holds] == ["flow: integral of its density"]


def test_the_game_on_a_line_is_measured_rightly() -> None:
    game = figure1.LineGame(torch.Generator().manual_seed(0))
    shot = game.frame()
    assert np.sum(shot.p_g) * (figure1.GRID[1] - figure1.GRID[0]) == pytest.approx(1.0)
    assert shot.v < shot.criterion
    assert shot.criterion == pytest.approx(-theory.LOG4 + 2 * shot.jsd)
    with torch.no_grad():
        game.d.weights[-1].zero_()
    flat = game.frame()
    assert flat.v == pytest.approx(-theory.LOG4, abs=1e-6), "D = 1/2"
    assert flat.off(np.full_like(figure1.GRID, 0.5)) == pytest.approx(0.0, abs=1e-9)


def test_a_story_ends_where_its_budget_does() -> None:
    told = collapse.story("ring8", {}, 0, kimg=2.0)
    assert told.shots[0].nimg == 0
    assert told.shots[-1].nimg >= 2000
    assert len(told.shots[-1].samples) == collapse.SAMPLES
    assert 0 <= told.shots[-1].quality <= 1
    assert told.verdict == "too early to tell"


def test_the_command_lists_draws_and_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = CliRunner().invoke(app, ["lab"])
    assert listed.exit_code == 0
    assert all(name in listed.output for name in EXPERIMENTS)
    told = CliRunner().invoke(app, ["lab", "vanishing-gradient", "--out", str(tmp_path)])
    assert told.exit_code == 0, told.output
    with Image.open(tmp_path / "vanishing-gradient.png") as picture:
        assert picture.width > 300
    monkeypatch.setattr(theory, "optimal_discriminator", lambda p, q: q / (p + q))
    failed = CliRunner().invoke(app, ["lab", "vanishing-gradient", "--out", str(tmp_path)])
    assert failed.exit_code == 1
    assert "does not hold: minimax, d = 1: gradient of G against the closed form" in failed.output
    as_json = CliRunner().invoke(app, ["lab", "vanishing-gradient", "--out", str(tmp_path), "--json"])
    found = json.loads(as_json.stdout)
    assert as_json.exit_code == 1
    assert not all(check["holds"] for check in found[0]["checks"])


def test_unknown_experiments_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'dirac'"):
        list(perform(["dirak"]))
    assert CliRunner().invoke(app, ["lab", "dirac", "--all"]).exit_code != 0
