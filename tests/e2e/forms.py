"""What is packed inside a file, and how it is packed again, with checksums and lengths right.

A form is given the content of a file and a place in [0, 1], and opens one part of it: a member, a chunk, a header.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

Close = Callable[[bytes], bytes]
Opened = tuple[bytes, Close] | None
"""What is inside, and how it is closed again; None: there is no such inside."""

HEADS = 0.3
"""Below this place it is the heads of an archive's members that are opened, as JSON; above, a member."""


def _gzip(content: bytes, where: float) -> Opened:
    if content[:2] != b"\x1f\x8b":
        return None
    try:
        return gzip.decompress(content), gzip.compress
    except (OSError, EOFError, zlib.error):
        return None


def _zip(content: bytes, where: float) -> Opened:
    if content[:2] != b"PK":
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            found = archive.infolist()
            members = [(info.filename, archive.read(info)) for info in found]
    except Exception:  # it has been damaged already
        return None
    if not members:
        return None

    def pack(members: list[tuple[str, bytes]], infos: list[dict[str, Any]]) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for (name, data), head in zip(members, infos, strict=True):
                info = zipfile.ZipInfo(str(head.get("filename", name)) or "x")
                packed = head.get("packed") in (True, None)  # PyTorch's files and plain .npz are not
                info.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
                info.external_attr = _whole(head.get("external_attr"))
                archive.writestr(info, data)
        return buffer.getvalue()

    heads = [
        {"filename": info.filename, "external_attr": 0o644 << 16, "packed": info.compress_type != zipfile.ZIP_STORED}
        for info in found
    ]
    return _archive(members, heads, where, pack)


def _tar(content: bytes, where: float) -> Opened:
    if content[257:262] != b"ustar":
        return None
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            found = [(info, archive.extractfile(info)) for info in archive.getmembers()]
            members = [(info.name, file.read() if file else b"") for info, file in found]
    except Exception:  # it has been damaged already
        return None
    if not members:
        return None

    def pack(members: list[tuple[str, bytes]], infos: list[dict[str, Any]]) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for (name, data), head in zip(members, infos, strict=True):
                info = tarfile.TarInfo(str(head.get("name", name)).replace("\x00", "_"))
                info.type = str(head.get("type", "0")).encode("latin1", "replace")[:1] or b"0"
                info.linkname, info.size = str(head.get("linkname", "")).replace("\x00", "_"), len(data)
                archive.addfile(info, io.BytesIO(data))
        return buffer.getvalue()

    heads = [{"name": info.name, "type": info.type.decode("latin1"), "linkname": "../outside"} for info, _ in found]
    return _archive(members, heads, where, pack)


def _archive(
    members: list[tuple[str, bytes]],
    heads: list[dict[str, Any]],
    where: float,
    pack: Callable[[list[tuple[str, bytes]], list[dict[str, Any]]], bytes],
) -> Opened:
    """Open the heads of all members, or one of these."""
    if where < HEADS:

        def close_heads(inside: bytes) -> bytes:
            try:
                changed = json.loads(inside)
                rows = [row if isinstance(row, dict) else {} for row in changed][: len(members)]
                return pack(members[: len(rows)], rows)
            except (ValueError, TypeError, OverflowError, UnicodeError, tarfile.TarError):
                return inside  # what the packer itself does not take

        return json.dumps(heads).encode(), close_heads
    chosen = min(int((where - HEADS) / (1 - HEADS) * len(members)), len(members) - 1)

    def close(inside: bytes) -> bytes:
        return pack([(n, inside if i == chosen else data) for i, (n, data) in enumerate(members)], heads)

    return members[chosen][1], close


def _whole(value: Any) -> int:
    """Return a number that the field of a head can hold."""
    return int(value) % 2**32 if isinstance(value, int) else 0


def _png(content: bytes, where: float) -> Opened:
    """Open one chunk of a PNG."""
    if content[:8] != b"\x89PNG\r\n\x1a\n":
        return None
    chunks, at = [], 8
    while at + 8 <= len(content):
        length, name = struct.unpack(">I4s", content[at : at + 8])
        chunks.append((name, content[at + 8 : at + 8 + length]))
        at += 12 + length
    if not chunks:
        return None
    chosen = min(int(where * len(chunks)), len(chunks) - 1)

    def close(inside: bytes) -> bytes:
        parts = [content[:8]]
        for number, (name, data) in enumerate(chunks):
            data = inside if number == chosen else data
            parts.append(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)))
        return b"".join(parts)

    return chunks[chosen][1], close


def _deflated(content: bytes, where: float) -> Opened:
    """Open a stream such as that of a PNG's pixels or a MATLAB file's matrix."""
    if content[:2] not in (b"x\x9c", b"x\xda", b"x\x01"):
        return None
    try:
        return zlib.decompress(content), zlib.compress
    except zlib.error:
        return None


def _tensors(content: bytes, where: float) -> Opened:
    """Open the header of a safetensors file."""
    if len(content) < 10 or content[8:9] != b"{":
        return None
    length = struct.unpack("<Q", content[:8])[0]
    if length > len(content):
        return None
    rest = content[8 + length :]
    return content[8 : 8 + length], lambda inside: struct.pack("<Q", len(inside)) + inside + rest


def _array(content: bytes, where: float) -> Opened:
    """Open the header of an .npy file."""
    if content[:6] != b"\x93NUMPY" or len(content) < 10:
        return None
    length = struct.unpack("<H", content[8:10])[0]
    version, rest = content[:8], content[10 + length :]
    return content[10 : 10 + length], lambda inside: version + struct.pack("<H", len(inside) % 2**16) + inside + rest


FORMS = (_gzip, _zip, _tar, _png, _deflated, _tensors, _array)
"""All forms; at most one opens a file."""
