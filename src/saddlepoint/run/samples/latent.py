"""Walks in latent space: principal directions, truncation, mixed styles, and the points of given images."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.logs import logged
from saddlepoint.core.progress import Say
from saddlepoint.core.types import Samples
from saddlepoint.engine.machine import runtime
from saddlepoint.family.capabilities import StyleSpace, style_space
from saddlepoint.run.run import Run
from saddlepoint.run.samples.likeness import likeness_for
from saddlepoint.run.samples.places import Direction, Pivots, read_directions, read_pivots
from saddlepoint.run.samples.points import Point, View, command, read_points
from saddlepoint.run.samples.projecting import Projection, Search, project

__all__ = ["Explorer", "Point", "Projection", "View", "command", "read_points"]

MOST_DIRECTIONS = 12
"""Directions that are shown, those that change samples most first."""

_PLACES = 32
"""Points at which a generator's derivative is taken."""

REACH = 3.0
"""How far a sheet of directions goes to either side, in standard deviations."""

_STEP = 0.05
"""Length of a finite difference, in standard deviations."""

_DRAWN = 4000


class Explorer:
    """The latent space of a run: z, or w where the family has one.

    Args:
        run: with a generator of latent inputs.

    Raises:
        ConfigError: if the generator transforms images or sequences.
    """

    def __init__(self, run: Run) -> None:
        if (given := run.family.tags.input) != "latent":
            does = {"image": "translates given images", "sequence": "draws anew in each step of a window"}[given]
            raise ConfigError(f"'{run.path.name}' {does}: it has no latent space to walk in; saddle sample shows it")
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

    @property
    def pivots(self) -> Pivots:
        """The places that the run keeps: those of the pictures that it was tuned to, or that were edited in it."""
        return read_pivots(self.run.path, self._sizes)

    @property
    def named(self) -> Mapping[str, Direction]:
        """The directions that the run keeps by name; see `learn_direction`."""
        return read_directions(self.run.path, self._sizes[-1])

    @property
    def offered(self) -> list[int | str]:
        """The principal directions by number, then those with names."""
        return [*range(1, len(self.directions) + 1), *self.named]

    @property
    def _sizes(self) -> tuple[int, ...]:
        """Layers and w of a family with w, else the shape of an input."""
        layers = (style_space(self.family).w_layers,) if isinstance(self.family, StyleSpace) else ()
        return (*layers, *self.mean.shape)

    def direction(self, name: int | str) -> Tensor:
        """Return a direction, (latent,): a unit vector.

        Raises:
            ConfigError: if there is none.
        """
        if isinstance(name, str):
            named = self.named
            if name not in named:
                known = f"it keeps {', '.join(named)}" if named else "it keeps none"
                raise ConfigError(
                    f"'{self.run.path.name}' has no direction '{name}': {known}; learn one of a label with "
                    "saddle explore RUN --attribute LABEL"
                )
            return named[name].vector
        if name > len(self.directions):
            raise ConfigError(f"there is no direction {name}; '{self.run.path.name}' has {len(self.directions)}")
        return self.directions[name - 1]

    def code(self, point: Point, label: int | str | None = None) -> Tensor:
        """Return a point's place, (latent,), or (layers, w) of a pivot with a style for each layer.

        Raises:
            ConfigError: on a direction or a pivot that does not exist, or no such class.
        """
        if point.pivot:
            code = self.pivots.code(point.pivot)
        else:
            labels = self.run.labels(1, seed=point.seed, label=label)
            code = self.codes(self.run.inputs(1, seed=point.seed), labels)[0]
        for name, amount in point.moves:
            code = code + amount * self.spread * self.direction(name)
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
            # One may be a style for each layer, the other one for all.
            start, end = torch.broadcast_tensors(code, self.code(view.points[left + 1], view.label))
            code = torch.lerp(start, end, view.at - left)
        seed, near = view.points[0].seed, view.points[round(view.at)]
        labels = self.run.labels(1, seed=near.seed, label=view.label)
        if near.pivot and labels is not None and view.label is None:
            labels = self.pivots.label(near.pivot)
        codes = torch.lerp(self.mean.expand_as(code), code, view.truncation)[None]
        if not isinstance(self.family, StyleSpace):
            if view.mix is not None:
                raise ConfigError(f"family '{self.family.name}' has no styles to mix; leave --mix out")
            return self.samples(codes, labels, seed)
        return self.run.synthesise(self._mixed(codes, view), seed)

    def _mixed(self, codes: Tensor, view: View) -> Tensor:
        layers = style_space(self.family).w_layers
        styles = self.styles(codes).clone()
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
        """Return what each direction of `offered` does to a view's first point: (directions * columns, *sample).

        Args:
            view: of one point.
            reach: the ends of a row, in standard deviations.
            columns: pictures in a row.
        """
        first, rows = view.points[0], []
        for name in self.offered:
            kept = tuple(move for move in first.moves if move[0] != name)
            for amount in torch.linspace(-reach, reach, columns).tolist():
                point = Point(first.seed, (*kept, (name, amount)), first.pivot)
                rows.append(self.sample(View((point,), 0.0, view.label, view.truncation, view.mix)))
        return torch.cat(rows)

    def styles(self, codes: Tensor) -> Tensor:
        """Return codes as the generator takes them: of a family with w (n, layers, w), one w serving all layers."""
        if not isinstance(self.family, StyleSpace) or codes.ndim == 3:
            return codes
        return codes[:, None].expand(-1, style_space(self.family).w_layers, -1)

    @torch.no_grad()
    def samples(self, codes: Tensor, labels: Tensor | None, seed: int) -> Samples:
        """Return the samples of codes (n, latent), or of styles (n, layers, w), on the CPU."""
        if isinstance(self.family, StyleSpace):
            return self.run.synthesise(self.styles(codes), seed)
        return self.run.generate(codes, labels, seed=seed)

    def _alike(self, codes: Tensor, labels: Tensor | None) -> Samples:
        """Return samples that share all further randomness, such as dropout, which differs along a batch."""
        twice = self.samples(codes[:1].repeat(2, 1), None if labels is None else labels[:2], seed=0)
        if torch.allclose(twice[0], twice[1], atol=1e-4):
            return self.samples(codes, labels, seed=0)
        single = [None] * len(codes) if labels is None else labels.split(1)
        return torch.cat(
            [self.samples(code, label, seed=0) for code, label in zip(codes.split(1), single, strict=True)]
        )

    @logged
    def project(
        self,
        images: Samples,
        label: int | str | None = None,
        *,
        distance: str | None = None,
        say: Say | None = None,
        **search: Any,
    ) -> Projection:
        """Look for the codes whose samples are nearest to given images, by Adam from the best of drawn codes.

        1,000 are drawn; of images beyond 74 pixels as many fewer as these have more numbers, but 64.

        A family with an encoder is asked for the codes: one pass, and one row of errors.

        Args:
            images: (n, *sample) in the inside range.
            label: class of all of them, for a conditional generator.
            distance: ``perceptual`` or ``pixels``; None: see `likeness_for`.
            say: receives lines worth telling.
            search: ``steps``, ``starts``, ``seed``, ``space``, ``progress``; see `Search`.

        Raises:
            ConfigError: if the images are not of the generator's shape, or on a setting out of range.
            DataError: if ``perceptual`` is asked for, and the weights of its network cannot be had.

        Source: Abdal et al. 2019 (Image2StyleGAN); the perceptual distance is not the one of the paper, see
        `saddlepoint.metrics.perceptual`.
        """
        return project(self, images, label, likeness_for(self.run, distance, say), Search(**search))

    def made(self, codes: Tensor, labels: Tensor | None, seed: int) -> Samples:
        """Return the samples of codes or styles on the device of the run; gradients flow through it."""
        stream = runtime.stream(self.run.device, "generate", seed, 0)
        if isinstance(self.family, StyleSpace):
            return style_space(self.family).synthesis(self.styles(codes), generator=stream)
        return self.family.generate(codes, labels, generator=stream)
