"""Walks through the heads of picture files, by their bytes alone, before Pillow opens them.

Pillow keeps what a directory of tags points at, however often the same bytes are pointed at, and reads directories and
frames to their end to count pages: a few megabytes can ask for hours and terabytes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from saddlepoint.data import limits

_UNITS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
"""Bytes of one value of each type of a tag."""
_SPARE = 1024**2
_MARK = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")
"""Begins a segment of a JPEG. Within a scan 0xFF is always followed by 0 or a restart mark; decoders pass over what is
below 0xC0 there, without a length."""
_SCAN, _END = 0xDA, 0xD9
BARE = frozenset({0xC8, 0xD8, 0xD9, *range(0xF0, 0xFE)})
"""Marks after which Pillow expects no length."""
_MOST_PASSED, _MOST_EXIF = 100_000, 100
"""Bytes between the segments of a JPEG, and segments of EXIF."""
_MOST_REMARKS = 10_000
"""Remarks in a picture that is written as text (PPM)."""
_MOST_SEGMENTS = 100_000
"""Segments of a JPEG: profiles and remarks in pieces of 64 KiB, tables of each scan."""


class Costly(Exception):
    """A head asks for far more than its file holds; the text says what."""


def check_head(data: bytes) -> int:
    """Refuse a file whose head would be costly to open; return how often decoding goes over all pixels (JPEG's scans).

    Raises:
        Costly: a JPEG with very many scans, a TIFF or EXIF whose tags overlap, or with very many pages, a PPM with very
            many remarks.
    """
    if data[:2] == b"\xff\xd8":
        return _check_jpeg(data)
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        check_directories(data)
    elif data[:8] == b"\x89PNG\r\n\x1a\n":
        _check_exif(_chunk(data, b"eXIf", 8, ">", 4))
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        _check_exif(_chunk(data, b"EXIF", 12, "<", 0))
    elif data[:4] == b"GIF8":
        gif_frames(data)
    elif data[:2] in (b"P1", b"P2", b"P3") and (remarks := data.count(b"#")) > _MOST_REMARKS:
        # Pillow copies what is left of a block for each.
        raise Costly(f"a picture written as text, with {remarks:,} remarks, more than {_MOST_REMARKS:,}")
    elif data[4:8] == b"ftyp":
        _check_exif(_exif_of_boxes(data))
    return 1


def _check_jpeg(data: bytes) -> int:
    """Refuse more scans than any encoder writes, and tags that overlap; return the number of scans."""
    if (scans := scans_of(data)) > limits.MOST_SCANS:
        raise Costly(f"a JPEG of {scans:,} scans, more than {limits.MOST_SCANS}")
    exif, others = list[bytes](), list[bytes]()
    for mark, segment in segments_of(data):
        if mark == 0xE1 and segment.startswith(b"Exif\0\0"):
            exif.append(segment[6:])
        elif mark == 0xE2 and segment.startswith(b"MPF\0"):
            others.append(segment[4:])
        if len(exif) > _MOST_EXIF:
            raise Costly(f"a JPEG with EXIF in more than {_MOST_EXIF} pieces")  # which Pillow puts together one by one
    for head in (b"".join(exif), *others):
        _check_exif(head)
    return scans


def segments_of(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield marks and contents of a JPEG's segments before its first scan, as Pillow finds them.

    Raises:
        Costly: if there are very many.
        ValueError: if very many bytes stand between them, which Pillow would pass over one by one.
    """
    place, passed, count = 2, 0, 0
    while passed <= _MOST_PASSED:
        found = _MARK.search(data, place)
        passed += (len(data) if found is None else found.start()) - place
        if found is None or (mark := data[found.end() - 1]) == _SCAN:
            break
        place = found.end()
        if mark in BARE:
            passed += 2
            continue
        size, count = max(2, int.from_bytes(data[place : place + 2], "big")), count + 1
        if count > _MOST_SEGMENTS:
            raise Costly(f"a JPEG of more than {_MOST_SEGMENTS:,} segments")
        yield mark, data[place + 2 : place + size]
        place += size
    if passed > _MOST_PASSED:
        raise ValueError(f"a JPEG with more than {_MOST_PASSED:,} bytes between its segments")


def scans_of(data: bytes) -> int:
    """Return how many scans a JPEG has until its end mark.

    What follows is no part of it: telephones put a short film there, in which any bytes occur. Nor is what a segment
    holds, such as a preview.

    Raises:
        Costly: if it has very many segments.
    """
    place, scans, segments = 2, 0, 0
    while (mark := _MARK.search(data, place)) is not None and data[mark.end() - 1] != _END:
        scans += data[mark.end() - 1] == _SCAN
        segments += 1
        if segments > _MOST_SEGMENTS:
            raise Costly(f"a JPEG of more than {_MOST_SEGMENTS:,} segments")
        place = mark.end() + max(2, int.from_bytes(data[mark.end() : mark.end() + 2], "big"))
    return scans


def _check_exif(head: bytes) -> None:
    head = head.removeprefix(b"Exif\0\0")
    if head[:4] in (b"II*\0", b"MM\0*"):
        check_directories(head)


def check_directories(data: bytes) -> int:
    """Go through the directories of a TIFF, or of EXIF, and return how many there are.

    Raises:
        Costly: if tags claim more bytes than there are, or there are too many of them or of directories.
    """
    order, big = "<" if data[:1] == b"I" else ">", data[2:4] in (b"+\0", b"\0+")
    number, offset, entry = (f"{order}Q", f"{order}Q", 20) if big else (f"{order}H", f"{order}I", 12)
    width, jump = struct.calcsize(number), struct.calcsize(offset)
    seen, entries = set[int](), 0
    try:
        (place,) = struct.unpack_from(offset, data, 8 if big else 4)
        while place and place not in seen:
            seen.add(place)
            (count,) = struct.unpack_from(number, data, place)
            count = min(count, (len(data) - place - width) // entry)
            entries += count
            if entries > limits.MOST_TAGS or len(seen) > limits.MOST_PAGES:
                raise Costly(
                    f"its directories hold more than {limits.MOST_PAGES:,} pages, or {limits.MOST_TAGS:,} tags"
                )
            _check_tags(data, place + width, count, order, big)
            (place,) = struct.unpack_from(offset, data, place + width + count * entry)
            if place + jump > len(data):
                break
    except struct.error:  # it ends within a directory
        pass
    return len(seen)


_PARTS = (273, 279, 324, 325)
"""Tags of a TIFF with one value for each strip or tile: where it is, how long it is."""


def _check_tags(data: bytes, start: int, count: int, order: str, big: bool) -> None:
    """Refuse a directory whose tags together claim more bytes than the file has."""
    entry = struct.Struct(f"{order}HHQ8x" if big else f"{order}HHI4x")
    claimed = 0
    for tag, kind, number in entry.iter_unpack(data[start : start + count * entry.size]):
        if tag in _PARTS and number > limits.MOST_STRIPS:
            raise Costly(f"a page of it is cut into {number:,} strips or tiles, more than {limits.MOST_STRIPS:,}")
        size = number * _UNITS.get(kind, 0)
        claimed += size if size <= len(data) else 0  # Pillow leaves out what the file cannot hold
    if claimed > len(data) + _SPARE:
        raise Costly(f"its tags claim {claimed:,} bytes of a file of {len(data):,}")


def _chunk(data: bytes, name: bytes, place: int, order: str, after: int) -> bytes:
    """Return the content of a chunk of a PNG or RIFF file; none if there is none."""
    while place + 8 <= len(data):
        if order == ">":
            size, what = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        else:
            what, size = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        if what == name:
            return data[place + 8 : place + 8 + size]
        place += 8 + size + after + (size & 1 if order == "<" else 0)
    return b""


def _exif_of_boxes(data: bytes) -> bytes:
    """Return what may be the EXIF of an AVIF or JPEG 2000 file, which has no fixed place: what follows its mark."""
    place = data.find(b"Exif\0\0")
    return data[place:] if place >= 0 else b""


def gif_frames(data: bytes) -> int:
    """Return how many frames a GIF holds; where it is damaged, those before.

    Raises:
        Costly: if there are too many.
    """
    place, frames = 13 + _table(data[10:11]), 0
    while place < len(data):
        mark = data[place]
        if mark == 0x21:
            place = _past_blocks(data, place + 2)
        elif mark == 0x2C:
            frames += 1
            if frames > limits.MOST_PAGES:
                raise Costly(f"a GIF of more than {limits.MOST_PAGES:,} frames")
            place = _past_blocks(data, place + 11 + _table(data[place + 9 : place + 10]))
        else:
            break
    return frames


def _table(flags: bytes) -> int:
    """Return the bytes of a table of colours."""
    return 3 << ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0


def _past_blocks(data: bytes, place: int) -> int:
    while place < len(data) and data[place]:
        place += 1 + data[place]
    return place + 1
