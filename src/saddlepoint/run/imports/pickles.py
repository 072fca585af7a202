"""Pickles of tensors and plain values, read by an allow-list: no name in them is looked up, nothing is executed.

A name is two words that must be in the list below; what it would have called is done by a function of this module, on
tensors and plain values (`machine.py` carries out the instructions). Classes that a file brings with their source text
stay text. What a file may cost is bounded by its own size.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from saddlepoint.run.imports.machine import (
    Allowed,
    Attributes,
    Budget,
    Call,
    Global,
    Machine,
    Numpy,
    Persistent,
    Remainder,
    expect,
    hashable,
)
from saddlepoint.run.imports.stored import TYPES, Refused, Storage, Stored

MAGIC, LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001
"""First two values of a file of `torch.save` of before version 1.6."""


@dataclass(frozen=True)
class Part:
    """A network, or a part of one, that was pickled with its class: what it holds, and nothing that it does.

    Attributes:
        kind: name of the class.
        tensors: parameters and buffers by name.
        parts: of this part, by name.
        facts: other attributes; plain values, not looked into.
    """

    kind: str
    tensors: Mapping[str, Stored]
    parts: Mapping[str, Part]
    facts: Mapping[str, Any]


def _mapping(machine: Machine, *arguments: Any) -> dict[Any, Any]:
    if arguments:
        raise Refused("it has a dictionary made of something")
    return {}


def _attributes(machine: Machine, *arguments: Any) -> dict[str, Any]:
    if arguments:
        raise Refused("it has attributes made of something")
    return Attributes()


def _set(machine: Machine, values: Any = ()) -> set[Any]:
    machine.budget.step(len(expect(values, list | tuple)))
    return set(hashable(values))


def _encoded(machine: Machine, text: Any, code: Any = "latin1") -> bytes:
    """Return bytes as protocols of before Python 3 write them: a text of their numbers."""
    if type(text) is not str or code not in ("latin1", "latin-1"):
        raise Refused("it has bytes that are no text of latin1")
    machine.budget.copy(len(text))
    return text.encode("latin1")


def _numpy_kind(machine: Machine, code: Any = "", *_: Any) -> Numpy:
    return Numpy(expect(code, str)[:4])


def _numpy_array(machine: Machine, *_: Any) -> Numpy:
    return Numpy()


_SCALARS = {"f8": "<d", "f4": "<f", "f2": "<e", "i8": "<q", "i4": "<i", "i2": "<h", "u1": "<B", "b1": "<?"}


def _numpy_number(machine: Machine, kind: Any, content: Any = b"") -> float | int | bool | None:
    """Return a number; of a kind that no network has, None."""
    form = _SCALARS.get(expect(kind, Numpy).code)
    if form is None or type(content) is not bytes or len(content) != struct.calcsize(form):
        return None
    found: float | int | bool = struct.unpack(form, content)[0]
    return found


def _tensor(machine: Machine, storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Stored:
    return Stored.of(expect(storage, Storage), offset, size, stride)


def _parameter(machine: Machine, tensor: Any, *_: Any) -> Stored:
    found: Stored = expect(tensor, Stored)
    return found


def _storage(machine: Machine, content: Any) -> Storage:
    """Return a storage that was saved within the pickle, as a file of `torch.save` of its own."""
    file = io.BytesIO(expect(content, bytes))
    found: Storage = expect(read_legacy(file, len(content), machine.budget, nested=True), Storage)
    return found


def _part(machine: Machine, meta: Any) -> Part:
    """Return a network from what was kept of it; its source text (``module_src``) is left alone."""
    meta = expect(meta, dict)
    kind, state = meta.get("class_name"), meta.get("state")
    if meta.get("type") != "class" or type(kind) is not str or not isinstance(state, dict):
        raise Refused("it has an object with its class that is no network")
    inner = {name: expect(state.get(name) or {}, dict) for name in ("_parameters", "_buffers", "_modules")}
    machine.budget.step(len(state) + sum(map(len, inner.values())))
    tensors = {**inner["_parameters"], **inner["_buffers"]}
    return Part(
        kind[:80],
        {str(name): expect(value, Stored) for name, value in tensors.items() if value is not None},
        {str(name): expect(value, Part) for name, value in inner["_modules"].items() if value is not None},
        {name: value for name, value in state.items() if type(name) is str and name not in inner},
    )


_ARRAYS = ("numpy._core.multiarray", "numpy.core.multiarray")  # numpy 2, and 1

_CALLED: Mapping[Global, Call] = {
    Global("collections", "OrderedDict"): _mapping,
    Global("dnnlib.util", "EasyDict"): _mapping,
    Global("argparse", "Namespace"): _attributes,
    Global("builtins", "set"): _set,
    Global("__builtin__", "set"): _set,
    Global("_codecs", "encode"): _encoded,
    Global("numpy", "dtype"): _numpy_kind,
    **{Global(module, "scalar"): _numpy_number for module in _ARRAYS},
    **{Global(module, "_reconstruct"): _numpy_array for module in _ARRAYS},
    Global("torch._utils", "_rebuild_tensor_v2"): _tensor,
    Global("torch._utils", "_rebuild_parameter"): _parameter,
    Global("torch.storage", "_load_from_bytes"): _storage,
    Global("torch_utils.persistence", "_reconstruct_persistent_obj"): _part,
}
"""What a pickle may call, and what is done instead."""

_NAMES = frozenset({Global("numpy", "ndarray"), *(Global("torch", name) for name in TYPES)})
"""What it may name."""

_OUTSIDE = frozenset(name for name in _CALLED if name.name in ("_load_from_bytes", "_reconstruct_persistent_obj"))

_TOLD = {
    Global("dnnlib.tflib.network", "Network"): "is a network pickle of the TensorFlow code: convert it first, with the "
    "legacy.py of StyleGAN2-ADA for PyTorch",
}  # fmt: skip

ALLOWED = Allowed(_CALLED, _NAMES, _TOLD)
"""The allow-list."""

_WITHIN = Allowed({name: make for name, make in _CALLED.items() if name not in _OUTSIDE}, _NAMES, {})
"""That of a pickle within another one, where no networks are."""


def read_one(
    file: BinaryIO, size: int, budget: Budget, persistent: Persistent | None = None, *, nested: bool = False
) -> Any:
    """Return what the pickle describes that begins where the file stands; the file stands behind it then.

    Args:
        file: of which ``size`` bytes may be read.
        size: of the file.
        budget: what is left to spend.
        persistent: makes a storage of what stands for one that is kept elsewhere.
        nested: whether the pickle is within another one, where no networks are.

    Raises:
        Refused: if it asks for anything but tensors and plain values, or is damaged.
    """
    try:
        return Machine(_WITHIN if nested else ALLOWED, budget, persistent).run(Remainder(file, size))
    except (ValueError, LookupError, TypeError, OverflowError, struct.error, RecursionError, AttributeError) as error:
        raise Refused(f"it is damaged ({str(error)[:80] or type(error).__name__})") from error


def read_legacy(file: BinaryIO, size: int, budget: Budget, *, nested: bool = False, begun: bool = False) -> Any:
    """Return what a file of `torch.save` of before version 1.6 holds: five pickles, then the numbers of the storages.

    Args:
        file, size, budget, nested: as in `read_one`.
        begun: whether the first pickle was read.

    Raises:
        Refused: as `read_one`, and if sizes do not agree.
    """
    storages: dict[str, Storage] = {}

    def persistent(told: Any) -> Storage:
        return storages.setdefault(_key_of(told), Storage.told(told))

    if not begun and read_one(file, size, budget, nested=True) != MAGIC:
        raise Refused("it has a storage that is none of torch.save")
    version, system = (read_one(file, size, budget, nested=True) for _ in range(2))
    if version != LEGACY_VERSION or not isinstance(system, dict) or system.get("little_endian") is not True:
        raise Refused("it is of another version, or of a machine with another order of bytes")
    root = read_one(file, size, budget, persistent, nested=nested)
    keys = expect(read_one(file, size, budget, nested=True), list)
    if sorted(storages) != sorted(map(str, keys)):
        raise Refused("it has other storages than it says")
    for key in keys:
        storage, count = storages[key], file.read(8)
        if len(count) != 8 or int.from_bytes(count, "little") != storage.count:
            raise Refused("it has a storage of another size than it says")
        storage.content = Remainder(file, size).read(storage.size)
        if len(storage.content) != storage.size:
            raise Refused("it ends within a storage")
        budget.copy(storage.size)
    return root


def _key_of(told: Any) -> str:
    """Return the key of a storage: ``("storage", type, key, place, count)``, and in old files None for no view."""
    sound = isinstance(told, tuple) and len(told) in (5, 6) and told[0] == "storage" and told[5:] in ((), (None,))
    if not sound or type(told[2]) is not str:
        raise Refused("it refers to something outside of it that is no storage")
    return told[2]
