"""Categories, frequent values and the calendar in `timegan`: drawn in the shares of the softmax, learned, given."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from saddlepoint.core.errors import ConfigError
from saddlepoint.data import Dataset, Split
from saddlepoint.data.feed import Feed
from saddlepoint.data.series.layout import Column, Layout
from saddlepoint.engine.loop import Trainer
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.engine.settings import Settings
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.families.timegan import TimeGAN
from saddlepoint.family import DataSpec, DataStats, build_family
from saddlepoint.family.capabilities import prepare
from saddlepoint.nn.categories import Groups, gumbel, on_circle

SPEC = DataSpec("sequence", (6, 3 + 2 + 3 + 1 + 2), rows=40, static=1, onehot=(2, 3), spikes=(0.25,), known=2)
"""Three numbers, the first with a spike at 0.25; groups of 2 and 3; one static feature; two phases."""


def family_of(preset: str, spec: DataSpec = SPEC) -> TimeGAN:
    config = dataclasses.replace(TimeGAN.PRESETS[preset], width=8, critic_width=8)
    family = build_family("timegan", config, spec)
    family.reset_parameters(stream("cpu", "weights", 0))
    assert isinstance(family, TimeGAN)
    return family


def windows(n: int = 5) -> Tensor:
    """Windows as the contract has them."""
    x = torch.rand(n, 6, 11, generator=stream("cpu", "x"))
    spike = (x[..., 3] > 0.5).float()
    x[..., 0] = spike * 0.25 + (1 - spike) * x[..., 0]
    x[..., 3:5] = torch.stack([spike, 1 - spike], -1)
    x[..., 5:8] = F.one_hot((x[..., 5] * 3).long(), 3).float()
    x[..., 8] = x[:, :1, 8]
    return x


def test_choices_have_the_shares_of_the_softmax_and_its_gradient() -> None:
    groups = Groups((2, 3), ())
    logits = torch.tensor([0.3, -0.4, 1.0, 0.0, -2.0])[None, :, None]
    noise = gumbel(torch.rand(1, 5, 20_000, generator=stream("cpu", 1)))
    chosen = groups.chosen(logits.expand(-1, -1, 20_000), noise)
    assert set(chosen.unique().tolist()) == {0, 1}
    shares = torch.cat([logits[:, :2].softmax(1), logits[:, 2:].softmax(1)], 1)
    torch.testing.assert_close(chosen.mean(2), shares[:, :, 0], atol=0.012, rtol=0)
    weight = torch.randn(1, 5, 4, generator=stream("cpu", 2))
    one, other = (torch.randn(1, 5, 4, generator=stream("cpu", 3)).requires_grad_() for _ in range(2))
    quiet = torch.zeros(1, 5, 4)
    hard = groups.chosen(one, quiet)
    assert torch.allclose(hard, hard.round(), atol=1e-6), "forward it is the choice itself"
    (hard * weight).sum().backward()
    (torch.cat([other[:, :2].softmax(1), other[:, 2:].softmax(1)], 1) * weight).sum().backward()
    assert one.grad is not None
    assert other.grad is not None
    torch.testing.assert_close(one.grad, other.grad)


def test_surprise_is_cross_entropy_over_the_steps_within_windows() -> None:
    groups = Groups((2, 3), ())
    logits = torch.randn(4, 5, 6, generator=stream("cpu", 1))
    first, second = torch.randint(2, (4, 6), generator=stream("cpu", 2)), torch.randint(3, (4, 6))
    wanted = torch.cat([F.one_hot(first, 2), F.one_hot(second, 3)], 2).permute(0, 2, 1).float()
    mask = torch.ones(4, 1, 6)
    mask[2:, :, 3:] = 0
    kept = mask[:, 0] > 0
    expected = sum(
        F.cross_entropy(part.permute(0, 2, 1)[kept], index[kept])
        for part, index in zip(logits.split((2, 3), 1), (first, second), strict=True)
    )
    torch.testing.assert_close(groups.cross_entropy(logits, wanted, mask), torch.as_tensor(expected) / 2)


def test_phases_meet_at_the_end_of_their_turn() -> None:
    near = on_circle(torch.tensor([0.0, 0.999, 0.5]).reshape(3, 1, 1))[..., 0]
    assert float((near[0] - near[1]).norm()) < 0.01
    assert float((near[0] - near[2]).norm()) == pytest.approx(2)


@pytest.mark.parametrize("preset", TimeGAN.PRESETS)
def test_windows_of_every_preset_keep_the_contract(preset: str) -> None:
    family = family_of(preset)
    rows = windows(40)
    prepare(family, DataStats(rows[0], rows[0], rows))
    inputs = family.sample_inputs(300, stream("cpu", 4))
    with torch.no_grad():
        x = family.generate(inputs, generator=stream("cpu", 5))
        again = family.generate(inputs, generator=stream("cpu", 6))
    assert torch.equal(x, again), "a window is a function of its inputs"
    assert x.shape == (300, 6, 11)
    assert torch.equal(x[..., 3:5].sum(-1), torch.ones(300, 6))
    assert torch.equal(x[..., 5:8].sum(-1), torch.ones(300, 6))
    assert set(x[..., 3:8].unique().tolist()) == {0, 1}
    spike = x[..., 3] == 1
    assert 0 < int(spike.sum()) < spike.numel()
    assert bool((x[..., 0][spike] == 0.25).all())
    assert float((x[..., 0][~spike] == 0.25).float().mean()) < 0.01
    assert torch.equal(x[:, :1, 8].expand(-1, 6), x[..., 8])
    assert torch.equal(x[..., 9:], inputs[..., -2:]), "the calendar is given"
    real = {tuple(np.round(row.flatten().tolist(), 5)) for row in rows[..., 9:]}
    assert {tuple(np.round(row.flatten().tolist(), 5)) for row in x[..., 9:]} <= real
    changed = inputs.clone()
    changed[..., -2:] = (changed[..., -2:] + 0.5) % 1
    with torch.no_grad():
        other = family.generate(changed, generator=stream("cpu", 5))
    assert not torch.equal(other[..., :3], x[..., :3]), "and it matters"


def test_the_learned_space_recovers_categories(tmp_path: Path) -> None:
    """Embedder and recovery alone: after 200 steps nearly every category comes back, which chance does in a third."""
    sky = torch.randint(3, (400, 6), generator=stream("cpu", "sky"))
    x = torch.cat([torch.full((400, 6, 1), 0.5), F.one_hot(sky, 3).float()], 2)
    spec = DataSpec("sequence", (6, 4), rows=400, onehot=(3,))
    config = dataclasses.replace(TimeGAN.PRESETS["code-2019"], width=12, layers=2, batch_size=64, lr=1e-2)
    family = build_family("timegan", config, spec)
    family.reset_parameters(stream("cpu", "weights", 0))
    assert isinstance(family, TimeGAN)
    dataset = Dataset("made", "sequence", {"train": Split(x.numpy())}, (), "0")
    trainer = Trainer(family, Feed(dataset.splits["train"], 64, 0), Settings(steps=200), RunFolder(tmp_path))
    trainer.train(dataset.stats)
    with torch.no_grad():
        logits = family.recovery(family.embedder(x.permute(1, 2, 0), None), None)[:, 1:]
    assert float((logits.argmax(1) == sky.t()).float().mean()) > 0.9


def test_groups_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="1 frequent values do not fit"):
        family_of("increments", dataclasses.replace(SPEC, onehot=(3, 2)))
    with pytest.raises(ConfigError, match="none"):
        family_of("increments", DataSpec("sequence", (6, 4), static=2, known=2))


def test_short_training_learns_shares_and_what_they_hang_on(tmp_path: Path) -> None:
    """A frequent value in 60% of the steps; a category that the season decides; a number that the season moves."""
    rng = np.random.default_rng(0)
    turn = (rng.random((800, 1)) + np.arange(6) / 60) % 1
    spiked = rng.random((800, 6)) < 0.6
    number = np.where(spiked, 0.0, 0.3 + 0.5 * rng.random((800, 6)))
    season = 0.5 + 0.4 * np.cos(2 * np.pi * turn)
    sky = (turn > 0.5).astype(float)
    x = np.stack([number, season, spiked, ~spiked, sky, 1 - sky, turn], -1).astype(np.float32)
    columns = (
        Column("number", 0.0, 1.0, spike=0.0), Column("season", 0.0, 1.0), Column("sky", 0.0, 1.0, 0, ("a", "b"))
    )  # fmt: skip
    layout = Layout(columns, ("number", "season", "sky"), calendar=("season",))
    dataset = Dataset("made", "sequence", {"train": Split(x)}, (), "0", layout=layout)
    assert dataset.spec.spikes == (0.0,)
    options = {"width": 16, "batch_size": 64, "critic_width": 16, "latent_size": 8, "latent_shared": 4}
    config = dataclasses.replace(TimeGAN.PRESETS["increments"], **options)  # type: ignore[arg-type]
    family = build_family("timegan", config, dataset.spec)
    family.reset_parameters(stream("cpu", "weights", 0))
    trainer = Trainer(
        family, Feed(dataset.splits["train"], config.batch_size, 0), Settings(steps=300), RunFolder(tmp_path)
    )
    trainer.train(dataset.stats)
    with torch.no_grad(), trainer.state.averaged() as averaged:
        inputs = averaged.sample_inputs(1000, stream("cpu", 5))
        y = averaged.generate(inputs, generator=stream("cpu", 6)).numpy()
    values = layout.restore(y)
    assert float((values[..., 0] == 0).mean()) == pytest.approx(0.6, abs=0.15)
    right = (values[..., 2] == 0) == (y[..., -1] > 0.5)
    assert float(right.mean()) > 0.8
    assert float(np.corrcoef(values[..., 1].ravel(), np.cos(2 * np.pi * y[..., -1]).ravel())[0, 1]) > 0.7
