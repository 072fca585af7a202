"""The averages of several lengths that a run kept, and the average of any length that is made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saddlepoint.core.errors import CheckpointError, ConfigError
from saddlepoint.core.quoting import for_shell
from saddlepoint.engine.power import LENGTHS, Profile, combination, gamma_of
from saddlepoint.engine.storage.averages import BUFFERS, INTERVAL, list_averages, read_average
from saddlepoint.engine.storage.checkpoint import newest_checkpoint, under
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.run import weights


class KeptAverages:
    """The averages that a run kept, from which others are made.

    Args:
        folder: of the run.
        config: of it.
        say: hears of damaged files, which are left out.

    Raises:
        CheckpointError: if the run keeps none, or has no whole checkpoint.
        ConfigError: if the folder is an export.
    """

    def __init__(self, folder: RunFolder, config: Mapping[str, Any], say: Callable[[str], None]) -> None:
        weights.refuse_export(folder.path, config)
        checkpoint, problems = newest_checkpoint(folder.checkpoints, ("profiles",))
        if checkpoint is None:
            detail = f" ({'; '.join(problems.values())})" if problems else "; train it first"
            raise CheckpointError(f"run '{folder.path}' has no whole checkpoint{detail}")
        for problem in problems.values():
            say(f"{problem}; step {checkpoint.step:,} is used instead")
        try:
            self.batch_size, wanted = int(config["options"]["batch_size"]), config["settings"].get("averages", "off")
            newest = checkpoint.tensors.get("profiles")
            interval = 0 if newest is None else int(newest[INTERVAL])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"'{folder.path}' is damaged: {error}") from error
        self.step = checkpoint.step
        self.newest = self.step // interval * interval if interval > 0 else 0
        if newest is None or self.newest == 0:
            raise CheckpointError(_why_none(folder.path, str(config["family"]), str(wanted)))
        self._newest = newest
        self._files = self._whole(folder, say)
        self.steps = (*self._files, self.newest)
        self.profiles = [Profile(gamma_of(length), float(step)) for step in self.steps for length in LENGTHS]

    def _whole(self, folder: RunFolder, say: Callable[[str], None]) -> dict[int, Path]:
        """Return the files of earlier moments, of these networks, that are whole."""
        found = {}
        own = {name: value.shape for name, value in self._newest.items()}
        for step, path in list_averages(folder.averages).items():
            if 0 < step < self.newest:
                try:
                    moment = read_average(path)
                    if any(name not in moment or moment[name].shape != shape for name, shape in own.items()):
                        raise CheckpointError(f"averages/{path.name} belongs to other networks")
                    found[step] = path
                except CheckpointError as error:
                    say(f"{error}; left out")
        return found

    def end_of(self, kimg: float | None) -> int:
        """Return the kept step nearest to so many thousands of samples; None: where the run stands.

        Raises:
            ConfigError: if nothing is kept there.
        """
        if kimg is None:
            return self.newest
        first, last = (step * self.batch_size / 1000 for step in (self.steps[0], self.step))
        if not first <= kimg <= last:
            raise ConfigError(f"end is {kimg:g} kimg, but averages are kept from {first:g} to {last:g} kimg")
        # A profile breaks off at its end, and no sum of others breaks off where none of them does.
        return min(self.steps, key=lambda step: abs(step * self.batch_size - kimg * 1000))

    def off(self, length: float, end: int) -> float:
        """Return how far off the average of this length and end would be, as a share of its profile's norm."""
        return combination(self.profiles, Profile(gamma_of(length), float(end)))[1]

    def rebuilt(self, length: float, end: int) -> dict[str, Tensor]:
        """Return the average of this length and end: parameters by their names in the family, and buffers.

        Raises:
            CheckpointError: if a file was removed meanwhile, as training does.
        """
        shares, _ = combination(self.profiles, Profile(gamma_of(length), float(end)))
        # From the newest on, in float64: shares add up to 1, so what all averages have in common stays bit for bit.
        base = under(str(LENGTHS[0]), self._newest)
        sums = {name: torch.zeros(value.shape, dtype=torch.float64) for name, value in base.items()}
        for (_, moment), own in zip(self._moments(), shares.reshape(-1, len(LENGTHS)), strict=True):
            for kept, share in zip(LENGTHS, own.tolist(), strict=True):
                for name, value in under(str(kept), moment).items() if share else ():
                    sums[name] += share * (value.double() - base[name].double())
        found = {name: (base[name].double() + value).to(base[name].dtype) for name, value in sums.items()}
        return found | self._buffers(end)

    def _moments(self) -> Iterator[tuple[int, Mapping[str, Tensor]]]:
        for step, path in self._files.items():
            yield step, read_average(path)
        yield self.newest, self._newest

    def _buffers(self, end: int) -> dict[str, Tensor]:
        """Return the buffers of the last moment before an earlier end; at the newest, the checkpoint has its own."""
        before = [step for step in self._files if step <= end]
        return under(BUFFERS, read_average(self._files[before[-1]])) if end < self.newest and before else {}


def _why_none(path: Path, family: str, wanted: str) -> str:
    """Say why a run keeps no averages of other lengths, and what to do."""
    why = {
        "off": "it was trained without them, or by an earlier version",
        "auto": "its networks are large, or its training was too short, or began with an earlier version",
    }.get(wanted, "its training was too short")
    train = for_shell("saddle", "train", family, "--averages", "on")
    return f"'{path}' keeps no averages of other lengths: {why}; train again with --averages on ({train})"
