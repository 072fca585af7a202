"""Pickles of tensors and plain values, read by an allow-list: no name in them is looked up, nothing is executed.

The instructions are taken apart by `pickletools` and carried out here, one by one. A global is two words that must be
in the list below; what it would have called is done by a function of this module, on tensors and plain values. Classes
that a file brings with their source text stay text. What a file may cost is bounded by its own size.
"""

from __future__ import annotations

import io
import pickletools
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple

from saddlepoint.run.imports.stored import TYPES, Refused, Storage, Stored

MOST_INSTRUCTIONS = 1_000_000
"""Of one file, pickles within it included: networks of 1,024 pixels with optimizer states take a tenth."""

MAGIC, LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001
"""First two values of a file of `torch.save` of before version 1.6."""

_MOST_WHOLE = 16
"""Bytes of a whole number; the first value above has ten."""


class Global(NamedTuple):
    """A name that a pickle asks for, as text."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"[:80]


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


@dataclass
class Budget:
    """What is left to spend on a file.

    Attributes:
        instructions: of pickles, and entries that one of them goes through.
        copied: bytes that texts may be turned into, and storages within pickles taken out of them.
    """

    instructions: int = MOST_INSTRUCTIONS
    copied: int = 0

    def step(self, count: int = 1) -> None:
        """Count instructions; what is said once can be asked for many times, so entries that are copied count, too."""
        self.instructions -= count
        if self.instructions < 0:
            raise Refused(f"it takes more than {MOST_INSTRUCTIONS:,} instructions, which no networks do")

    def copy(self, count: int) -> None:
        """Count bytes."""
        self.copied -= count
        if self.copied < 0:
            raise Refused("it makes more bytes than it has")


class Remainder:
    """A file from where it stands, of which nothing is asked for that is not there.

    A reader of Python takes as much memory as it is asked for before it looks at the file.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size

    def read(self, count: int) -> bytes:
        """Return at most so many bytes."""
        return self.file.read(max(0, min(count, self.size - self.file.tell())))

    def readline(self) -> bytes:
        """Return a line of at most a thousand bytes: names are shorter."""
        return self.file.readline(1000)

    def tell(self) -> int:
        """Return the place."""
        return self.file.tell()


Persistent = Callable[[Any], Storage]


@dataclass
class _Machine:
    """Carries out the instructions of one pickle.

    Attributes:
        budget: shared with other pickles of the file.
        persistent: makes a storage of what a pickle says where one is kept elsewhere; None: none is.
        nested: whether the pickle is within another one.
    """

    budget: Budget
    persistent: Persistent | None = None
    nested: bool = False
    stack: list[Any] = field(default_factory=list)
    marks: list[list[Any]] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def run(self, file: Any) -> Any:
        """Return what the pickle describes; the file stands behind it then."""
        for instruction, argument, _ in pickletools.genops(file):
            self.budget.step()
            if instruction.name == "STOP":
                return self.stack.pop()
            act = _ACTS.get(instruction.name)
            if act is None:
                raise Refused(f"it has the instruction {instruction.name}, which tensors do not need")
            act(self, argument)
        raise Refused("it ends too soon")

    def marked(self) -> list[Any]:
        """Return what was put on the stack since the last mark."""
        found, self.stack = self.stack, self.marks.pop()
        return found

    def mark(self, _: object) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def push_whole(self, value: int) -> None:
        if value.bit_length() > 8 * _MOST_WHOLE:
            raise Refused("it has a whole number of more digits than any size has")
        self.stack.append(value)

    def keep(self, place: int | None) -> None:
        self.memo[len(self.memo) if place is None else place] = self.stack[-1]

    def fetch(self, place: int) -> None:
        self.stack.append(self.memo[place])

    def tuple_of(self, count: int) -> None:
        found = self.stack[len(self.stack) - count :]
        if len(found) < count:
            raise IndexError
        del self.stack[len(self.stack) - count :]
        self.stack.append(tuple(found))

    def append(self, values: list[Any]) -> None:
        _expect(self.stack[-1], list).extend(values)

    def add(self, values: list[Any]) -> None:
        _expect(self.stack[-1], set).update(_names(values))

    def put(self, flat: list[Any]) -> None:
        into = _expect(self.stack[-1], dict)
        if len(flat) % 2:
            raise Refused("it has a key without a value")
        for key, value in zip(flat[::2], flat[1::2], strict=True):
            # Nothing else is hashed: nested tuples would take for ever.
            if type(key) not in (str, int, float, bool, type(None)):
                raise Refused(f"it has a key that is a {type(key).__name__}, no text and no number")
            into[key] = value

    def name(self, words: str) -> None:
        self.stack.append(_allowed(Global(*words.split(" ", 1)), self.nested))

    def name_from_stack(self, _: object) -> None:
        name, module = _expect(self.stack.pop(), str), _expect(self.stack.pop(), str)
        self.stack.append(_allowed(Global(module, name), self.nested))

    def call(self, _: object) -> None:
        arguments, what = _expect(self.stack.pop(), tuple), _expect(self.stack.pop(), Global)
        make = _CALLED.get(what)
        if make is None:
            raise Refused(f"it calls {what}, which is a name and nothing to call here")
        self.stack.append(make(self, *arguments))

    def build(self, _: object) -> None:
        """Give an object its state: numpy's kinds and arrays, and attributes, have one."""
        state, of = self.stack.pop(), self.stack[-1]
        if isinstance(of, dict) and isinstance(state, dict):
            if type(of) is _Attributes:
                self.budget.step(len(state))
                of.update({key: value for key, value in state.items() if type(key) is str})
            return  # attributes of a dictionary, such as `_metadata` of a state_dict, say nothing of its tensors
        if not isinstance(of, _Numpy) or not isinstance(state, tuple) or state[1:2] == (">",):
            raise Refused(f"it gives a state to a {type(of).__name__}, which has none")

    def kept_elsewhere(self, _: object) -> None:
        if self.persistent is None:
            raise Refused("it refers to something outside of it")
        self.stack.append(self.persistent(self.stack.pop()))


class _Attributes(dict[str, Any]):
    """Attributes of an object that does nothing, such as the arguments of a command."""


@dataclass(frozen=True)
class _Numpy:
    """A kind of numbers, or an array, of numpy's: its letters, and no content."""

    code: str = ""


def _expect(value: Any, kind: Any) -> Any:
    if not isinstance(value, kind):
        raise Refused(f"it has a {type(value).__name__} where a {kind.__name__} belongs")
    return value


def _names(values: Any) -> list[Any]:
    return [value for value in values if type(value) in (str, int, float, bool, type(None))]


_TOLD = {
    ("dnnlib.tflib.network", "Network"): "is a network pickle of the TensorFlow code: convert it first, with the "
    "legacy.py of StyleGAN2-ADA for PyTorch",
}  # fmt: skip
"""What is said of names that tell what a file is."""


def _allowed(found: Global, nested: bool) -> Global:
    if found in _TOLD:
        raise Refused(f"it {_TOLD[found]}")
    known = found in _CALLED or found in _NAMES
    if not known or (nested and found in _OUTSIDE):
        raise Refused(f"it asks for {found}, which is none of the {len(_CALLED) + len(_NAMES)} names of the allow-list")
    return found


def _mapping(machine: _Machine, *arguments: Any) -> dict[Any, Any]:
    if arguments:
        raise Refused("it has a dictionary made of something")
    return {}


def _attributes(machine: _Machine, *arguments: Any) -> dict[str, Any]:
    if arguments:
        raise Refused("it has attributes made of something")
    return _Attributes()


def _set(machine: _Machine, values: Any = ()) -> set[Any]:
    machine.budget.step(len(_expect(values, list | tuple)))
    return set(_names(values))


def _encoded(machine: _Machine, text: Any, code: Any = "latin1") -> bytes:
    """Return bytes as protocols of before Python 3 write them: a text of their numbers."""
    if type(text) is not str or code not in ("latin1", "latin-1"):
        raise Refused("it has bytes that are no text of latin1")
    machine.budget.copy(len(text))
    return text.encode("latin1")


def _numpy_kind(machine: _Machine, code: Any = "", *_: Any) -> _Numpy:
    return _Numpy(_expect(code, str)[:4])


def _numpy_array(machine: _Machine, *_: Any) -> _Numpy:
    return _Numpy()


_SCALARS = {"f8": "<d", "f4": "<f", "f2": "<e", "i8": "<q", "i4": "<i", "i2": "<h", "u1": "<B", "b1": "<?"}


def _numpy_number(machine: _Machine, kind: Any, content: Any = b"") -> float | int | bool | None:
    """Return a number; of a kind that no network has, None."""
    form = _SCALARS.get(_expect(kind, _Numpy).code)
    if form is None or type(content) is not bytes or len(content) != struct.calcsize(form):
        return None
    found: float | int | bool = struct.unpack(form, content)[0]
    return found


def _tensor(machine: _Machine, storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Stored:
    return Stored.of(_expect(storage, Storage), offset, size, stride)


def _parameter(machine: _Machine, tensor: Any, *_: Any) -> Stored:
    found: Stored = _expect(tensor, Stored)
    return found


def _storage(machine: _Machine, content: Any) -> Storage:
    """Return a storage that was saved within the pickle, as a file of `torch.save` of its own."""
    file = io.BytesIO(_expect(content, bytes))
    found: Storage = _expect(read_legacy(file, len(content), machine.budget, nested=True), Storage)
    return found


def _part(machine: _Machine, meta: Any) -> Part:
    """Return a network from what was kept of it; its source text (``module_src``) is left alone."""
    meta = _expect(meta, dict)
    kind, state = meta.get("class_name"), meta.get("state")
    if meta.get("type") != "class" or type(kind) is not str or not isinstance(state, dict):
        raise Refused("it has an object with its class that is no network")
    inner = {name: _expect(state.get(name) or {}, dict) for name in ("_parameters", "_buffers", "_modules")}
    machine.budget.step(len(state) + sum(map(len, inner.values())))
    tensors = {**inner["_parameters"], **inner["_buffers"]}
    return Part(
        kind[:80],
        {str(name): _expect(value, Stored) for name, value in tensors.items() if value is not None},
        {str(name): _expect(value, Part) for name, value in inner["_modules"].items() if value is not None},
        {name: value for name, value in state.items() if type(name) is str and name not in inner},
    )


_ARRAYS = ("numpy._core.multiarray", "numpy.core.multiarray")  # numpy 2, and 1

_CALLED: Mapping[Global, Callable[..., Any]] = {
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

_Act = Callable[[_Machine, Any], None]

_ACTS: Mapping[str, _Act] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda m, _: None),
    "MARK": _Machine.mark,
    "NONE": lambda m, _: m.push(None),
    "NEWTRUE": lambda m, _: m.push(True),
    "NEWFALSE": lambda m, _: m.push(False),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "LONG4"), _Machine.push_whole),
    **dict.fromkeys(("BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"), _Machine.push),
    **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"), _Machine.push),
    "EMPTY_TUPLE": lambda m, _: m.push(()),
    "TUPLE1": lambda m, _: m.tuple_of(1),
    "TUPLE2": lambda m, _: m.tuple_of(2),
    "TUPLE3": lambda m, _: m.tuple_of(3),
    "TUPLE": lambda m, _: m.push(tuple(m.marked())),
    "EMPTY_LIST": lambda m, _: m.push([]),
    "APPEND": lambda m, _: m.append([m.stack.pop()]),
    "APPENDS": lambda m, _: m.append(m.marked()),
    "EMPTY_DICT": lambda m, _: m.push({}),
    "SETITEM": lambda m, _: m.put([m.stack.pop(-2), m.stack.pop()]),
    "SETITEMS": lambda m, _: m.put(m.marked()),
    "EMPTY_SET": lambda m, _: m.push(set()),
    "ADDITEMS": lambda m, _: m.add(m.marked()),
    **dict.fromkeys(("MEMOIZE", "BINPUT", "LONG_BINPUT"), _Machine.keep),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), _Machine.fetch),
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.name_from_stack,
    **dict.fromkeys(("REDUCE", "NEWOBJ"), _Machine.call),
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.kept_elsewhere,
}
"""All that pickles of networks are made of; any other instruction is refused."""


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
        return _Machine(budget, persistent, nested).run(Remainder(file, size))
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
    keys = _expect(read_one(file, size, budget, nested=True), list)
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
