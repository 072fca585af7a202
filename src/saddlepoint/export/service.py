"""A generator that answers many small questions: what is to be computed for a request, and a batch of any of them.

Everything random is drawn for each row from (seed, row), before rows of different requests are put together; a batch
has always the same number of rows, filled up with copies of the last. So a picture is the same bit for bit in whatever
company it is computed: matrix products of another size may add in another order. Smaller batches are computed only in
sizes that gave the same bits when they were tried (`Service.try_sizes`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.files import read_json
from saddlepoint.core.progress import Say
from saddlepoint.data.labels.files import class_index
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.export import export_run
from saddlepoint.export.graphs import Graph, Input, graphs_of
from saddlepoint.run.generator import check_truncation
from saddlepoint.run.run import Run

BACKENDS = ("torch", "onnx")

_LONG = 0.1
"""Seconds of a batch from which on little is tried."""


@dataclass(frozen=True)
class Rows:
    """What a request asks to be computed.

    Attributes:
        tensors: by name of the input; the first axis is the row.
        ended: (n, time) mask of what lies after a window's end, or None.
    """

    tensors: Mapping[str, np.ndarray]
    ended: np.ndarray | None = None

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))


class Backend(Protocol):
    """Runs a graph by its name on tensors by their names."""

    def __call__(self, graph: str, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the graph's output."""
        ...


class Service:
    """A run that samples in batches.

    Args:
        run: on any device.
        backend: ``torch``, or ``onnx``: onnxruntime on ``RUN/export-onnx``, which is written if it is not there.
        batch: rows that are computed at once.
        say: hears what takes time.

    Attributes:
        sizes: numbers of rows that batches are filled up to, in rising order.
        seconds: that a whole batch takes; infinite until it was tried.

    Raises:
        ConfigError: on an unknown backend, or if the run cannot be exported.
    """

    def __init__(self, run: Run, backend: str = "torch", batch: int = 32, say: Say = lambda line: None) -> None:
        if backend not in BACKENDS or batch < 1:
            raise ConfigError(f"backend '{backend}' with batches of {batch}: choose torch or onnx, and at least 1")
        self.run, self.batch, self.backend = run, batch, backend
        self.sizes: tuple[int, ...] = (batch,)
        self.seconds = math.inf
        # Passes are recorded on the CPU; what they hold moves with the family.
        device = run.device
        self.graphs = {graph.name: graph for graph in graphs_of(run.family.to("cpu"))}
        self._drawn = [of for of in self.graphs["model"].inputs if of.drawn]
        if backend == "torch":
            run.family.to(device)
        self._call: Backend = _Torch(run, self.graphs) if backend == "torch" else _onnx(run, say)

    def rows(self, n: int, seed: int = 0, label: int | str | None = None, truncation: float = 1.0) -> Rows:
        """Return what makes ``n`` samples; the i-th depends on (seed, i), label and truncation only.

        Raises:
            ConfigError: if there is no such class, or truncation for a generator without w.
        """
        return self.rows_of(self.run.inputs(n, seed=seed).numpy(), seed, label, truncation)

    def rows_of(
        self, inputs: np.ndarray, seed: int = 0, label: int | str | None = None, truncation: float = 1.0
    ) -> Rows:
        """Return what makes the samples of given inputs: latent vectors, sequences of them, or images in [-1, 1]."""
        n = len(inputs)
        check_truncation(self.run.family, None if truncation == 1.0 else truncation)
        data = self.run.family.data
        if label is not None and data.labelling:
            # One class here, as the recorded pass takes it; the others stay as the picture has them.
            labels: torch.Tensor | None = torch.full((n,), class_index(label, data.classes))
        else:
            labels = self.run.labels(n, seed=seed, label=label)
        ended = np.isnan(inputs).any(2) if inputs.ndim == 3 else None
        if ended is None or not ended.any():
            ended = None
        else:
            inputs = np.nan_to_num(inputs)
        tensors = {"inputs": inputs.astype(np.float32, copy=False)}
        if labels is not None:
            tensors["labels"] = labels.numpy()
        if "mapping" in self.graphs:
            tensors["truncation"] = np.full(n, truncation, dtype=np.float32)
        if self._drawn:
            each = [_noise(self._drawn, seed, row) for row in range(n)]
            tensors |= {of.name: np.stack([row[of.name] for row in each]) for of in self._drawn}
        return Rows(tensors, ended)

    def between(self, seeds: Sequence[int], steps: int, label: int | str | None = None) -> Rows:
        """Return what makes ``steps`` samples along straight lines through the latent points of seeds.

        Raises:
            ConfigError: if the generator has no latent points, or as `rows`.
        """
        if self.run.family.tags.input != "latent":
            raise ConfigError(f"'{self.run.path.name}' has no latent space to walk in")
        points = np.concatenate([self.run.inputs(1, seed=seed).numpy() for seed in seeds])
        places = np.linspace(0, len(points) - 1, steps)
        left = np.minimum(places.astype(int), len(points) - 2)
        share = (places - left)[:, None].astype(np.float32)
        rows = self.rows_of(points[left] * (1 - share) + points[left + 1] * share, seeds[0], label)
        # One class and one draw of noise along the whole way: only z moves.
        still = {name: np.repeat(x[:1], steps, 0) for name, x in rows.tensors.items() if name != "inputs"}
        return Rows({**rows.tensors, **still})

    def compute(self, parts: Sequence[Rows]) -> list[np.ndarray]:
        """Return the samples of each part; together they have at most `batch` rows."""
        sizes = [len(part) for part in parts]
        missing = min(size for size in self.sizes if size >= sum(sizes)) - sum(sizes)
        tensors = {}
        for name in parts[0].tensors:
            columns = [part.tensors[name] for part in parts]
            columns += [np.repeat(columns[-1][-1:], missing, 0)] if missing else []
            tensors[name] = np.concatenate(columns)
        samples = self._samples(tensors)
        found = np.split(samples[: sum(sizes)], np.cumsum(sizes)[:-1])
        for part, made in zip(parts, found, strict=True):
            if part.ended is not None:
                made[part.ended] = np.nan
        return found

    def try_sizes(self) -> None:
        """Find out how long a whole batch takes, and which smaller sizes give each row the same bits.

        The order in which a product is added up depends on its shape and not on its numbers; another order shows in
        the last bits of some of the thousands of numbers that are compared. A size is taken if none of them differs.
        """
        rows = self._trial()
        wanted, self.seconds = self._timed(rows)
        if self.seconds < _LONG:
            self.seconds = min(self._timed(rows)[1] for _ in range(3))
        sizes = (1, 2, 4, 8, 16) if self.seconds < _LONG else (1, 8)
        found = [size for size in sizes if size < self.batch and self._same(rows, wanted, size)]
        self.sizes = (*found, self.batch)

    def _trial(self) -> Rows:
        """Return a whole batch of rows."""
        family = self.run.family
        if family.tags.input != "image":
            return self.rows(self.batch)
        shape = (self.batch, *family.data.shape)
        images = torch.rand(shape, generator=stream("cpu", "trial")) * 2 - 1
        return self.rows_of(images.numpy(), label=family.data.classes[0] if family.classes else None)

    def _timed(self, rows: Rows) -> tuple[np.ndarray, float]:
        start = time.perf_counter()
        found = self._samples(dict(rows.tensors))
        return found, time.perf_counter() - start

    def _same(self, rows: Rows, wanted: np.ndarray, size: int) -> bool:
        """Whether rows from all over a batch have the same bits in one of another size."""
        tries = 8 if self.seconds < _LONG else 2
        for start in sorted({int(place) for place in np.linspace(0, self.batch - size, tries)}):
            found, there = self._samples(dict(part(rows, start, start + size).tensors)), wanted[start : start + size]
            if found.tobytes() != there.tobytes():
                return False
        return True

    def _samples(self, tensors: dict[str, np.ndarray]) -> np.ndarray:
        placed = dict(tensors)
        for of in self._drawn:
            if None in of.shape:
                placed[of.name] = np.moveaxis(placed[of.name], 0, of.shape.index(None))
            else:
                placed[of.name] = placed[of.name][0]
        if "mapping" in self.graphs:
            placed["styles"] = self._call("mapping", placed)
        samples = self._call("model", placed)
        return np.clip(samples, -1, 1) if self.run.family.data.modality == "image" else samples


def part(rows: Rows, start: int, stop: int) -> Rows:
    """Return some of the rows."""
    ended = None if rows.ended is None else rows.ended[start:stop]
    return Rows({name: x[start:stop] for name, x in rows.tensors.items()}, ended)


def _noise(drawn: Sequence[Input], seed: int, row: int) -> dict[str, np.ndarray]:
    """Draw a row's own numbers, without the batch axis."""
    random, found = stream("cpu", "serve", seed, row), {}
    for of in drawn:
        shape = [size for size in of.shape if size is not None]
        if of.kind == "integers":
            values = torch.randint(of.low, of.high, shape, generator=random)
            found[of.name] = (values if of.whole else values.float()).numpy()
        else:
            draw = torch.randn if of.kind == "normal" else torch.rand
            found[of.name] = draw(shape, generator=random).numpy()
    return found


class _Torch:
    def __init__(self, run: Run, graphs: Mapping[str, Graph]) -> None:
        self.device, self.graphs = run.device, graphs

    @torch.inference_mode()
    def __call__(self, graph: str, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
        module = self.graphs[graph]
        given = [torch.from_numpy(np.ascontiguousarray(tensors[of.name])).to(self.device) for of in module.inputs]
        found: np.ndarray = module(*given).cpu().numpy()
        return found


def _onnx(run: Run, say: Say) -> Backend:
    folder = run.path / "export-onnx"
    try:
        from saddlepoint.export.sampler.generator import Generator
    except ImportError as error:
        raise ConfigError(f"there is no {error.name}; run: pip install 'saddlepoint[export]'") from error
    try:
        if read_json(folder / "model.json")["step"] != run.step:
            raise ValueError("it is of another step")
        generator = Generator(folder, threads=torch.get_num_threads())
    except (OSError, ValueError, KeyError, TypeError):
        generator = Generator(_exported(run, say), threads=torch.get_num_threads())
    return lambda graph, tensors: generator.run(graph, dict(tensors))


def _exported(run: Run, say: Say) -> Path:
    return export_run(run, "onnx", measure=False, say=say)
