"""Pickles of weights: tensors and plain values are read, everything else is refused, and nothing is carried out.

All inputs are harmless: what would be noticed is that a name was looked up, or memory asked for.
"""

from __future__ import annotations

import datetime
import io
import pickle
import random
import resource
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from saddlepoint.core.errors import CheckpointError, SaddlepointError
from saddlepoint.run.imports import archives, pickles
from saddlepoint.run.imports.archives import read_file
from saddlepoint.run.imports.importing import import_weights
from saddlepoint.run.imports.machine import Budget
from saddlepoint.run.imports.pickles import Part
from saddlepoint.run.imports.stored import Refused, Storage, Stored
from tests.unit.reference_stylegan2 import Drawn, pickled


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def instructions(*parts: bytes) -> bytes:
    return b"\x80\x04" + b"".join(parts) + b"."


def text(word: str) -> bytes:
    return b"\x8c" + bytes([len(word)]) + word.encode()


def name(module: str, word: str) -> bytes:
    return text(module) + text(word) + b"\x93"


def whole(number: int) -> bytes:
    content = number.to_bytes(number.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(content)]) + content


def kept(count: int, there: int | None = None, kind: str = "FloatStorage") -> bytes:
    """Return a storage as it is kept within a pickle: it says ``count``, and holds ``there``."""
    told = b"(" + text("storage") + name("torch", kind) + text("0") + text("cpu") + whole(count) + b"Nt" + b"Q"
    system = b"\x80\x04}(" + text("little_endian") + b"\x88u."
    numbers = bytes(4 * (count if there is None else there))
    content = (
        instructions(whole(pickles.MAGIC)), instructions(whole(pickles.LEGACY_VERSION)), system, instructions(told),
        instructions(b"](" + text("0") + b"e"), struct.pack("<q", count), numbers,
    )  # fmt: skip
    found = b"".join(content)
    return name("torch.storage", "_load_from_bytes") + b"B" + struct.pack("<I", len(found)) + found + b"\x85R"


def tensor(storage: bytes, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    sizes = (b"(" + b"".join(map(whole, each)) + b"t" for each in (shape, stride))
    return (
        name("torch._utils", "_rebuild_tensor_v2") + b"(" + storage + whole(offset) + b"".join(sizes) + b"\x89Nt" + b"R"
    )


def test_a_tensor_is_read_as_it_was_written(tmp_path: Path) -> None:
    wanted = torch.arange(24.0).reshape(2, 3, 4)
    for number, protocol in enumerate((2, 3, 4, 5)):
        path = written(tmp_path / f"{number}.pkl", pickle.dumps({"w": wanted, "t": wanted.permute(2, 0, 1)}, protocol))
        found = read_file(path)
        assert torch.equal(found["w"].read(), wanted)
        assert torch.equal(found["t"].read(), wanted.permute(2, 0, 1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool])
def test_every_kind_of_number_is_read_in_every_form(dtype: torch.dtype, tmp_path: Path) -> None:
    wanted = torch.tensor([[0, 1, 1], [1, 0, 1]]).to(dtype)
    for number, archive in enumerate((True, False)):
        torch.save(OrderedDict(w=wanted), tmp_path / f"{number}.pt", _use_new_zipfile_serialization=archive)
        assert torch.equal(read_file(tmp_path / f"{number}.pt")["w"].read(), wanted)
    assert torch.equal(read_file(written(tmp_path / "x.pkl", pickle.dumps({"w": wanted})))["w"].read(), wanted)


def test_by_hand_a_tensor_is_read(tmp_path: Path) -> None:
    found = read_file(written(tmp_path / "x", instructions(tensor(kept(12), 0, (3, 4), (4, 1)))))
    assert torch.equal(found.read(), torch.zeros(3, 4))


def test_source_text_stays_text(tmp_path: Path) -> None:
    # The text in the file raises, and the names that it stands under are not to be had here.
    drawn = Drawn((4, 4))
    found = read_file(pickled(tmp_path / "x.pkl", {"G_ema": drawn.g}))
    assert isinstance(found["G_ema"], Part)
    assert not any(module.startswith(("torch_utils", "dnnlib")) for module in sys.modules)
    assert found["G_ema"].parts["mapping"].parts["fc0"].facts["bias_gain"] == 0.01


def test_no_name_is_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Watched(types.ModuleType):
        def __getattr__(self, word: str) -> object:
            asked.append(word)
            raise AttributeError(word)

    monkeypatch.setitem(sys.modules, "watched", Watched("watched"))
    for code in (name("watched", "thing"), b"cwatched\nthing\n"):
        with pytest.raises(CheckpointError, match=r"asks for watched\.thing, which is none of the"):
            read_file(written(tmp_path / "x", instructions(code, b")R")))
    assert not asked
    assert "no.such.module" not in sys.modules
    with pytest.raises(CheckpointError, match=r"no\.such\.module\.thing"):
        read_file(written(tmp_path / "x", instructions(name("no.such.module", "thing"))))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (pickle.dumps(datetime.date(2020, 1, 1)), r"asks for datetime\.date"),
        (instructions(name("dnnlib.tflib.network", "Network")), "TensorFlow"),
        (instructions(name("torch", "FloatStorage"), b")R"), "a name and nothing to call"),
        (instructions(name("torch", "load")), r"asks for torch\.load"),
        (instructions(b"\x82\x01"), "instruction EXT1"),
        (instructions(text("x"), b"Q"), "outside of it"),
        (instructions(b"}", text("a"), b"b"), "gives a state|damaged|dict"),
        (instructions(b"}", b"K\x01\x85", b"N", b"s"), "key that is a tuple"),
        (instructions(b"\x8c\x01ah\x05"), "damaged"),
        (instructions(b"R"), "damaged"),
        (b"\x80\x04N", "damaged|too soon"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"abc", "damaged"),
        (b"\x80\x04\x8b" + struct.pack("<i", 200) + b"\x01" * 200 + b".", "more digits"),
        (b"GIF89a", "neither a pickle nor an archive"),
    ],
)
def test_what_no_tensor_needs_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=words) as refused:
        read_file(written(tmp_path / "x", content))
    assert "nothing in it was executed" in str(refused.value)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (tensor(kept(12), 0, (4, 4), (4, 1)), "16 numbers in a storage of 12"),
        (tensor(kept(12), 4, (3, 4), (4, 1)), "12 numbers in a storage of 12"),
        (tensor(kept(12), 0, (2**39, 2**39), (0, 0)), "in a storage of 12"),
        (tensor(kept(12), 0, (3, 4), (0, 1)), "overlap, or leave gaps"),
        (tensor(kept(12), 0, (3, 2), (4, 1)), "overlap, or leave gaps"),
        (tensor(kept(12), 0, (3, -4), (4, 1)), "whose size is none"),
        (tensor(kept(12), 0, (2**60, 1), (1, 1)), "whose size is none"),
        (tensor(kept(12), 0, (3, 4), (4,)), "2 axes and 1 strides"),
        (kept(12, 11), "ends within a storage"),
        (kept(2**38, 1), "ends within a storage"),
        (kept(2**41, 1), "none of numbers"),
        (kept(2, kind="UntypedStorage"), "which is none of the"),
    ],
)
def test_sizes_are_held_against_what_is_there(code: bytes, words: str, tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match=words):
        read_file(written(tmp_path / "x", instructions(code)))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # kilobytes


def test_tensors_that_overlap_are_refused_and_the_same_one_is_one() -> None:
    storage = Storage(torch.float32, 4, 12, bytes(48))
    first = Stored.of(storage, 0, (2, 4), (4, 1))
    assert Stored.of(storage, 0, (2, 4), (4, 1)) is first
    Stored.of(storage, 8, (4,), (1,))
    with pytest.raises(Refused, match="overlap"):
        Stored.of(storage, 4, (2, 4), (4, 1))


def test_a_storage_within_a_storage_is_refused(tmp_path: Path) -> None:
    inner = kept(1)
    content = b"\x80\x04" + whole(pickles.MAGIC) + b"." + b"\x80\x04" + inner + b"."
    outer = name("torch.storage", "_load_from_bytes") + b"B" + struct.pack("<I", len(content)) + content + b"\x85R"
    with pytest.raises(CheckpointError, match=r"asks for torch\.storage\._load_from_bytes"):
        read_file(written(tmp_path / "x", instructions(outer)))


def test_instructions_and_copies_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "Budget", lambda copied: Budget(200, copied))
    read_file(written(tmp_path / "x", instructions(b"N" * 190)))
    with pytest.raises(CheckpointError, match="instructions"):
        read_file(written(tmp_path / "x", instructions(b"N" * 200)))
    # Those of pickles within it count, too: the smallest storage takes more than twenty.
    with pytest.raises(CheckpointError, match="instructions"):
        read_file(written(tmp_path / "x", instructions(*[kept(1)] * 10)))
    encoded = text("a" * 100) + b"\x94" + (name("_codecs", "encode") + b"h\x00" + text("latin1") + b"\x86R0")[:-1]
    with pytest.raises(CheckpointError, match="more bytes than it has"):
        read_file(written(tmp_path / "x", instructions(encoded, *[name("_codecs", "encode") + b"h\x00\x85R"] * 12)))


def test_what_is_said_once_is_not_made_many_times(tmp_path: Path) -> None:
    """A place in the memo costs two bytes; what is made of it again and again is counted."""
    storage = kept(5_000)  # function, bytes, call
    start = storage.index(b"B")
    code = storage[:start] + b"\x94" + storage[start:-2] + b"\x85\x94"  # both are kept
    with pytest.raises(CheckpointError, match="more bytes than it has"):
        read_file(written(tmp_path / "x", instructions(code, *[b"h\x00h\x01R"] * 20)))
    function = name("torch_utils.persistence", "_reconstruct_persistent_obj") + b"\x94"
    many = b"}(" + b"".join(text(f"{number:04d}") + b"N" for number in range(2_000)) + b"u"
    state = b"}(" + text("_buffers") + many + b"u"
    meta = b"}(" + text("type") + text("class") + text("class_name") + text("G") + text("state") + state + b"u\x85\x94"
    read_file(written(tmp_path / "x", instructions(function, meta, b"h\x00h\x01R")))
    with pytest.raises(CheckpointError, match="instructions"):
        read_file(written(tmp_path / "x", instructions(function, meta, b"h\x00h\x01R" * 600)))


def archive(path: Path, change: Callable[[dict[str, bytes]], None], packed: bool = False) -> Path:
    """Write an archive of `torch.save`, changed."""
    buffer = io.BytesIO()
    torch.save({"w": torch.ones(100), "v": torch.ones(3)}, buffer)
    with zipfile.ZipFile(buffer) as whole_one:
        members = {name: whole_one.read(name) for name in whole_one.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as file:
        for key, content in members.items():
            file.writestr(key, content)
    return path


def at(members: dict[str, bytes], end: str) -> str:
    return next(name for name in members if name.endswith(end))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.update({at(m, "data/0"): bytes(396)}), "another size"),
        (lambda m: m.pop(at(m, "data/0")), "another size"),
        (lambda m: m.pop(at(m, "data.pkl")), "no data.pkl"),
        (lambda m: m.update({at(m, "byteorder"): b"big"}), "another order of bytes"),
    ],
)
def test_archives_that_do_not_agree_are_refused(
    change: Callable[[dict[str, bytes]], Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=words):
        read_file(archive(tmp_path / "x.pt", change))


def test_a_packed_archive_is_refused_and_a_whole_one_read(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="packed"):
        read_file(archive(tmp_path / "x.pt", lambda members: None, packed=True))
    assert torch.equal(read_file(archive(tmp_path / "y.pt", lambda members: None))["w"].read(), torch.ones(100))


def test_damaged_files_are_read_or_refused(tmp_path: Path) -> None:
    """A changed byte, or a cut, ends in tensors or in a sentence, never in another error."""
    drawn, rng = Drawn((4, 4)), random.Random(0)
    torch.save({"w": torch.ones(100), "v": {"x": torch.ones(3)}}, tmp_path / "new.pt")
    torch.save({"w": torch.ones(100)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    pickled(tmp_path / "faces.pkl", {"G_ema": drawn.g, "D": None})
    for path in sorted(tmp_path.iterdir()):
        content, refused = path.read_bytes(), 0
        for number in range(60):
            changed = bytearray(content)
            for _ in range(rng.choice((1, 3))):
                changed[rng.randrange(len(changed))] = rng.randrange(256)
            cut = len(changed) if number % 3 else rng.randrange(1, len(changed))
            damaged = written(tmp_path / f".{path.name}", bytes(changed[:cut]))
            try:
                for value in tensors_in(read_file(damaged)):
                    value.read()
            except SaddlepointError:
                refused += 1
        assert refused > 10, path.name


def tensors_in(found: Any) -> list[Stored]:
    inner = found.values() if isinstance(found, dict) else ()
    if isinstance(found, Part):
        inner = [*found.tensors.values(), *found.parts.values()]
    return [found] if isinstance(found, Stored) else [stored for value in inner for stored in tensors_in(value)]


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "x.pkl")
    with pytest.raises(CheckpointError, match="plain files"):
        import_weights(tmp_path / "x.pkl", tmp_path / "run")


def test_a_whole_network_that_was_saved_with_its_class_is_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"asks for torch\.nn\.modules\.linear\.Linear"):
        read_file(tmp_path / "x.pt")


def test_the_allow_list_names_nothing_else() -> None:
    found = {str(name) for name in pickles._CALLED} | {str(name) for name in pickles._NAMES}
    storages = {word for word in found if word.endswith("Storage")}
    assert all(word.startswith("torch.") for word in storages)
    assert found - storages == {
        "collections.OrderedDict", "dnnlib.util.EasyDict", "argparse.Namespace", "builtins.set", "__builtin__.set",
        "_codecs.encode", "numpy.dtype", "numpy.ndarray", "numpy._core.multiarray.scalar",
        "numpy.core.multiarray.scalar", "numpy._core.multiarray._reconstruct", "numpy.core.multiarray._reconstruct",
        "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter", "torch.storage._load_from_bytes",
        "torch_utils.persistence._reconstruct_persistent_obj",
    }  # fmt: skip


def test_numbers_of_numpy_are_read(tmp_path: Path) -> None:
    import numpy as np

    values: dict[str, Any] = {
        "a": np.float64(0.1),
        "b": np.int64(-3),
        "c": np.float32(0.5),
        "d": np.arange(6).reshape(2, 3),
    }
    found = read_file(written(tmp_path / "x", pickle.dumps(values)))
    assert (found["a"], found["b"], found["c"]) == (0.1, -3, 0.5)
    assert not isinstance(found["d"], (Tensor, np.ndarray))  # an array is passed over


@pytest.mark.parametrize(
    "told",
    [
        ("storage",), ("storage", int, "0", "cpu"), ("storage", int, "0", "cpu", 4, None, None),
        ("module", int, "0", "cpu", 4), ("storage", int, 0, "cpu", 4), ("storage", int, "0", "cpu", 4, "view"),
        ["storage", int, "0", "cpu", 4], None, "storage",
    ],
)  # fmt: skip
def test_what_is_no_storage_is_refused(told: Any) -> None:
    with pytest.raises(Refused, match="that is no storage"):
        pickles._key_of(told)


def test_the_key_of_a_storage_is_its_third_part() -> None:
    assert pickles._key_of(("storage", int, "17", "cpu", 4)) == "17"
    assert pickles._key_of(("storage", int, "17", "cpu", 4, None)) == "17"
