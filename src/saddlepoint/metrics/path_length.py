"""Perceptual path length: how fast a picture's features change along paths through the latent space."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from saddlepoint.core.errors import ConfigError, DataError, suggest
from saddlepoint.core.types import Latents, Samples
from saddlepoint.metrics.bootstrap import Estimate, as_features, bootstrap_interval
from saddlepoint.metrics.distances import blocks

Generate = Callable[[Latents], Samples]
"""Deterministic: the same latents give the same samples. Noise and dropout must be fixed."""

SampleLatents = Callable[[int, torch.Generator], Latents]
"""(n, generator) -> n points of the latent space."""

LEAST_PATHS = 100
"""Paths below which no interval is given."""


@torch.no_grad()
def path_length(
    generate: Generate,
    sample_latents: SampleLatents,
    features: Callable[[Samples], Tensor],
    rng: np.random.Generator,
    *,
    n: int = 10_000,
    interpolation: Literal["slerp", "lerp"] = "slerp",
    where: Literal["full", "end"] = "full",
    epsilon: float = 1e-4,
    trim: float = 0.01,
    batch: int = 256,
) -> Estimate:
    """Perceptual path length: the mean of |f(G(z_t+e)) - f(G(z_t))|^2 / e^2 over random paths.

    The distance is the squared Euclidean one of the given features. It is **not** LPIPS, which the published figures
    use: compare figures of the same features only.

    Args:
        generate: z (batch, latent) -> samples.
        sample_latents: draws both ends of a path.
        features: samples -> (batch, d) or (batch, ...), which is flattened; identity is possible.
        rng: source of ends, positions and resamples.
        n: number of paths.
        interpolation: ``slerp``: along the great circle, for normal z. ``lerp``: straight, for w and for uniform
            z. Slerp keeps lengths: sin((1 - t) a) / sin a z_0 + sin(t a) / sin a z_1, where a is the angle between
            them. The published code normalises both ends first, which is the same for a generator that does so.
        where: t uniform in [0, 1] (``full``), or t = 0 (``end``).
        epsilon: step e along t. Differences of float32 features keep about three digits at 1e-4; generate in
            float64 where more are needed.
        trim: share of the shortest and of the longest steps left out; 0.01 as published, 0 for the plain mean.
        batch: paths in one call; the figure does not depend on it, but for rounding.

    Returns:
        The mean, >= 0, in squared units of the features. The interval (BCa bootstrap over paths) covers the same,
        trimmed, mean over all paths of this generator; None below 100 paths. Details: ``n``, ``epsilon``, ``trim``,
        ``interpolation``, ``where``.

    Raises:
        ConfigError: on a setting out of range.
        DataError: if latents are not (n, latent), or features are not finite.

    Source: Karras et al. 2019 (StyleGAN), section 4.1; slerp: White 2016; BCa: Efron 1987.
    """
    _check(n, interpolation, where, epsilon, trim, batch)
    ends, t = _draw(sample_latents, rng, n, where)
    between = slerp if interpolation == "slerp" else torch.lerp
    parts = []
    for part in blocks(n, batch):
        a, b, place = (values[part] for values in (*ends, t))
        # In float64 and rounded once: neighbouring points differ in the fourth digit only.
        points = [between(a.double(), b.double(), step).to(a.dtype) for step in (place, place + epsilon)]
        first, second = (_flat(features(generate(z))) for z in points)
        parts.append((second - first).square().sum(1) / epsilon**2)
    return _estimate(
        torch.cat(parts).numpy(), trim, rng, {"epsilon": epsilon, "interpolation": interpolation, "where": where}
    )


def _estimate(steps: np.ndarray, trim: float, rng: np.random.Generator, settings: dict[str, float | str]) -> Estimate:
    """The trimmed mean of squared speeds, with its interval where there are enough of them."""
    details: dict[str, int | float | str] = {"n": len(steps), "trim": trim, **settings}
    value = _trimmed_mean(steps, trim)
    if len(steps) < LEAST_PATHS:
        details["limitation"] = f"{len(steps)} paths are too few for an interval; {LEAST_PATHS} are needed"
        return Estimate(value, None, None, details)
    interval = bootstrap_interval([steps], lambda rows: _trimmed_mean(rows, trim), rng)
    return Estimate(value, interval, _winsorised_error(steps, trim), details)


def slerp(a: Latents, b: Latents, t: Tensor) -> Tensor:
    """Spherical interpolation from ``a`` (t = 0) to ``b`` (t = 1); straight where the angle is 0, pi or undefined.

    Args:
        a: (batch, latent).
        b: (batch, latent).
        t: (batch, 1).

    Source: White 2016, section 2.1 (Shoemake 1985).

    >>> slerp(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5]]))
    tensor([[0.7071, 0.7071]])
    """
    norms = torch.linalg.vector_norm(a, dim=1, keepdim=True) * torch.linalg.vector_norm(b, dim=1, keepdim=True)
    cosine = torch.linalg.vecdot(a, b)[:, None] / norms.clamp(min=torch.finfo(a.dtype).tiny)
    angle = torch.arccos(cosine.clamp(-1, 1))
    sine = torch.sin(angle)
    straight = (sine < 1e-6) | (norms == 0)
    sine = torch.where(straight, 1.0, sine)
    curved = torch.sin((1 - t) * angle) / sine * a + torch.sin(t * angle) / sine * b
    return torch.where(straight, torch.lerp(a, b, t), curved)


def _draw(
    sample_latents: SampleLatents, rng: np.random.Generator, n: int, where: str
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Both ends of n paths, and the positions t (n, 1) in float64; all at once, so that batches do not matter."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    a, b = sample_latents(n, generator), sample_latents(n, generator)
    for z in (a, b):
        if z.ndim != 2 or len(z) != n:
            raise DataError(f"sampled latents have shape {tuple(z.shape)}, but must be ({n}, latent)")
    t = torch.zeros(n, 1, dtype=torch.float64)
    if where == "full":
        t = torch.rand(n, 1, generator=generator, dtype=torch.float64)
    return (a, b), t.to(a.device)


def _flat(features: Tensor) -> Tensor:
    return as_features(features.reshape(len(features), -1), "features of generated samples", least=1)


def _trimmed_mean(values: np.ndarray, trim: float) -> float:
    """Mean without the floor(trim n) smallest and as many largest values."""
    cut = int(trim * len(values))
    if not cut:
        return float(values.mean())
    ends = (cut, len(values) - cut - 1)
    return float(np.partition(values, ends)[cut : len(values) - cut].mean())


def _winsorised_error(values: np.ndarray, trim: float) -> float:
    """Standard error of the trimmed mean: Tukey & McLaughlin 1963, by winsorised values."""
    cut = int(trim * len(values))
    ordered = np.sort(values)
    wins = np.clip(values, ordered[cut], ordered[len(values) - cut - 1])
    return float(wins.std(ddof=1)) / ((1 - 2 * cut / len(values)) * math.sqrt(len(values)))


def _check(n: int, interpolation: str, where: str, epsilon: float, trim: float, batch: int) -> None:
    for name, number in (("n", n), ("batch", batch)):
        if number < 1:
            raise ConfigError(f"{name} is {number}, but must be at least 1")
    for name, word, choices in (("interpolation", interpolation, ("slerp", "lerp")), ("where", where, ("full", "end"))):
        if word not in choices:
            raise ConfigError(f"{name} is '{word}'; {suggest(word, choices)}")
    if not 0 < epsilon < 1:
        raise ConfigError(f"epsilon is {epsilon}, but must be between 0 and 1; 1e-4 as published")
    if not 0 <= trim < 0.5:
        raise ConfigError(f"trim is {trim}, but must be at least 0 and below 0.5; 0.01 as published")
