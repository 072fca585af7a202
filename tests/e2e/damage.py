"""Damage to files: at random, in the bytes as they lie and in what is packed inside them, drawn by hypothesis.

A damaged archive or picture is mostly refused by its checksum before anything else of it is read. So a file is also
opened, damaged inside, and closed again with its checksums and lengths right.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

Close = Callable[[bytes], bytes]
Opened = tuple[bytes, Close] | None
"""What is inside, and how it is closed again; None: there is no such inside."""

NUMBERS: tuple[Any, ...] = (0, -1, 1, 7, 255, 2**31 - 1, 2**32, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308, -1e308)
VALUES: tuple[Any, ...] = (
    *NUMBERS, float("nan"), float("inf"), "", "0", "nan", "x" * 5000, "../../outside", "/outside", "\x00", "\ud7ff",
    None, True, [], {}, [[]], [0] * 1000, [None], {"a": 1}, [-1, -1], [2**40], [2**20, 2**20, 2**20],
)  # fmt: skip
CELLS = (
    "", " ", "nan", "NaN", "inf", "-inf", "1e999", "-1e308", "abc", "=1+1", '"', "'", "\x00", "2020-13-45",
    "2020-01-01", "0001-01-01", "9999-12-31T23:59:59", "9" * 400, "1_000", "0x10", "True", ",", ",,,,", "\n", "\r",
    "\t", ";", "\ufeff", "é", "1,5", "-", "--1", "1e", "null", "0" * 5000,
)  # fmt: skip
EXTREMES = tuple(
    struct.pack(order + code, value)
    for order in "<>"
    for code, values in (
        ("B", (0, 1, 127, 255)),
        ("H", (0, 65535)),
        ("I", (0, 2**31, 2**32 - 1)),
        ("Q", (0, 2**64 - 1)),
    )
    for value in values
)


@dataclass(frozen=True)
class Edit:
    """One change.

    Attributes:
        layer: which inside of the file is changed; 0: the file as it lies.
        kind: which of the changes that the layer has.
        where: in [0, 1]: place in the layer.
        length: bytes concerned.
        payload: bytes to write.
        choice: which of the values above.
    """

    layer: int
    kind: int
    where: float
    length: int
    payload: bytes
    choice: int


def edits() -> st.SearchStrategy[list[Edit]]:
    """Return the strategy of one to four changes."""
    one = st.builds(
        Edit,
        layer=st.integers(0, 5),
        kind=st.integers(0, 6),
        where=st.floats(0, 1),
        length=st.sampled_from([1, 1, 2, 4, 8, 64, 1000, 10**6]),
        payload=st.one_of(st.sampled_from(EXTREMES), st.binary(max_size=40)),
        choice=st.integers(0, 10**6),
    )
    return st.lists(one, min_size=1, max_size=4)


def damaged(content: bytes, changes: list[Edit]) -> bytes:
    """Return the content with all changes made."""
    for edit in changes:
        content = _changed(content, edit)
    return content


def _changed(content: bytes, edit: Edit) -> bytes:
    """Make one change: in the file as it lies, or as deep in it as the layer says."""
    close: list[Close] = []
    for _ in range(edit.layer):
        opened = next((found for form in _FORMS if (found := form(content, edit.where)) is not None), None)
        if opened is None:
            break
        content, closing = opened
        close.append(closing)
    if edit.layer and (structured := _in_structure(content, edit)) is not None:
        content = structured
    else:
        content = _in_bytes(content, edit)
    for closing in reversed(close):
        content = closing(content)
    return content


def _in_bytes(content: bytes, edit: Edit) -> bytes:
    start = int(edit.where * len(content))
    stop = min(len(content), start + edit.length)
    head, middle, tail = content[:start], content[start:stop], content[stop:]
    if edit.kind == 0:
        return head
    if edit.kind == 1:
        return head + tail
    if edit.kind == 2:
        return head + middle * 2 + tail
    if edit.kind == 3:
        return head + edit.payload + content[start:]
    if edit.kind == 4:
        return head + edit.payload + content[start + len(edit.payload) :]
    if edit.kind == 5:
        return head + bytes([middle[0] ^ (1 << edit.choice % 8)]) + content[start + 1 :] if middle else content
    return head + bytes(len(middle)) + tail


def _in_structure(content: bytes, edit: Edit) -> bytes | None:
    """Put a hostile value in place of one that a JSON document or a table holds; None: it is neither."""
    if content[:1] in (b"{", b"["):
        try:
            tree = json.loads(content)
        except ValueError:
            return None
        return json.dumps(_planted(tree, edit)).encode(errors="surrogatepass")
    text = content[:4000]
    if text and b"\x00" not in text and (b"," in text or b"\n" in text or b" " in text):
        for mark in (b",", b"\n", b" "):
            if mark in text:
                cells = content.split(mark)
                cells[min(int(edit.where * len(cells)), len(cells) - 1)] = CELLS[edit.choice % len(CELLS)].encode()
                return mark.join(cells)
    return None


def _planted(tree: Any, edit: Edit) -> Any:
    """Put a value in place of one leaf or branch, take it away, or nest it."""
    places = list(_places(tree))
    if not places:
        return VALUES[edit.choice % len(VALUES)]
    holder, key = places[min(int(edit.where * len(places)), len(places) - 1)]
    if edit.kind == 0 and isinstance(holder, dict):
        del holder[key]
    elif edit.kind == 1:
        nested = holder[key]
        for _ in range(edit.length % 500):
            nested = [nested]
        holder[key] = nested
    else:
        holder[key] = VALUES[edit.choice % len(VALUES)]
    return tree


def _places(tree: Any) -> Any:
    for key in tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ():
        yield tree, key
        yield from _places(tree[key])


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
            members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    except Exception:  # it has been damaged already
        return None
    if not members:
        return None
    chosen = min(int(where * len(members)), len(members) - 1)

    def close(inside: bytes) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for number, (name, data) in enumerate(members):
                archive.writestr(zipfile.ZipInfo(name), inside if number == chosen else data)
        return buffer.getvalue()

    return members[chosen][1], close


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
    """Open the header of a .npy file."""
    if content[:6] != b"\x93NUMPY" or len(content) < 10:
        return None
    length = struct.unpack("<H", content[8:10])[0]
    version, rest = content[:8], content[10 + length :]
    return content[10 : 10 + length], lambda inside: version + struct.pack("<H", len(inside) % 2**16) + inside + rest


_FORMS = (_gzip, _zip, _png, _deflated, _tensors, _array)
