"""FITS, the format of astronomy (astropy): values after BSCALE and BZERO."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.core.quoting import shortened
from saddlepoint.data.options import Options
from saddlepoint.data.plan import Finding, Note
from saddlepoint.data.sources.extras import (
    Exact,
    arrange_files,
    check_held,
    check_room,
    guarded,
    need,
    one_type,
    unpacked,
    without_gaps,
)
from saddlepoint.data.sources.folder import Item, Source

_KIND = "FITS"
_BLOCK, _CARD, _END = 2880, 80, b"END".ljust(80)
_MOST_PARTS, _MOST_CARDS = 10_000, 100_000
"""Parts (HDUs) and lines of all headers of a file: each becomes an object of astropy's."""
SUFFIXES = (".fits", ".fit", ".fts", ".fits.gz", ".fit.gz", ".fits.fz")


def is_fits(path: Path) -> bool:
    """Whether a file is FITS by its ending."""
    return path.name.lower().endswith(SUFFIXES)


@dataclass(frozen=True)
class _Chosen:
    """The part of a file that holds the image.

    Attributes:
        number: of the part.
        shape: planes, height, width.
        exact: what values it has.
        others: names of the parts left out.
    """

    number: int
    shape: tuple[int, int, int]
    exact: Exact
    others: tuple[str, ...]


def fits_source(path: Path, files: Sequence[Path], options: Options) -> Source:
    """Read FITS images: the first part (HDU) of each file that holds one, the first plane of a cube or all.

    Args:
        path: what the user named: a file or a folder.
        files: the FITS files.
        options: ``pages``: all planes of cubes.

    Raises:
        DataError: if a file is damaged or holds no image.
    """
    fits = need("astropy.io.fits", "astronomy", ".fits")
    held = arrange_files(path, files, options)
    chosen = {file: _look(fits, file) for file in held.used}
    target = one_type(part.exact for part in chosen.values())

    def items() -> Iterator[Item]:
        for file, part in chosen.items():
            with guarded(file, _KIND):
                planes = _read(fits, file, part, target)
            for number, plane in enumerate(planes if options.pages == "all" else planes[:1]):
                yield held.item(file, plane, f"plane {number}" if len(planes) > 1 else "")

    return held.source(path, "fits", items, _notes(list(chosen.values()), options))


def _notes(chosen: Sequence[_Chosen], options: Options) -> list[Note]:
    notes: list[Note] = [
        Finding("images", f"{len(chosen):,} FITS images: the first row stored is the uppermost",
                "as numpy reads it; viewers such as DS9 show it at the bottom"),
        Finding("depth", "BSCALE and BZERO were applied; missing values (NaN, BLANK) became the lowest of their image"),
    ]  # fmt: skip
    if cubes := [part for part in chosen if part.shape[0] > 1]:
        all_of, planes = options.pages == "all", sum(part.shape[0] for part in cubes)
        notes.append(Finding(
            "pages", f"{len(cubes):,} files hold cubes of {planes:,} planes: "
            + ("all are images" if all_of else "the first plane of each is used"),
            "" if options.pages else "they have a third axis",
            "--pages first" if all_of else "--pages all", sure=options.pages is not None,
        ))  # fmt: skip
    if others := sorted({name for part in chosen for name in part.others}):
        notes.append(Finding("images", f"further parts of the files are left out: {shortened(others, 8)}"))
    return notes


def _look(fits: Any, path: Path) -> _Chosen:
    found: _Chosen | None = None
    others: list[str] = []
    content = unpacked(path)
    _check_headers(path, content)
    with guarded(path, _KIND), fits.open(io.BytesIO(content), memmap=False, lazy_load_hdus=False) as parts:
        for number, part in enumerate(parts):
            header = part.header
            shape = tuple(int(side) for side in part.shape) if part.is_image else ()
            name = str(header.get("EXTNAME", "")) or f"part {number}"
            if found is not None or not 2 <= len(shape) <= 4 or not all(shape):
                others += [name] if found is not None or not part.is_image else []
                continue
            planes = int(np.prod(shape[:-2], dtype=object))
            check_room(path, "the image", planes * shape[-2] * shape[-1] * 8)
            check_held(path, planes * shape[-2] * shape[-1], _exact(header))
            found = _Chosen(number, (planes, shape[-2], shape[-1]), _exact(header), ())
    if found is None:
        raise DataError(f"{path} holds no image of two or more axes" + (f" ({shortened(others, 8)})" if others else "")
                        + "; tables of FITS are not read")  # fmt: skip
    return _Chosen(found.number, found.shape, found.exact, tuple(others))


def _check_headers(path: Path, content: bytes) -> None:
    """Refuse a file of very many parts, or of very long headers, before astropy makes objects of them.

    Raises:
        DataError: if there are more than `_MOST_PARTS`, or `_MOST_CARDS` lines in all of them.
    """
    parts = cards = 0
    for start in range(0, len(content), _BLOCK):
        if content[start : start + 8] not in (b"SIMPLE  ", b"XTENSION"):
            continue
        parts += 1
        for place in range(start, len(content), _CARD):
            cards += 1
            if cards > _MOST_CARDS or content[place : place + _CARD] == _END:
                break
        if parts > _MOST_PARTS or cards > _MOST_CARDS:
            raise DataError(
                f"{path} holds more than {_MOST_PARTS:,} parts, or {_MOST_CARDS:,} lines in their headers; save the "
                "image in a file of its own"
            )


def _exact(header: Any) -> Exact:
    """Return what values an image has, by its header (of a compressed image: that of the image in it)."""
    steps = [float(header.get("BSCALE", 1)), float(header.get("BZERO", 0))]
    if int(header["BITPIX"]) < 0 or "BLANK" in header or not all(map(float.is_integer, steps)):
        return "floats"
    return "bytes" if int(header["BITPIX"]) == 8 and steps == [1.0, 0.0] else "whole"


def _read(fits: Any, path: Path, part: _Chosen, target: np.dtype) -> list[np.ndarray]:
    with fits.open(io.BytesIO(unpacked(path)), memmap=False) as parts:
        values = np.asarray(parts[part.number].data)
    return [without_gaps(plane).astype(target) for plane in values.reshape(part.shape)]
