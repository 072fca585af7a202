"""The pictures of a run: which samples they show, and where they are kept. `saddlepoint.figures` lays them out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from saddlepoint.core.durable import make_folder
from saddlepoint.core.errors import ConfigError, suggest
from saddlepoint.core.files import snapshots_in, written
from saddlepoint.core.quoting import for_file_name
from saddlepoint.data.images.write import KINDS
from saddlepoint.data.series.samples import FORMATS
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.figures import grids, plots, snapshots
from saddlepoint.run import show
from saddlepoint.run.conditional import Asked
from saddlepoint.run.generator import check_truncation
from saddlepoint.run.request import Picture, SampleRequest
from saddlepoint.run.run import Run
from saddlepoint.run.sample_files import depth_of
from saddlepoint.run.samples import sheets
from saddlepoint.run.samples.neighbours import Neighbours

_USUAL = {
    "grid": 64, "filmstrip": 10, "neighbours": 36, "interpolation": 8, "styles": 5, "truncation": 6, "references": 6,
}  # fmt: skip
_PICTURES = (".png", ".jpg", ".jpeg", ".webp")
_ROWS = 8
_FILES = 100


def draw(run: Run, picture: str = "grid", n: int | None = None, **asked: Any) -> Path:
    """Draw one picture of a run, or write what it shows as arrays or as files, and return where it is.

    Args:
        run: the run.
        picture: one of `Picture`.
        n: samples; see `SampleRequest`.
        asked: further fields of a `SampleRequest`.

    Raises:
        ConfigError, DataError: as `carry_out`.
    """
    return carry_out(run, SampleRequest(picture=Picture(picture), n=n, **asked))


def carry_out(run: Run, request: SampleRequest) -> Path:
    """Draw what is asked for, and return where it is.

    Arrays of a grid are what `Run.sample` returns: where no label is asked for, labels in the shares of the data.

    Raises:
        ConfigError: on another ending, a folder that is not empty, a class that does not exist, or styles, references
            or a truncation that the generator does not take.
        DataError: if samples are not finite, or the run has no snapshots.
    """
    picture, kind, out, series = request.picture, request.kind, request.out, run.family.data.modality == "sequence"
    check_truncation(run.family, request.truncation)
    if request.truncation is not None and picture != "grid":
        raise ConfigError(f"picture is '{picture}', but a truncation is for samples; leave one of them out")
    if run.family.data.modality == "image" and (kind in KINDS or _is_folder(out)):
        return _files(run, request, kind or "png")
    table = kind or ("" if out is None else out.suffix.lower().removeprefix("."))
    asked = Asked(request.given, request.fill, request.length, request.start)
    if asked.more:
        asked.check(run)
        kind = table = table or "csv"
    if kind is not None or table in ("csv", "parquet") or (table == "npz" and series):
        return _table(run, request, table)
    if request.start is not None:
        raise ConfigError("a start is for files of series: give --format csv, or leave --start out")
    if out is not None and out.suffix == ".npz":
        n = _count(run, picture, request.n, request.label)
        labels = run.labels(n, seed=request.seed, label=request.label) if picture == "grid" else None
        one = labels if labels is not None and labels.ndim == 1 else None
        return grids.save_arrays(out, _arrays(run, request, n), one, whole=depth_of(run) > 8)
    check_ending(out)
    path = out or folder_of(run) / f"{picture}{_which(request.label)}-seed{request.seed}.png"
    return save(made(run, picture, request.n, **request.sampling()), path)


def check_ending(out: Path | None) -> None:
    """Raise a `ConfigError` if a name is not that of a picture."""
    if out is not None and out.suffix.lower() not in _PICTURES:
        raise ConfigError(
            f"'{out}' should end in .png (or .jpg, .webp) for a picture or .npz for arrays, or name a folder"
        )


def save(picture: Image.Image, path: Path) -> Path:
    """Write a picture, whose ending says its kind, and return its path; its folder is made if missing."""
    make_folder(path.parent)
    with written(path) as place:
        if path.suffix.lower() in (".jpg", ".jpeg"):
            grids.flat(picture).save(place, quality=95)
        elif path.suffix.lower() == ".webp":
            picture.save(place, lossless=True)
        else:
            picture.save(place)
    return path


def folder_of(run: Run) -> Path:
    """Return the folder of a run's pictures, which is made if it is not there."""
    return RunFolder(run.path).own("pictures")


def _which(label: int | str | None) -> str:
    """Return the part of a file's name that says which class was asked for."""
    return "" if label is None else f"-{for_file_name(str(label))}"


def made(
    run: Run, picture: str, n: int | None = None, *, seed: int = 0, label: int | str | None = None,
    truncation: float | None = None,
) -> Image.Image:  # fmt: skip
    """Return one picture of a run; arguments and errors as in `draw`."""
    n = _count(run, picture, n, label)
    if run.family.data.modality == "sequence" and picture != "filmstrip":
        drawn = {"grid": _paths, "neighbours": _nearest_paths, "interpolation": _walked_paths}
        if picture not in drawn:
            raise ConfigError(f"picture is '{picture}', but of series there are: {', '.join(drawn)}, filmstrip")
        return drawn[picture](run, n, seed, label)
    kinds: dict[str, Callable[[], Image.Image]] = {
        "grid": lambda: _grid(run, n, seed, label, truncation),
        "filmstrip": lambda: snapshots.filmstrip(run.path / "samples", columns=n),
        "neighbours": lambda: _nearest(run, n, seed, label),
    }
    if picture in sheets.SHEETS:
        return sheets.sheet(run, picture, n, seed, label).drawn()
    return kinds[picture]()


def _nearest(run: Run, n: int, seed: int, label: int | str | None) -> Image.Image:
    columns = min(n, 6)
    headings = ["samples", *[""] * (columns - 1), "nearest"]
    return grids.neighbours(
        run.sample(n, seed=seed, label=label), in_bytes(run), columns, headings=headings, look=Neighbours(run).look
    )


def _is_folder(out: Path | None) -> bool:
    return out is not None and (not out.suffix or out.is_dir())


def _files(run: Run, request: SampleRequest, kind: str) -> Path:
    """Write samples as a file each."""
    out, name = request.out, f"samples{_which(request.label)}-seed{request.seed}"
    if request.picture != "grid":
        raise ConfigError(f"picture is '{request.picture}', but a folder holds samples only; leave --picture out")
    if out is not None and not _is_folder(out):
        raise ConfigError(f"format is {kind}, which writes a folder of files, but '{out}' is a file; name a folder")
    path = out or RunFolder(run.path).own("pictures", name)
    return run.write(path, request.n or _FILES, kind=kind, **request.sampling())


def _table(run: Run, request: SampleRequest, kind: str) -> Path:
    """Write samples of series as a file."""
    if request.picture != "grid":
        raise ConfigError(
            f"picture is '{request.picture}', but a file of series holds samples only; leave --picture out"
        )
    if kind not in FORMATS:
        raise ConfigError(f"format is '{kind}'; {suggest(kind, FORMATS)}")
    path = request.out or RunFolder(run.path).own("samples") / f"samples-seed{request.seed}.{kind}"
    if path.suffix.lower() != f".{kind}":
        raise ConfigError(f"format is {kind}, but '{path}' ends in '{path.suffix}'; leave one of them out")
    asked = Asked(request.given, request.fill, request.length, request.start)
    return run.write(
        path, request.n or asked.usual(run), seed=request.seed, label=request.label, start=request.start,
        given=request.given, fill=request.fill, length=request.length,
    )  # fmt: skip


def _paths(run: Run, n: int, seed: int, label: int | str | None) -> Image.Image:
    x, layout = run.sample(n, seed=seed, label=label).numpy(), run.layout
    train = run.dataset().splits["train"].x
    return plots.paths(layout.restore(x), layout.restore(plots.spread(train, n)), [c.name for c in layout.columns])


def _nearest_paths(run: Run, n: int, seed: int, label: int | str | None) -> Image.Image:
    x, layout = run.sample(min(n, _ROWS), seed=seed, label=label).numpy(), run.layout
    train = run.dataset().splits["train"].x
    index, _ = grids.nearest(np.nan_to_num(x), np.nan_to_num(train))
    pairs = np.stack([layout.restore(train[index]), layout.restore(x)], axis=1)
    return plots.rows(pairs, [c.name for c in layout.columns], ("nearest in training", "sample"))


def _walked_paths(run: Run, n: int, seed: int, label: int | str | None) -> Image.Image:
    layout, x = run.layout, sheets.sheet(run, "interpolation", min(n, _ROWS), seed, label).samples.numpy()
    walks = layout.restore(x).reshape(-1, sheets.STEPS, *x.shape[1:])
    return plots.rows(walks, [c.name for c in layout.columns])


def translation(run: Run, images: Tensor, *, seed: int = 0) -> Image.Image:
    """Show given images in the first column and each of the generator's domains, which a heading names, in its own.

    Args:
        run: with a generator that transforms images.
        images: (n, *sample) in [-1, 1].
        seed: of the style, where a domain has several.

    Raises:
        ConfigError: if the generator does not transform images.
    """
    if run.family.tags.input != "image":
        raise ConfigError(
            f"family '{run.family.name}' makes images from noise; only families of translation take images"
        )
    columns = [images]
    for domain in range(run.family.classes):
        columns.append(run.generate(images, torch.full((len(images),), domain), seed=seed))
    headings = ["input", *run.family.data.classes[: run.family.classes]]
    return grids.grid(torch.stack(columns, 1).flatten(0, 1), len(columns), headings=headings)


def in_bytes(run: Run) -> np.ndarray:
    """Return the training images as pictures show them, in 8 bits."""
    return run.dataset().in_bytes().splits["train"].x


def _count(run: Run, picture: str, n: int | None, label: int | str | None) -> int:
    if label is not None and picture == "filmstrip":
        raise ConfigError("a filmstrip shows the snapshots of training; leave the label out")
    return n or (_usual_grid(run, label) if picture == "grid" else _USUAL[picture])


def _arrays(run: Run, request: SampleRequest, n: int) -> Tensor | np.ndarray:
    """Return what a picture shows as an array: samples, snapshots, neighbours or the interpolated images."""
    picture = request.picture
    if picture == "filmstrip":
        return np.concatenate(
            [snapshots.read_snapshot(path)[:n] for path in snapshots_in(run.path / "samples").values()]
        )
    if picture in sheets.SHEETS:
        return sheets.sheet(run, picture, n, request.seed, request.label).samples
    samples = run.sample(n, **request.sampling())
    if picture == "grid":
        return samples
    train = in_bytes(run)
    indices = Neighbours(run).look(grids.to_uint8(samples))
    return np.stack([grids.to_uint8(samples), train[indices]], axis=1).reshape(-1, *train.shape[1:])


def _usual_grid(run: Run, label: int | str | None) -> int:
    columns = grids.class_columns(run.family.classes)
    return columns * _ROWS if columns and label is None else _USUAL["grid"]


def _grid(run: Run, n: int, seed: int, label: int | str | None, truncation: float | None) -> Image.Image:
    """A class in each column where there are few; vectors as points over the data; translations beside their inputs."""
    if run.family.tags.input == "image" and truncation is None:
        return _translated(run, n, seed, label)
    if run.family.data.modality == "vector":
        samples = run.sample(n, seed=seed, label=label, truncation=truncation)
        return grids.scatter(samples, run.dataset().splits["train"].x)
    return show.sheet(run, n, seed=seed, label=label, truncation=truncation)


def _translated(run: Run, n: int, seed: int, label: int | str | None) -> Image.Image:
    """About ``n`` images: each row an input and its translations, or with a label pairs of an input and one of them."""
    if label is None:
        return translation(run, run.inputs(max(1, n // (1 + run.family.classes)), seed=seed), seed=seed)
    inputs = run.inputs(max(1, n // 2), seed=seed)
    found = run.generate(inputs, run.labels(len(inputs), label=label), seed=seed)
    columns = min(_ROWS, 2 * len(inputs))
    headings = ["input", str(label)] * (columns // 2)
    return grids.grid(torch.stack([inputs, found], 1).flatten(0, 1), columns, headings=headings)
