"""Damage to pickles, instruction by instruction, so that more than a broken stream is tried.

Names are put into them that no list allows: of a module of these tests that nothing else imports (`trap.py`), so that
whoever looks a name up is found out by what is in `sys.modules` then.
"""

from __future__ import annotations

import functools
import io
import pickle
import pickletools
import struct
from dataclasses import dataclass

TRAP = "tests.e2e.trap"
"""A module that no reader may import, with `spring` in it."""

WORDS = (
    TRAP, "spring", "torch._utils", "_rebuild_tensor_v2", "torch.FloatStorage", "collections", "OrderedDict", "storage",
    "cpu", "0", "", "../../outside", "x" * 5000, "G_ema", "state", "_modules", "class_name", "__class__", "__reduce__",
)  # fmt: skip
WHOLES = (0, 1, -1, 255, 65_535, 2**31 - 1, -(2**31))

CALL = f"c{TRAP}\nspring\n".encode() + pickle.EMPTY_TUPLE + pickle.REDUCE
INSTANCE = pickle.MARK + b"i" + f"{TRAP}\nspring\n".encode()
EXTRA = (
    CALL, INSTANCE, pickle.REDUCE, pickle.BUILD, pickle.NEWOBJ, pickle.DUP, pickle.POP, pickle.MARK, pickle.POP_MARK,
    pickle.NONE, pickle.EMPTY_DICT, pickle.EMPTY_LIST, pickle.EMPTY_TUPLE, pickle.BINPERSID, pickle.STOP, pickle.TUPLE2,
    pickle.APPENDS, pickle.SETITEMS, pickle.BINGET + b"\x00", pickle.BINGET + b"\xff", pickle.MEMOIZE,
    pickle.EXT1 + b"\x01", pickle.STACK_GLOBAL, pickle.NEWOBJ_EX,
)  # fmt: skip
"""What is put between two instructions."""


@dataclass(frozen=True)
class Instruction:
    """One of a pickle: its name, its argument, and where it stands."""

    name: str
    argument: object
    start: int
    stop: int


def in_instructions(content: bytes, kind: int, where: float, choice: int, length: int) -> bytes | None:
    """Change one instruction of a pickle, or of one of several that follow each other.

    Args:
        content: begins with a pickle.
        kind: in [0, 6]: what is done.
        where: in [0, 1]: to which instruction.
        choice, length: what is put there, and how often.
    """
    found = _instructions(content)
    if not found:
        return None
    at = min(int(where * len(found)), len(found) - 1)
    one = found[at]
    head, middle, tail = content[: one.start], content[one.start : one.stop], content[one.stop :]
    match kind:
        case 0:
            return head + tail
        case 1:
            return head + middle * (2 + length % 50) + tail
        case 2:
            other = found[choice % len(found)]
            return head + content[other.start : other.stop] + tail
        case 3:
            return head + EXTRA[choice % len(EXTRA)] + content[one.start :]
        case _:
            return head + (_changed(one, choice) or EXTRA[choice % len(EXTRA)]) + tail


@functools.lru_cache(maxsize=4)  # a whole file is damaged thousands of times
def _instructions(content: bytes) -> list[Instruction]:
    """Return the instructions of all pickles at the beginning of a content."""
    file, found = io.BytesIO(content), list[Instruction]()
    while content[file.tell() : file.tell() + 1] == b"\x80":
        first = file.tell()
        try:
            ops = [(op.name, argument, place) for op, argument, place in pickletools.genops(file)]
        except Exception:  # it has been damaged already
            return found
        # `genops` counts from where the file stands, if it can tell.
        stops = [place for *_, place in ops[1:]] + [file.tell()]
        found += [Instruction(*op, stop) for op, stop in zip(ops, stops, strict=True)]
        if file.tell() == first:
            break
    return found


def _changed(one: Instruction, choice: int) -> bytes | None:
    """Return the instruction with another argument; None: it has none that is known here."""
    match one.argument:
        case bool() | None:
            return None
        case int():
            return pickle.BININT + struct.pack("<i", WHOLES[choice % len(WHOLES)])
        case str() if one.name == "GLOBAL":
            module, name = WORDS[choice % len(WORDS)], WORDS[choice // 7 % len(WORDS)]
            return f"c{module}\n{name}\n".encode()
        case str():
            word = WORDS[choice % len(WORDS)].encode()
            return pickle.BINUNICODE + struct.pack("<I", len(word)) + word
        case _:
            return None
