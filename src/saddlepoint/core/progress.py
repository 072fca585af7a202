"""Work that takes long, told while it lasts: who does it counts, who listens decides what is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")

Say = Callable[[str], None]
"""Hears one line for each part of the work."""

Listener = Callable[[str, int | None, int | None], None]
"""Hears what is done, how many parts of it are done (None: the work is over), and of how many, if that is known."""

_LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Let work inside the block be told to ``listener``; without one nobody hears of it."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def counted(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Go through ``items``, and tell how far it is.

    Args:
        items: one part of the work each.
        what: is done, such as "reading files".
        total: number of items, if known.
    """
    listener = _LISTENER.get()
    if listener is None:
        yield from items
        return
    listener(what, 0, total)
    try:
        for done, item in enumerate(items, 1):
            yield item
            listener(what, done, total)
    finally:
        listener(what, None, total)


@contextmanager
def told(what: str) -> Iterator[None]:
    """Tell of work that is not counted while the block lasts."""
    listener = _LISTENER.get()
    if listener is None:
        yield
        return
    listener(what, 0, None)
    try:
        yield
    finally:
        listener(what, None, None)


def duration(seconds: float, *, about: bool = False) -> str:
    """Return a time in words.

    Args:
        seconds: of it, at least 0.
        about: it is no more than an estimate: in tens of seconds, minutes, tens of minutes.

    >>> duration(2.5), duration(100), duration(600), duration(500), duration(5400)
    ('2.5 s', '100 s', '10 min', '8 min 20 s', '1 h 30 min')
    >>> [duration(seconds, about=True) for seconds in (0.2, 12.6, 41, 95, 4000)]
    ['1 s', '13 s', '40 s', '2 min', '1 h 10 min']
    """
    if about:
        unit = 1 if seconds < 20 else 10 if seconds < 90 else 60 if seconds < 3570 else 600
        seconds = max(1, unit * round(seconds / unit))
    if seconds < 10:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    if seconds < 120 and not (about and seconds >= 90):
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min"), (0 if hours else rest, "s"))
    return " ".join(f"{amount} {unit}" for amount, unit in parts if amount)
