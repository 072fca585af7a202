"""Schedules where the families use them."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import saddlepoint.families  # noqa: F401 - registers the families
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.family import Batch, Context, DataSpec, Phase, Progress, build_family, get_family

SPEC = DataSpec("image", (1, 16, 16), ("a", "b", "c"), 100)


def _discriminator_loss(name: str, preset: str, nimg: int, **changes: object) -> torch.Tensor:
    config = dataclasses.replace(get_family(name).PRESETS[preset], **changes)
    family = build_family(name, config, SPEC).train()
    family.reset_parameters(stream("cpu", "weights"))
    batch = Batch(torch.rand(6, *SPEC.shape, generator=stream("cpu", "x")) * 2 - 1, torch.arange(6) % 3)
    context = Context(stream("cpu", "noise"), stream("cpu", "batch"), Progress(nimg=nimg))
    phase = Phase("discriminator", trains=("discriminator",), optimizer="discriminator")
    return family.loss(phase, batch, context).loss


@pytest.mark.parametrize(
    ("name", "preset", "changes"),
    [
        ("gan", "mnist", {}),
        ("cgan", "mnist", {}),
        ("dcgan", "small", {}),
        ("dcgan", "small", {"discriminator_norm": "spectral"}),
    ],
)
def test_penalties_that_fade_are_a_quarter_after_three_times_their_time(
    name: str, preset: str, changes: dict[str, object]
) -> None:
    fading = {"r1_gamma": 4.0, "r2_gamma": 2.0, "gamma_decay_kimg": 100.0, **changes}
    quarter = {"r1_gamma": 1.0, "r2_gamma": 0.5, "gamma_decay_kimg": None, **changes}
    later = _discriminator_loss(name, preset, 300_000, **fading)
    torch.testing.assert_close(later, _discriminator_loss(name, preset, 300_000, **quarter))
    assert not torch.allclose(later, _discriminator_loss(name, preset, 0, **fading))
