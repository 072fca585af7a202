"""Samples of a generator, computed in pieces, with random numbers of their own: the i-th depends on (seed, i) only."""

from __future__ import annotations

import torch
from torch import Tensor

from saddlepoint.core.types import Samples
from saddlepoint.data.labels.files import class_index
from saddlepoint.engine.machine import runtime
from saddlepoint.family import Family

_CHUNK = 250
"""Rows that share a stream of random numbers."""


def _chunks(n: int) -> range:
    return range(-(-n // _CHUNK))


def inputs(family: Family, n: int, seed: int) -> Tensor:
    """Return inputs of a generator; see `Run.inputs`."""
    drawn = [family.sample_inputs(_CHUNK, runtime.stream("cpu", "sample", seed, chunk)) for chunk in _chunks(n)]
    return torch.cat(drawn)[:n]


def labels(family: Family, n: int, seed: int, label: int | str | None) -> Tensor | None:
    """Return one class for all, or labels in the shares of the training data; see `Run.labels`."""
    names = family.data.classes[: family.classes]
    if label is not None:
        return torch.full((n,), class_index(label, names))
    if not names:
        return None
    drawn = [family.sample_labels(_CHUNK, runtime.stream("cpu", "sample-labels", seed, chunk)) for chunk in _chunks(n)]
    return torch.cat([chunk for chunk in drawn if chunk is not None])[:n]


def truncated(family: Family, w: Tensor, truncation: float) -> Tensor:
    """Return styles (n, layers, w) that go so much of the way from the mean of w to each point of w (n, w)."""
    near = torch.lerp(family.w_average.cpu().expand_as(w), w, truncation)
    return near[:, None].expand(-1, family.w_layers, -1)


def device_of(family: Family) -> torch.device:
    """Return where the networks are."""
    return next(family.parameters()).device


def generate(family: Family, inputs: Tensor, labels: Tensor | None, seed: int) -> Samples:
    """Return the samples of inputs on the CPU; see `Run.generate`."""
    samples, device = torch.empty(0), device_of(family)
    for number, start in enumerate(range(0, len(inputs), _CHUNK)):
        stream = runtime.stream(device, "generate", seed, number)
        for part in runtime.pieces(start, min(start + _CHUNK, len(inputs)), family.data.shape):
            asked = None if labels is None else labels[part].to(device)
            piece = family.generate(inputs[part].to(device), asked, generator=stream)
            if part.start == 0:
                samples = piece.new_empty((len(inputs), *piece.shape[1:]), device="cpu")
            samples[part] = piece
    return samples


def synthesise(family: Family, styles: Tensor, seed: int) -> Samples:
    """Return the samples of styles on the CPU, all with the noise of the seed; see `Run.synthesise`."""
    pieces, device = [], device_of(family)
    for part in runtime.pieces(0, len(styles), family.data.shape):
        stream = runtime.stream(device, "generate", seed, 0)
        pieces.append(family.synthesis(styles[part].to(device), generator=stream).cpu())
    return torch.cat(pieces)


def guided(family: Family, inputs: Tensor, references: Tensor, labels: Tensor) -> Samples:
    """Translate images into the style of reference images; see `Run.guided`."""
    device = device_of(family)
    pieces = [
        family.guided(*(whole[part].to(device) for whole in (inputs, references, labels))).cpu()
        for part in runtime.pieces(0, len(inputs), family.data.shape)
    ]
    return torch.cat(pieces)
