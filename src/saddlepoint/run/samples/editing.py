"""A picture of one's own as a place in latent space: looked for, the generator tuned to it, all kept as a run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.logs import logged
from saddlepoint.core.progress import Say
from saddlepoint.core.quoting import for_file_name
from saddlepoint.core.types import Samples
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.family.explicit import Encoding
from saddlepoint.figures import grids
from saddlepoint.run.derived import refuse_present, write_derived
from saddlepoint.run.fine_tuning import digest_of
from saddlepoint.run.run import Run
from saddlepoint.run.samples.latent import Explorer
from saddlepoint.run.samples.likeness import likeness_for
from saddlepoint.run.samples.pictures import save
from saddlepoint.run.samples.places import Pivots, write_directions, write_pivots
from saddlepoint.run.samples.projecting import Projection, Search
from saddlepoint.run.samples.tuning import Tuned, Tuning, tune

_THREE = "given-projected-tuned"
_LARGE = 256
"""Pixels to which pictures are enlarged about, by a whole number."""


@dataclass(frozen=True)
class Edited:
    """A run that was made of another one for given pictures.

    Attributes:
        path: its folder.
        pivots: numbers of the pictures' places in it.
        images: the pictures as the generator makes pictures, (n, *sample).
        found: the projection.
        tuned: what tuning did.
        seconds: of both.
    """

    path: Path
    pivots: tuple[int, ...]
    images: Samples
    found: Projection
    tuned: Tuned
    seconds: float

    @property
    def errors(self) -> list[dict[str, float]]:
        """Of each picture: errors by the distance of the mean sample, after projection, after tuning."""
        last = self.tuned.losses[-1] if len(self.tuned.losses) else self.found.losses[-1]
        three = (self.found.mean_losses, self.found.losses[-1], last)
        names = ("before", "projected", "tuned")
        return [dict(zip(names, map(float, values), strict=True)) for values in zip(*three, strict=True)]


@logged
def edit_pictures(
    explorer: Explorer,
    files: Sequence[tuple[str, bytes]],
    label: int | str | None = None,
    *,
    distance: str | None = None,
    search: Search | None = None,
    tuning: Tuning | None = None,
    out: Path | None = None,
    most_pixels: int | None = None,
    say: Say | None = None,
) -> Edited:
    """Look for pictures in latent space, tune the generator to them, and write that as a run of its own.

    The folder is taken like a run. It keeps the places of the pictures as ``pivot1`` and so on, the pictures before and
    after in ``pictures/``, and in ``config.json`` under ``edits`` of which run and pictures it was made, and how.

    Args:
        explorer: of the run, which stays as it is.
        files: (name, content) of image files.
        label: class of all of them, for a conditional generator.
        distance: as in `Explorer.project`.
        search: how they are looked for; None: in w, where the family has one, by 300 steps.
        tuning: how the generator is tuned.
        out: the folder, which must not be there yet; None: beside the run, ``RUN-edit-PICTURE``.
        most_pixels: that a picture may have.
        say: receives lines worth telling.

    Raises:
        DataError: if a picture cannot be read.
        ConfigError: if the folder is there, or the generator has no place that gradients lead to.
    """
    from time import perf_counter

    run = explorer.run
    final = out or _place(run, files)
    refuse_present(final)
    images = run.read_pictures(files, most_pixels)
    likeness, begun = likeness_for(run, distance, say), perf_counter()
    search, tuning = search or Search(space="w"), tuning or Tuning()
    if isinstance(run.family, Encoding):
        raise ConfigError(f"'{run.name}' has an encoder: saddle explore --project finds a picture's place in one pass")
    found = explorer.project(
        images, label, distance=likeness.name, steps=search.steps, starts=search.starts, seed=search.seed,
        space=search.space, noise=0, progress=search.progress,
    )  # fmt: skip
    labels = run.labels(len(images), seed=search.seed, label=label)
    tuned = tune(explorer, images, found.codes, labels, likeness, tuning)
    kept = explorer.pivots
    classes = torch.full((len(images),), -1) if labels is None else labels
    pivots = Pivots(torch.cat([kept.codes, found.codes]), torch.cat([kept.labels, classes]))
    numbers = tuple(range(len(kept) + 1, len(pivots) + 1))
    edited = Edited(final, numbers, images, found, tuned, perf_counter() - begun)
    about = _about(edited, files, search, tuning)
    write_edit(explorer, tuned.run, final, pivots, about, {"before": images, "after": tuned.samples, **_three(edited)})
    return edited


def _place(run: Run, files: Sequence[tuple[str, bytes]]) -> Path:
    if not files:
        raise ConfigError("there is no picture to edit: name one")
    return run.path.with_name(f"{run.path.resolve().name}-edit-{for_file_name(Path(files[0][0]).stem)}")


def _three(edited: Edited) -> dict[str, Samples]:
    return {_THREE: torch.cat([edited.images, edited.found.samples, edited.tuned.samples])}


def three(edited: Edited) -> Image.Image:
    """Show the pictures, their nearest samples, and what the tuned generator makes, below one another."""
    return sheet(_three(edited)[_THREE], len(edited.images), _THREE.split("-"))


def _about(edited: Edited, files: Sequence[tuple[str, bytes]], search: Search, tuning: Tuning) -> dict[str, Any]:
    pictures = [{"name": name, "sha256": hashlib.sha256(content).hexdigest()} for name, content in files]
    return {
        "kind": "pivotal tuning", "pictures": pictures, "pivots": list(edited.pivots),
        "distance": edited.found.distance, "space": search.space, "steps": search.steps, "seed": search.seed,
        "tuning_steps": tuning.steps, "lr": tuning.lr, "locality": tuning.locality, "errors": edited.errors,
        "seconds": round(edited.seconds, 1),
    }  # fmt: skip


def write_edit(
    explorer: Explorer, made: Run, final: Path, pivots: Pivots, about: Mapping[str, Any], shown: Mapping[str, Samples]
) -> None:
    """Write the folder of an edit.

    Args:
        explorer: of the run that it was made of, whose named directions go with it.
        made: with the generator's weights.
        final: the folder.
        pivots: places that it keeps.
        about: how it was made.
        shown: samples by the names of their pictures, of which the last ones make rows of a sheet.

    Raises:
        ConfigError: if it is there.
    """
    run, folder = explorer.run, RunFolder(explorer.run.path)
    name = run.path.resolve().name
    origin = {"run": name, "step": run.step, "sha256": digest_of(run.family.state_dict())}
    edits = [*run.config.get("edits", []), {**origin, **about}]

    def beside(place: Path) -> None:
        write_pivots(place, pivots)
        if named := explorer.named:
            write_directions(place, named)
        for title, samples in shown.items():
            rows = title.split("-")
            picture = sheet(samples, len(samples) // len(rows), rows if len(rows) > 1 else None)
            save(picture, place / "pictures" / f"{title}.png")

    write_derived(
        final, {**run.config, "edits": edits}, made.family, origin=name, step=run.step, log=folder.read_log(),
        status={"reason": about["kind"]}, beside=beside,
    )  # fmt: skip


def sheet(samples: Samples, columns: int, captions: Sequence[str] | None = None) -> Image.Image:
    """Return samples at full size, enlarged by a whole number where they are small."""
    scale = grids.fitting_scale(max(samples.shape[2:]), _LARGE)
    if captions is None and len(samples) == 1:
        return grids.single(samples[0], scale=scale)
    return grids.grid(samples, columns, captions=captions, scale=scale)


def keep_place(
    explorer: Explorer, code: Tensor, label: Tensor | None, out: Path, about: Mapping[str, Any], before: Samples
) -> Path:
    """Write a place as a run of its own, with the weights of the run; return its folder.

    Args:
        explorer: of the run.
        code: (latent,) or (layers, w).
        label: its class, (1,), of a conditional generator.
        out: the folder, which must not be there yet.
        about: how the place was come to; ``kind`` is a word for it.
        before: the sample that it began with, (1, *sample).

    Raises:
        ConfigError: if the folder is there.
    """
    kept, codes = explorer.pivots, explorer.styles(code[None])
    pivots = Pivots(
        torch.cat([kept.codes, codes]), torch.cat([kept.labels, torch.tensor([-1]) if label is None else label])
    )
    after = explorer.samples(codes, label, 0)
    facts = {**about, "pivots": [len(pivots)]}
    write_edit(explorer, explorer.run, out, pivots, facts, {"before": before, "after": after})
    return out


def free_place(path: Path) -> Path:
    """Return a path beside which nothing is: with a number, where the name is taken."""
    number, found = 2, path
    while found.exists() or found.is_symlink():
        found, number = path.with_name(f"{path.name}-{number}"), number + 1
    return found
