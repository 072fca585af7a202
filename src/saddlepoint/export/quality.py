"""What weights in 16 bits cost: distances between samples, and the project's own figure of quality for both."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saddlepoint.core.cache import cache_dir
from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.core.progress import Say, duration
from saddlepoint.engine.machine import runtime
from saddlepoint.export.parity import affordable
from saddlepoint.run.run import Run

SAMPLES = 256
"""Samples whose values are compared; of large images fewer."""

PATIENCE = 600
"""Seconds of processor time that the samples for a figure of quality may take."""

MOST = 5e-3
"""Largest distance of values in [-1, 1] that is taken for smaller files: two thirds of a level of a byte."""

_PROTOCOLS = ("fd", "forecast")
"""Figures, the first that fits the data: Fréchet distance; of series the error of forecasts."""


def cost_of_fp16(run: Run, folder: Path, measure: bool, say: Say) -> dict[str, Any] | None:
    """Compare the generator with weights in 16 bits with the one in 32; None if there is none.

    Args:
        run: whose generator it is.
        folder: with ``model.json`` and its files.
        measure: whether to measure quality, if the data is there.
        say: receives one line.

    Returns:
        Largest and mean distance of values, sizes of the files, and the protocol's figure of both with intervals;
        samples of both are made from the same numbers, so that the difference is less uncertain than either.
    """
    from saddlepoint.export.sampler.generator import Generator

    whole = Generator(folder, threads=1, runtime="onnxruntime")
    graphs = [graph for graph in whole.spec["graphs"] if graph["half"]]
    if not graphs:
        return None
    fp16 = Generator(folder, half=True, threads=1, runtime="onnxruntime")
    n = affordable(SAMPLES, run.family.data.shape)
    started = time.thread_time()
    one, other = (_made(run, exported, n, 0) for exported in (whole, fp16))
    seconds = (time.thread_time() - started) / n
    gaps = np.abs(one - other) / max(1.0, float(np.nanmax(np.abs(one))))
    found: dict[str, Any] = {
        "bytes": sum(graph["half"]["bytes"] for graph in graphs),
        "bytes_whole": sum(graph["bytes"] for graph in graphs),
        "largest": float(np.nanmax(gaps)),
        "mean": float(np.nanmean(gaps)),
    }
    say(f"16 bits: values at most {found['largest']:.1e} away, {found['mean']:.1e} in the mean")
    measure = measure and found["largest"] <= MOST
    return found | (_figures(run, whole, fp16, seconds, say) if measure else {})


def _made(run: Run, exported: Any, n: int, seed: int) -> np.ndarray:
    """Return samples of the files from the numbers that (seed) determines, in pieces."""
    rng = np.random.default_rng(runtime.seed_for("half", seed))
    given = run.inputs(n, seed=seed).numpy()
    labels = exported.labels(n, rng)
    pieces = []
    for start in range(0, n, 250):
        for part in runtime.pieces(start, min(start + 250, n), run.family.data.shape):
            noise = exported.noise("model", part.stop - part.start, rng)
            pieces.append(exported.generate(given[part], None if labels is None else labels[part], noise))
    return np.concatenate(pieces)


def _figures(run: Run, whole: Any, fp16: Any, seconds: float, say: Say) -> dict[str, Any]:
    """Measure both generators; control rows, which a report would have beside them, say nothing of the difference.

    Nothing is measured where the samples, so many ``seconds`` each of both, would take longer than `PATIENCE`.
    """
    from saddlepoint.evaluation.protocol import task_of
    from saddlepoint.evaluation.sets import Bench, Subject

    try:
        dataset = run.dataset()
    except DataError as error:
        say(f"16 bits: quality was not measured, because the data is not here ({error})")
        return {}
    subjects = [Subject(name, partial(_sample, run, of)) for name, of in (("whole", whole), ("half", fp16))]
    for name in _PROTOCOLS:
        try:
            tasks = [
                task_of(name, Bench(one, dataset, 0, cache_dir=cache_dir() / "controls", say=say)) for one in subjects
            ]
            if (needed := seconds * tasks[0][1].n) > PATIENCE:
                say(
                    f"16 bits: quality was not measured, because {tasks[0][1].n:,} samples of both would take "
                    f"{duration(needed, about=True)}"
                )
                return {}
            rows = [protocol.measure(protocol.model(task.bench, task.n), task)[0] for protocol, task in tasks]
        except (ConfigError, DataError):
            continue
        full = tasks[0][0].full_name(tasks[0][1])
        say(f"16 bits: {full} {rows[0].value:.4g} becomes {rows[1].value:.4g}")
        kept = [{"value": row.value, "interval": None if row.interval is None else list(row.interval)} for row in rows]
        return {"protocol": full, "metric": rows[0].metric, "whole": kept[0], "half": kept[1]}
    return {}


def _sample(run: Run, exported: Any, n: int, seed: int) -> Tensor:
    return torch.from_numpy(_made(run, exported, n, seed))
