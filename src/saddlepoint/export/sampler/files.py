"""Samples as files: sheets and folders of PNG, arrays, tables."""

from __future__ import annotations

import csv
import math
import re
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .generator import Generator

TILE, GAP, GROUND = 56, 2, 64
"""Pixels to which small pictures are enlarged about, those between pictures of a sheet, and their grey level."""


def to_bytes(images: np.ndarray) -> np.ndarray:
    """Return images of [-1, 1] as bytes."""
    return np.clip(np.round(127.5 * (images.astype(np.float64) + 1)), 0, 255).astype(np.uint8)


def png(image: np.ndarray) -> bytes:
    """Return a picture (channel, height, width) of bytes as a PNG file."""
    channels, height, width = image.shape
    rows = image.transpose(1, 2, 0).reshape(height, width * channels)
    raw = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1).tobytes()
    head = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(raw)), (b"IEND", b""))
    packed = (struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def grid(images: np.ndarray) -> np.ndarray:
    """Return pictures (n, channel, height, width) of bytes as one sheet: enlarged by a whole number, with gaps."""
    n, channels, height, width = images.shape
    columns = max(1, round(math.sqrt(n * height / width)))
    rows = -(-n // columns)
    scale = max(1, round(TILE / max(height, width)))
    images = images.repeat(scale, 2).repeat(scale, 3)
    high, wide = images.shape[2] + GAP, images.shape[3] + GAP
    sheet = np.full((channels, rows * high + GAP, columns * wide + GAP), GROUND, np.uint8)
    sheet[3:] = 255  # the ground is no part of any picture: it can't be seen through
    for place, image in enumerate(images):
        top, left = GAP + place // columns * high, GAP + place % columns * wide
        sheet[:, top : top + high - GAP, left : left + wide - GAP] = image
    return sheet


def write(path: Path, generator: Generator, samples: np.ndarray, labels: np.ndarray | None) -> None:
    """Write samples: a PNG sheet or a folder of PNGs, an .npz of arrays, or of series a CSV in the units of the data.

    Raises:
        ValueError: on a name that says none of these, or a folder that holds something.
    """
    kind, modality = path.suffix.lower(), generator.spec["modality"]
    if modality == "image" and not kind:
        write_files(path, to_bytes(samples))
    elif modality == "image" and kind == ".png":
        path.write_bytes(png(grid(to_bytes(samples))))
    elif kind == ".npz":
        x = generator.restored(samples) if modality == "sequence" else samples
        if labels is None:
            np.savez_compressed(path, x=x)
        else:
            np.savez_compressed(path, x=x, labels=labels)
    elif modality == "sequence" and kind == ".csv":
        write_table(path, generator, samples, labels)
    else:
        raise ValueError(
            f"'{path}' should end in .npz, or .png for images, or .csv for series; of images it may be a folder"
        )


def write_files(folder: Path, images: np.ndarray) -> None:
    """Write pictures of bytes as a file each, ``000000.png`` and so on, of their own size."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"'{folder}' exists and is not an empty folder; name another, or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        (folder / f"{number:06d}.png").write_bytes(png(image))


def harmless(text: object) -> object:
    """Return a text with an apostrophe before it where a spreadsheet would take it for a formula."""
    if not isinstance(text, str) or re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text):
        return text
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def write_table(path: Path, generator: Generator, windows: np.ndarray, labels: np.ndarray | None) -> None:
    """Write windows of series as a CSV in the units of the data, a row a step."""
    layout, classes = generator.spec["layout"], generator.spec["classes"]
    label = [] if labels is None else [layout.get("label") or layout.get("group") or "label"]
    named = [column.get("values") for column in layout["columns"]]
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["window", *(harmless(column["name"]) for column in layout["columns"]), *map(harmless, label)])
        for number, window in enumerate(generator.restored(windows)):
            asked = [] if labels is None else [harmless(classes[int(labels[number])])]
            for row in window[~np.isnan(window).any(1)]:
                pairs = zip(row, named, strict=True)
                cells = [harmless(words[int(x)]) if words else f"{x:.15g}" for x, words in pairs]
                table.writerow([number, *cells, *asked])
