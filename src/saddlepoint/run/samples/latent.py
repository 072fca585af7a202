"""Walks in latent space: points, principal directions, truncation, mixed styles, and the points of given images."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.quoting import for_python, for_shell
from saddlepoint.core.types import Samples
from saddlepoint.engine.machine import runtime
from saddlepoint.family.capabilities import Encoding, StyleSpace, style_space
from saddlepoint.run.run import Run

MOST_DIRECTIONS = 12
"""Directions that are shown, those that change samples most first."""

_PLACES = 32
"""Points at which a generator's derivative is taken."""

REACH = 3.0
"""How far a sheet of directions goes to either side, in standard deviations."""

_STEP = 0.05
"""Length of a finite difference, in standard deviations."""

_DRAWN = 4000

_TRIED, _LEAST_TRIED, _NUMBERS = 1000, 64, 2**24
"""Codes from which a projection starts: fewer of images beyond 74 pixels, whose numbers together are bounded."""


@dataclass(frozen=True)
class Point:
    """A place in latent space: that of a seed, moved along principal directions.

    Attributes:
        seed: the place's sample is the first that `Run.sample` draws with this seed.
        moves: (direction from 1 on, standard deviations) pairs.
    """

    seed: int = 0
    moves: tuple[tuple[int, float], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Point:
        """Read ``SEED`` or ``SEED,DIRECTION=AMOUNT,...``.

        Raises:
            ConfigError: if it is neither.

        >>> Point.parse("3,1=2,4=-1.5")
        Point(seed=3, moves=((1, 2.0), (4, -1.5)))
        """
        seed, *moves = (part.strip() for part in text.split(","))
        found = [re.fullmatch(r"([1-9]\d*)\s*=\s*([+-]?\d+(?:\.\d+)?)", move) for move in moves]
        if not seed.isdecimal() or not all(found):
            raise ConfigError(
                f"the point is '{text}', but it must be SEED or SEED,DIRECTION=AMOUNT such as 3,1=2,4=-1.5"
            )
        return cls(int(seed), tuple((int(match[1]), float(match[2])) for match in found if match))

    def __str__(self) -> str:
        return ",".join([str(self.seed), *(f"{number}={amount:g}" for number, amount in self.moves if amount)])


@dataclass(frozen=True)
class View:
    """How a place is looked at.

    Attributes:
        points: one place, or the corners of a path.
        at: where on the path: 0 is the first point, 1 the second, 1.5 halfway between second and third.
        label: index or name of a class, for a conditional generator; None: that of the nearer point's seed.
        truncation: distance from the mean as a share: 0 is the mean, 1 leaves the place where it is.
        mix: (seed, layer): from this layer on the style is that seed's; families with w only.
    """

    points: tuple[Point, ...] = (Point(),)
    at: float = 0.0
    label: int | str | None = None
    truncation: float = 1.0
    mix: tuple[int, int] | None = None


@dataclass
class Projection:
    """Latent points of given samples.

    Attributes:
        codes: (n, latent) inputs, or (n, layers, w) styles of a family with w.
        samples: what the generator makes of them.
        losses: (steps, n) mean squared errors.
        mean_losses: (n,) errors of the generator's mean sample, to compare with.
    """

    codes: Tensor
    samples: Samples
    losses: Tensor
    mean_losses: Tensor = field(default_factory=lambda: torch.empty(0))


class Explorer:
    """The latent space of a run: z, or w where the family has one.

    Args:
        run: with a generator of latent inputs.

    Raises:
        ConfigError: if the generator transforms images or sequences.
    """

    def __init__(self, run: Run) -> None:
        if run.family.tags.input != "latent":
            raise ConfigError(f"'{run.path.name}' translates given {run.family.tags.input}s: it has no latent space")
        self.run, self.family = run, run.family

    @cached_property
    def mean(self) -> Tensor:
        """The mean of the space, towards which truncation pulls."""
        return style_space(self.family).w_average.cpu() if isinstance(self.family, StyleSpace) else self._drawn.mean(0)

    @cached_property
    def spread(self) -> float:
        """The standard deviation of a coordinate: the unit of moves."""
        return float(self._drawn.std(0).square().mean().sqrt())

    @cached_property
    def _drawn(self) -> Tensor:
        inputs = self.run.inputs(_DRAWN, seed=0)
        return self.codes(inputs, self.run.labels(_DRAWN, seed=0))

    def codes(self, inputs: Tensor, labels: Tensor | None) -> Tensor:
        """Return the places of inputs in the space that is walked in, (n, latent), on the CPU."""
        return self.run.codes(inputs, labels) if isinstance(self.family, StyleSpace) else inputs

    @cached_property
    def directions(self) -> Tensor:
        """The principal directions, (at most `MOST_DIRECTIONS`, latent): unit vectors, the most telling first.

        They change samples most: eigenvectors of E[J^T J], J the derivative of the sample in the code, by finite
        differences at 32 places. None where inputs are sequences.

        Source: Wang and Ponce 2021 (The geometry of deep image generators).
        """
        codes, labels = self._drawn[:_PLACES], self.run.labels(_PLACES, seed=0)
        if codes.ndim != 2:
            return codes.new_empty(0, 1)
        size = codes.shape[1]
        offsets = torch.cat([torch.zeros(1, size), _STEP * self.spread * torch.eye(size)])
        metric = torch.zeros(size, size, dtype=torch.float64)
        for number, code in enumerate(codes):
            label = None if labels is None else labels[number].expand(size + 1)
            samples = self._alike(code + offsets, label).flatten(1).double()
            change = samples[1:] - samples[:1]
            metric += change @ change.T
        _, vectors = torch.linalg.eigh(metric)
        best = vectors.flip(1).T[:MOST_DIRECTIONS].float()
        # An eigenvector has no sign: the largest coordinate is made positive, so that every machine shows the same.
        return best * best.gather(1, best.abs().argmax(1, keepdim=True)).sign()

    def code(self, point: Point, label: int | str | None = None) -> Tensor:
        """Return a point's place, (latent,).

        Raises:
            ConfigError: on a direction that does not exist, or no such class.
        """
        code = self.codes(self.run.inputs(1, seed=point.seed), self.run.labels(1, seed=point.seed, label=label))[0]
        for number, amount in point.moves:
            if number > len(self.directions):
                raise ConfigError(f"there is no direction {number}; '{self.run.path.name}' has {len(self.directions)}")
            code = code + amount * self.spread * self.directions[number - 1]
        return code

    def sample(self, view: View) -> Samples:
        """Return the sample of a view, (1, *sample), on the CPU.

        Raises:
            ConfigError: on a direction, class, layer or place on the path that does not exist, or a truncation that
                is negative.
        """
        last = len(view.points) - 1
        if last < 0 or not 0 <= view.at <= last:
            raise ConfigError(f"the place on the path is {view.at:g}, but {last + 1} points span 0 to {max(last, 0)}")
        if not 0 <= view.truncation < float("inf"):
            raise ConfigError(f"truncation is {view.truncation:g}, but it must be 0 (the mean) or more")
        left = min(int(view.at), max(0, last - 1))
        code = self.code(view.points[left], view.label)
        if view.at > left:
            code = torch.lerp(code, self.code(view.points[left + 1], view.label), view.at - left)
        seed = view.points[0].seed
        labels = self.run.labels(1, seed=view.points[round(view.at)].seed, label=view.label)
        codes = torch.lerp(self.mean, code, view.truncation)[None]
        if not isinstance(self.family, StyleSpace):
            if view.mix is not None:
                raise ConfigError(f"family '{self.family.name}' has no styles to mix; leave --mix out")
            return self._samples(codes, labels, seed)
        return self.run.synthesise(self._mixed(codes, view), seed)

    def _mixed(self, codes: Tensor, view: View) -> Tensor:
        layers = style_space(self.family).w_layers
        styles = codes[:, None].repeat(1, layers, 1)
        if view.mix is not None:
            seed, layer = view.mix
            if not 0 <= layer < layers:
                raise ConfigError(f"there is no layer {layer}; the generator has 0 to {layers - 1}")
            other = self.code(Point(seed), view.label)
            styles[:, layer:] = torch.lerp(self.mean, other, view.truncation)
        return styles

    def path(self, view: View, frames: int) -> Samples:
        """Return samples along a whole path, (frames, *sample), both ends included.

        Raises:
            ConfigError: on fewer than 2 frames or points, and as `sample`.
        """
        last = len(view.points) - 1
        if last < 1:
            raise ConfigError(
                "a film goes from point to point, and there is one point only; give --point a second time "
                f"(--point {view.points[0]} --point {view.points[0].seed + 1}), or --out FILE.png for a still"
            )
        if frames < 2:
            raise ConfigError(f"a film of {frames} frames is asked for, but it must be at least 2")
        places = [last * number / (frames - 1) for number in range(frames)]
        return torch.cat([self.sample(View(view.points, at, view.label, view.truncation, view.mix)) for at in places])

    def sheet(self, view: View, reach: float = REACH, columns: int = 7) -> Samples:
        """Return what each direction does to a view's first point: (directions * columns, *sample), row by row.

        Args:
            view: of one point.
            reach: the ends of a row, in standard deviations.
            columns: pictures in a row.
        """
        first, rows = view.points[0], []
        for number in range(1, len(self.directions) + 1):
            kept = tuple(move for move in first.moves if move[0] != number)
            for amount in torch.linspace(-reach, reach, columns).tolist():
                point = Point(first.seed, (*kept, (number, amount)))
                rows.append(self.sample(View((point,), 0.0, view.label, view.truncation, view.mix)))
        return torch.cat(rows)

    @torch.no_grad()
    def _samples(self, codes: Tensor, labels: Tensor | None, seed: int) -> Samples:
        if isinstance(self.family, StyleSpace):
            return self.run.synthesise(codes[:, None].repeat(1, style_space(self.family).w_layers, 1), seed)
        return self.run.generate(codes, labels, seed=seed)

    def _alike(self, codes: Tensor, labels: Tensor | None) -> Samples:
        """Return samples that share all further randomness, such as dropout, which differs along a batch."""
        twice = self._samples(codes[:1].repeat(2, 1), None if labels is None else labels[:2], seed=0)
        if torch.allclose(twice[0], twice[1], atol=1e-4):
            return self._samples(codes, labels, seed=0)
        single = [None] * len(codes) if labels is None else labels.split(1)
        return torch.cat(
            [self._samples(code, label, seed=0) for code, label in zip(codes.split(1), single, strict=True)]
        )

    def project(
        self,
        images: Samples,
        label: int | str | None = None,
        *,
        steps: int = 300,
        starts: int = 4,
        seed: int = 0,
        progress: Callable[[int, Tensor], Any] = lambda step, losses: None,
    ) -> Projection:
        """Look for the codes whose samples are nearest to given images, by Adam from the best of drawn codes.

        1,000 are drawn; of images beyond 74 pixels as many fewer as these have more numbers, but 64.

        A family with an encoder is asked for the codes: one pass, and one row of errors.

        Args:
            images: (n, *sample) in the inside range.
            label: class of all of them, for a conditional generator.
            steps: of Adam; its rate falls to 0 along a cosine.
            starts: codes followed for each image; the best one counts.
            seed: of the drawn codes.
            progress: receives the step and the best errors so far, (n,).

        Raises:
            ConfigError: if the images are not of the generator's shape.

        Source: Abdal et al. 2019 (Image2StyleGAN), with squared errors alone: no perceptual network is shipped.
        """
        shape = self.family.data.shape
        if tuple(images.shape[1:]) != shape:
            raise ConfigError(f"the images are {tuple(images.shape[1:])}, but the generator makes {shape}: resize them")
        if isinstance(self.family, Encoding):
            return self._encoded(images, label, seed)
        n, device = len(images), self.run.device
        start, labels, mean_losses = self._nearest_drawn(images, label, starts, seed)
        targets = images.repeat_interleave(starts, 0).to(device)
        found = start.to(device).clone().requires_grad_(True)
        optimizer = torch.optim.Adam([found], lr=0.1 * self.spread)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        losses = torch.empty(steps, n)
        best, kept = torch.full((n * starts,), torch.inf, device=device), found.detach().clone()
        seen = torch.zeros_like(targets)
        for step in range(steps):
            made = self._made(found, labels, seed)
            errors = (made - targets).square().flatten(1).mean(1)
            better = errors.detach() < best
            best = torch.where(better, errors.detach(), best)
            kept[better], seen[better] = found.detach()[better], made.detach()[better]
            losses[step] = best.view(n, starts).amin(1).cpu()
            progress(step, losses[step])
            (found.grad,) = torch.autograd.grad(errors.sum(), found)
            optimizer.step()
            schedule.step()
        winners = best.view(n, starts).argmin(1) + starts * torch.arange(n, device=device)
        return Projection(kept[winners].cpu(), seen[winners].cpu(), losses, mean_losses)

    def _nearest_drawn(
        self, images: Samples, label: int | str | None, starts: int, seed: int
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Return the nearest of drawn codes to each image (n starts, ...), labels, errors of the mean sample."""
        tried = max(_LEAST_TRIED, starts, min(_TRIED, _NUMBERS // math.prod(images.shape[1:])))
        drawn_labels = self.run.labels(tried, seed=seed, label=label)
        codes = self.codes(self.run.inputs(tried, seed=seed), drawn_labels)
        drawn = self._samples(codes, drawn_labels, seed)
        mean_losses = (drawn.mean(0) - images).square().flatten(1).mean(1)
        chosen = torch.cdist(images.flatten(1), drawn.flatten(1)).topk(starts, largest=False).indices.flatten()
        labels = None if drawn_labels is None else drawn_labels[chosen].to(self.run.device)
        start = codes[chosen]
        if isinstance(self.family, StyleSpace):
            start = start[:, None].repeat(1, style_space(self.family).w_layers, 1)
        return start, labels, mean_losses

    def _encoded(self, images: Samples, label: int | str | None, seed: int) -> Projection:
        """Return the points that the encoder finds, in one pass."""
        labels = self.run.labels(len(images), seed=seed, label=label)
        codes = self.run.encode(images, labels)
        samples = self.run.generate(codes, labels, seed=seed)
        drawn = self.run.sample(1000, seed=seed, label=label)
        errors, of_mean = ((made - images).square().flatten(1).mean(1) for made in (samples, drawn.mean(0)))
        return Projection(codes, samples, errors[None], of_mean)

    def _made(self, codes: Tensor, labels: Tensor | None, seed: int) -> Samples:
        stream = runtime.stream(self.run.device, "generate", seed, 0)
        if isinstance(self.family, StyleSpace):
            return style_space(self.family).synthesis(codes, generator=stream)
        return self.family.generate(codes, labels, generator=stream)


def command(run: Run, view: View) -> tuple[str, str]:
    """Return the command and the line of Python that make the picture of a view."""
    words, fields = [for_shell("saddle", "explore", run.path)], list[str]()
    words += [f"--point {point}" for point in view.points]
    shown = ", ".join(f'sp.Point.parse("{point}")' for point in view.points)
    fields.append(f"points=({shown},)")
    for name, value, usual in (
        ("at", view.at, 0.0), ("label", view.label, None), ("truncation", view.truncation, 1.0),
    ):  # fmt: skip
        if value != usual:
            words.append(f"--{name} {value:g}" if isinstance(value, float) else for_shell(f"--{name}", str(value)))
            fields.append(f"{name}={for_python(value) if isinstance(value, str) else repr(value)}")
    if view.mix is not None:
        words.append(f"--mix {view.mix[0]}:{view.mix[1]}")
        fields.append(f"mix={view.mix!r}")
    place = f"sp.View({', '.join(fields)})"
    loaded = f"sp.load({for_python(str(run.path))})"
    return " ".join(words), f"import saddlepoint as sp; sp.Explorer({loaded}).sample({place})"


def read_points(texts: Sequence[str]) -> tuple[Point, ...]:
    """Read points as `Point.parse` does; without any, the place of seed 0."""
    return tuple(Point.parse(text) for text in texts) or (Point(),)
