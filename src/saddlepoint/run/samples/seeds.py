"""Samples by their seeds: `0-63,100` as files, a sheet or arrays; a seed's sample is the same in any company."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from saddlepoint.core.durable import make_folder
from saddlepoint.core.errors import ConfigError, suggest
from saddlepoint.core.types import to_uint16
from saddlepoint.data.images.write import KINDS, write_images
from saddlepoint.data.series.samples import FORMATS
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.figures import grids
from saddlepoint.run.conditional import WINDOWS
from saddlepoint.run.generator import check_truncation
from saddlepoint.run.request import Picture, SampleRequest
from saddlepoint.run.run import Run
from saddlepoint.run.sample_files import depth_of
from saddlepoint.run.samples import pictures

MOST = 100_000
"""Seeds of one call."""

_SHEET = 4096
"""Seeds on one sheet."""


def parse_seeds(text: str) -> list[int]:
    """Return the seeds that words such as ``0-63,100`` name, each once, in their order.

    Raises:
        ConfigError: if they are no seeds, a range runs backwards, or there are more than `MOST`.

    >>> parse_seeds("0-3,100,2")
    [0, 1, 2, 3, 100]
    """
    found: dict[int, None] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,15})(?:\s*-\s*(\d{1,15}))?\s*", part, re.ASCII)
        if match is None:
            raise ConfigError(f"seeds are '{text}', but they must be whole numbers and ranges such as 0-63,100")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ConfigError(f"seeds are '{text}', but the range {first}-{last} runs backwards; give {last}-{first}")
        if len(found) + last - first + 1 > MOST:
            raise ConfigError(f"seeds are '{text}', which are more than {MOST:,}; ask for fewer at once")
        found |= dict.fromkeys(range(first, last + 1))
    return list(found)


def draw_seeds(run: Run, seeds: str, out: Path | None = None, **asked: Any) -> Path:
    """Write one sample for each seed, and return where; ``asked``: further fields of a `SampleRequest`."""
    return carry_out(run, SampleRequest(seeds=seeds, out=out, **asked))


def carry_out(run: Run, request: SampleRequest) -> Path:
    """Write one sample for each of the seeds that are asked for, and return where.

    A sample depends on its seed, the label and the truncation only; see `Run.sample_seeds`. A folder gets a file each,
    a .png, .jpg or .webp is a sheet, an .npz holds ``x``, ``seeds`` and ``labels``; of series it is a folder always.

    Raises:
        ConfigError: on words that are no seeds, options that do not fit the samples, or a folder that is in use.
    """
    seeds, out, kind, data = request.seeds or "", request.out, request.kind, run.family.data
    if request.picture != Picture.grid or request.seed:
        raise ConfigError("--seeds names the samples itself; leave out --picture and --seed")
    if request.given is not None or request.fill is not None or request.length is not None:
        raise ConfigError("--given, --fill and --length make series of one seed; give --seed, and leave --seeds out")
    found, label, truncation = parse_seeds(seeds), request.label, request.truncation
    check_truncation(run.family, truncation)
    if data.modality == "sequence":
        return _series(run, found, request)
    for name, used in (("-n", request.n is not None), ("--start", request.start is not None)):
        if used:
            raise ConfigError(f"{name} is for series, but these are {data.modality}s, one for each seed; leave it out")
    if kind is not None and kind not in KINDS:
        raise ConfigError(f"format is '{kind}'; {suggest(kind, KINDS)}")
    folder = out is not None and (not out.suffix or out.is_dir())
    if folder or (kind is not None and out is None):
        if data.modality != "image":
            raise ConfigError(f"files of their own are for images, but these are {data.modality}s; give --out FILE.npz")
        return _files(run, found, out or _place(run, seeds, ""), kind or "png", label, truncation)
    if kind is not None:
        raise ConfigError(f"format is {kind}, which writes a folder of files, but '{out}' is a file; name a folder")
    if out is not None and out.suffix == ".npz":
        samples, labels = run.sample_seeds(found, label=label, truncation=truncation), _labels(run, found, label)
        deep = depth_of(run) > 8
        return grids.save_arrays(out, samples, labels, whole=deep, seeds=np.array(found, np.int64))
    pictures.check_ending(out)
    return pictures.save(sheet(run, found, label, truncation), out or _place(run, seeds, ".png"))


def sheet(run: Run, seeds: list[int], label: int | str | None = None, truncation: float | None = None) -> Image.Image:
    """Return the samples of seeds side by side, each above its seed and class; vectors as points over the data.

    Raises:
        ConfigError: on more than 4,096 images, and as `Run.sample_seeds`.
    """
    if run.family.data.modality == "image" and len(seeds) > _SHEET:
        raise ConfigError(f"a sheet of {len(seeds):,} images is too large (at most {_SHEET:,}); give --out FOLDER")
    samples = run.sample_seeds(seeds, label=label, truncation=truncation)
    if run.family.data.modality == "vector":
        return grids.scatter(samples, run.dataset().splits["train"].x)
    labels = _labels(run, seeds, label)
    names = [""] * len(seeds)
    if labels is not None and labels.ndim == 1:
        names = [f" {run.family.data.classes[int(index)]}" for index in labels]
    titles = [f"{seed}{name}" for seed, name in zip(seeds, names, strict=True)]
    return grids.grid(samples, titles=titles, see_through=True)


def _files(run: Run, seeds: list[int], folder: Path, kind: str, label: Any, truncation: float | None) -> Path:
    samples = run.sample_seeds(seeds, label=label, truncation=truncation)
    pixels = to_uint16(samples).numpy() if depth_of(run) > 8 else grids.to_uint8(samples)
    labels = _labels(run, seeds, label)
    kept = None if labels is None else labels.numpy()
    return write_images(folder, pixels, kind, kept, run.family.data.classes, _stems(seeds))


def _series(run: Run, seeds: list[int], request: SampleRequest) -> Path:
    """Write a file of windows for each seed, the same that the seed alone would give."""
    out, kind = request.out, request.kind or "csv"
    if kind not in FORMATS:
        raise ConfigError(f"format is '{kind}'; {suggest(kind, FORMATS)}")
    if out is not None and out.suffix and not out.is_dir():
        raise ConfigError(f"'{out}' is a file, but of series each seed gets its own; name a folder")
    folder = out or _place(run, request.seeds or "", "")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"'{folder}' exists and is not an empty folder; name another, or remove it")
    make_folder(folder)
    n = request.n or WINDOWS
    for seed, stem in zip(seeds, _stems(seeds), strict=True):
        run.write(folder / f"{stem}.{kind}", n, seed=seed, label=request.label, start=request.start)
    return folder


def _stems(seeds: list[int]) -> list[str]:
    digits = max(4, len(str(max(seeds))))
    return [f"seed{seed:0{digits}d}" for seed in seeds]


def _labels(run: Run, seeds: list[int], label: int | str | None) -> torch.Tensor | None:
    """Return the labels of the samples of seeds, as `Run.sample_seeds` draws them."""
    drawn = [run.labels(1, seed=seed, label=label) for seed in seeds]
    kept = [one for one in drawn if one is not None]
    return torch.cat(kept) if kept else None


def _place(run: Run, text: str, ending: str) -> Path:
    short = re.sub(r"\s", "", text)
    name = f"seeds-{short if len(short) <= 60 else short[:50] + '-and-more'}{ending}"
    folder = RunFolder(run.path)
    return folder.own("pictures") / name if ending else folder.own("pictures", name)
