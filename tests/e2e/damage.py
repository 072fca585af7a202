"""Damage to files, drawn from a seed: in the bytes as they lie, and in what is packed inside them.

A damaged archive or picture is mostly refused by its checksum before anything else of it is read. So a file is also
opened (`forms.py`), damaged inside, and closed again with its checksums and lengths right.
"""

from __future__ import annotations

import json
import random
import re
import struct
from dataclasses import dataclass
from typing import Any

from tests.e2e.forms import FORMS, Close
from tests.e2e.instructions import in_instructions

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


def edits(rng: random.Random) -> list[Edit]:
    """Draw one to four changes."""

    def one() -> Edit:
        extreme = rng.random() < 0.5
        return Edit(
            layer=rng.randrange(6),
            kind=rng.randrange(7),
            # Beginnings are where files say what they are.
            where=rng.random() ** rng.choice((1, 1, 4)),
            length=rng.choice((1, 1, 2, 4, 8, 64, 1000, 10**6)),
            payload=rng.choice(EXTREMES) if extreme else rng.randbytes(rng.randrange(41)),
            choice=rng.randrange(10**6),
        )

    return [one() for _ in range(rng.randint(1, 4))]


def damaged(content: bytes, changes: list[Edit]) -> bytes:
    """Return the content with all changes made."""
    for edit in changes:
        content = _changed(content, edit)
    return content


def _changed(content: bytes, edit: Edit) -> bytes:
    """Make one change: in the file as it lies, or as deep in it as the layer says."""
    close: list[Close] = []
    for _ in range(edit.layer):
        opened = next((found for form in FORMS if (found := form(content, edit.where)) is not None), None)
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
    """Put a hostile value in place of one that a document, a table or a pickle holds; None: it is none of these."""
    if content[:1] in (b"{", b"["):
        try:
            tree = json.loads(content)
        except ValueError:
            return None
        return json.dumps(_planted(tree, edit)).encode(errors="surrogatepass")
    if content[:1] == b"\x80":
        return in_instructions(content, edit.kind, edit.where, edit.choice, edit.length)
    cell = CELLS[edit.choice % len(CELLS)].encode()
    if content[:1] == b"<":
        # Marks of XML stand between what it says.
        return _with(re.split(rb'([<>"])', content), edit.where, cell, b"")
    text = content[:4000]
    if text and b"\x00" not in text and (b"," in text or b"\n" in text or b" " in text):
        for mark in (b",", b"\n", b" "):
            if mark in text:
                return _with(content.split(mark), edit.where, cell, mark)
    return None


def _with(parts: list[bytes], where: float, instead: bytes, mark: bytes) -> bytes:
    """Return text with one of its parts replaced."""
    parts[min(int(where * len(parts)), len(parts) - 1)] = instead
    return mark.join(parts)


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
