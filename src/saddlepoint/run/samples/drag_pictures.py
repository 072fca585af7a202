"""Pictures and films of a sample whose points are dragged, and runs that keep where it came to."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from saddlepoint.core.durable import make_folder
from saddlepoint.core.errors import ConfigError
from saddlepoint.core.files import write_atomically
from saddlepoint.core.quoting import for_file_name
from saddlepoint.figures import grids, video
from saddlepoint.run.samples.dragging import Drag, Dragged, Place, drag
from saddlepoint.run.samples.editing import keep_place, sheet
from saddlepoint.run.samples.latent import Explorer
from saddlepoint.run.samples.pictures import folder_of, save
from saddlepoint.run.samples.points import Point
from saddlepoint.run.samples.views import FILMS

_LARGE = 256
_MOST_FRAMES = 120


def start_of(explorer: Explorer, point: Point, label: int | str | None = None) -> tuple[Tensor, Tensor | None]:
    """Return the code of a point and the class of its sample, (1,), of a conditional generator.

    Raises:
        ConfigError: on a direction, a pivot or a class that does not exist.
    """
    asked = explorer.run.labels(1, seed=point.seed, label=label)
    if point.pivot and asked is not None and label is None:
        asked = explorer.pivots.label(point.pivot)
    return explorer.code(point, label), asked


def draw_drag(
    explorer: Explorer, point: Point, asked: Drag, label: int | str | None = None, *, steps: int = 200,
    out: Path | None = None, keep: Path | None = None,
) -> tuple[Path, list[Dragged], Path | None]:  # fmt: skip
    """Drag points of a sample; draw it before and after, or the way there as a film; return where that is.

    Args:
        explorer: of a run of images.
        point: where it begins.
        asked: what is dragged where.
        label: class, for a conditional generator.
        steps: at most.
        out: a file ending in .png, .gif or .mp4; None: below ``pictures/`` in the run folder.
        keep: folder of a run of its own that keeps the place as its next pivot; None: none is made.

    Returns:
        The picture, what was seen at each step, and the folder that was made.

    Raises:
        ConfigError: on another ending, if the folder is there, and as `Dragging`.
    """
    if out is not None and out.suffix not in (".png", *FILMS):
        raise ConfigError(f"'{out}' should end in .png for a picture, or in .gif or .mp4 for a film")
    code, of_class = start_of(explorer, point, label)
    found, seen = drag(explorer, code, asked, of_class, steps)
    path = out or folder_of(explorer.run) / f"drag-{for_file_name(str(point))}.png"
    make_folder(path.parent)
    if path.suffix in FILMS:
        every = max(1, len(seen) // _MOST_FRAMES)
        shots = [marked(one, asked) for one in [*seen[::every], *[seen[-1]] * 12]]
        write_atomically(path, video.film(shots, kind=path.suffix[1:]))
    else:
        both = torch.cat([seen[0].sample, seen[-1].sample])
        save(grids.grid(both, 2, headings=["before", "after"], scale=_scale(both)), path)
    if keep is not None:
        keep_place(explorer, found, of_class, keep, about(point, asked, seen), seen[0].sample)
    return path, seen, keep


def about(point: Point, asked: Drag, seen: list[Dragged]) -> dict[str, Any]:
    """Return how a place was come to, as a run keeps it."""
    end = seen[-1]
    return {
        "kind": "drag", "point": str(point), **asdict(asked), "steps": len(seen), "arrived": end.arrived,
        "ends": end.handles,
    }  # fmt: skip


def marked(state: Dragged, asked: Drag) -> Image.Image:
    """Return a sample enlarged, its handles in red, their targets in blue."""
    picture = sheet(state.sample, 1).convert("RGB")
    scale, draw = _scale(state.sample), ImageDraw.Draw(picture)

    def at(place: Place) -> tuple[float, float]:
        return (place[0] + 0.5) * scale, (place[1] + 0.5) * scale

    for handle, target in zip(state.handles, asked.targets, strict=True):
        draw.line([at(handle), at(target)], fill=(255, 255, 255), width=1)
        for place, colour in ((target, (60, 110, 230)), (handle, (220, 50, 40))):
            x, y = at(place)
            draw.ellipse([x - 4, y - 4, x + 4, y + 4], fill=colour, outline=(255, 255, 255))
    return picture


def _scale(samples: Tensor) -> int:
    return grids.fitting_scale(max(samples.shape[2:]), _LARGE)
