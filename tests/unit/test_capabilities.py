"""What a family says it can do is what is asked of it; slips of whoever writes one are told in a sentence."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from saddlepoint.core.errors import ConfigError
from saddlepoint.data.feed import Feed
from saddlepoint.engine.loop import Trainer
from saddlepoint.engine.settings import Settings
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.family import BatchNormalised, Family, OptimizerSpec, Phase, Stage, Terms, families, register
from saddlepoint.family.capabilities import check_capabilities
from saddlepoint.run import api
from tests.contract.presets import CASES, untrained
from tests.contract.toys import BATCH, Scripted, points
from tests.unit.data_helpers import pictures, write_folder

D = Phase("d", ("discriminator",), "sgd")
GAME = (Stage("game", (D,)),)


def scripted(stages: tuple[Stage, ...] = GAME, loss: Any = None, kind: type[Scripted] = Scripted) -> Scripted:
    networks = {"generator": nn.Linear(2, 2), "discriminator": nn.Linear(2, 1)}
    given = loss or (lambda family, phase, batch, ctx: Terms(family.discriminator(batch.x).squeeze(1)))
    return kind(networks, stages, {"sgd": OptimizerSpec("sgd", lr=0.1)}, given)


def trained(family: Family, folder: Path) -> Trainer:
    dataset = points()
    trainer = Trainer(family, Feed(dataset.splits["train"], BATCH, 0), Settings(steps=2), RunFolder(folder))
    trainer.train(dataset.stats)
    return trainer


@pytest.mark.parametrize(
    ("member", "capability"),
    [("logits", "DiscriminatorLogits"), ("prepare", "Prepared"), ("constrain", "Constrained"), ("suited", "SuitsData"),
     ("recalibrate_batch_norm", "BatchNormalised"), ("remedies", "Remediable"), ("sizes", "Sized"),
     ("losses", "Simultaneous"), ("mapping", "StyleSpace"), ("guided", "Guided"), ("classes", "Conditional")],
)  # fmt: skip
def test_a_member_that_nobody_would_ask_for_is_refused(member: str, capability: str) -> None:
    kind = type("Slip", (Scripted,), {"name": "slip", member: lambda self: None})
    with pytest.raises(ConfigError, match=rf"'{member}'.*class Slip\({capability}, Family\)"):
        register(kind)
    assert "slip" not in families()


def test_the_families_that_come_along_inherit_what_they_have() -> None:
    for kind in families().values():
        check_capabilities(kind)


def test_networks_that_are_not_there_are_told_with_those_that_are(tmp_path: Path) -> None:
    slip = dataclasses.replace(D, trains=("discriminatr",))
    with pytest.raises(ConfigError, match=r"phase 'd' trains 'discriminatr'.*generator, discriminator"):
        trained(scripted((Stage("game", (slip,)),)), tmp_path)
    family = scripted()
    family.averaged = ("generatr",)
    with pytest.raises(ConfigError, match="'averaged' names 'generatr'"):
        trained(family, tmp_path)


def test_a_loss_of_two_axes_is_told(tmp_path: Path) -> None:
    def broadcast(family: Any, phase: Phase, batch: Any, ctx: Any) -> Terms:
        return Terms(family.discriminator(batch.x) - batch.x[:, 0])

    with pytest.raises(ConfigError, match=rf"shape \({BATCH}, {BATCH}\).*squeeze"):
        trained(scripted(loss=broadcast), tmp_path)


def test_an_optimizer_that_is_none_is_told() -> None:
    with pytest.raises(ConfigError, match="adamm, but it must be 'sgd', 'adam' or 'muon'"):
        OptimizerSpec("adamm", lr=0.1)  # type: ignore[arg-type]


def test_logs_need_not_be_detached(tmp_path: Path) -> None:
    def attached(family: Any, phase: Phase, batch: Any, ctx: Any) -> Terms:
        logits = family.discriminator(batch.x).squeeze(1)
        return Terms(logits, {"logit": logits})

    sums = trained(scripted(loss=attached), tmp_path).state.statistics.sums()
    assert all(not entry.requires_grad for entry in sums)


class Normalised(BatchNormalised, Scripted):
    """Counts how often statistics of the averages are asked for."""

    asked = 0

    def recalibrate_batch_norm(self, generator: torch.Generator) -> None:
        self.asked += 1
        self.given: Tensor = next(self.generator.parameters()).detach().clone()


def test_averages_get_statistics_of_their_own(tmp_path: Path) -> None:
    family = scripted(kind=Normalised)
    trainer = trained(family, tmp_path)
    before = family.asked
    with trainer.state.averaged() as averaged:
        assert averaged.asked + family.asked > before
        assert torch.equal(averaged.given, next(averaged.generator.parameters()))


def test_a_plan_takes_the_options_that_suit_the_data(tmp_path: Path) -> None:
    write_folder(tmp_path / "few", pictures(60, 32))
    plan = api.resolve(api.plan("dcgan", str(tmp_path / "few"), size=32)).plan
    assert plan.options.augment  # type: ignore[attr-defined]
    named = api.resolve(api.plan("dcgan", str(tmp_path / "few"), size=32, options={"augment": "none"})).plan
    assert not named.options.augment  # type: ignore[attr-defined]


@pytest.mark.parametrize(("name", "preset"), [(name, preset) for name, preset in CASES if ":" not in preset])
def test_weights_are_drawn_from_the_given_generator_alone(name: str, preset: str) -> None:
    drawn = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        drawn.append(untrained(name, preset)[0].state_dict())
    assert drawn[0].keys() == drawn[1].keys()
    assert [key for key in drawn[0] if not torch.equal(drawn[0][key], drawn[1][key])] == []
