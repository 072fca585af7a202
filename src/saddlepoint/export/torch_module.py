"""A run's generator as a module of PyTorch that needs nothing of this package: recorded by `torch.export`."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.files import written
from saddlepoint.export.graphs import Graph, example, whole_graph
from saddlepoint.run.run import Run, load

_MOST_OFF = 1e-4
"""Largest difference of samples from those of the run, as of exported graphs."""


def to_torch(run: Run | str | Path, out: str | Path | None = None) -> nn.Module:
    """Return a run's generator as a plain module, on the CPU, in evaluation mode.

    It takes the inputs of the generator (n, latent), or images (n, *sample) in [-1, 1] of one that translates; then
    int64 labels (n,) of a conditional one; then what the generator draws at random, as normal or uniform numbers, such
    as the noise of styled layers: ``module.signature`` says what, in order. Batches may have any size from 2 on.

    Args:
        run: a run, or the path of one.
        out: file, ``.pt2``, to which the recorded program is written as well: ``torch.export.load(out).module()`` is
            the module where saddlepoint is not installed.

    Raises:
        ConfigError: if the generator decides by its inputs what it computes, or what was recorded makes other samples.
        CheckpointError: if the run cannot be loaded.
    """
    run = run if isinstance(run, Run) else load(run)
    graph = whole_graph(run.family.cpu())
    batch = torch.export.Dim("batch", min=2)
    axes = tuple({i.shape.index(None): batch} if None in i.shape else None for i in graph.inputs)
    tensors = tuple(example(i, 3, run.family) for i in graph.inputs)
    with torch.no_grad():
        try:
            program = torch.export.export(graph, tensors, dynamic_shapes=(axes,))
        except Exception as error:  # of many kinds
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(f"PyTorch cannot record family '{run.family.name}' ({reason})") from error
        module = program.module()
        _check(graph, module)
    if out is not None:
        with written(Path(out)) as path:
            torch.export.save(program, path)
    module.signature = tuple((i.name, i.shape, i.kind) for i in graph.inputs)  # type: ignore[assignment]
    return module


def _check(graph: Graph, module: nn.Module) -> None:
    """Hold the module against the family, for a batch of another size than it was recorded with.

    Raises:
        ConfigError: if samples differ.
    """
    tensors = tuple(example(i, 5, graph.family, seed=1) for i in graph.inputs)
    off = float((module(*tensors) - graph(*tensors)).abs().max())
    if not off <= _MOST_OFF:
        raise ConfigError(
            f"the recorded generator is {off:.2g} away from the run's, but it must be within {_MOST_OFF:g}; please "
            "report it"
        )
