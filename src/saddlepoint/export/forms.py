"""Forms that a graph can have, and which of them each runtime needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from saddlepoint.core.errors import ConfigError, suggest

OPSETS = (17, 23)
"""Versions of ONNX's operators that files can be written in, from and to."""

OPSET = 20
MOST_ROWS = 2**16


@dataclass(frozen=True)
class Forms:
    """How graphs are written.

    Attributes:
        opset: version of ONNX's operators.
        batch: rows that a graph takes at once; None: any number, an axis named ``batch`` on all inputs and outputs.
        labels: ``classes``: int64 (batch,); ``rows``: float32 (batch, classes), 1 at the class and 0 elsewhere, for
            runtimes that stumble over whole numbers, casts or comparisons.
        recurrent: ``nodes``: one GRU or LSTM a layer; ``unrolled``: GRUs as the steps of a window one after the other.
        means: ``axes``: as PyTorch has them; ``convolutions``: means over channels as a convolution of equal weights,
            for converters that lose the one axis of such a mean.
        half: whether a second file keeps the weights in 16 bits.
    """

    opset: int = OPSET
    batch: int | None = None
    labels: Literal["classes", "rows"] = "classes"
    recurrent: Literal["nodes", "unrolled"] = "nodes"
    means: Literal["axes", "convolutions"] = "axes"
    half: bool = True


@dataclass(frozen=True)
class Target:
    """A runtime that files are written for.

    Attributes:
        forms: what it needs.
        runtime: what computes samples in the exported folder, one of `sampler.runtimes.RUNTIMES`.
        checked: whether the files are tried in it, where it is installed.
        note: what whoever uses the files should know.
    """

    forms: Forms = field(default_factory=Forms)
    runtime: str = "onnxruntime"
    checked: bool = False
    note: str = ""


_FIXED = Forms(batch=1, labels="rows", recurrent="unrolled", half=False)

TARGETS: Mapping[str, Target] = {
    "openvino": Target(runtime="openvino", checked=True),
    "opencv": Target(Forms(recurrent="unrolled", half=False), "opencv", checked=True),
    "tract": Target(Forms(batch=1, half=False), "tract", checked=True),
    "ncnn": Target(replace(_FIXED, means="convolutions"), "ncnn", checked=True, note="pnnx converts the files"),
    "web": Target(note="tried under node by benchmarks/runtimes.py"),
    "tensorrt": Target(_FIXED, note="not tried: it needs a GPU; build engines in 32 bits (no --fp16) and compare"),
    "coreml": Target(
        _FIXED, note="not tried: onnxruntime's CoreML provider runs on Apple machines only; coremltools reads no ONNX"
    ),
    "litert": Target(_FIXED, note="onnx2tf converts the files"),
}
"""By the words that ``--for`` takes."""


def chosen(target: str | None, opset: int | None, batch: str | int | None) -> tuple[Target, Forms]:
    """Return the target and the forms that are asked for.

    Args:
        target: a key of `TARGETS`; None: onnxruntime.
        opset: version of ONNX's operators; None: `OPSET`.
        batch: rows at once, or "dynamic"; None: what the target needs.

    Raises:
        ConfigError: if there is no such target or opset, or the target cannot have this batch.
    """
    if target is not None and target not in TARGETS:
        raise ConfigError(f"unknown runtime '{target}'; {suggest(target, tuple(TARGETS))}")
    found = Target() if target is None else TARGETS[target]
    forms = found.forms
    if opset is not None:
        if not OPSETS[0] <= opset <= OPSETS[1]:
            raise ConfigError(f"opset is {opset}, but it must be from {OPSETS[0]} to {OPSETS[1]}")
        forms = replace(forms, opset=opset)
    if batch is not None:
        rows = _rows(batch)
        if rows != forms.batch and target in ("ncnn", "tract") and (target == "ncnn" or rows is None):
            needs = "1: it takes one row at a time" if target == "ncnn" else "a number: it cannot take any number"
            raise ConfigError(f"batch is {batch}, but for {target} it must be {needs}")
        forms = replace(forms, batch=rows)
    return found, forms


def _rows(batch: str | int) -> int | None:
    if batch == "dynamic":
        return None
    try:
        rows = int(batch)
    except ValueError:
        rows = 0
    if not 1 <= rows <= MOST_ROWS:
        raise ConfigError(f"batch is '{batch}', but it must be a whole number from 1 to {MOST_ROWS:,}, or dynamic")
    return rows
