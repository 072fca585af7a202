"""What is said on standard error while nothing else is ready to be said: that work goes on, and how far it is."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import ExitStack
from types import TracebackType
from typing import TextIO

from saddlepoint.core.progress import duration, heard_by
from saddlepoint.core.quoting import for_terminal

FIRST_SECONDS = 1.5
"""Silence after which it is said that something starts: loading PyTorch takes a while."""

SHOWN_AFTER, LINE_SECONDS, LIVE_SECONDS = 0.5, 10.0, 0.2
"""Work of this length is told of; then a line follows after so many seconds, on a terminal it changes that often."""


class StatusLine:
    """Tells on standard error of what takes long: a line that changes on a terminal, lines now and then elsewhere.

    Args:
        quiet: tell nothing.
        stream: where to; None: standard error.
    """

    def __init__(self, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        self.quiet, self.stream = quiet, stream
        self._what, self._began, self._next, self._shown = "", 0.0, 0.0, False
        self._first = self._timer(FIRST_SECONDS, "starting ...")
        self._later: threading.Timer | None = None
        self._held = ExitStack()

    def __enter__(self) -> StatusLine:
        if not self.quiet:
            self._held.enter_context(heard_by(self.heard))
            self._first.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._later is not None:
            self._later.cancel()
        self._held.close()

    def stop(self) -> None:
        """Say nothing of the start any more: something else was said."""
        self._first.cancel()

    def heard(self, what: str, done: int | None, total: int | None) -> None:
        """Take note of work, and tell of it if it is time to; a `saddlepoint.core.progress.Listener`."""
        now = time.monotonic()
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if done is None:
            self._clear()
            self._what = ""
            return
        if what != self._what:
            self._what, self._began, self._next = what, now, now + SHOWN_AFTER
            if total is None and not done:
                # It may say nothing of itself later on.
                self._later = self._timer(SHOWN_AFTER, sentence(what, 0, None, 0.0))
                self._later.start()
                return
        if now < self._next:
            return
        self.stop()
        live = self._stream.isatty()
        self._next = now + (LIVE_SECONDS if live else LINE_SECONDS)
        line = for_terminal(sentence(what, done, total, now - self._began))
        self._stream.write(f"\r\x1b[2K{line}" if live else f"{line}\n")
        self._stream.flush()
        self._shown = live

    @property
    def _stream(self) -> TextIO:
        return self.stream or sys.stderr

    def _clear(self) -> None:
        if self._shown:
            self._stream.write("\r\x1b[2K")
            self._stream.flush()
            self._shown = False

    def _timer(self, seconds: float, line: str) -> threading.Timer:
        def tell() -> None:
            self.stop()
            self._stream.write(f"{for_terminal(line)}\n")
            self._stream.flush()

        timer = threading.Timer(seconds, tell)
        timer.daemon = True
        return timer


def sentence(what: str, done: int, total: int | None, seconds: float) -> str:
    """Return in words how far work is.

    Args:
        what: is done.
        done: parts that are.
        total: parts in all, if known.
        seconds: since it began.

    >>> sentence("reading files", 1200, 3400, 12.0)
    'reading files: 1,200 of 3,400, 20 s left'
    >>> sentence("reading files", 1200, None, 12.0), sentence("reading prices.csv", 0, None, 0.0)
    ('reading files: 1,200', 'reading prices.csv ...')
    """
    if not done:
        return f"{what} ..." if total is None else f"{what}: 0 of {total:,}"
    if total is None:
        return f"{what}: {done:,}"
    left = max(0.0, seconds / done * (total - done))
    return f"{what}: {done:,} of {total:,}, {duration(left, about=True)} left"
