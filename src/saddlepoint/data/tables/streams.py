"""Bytes of a table of text, unpacked, for Arrow to read ahead."""

from __future__ import annotations

import io
import lzma
import re
import threading
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from saddlepoint.core.errors import DataError
from saddlepoint.core.zips import Zip

ENDINGS = (".csv", ".tsv", ".txt", ".dat", ".tab")
PACKED = ("", ".gz", ".bz2", ".xz", ".zip")
BLOCK = 16 * 1024**2

_LAST_READ = 2.0
"""Seconds that the last read of a thread of Arrow is waited for: beyond that there is none, its queue is full."""

_LETTING_GO = 0.05
"""Seconds in which that thread lets go of what it holds after its last read."""


def open_stream(path: Path) -> Any:
    """Open a file for reading bytes, unpacked: by Arrow where it can unpack it, else by Python.

    Raises:
        DataError: if it cannot be opened, or is a zip of several files.
    """
    import pyarrow as pa

    try:
        ending = path.suffix.lower()
        if ending == ".xz":
            return lzma.open(path)
        if ending == ".zip":
            archive = Zip(path)
            return archive.open(zipped_table(archive.namelist()) or archive.namelist()[0])
        return pa.input_stream(str(path), compression="detect")
    except (OSError, ValueError, IndexError, NotImplementedError, RuntimeError, zipfile.BadZipFile,
            pa.ArrowException) as error:  # fmt: skip
        raise DataError(f"{path} cannot be read ({error}); check the file") from error


def zipped_table(names: Sequence[str]) -> str | None:
    """Return the only table among the files of an archive; None if there is another number of them."""
    files = [name for name in names if not name.endswith("/") and not name.startswith("__MACOSX/")]
    return files[0] if len(files) == 1 and files[0].lower().endswith(ENDINGS) else None


class ReadAhead(io.RawIOBase):
    """A stream of Python's that a thread of Arrow reads ahead, until `end`.

    Arrow's reader of CSV neither stops that thread nor waits for it when it is closed or dropped. A thread that comes
    back to Python while the interpreter ends aborts the process ("terminate called without an active exception").
    """

    def __init__(self, source: Any) -> None:
        super().__init__()
        self.source = source
        self._stopped, self._over = False, threading.Event()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        block = b""
        try:
            block = b"" if self._stopped else bytes(self.source.read(size))
        finally:
            if not block:
                self._over.set()
        return block

    def end(self) -> None:
        """Give no more bytes, and wait until nobody is reading."""
        if not self._over.is_set():
            self._stopped = True
            self._over.wait(_LAST_READ)
            time.sleep(_LETTING_GO)


class Blanks(io.RawIOBase):
    """A stream in which runs of blanks between cells are tabs."""

    def __init__(self, source: Any) -> None:
        super().__init__()
        self.source, self.left = source, b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        block = bytes(self.source.read(BLOCK if size < 0 or size > BLOCK else size))
        text = self.left + block
        cut = text.rfind(b"\n") + 1 if block else len(text)
        self.left = text[cut:]
        if len(self.left) > 2 * BLOCK:
            raise ValueError(f"a line has more than {2 * BLOCK:,} bytes")
        lines = [
            re.sub(rb'("[^"]*")|[ \t]+', lambda m: m[1] or b"\t", line.strip()) for line in text[:cut].splitlines()
        ]
        done = b"".join(line + b"\n" for line in lines)
        return done if done or not block else self.read(size)
