"""The pictures of a run: which samples they show, and where they are kept. `explore` lays them out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from saddlepoint.core.errors import ConfigError, DataError, suggest
from saddlepoint.core.files import snapshots_in, write_atomically, written
from saddlepoint.core.quoting import for_file_name, for_shell
from saddlepoint.data.images.write import KINDS
from saddlepoint.data.options import preparation_of
from saddlepoint.data.series.samples import FORMATS
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.figures import grids, plots, snapshots, video
from saddlepoint.run import show
from saddlepoint.run.run import Run, check_truncation
from saddlepoint.run.samples import sheets
from saddlepoint.run.samples.latent import REACH, Explorer, Projection, View

_COLUMNS = 7
_USUAL = {
    "grid": 64, "filmstrip": 10, "neighbours": 36, "interpolation": 8, "styles": 5, "truncation": 6, "references": 6,
}  # fmt: skip
FILMS = (".gif", ".mp4")
"""Endings of films."""
_PICTURES = (".png", ".jpg", ".jpeg", ".webp")
_LARGE = 224
"""Pixels to which a picture of one sample is enlarged about, as the frames of films are."""
_ROWS = 8
WINDOWS = 1000
_MOST_PAIRED = 1_000_000
"""Samples of which a report may compare the nearest."""
_FILES = 100


def draw(
    run: Run,
    picture: str,
    n: int | None = None,
    *,
    seed: int = 0,
    label: int | str | None = None,
    out: Path | None = None,
    kind: str | None = None,
    truncation: float | None = None,
    start: str | None = None,
) -> Path:
    """Draw one picture of a run, or write what it shows as arrays or as files, and return where it is.

    Arrays of a grid are what `Run.sample` returns: where no label is asked for, labels in the shares of the data.

    Args:
        run: the run.
        picture: grid, filmstrip, neighbours, interpolation, styles, truncation or references.
        n: samples; columns of a filmstrip, rows of an interpolation or of a truncation, rows and columns of styles and
            references; None: as many as look well.
        seed: of the samples.
        label: index or name of one class, for a conditional generator; None: a column or a row for each class.
        out: a file ending in .png, .jpg, .webp or .npz, of series also .csv or .parquet; of images a folder for a file
            each; None: in the run folder.
        kind: csv, parquet or npz: write the samples of series in the units of their data; png, jpg or webp: write
            images as a file each; None: by ``out``.
        truncation: of a grid or files; see `Run.sample`.
        start: of a file of series: time of the first step; see `Run.write`.

    Raises:
        ConfigError: on another ending, a folder that is not empty, a class that does not exist, or styles, references
            or a truncation that the generator does not take.
        DataError: if samples are not finite, or the run has no snapshots.
    """
    check_truncation(run.family, truncation)
    if truncation is not None and picture != "grid":
        raise ConfigError(f"picture is '{picture}', but a truncation is for samples; leave one of them out")
    if run.family.data.modality == "image" and (kind in KINDS or _is_folder(out)):
        return _files(run, picture, kind or "png", n, out, seed=seed, label=label, truncation=truncation)
    table = kind or ("" if out is None else out.suffix.lower().removeprefix("."))
    if kind is not None or table in ("csv", "parquet") or (table == "npz" and run.family.data.modality == "sequence"):
        return _table(run, picture, table, n, out, seed=seed, label=label, start=start)
    if start is not None:
        raise ConfigError("a start is for files of series: give --format csv, or leave --start out")
    if out is not None and out.suffix == ".npz":
        n = _count(run, picture, n, label)
        labels = run.labels(n, seed=seed, label=label) if picture == "grid" else None
        one = labels if labels is not None and labels.ndim == 1 else None
        shown = run.sample(n, seed=seed, label=label, truncation=truncation) if truncation is not None else None
        kept = _arrays(run, picture, n, seed, label) if shown is None else shown
        return grids.save_arrays(out, kept, one, whole=depth_of(run) > 8)
    check_ending(out)
    path = out or _pictures(run) / f"{picture}{_which(label)}-seed{seed}.png"
    return save(made(run, picture, n, seed=seed, label=label, truncation=truncation), path)


def check_ending(out: Path | None) -> None:
    """Raise a `ConfigError` if a name is not that of a picture."""
    if out is not None and out.suffix.lower() not in _PICTURES:
        raise ConfigError(
            f"'{out}' should end in .png (or .jpg, .webp) for a picture or .npz for arrays, or name a folder"
        )


def save(picture: Image.Image, path: Path) -> Path:
    """Write a picture, whose ending says its kind, and return its path; its folder is made if missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written(path) as place:
        if path.suffix.lower() in (".jpg", ".jpeg"):
            grids.flat(picture).save(place, quality=95)
        elif path.suffix.lower() == ".webp":
            picture.save(place, lossless=True)
        else:
            picture.save(place)
    return path


def _pictures(run: Run) -> Path:
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
    return grids.neighbours(run.sample(n, seed=seed, label=label), _train(run), columns, headings=headings)


def _is_folder(out: Path | None) -> bool:
    return out is not None and (not out.suffix or out.is_dir())


def _files(run: Run, picture: str, kind: str, n: int | None, out: Path | None, **sampling: Any) -> Path:
    """Write samples as a file each."""
    if picture != "grid":
        raise ConfigError(f"picture is '{picture}', but a folder holds samples only; leave --picture out")
    if out is not None and not _is_folder(out):
        raise ConfigError(f"format is {kind}, which writes a folder of files, but '{out}' is a file; name a folder")
    name = f"samples{_which(sampling['label'])}-seed{sampling['seed']}"
    path = out or RunFolder(run.path).own("pictures", name)
    return run.write(path, n or _FILES, kind=kind, **sampling)


def _table(run: Run, picture: str, kind: str, n: int | None, out: Path | None, **sampling: Any) -> Path:
    """Write samples of series as a file."""
    if picture != "grid":
        raise ConfigError(f"picture is '{picture}', but a file of series holds samples only; leave --picture out")
    if kind not in FORMATS:
        raise ConfigError(f"format is '{kind}'; {suggest(kind, FORMATS)}")
    path = out or RunFolder(run.path).own("samples") / f"samples-seed{sampling['seed']}.{kind}"
    if path.suffix.lower() != f".{kind}":
        raise ConfigError(f"format is {kind}, but '{path}' ends in '{path.suffix}'; leave one of them out")
    return run.write(path, n or WINDOWS, **sampling)


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


def copies(run: Run, most: int = 18) -> tuple[Image.Image, list[float]]:
    """Show the samples that an evaluation found closest to training images, each beside that image in a yellow frame.

    Args:
        run: an evaluated run.
        most: pairs.

    Returns:
        The picture, and the distance of each pair as the report gives it, smallest first.

    Raises:
        DataError: if the run was not measured for memorisation, or its data cannot be found.
    """
    from saddlepoint.evaluation import read_results
    from saddlepoint.evaluation.rows import kind_of

    for result in reversed(read_results(RunFolder(run.path).report / "metrics.jsonl")):
        found = [row.details["pairs"] for row in result.rows if row.role == "model" and row.details.get("pairs")]
        if kind_of(result.protocol) == "memorisation" and found:
            train = _train(run)
            own, nearest, distances = _pairs(found[0][:most], len(train), run)
            drawn = grids.to_uint8(run.sample(max(own) + 1, seed=result.seed))
            images = np.stack([np.stack([drawn[int(i)], train[int(j)]]) for i, j in zip(own, nearest, strict=True)])
            images = images.reshape(-1, *images.shape[2:])
            frames, headings = set(range(1, len(images), 2)), ["sample", "training"] * 6
            return grids.tile(images, 12, frames=frames, headings=headings), [float(d) for d in distances]
    raise DataError(
        f"'{run.path.name}' was not measured for memorisation; run {for_shell('saddle', 'evaluate', run.path)}"
    )


def draw_view(explorer: Explorer, view: View, frames: int = 60, out: Path | None = None) -> Path:
    """Draw a place in latent space, a film along its path, or what every direction does to it; return where it is.

    Args:
        explorer: of the run.
        view: the place.
        frames: of a film.
        out: a file ending in .png for the place, in .gif or .mp4 for the path; None: the sheet of directions, below
            ``pictures/`` in the run folder.

    Raises:
        ConfigError: on another ending, and as `Explorer.sample`.
    """
    if out is not None and out.suffix not in (".png", *FILMS):
        raise ConfigError(f"'{out}' should end in .png for a picture, or in .gif or .mp4 for a film")
    path = out or _pictures(explorer.run) / f"directions-seed{view.points[0].seed}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in FILMS:
        # A film has no opacity.
        shots = [frame(explorer, sample, see_through=False) for sample in explorer.path(view, frames)]
        write_atomically(path, video.film(shots, kind=path.suffix[1:]))
    elif out is not None:
        save(frame(explorer, explorer.sample(view)[0], large=True), path)
    elif explorer.family.data.modality != "image":
        raise ConfigError("a sheet of directions shows images; give --out FILE.png or FILE.gif for points")
    else:
        save(_sheet(explorer, view), path)
    return path


def frame(explorer: Explorer, sample: Tensor, *, see_through: bool = True, large: bool = False) -> Image.Image:
    """Return a sample as a picture: an image as it is, a point among the generator's other samples.

    Args:
        explorer: of the run.
        sample: in the inside range.
        see_through: keep its opacity, else lay it on a chequered ground.
        large: enlarge small images by a whole number, to the size of a film.
    """
    if explorer.family.data.modality == "image":
        scale = grids.fitting_scale(max(sample.shape[1:]), _LARGE) if large else 1
        return grids.single(sample, see_through=see_through, scale=scale)
    return grids.scatter(sample[None], explorer.run.sample(1000).numpy(), ("the generator's samples", "this point"))


def _sheet(explorer: Explorer, view: View) -> Image.Image:
    samples, columns = grids.to_uint8(explorer.sheet(view, columns=_COLUMNS)), _COLUMNS
    captions = [f"direction {number}" for number in range(1, len(samples) // columns + 1)]
    headings = [f"{amount:+g}" if amount else "0" for amount in np.linspace(-REACH, REACH, columns)]
    return grids.tile(samples, columns, captions=captions, headings=headings)


def draw_projection(
    explorer: Explorer,
    files: Sequence[tuple[str, bytes]],
    label: int | str | None = None,
    *,
    seed: int = 0,
    out: Path | None = None,
) -> tuple[Path, Projection]:
    """Look for given pictures in latent space; draw them above what was found; return where that is, and the points.

    Beside the PNG an npz of the same name holds ``codes`` (as `Projection` has them), ``losses`` and ``mean_losses``,
    and NAME-losses.png draws how they fell.

    Args:
        explorer: of the run.
        files: (name, content) of image files.
        label: class of all of them.
        seed: of the search.
        out: a file ending in .png; None: below ``pictures/`` in the run folder, named after the first file.

    Raises:
        DataError: if a picture cannot be read.
        ConfigError: on another ending.
    """
    if out is not None and out.suffix != ".png":
        raise ConfigError(f"'{out}' should end in .png")
    images = explorer.run.read_pictures(files)
    found = explorer.project(images, label, seed=seed)
    path = out or _pictures(explorer.run) / f"projection-{for_file_name(Path(files[0][0]).stem)}.png"
    save(projection(images, found), path)
    curve = plots.losses(found.losses.numpy(), found.mean_losses.numpy())
    save(curve, path.with_name(f"{path.stem}-losses.png"))
    with written(path.with_suffix(".npz")) as place:
        np.savez(place, codes=found.codes.numpy(), losses=found.losses.numpy(), mean_losses=found.mean_losses.numpy())
    return path, found


def projection(images: Tensor, found: Projection) -> Image.Image:
    """Show given images above what the generator makes at the points nearest to them."""
    return grids.grid(torch.cat([images, found.samples]), len(images), captions=["given", "found"])


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


def _pairs(found: Any, rows: int, run: Run) -> tuple[list[int], list[int], list[float]]:
    """Return the samples, training rows and distances of pairs that a report keeps.

    Raises:
        DataError: if there are no such samples and rows.
    """
    try:
        own, nearest, distances = zip(*found, strict=True)
        if not all(0 <= int(i) < _MOST_PAIRED for i in own) or not all(0 <= int(j) < rows for j in nearest):
            raise ValueError("it names samples or rows that there are not")
        return list(map(int, own)), list(map(int, nearest)), list(map(float, distances))
    except (TypeError, ValueError, OverflowError) as error:
        line = for_shell("saddle", "evaluate", run.path)
        raise DataError(f"the report of '{run.path.name}' is damaged ({error}); run {line}") from error


def depth_of(run: Run) -> int:
    """Return how many bits of a value the data of a run keeps: 8 or 16."""
    return preparation_of(run.config["data"]).get("depth") or 8


def _train(run: Run) -> np.ndarray:
    """Return the training images as pictures show them, in 8 bits."""
    return run.dataset().in_bytes().splits["train"].x


def _count(run: Run, picture: str, n: int | None, label: int | str | None) -> int:
    if label is not None and picture == "filmstrip":
        raise ConfigError("a filmstrip shows the snapshots of training; leave the label out")
    return n or (_usual_grid(run, label) if picture == "grid" else _USUAL[picture])


def _arrays(run: Run, picture: str, n: int, seed: int, label: int | str | None) -> Tensor | np.ndarray:
    """Return what a picture shows as an array: samples, snapshots, neighbours or the interpolated images."""
    if picture == "filmstrip":
        return np.concatenate(
            [snapshots.read_snapshot(path)[:n] for path in snapshots_in(run.path / "samples").values()]
        )
    if picture in sheets.SHEETS:
        return sheets.sheet(run, picture, n, seed, label).samples
    samples = run.sample(n, seed=seed, label=label)
    if picture == "grid":
        return samples
    train = _train(run)
    indices, _ = grids.nearest(grids.to_uint8(samples), train)
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
