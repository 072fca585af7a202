"""A generator whose graphs lie in an exported folder."""

from __future__ import annotations

import hashlib
import math
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .description import MOST_BYTES, read_description, read_file, reads_other_files
from .runtimes import PACKAGES, PRECISIONS, RUNTIMES, Call, Settings
from .units import restored


class Generator:
    """An exported generator.

    Args:
        folder: with ``model.json`` and the ONNX files that it names.
        half: take the weights that are kept in 16 bits.
        threads: of the processor; 0: all cores.
        runtime: one of `RUNTIMES`; None: the one that the folder was exported for.
        precision: ``f32``, or ``default``, the runtime's own choice; None: what the folder says is right.
        model: another file in the place of ``model.onnx``, as a converter made it; it is not held to a checksum.

    Raises:
        ValueError: if the folder is damaged, keeps no weights in 16 bits, or the runtime is missing or refuses a graph.
    """

    def __init__(
        self,
        folder: str | Path,
        half: bool = False,
        threads: int = 0,
        runtime: str | None = None,
        precision: str | None = None,
        model: str | Path | None = None,
    ) -> None:
        self.folder = folder = Path(folder)
        self.spec = read_description(folder / "model.json")
        self.graphs: dict[str, dict[str, Any]] = {graph["name"]: graph for graph in self.spec["graphs"]}
        if half and not any(graph.get("half") for graph in self.graphs.values()):
            raise ValueError("this export keeps no weights in 16 bits: leave --half out")
        self.runtime, self.batch = runtime or self.spec["runtime"], self.spec["batch"]
        precision = precision or self.spec["precision"]
        if self.runtime not in RUNTIMES or precision not in PRECISIONS:
            raise ValueError(
                f"runtime '{self.runtime}' at precision '{precision}': choose from {', '.join(RUNTIMES)}, "
                f"and from {', '.join(PRECISIONS)}"
            )
        settings = Settings(threads, precision, self.batch)
        self.calls: dict[str, Call] = {}
        for name, graph in self.graphs.items():
            kept = graph["half"] if half and graph.get("half") else graph
            if name == "model" and model is not None:
                kept = {"file": Path(model).absolute(), "sha256": None}
            self.calls[name] = self._opened(
                folder / kept["file"], kept["sha256"], graph | {"made": self._made(name)}, settings
            )

    def _made(self, name: str) -> list[int] | None:
        """Return the shape of a row that a graph makes: of a sample, or as the graph after it takes it."""
        if name == "model":
            return list(self.spec["shape"]) if isinstance(self.spec.get("shape"), list) else None
        taken = [of for graph in self.graphs.values() for of in graph["inputs"]]
        kind = "styles" if name == "mapping" else "inputs"
        return next((of["shape"][1:] for of in taken if of["kind"] == kind and of["shape"][:1] == [None]), None)

    def _opened(self, path: Path, checksum: str | None, graph: Mapping[str, Any], settings: Settings) -> Call:
        try:
            content = read_file(path, MOST_BYTES)
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} cannot be read: {error}") from error
        if checksum is not None and hashlib.sha256(content).hexdigest() != checksum:
            raise ValueError(f"{path} is damaged: its checksum does not match")
        try:
            if reads_other_files(content):
                raise ValueError("it has numbers in another file, which no export has")
            if graph.get("identity"):
                return lambda given: next(iter(given.values()))
            return RUNTIMES[self.runtime](content, graph, settings)
        except ImportError as error:
            raise ValueError(
                f"there is no {error.name}; run: pip install {PACKAGES[self.runtime][0]}, or choose another --runtime"
            ) from error
        except Exception as error:  # the runtimes' errors have no kind in common
            raise ValueError(f"{path} is no graph that can be run by {self.runtime}: {error}") from error

    def noise(self, graph: str, n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Draw what a graph takes at random for ``n`` samples."""
        drawn = {}
        for of in self.graphs[graph]["inputs"]:
            shape = [n if size is None else size for size in of["shape"]]
            if of["kind"] == "normal":
                drawn[of["name"]] = rng.standard_normal(shape, dtype=np.float32)
            elif of["kind"] == "uniform":
                drawn[of["name"]] = rng.random(shape, dtype=np.float32)
            elif of["kind"] == "integers":
                drawn[of["name"]] = rng.integers(of["low"], of["high"], shape).astype(of["type"])
        return drawn

    def inputs(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw inputs z for ``n`` samples; of a generator that translates images, there are none to draw."""
        if "inputs" not in self.graphs:
            raise ValueError("this generator translates images: give it some (--images)")
        return self.run("inputs", self.noise("inputs", n, rng))

    def labels(self, n: int, rng: np.random.Generator, label: str | None = None) -> np.ndarray | None:
        """Return the class of each sample: the one asked for, else in the shares of the training data."""
        classes = self.spec["classes"]
        if not classes:
            if label is not None:
                raise ValueError(f"label '{label}' is asked for, but the generator is unconditional")
            return None
        if label is None:
            shares = np.asarray(self.spec["shares"] or [1.0] * len(classes))
            return rng.choice(len(classes), n, p=shares / shares.sum())
        if label not in classes and not (label.isdecimal() and int(label) < len(classes)):
            raise ValueError(f"there is no class '{label}'; choose from: {', '.join(classes)}")
        return np.full(n, classes.index(label) if label in classes else int(label))

    def generate(
        self,
        inputs: np.ndarray,
        labels: np.ndarray | None = None,
        noise: dict[str, np.ndarray] | None = None,
        truncation: float = 1.0,
    ) -> np.ndarray:
        """Return the samples of inputs: images in [-1, 1], vectors, or windows in [0, 1] with NaN after their ends.

        Args:
            inputs: as `inputs` draws them, or images (n, channel, height, width) in [-1, 1].
            labels: (n,) classes, for a conditional generator.
            noise: as `noise` draws it for "model"; None: drawn from seed 0.
            truncation: distance from the mean of w: 0 is the mean; of generators without w only 1 is possible.
        """
        n = len(inputs)
        ended = np.isnan(inputs).any(2) if inputs.ndim == 3 else None
        given = {"inputs": np.nan_to_num(inputs).astype(np.float32)}
        if labels is not None:
            given["labels"] = np.asarray(labels)
        if "mapping" in self.graphs:
            given["truncation"] = np.full(n, truncation, dtype=np.float32)
            given["styles"] = self.run("mapping", given)
        elif truncation != 1.0:
            raise ValueError(f"truncation is {truncation}, but only generators with an intermediate space have one")
        samples = self.run("model", {**given, **(noise or self.noise("model", n, np.random.default_rng(0)))})
        if self.spec["modality"] == "image":
            # A runtime's tanh may end one unit in the last place beyond 1.
            samples = np.clip(samples, -1, 1)
        if ended is not None and ended.any():
            samples[ended] = np.nan
        return samples

    def restored(self, windows: np.ndarray) -> np.ndarray:
        """Return windows in the units of their table, (n, step, column); categories by their place among ``values``."""
        return restored(windows, self.spec["layout"]["columns"])

    def run(self, graph: str, given: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return what one of the graphs makes of tensors by their names.

        Raises:
            ValueError: if a tensor is missing, is of another shape, or holds a class that there is not; if the runtime
                fails, or makes another number of samples than it was asked for.
        """
        inputs = self.graphs[graph]["inputs"]
        n, tensors = self._fitting(graph, given)
        most = self.batch or n
        pieces = []
        for start in range(0, n, most):
            rows = np.minimum(np.arange(start, start + most), n - 1)  # filled up with copies of the last row
            placed = {of["name"]: taken(tensors[of["name"]], of["shape"], rows, n) for of in inputs}
            try:
                found = self.calls[graph](placed)
            except Exception as error:  # the runtimes' errors have no kind in common
                raise ValueError(f"the graph '{graph}' cannot be run on these inputs: {error}") from error
            if len(found) != len(rows):
                raise ValueError(f"{self.runtime} made {len(found)} rows of '{graph}', but {len(rows)} were asked for")
            pieces.append(found[: n - start])
        return np.concatenate(pieces) if len(pieces) > 1 else pieces[0]

    def distances(self) -> dict[str, float]:
        """Return how far each graph is from what PyTorch made of the numbers in ``check.npz``, by its name.

        Distances are those of values up to 1, of larger ones shares of the largest.

        Raises:
            ValueError: as `run`, or if the numbers cannot be read.
        """
        try:
            with np.load(self.folder / "check.npz", allow_pickle=False) as kept:
                known = {name: kept[name] for name in kept.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{self.folder / 'check.npz'} cannot be read: {error}") from error
        return {name: max(self._distances(name, known)) for name in self.graphs}

    def _distances(self, name: str, known: Mapping[str, np.ndarray]) -> Iterator[float]:
        """Yield the distance of a graph for all rows that are kept, and for the first alone."""
        inputs = self.graphs[name]["inputs"]
        given = {of["name"]: known.get(f"{name}/{of['name']}", np.empty(0)) for of in inputs}
        wanted = known.get(f"{name}/made", np.empty(0))
        for n in {len(wanted), 1}:
            few = {of["name"]: first(given[of["name"]], of["shape"], n) for of in inputs}
            made = self.run(name, few)
            yield distance(made, wanted[:n])

    def _fitting(self, graph: str, given: Mapping[str, np.ndarray]) -> tuple[int, dict[str, np.ndarray]]:
        """Return the number of rows, and the tensors as the graph takes them; raises as `run`.

        Runtimes let pass what does not fit: one row beside two is repeated, a class beyond the last is none or another.
        """
        found, rows = dict[str, np.ndarray](), dict[str, int]()
        for of in self.graphs[graph]["inputs"]:
            name, shape = of["name"], of["shape"]
            if name not in given:
                raise ValueError(f"the graph '{graph}' needs '{name}'")
            x = np.asarray(given[name])
            if of["kind"] == "labels":
                x = self._classes(x, shape)
            if x.ndim != len(shape) or any(b is not None and a != b for a, b in zip(x.shape, shape, strict=True)):
                asked = ", ".join("n" if size is None else str(size) for size in shape)
                raise ValueError(f"'{name}' is of shape {x.shape}, but it must be ({asked})")
            if None in shape:
                rows[name] = x.shape[shape.index(None)]
            found[name] = np.ascontiguousarray(x, dtype=of["type"])
        if len(set(rows.values())) != 1 or 0 in rows.values():
            told = ", ".join(f"'{name}' {count}" for name, count in rows.items())
            raise ValueError(f"all inputs must have the same number of rows, and at least one: {told}")
        return next(iter(rows.values())), found

    def _classes(self, labels: np.ndarray, shape: list[int | None]) -> np.ndarray:
        """Return classes as the graph takes them: their numbers, or a row of 0 and 1 for each; raises as `run`."""
        count = len(self.spec["classes"])
        if not np.issubdtype(labels.dtype, np.integer) or labels.ndim != 1:
            raise ValueError(f"labels are {labels.dtype} of shape {labels.shape}, but they must be whole numbers (n,)")
        if labels.size and not 0 <= labels.min() <= labels.max() < count:
            raise ValueError(
                f"labels are from {labels.min()} to {labels.max()}, but they must be from 0 to {count - 1}: "
                f"there are {count} classes"
            )
        return labels if len(shape) == 1 else np.eye(count, dtype=np.float32)[labels]


def distance(found: np.ndarray, wanted: np.ndarray) -> float:
    """Return the largest distance, of values beyond 1 as a share of the largest; NaN must be where NaN is wanted."""
    if found.shape != wanted.shape or (np.isnan(found) != np.isnan(wanted)).any():
        return math.inf
    size = max(1.0, float(np.nanmax(np.abs(wanted), initial=0.0)))
    return float(np.nanmax(np.abs(found - wanted), initial=0.0)) / size


def first(x: np.ndarray, shape: list[int | None], n: int) -> np.ndarray:
    """Return the first rows of a tensor; labels, which are kept as classes, have one axis."""
    return x if None not in shape or not x.size else x.take(np.arange(n), min(shape.index(None), x.ndim - 1))


def taken(x: np.ndarray, shape: list[int | None], rows: np.ndarray, n: int) -> np.ndarray:
    """Return chosen rows of a tensor, which lie along the axis that ``shape`` leaves open; without one, all of it."""
    return x if None not in shape or len(rows) == n else x.take(rows, shape.index(None))
