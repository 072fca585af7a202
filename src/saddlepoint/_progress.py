"""Work that takes long, told while it lasts: who does it counts, who listens decides what is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")

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
