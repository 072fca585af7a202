"""What a Feather or Arrow file unpacks to, by its messages alone: Arrow unpacks a batch before it can be seen."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from saddlepoint.data import limits

_MAGIC = b"ARROW1\0\0"
_BATCH, _DICTIONARY = 3, 2
"""Kinds of messages, as Arrow's format numbers them (Message.fbs)."""


def check_feather(path: Path) -> None:
    """Refuse a file whose batches would unpack to too much; other files pass, and fail where they are read.

    Raises:
        DataError: if rows times columns, or eighths of the unpacked bytes, are too many.
    """
    import pyarrow as pa

    size, total = path.stat().st_size, 0
    with open(path, "rb") as file:
        if file.read(8) != _MAGIC:
            return
        try:
            for message in pa.ipc.MessageReader.open_stream(file):
                total += sum(_lengths(message.metadata.to_pybytes(), message.body)) // 8
                limits.check_table(str(path), total, size)
        except (pa.ArrowException, OSError, struct.error, StopIteration):  # the footer, or damage
            return


def _lengths(head: bytes, body: memoryview | None) -> Iterator[int]:
    """Yield how many bytes the buffers of a batch have once they are unpacked, and how many its rows take at least."""
    message = _root(head)
    kind = _field(head, message, 1)
    if body is None or not kind or head[kind] not in (_BATCH, _DICTIONARY):
        return
    batch = _table(head, _field(head, message, 2))
    if head[kind] == _DICTIONARY:
        batch = _table(head, _field(head, batch, 1))
    if length := _field(head, batch, 0):
        yield 8 * struct.unpack_from("<q", head, length)[0]
    packed = bool(_field(head, batch, 3))
    if not (place := _field(head, batch, 2)):
        return
    start = place + struct.unpack_from("<I", head, place)[0]
    for offset, size in struct.iter_unpack("<qq", _vector(head, start)):
        unpacked = struct.unpack_from("<q", body, offset)[0] if packed and size >= 8 else -1
        yield max(unpacked, size)


def _root(head: bytes) -> int:
    return int(struct.unpack_from("<I", head, 0)[0])


def _field(head: bytes, table: int, number: int) -> int:
    """Return where a field of a table stands, or 0."""
    fields = table - struct.unpack_from("<i", head, table)[0]
    if 4 + 2 * number >= struct.unpack_from("<H", head, fields)[0]:
        return 0
    offset = struct.unpack_from("<H", head, fields + 4 + 2 * number)[0]
    return int(table + offset) if offset else 0


def _table(head: bytes, place: int) -> int:
    """Return where the table stands that a field points at."""
    return int(place + struct.unpack_from("<I", head, place)[0])


def _vector(head: bytes, start: int) -> bytes:
    """Return the entries of a vector of structures of 16 bytes."""
    return head[start + 4 : start + 4 + 16 * struct.unpack_from("<I", head, start)[0]]
