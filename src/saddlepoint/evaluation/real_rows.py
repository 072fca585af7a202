"""What figures need of the real features alone: computed once for all sets, and kept for later evaluations."""

from __future__ import annotations

import numpy as np
import torch

from saddlepoint.evaluation.protocol import Task
from saddlepoint.evaluation.sets import Bench
from saddlepoint.metrics.bootstrap import Estimate
from saddlepoint.metrics.extractors import Directed, Extractor, comparable
from saddlepoint.metrics.kernel import KernelSums, kernel_distance, sums_within
from saddlepoint.metrics.manifold import Known, manifold

USUAL = 10_000
"""Training rows up to which features of all are computed unasked: `imagenet-lite` sees them in under a minute."""


def training_features(bench: Bench, extractor: Extractor) -> np.ndarray:
    """Return the features of all training rows, (n, d), as the extractor gives them; they are kept."""
    train = bench.dataset.splits["train"].x
    name = f"training-{extractor.sha256[:16]}"
    kept = bench.kept_arrays(name, len(train))
    if kept is None or "x" not in kept or kept["x"].shape != (len(train), extractor.features):
        bench.detail(f"features of {len(train):,} training {bench.noun}, once")
        kept = {"x": extractor.extract(train).x}
        bench.keep_arrays(name, len(train), kept)
    return kept["x"]


def kernel_to_real(real: np.ndarray, fake: np.ndarray, task: Task) -> Estimate:
    """Return `kernel_distance` of the bench's real features (n, d) and others (m, d)."""
    name, kept = f"kernel-{_seen_by(task)}", None
    arrays = task.bench.kept_arrays(name, len(real))
    if arrays is not None and arrays.get("rows", np.zeros(0)).shape == (len(real),) and "squares" in arrays:
        rows = torch.from_numpy(arrays["rows"])
        kept = KernelSums(rows, rows, float(arrays["squares"]))
    if kept is None:
        kept = sums_within(real)
        task.bench.keep_arrays(name, len(real), {"rows": kept.rows.numpy(), "squares": np.array(kept.squares)})
    return kernel_distance(real, fake, within=kept)


def manifold_of_real(real: np.ndarray, fake: np.ndarray, task: Task) -> dict[str, Estimate]:
    """Return `manifold` of what is `comparable` of the bench's real features (n, d) and others (m, d)."""
    kind = "directions" if isinstance(task.extractor, Directed) else "neighbours"
    name = f"{kind}-{len(fake)}-{_seen_by(task)}"
    known = _read(task, name, len(real))
    before = dict(known)
    found = manifold(comparable(real, task.extractor), comparable(fake, task.extractor), known=known)
    if any(both is not before.get(key) for key, both in known.items()):
        arrays: dict[str, np.ndarray] = {}
        for key, (squares, indices) in known.items():
            arrays |= {f"{key}/squares": squares.numpy(), f"{key}/indices": indices.int().numpy()}
        task.bench.keep_arrays(name, len(real), arrays)
    return found


def _read(task: Task, name: str, n: int) -> Known:
    """Return what is kept; nothing where it is not whole."""
    arrays = task.bench.kept_arrays(name, n) or {}
    known: Known = {}
    for key in {name.rsplit("/", 1)[0] for name in arrays}:
        squares, indices = arrays.get(f"{key}/squares"), arrays.get(f"{key}/indices")
        if squares is None or indices is None or squares.shape != indices.shape or squares.ndim != 2:
            return {}
        known[key] = torch.from_numpy(squares), torch.from_numpy(indices).long()
    return known


def _seen_by(task: Task) -> str:
    return "coordinates" if task.extractor is None else task.extractor.sha256[:16]
