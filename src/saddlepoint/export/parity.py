"""Whether a file makes what PyTorch makes: in onnxruntime, and in the runtime that it is written for."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saddlepoint.core.errors import ConfigError
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.export.random_inputs import RandomInputs
from saddlepoint.export.sampler.generator import Generator, distance
from saddlepoint.family import Family
from saddlepoint.family.capabilities import draw_labels

TOLERANCE = 1e-4
"""Largest distance of a sample from PyTorch's that is let pass, for images in [-1, 1]; vectors: times their size."""

ROUNDING = 2.0
"""Beyond it: how many times as far from 64 bits as PyTorch's own 32 a file may be. Both are roundings of one number."""

VISIBLE = 1 / 255
"""Half a level of a picture in bytes: the farthest from 64 bits that is let pass at all."""

SIZES = (1, 2, 7, 64)
"""Batch sizes of the check; each has a seed of its own."""

_USUAL = 3 * 64 * 64
"""Numbers in the largest sample of which as many are made as of any other."""


@dataclass(frozen=True)
class Trial:
    """One minibatch of the check: what is given, and what PyTorch makes of it."""

    given: Tensor
    labels: Tensor | None
    recorded: RandomInputs
    wanted: np.ndarray


def affordable(samples: int, shape: Sequence[int]) -> int:
    """Return how many samples of a shape stand for so many: of images beyond 64x64 pixels fewer, at least two.

    64 samples of 1,024 pixels would take a core for minutes in either program.
    """
    return max(2, min(samples, samples * _USUAL // math.prod(shape)))


def sizes_for(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the batch sizes of the check for samples of a shape: `SIZES`, the largest one no more than affordable."""
    most = affordable(SIZES[-1], shape)
    return (*(size for size in SIZES if size < most), most)


@torch.no_grad()
def check(family: Family, folder: Path, inputs: Tensor | None = None) -> dict[str, Any]:
    """Compare what the files make with what the family makes, and return the largest distance.

    Args:
        family: in evaluation mode, on the CPU.
        folder: with ``model.json`` and its files.
        inputs: to be tried too (real images, for a generator that translates them).

    Returns:
        ``largest``, the distance from PyTorch in 32 bits. Where it is beyond `TOLERANCE`, too: ``from_64_bits``, and
        ``pytorch_from_64_bits``. A map that hardly varies and is divided by its deviation magnifies the rounding of
        either program; then neither is the truth, and the file must be about as near to it as PyTorch is.

    Raises:
        ConfigError: if a sample is further away than that.
    """
    exported, largest, far = Generator(folder, threads=1, runtime="onnxruntime"), 0.0, list[tuple[Trial, np.ndarray]]()
    sizes = sizes_for(family.data.shape)
    for seed, n in enumerate(sizes):
        random = stream("cpu", "parity", seed)
        with RandomInputs() as recorded:
            z = family.sample_inputs(n, random)
        if "inputs" in exported.graphs:
            drawn = exported.run("inputs", _named(exported, "inputs", recorded.values))
            if (gap := distance(drawn, z.numpy())) >= TOLERANCE:
                raise _refused(gap)
        labels = draw_labels(family, n, random)
        for given in (z,) if inputs is None else (z, inputs[torch.arange(n) % len(inputs)]):
            with RandomInputs() as recorded:
                wanted = family.generate(given, labels, generator=random).numpy()
            trial = Trial(given, labels, recorded, wanted)
            found = _samples(exported, trial)
            gap = distance(found, wanted)
            largest = max(largest, gap)
            if not gap < TOLERANCE:
                far.append((trial, found))
    told = {"largest": largest, "tolerance": TOLERANCE, "batch_sizes": list(sizes)}
    return told | (_against_64_bits(family, far, largest) if far else {})


def _samples(exported: Any, trial: Trial) -> np.ndarray:
    labels = None if trial.labels is None else trial.labels.numpy()
    found: np.ndarray = exported.generate(trial.given.numpy(), labels, _named(exported, "model", trial.recorded.values))
    return found


def _against_64_bits(family: Family, far: Sequence[tuple[Trial, np.ndarray]], largest: float) -> dict[str, float]:
    """Return how far the file and PyTorch are from 64 bits; raises as `check`."""
    if not math.isfinite(largest):
        raise _refused(largest)
    try:
        truths = list(_in_64_bits(family, [trial for trial, _ in far]))
    except RuntimeError as error:  # a family that computes in 32 bits only
        raise _refused(largest) from error
    pairs = [
        (distance(found, exact), distance(trial.wanted, exact))
        for (trial, found), exact in zip(far, truths, strict=True)
    ]
    own, torch_own = (max(pair[place] for pair in pairs) for place in range(2))
    told = {"from_64_bits": own, "pytorch_from_64_bits": torch_own}
    if not own < min(VISIBLE, max(TOLERANCE, ROUNDING * torch_own)):
        raise _refused(largest, told)
    return told


def _in_64_bits(family: Family, trials: Sequence[Trial]) -> Iterator[np.ndarray]:
    """Yield what the family makes of the same numbers where everything is computed in 64 bits."""
    exact = copy.deepcopy(family).double()
    for trial in trials:
        values = [value.double() if value.is_floating_point() else value for value in trial.recorded.values]
        with RandomInputs(values, list(trial.recorded.readings)):
            yield exact.generate(trial.given.double(), trial.labels, generator=stream("cpu", "parity")).numpy()


def _refused(largest: float, told: dict[str, float] | None = None) -> ConfigError:
    more = (
        ""
        if told is None
        else f"; of what 64 bits give it is {told['from_64_bits']:.2g} away, PyTorch {told['pytorch_from_64_bits']:.2g}"
    )
    return ConfigError(
        f"the exported generator is {largest:.2g} away from PyTorch's, but it must be within "
        f"{TOLERANCE:g}{more}; nothing was exported: please report it with the run's config.json"
    )


def _named(exported: Any, graph: str, values: Sequence[Tensor]) -> dict[str, np.ndarray]:
    names = [of["name"] for of in exported.graphs[graph]["inputs"] if of["kind"] in ("normal", "uniform", "integers")]
    return {name: value.numpy() for name, value in zip(names, values, strict=True)}
