"""An interpreter of pickles that knows no code: instructions are taken apart by `pickletools` and carried out here.

A name is two words. What may be named, and what is done instead of calling it, is given to the interpreter.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple

from saddlepoint.run.imports.stored import Refused, Storage

MOST_INSTRUCTIONS = 1_000_000
"""Of one file, pickles within it included: networks of 1,024 pixels with optimizer states take a tenth."""

_MOST_WHOLE = 16
"""Bytes of a whole number; the first value above has ten."""


class Global(NamedTuple):
    """A name that a pickle asks for, as text."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"[:80]


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
Call = Callable[..., Any]


@dataclass(frozen=True)
class Allowed:
    """What a pickle may name.

    Attributes:
        calls: what is done instead of calling a name; each gets the machine and the arguments.
        names: that stand for themselves.
        told: what is said of names that tell what a file is.
    """

    calls: Mapping[Global, Call]
    names: Collection[Global]
    told: Mapping[Global, str]

    def look(self, found: Global) -> Global:
        """Return a name that is in the list.

        Raises:
            Refused: if it is not.
        """
        if found in self.told:
            raise Refused(f"it {self.told[found]}")
        if found not in self.calls and found not in self.names:
            count = len(self.calls) + len(self.names)
            raise Refused(f"it asks for {found}, which is none of the {count} names of the allow-list")
        return found


@dataclass
class Machine:
    """Carries out the instructions of one pickle.

    Attributes:
        allowed: what may be named.
        budget: shared with other pickles of the file.
        persistent: makes a storage of what a pickle says where one is kept elsewhere; None: none is.
    """

    allowed: Allowed
    budget: Budget
    persistent: Persistent | None = None
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
        expect(self.stack[-1], list).extend(values)

    def add(self, values: list[Any]) -> None:
        expect(self.stack[-1], set).update(hashable(values))

    def put(self, flat: list[Any]) -> None:
        into = expect(self.stack[-1], dict)
        if len(flat) % 2:
            raise Refused("it has a key without a value")
        for key, value in zip(flat[::2], flat[1::2], strict=True):
            # Nothing else is hashed: nested tuples would take for ever.
            if type(key) not in (str, int, float, bool, type(None)):
                raise Refused(f"it has a key that is a {type(key).__name__}, no text and no number")
            into[key] = value

    def name(self, words: str) -> None:
        self.stack.append(self.allowed.look(Global(*words.split(" ", 1))))

    def name_from_stack(self, _: object) -> None:
        name, module = expect(self.stack.pop(), str), expect(self.stack.pop(), str)
        self.stack.append(self.allowed.look(Global(module, name)))

    def call(self, _: object) -> None:
        arguments, what = expect(self.stack.pop(), tuple), expect(self.stack.pop(), Global)
        make = self.allowed.calls.get(what)
        if make is None:
            raise Refused(f"it calls {what}, which is a name and nothing to call here")
        self.stack.append(make(self, *arguments))

    def build(self, _: object) -> None:
        """Give an object its state: numpy's kinds and arrays, and attributes, have one."""
        state, of = self.stack.pop(), self.stack[-1]
        if isinstance(of, dict) and isinstance(state, dict):
            if type(of) is Attributes:
                self.budget.step(len(state))
                of.update({key: value for key, value in state.items() if type(key) is str})
            return  # attributes of a dictionary, such as `_metadata` of a state_dict, say nothing of its tensors
        if not isinstance(of, Numpy) or not isinstance(state, tuple) or state[1:2] == (">",):
            raise Refused(f"it gives a state to a {type(of).__name__}, which has none")

    def kept_elsewhere(self, _: object) -> None:
        if self.persistent is None:
            raise Refused("it refers to something outside of it")
        self.stack.append(self.persistent(self.stack.pop()))


class Attributes(dict[str, Any]):
    """Attributes of an object that does nothing, such as the arguments of a command."""


@dataclass(frozen=True)
class Numpy:
    """A kind of numbers, or an array, of numpy's: its letters, and no content."""

    code: str = ""


def expect(value: Any, kind: Any) -> Any:
    """Return a value of a kind.

    Raises:
        Refused: if it is of another.
    """
    if not isinstance(value, kind):
        raise Refused(f"it has a {type(value).__name__} where a {kind.__name__} belongs")
    return value


def hashable(values: Any) -> list[Any]:
    """Return those values that may be hashed: nested tuples would take for ever."""
    return [value for value in values if type(value) in (str, int, float, bool, type(None))]


_Act = Callable[[Machine, Any], None]

_ACTS: Mapping[str, _Act] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda m, _: None),
    "MARK": Machine.mark,
    "NONE": lambda m, _: m.push(None),
    "NEWTRUE": lambda m, _: m.push(True),
    "NEWFALSE": lambda m, _: m.push(False),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "LONG4"), Machine.push_whole),
    **dict.fromkeys(("BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"), Machine.push),
    **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"), Machine.push),
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
    **dict.fromkeys(("MEMOIZE", "BINPUT", "LONG_BINPUT"), Machine.keep),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), Machine.fetch),
    "GLOBAL": Machine.name,
    "STACK_GLOBAL": Machine.name_from_stack,
    **dict.fromkeys(("REDUCE", "NEWOBJ"), Machine.call),
    "BUILD": Machine.build,
    "BINPERSID": Machine.kept_elsewhere,
}
"""All that pickles of networks are made of; any other instruction is refused."""
