"""Memorisation: do samples lie nearer to training rows than real rows do that the model has never seen?

A plain distance does not tell: blurs lie nearer to everything. Hence the **relative distance** of a row: its distance
to the nearest training row over the mean distance to its `NEIGHBOURS` nearest ones. It is near 0 for a copy, whatever
the copied row looks like, and about as large as a held-out row's for a blur.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import ndtr
from torch import Tensor

from saddlepoint.core.errors import DataError
from saddlepoint.metrics.bootstrap import Estimate, proportion
from saddlepoint.metrics.byte_distances import Bytes, byte_distances, takes
from saddlepoint.metrics.distances import (
    Rows,
    as_float64,
    blocks,
    count_shared_features,
    is_bytes,
    shifted32,
    squared_norms,
)

NEIGHBOURS = 10
"""Training rows to whose mean distance the nearest one is compared."""

PERCENTILE = 1.0
"""A near copy has a smaller relative distance than this percentage of the held-out rows."""

GREY_LEVELS = 2.0
"""A copy differs from a training image by no more than this, root mean square over its pixels."""

LEAST = 5
SMALL = 1_000
_SPARE = 6
_BLOCK = 8_192

_EXACT = 8
"""Up to so many values of either kind the p-value is exact."""

_AT_ONCE = 512
"""Rows whose distances to a block of training rows are computed at once."""

FEW = 100
"""Held-out rows below which their nearest 1% is one row."""


@dataclass(frozen=True)
class Nearness:
    """How near rows lie to the training rows.

    Attributes:
        index: (n,) the nearest training row.
        distance: (n,) Euclidean distance to it; images in [0, 1].
        relative: (n,) that over the mean distance to the nearest `NEIGHBOURS` rows; 0 where all of these are 0.
        copies: (n,) bool, whether the row is a training row (`GREY_LEVELS`; vectors: exactly).
    """

    index: np.ndarray
    distance: np.ndarray
    relative: np.ndarray
    copies: np.ndarray


@dataclass(frozen=True)
class Memorisation:
    """What nearness says of samples; see `memorisation`.

    Attributes:
        near: share of near copies: samples with a relative distance that only 1% of the held-out rows have.
        copies: share of samples that are training rows.
        p_value: of the hypothesis that relative distances of samples are no smaller than those of held-out rows.
        copying: whether near copies or copies are more frequent than chance allows.
        closest: samples in the order of their relative distance, the most suspicious one first.
    """

    near: Estimate
    copies: Estimate
    p_value: float
    copying: bool
    closest: np.ndarray


def nearness(rows: Rows, train: Rows) -> Nearness:
    """Find the nearest training rows of each row.

    Blocks of training rows, which may be a memory map, stream through. Distances are exact for bytes (`Bytes`);
    elsewhere float32 matrix products choose candidates, whose distances are computed by subtraction in float64.

    Args:
        rows: (n, *sample) uint8 images, or vectors of any real type.
        train: (m, *sample) of the same type; m is more than `NEIGHBOURS`.

    Raises:
        DataError: if shapes or types differ, there are too few training rows, or values are not finite.
    """
    features = count_shared_features(rows, train)
    if len(train) <= NEIGHBOURS:
        raise DataError(f"there are {len(train)} training rows, but nearness needs more than {NEIGHBOURS}")
    indices, distances = (_by_bytes if takes(rows, train) else _by_floats)(rows, train)
    nearest = distances[:, 0]
    mean = distances[:, :NEIGHBOURS].mean(1)
    relative = torch.where(mean > 0, nearest / mean.clamp_min(1e-300), torch.zeros(()).double())
    limit = GREY_LEVELS / 255 * features**0.5 if is_bytes(train) else 0.0
    return Nearness(indices[:, 0].numpy(), nearest.numpy(), relative.numpy(), (nearest <= limit).numpy())


def memorisation(samples: Nearness, held_out: Nearness, train_rows: int) -> Memorisation:
    """Compare the nearness of samples with that of held-out real rows.

    Args:
        samples: of generated samples to the training rows, n >= 5.
        held_out: of real rows that were not trained on, to the same training rows, m >= 5.
        train_rows: number of training rows, for the warning about small data.

    Returns:
        Shares with Wilson's intervals, given the held-out rows; the p-value of a one-sided Mann-Whitney test.
        Copying is told where the interval of the near copies lies above twice the expected 1%, and above what few
        held-out rows leave open (the interval of the share of them within their own first percentile), or that of the
        copies above the share among the held-out rows. Details of ``near``: ``threshold``, and a ``limitation``
        for fewer than 1,000 training rows.

    Raises:
        DataError: on fewer than 5 samples or held-out rows.

    Source: Meehan et al. 2020 for the rank test against held-out rows; Carlini et al. 2023, section 5, for distances
    relative to a neighbourhood. The threshold is this library's own.
    """
    for found, name in ((samples, "samples"), (held_out, "held-out rows")):
        if len(found.distance) < LEAST:
            raise DataError(f"there are {len(found.distance)} {name}, but memorisation needs {LEAST}: take more")
    threshold = float(np.percentile(held_out.relative, PERCENTILE))
    details: dict[str, int | float | str] = {
        "threshold": threshold,
        "median_distance": float(np.median(samples.distance)),
        "median_distance_held_out": float(np.median(held_out.distance)),
    }
    if train_rows < SMALL:
        details["limitation"] = (
            f"{train_rows:,} training rows: a model of so few rows can hardly do other than remember them, and their "
            "neighbourhoods are wide, so that changed copies pass; look at the closest pairs"
        )
    if len(held_out.distance) < FEW:
        few = f"{len(held_out.distance)} held-out rows: the nearest of them stands for the nearest 1%"
        details["limitation"] = "; ".join(str(part) for part in (details.get("limitation"), few) if part)
    near = proportion(samples.relative < threshold, details)
    copies = proportion(samples.copies)
    p_value = _smaller(samples.relative, held_out.relative)
    usual, below = proportion(held_out.copies), proportion(held_out.relative <= threshold)
    assert near.interval is not None
    assert copies.interval is not None
    assert usual.interval is not None
    assert below.interval is not None
    # Of few held-out rows the first percentile is a rough guess: what chance could make of it is no copying.
    expected = max(2 * PERCENTILE / 100, below.interval[1])
    copying = near.interval[0] > expected or copies.interval[0] > usual.interval[1]
    return Memorisation(near, copies, p_value, bool(copying), np.argsort(samples.relative, kind="stable"))


def _smaller(a: np.ndarray, b: np.ndarray) -> float:
    """P-value of the one-sided Mann-Whitney test that values of ``a`` are no smaller than those of ``b``.

    Of more than eight values each by the normal approximation with ties and continuity corrected, as scipy has it.
    """
    if min(len(a), len(b)) <= _EXACT:
        # scipy.stats takes a second to import, which others should not pay.
        from scipy.stats import mannwhitneyu

        return float(mannwhitneyu(a, b, alternative="less").pvalue)
    ordered, n = np.sort(b), len(a) + len(b)
    # Pairs in which the value of b is larger, ties counting half.
    larger = len(a) * len(b) - (np.searchsorted(ordered, a, "left") + np.searchsorted(ordered, a, "right")).sum() / 2
    ties = np.unique(np.concatenate([a, b]), return_counts=True)[1].astype(np.float64)
    variance = len(a) * len(b) / 12 * (n + 1 - float((ties**3 - ties).sum()) / (n * (n - 1)))
    return float(ndtr((len(a) * len(b) / 2 + 0.5 - larger) / np.sqrt(variance))) if variance > 0 else 1.0


def _by_bytes(rows: Rows, train: Rows) -> tuple[Tensor, Tensor]:
    """The nearest training rows, the nearest first, and how far they are: (n, NEIGHBOURS) each; all exact."""
    x = Bytes.of(rows)
    best = torch.zeros((len(x), 0), dtype=torch.int32)
    indices = torch.zeros((len(x), 0), dtype=torch.long)
    for part in blocks(len(train), _BLOCK):
        g = Bytes.of(train[part])
        kept = min(NEIGHBOURS, len(g))
        found = [byte_distances(x[some], g).topk(kept, 1, largest=False) for some in blocks(len(x), _AT_ONCE)]
        values, places = (torch.cat(tables) for tables in zip(*found, strict=True))
        best, indices = torch.cat([best, values], 1), torch.cat([indices, places + part.start], 1)
        best, order = best.topk(min(NEIGHBOURS, best.shape[1]), 1, largest=False)
        indices = indices.gather(1, order)
    return indices, best.double().sqrt() / 255


def _by_floats(rows: Rows, train: Rows) -> tuple[Tensor, Tensor]:
    """The same, and some rows more: float32 products choose candidates, whose distances are then subtracted."""
    shift = as_float64(train[:_BLOCK]).mean(0)
    x = shifted32(rows, shift)
    kept = min(NEIGHBOURS + _SPARE, len(train))
    values = torch.full((len(x), kept), torch.inf)
    indices = torch.zeros((len(x), kept), dtype=torch.long)
    for part in blocks(len(train), _BLOCK):
        g = shifted32(train[part], shift)
        # The row's own squared norm moves no rank.
        table = torch.addmm(squared_norms(g), x, g.T, alpha=-2)
        best, found = table.topk(min(kept, len(g)), dim=1, largest=False)
        values, order = torch.cat([values, best], 1).topk(kept, dim=1, largest=False)
        indices = torch.cat([indices, found + part.start], 1).gather(1, order)
    distances = _exact(rows, train, indices) / (255 if is_bytes(train) else 1)
    distances, order = distances.sort(dim=1, stable=True)
    return indices.gather(1, order), distances


def _exact(rows: Rows, train: Rows, indices: Tensor) -> Tensor:
    """Distances of rows to their candidates by subtraction, in the units of the rows: (n, kept) float64."""
    result = torch.empty(indices.shape, dtype=torch.float64)
    for part in blocks(len(rows), 64):
        chosen = indices[part].flatten()
        # Sorted and unique, for the rows may be a memory map.
        unique, inverse = np.unique(chosen.numpy(), return_inverse=True)
        near = as_float64(train[unique])[torch.from_numpy(inverse.reshape(-1))]
        own = as_float64(rows[part]).repeat_interleave(indices.shape[1], 0)
        result[part] = (own - near).norm(dim=1).view(-1, indices.shape[1])
    return result
