"""CIFAR-10 and CIFAR-100 in their binary version: records of labels and 3,072 bytes of pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from saddlepoint.core.errors import DataError
from saddlepoint.core.quoting import shortened
from saddlepoint.data.plan import Finding
from saddlepoint.data.sources.folder import Item, Source, stamp

_PIXELS = 3 * 32 * 32
_COUNTS = {1: (10,), 2: (20, 100)}
"""How many classes each byte before the pixels tells apart: CIFAR-10's; CIFAR-100's coarse and fine ones."""
_NAMES = {1: "batches.meta.txt", 2: "fine_label_names.txt"}
_CHUNK = 512
_PICKLED = ("batches.meta", "data_batch_1", "test_batch", "meta", "train", "test")
"""Files of the Python version, which have no ending."""


def cifar_files(folder: Path) -> list[Path]:
    """Return the files of CIFAR's binary version that lie in a folder itself."""
    files = [path for path in folder.iterdir() if path.suffix.lower() == ".bin" and path.is_file()]
    return sorted(files, key=lambda path: (_split(path) == "test", path.name))


def refuse_pickles(path: Path) -> None:
    """Refuse the Python version of CIFAR, and whatever else is pickled.

    Args:
        path: a file, or a folder whose files are looked at.

    Raises:
        DataError: if a pickle is there.
    """
    found = [path / name for name in _PICKLED] if path.is_dir() else [path]
    for file in found:
        try:
            with open(file, "rb") as stream:
                start = stream.read(2)
        except OSError:
            continue
        if start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05" and len(start) == 2:
            raise DataError(
                f"{file} is a Python pickle, which can run any program when it is opened and is never read; of CIFAR "
                "take the binary version (cifar-10-binary.tar.gz or cifar-100-binary.tar.gz), unpacked"
            )


def cifar_source(path: Path, files: Sequence[Path]) -> Source:
    """Read files of the binary version.

    Args:
        path: what the user named: one file, or the folder.
        files: data_batch_1.bin ... and test_batch.bin of CIFAR-10, train.bin and test.bin of CIFAR-100; names of the
            classes are read from batches.meta.txt or fine_label_names.txt beside them.

    Raises:
        DataError: if a file is none of these, or labels are out of range.
    """
    extra = _layout(path, files)
    names = _class_names(files[0].parent / _NAMES[extra], _COUNTS[extra][-1])

    def items() -> Iterator[Item]:
        for file in files:
            split = _split(file) if len(files) > 1 else ""
            records = np.memmap(file, dtype=np.uint8, mode="r").reshape(-1, extra + _PIXELS)
            for start in range(0, len(records), _CHUNK):
                chunk = np.array(records[start : start + _CHUNK])
                pixels = chunk[:, extra:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
                for row, (value, label) in enumerate(zip(pixels, chunk[:, extra - 1], strict=True)):
                    yield Item(value, int(label), f"{file.name} record {start + row}", split)

    kind = "CIFAR-10" if extra == 1 else "CIFAR-100"
    why = f"records of {extra + _PIXELS:,} bytes"
    notes = [Finding("images", f"binary files of {kind}: 32x32 pixels, red, green, blue", why)]
    if extra == 2:
        notes.append(Finding("labels", "the 100 fine labels are used, the 20 coarse ones left out"))
    if not names:
        notes.append(Finding("labels", f"classes have numbers, not names: {_NAMES[extra]} does not lie beside them"))
    classes = names or tuple(str(i) for i in range(_COUNTS[extra][-1]))
    key = "cifar\n" + stamp(files, files[0].parent)
    return Source(str(path), key, items, classes=classes, notes=tuple(notes))


def _layout(path: Path, files: Sequence[Path]) -> int:
    """Return how many bytes of labels stand before the pixels, 1 or 2."""
    fits = [extra for extra in _COUNTS if all(_fits(file, extra) for file in files)]
    if len(fits) != 1:
        sizes = shortened([f"{file.name} {file.stat().st_size:,} bytes" for file in files], 8)
        raise DataError(
            f"{path}: {sizes} " + ("could be either of" if fits else "is none of") + " CIFAR-10's and CIFAR-100's "
            f"binary files, whose records are {1 + _PIXELS:,} and {2 + _PIXELS:,} bytes with labels below 10, or below "
            "20 and 100; check that the copy is complete, and name a folder that holds one of them alone"
        )
    return fits[0]


def _fits(file: Path, extra: int) -> bool:
    size = file.stat().st_size
    if not size or size % (extra + _PIXELS):
        return False
    labels = np.memmap(file, dtype=np.uint8, mode="r").reshape(-1, extra + _PIXELS)[:, :extra]
    return bool((labels.max(0) < np.array(_COUNTS[extra])).all())


def _split(file: Path) -> str:
    return "test" if file.stem.lower().startswith("test") else "train"


def _class_names(path: Path, count: int) -> tuple[str, ...]:
    """Return the names in a file of one name a line; empty if it is not there or has another count."""
    try:
        with open(path, "rb") as file:
            text = file.read(64 * 1024).decode("utf-8", "replace")
    except OSError:
        return ()
    names = tuple(line.strip() for line in text.splitlines() if line.strip())
    return names if len(names) == count == len(set(names)) else ()
