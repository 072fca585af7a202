"""Work beside a page: waiting for it, leaving meanwhile, and errors said where they arose."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from nicegui import Client, ui

from saddlepoint.core.errors import ConfigError, SaddlepointError
from saddlepoint.core.quoting import for_terminal

_Found = TypeVar("_Found")


def complain(error: Exception) -> None:
    """Show an error of the library in words, where it arose, until it is closed."""
    ui.notify(
        for_terminal(str(error)), type="negative", position="top", timeout=0, close_button="Close", multi_line=True
    )


class LeftError(Exception):
    """The visitor left the page while something was waited for: there is nothing left to change on it."""


async def here(waited: Awaitable[_Found]) -> _Found:
    """Wait for work beside the page, and return what it found, if the page is still there.

    Every wait after which a page is changed goes through here; `guarded` then ends quietly.

    Raises:
        LeftError: if the visitor has left, whatever became of the work.
        Exception: what the work raised.
    """
    client = ui.context.client
    try:
        found = await waited
    except Exception as error:
        if client.is_deleted:
            raise LeftError from error
        raise
    if client.is_deleted:
        raise LeftError
    return found


_READERS = ThreadPoolExecutor(4, "look")
"""Threads of their own: long work, however much of it there is, keeps no page from showing how a run stands."""


async def looked(look: Callable[..., _Found], *arguments: Any) -> _Found:
    """Read something of a folder beside the pages, and return what it found: no disk keeps the others waiting.

    Raises:
        LeftError: as `here`.
        Exception: what the reading raised.
    """
    return await here(asyncio.get_running_loop().run_in_executor(_READERS, look, *arguments))


@contextmanager
def afterwards(change: Callable[[], Any]) -> Iterator[None]:
    """Change the page at the end, however it ends, unless the visitor has left it."""
    try:
        yield
    except LeftError:
        raise
    except BaseException:
        change()
        raise
    change()


@contextmanager
def told(wheel: ui.spinner, status: ui.label, say: Callable[[], str]) -> Iterator[None]:
    """Show that something is waited for, and how far it is, until the block ends.

    Args:
        wheel: shown meanwhile.
        status: says it; it is empty afterwards.
        say: how far it is.
    """
    wheel.set_visibility(True)
    timer = ui.timer(0.3, lambda: status.set_text(say()))

    def over() -> None:
        timer.deactivate()
        wheel.set_visibility(False)
        status.text = ""

    with afterwards(over):
        yield


MOST_AT_ONCE = 16
"""Actions of one page that are carried out at once."""
_WORK: WeakKeyDictionary[Client, int] = WeakKeyDictionary()


@contextmanager
def _at_work(client: Client) -> Iterator[bool]:
    """Count an action of a page while it lasts; tell whether it is one of those that may be at once."""
    before = _WORK.get(client, 0)
    _WORK[client] = before + 1
    try:
        yield before < MOST_AT_ONCE
    finally:
        _WORK[client] -= 1


def guarded(action: Callable[..., Any]) -> Callable[..., Awaitable[None]]:
    """Let errors of the library, and of files, be said on the page instead of ending in a traceback.

    Where the page is gone meanwhile, it ends quietly. One page does not do everything at once.
    """

    @functools.wraps(action)
    async def wrapped(*arguments: Any) -> None:
        with _at_work(ui.context.client) as fine:
            if fine:
                await carried_out(*arguments)
            else:
                complain(ConfigError(f"this page is at {MOST_AT_ONCE} things already: wait for one of them"))

    async def carried_out(*arguments: Any) -> None:
        try:
            outcome = action(*arguments)
            if isinstance(outcome, Awaitable):
                await outcome
        except LeftError:
            return
        except (SaddlepointError, OSError) as error:
            complain(error)

    return wrapped


def watching(look: Callable[..., Any]) -> Callable[..., Awaitable[None]]:
    """Let what looks at a run again and again end quietly where it cannot be read now: the next look tells."""

    @functools.wraps(look)
    async def wrapped(*arguments: Any) -> None:
        with suppress(LeftError, SaddlepointError, OSError):
            outcome = look(*arguments)
            if isinstance(outcome, Awaitable):
                await outcome

    return wrapped
