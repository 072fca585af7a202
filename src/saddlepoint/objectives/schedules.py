"""Schedules: numbers that fall or rise with the samples seen and the epochs done."""

from __future__ import annotations

import math


def inverse_root(nimg: int, kimg: float | None) -> float:
    """Return 1 / sqrt(1 + nimg / (1000 kimg)): a half after three times ``kimg`` thousand samples; 1 where it is None.

    >>> inverse_root(300_000, 100.0), inverse_root(300_000, None)
    (0.5, 1.0)
    """
    return 1.0 if kimg is None else (1 + nimg / 1000 / kimg) ** -0.5


def inverse(nimg: int, kimg: float | None) -> float:
    """Return 1 / (1 + nimg / (1000 kimg)): a half after ``kimg`` thousand samples; 1 where it is None.

    >>> inverse(300_000, 100.0), inverse(300_000, None)
    (0.25, 1.0)
    """
    return 1.0 if kimg is None else 1 / (1 + nimg / 1000 / kimg)


def warm_up(nimg: int, kimg: float | None) -> float:
    """Return nimg / (1000 kimg) until that is 1, and 1 from then on; always 1 where ``kimg`` is None.

    >>> [warm_up(nimg, 10.0) for nimg in (0, 2_500, 10_000, 70_000)], warm_up(0, None)
    ([0.0, 0.25, 1.0, 1.0], 1.0)
    """
    return 1.0 if kimg is None else min(1.0, nimg / 1000 / kimg)


def linear_fall(nimg: int, constant_kimg: float | None, fall_kimg: float) -> float:
    """Return 1 for ``constant_kimg`` thousand samples, then down to 0 along a line over ``fall_kimg`` more.

    Without the first it is 1 for ever.

    >>> [linear_fall(nimg, 100.0, 100.0) for nimg in (100_000, 150_000, 300_000)], linear_fall(9_000_000, None, 1.0)
    ([1.0, 0.5, 0.0], 1.0)
    """
    return 1.0 if constant_kimg is None else min(1.0, max(0.0, (constant_kimg + fall_kimg - nimg / 1000) / fall_kimg))


def linear_rise(epoch: float, start: float, end: float, last: int) -> float:
    """Return a number that is constant within an epoch, ``start`` until epoch 1 and ``end`` from epoch ``last`` on.

    Source: the momentum of Goodfellow et al. 2014, released configuration.

    >>> [round(linear_rise(epoch, 0.5, 0.7, 250), 3) for epoch in (0.5, 1.9, 125.5, 250.0)]
    [0.5, 0.5, 0.6, 0.7]
    """
    share = min(1.0, max(0, int(epoch) - 1) / (last - 1))
    return start + share * (end - start)


def cosine(nimg: int, first: float, last: float, kimg: float) -> float:
    """Return a number that goes from ``first`` to ``last`` along half a cosine in ``kimg`` thousand samples.

    Source: Huang et al. 2024 (R3GAN), appendix and released code.

    >>> [round(cosine(nimg, 2e-4, 5e-5, 100.0), 6) for nimg in (0, 50_000, 100_000, 300_000)]
    [0.0002, 0.000125, 5e-05, 5e-05]
    """
    share = min(1.0, nimg / 1000 / kimg)
    return last + (first - last) * (1 + math.cos(math.pi * share)) / 2
