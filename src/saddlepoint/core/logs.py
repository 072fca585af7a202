"""The logger ``saddlepoint``: what the library says in words, for programs that keep a log.

Nobody hears it unless the program says so, ``logging.basicConfig(level=logging.INFO)`` for one: INFO is what is worth
telling, WARNING what must be seen, DEBUG every line of a training's log. A message is one line, whatever names are in
it.
"""

from __future__ import annotations

import functools
import inspect
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

from saddlepoint.core.progress import Say
from saddlepoint.core.quoting import for_terminal

P = ParamSpec("P")
R = TypeVar("R")

LOGGER = logging.getLogger("saddlepoint")
LOGGER.addHandler(logging.NullHandler())  # else Python itself prints warnings where a program keeps no log


class Telling:
    """A `Say` that lets the log have each line as well.

    Args:
        say: hears the line, too; None: nobody does.
        level: of the log.
    """

    def __init__(self, say: Say | None = None, level: int = logging.INFO) -> None:
        self.say, self.level = say, level

    def __call__(self, line: str) -> None:
        """Log the line, and say it."""
        log(self.level, line, stacklevel=3)
        if self.say is not None:
            self.say(line)


def log(level: int, line: str, stacklevel: int = 2) -> None:
    """Let the log have a line."""
    LOGGER.log(level, "%s", for_terminal(line), stacklevel=stacklevel)


_WARNED: ContextVar[Say | None] = ContextVar("warned", default=None)


@contextmanager
def warned(hear: Say) -> Iterator[None]:
    """Let ``hear`` have what functions in the block must tell and nobody gave them a way to; each line once."""
    told = set[str]()

    def once(line: str) -> None:
        if line not in told:
            told.add(line)
            hear(line)

    token = _WARNED.set(once)
    try:
        yield
    finally:
        _WARNED.reset(token)


def warn(line: str) -> None:
    """Tell what must be seen: the log at WARNING, and who listens by `warned`."""
    log(logging.WARNING, line, stacklevel=3)
    hear = _WARNED.get()
    if hear is not None:
        hear(line)


def logged(function: Callable[P, R]) -> Callable[P, R]:
    """Let the log have what a function tells its parameter ``say``."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            given = signature.bind(*args, **kwargs)
        except TypeError:  # the function's own words are better
            return function(*args, **kwargs)
        say = given.arguments.get("say")
        # One that logs already comes from a function that called this one.
        given.arguments["say"] = say if isinstance(say, Telling) else Telling(say)
        return function(*given.args, **given.kwargs)

    return called


def is_shown() -> bool:
    """Whether the program shows the log's lines where lines of ours would go: on its standard output or error."""
    if not LOGGER.isEnabledFor(logging.INFO):
        return False
    places = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    found, logger = list[logging.Handler](), LOGGER
    while logger is not None:
        found += logger.handlers
        logger = logger.parent if logger.propagate else None  # type: ignore[assignment]
    return any(handler.level <= logging.INFO and _file(handler) in places for handler in found)


def _file(handler: logging.Handler) -> object:
    """Return where a handler writes to: of `logging` or of rich, whose console has it."""
    return getattr(getattr(handler, "console", None), "file", None) or getattr(handler, "stream", handler)
