"""A small part of what measuring takes, to be timed with one thread and with more."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from saddlepoint.data.dataset import Dataset

ROWS, REFERENCE = 128, 512
"""Rows of a minibatch of a probe, and those that distances are taken to."""


def small_part(dataset: Dataset) -> Callable[[], object]:
    """Return a function that computes a probe's gradient and some distances on made-up rows of the data's shape."""
    shape = dataset.spec.shape
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, *shape, generator=draws)
    flat = torch.randn(REFERENCE, math.prod(shape), generator=draws, dtype=torch.float64)
    with torch.random.fork_rng(devices=[]):
        layers: list[nn.Module] = [nn.Flatten(), nn.LazyLinear(128), nn.SiLU(), nn.LazyLinear(1)]
        if dataset.modality == "image" and min(shape[1:]) >= 8:
            layers = [nn.Conv2d(shape[0], 32, 3, 2, 1), nn.SiLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.SiLU(), *layers]
        network = nn.Sequential(*layers)
        network(x)

    def part() -> None:
        network(x).square().mean().backward()
        torch.cdist(flat[:ROWS], flat)

    return part
