"""Samples as files: one picture each, and a table of their labels that this library and `datasets` read back."""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from saddlepoint.core.durable import flush_tree, make_folder, move_into_place
from saddlepoint.core.errors import ConfigError, suggest
from saddlepoint.core.files import hidden_beside

KINDS = ("png", "webp", "jpg")
"""Formats; png and webp keep every value, jpg (quality 95) does not."""


def write_images(
    folder: Path, x: np.ndarray, kind: str = "png", labels: np.ndarray | None = None, classes: Sequence[str] = (),
    stems: Sequence[str] | None = None,
) -> Path:  # fmt: skip
    """Write images into a new or empty folder: ``000000.png`` and so on, and ``metadata.jsonl`` with their labels.

    A new folder is there whole, or not at all.

    Args:
        folder: where; nothing in it is written over.
        x: uint8 (n, channel, height, width) with 1, 3 or 4 channels, or uint16.
        kind: png or webp, which keep every value of 8 bits; or jpg.
        labels: int64 (n,) class indices, or (n, classes) with 1 where a class holds; None: no table is written.
        classes: their names.
        stems: names of the files, without an ending; None: their numbers.

    Returns:
        The folder.

    Raises:
        ConfigError: on another kind, 16 bits in a kind that holds 8, opacity in JPEG, or a folder that holds something.
    """
    if kind not in KINDS:
        raise ConfigError(f"format is '{kind}'; {suggest(kind, KINDS)}")
    if x.dtype == np.uint16 and kind != "png":
        raise ConfigError(f"format is '{kind}', which holds 8 bits, but these are of 16; choose png")
    if kind == "jpg" and x.shape[1] == 4:
        raise ConfigError("format is 'jpg', which holds no opacity, but these images have some; choose png or webp")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"'{folder}' exists and is not an empty folder; name another, or remove it")
    if folder.exists():  # it may be a mount or a link, which nothing can take the place of
        _fill(folder, x, kind, labels, classes, stems)
        flush_tree(folder)
        return folder
    temporary = hidden_beside(folder)
    make_folder(temporary)
    try:
        _fill(temporary, x, kind, labels, classes, stems)
        move_into_place(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _fill(
    folder: Path, x: np.ndarray, kind: str, labels: np.ndarray | None, classes: Sequence[str],
    stems: Sequence[str] | None,
) -> None:  # fmt: skip
    """Write images and their table into a folder."""
    from PIL import Image

    digits = max(6, len(str(len(x) - 1)))
    stems = [f"{row:0{digits}d}" for row in range(len(x))] if stems is None else stems
    names = [f"{stem}.{kind}" for stem in stems]
    exact = {"quality": 95} if kind == "jpg" else {"lossless": True}
    for name, image in zip(names, x, strict=True):
        if image.dtype == np.uint16:
            (folder / name).write_bytes(png(image))
            continue
        pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
        Image.fromarray(np.ascontiguousarray(pixels)).save(folder / name, **exact)
    if labels is not None:
        rows = [{"file_name": name, **_told(label, classes)} for name, label in zip(names, labels, strict=True)]
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / "metadata.jsonl").write_text(text, encoding="utf-8")


def png(pixels: np.ndarray, level: int = 6) -> bytes:
    """Return pixels (channel, height, width) as a PNG file: 8 bits, or 16, which Pillow writes of grey ones only.

    Of small pictures it takes a tenth of Pillow's time. Rows are not filtered: large photographs become smaller there.

    Args:
        pixels: uint8 or uint16, of 1, 3 or 4 channels.
        level: of zlib, 0 to 9.
    """
    channels, height, width = pixels.shape
    depth = pixels.itemsize
    rows = pixels.transpose(1, 2, 0).astype(f">u{depth}").reshape(height, width * channels).view(np.uint8)
    raw = np.zeros((height, 1 + rows.shape[1]), np.uint8)  # each row begins with its filter: 0, none
    raw[:, 1:] = rows
    return _head(channels, height, width, depth) + _chunk(b"IDAT", zlib.compress(raw.tobytes(), level)) + _END


@lru_cache(64)
def _head(channels: int, height: int, width: int, depth: int) -> bytes:
    kind = {1: 0, 3: 2, 4: 6}[channels]
    facts = struct.pack(">IIBBBBB", width, height, 8 * depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", facts)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


_END = _chunk(b"IEND", b"")


def _told(label: np.ndarray, classes: Sequence[str]) -> dict[str, str | list[str]]:
    if label.ndim:
        return {"labels": [classes[int(i)] for i in np.flatnonzero(label == 1)]}
    return {"label": classes[int(label)]}
