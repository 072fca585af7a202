"""Pivotal tuning: the generator is tuned around the points of given pictures, until it makes the pictures themselves.

    G:  d(G(w_p), x)  +  locality d(G(w_r), G_before(w_r)),    w_r = w_p + reach (w_z - w_p) / ||w_z - w_p||

d is the distance that was searched with. The second term keeps what lies beside the pivot as it was.

Source: Roich et al. 2021, "Pivotal Tuning for Latent-based Editing of Real Images", equations 2 to 6. Deviations: the
distance is ours, not LPIPS (`saddlepoint.metrics.perceptual`); the reach is half the usual distance between two drawn
points instead of 30, which belongs to one network; families without w are tuned around an input z.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from saddlepoint.core.config import check
from saddlepoint.core.progress import counted
from saddlepoint.core.types import Samples
from saddlepoint.engine.machine import runtime
from saddlepoint.run.run import Run
from saddlepoint.run.samples.latent import Explorer
from saddlepoint.run.samples.likeness import Likeness, squared_errors

_REACH = 0.5
"""Distance of w_r from the pivot, as a share of the usual distance between two drawn points."""


@dataclass(frozen=True)
class Tuning:
    """How the generator is tuned.

    Attributes:
        steps: of Adam; 0 leaves the generator as it is.
        lr: learning rate, falling to a tenth along a cosine.
        locality: weight of the second term; 0 leaves it out, and halves the time.
        seed: of the points w_z.
        progress: receives the step and the errors, (n,).
    """

    steps: int = 300
    lr: float = 1e-3
    locality: float = 0.1
    seed: int = 0
    progress: Callable[[int, Tensor], Any] = lambda step, losses: None

    def __post_init__(self) -> None:
        check(0 <= self.steps <= 100_000, "tuning steps", self.steps, "0 to 100,000")
        check(0 < self.lr < 1, "lr", self.lr, "above 0 and below 1")
        check(0 <= self.locality < 1000, "locality", self.locality, "0 (none) or more")


@dataclass
class Tuned:
    """A generator that was tuned to pictures.

    Attributes:
        run: with the tuned generator; the one that it began with is as it was.
        samples: what it makes at the pivots, (n, *sample).
        losses: (steps, n) errors by the distance.
        squares: (n,) mean squared errors in the end.
        beside: mean squared change of samples that are not the pictures', over 64 seeds.
    """

    run: Run
    samples: Samples
    losses: Tensor
    squares: Tensor
    beside: float


def tune(
    explorer: Explorer, images: Samples, codes: Tensor, labels: Tensor | None, likeness: Likeness, settings: Tuning
) -> Tuned:
    """Tune a run's generator to pictures whose points are known.

    Args:
        explorer: of the run.
        images: (n, *sample) in the inside range.
        codes: (n, latent) or (n, layers, w), as `Explorer.project` finds them.
        labels: (n,) classes of a conditional generator.
        likeness: the distance.
        settings: how.
    """
    run = explorer.run
    family = copy.deepcopy(run.family)
    tuned = Explorer(Run(run.path, run.config, family, run.step, run.averaged))
    pivots, images = codes.to(run.device), images.to(run.device)
    labels = None if labels is None else labels.to(run.device)
    errors_of, draws = likeness.to(images), runtime.stream(run.device, "tuning", settings.seed)
    weights = [p for name in family.averaged for p in family.get_submodule(name).requires_grad_(True).parameters()]
    optimizer = torch.optim.Adam(weights, lr=settings.lr, betas=(0.9, 0.999))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, settings.steps), settings.lr / 10)
    losses = torch.empty(settings.steps, len(images))
    for step in counted(range(settings.steps), "tuning the generator to the pictures", settings.steps):
        errors = errors_of(tuned.made(pivots, labels, 0))
        loss = errors.sum()
        if settings.locality:
            near = _beside(explorer, pivots, labels, draws)
            with torch.no_grad():
                before = explorer.made(near, labels, 0)
            loss = loss + settings.locality * likeness.to(before)(tuned.made(near, labels, 0)).sum()
        for weight, slope in zip(weights, torch.autograd.grad(loss, weights, allow_unused=True), strict=True):
            weight.grad = slope  # none where a pivot does not come by, as in the mapping network
        optimizer.step()
        schedule.step()
        losses[step] = errors.detach().cpu()
        settings.progress(step, losses[step])
    family.requires_grad_(False)
    return _told(explorer, tuned, images.cpu(), pivots.cpu(), labels, losses)


@torch.no_grad()
def _beside(explorer: Explorer, pivots: Tensor, labels: Tensor | None, draws: torch.Generator) -> Tensor:
    """Return points w_r at a distance from the pivots, towards points that are drawn."""
    family = explorer.family
    drawn = family.sample_inputs(len(pivots), draws).to(pivots.device)
    others = explorer.styles(explorer.codes(drawn, labels).to(pivots.device))
    away = others - pivots
    length = away.flatten(1).norm(dim=1).clamp(min=1e-12)
    usual = explorer.spread * (2 * away[0].numel()) ** 0.5
    return pivots + away * (_REACH * usual / length).view(-1, *[1] * (away.ndim - 1))


@torch.no_grad()
def _told(
    before: Explorer, after: Explorer, images: Samples, codes: Tensor, labels: Tensor | None, losses: Tensor
) -> Tuned:
    """Return the tuned run with what became of the pictures, and of all others."""
    asked = None if labels is None else labels.cpu()
    samples = after.samples(codes, asked, 0)
    others = [explorer.run.sample(64, seed=1) for explorer in (before, after)]
    beside = float((others[0] - others[1]).square().mean())
    return Tuned(after.run, samples, losses, squared_errors(samples, images), beside)
