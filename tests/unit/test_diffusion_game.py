"""A diffusion model trained by a game: losses and gradients are those of autograd, and fewer evaluations suffice."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from saddlepoint.engine.machine.runtime import stream
from saddlepoint.families.diffusion import Diffusion
from saddlepoint.families.diffusion.adversarial import GAME, Adversarial
from saddlepoint.family import Batch, Context, DataSpec, Family, Phase, Progress, build_family
from saddlepoint.nn.discriminators import ConvDiscriminator

PLAYERS = tuple(Phase(name, trains=(name,), optimizer=name) for name in ("discriminator", "network"))


def build(data: DataSpec, **changes: object) -> Adversarial:
    config = replace(GAME, widths=(8, 16), condition_width=16, vector_width=16, discriminator_width=4, **changes)  # type: ignore[arg-type]
    family = build_family("diffusion", config, data)
    assert isinstance(family, Adversarial)
    family.reset_parameters(stream("cpu", "weights"))
    # Away from the start, where the network says next to nothing.
    for weight in family.network.parameters():
        weight.data += 0.02 * torch.randn(weight.shape, generator=stream("cpu", str(weight.shape)))
    return family


def gradients(family: Family, name: str) -> list[torch.Tensor]:
    return [torch.zeros(()) if p.grad is None else p.grad.clone() for p in family.get_submodule(name).parameters()]


@pytest.mark.parametrize("evaluations", [1, 3])
@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("modality", ["image", "vector"])
def test_both_players_descend_what_autograd_says(modality: str, conditional: bool, evaluations: int) -> None:
    shape = (1, 16, 16) if modality == "image" else (3,)
    data = DataSpec("image" if modality == "image" else "vector", shape, classes=("a", "b"))
    family = build(data, evaluations=evaluations, conditional=conditional, r2_gamma=0.3)
    x = torch.rand(4, *shape, generator=stream("cpu", "x")) * 2 - 1
    labels = torch.tensor([0, 1, 1, 0])
    if family.discriminator.label is not None:
        torch.nn.init.normal_(family.discriminator.label.weight, generator=stream("cpu", "labels"))
    found = family.losses(PLAYERS, Batch(x, labels), Context(stream("cpu", "n"), stream("cpu", "b"), Progress()))
    ours = {}
    for player in ("network", "discriminator"):
        family.zero_grad()
        found[player].loss.mean().backward(retain_graph=True)
        ours[player] = gradients(family, player)

    family.zero_grad()
    real = x.clone().requires_grad_()
    known = labels if conditional else None
    fake = family.ends(4, known, stream("cpu", "n"))
    d = family.discriminator.logits
    F.softplus(d(x, known) - d(fake, known)).mean().backward()
    torch.testing.assert_close(ours["network"], gradients(family, "network"), atol=1e-6, rtol=1e-4)

    family.zero_grad()
    fake = fake.detach().requires_grad_()
    real_logits, fake_logits = d(real, known), d(fake, known)
    norms = [
        torch.autograd.grad(logits.sum(), seen, create_graph=True)[0].square().flatten(1).sum(1)
        for logits, seen in ((real_logits, real), (fake_logits, fake))
    ]
    loss = F.softplus(fake_logits - real_logits) + 0.2 / 2 * norms[0] + 0.3 / 2 * norms[1]
    torch.testing.assert_close(found["discriminator"].loss, loss, atol=1e-5, rtol=1e-4)
    loss.mean().backward()
    torch.testing.assert_close(ours["discriminator"], gradients(family, "discriminator"), atol=1e-6, rtol=1e-4)


def test_without_the_game_there_is_no_discriminator() -> None:
    plain = build_family("diffusion", replace(GAME, game=False), DataSpec("image", (1, 16, 16)))
    assert isinstance(plain, Diffusion)
    assert not isinstance(plain, Adversarial)
    assert {name for name, _ in plain.named_children()} == {"network"}


@pytest.mark.parametrize(("shape", "sides"), [((1, 28, 28), [14, 7, 4]), ((3, 32, 48), [16, 8, 4]), ((1, 8, 8), [4])])
def test_convolutions_go_down_to_a_small_side(shape: tuple[int, int, int], sides: list[int]) -> None:
    judge = ConvDiscriminator(shape, 4, 0.2)
    h, seen = torch.zeros(1, *shape), []
    for layer in judge.layers:
        h = layer(h)
        seen.append(h.shape[2])
    assert seen == sides
    assert judge.logits(torch.zeros(2, *shape)).shape == (2,)
