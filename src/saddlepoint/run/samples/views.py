"""Pictures of latent space: a point, a film along a path, what every direction does, pictures that were looked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from saddlepoint.core.durable import make_folder
from saddlepoint.core.errors import ConfigError
from saddlepoint.core.files import write_atomically, written
from saddlepoint.core.progress import Say
from saddlepoint.core.quoting import for_file_name
from saddlepoint.core.types import from_bytes
from saddlepoint.data.dataset import evenly
from saddlepoint.family.explicit import encoding
from saddlepoint.figures import grids, plots, video
from saddlepoint.run.run import Run
from saddlepoint.run.samples.latent import REACH, Explorer, Projection, View
from saddlepoint.run.samples.pictures import folder_of, save
from saddlepoint.run.samples.projecting import SPACES

FILMS = (".gif", ".mp4")
"""Endings of films."""

_COLUMNS, _REPLICATED = 7, 16
_LARGE = 224
"""Pixels to which a picture of one sample is enlarged about, as the frames of films are."""


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
    path = out or folder_of(explorer.run) / f"directions-seed{view.points[0].seed}.png"
    make_folder(path.parent)
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
    captions = [f"direction {name}" if isinstance(name, int) else name for name in explorer.offered]
    headings = [f"{amount:+g}" if amount else "0" for amount in np.linspace(-REACH, REACH, columns)]
    return grids.tile(samples, columns, captions=captions, headings=headings)


def draw_projection(
    explorer: Explorer,
    files: Sequence[tuple[str, bytes]],
    label: int | str | None = None,
    *,
    seed: int = 0,
    out: Path | None = None,
    distance: str | None = None,
    space: str = SPACES[0],
    say: Say | None = None,
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
        distance, say: as in `Explorer.project`.
        space: as in `Search`.

    Raises:
        DataError: if a picture cannot be read, or the weights of the perceptual distance cannot be had.
        ConfigError: on another ending, distance or space.
    """
    if out is not None and out.suffix != ".png":
        raise ConfigError(f"'{out}' should end in .png")
    images = explorer.run.read_pictures(files)
    found = explorer.project(images, label, seed=seed, distance=distance, space=space, say=say)
    path = out or folder_of(explorer.run) / f"projection-{for_file_name(Path(files[0][0]).stem)}.png"
    save(projection(images, found), path)
    curve = plots.losses(found.losses.numpy(), found.mean_losses.numpy())
    save(curve, path.with_name(f"{path.stem}-losses.png"))
    with written(path.with_suffix(".npz")) as place:
        np.savez(place, codes=found.codes.numpy(), losses=found.losses.numpy(), mean_losses=found.mean_losses.numpy())
    return path, found


def draw_replication(run: Run, n: int = 32, out: Path | None = None) -> Path:
    """Draw held-out images of a run's data above what comes out where they go in; return where that is.

    Args:
        run: of a family with an encoder, of images.
        n: how many, evenly spread over the held-out images.
        out: a file ending in .png; None: ``pictures/replication.png`` in the run folder.

    Raises:
        ConfigError: if the family has no encoder, the run is not of images, or on another ending.
        DataError: if the data cannot be found.
    """
    encoding(run.family)
    if out is not None and out.suffix != ".png":
        raise ConfigError(f"'{out}' should end in .png")
    if run.family.data.modality != "image":
        raise ConfigError(f"'{run.path.name}' is of {run.family.data.modality}s; --replicate shows images")
    split = run.dataset().splits["test"]
    rows = evenly(len(split), min(n, len(split)))
    images = from_bytes(torch.from_numpy(np.array(split.x[rows])))
    labels = None if split.labels is None else torch.from_numpy(np.asarray(split.labels[rows], dtype=np.int64))
    made = run.replicate(images, labels)
    columns = min(_REPLICATED, len(images))
    lines = [part for pair in zip(images.split(columns), made.split(columns), strict=True) for part in pair]
    whole = [line for line in lines if len(line) == columns]
    path = out or folder_of(run) / "replication.png"
    make_folder(path.parent)
    save(grids.grid(torch.cat(whole), columns, captions=["given", "made"] * (len(whole) // 2)), path)
    return path


def projection(images: Tensor, found: Projection) -> Image.Image:
    """Show given images above what the generator makes at the points nearest to them."""
    return grids.grid(torch.cat([images, found.samples]), len(images), captions=["given", "found"])
