"""The pictures of a run: which samples they show, and where they are kept. `explore` lays them out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saddlepoint import curves, explore
from saddlepoint._errors import ConfigError, suggest
from saddlepoint.data.series_samples import FORMATS
from saddlepoint.run import Run

_STEPS = 10
_USUAL = {"grid": 64, "filmstrip": 10, "neighbours": 36, "interpolation": 8}
_ROWS = 8
_WINDOWS = 1000


def draw(
    run: Run,
    picture: str,
    n: int | None = None,
    *,
    seed: int = 0,
    label: int | str | None = None,
    out: Path | None = None,
    kind: str | None = None,
) -> Path:
    """Draw one picture of a run, or write what it shows as arrays, and return where it is.

    Args:
        run: the run.
        picture: grid, filmstrip, neighbours or interpolation.
        n: samples; columns of a filmstrip, rows of an interpolation; None: as many as look well.
        seed: of the samples.
        label: index or name of one class, for a conditional generator; None: a column or a row for each class.
        out: a file ending in .png or .npz, of series also .csv or .parquet; None: in the run folder.
        kind: csv, parquet or npz: write the samples of series in the units of their data; None: by ``out``.

    Raises:
        ConfigError: on another ending, or a class that does not exist.
        DataError: if samples are not finite, or the run has no snapshots.
    """
    if label is not None and picture == "filmstrip":
        raise ConfigError("a filmstrip shows the snapshots of training; leave the label out")
    table = kind or ("" if out is None else out.suffix.lower().removeprefix("."))
    if kind is not None or table in ("csv", "parquet") or (table == "npz" and run.family.data.modality == "sequence"):
        if picture != "grid":
            raise ConfigError(f"picture is '{picture}', but a file of series holds samples only; leave --picture out")
        if table not in FORMATS:
            raise ConfigError(f"format is '{table}'; {suggest(table, FORMATS)}")
        path = out or run.path / "samples" / f"samples-seed{seed}.{table}"
        if path.suffix.lower() != f".{table}":
            raise ConfigError(f"format is {table}, but '{path}' ends in '{path.suffix}'; leave one of them out")
        return run.write(path, n or _WINDOWS, seed=seed, label=label)
    n = n or (_usual_grid(run, label) if picture == "grid" else _USUAL[picture])
    if out is not None and out.suffix == ".npz":
        return explore.save_arrays(out, _arrays(run, picture, n, seed, label))
    if out is not None and out.suffix != ".png":
        raise ConfigError(f"'{out}' should end in .png for a picture or .npz for arrays")
    if run.family.data.modality == "sequence" and picture != "filmstrip":
        draw_series = {"grid": _paths, "neighbours": _nearest_paths, "interpolation": _walked_paths}[picture]
        kinds = {picture: lambda: draw_series(run, n, seed, label)}
    else:
        kinds = _kinds(run, n, seed, label)
    which = f"-{label}" if label is not None else ""
    path = out or run.path / "pictures" / f"{picture}{which}-seed{seed}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    kinds[picture]().save(path)
    return path


def _kinds(run: Run, n: int, seed: int, label: int | str | None) -> dict[str, Callable[[], Any]]:
    return {
        "grid": lambda: _grid(run, n, seed, label),
        "filmstrip": lambda: explore.filmstrip(run.path / "samples", columns=n),
        "neighbours": lambda: explore.neighbours(
            run.sample(n, seed=seed, label=label), run.dataset().splits["train"].x, columns=min(n, 6)
        ),
        "interpolation": lambda: explore.grid(_interpolated(run, n, seed, label), _STEPS),
    }


def _paths(run: Run, n: int, seed: int, label: int | str | None) -> Any:
    x, layout = run.sample(n, seed=seed, label=label).numpy(), run.layout
    train = run.dataset().splits["train"].x
    return curves.paths(layout.restore(x), layout.restore(curves.spread(train, n)), [c.name for c in layout.columns])


def _nearest_paths(run: Run, n: int, seed: int, label: int | str | None) -> Any:
    x, layout = run.sample(min(n, _ROWS), seed=seed, label=label).numpy(), run.layout
    train = run.dataset().splits["train"].x
    index, _ = explore.nearest(np.nan_to_num(x), np.nan_to_num(train))
    pairs = np.stack([layout.restore(train[index]), layout.restore(x)], axis=1)
    return curves.rows(pairs, [c.name for c in layout.columns], ("nearest in training", "sample"))


def _walked_paths(run: Run, n: int, seed: int, label: int | str | None) -> Any:
    layout, x = run.layout, _interpolated(run, min(n, _ROWS), seed, label).numpy()
    walks = layout.restore(x).reshape(-1, _STEPS, *x.shape[1:])
    return curves.rows(walks, [c.name for c in layout.columns])


def _arrays(run: Run, picture: str, n: int, seed: int, label: int | str | None) -> Tensor | np.ndarray:
    """Return what a picture shows as an array: samples, snapshots, neighbours or the interpolated images."""
    if picture == "filmstrip":
        paths = sorted((run.path / "samples").glob("step*.png"))
        return np.concatenate([explore.read_snapshot(path)[:n] for path in paths])
    if picture == "interpolation":
        return _interpolated(run, n, seed, label)
    samples = run.sample(n, seed=seed, label=label)
    if picture == "grid":
        return samples
    train = run.dataset().splits["train"].x
    indices, _ = explore.nearest(explore.to_uint8(samples), train)
    return np.stack([explore.to_uint8(samples), train[indices]], axis=1).reshape(-1, *train.shape[1:])


def _usual_grid(run: Run, label: int | str | None) -> int:
    columns = explore.class_columns(run.family.classes)
    return columns * _ROWS if columns and label is None else _USUAL["grid"]


def _grid(run: Run, n: int, seed: int, label: int | str | None) -> Any:
    """A class in each column where there are few; vectors as points over the data."""
    columns = explore.class_columns(run.family.classes) if label is None else None
    labels = torch.arange(n) % columns if columns else run.labels(n, seed=seed, label=label)
    samples = run.generate(run.inputs(n, seed=seed), labels, seed=seed)
    if run.family.data.modality == "vector":
        return explore.scatter(samples, run.dataset().splits["train"].x)
    return explore.grid(samples, columns)


def _interpolated(run: Run, rows: int, seed: int, label: int | str | None) -> Tensor:
    """Walk along straight lines in z; the label of a row stays: the one asked for, else one class after another."""
    z0, z1 = run.inputs(2 * rows, seed=seed).split(rows)
    labels = run.labels(rows, seed=seed, label=label)
    if labels is not None and label is None:
        labels = torch.arange(rows) % run.family.classes
    steps = explore.walk(z0.flatten(1), z1.flatten(1), _STEPS).unflatten(1, z0.shape[1:])
    return run.generate(steps, None if labels is None else labels.repeat_interleave(_STEPS), seed=seed)
