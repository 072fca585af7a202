"""The passes of a family that an exported folder holds, each as a module from tensors to a tensor.

Draws -> inputs (z), z -> styles where the family has w, then inputs or styles -> samples. Whoever has the files can
draw z, walk between two of them, mix styles, or hand in images, without a line of the family's code.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from saddlepoint.core.errors import ConfigError
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.export.forms import Forms
from saddlepoint.export.label_rows import LabelRows, as_rows
from saddlepoint.export.random_inputs import Draw, RandomInputs, same_readings
from saddlepoint.family import Family
from saddlepoint.family.capabilities import StyleSpace, draw_labels, style_space

_TRIED = (3, 5)
"""Batch sizes that are recorded; what differs between them is the batch axis."""


@dataclass(frozen=True)
class Input:
    """A tensor that a graph takes.

    Attributes:
        name: of the input in the file.
        shape: None marks the batch axis.
        kind: ``normal``, ``uniform`` or ``integers`` for what is to be drawn; ``inputs``, ``labels``, ``styles`` or
            ``truncation`` for the rest.
        low, high: of integers, [low, high).
        whole: int64, else float32.
    """

    name: str
    shape: tuple[int | None, ...]
    kind: str
    low: int = 0
    high: int = 0
    whole: bool = False

    @property
    def drawn(self) -> bool:
        """Whether it is to be drawn at random."""
        return self.kind in ("normal", "uniform", "integers")


class Graph(nn.Module):
    """One pass of a family with everything random as an input.

    Args:
        name: of the file.
        family: in evaluation mode.
        call: (family, tensors that are not drawn, n) -> tensor.
        inputs: what it takes: tensors that are not drawn, then draws in the order of the calls.
        readings: what Python read in the recording.
        forms: what a file of it is to be like; None: it is computed by PyTorch as the family has it.
    """

    def __init__(
        self,
        name: str,
        family: Family,
        call: Callable[[Family, tuple[Tensor, ...], int], Tensor],
        inputs: tuple[Input, ...],
        readings: list[object],
        forms: Forms | None = None,
    ) -> None:
        super().__init__()
        self.name, self.family, self.call, self.inputs, self.readings = name, family, call, inputs, readings
        self.forms = forms

    def formed(self, forms: Forms) -> Graph:
        """Return the same pass in these forms."""
        rows = forms.labels == "rows"
        inputs = tuple(
            replace(i, shape=(None, i.high), whole=False) if rows and i.kind == "labels" else i for i in self.inputs
        )
        return Graph(self.name, self.family, self.call, inputs, self.readings, forms)

    def forward(self, *tensors: Tensor) -> Tensor:
        """Return what the family makes of the tensors, in the order of ``inputs``."""
        passed = tuple(x for x, i in zip(tensors, self.inputs, strict=True) if not i.drawn)
        drawn = [x for x, i in zip(tensors, self.inputs, strict=True) if i.drawn]
        batch = next(x.shape[i.shape.index(None)] for x, i in zip(tensors, self.inputs, strict=True) if None in i.shape)
        with ExitStack() as listening:
            # Listening costs a call of Python for every one of PyTorch.
            if drawn or self.readings:
                listening.enter_context(RandomInputs(drawn, list(self.readings)))
            place = next((k for k, i in enumerate(self.inputs) if i.kind == "labels"), None)
            if place is not None and self.forms is not None:
                told, classes = passed[place], self.inputs[place].high
                rows = told if told.ndim == 2 else as_rows(told, classes)
                labels = told.argmax(1) if told.ndim == 2 else told
                passed = (*passed[:place], labels, *passed[place + 1 :])
                listening.enter_context(LabelRows(labels, rows))
            return self.call(self.family, passed, batch)


def graphs_of(family: Family) -> tuple[Graph, ...]:
    """Return the graphs that make samples, in the order in which they follow one another.

    Raises:
        ConfigError: if the generator decides by its inputs what it computes, or draws as a graph cannot.
    """
    if family.no_graph:
        raise ConfigError(f"family '{family.name}' {family.no_graph}; export it with --format safetensors")
    found: list[Graph] = []
    label = _label(family)
    inputs = Input("inputs", (None, *family.sample_inputs(1, stream("cpu", "export")).shape[1:]), "inputs")
    # Images are given by whoever translates them; those of the training data stay where they are.
    if family.tags.input != "image":
        found.append(_recorded("inputs", family, _draw_inputs, ()))
    if not isinstance(family, StyleSpace):
        return (*found, _recorded("model", family, _generate, (inputs, *label)))
    truncation = Input("truncation", (None,), "truncation")
    styles = Input("styles", (None, style_space(family).w_layers, len(style_space(family).w_average)), "styles")
    found.append(_recorded("mapping", family, _map, (inputs, truncation, *label)))
    last = _recorded("model", family, _synthesise, (styles,))
    # One draw serves all rows of `synthesis`; each row may have its own.
    own = tuple(replace(i, shape=(None, *i.shape[1:])) if i.drawn and i.shape[:1] == (1,) else i for i in last.inputs)
    return (*found, Graph("model", family, _synthesise, own, last.readings))


def whole_graph(family: Family) -> Graph:
    """Return the way from the generator's inputs to samples as one graph, of families with w without truncation.

    Raises:
        ConfigError: as `graphs_of`.
    """
    if family.no_graph:
        raise ConfigError(f"family '{family.name}' {family.no_graph}; export it with --format safetensors")
    inputs = Input("inputs", (None, *family.sample_inputs(1, stream("cpu", "export")).shape[1:]), "inputs")
    return _recorded("model", family, _generate, (inputs, *_label(family)))


def _draw_inputs(family: Family, tensors: tuple[Tensor, ...], n: int) -> Tensor:
    return family.sample_inputs(n, stream("cpu", "export"))


def _generate(family: Family, tensors: tuple[Tensor, ...], n: int) -> Tensor:
    return family.generate(tensors[0], *tensors[1:], generator=stream("cpu", "export"))


def _map(family: Family, tensors: tuple[Tensor, ...], n: int) -> Tensor:
    inputs, truncation, *labels = tensors
    w = style_space(family).mapping(inputs, *labels)
    # `lerp`, exact at 1 as it is there, without its comparison, which ncnn knows no operator for.
    w = w - (w - style_space(family).w_average) * (1 - truncation[:, None])
    # Side by side, not expanded: converters lose an expanded axis.
    return torch.stack([w] * style_space(family).w_layers, 1)


def _synthesise(family: Family, tensors: tuple[Tensor, ...], n: int) -> Tensor:
    return style_space(family).synthesis(tensors[0], generator=stream("cpu", "export"))


def _label(family: Family) -> tuple[Input, ...]:
    if not family.classes:
        return ()
    return (Input("labels", (None,), "labels", 0, family.classes, whole=True),)


def example(of: Input, n: int, family: Family, seed: int = 0) -> Tensor:
    """Return a tensor that an input could be, for ``n`` samples."""
    shape = [n if size is None else size for size in of.shape]
    random = stream("cpu", "example", of.name, seed)
    if of.kind == "inputs":
        return family.sample_inputs(n, random).nan_to_num(0.0)
    if of.kind == "labels":
        found = draw_labels(family, n, random)
        assert found is not None
        return found if of.whole else as_rows(found, of.high)
    if of.kind == "styles":
        w = style_space(family).mapping(family.sample_inputs(n, random), draw_labels(family, n, random))
        return w[:, None].repeat(1, style_space(family).w_layers, 1)
    if of.kind == "truncation":
        return torch.linspace(0.5, 1.0, n)
    if of.kind == "integers":
        drawn = torch.randint(of.low, of.high, shape, generator=random)
        return drawn if of.whole else drawn.float()
    return (torch.randn if of.kind == "normal" else torch.rand)(shape, generator=random)


@torch.no_grad()
def _recorded(
    name: str, family: Family, call: Callable[[Family, tuple[Tensor, ...], int], Tensor], inputs: tuple[Input, ...]
) -> Graph:
    """Run the pass for two batch sizes, and return it with its draws as inputs."""
    recordings = []
    for seed, n in enumerate(_TRIED):
        tensors = tuple(example(i, n, family, seed) for i in inputs)
        with RandomInputs() as recorded:
            call(family, tensors, n)
        recordings.append(recorded)
    first, second = recordings
    if not same_readings(first.readings, second.readings) or len(first.draws) != len(second.draws):
        raise ConfigError(
            f"family '{family.name}' decides by its inputs what it computes, which a graph cannot hold; "
            "export it with --format safetensors"
        )
    draws = tuple(_input(name, k, *pair) for k, pair in enumerate(zip(first.draws, second.draws, strict=True)))
    return Graph(name, family, call, (*inputs, *draws), first.readings)


def _input(graph: str, number: int, one: Draw, other: Draw) -> Input:
    """Return a draw as an input: the axis that is 3 of 3 samples and 5 of 5 is the batch."""
    pairs = list(zip(one.shape, other.shape, strict=True))
    shape = tuple(None if a != b else a for a, b in pairs)
    if any(a != b and (a, b) != _TRIED for a, b in pairs) or shape.count(None) > 1:
        raise ConfigError(
            f"the generator draws {one.shape} numbers for {_TRIED[0]} samples and {other.shape} for {_TRIED[1]}: "
            "one axis must be the batch"
        )
    return Input(f"noise{number + 1}", shape, one.kind, one.low, one.high, one.whole)
