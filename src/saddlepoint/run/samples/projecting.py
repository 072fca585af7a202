"""Projection: the points of latent space whose samples are nearest to given pictures.

Source: Abdal et al. 2019 (Image2StyleGAN), Karras et al. 2020 (StyleGAN2, appendix D).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from saddlepoint.core.errors import ConfigError, suggest
from saddlepoint.core.progress import counted
from saddlepoint.core.types import Samples
from saddlepoint.family.capabilities import StyleSpace, style_space
from saddlepoint.family.explicit import Encoding
from saddlepoint.run.samples.likeness import Likeness, squared_errors

if TYPE_CHECKING:
    from saddlepoint.run.samples.latent import Explorer

SPACES = ("w+", "w")
"""A style for each layer, or one for all of them: the first comes nearer, the second can be edited better."""

_DRAWN, _LOOKED_AT = 1000, 50
"""Codes that are drawn, and those of them that are compared by the distance, the nearest ones by pixels."""

_LEAST_DRAWN, _NUMBERS = 64, 2**24
"""Of images beyond 74 pixels fewer codes are drawn, but so many: their numbers together are bounded."""

_FIRST = 5
"""All codes are followed for one of so many steps."""

_FIRST_RATE = 0.1
"""Learning rate in standard deviations of a coordinate."""


@dataclass
class Projection:
    """Latent points of given samples.

    Attributes:
        codes: (n, latent) inputs, or (n, layers, w) styles of a family with w.
        samples: what the generator makes of them.
        losses: (steps, n) errors by the distance that was searched with: the best so far.
        mean_losses: (n,) errors of the generator's mean sample, to compare with.
        distance: the word for the distance.
        squares: (n,) mean squared errors of what was found, whatever the distance.
    """

    codes: Tensor
    samples: Samples
    losses: Tensor
    mean_losses: Tensor = field(default_factory=lambda: torch.empty(0))
    distance: str = "pixels"
    squares: Tensor = field(default_factory=lambda: torch.empty(0))


@dataclass(frozen=True)
class Search:
    """How it is looked for.

    Attributes:
        steps: of Adam; its rate falls to 0 along a cosine.
        starts: codes followed for each image, the nearest of 1,000 drawn ones; after a fifth of the steps the best.
        seed: of the drawn codes.
        space: one of `SPACES`, of families with w.
        noise: seed of what else is random in a sample; None: ``seed``.
        progress: receives the step and the best errors so far, (n,).
    """

    steps: int = 300
    starts: int = 4
    seed: int = 0
    space: str = SPACES[0]
    noise: int | None = None
    progress: Callable[[int, Tensor], Any] = lambda step, losses: None

    def __post_init__(self) -> None:
        if self.space not in SPACES:
            raise ConfigError(f"the space is '{self.space}'; {suggest(self.space, SPACES)}")
        for name, number, most in (("steps", self.steps, 100_000), ("starts", self.starts, _DRAWN)):
            if not 1 <= number <= most:
                raise ConfigError(f"{name} is {number}, but it must be 1 to {most:,}")


def project(
    explorer: Explorer, images: Samples, label: int | str | None, likeness: Likeness, search: Search
) -> Projection:
    """Look for the points of given images; see `Explorer.project`."""
    shape = explorer.family.data.shape
    if tuple(images.shape[1:]) != shape:
        raise ConfigError(f"the images are {tuple(images.shape[1:])}, but the generator makes {shape}: resize them")
    if isinstance(explorer.family, Encoding):
        return _encoded(explorer, images, label, search.seed)
    start, labels, mean_losses = _nearest_drawn(explorer, images, label, likeness, search)
    followed, first = _Followed(explorer, start, labels, images, likeness, search), max(1, search.steps // _FIRST)
    losses = torch.empty(search.steps, len(images))
    for step in counted(range(search.steps), "looking for the place of the pictures", search.steps):
        if step == first:
            followed.keep_best()
        losses[step] = followed.step()
        search.progress(step, losses[step])
    followed.keep_best()
    codes, samples = explorer.styles(followed.kept).cpu(), followed.seen.cpu()
    return Projection(codes, samples, losses, mean_losses, likeness.name, squared_errors(samples, images))


class _Followed:
    """Codes that are followed, several for each image, by Adam whose rate falls to 0 along a cosine."""

    def __init__(
        self, explorer: Explorer, start: Tensor, labels: Tensor | None, images: Samples, likeness: Likeness,
        search: Search,
    ) -> None:  # fmt: skip
        device = explorer.run.device
        self.explorer, self.images, self.likeness, self.labels = explorer, images.to(device), likeness, labels
        self.noise = search.seed if search.noise is None else search.noise
        self.starts = len(start) // len(images)
        self.found = start.to(device).clone().requires_grad_(True)
        self.optimizer = torch.optim.Adam([self.found], lr=_FIRST_RATE * explorer.spread)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, search.steps)
        self.best = torch.full((len(start),), torch.inf, device=device)
        self.kept = self.found.detach().clone()
        self.seen = torch.zeros(len(start), *images.shape[1:], device=device)
        self.errors_of = likeness.to(self.images.repeat_interleave(self.starts, 0))

    def step(self) -> Tensor:
        """Go one step; return the best error of each image so far, (n,)."""
        made = self.explorer.made(self.found, self.labels, self.noise)
        errors = self.errors_of(made)
        refuse_no_gradient(self.explorer, errors)
        better = errors.detach() < self.best
        self.best = torch.where(better, errors.detach(), self.best)
        self.kept[better], self.seen[better] = self.found.detach()[better], made.detach()[better]
        (self.found.grad,) = torch.autograd.grad(errors.sum(), self.found)
        self.optimizer.step()
        self.schedule.step()
        return self.best.view(-1, self.starts).amin(1).cpu()

    def keep_best(self) -> None:
        """Follow only the code of each image that came nearest."""
        order = torch.arange(len(self.images), device=self.best.device)
        rows = self.best.view(-1, self.starts).argmin(1) + self.starts * order
        self.kept, self.seen, self.best = self.kept[rows], self.seen[rows], self.best[rows]
        self.labels = None if self.labels is None else self.labels[rows]
        state = self.optimizer.state[self.found]
        for name in ("exp_avg", "exp_avg_sq"):
            state[name] = state[name][rows]
        self.found.data, self.found.grad = self.found.data[rows], None
        self.errors_of, self.starts = self.likeness.to(self.images), 1


def refuse_no_gradient(explorer: Explorer, errors: Tensor) -> None:
    """Raise a `ConfigError` if no gradient leads from errors back to a code, as where samples are drawn pixels."""
    if not errors.requires_grad:
        raise ConfigError(f"no gradient leads from the samples of '{explorer.family.name}' to their place: use another")


@torch.no_grad()
def _nearest_drawn(
    explorer: Explorer, images: Samples, label: int | str | None, likeness: Likeness, search: Search
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Return the nearest of the drawn codes to each image (n starts, ...), labels, errors of the mean sample."""
    run = explorer.run
    tried = max(_LEAST_DRAWN, search.starts, min(_DRAWN, _NUMBERS // math.prod(images.shape[1:])))
    drawn_labels = run.labels(tried, seed=search.seed, label=label)
    codes = explorer.codes(run.inputs(tried, seed=search.seed), drawn_labels)
    drawn = explorer.samples(codes, drawn_labels, search.seed)
    mean = drawn.mean(0, keepdim=True).expand(len(images), *drawn.shape[1:])
    mean_losses = likeness.to(images)(mean).cpu()
    # By pixels first: to look at all of them takes longer than the search.
    some = (
        torch.cdist(images.flatten(1), drawn.flatten(1))
        .topk(min(tried, max(_LOOKED_AT, search.starts)), largest=False)
        .indices
    )
    index = torch.cat(
        [
            own[likeness.to(image)(drawn[own]).topk(search.starts, largest=False).indices.cpu()]
            for image, own in zip(images.split(1), some.cpu(), strict=True)
        ]
    )
    labels = None if drawn_labels is None else drawn_labels[index].to(run.device)
    start = codes[index]
    if isinstance(explorer.family, StyleSpace) and search.space == SPACES[0]:
        start = start[:, None].repeat(1, style_space(explorer.family).w_layers, 1)
    return start, labels, mean_losses


def _encoded(explorer: Explorer, images: Samples, label: int | str | None, seed: int) -> Projection:
    """Return the points that the encoder finds, in one pass."""
    run = explorer.run
    labels = run.labels(len(images), seed=seed, label=label)
    codes = run.encode(images, labels)
    samples = run.generate(codes, labels, seed=seed)
    drawn = run.sample(_DRAWN, seed=seed, label=label)
    errors, of_mean = (squared_errors(made, images) for made in (samples, drawn.mean(0)))
    return Projection(codes, samples, errors[None], of_mean, squares=errors)
