"""The one reader of pickles: arrays come out whole, and whatever else a pickle may say is refused before it happens."""

from __future__ import annotations

import os
import pickle
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from saddlepoint.core.errors import DataError
from saddlepoint.data.sources import wheel


class _Evil:
    def __init__(self, call: object, *arguments: object) -> None:
        self._reduced = (call, arguments)

    def __reduce__(self) -> tuple:
        return self._reduced


def packed(shape: str, code: bytes = b"f4", content: bytes = b"") -> bytes:
    """Return the instructions that leave one array on the stack, as the NumPy of Python 2 wrote them."""
    numbers = b"".join(b"J" + struct.pack("<i", int(n)) for n in shape.split("x"))
    kind = b"cnumpy\ndtype\nU" + bytes([len(code)]) + code + b"K\0K\1\x87R"
    kind += b"(K\3U\1<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\1b\x87R"
    return made + b"(K\1(" + numbers + b"t" + kind + b"\x89T" + struct.pack("<i", len(content)) + content + b"tb"


def pairs(images: bytes, labels: bytes) -> bytes:
    """Return a pickle of three pairs."""
    return b"\x80\2(" + (images + labels + b"\x86") * 3 + b"t."


IMAGES = packed("2x3", content=np.arange(6, dtype="<f4").tobytes())
LABELS = packed("2", b"i8", np.array([7, 9], "<i8").tobytes())


def test_arrays_of_python_2_come_out_whole() -> None:
    for images, labels in wheel.unpickle_arrays(pairs(IMAGES, LABELS)):
        assert np.array_equal(images, np.arange(6, dtype=np.float32).reshape(2, 3))
        assert np.array_equal(labels, [7, 9])


@pytest.mark.parametrize("code", ["<f4", ">f4", "<f8", "<i4", ">i8", "u1"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_python_3_come_out_whole(code: str, order: str) -> None:
    made = np.asarray(np.arange(12).reshape(3, 4), dtype=code, order=order)  # type: ignore[call-overload]
    for images, labels in wheel.unpickle_arrays(pickle.dumps([(made, made[0])] * 3, protocol=4)):
        assert np.array_equal(images, made)
        assert np.array_equal(labels, made[0])
        assert images.dtype == made.dtype


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_pickles_that_run_code_are_refused(tmp_path: Path, protocol: int) -> None:
    flag = tmp_path / "ran"
    calls = (
        _Evil(os.system, f"touch {flag}"), _Evil(eval, "1"), _Evil(exec, "1"), _Evil(__import__, "os"),
        _Evil(getattr, Path, "touch"), _Evil(np.load, str(flag), "r", True), _Evil(np.fromfile, str(flag)),
        _Evil(_Evil, len), _Evil(Path.touch, flag),
    )  # fmt: skip
    for evil in calls:
        for content in (evil, [evil] * 3, [(np.zeros(3), evil)] * 3, {"a": evil}, np.array([evil], dtype=object)):
            with pytest.raises(DataError, match="refused"):
                wheel.unpickle_arrays(pickle.dumps(content, protocol=protocol))
    assert not flag.exists()


def nested(depth: int) -> bytes:
    """Return a tuple of two tuples of two tuples ...: few bytes, and endless to hash or to walk."""
    return b"\x80\2)" + b"q\0h\0\x86" * depth


HOSTILE = {
    "nothing": b"",
    "no pickle": b"not a pickle",
    "another function": b"cnumpy\nload\n.",
    "a function beside the known one": b"cnumpy.core.multiarray\nfromfile\n.",
    "a method by its dotted name": b"cnumpy\nndarray.tofile\n.",
    "the method of a method": b"\x80\4\x8c\5numpy\x8c\x1dndarray.__class__.__subclasses__\x93.",
    "the old name of getattr": b"c__builtin__\ngetattr\n.",
    "a chain of getattr": b"cbuiltins\ngetattr\n(cos\npath\nX\2\0\0\0ostR(X\6\0\0\0systemtR.",
    "an instance by INST": b"(S'touch /tmp/x'\nios\nsystem\n.",
    "an instance by OBJ": b"(cnumpy\nndarray\nK\1o.",
    "an instance by NEWOBJ": b"\x80\2cnumpy\nndarray\n)\x81.",
    "an extension": b"\x80\2\x82\1.",
    "a persistent object": b"Pname\n.",
    "numbers": pickle.dumps([1, 2, 3]),
    "words": pickle.dumps([(np.zeros(3), "x")] * 3),
    "an array of words": pickle.dumps([(np.zeros(3), np.array(["a"]))] * 3, protocol=4),
    "an array of objects": pickle.dumps([(np.zeros(3), np.array([None]))] * 3, protocol=4),
    "an array of records": pickle.dumps([(np.zeros(3), np.zeros(2, "f4,i8"))] * 3, protocol=4),
    "an array of three dimensions": pickle.dumps([(np.zeros((2, 2, 2)), np.zeros(2))] * 3, protocol=4),
    "two pairs": pickle.dumps([(np.zeros(3), np.zeros(3))] * 2, protocol=4),
    "triples": pickle.dumps([(np.zeros(3),) * 3] * 3, protocol=4),
    "the class itself": pairs(b"cnumpy\nndarray\n", LABELS),
    "an array without content": pairs(b"cnumpy\nndarray\n)R", LABELS),
    "an array of a size alone": pairs(b"cnumpy\nndarray\nJ\0\0\0\x40\x85R", LABELS),
    "a state for the class": pairs(b"cnumpy\nndarray\nNb", LABELS),
    "a state for a tuple": pairs(b")Nb", LABELS),
    "attributes for the class": pairs(b"cnumpy\nndarray\n(N}tb", LABELS),
    "a type of objects": pairs(packed("1", b"O8", bytes(8)), LABELS),
    "a type of nothing": pairs(packed("1", b"V0"), LABELS),
    "a terabyte promised": pairs(packed("1000000x250000"), LABELS),
    "a shape that overflows": pairs(packed("2147483647x2147483647"), LABELS),
    "a negative shape": pairs(packed("-1x-1", content=bytes(4)), LABELS),
    "a shape without numbers": pairs(packed("1", content=bytes(4)).replace(b"J\1\0\0\0", b"U\1a"), LABELS),
    "content too short": pairs(packed("2x3", content=bytes(20)), LABELS),
    "content too long": pairs(packed("2x3", content=bytes(28)), LABELS),
    "an array that contains itself": b"\x80\2](h\0h\0e.",
    "a list that contains itself": b"\x80\2]q\0h\0a.",
    "nested tuples": nested(300) + b".",
    "nested tuples as a key": b"\x80\2}" + nested(60)[2:] + b"K\1s.",
    "nested tuples in a set": b"\x80\4\x8f(" + nested(60)[2:] + b"\x90.",
    "a list of many places": b"\x80\2](" + b"h\0" * 100_000 + b"e.",
    "deep tuples": b"\x80\2)" + b"\x85" * 100_000 + b".",
    "a place far away in the memo": b"\x80\2)r\xff\xff\xff\x7f.",
    "a text of a terabyte": b"\x80\4\x8e" + struct.pack("<Q", 2**40) + b"a.",
    "a frame of a terabyte": b"\x80\4\x95" + struct.pack("<Q", 2**40) + b"N.",
    "a number of a million digits": b"\x80\2\x8b" + struct.pack("<i", 10**6) + b"\x7f" * 10**6 + b".",
    "a negative length": b"\x80\2T\xff\xff\xff\xff.",
    "a later protocol": b"\x80\x63N.",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_pickles_that_are_not_arrays_are_refused(name: str) -> None:
    data = HOSTILE[name]
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="pickle"):
            wheel.unpickle_arrays(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * len(data) + 2**20, "memory was taken for what is only promised"


@pytest.mark.parametrize("seed", range(4))
def test_no_damage_to_a_pickle_does_harm(seed: int) -> None:
    whole, rng = bytearray(pairs(IMAGES, LABELS)), np.random.default_rng(seed)
    for end in range(seed, len(whole), 4):
        with pytest.raises(DataError, match="pickle"):
            wheel.unpickle_arrays(bytes(whole[:end]))
    for _ in range(1000):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), rng.integers(1, 4)):
            damaged[place] = rng.integers(0, 256)
        try:
            found = wheel.unpickle_arrays(bytes(damaged))
        except DataError:
            continue
        assert all(images.nbytes + labels.nbytes <= len(whole) for images, labels in found)
