"""Power-function averages of the generators' weights beside the one that samples: `engine/power.py` says what for."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from saddlepoint.core.errors import CheckpointError
from saddlepoint.engine.power import LENGTHS, gamma_of, kept_share
from saddlepoint.engine.storage import averages
from saddlepoint.engine.updates import trained
from saddlepoint.family import Family

INTERVAL = 8
"""Steps between two updates: the average is the exact power function of every 8th step's weights."""

MOST_BYTES = 1024**3
"""What the kept averages of a run may take on disk unless they are asked for; fewer are kept of large networks."""

NUMBERS = (32, 16, 8)
"""How many moments are kept at most, of the largest number that fits; with the last one no length is far off."""


class Profiles:
    """Averages of several lengths of a family's generators, and when to keep them.

    Args:
        family: as it trains, on its device.
        most: moments kept at once.
    """

    def __init__(self, family: Family, most: int) -> None:
        self.interval, self.most = INTERVAL, most
        self._names = trained(family, family.averaged)
        self._parameters = [parameter.detach() for parameter in self._names.values()]
        self._buffers = {
            f"{module}.{name}": buffer
            for module in family.averaged
            for name, buffer in family.get_submodule(module).named_buffers()
        }
        # Clones lie in memory as their parameters do, which may have their channels last.
        self._averages = {length: [p.clone() for p in self._parameters] for length in LENGTHS}
        self._gammas = {length: gamma_of(length) for length in LENGTHS}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Let the averages follow the weights after ``step`` steps; most steps are not looked at."""
        if step % self.interval:
            return
        for length, kept in self._averages.items():
            # With the first weights the share is 0: nothing of how the averages began stays.
            torch._foreach_lerp_(kept, self._parameters, 1.0 - kept_share(step // self.interval, self._gammas[length]))

    def is_due(self, step: int) -> bool:
        """Whether the averages of ``step`` are to be kept on disk."""
        return step in averages.kept_steps(step, self.interval, self.most)

    def kept_steps(self, step: int) -> range:
        """Return the steps whose averages belong to a run that stands at ``step``."""
        return averages.kept_steps(step, self.interval, self.most)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averages as ``length/parameter``, and the interval: what goes on and what is rebuilt from."""
        found = {
            f"{length}/{name}": average
            for length, kept in self._averages.items()
            for name, average in zip(self._names, kept, strict=True)
        }
        return found | {averages.INTERVAL: torch.tensor(self.interval)}

    def moment(self) -> dict[str, Tensor]:
        """Return what is kept now and then: the averages, and the networks' buffers, which are not averaged."""
        return self.state_dict() | {f"{averages.BUFFERS}/{name}": value for name, value in self._buffers.items()}

    @torch.no_grad()
    def load_state_dict(self, saved: Mapping[str, Tensor]) -> None:
        """Take over what `state_dict` returned.

        Raises:
            CheckpointError: if it belongs to other networks.
        """
        own = self.state_dict()
        fits = saved.keys() == own.keys() and all(
            saved[name].shape == value.shape and saved[name].dtype == value.dtype for name, value in own.items()
        )
        if not fits or int(saved[averages.INTERVAL]) < 1:
            raise CheckpointError("the checkpoint's averages of several lengths belong to other networks")
        for name, value in own.items():
            value.copy_(saved[name])
        self.interval = int(saved[averages.INTERVAL])


def profiles_of(family: Family, wanted: str) -> tuple[Profiles | None, str]:
    """Return the averages that a training keeps, or None, and a line on why not.

    Args:
        family: as it trains.
        wanted: auto: as many moments as take less than 1 GiB; on: at least 8 of them; off: none.
    """
    if wanted == "off":
        return None, ""
    size = bytes_of(family)
    most = next((number for number in NUMBERS if number * size <= MOST_BYTES), None)
    if most is None and wanted == "auto":
        return None, (
            f"averages: only one length is kept: {NUMBERS[-1]} moments of others would take "
            f"{NUMBERS[-1] * size / 1e9:,.1f} GB on disk; --averages on keeps them, for `saddle average`"
        )
    return Profiles(family, most or NUMBERS[-1]), ""


def bytes_of(family: Family) -> int:
    """Return the bytes of one moment: of all lengths, and of the buffers."""
    numbers = sum(p.numel() * p.element_size() for p in trained(family, family.averaged).values())
    buffers = (b for name in family.averaged for b in family.get_submodule(name).buffers())
    return len(LENGTHS) * numbers + sum(b.numel() * b.element_size() for b in buffers)
