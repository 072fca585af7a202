"""The Toronto Face Database as its author gives it away: MATLAB files with images and five folds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.data.sources.folder import Item, Source, stamp
from saddlepoint.data.sources.matlab import matlab_arrays

FOLDS = 5
FILES = ("TFD_48x48.mat", "TFD_96x96.mat")
HOW_TO_GET = (
    "The Toronto Face Database is not public: ask its author, Josh Susskind, or the University of Toronto's machine "
    f"learning group for it, and put {FILES[0]} or {FILES[1]} into a folder tfd of SADDLEPOINT_DATA_DIR. "
    "'att-faces' --size 48 is a public stand-in"
)

_CODES = {"train": 0, "valid": 2, "test": 3}
"""In ``folds``; 1 are the labelled training images."""


def split_path(text: str) -> tuple[Path, int]:
    """Return the file and the fold that ``faces.mat#2`` names; without ``#`` the fold is 0.

    Raises:
        DataError: on a fold that is not 0 to 4.
    """
    name, mark, fold = text.rpartition("#")
    if not mark or not name.endswith(".mat"):
        return Path(text), 0
    if not fold.isdecimal() or int(fold) >= FOLDS:
        raise DataError(f"'{text}' asks for fold '{fold}', but folds are 0 to {FOLDS - 1}")
    return Path(name), int(fold)


def tfd_source(path: Path, fold: int = 0) -> Source:
    """Read a file of the Toronto Face Database.

    Training rows are the unlabeled images, as in the released configuration of Goodfellow et al. 2014; ``valid`` and
    ``test`` are those of the fold. The labelled training images of a fold are left out.

    Args:
        path: TFD_48x48.mat or TFD_96x96.mat: ``images`` (n, side, side) uint8, ``folds`` (n, 5) with 0 unlabeled,
            1 train, 2 valid, 3 test. Expressions are not read: the training images have none.
        fold: 0 to 4.

    Raises:
        DataError: when rows are read, if the file is damaged or of another layout.
    """

    def items() -> Iterator[Item]:
        images, folds = _read(path)
        for split, code in _CODES.items():
            rows = np.flatnonzero(folds[:, fold] == code)
            if not len(rows):
                raise DataError(f"{path} has no {split} images in fold {fold} (code {code} in 'folds')")
            for row in rows:
                yield Item(images[row], None, f"image {row}", split)

    note = (
        f"fold {fold}: trained on its unlabeled images, as released in 2014; its labelled training images are left out"
    )
    size = path.stat().st_size if path.is_file() else None
    return Source(str(path), f"tfd\n{fold}\n" + stamp([path], path.parent), items, notes=(note,), size=size)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        found = matlab_arrays(path, ("images", "folds"))
    except DataError as error:
        raise DataError(f"{error}; {HOW_TO_GET}") from error
    missing = [name for name in ("images", "folds") if name not in found]
    if missing:
        raise DataError(f"{path} holds no {' and no '.join(missing)}, so it is no file of the Toronto Face Database")
    images, folds = found["images"], found["folds"]
    if images.ndim != 3 or images.shape[1] != images.shape[2] or images.dtype != np.uint8:
        raise DataError(f"{path}: images are {images.dtype} {images.shape}, but must be uint8 (n, side, side)")
    if folds.shape != (len(images), FOLDS):
        raise DataError(f"{path}: folds are {folds.shape}, but must be ({len(images)}, {FOLDS})")
    return images, folds
