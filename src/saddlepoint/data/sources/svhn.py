"""MATLAB files: the cropped digits of Street View House Numbers, and the Toronto Face Database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.core.quoting import shortened
from saddlepoint.data.plan import Finding
from saddlepoint.data.sources.extras import check_room
from saddlepoint.data.sources.folder import SPLIT_NAMES, Item, Source, stamp
from saddlepoint.data.sources.matlab import matlab_arrays, matlab_shapes
from saddlepoint.data.sources.tfd import split_path, tfd_source

_KNOWN = "read are the cropped digits of SVHN (train_32x32.mat) and the Toronto Face Database (TFD_48x48.mat)"


def svhn_files(folder: Path) -> list[Path]:
    """Return train_32x32.mat and test_32x32.mat of a folder itself, as far as they are there."""
    return [path for path in (folder / "train_32x32.mat", folder / "test_32x32.mat") if path.is_file()]


def mat_source(text: Path) -> Source:
    """Read a .mat file, by the arrays it holds; only their names and shapes are looked at first.

    Args:
        text: the path; ``TFD_48x48.mat#2`` is fold 2 of the Toronto Face Database.

    Raises:
        DataError: if it is damaged, or holds neither data set.
    """
    path, fold = split_path(str(text))
    if not path.is_file() or "X" not in (held := matlab_shapes(path)) or "images" in held:
        return tfd_source(path, fold)
    return svhn_source(path, [path])


def svhn_source(path: Path, files: Sequence[Path]) -> Source:
    """Read cropped digits: ``X`` (32, 32, 3, n) and ``y`` (n, 1), where 10 stands for the digit 0.

    Args:
        path: what the user named.
        files: train_32x32.mat, test_32x32.mat, or one of any name.

    Raises:
        DataError: if a file is damaged or of another layout.
    """
    for file in files:
        shape = matlab_shapes(file).get("X", ())
        if len(shape) != 4 or shape[2] not in (1, 3) or not all(shape):
            raise DataError(f"{file}: X is of shape {shape}, but SVHN's is (32, 32, 3, n); {_KNOWN}")
        check_room(file, "X", int(np.prod(shape, dtype=object)))

    def items() -> Iterator[Item]:
        for file in files:
            split = SPLIT_NAMES.get(file.stem.split("_")[0].lower(), "") if len(files) > 1 else ""
            x, y = _read(file)
            for row in range(len(y)):
                yield Item(np.ascontiguousarray(x[..., row]), int(y[row]) % 10, f"{file.name} {row}", split)

    extra = files[0].with_name("extra_32x32.mat")
    notes = [
        Finding("images", "cropped digits of SVHN", "arrays X (height, width, 3, n) and y"),
        Finding("labels", "the label 10 is the digit 0"),
    ]
    if len(files) > 1 and extra.is_file():
        notes.append(Finding("splits", f"{extra.name} is left out; name it to train on it alone"))
    key = "svhn\n" + stamp(files, files[0].parent)
    digits = tuple(str(i) for i in range(10))
    return Source(str(path), key, items, classes=digits, notes=tuple(notes), size=sum(f.stat().st_size for f in files))


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    found = matlab_arrays(path, ("X", "y"))
    missing = [name for name in ("X", "y") if name not in found]
    if missing:
        raise DataError(f"{path} holds no {shortened(missing, 8)} of numbers; {_KNOWN}")
    x, y = found["X"], found["y"].reshape(-1)
    if x.dtype != np.uint8 or x.ndim != 4 or x.shape[3] != len(y):
        raise DataError(
            f"{path}: X is {x.dtype} {x.shape} and y {y.dtype} ({len(y)}), but SVHN's are uint8 (32, 32, 3, n) and n "
            "labels"
        )
    if len(y) and not (y.min() >= 0 and y.max() <= 10 and (y == np.rint(y)).all()):
        raise DataError(f"{path}: labels reach from {y.min()} to {y.max()}, but SVHN's are 1 to 10")
    return x, y
