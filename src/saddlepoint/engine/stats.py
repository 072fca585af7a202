"""Means of what the phases log, kept on the device between reports."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from saddlepoint.core.types import widest


class Statistics:
    """Running means by name, in the widest type of the device; reading them is the only point where a device waits."""

    def __init__(self, device: torch.device) -> None:
        self._dtype = widest(device)
        self._device = device
        self._sums: dict[str, Tensor] = {}
        self._views: dict[str, tuple[Tensor, ...]] = {}

    def add(self, name: str, values: Tensor) -> None:
        """Add one observation: the mean of ``values``."""
        if name not in self._sums:
            self._sums[name] = torch.zeros(2, dtype=self._dtype, device=self._device)
        # Added up where the values are, and read at reports only. Views, as entry[0] += ... makes five calls.
        if name not in self._views:
            self._views[name] = self._sums[name].unbind()
        total, count = self._views[name]
        total.add_(values.detach().mean())
        count.add_(1)

    def sums(self) -> list[Tensor]:
        """Return the (sum, count) of every name, sorted by name."""
        # In the same order on all processes, which add them up one by one.
        return [entry for _, entry in sorted(self._sums.items())]

    def means(self) -> dict[str, float]:
        """Return the means since the last reset, sorted by name; names not seen since are left out."""
        names = sorted(self._sums)
        read = torch.stack([self._sums[name] for name in names]).tolist() if names else []  # one wait for all
        return {name: total / count for name, (total, count) in zip(names, read, strict=True) if count}

    def reset(self) -> None:
        """Start new means."""
        # Zeroed, not dropped: all processes must add up the same names, also of phases that this one did not see.
        for entry in self._sums.values():
            entry.zero_()

    def first_non_finite(self) -> str | None:
        """Return the name of a mean that is not finite, or None."""
        return next((name for name, mean in self.means().items() if not math.isfinite(mean)), None)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the sums and counts by name."""
        return dict(self._sums)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over sums and counts saved by `state_dict`."""
        self._sums, self._views = (
            {name: entry.to(self._device, self._dtype).clone() for name, entry in state.items()},
            {},
        )
