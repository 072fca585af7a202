"""Context-FID: the Fréchet distance between windows as an encoder sees them that was trained on the real ones.

The encoder is TS2Vec: dilated convolutions, trained so that the same step of a window in two contexts is nearer to
itself than to other steps and other windows. Source: Jeha et al. 2022 (PSA-GAN), section 4; Yue et al. 2022 (TS2Vec),
section 2; with the settings of Diffusion-TS (Yuan & Qiao 2024), which the papers since then share.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddlepoint.core.errors import DataError
from saddlepoint.metrics.bootstrap import Estimate
from saddlepoint.metrics.frechet import frechet_gaussians
from saddlepoint.metrics.series_scores import over_runs
from saddlepoint.metrics.windows import as_windows
from saddlepoint.nn.adam import Adam

RUNS = 5
"""Encoders trained for a figure; papers train as many."""

CHANNELS, DEPTH, DIMENSIONS = 64, 10, 320
_BATCH, _RATE, _DECAY, _DROPOUT = 8, 1e-3, 1e-2, 0.1
_FEW_VALUES, _FEWER, _MORE = 100_000, 200, 600
"""Up to so many values in the real windows the encoder makes 200 steps, else 600: TS2Vec's own rule."""

_ROWS_AT_ONCE = 512


class Encoder(nn.Module):
    """TS2Vec's encoder: windows (n, feature, time) to features of every step (n, 320, time).

    An affine map of each step, ten residual blocks of two convolutions of width 3 with dilations 1, 2, 4, ..., and one
    to 320 channels whose way around has a map of its own. Source: Yue et al. 2022, section 2.2.

    Args:
        features: of a step.
        generator: of the initial weights, uniform up to 1 / sqrt(inputs of a unit) as PyTorch's layers are.
    """

    def __init__(self, features: int, generator: torch.Generator) -> None:
        super().__init__()
        self.entry = nn.Conv1d(features, CHANNELS, 1)
        sizes = [CHANNELS] * (DEPTH + 1) + [DIMENSIONS]
        self.first, self.second = nn.ModuleList(), nn.ModuleList()
        for place in range(DEPTH + 1):
            step, (a, b) = 2**place, sizes[place : place + 2]
            self.first.append(nn.Conv1d(a, b, 3, padding=step, dilation=step))
            self.second.append(nn.Conv1d(b, b, 3, padding=step, dilation=step))
        self.around = nn.Conv1d(CHANNELS, DIMENSIONS, 1)
        for layer in (module for module in self.modules() if isinstance(module, nn.Conv1d)):
            limit = 1 / math.sqrt(layer.weight[0].numel())
            for part in (layer.weight, layer.bias):
                assert part is not None
                nn.init.uniform_(part, -limit, limit, generator=generator)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """Return features of every step; steps where ``seen`` (n, 1, time) is 0 are hidden from the convolutions."""
        h = self.entry(x) * seen
        for place, (first, second) in enumerate(zip(self.first, self.second, strict=True)):
            way = self.around(h) if place == DEPTH else h
            h = second(F.gelu(first(F.gelu(h)))) + way
        return h


def _contrast(a: Tensor, b: Tensor) -> Tensor:
    """-log of the share that a row's own twin has of all other rows: (groups, rows, dimension) twice to a scalar."""
    both = torch.cat([a, b], 1)
    n = a.shape[1]
    alike = both @ both.transpose(1, 2)
    alike = alike.masked_fill(torch.eye(2 * n, dtype=torch.bool, device=a.device), -torch.inf)
    twin = torch.arange(2 * n, device=a.device).roll(n).expand(len(alike), -1)
    return F.cross_entropy(alike.flatten(0, 1), twin.flatten())


def hierarchical_contrast(a: Tensor, b: Tensor) -> Tensor:
    """Return TS2Vec's loss of the same steps in two contexts, (n, dimension, time) each: a scalar.

    Twins are told from other windows at the same step and from other steps of the same window, at every scale: maxima
    over pairs of steps, of pairs, ... until one is left. Source: Yue et al. 2022, equations 1 to 3, algorithm 1.
    """
    total, scales = a.new_zeros(()), 0
    while True:
        steps = a.shape[2]
        if len(a) > 1:
            total = total + 0.5 * _contrast(a.permute(2, 0, 1), b.permute(2, 0, 1))
        if steps > 1:
            total = total + 0.5 * _contrast(a.transpose(1, 2), b.transpose(1, 2))
        scales += 1
        if steps == 1:
            return total / scales
        a, b = F.max_pool1d(a, 2), F.max_pool1d(b, 2)


class _Rows:
    """Windows as the encoder reads them: feature first, 0 past the end, and where there is something."""

    def __init__(self, x: np.ndarray) -> None:
        self.seen = torch.from_numpy(~np.isnan(x[:, None, :, 0])).float()
        self.x = torch.from_numpy(np.nan_to_num(x).transpose(0, 2, 1).astype(np.float32))


def trained_encoder(real: np.ndarray, *, iterations: int | None = None, seed: int = 0) -> Encoder:
    """Train an encoder on windows.

    Args:
        real: (n, time, feature).
        iterations: of AdamW with minibatches of 8; None: 200, or 600 for more than 100,000 values.
        seed: of everything random.

    Source: as of this module; two overlapping crops, binomial masks of one half, dropout .1, and the mean of the
    weights over all iterations are TS2Vec's. Deviations: minibatches are drawn with replacement; steps past the end of
    a short window take no part in the maxima.
    """
    x = as_windows(real, "real windows")
    rows, generator = _Rows(x), torch.Generator().manual_seed(seed)
    rng = np.random.default_rng([seed, 2])
    if iterations is None:
        iterations = _FEWER if x.size <= _FEW_VALUES else _MORE
    network = Encoder(x.shape[2], generator)
    optimizer = Adam(network.parameters(), _DECAY)
    parameters = list(network.parameters())
    means = [p.detach().clone() for p in parameters]
    for step in range(iterations):
        drawn = torch.from_numpy(rng.integers(0, len(x), min(_BATCH, len(x))))
        optimizer.zero_grad()
        hierarchical_contrast(*_contexts(network, rows, drawn, rng, generator)).backward()
        optimizer.step(_RATE)
        for mean, p in zip(means, parameters, strict=True):
            mean.lerp_(p.detach(), 1 / (step + 2))
    for mean, p in zip(means, parameters, strict=True):
        p.data.copy_(mean)
    return network


def _contexts(
    network: Encoder, rows: _Rows, drawn: Tensor, rng: np.random.Generator, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return the features of the steps that two crops of a minibatch share."""
    time, n = rows.x.shape[2], len(drawn)
    length = int(rng.integers(2, time + 1))
    left = int(rng.integers(0, time - length + 1))
    right = left + length
    before, after = int(rng.integers(0, left + 1)), int(rng.integers(right, time + 1))
    # Both crops of a window lie elsewhere in it than those of others.
    moved = torch.from_numpy(rng.integers(-before, time - after + 1, n))
    found = []
    for begin, end, shared in ((before, right, slice(-length, None)), (left, after, slice(0, length))):
        place = (moved + begin)[:, None] + torch.arange(end - begin)
        x = rows.x[drawn].gather(2, place[:, None].expand(-1, rows.x.shape[1], -1))
        seen = rows.seen[drawn].gather(2, place[:, None])
        hidden = torch.rand(seen.shape, generator=generator) < 0.5
        h = network(x, seen * hidden)
        kept = (torch.rand(h.shape, generator=generator) >= _DROPOUT) / (1 - _DROPOUT)
        found.append((h * kept)[:, :, shared])
    return found[0], found[1]


@torch.no_grad()
def encoded(network: Encoder, x: np.ndarray) -> np.ndarray:
    """Return windows (n, time, feature) as vectors: the maximum of each feature over the steps, float64 (n, 320)."""
    rows, found = _Rows(x), []
    for start in range(0, len(x), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        h = network(rows.x[part], rows.seen[part])
        found.append(h.masked_fill(rows.seen[part] == 0, -torch.inf).amax(2).double().numpy())
    return np.concatenate(found)


@dataclass(frozen=True)
class Moments:
    """Means (runs, 320) and covariances (runs, 320, 320) of windows as each of several encoders sees them."""

    mean: np.ndarray
    covariance: np.ndarray


def moments(encoders: list[Encoder], x: np.ndarray) -> Moments:
    """Return the moments of windows (n, time, feature).

    Raises:
        DataError: on malformed windows.
    """
    features = [encoded(network, as_windows(x, "windows")) for network in encoders]
    return Moments(np.stack([f.mean(0) for f in features]), np.stack([np.cov(f, rowvar=False) for f in features]))


def context_fid(real: Moments, fake: Moments) -> Estimate:
    """Return the Fréchet distance of windows as encoders see them: the mean over encoders.

    It is as biased as any Fréchet distance of few rows in 320 dimensions, and its scale is that of the encoder: read it
    beside the floor of the same data only.

    Returns:
        The distance, 0 or more; interval as in `over_runs`: what other encoders would give for the same samples.
    """
    if real.mean.shape != fake.mean.shape:
        raise DataError(f"moments have shapes {real.mean.shape} and {fake.mean.shape}; take those of the same encoders")
    found = [
        max(0.0, frechet_gaussians(*four))
        for four in zip(real.mean, real.covariance, fake.mean, fake.covariance, strict=True)
    ]
    return over_runs(np.asarray(found))
