"""The vocabulary of stages and phases replays published update orders, against loops written out by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddlepoint.data.feed import Feed
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.family import Batch, Context, OptimizerSpec, Phase, Stage, Terms
from saddlepoint.objectives.losses import cross_entropy_discriminator, non_saturating_generator
from tests.contract.toys import BATCH, Scripted, points, trained_by_engine

SGD = OptimizerSpec("sgd", lr=0.1, momentum=0.5)
ADAM = OptimizerSpec("adam", lr=0.01, betas=(0.5, 0.9))


def noise(step: int, order: int) -> torch.Generator:
    return stream("cpu", "noise", 0, 0, step, order)


def minibatches() -> Callable[[int], Batch]:
    return Feed(points().splits["train"], BATCH, seed=0).batch


def hand(names: str, make: Callable[[], dict[str, nn.Module]]) -> dict[str, nn.Module]:
    """Networks with the weights that the engine draws."""
    networks = make()
    Scripted(networks, (), {}, lambda *_: None).reset_parameters(stream("cpu", "weights", 0))
    assert names.split() == list(networks)
    return networks


def assert_equal(networks: dict[str, nn.Module], weights: dict[str, Tensor]) -> None:
    mine = {f"{n}.{k}": t for n, network in networks.items() for k, t in network.state_dict().items()}
    assert mine.keys() == weights.keys()
    for name, tensor in mine.items():
        torch.testing.assert_close(weights[name], tensor, rtol=0, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


def pair() -> dict[str, nn.Module]:
    return {"generator": nn.Linear(2, 2), "discriminator": nn.Linear(2, 1)}


def masked(x: Tensor, generator: torch.Generator) -> Tensor:
    """Dropout of half the inputs, to see who shares masks with whom."""
    return x * (torch.rand(x.shape, generator=generator) < 0.5)


def gan_loss(family: Scripted, phase: Phase, batch: Batch, ctx: Context) -> Terms:
    z = torch.randn(len(batch), 2, generator=ctx.generator)
    fake = family.generator(z)
    real_logits = family.discriminator(masked(batch.x, ctx.generator)).squeeze(1)
    fake_logits = family.discriminator(masked(fake, ctx.generator)).squeeze(1)
    if phase.name == "D":
        return Terms(cross_entropy_discriminator(real_logits, fake_logits))
    return Terms(non_saturating_generator(real_logits, fake_logits))


def gan_stage(k: int, simultaneous: bool = False) -> Stage:
    first = Phase("D", ("discriminator",), "D")
    again = Phase("D", ("discriminator",), "D", fresh_batch=True)
    return Stage("game", (first, *[again] * (k - 1), Phase("G", ("generator",), "G")), simultaneous=simultaneous)


def hand_losses(nets: dict[str, nn.Module], x: Tensor, g: torch.Generator) -> tuple[Tensor, Tensor]:
    z = torch.randn(len(x), 2, generator=g)
    fake = nets["generator"](z)
    real_logits = nets["discriminator"](masked(x, g)).squeeze(1)
    fake_logits = nets["discriminator"](masked(fake, g)).squeeze(1)
    d = (F.softplus(-real_logits) + F.softplus(fake_logits)).mean()
    return d, F.softplus(-fake_logits).mean()


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


@pytest.mark.parametrize("k", [1, 2, 3])
def test_algorithm_1(k: int, tmp_path: Path) -> None:
    """Goodfellow et al. 2014, Algorithm 1: k steps of D, each on its own minibatches, then one of G on fresh noise."""
    weights = trained_by_engine(Scripted(pair(), (gan_stage(k),), {"D": SGD, "G": SGD}, gan_loss), 5, tmp_path)
    nets, batch = hand("generator discriminator", pair), minibatches()
    d = torch.optim.SGD(nets["discriminator"].parameters(), lr=0.1, momentum=0.5)
    g = torch.optim.SGD(nets["generator"].parameters(), lr=0.1, momentum=0.5)
    for t in range(5):
        for j in range(k):
            descend(d, hand_losses(nets, batch(t * k + j).x, noise(t, j))[0])
        descend(g, hand_losses(nets, batch(t * k + k - 1).x, noise(t, k))[1])
    assert_equal(nets, weights)


def test_released_code_is_simultaneous(tmp_path: Path) -> None:
    """The released code: both gradients at the same weights, from one minibatch, one noise draw, one set of masks."""
    family = Scripted(pair(), (gan_stage(1, simultaneous=True),), {"D": SGD, "G": SGD}, gan_loss)
    weights = trained_by_engine(family, 5, tmp_path)
    nets, batch = hand("generator discriminator", pair), minibatches()
    d, g = nets["discriminator"], nets["generator"]
    optimizer = torch.optim.SGD([*g.parameters(), *d.parameters()], lr=0.1, momentum=0.5)
    for t in range(5):
        loss_d, loss_g = hand_losses(nets, batch(t).x, noise(t, 0))
        grads_d = torch.autograd.grad(loss_d, tuple(d.parameters()), retain_graph=True)
        grads_g = torch.autograd.grad(loss_g, tuple(g.parameters()))
        for parameter, gradient in zip([*d.parameters(), *g.parameters()], grads_d + grads_g, strict=True):
            parameter.grad = gradient
        optimizer.step()
    assert_equal(nets, weights)


def test_simultaneous_differs_from_alternating(tmp_path: Path) -> None:
    """The two orders of one step are different dynamics, so the tests above can fail."""
    runs = [
        trained_by_engine(
            Scripted(pair(), (gan_stage(1, simultaneous=s),), {"D": SGD, "G": SGD}, gan_loss), 2, tmp_path / str(s)
        )
        for s in (False, True)
    ]
    assert any(not torch.allclose(runs[0][name], runs[1][name], atol=1e-4) for name in runs[0])


def test_stargan_updates_g_every_n_critic(tmp_path: Path) -> None:
    """StarGAN: one minibatch and its target labels a step; D always, G in each 5th step on the same labels."""

    def targets(g: torch.Generator) -> Tensor:
        return torch.randint(3, (BATCH,), generator=g)

    def loss(family: Scripted, phase: Phase, batch: Batch, ctx: Context) -> Terms:
        c = F.one_hot(targets(ctx.batch_generator), 3).float()
        fake = family.generator(torch.cat([batch.x, c], 1))
        if phase.name == "D":
            return Terms((family.discriminator(fake) - family.discriminator(batch.x)).squeeze(1))
        return Terms(-family.discriminator(fake).squeeze(1))

    def networks() -> dict[str, nn.Module]:
        return {"generator": nn.Linear(5, 2), "discriminator": nn.Linear(2, 1)}

    cycle = (Phase("D", ("discriminator",), "D"), Phase("G", ("generator",), "G", every=5, offset=4))
    family = Scripted(networks(), (Stage("main", cycle),), {"D": ADAM, "G": ADAM}, loss)
    family.sample_inputs = lambda n, generator: torch.zeros(n, 5)  # type: ignore[method-assign]
    weights = trained_by_engine(family, 12, tmp_path)
    nets, batch = hand("generator discriminator", networks), minibatches()
    g, d = nets["generator"], nets["discriminator"]
    step_d, step_g = (torch.optim.Adam(n.parameters(), 0.01, betas=(0.5, 0.9)) for n in (d, g))
    for i in range(12):
        x = batch(i).x
        c = F.one_hot(targets(stream("cpu", "batch", 0, 0, i)), 3).float()
        descend(step_d, (d(g(torch.cat([x, c], 1)).detach()) - d(x)).mean())
        if (i + 1) % 5 == 0:
            descend(step_g, -d(g(torch.cat([x, c], 1))).mean())
    assert_equal(nets, weights)


def test_stylegan2_lazy_regularisation(tmp_path: Path) -> None:
    """StyleGAN2: G, path length each 4th step, D, R1 each 16th; a regulariser shares its network's optimizer."""

    def loss(family: Scripted, phase: Phase, batch: Batch, ctx: Context) -> Terms:
        z = torch.randn(len(batch), 2, generator=ctx.generator)
        if phase.name == "D-r1":
            x = batch.x.requires_grad_()
            (grad,) = torch.autograd.grad(family.discriminator(x).tanh().sum(), x, create_graph=True)
            return Terms(grad.square().sum(1) * 16)
        fake = family.generator(z)
        if phase.name == "G-path":
            return Terms(fake.square().sum(1) * 4)
        logits = family.discriminator(fake).squeeze(1)
        if phase.name == "G":
            return Terms(F.softplus(-logits))
        return Terms(F.softplus(logits) + F.softplus(-family.discriminator(batch.x).squeeze(1)))

    cycle = (
        Phase("G", ("generator",), "G"),
        Phase("G-path", ("generator",), "G", every=4),
        Phase("D", ("discriminator",), "D"),
        Phase("D-r1", ("discriminator",), "D", every=16, fresh_batch=True),
    )
    weights = trained_by_engine(Scripted(pair(), (Stage("main", cycle),), {"D": ADAM, "G": ADAM}, loss), 20, tmp_path)
    nets, batch = hand("generator discriminator", pair), minibatches()
    g, d = nets["generator"], nets["discriminator"]
    step_d, step_g = (torch.optim.Adam(n.parameters(), 0.01, betas=(0.5, 0.9)) for n in (d, g))
    draw = -1
    for t in range(20):
        draw += 1
        x = batch(draw).x
        descend(step_g, F.softplus(-d(g(torch.randn(BATCH, 2, generator=noise(t, 0))))).mean())
        if t % 4 == 0:
            descend(step_g, 4 * g(torch.randn(BATCH, 2, generator=noise(t, 1))).square().sum(1).mean())
        fake = g(torch.randn(BATCH, 2, generator=noise(t, 2))).detach()
        descend(step_d, (F.softplus(d(fake)) + F.softplus(-d(x))).mean())
        if t % 16 == 0:
            draw += 1
            x = batch(draw).x.requires_grad_()
            (grad,) = torch.autograd.grad(d(x).tanh().sum(), x, create_graph=True)
            descend(step_d, 16 * grad.square().sum(1).mean())
    assert_equal(nets, weights)


def timegan_networks() -> dict[str, nn.Module]:
    names = ["embedder", "recovery", "generator", "supervisor", "discriminator"]
    return {name: nn.Linear(2, 1 if name == "discriminator" else 2) for name in names}


def timegan_losses(nets: dict[str, nn.Module], x: Tensor, z: Tensor) -> dict[str, Tensor]:
    """The shape of TimeGAN's losses, on points instead of sequences."""
    h, fake = torch.sigmoid(nets["embedder"](x)), torch.sigmoid(nets["generator"](z))
    reconstruction = (nets["recovery"](h) - x).square().mean(1)
    supervised = (nets["supervisor"](h) - h.roll(1, 0)).square().mean(1)
    fake_logits = nets["discriminator"](nets["supervisor"](fake)).squeeze(1)
    real_logits = nets["discriminator"](h).squeeze(1)
    return {
        "embed": reconstruction,
        "supervise": supervised,
        "G": F.softplus(-fake_logits) + supervised,
        "E": reconstruction + 0.1 * supervised,
        "D": F.softplus(-real_logits) + F.softplus(fake_logits),
    }


@pytest.mark.parametrize(("gate", "fewest", "most"), [(0.0, 0, 0), (1.94, 1, 5), (100.0, 6, 6)])
def test_timegan_stages_and_gate(gate: float, fewest: int, most: int, tmp_path: Path) -> None:
    """TimeGAN: embedding, supervised, joint (twice G and E, then D if it is bad enough), five optimizers."""
    trains = {
        "embed": ("embedder", "recovery"),
        "supervise": ("supervisor",),
        "G": ("generator", "supervisor"),
        "E": ("embedder", "recovery"),
        "D": ("discriminator",),
    }
    skipped: list[int] = []

    def loss(family: Scripted, phase: Phase, batch: Batch, ctx: Context) -> Terms | None:
        nets = dict(family.named_children())
        value = timegan_losses(nets, batch.x, torch.rand(len(batch), 2, generator=ctx.generator))[phase.name]
        if phase.name == "D" and value.mean() <= gate:
            skipped.append(ctx.progress.step)
            return None
        return Terms(value)

    def phase(name: str, fresh: bool = False) -> Phase:
        return Phase(name, trains[name], name, fresh_batch=fresh)

    stages = (
        Stage("embedding", (phase("embed"),), iterations=3),
        Stage("supervised", (phase("supervise"),), iterations=4),
        Stage(
            "joint", (phase("G"), phase("E"), phase("G", fresh=True), phase("E"), phase("D", fresh=True)), iterations=6
        ),
    )
    family = Scripted(timegan_networks(), stages, dict.fromkeys(trains, ADAM), loss)
    weights = trained_by_engine(family, 100, tmp_path)

    nets, batch = hand("embedder recovery generator supervisor discriminator", timegan_networks), minibatches()
    steps = {
        name: torch.optim.Adam([p for n in names for p in nets[n].parameters()], 0.01, betas=(0.5, 0.9))
        for name, names in trains.items()
    }
    draws = iter(range(1000))

    def advance(name: str, x: Tensor, t: int, order: int) -> None:
        value = timegan_losses(nets, x, torch.rand(BATCH, 2, generator=noise(t, order)))[name].mean()
        if name != "D" or value > gate:
            for network in nets.values():
                network.zero_grad()
            value.backward()
            steps[name].step()

    for t in range(3):
        advance("embed", batch(next(draws)).x, t, 0)
    for t in range(3, 7):
        advance("supervise", batch(next(draws)).x, t, 0)
    for t in range(7, 13):
        for order in (0, 2):
            x = batch(next(draws)).x
            advance("G", x, t, order)
            advance("E", x, t, order + 1)
        advance("D", batch(next(draws)).x, t, 4)
    assert_equal(nets, weights)
    assert fewest <= len(skipped) <= most


def cycles() -> Iterator[tuple[Stage, ...]]:
    yield (gan_stage(3),)
    yield (
        Stage("a", (Phase("x", (), "o"), Phase("y", (), "o", every=3, offset=1, fresh_batch=True)), iterations=5),
        Stage("b", (Phase("x", (), "o", every=2), Phase("y", (), "o", fresh_batch=True))),
    )


@pytest.mark.parametrize("stages", list(cycles()))
def test_draw_numbers_follow_one_another(stages: tuple[Stage, ...]) -> None:
    """The closed form for the first minibatch of a step agrees with counting minibatches one by one."""
    from saddlepoint.engine.plan import locate

    draw = 0
    for step in range(25):
        position = locate(stages, step)
        assert position is not None
        assert position.draw == draw
        draw += 1 + sum(p.fresh_batch and p.due(position.cycle) for p in position.stage.cycle[1:])
