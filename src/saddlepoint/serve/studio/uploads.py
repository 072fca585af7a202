"""Data that is brought through the browser: files and folders, kept beside the runs by their content."""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from saddlepoint.core.durable import make_folder, move_into_place
from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.core.files import is_folder_no_link

MOST_BYTES = 2_000_000_000
MOST_FILES = 50_000
MOST_GATHERED = 2 * MOST_BYTES
"""Bytes of all visitors together that came, and are not used yet."""

LEFT_FREE = 300_000_000
"""Bytes of the disk that files that are brought leave free: trainings that run have to save."""

_DEEPEST, _LONGEST = 8, 200
_MOST_TICKETS = 1000
_WORD = re.compile(r"\.[\w-]{22}", re.ASCII)
_ABANDONED_SECONDS = 24 * 3600


@dataclass
class Ticket:
    """Leave to bring files, for one visit: who does not know its word brings nothing.

    Attributes:
        folder: where they gather.
        most_files, most_bytes: that may be brought.
        bytes: brought so far.
        files: brought so far.
    """

    folder: Path
    most_files: int
    most_bytes: int
    bytes: int = 0
    files: int = 0


class Uploads:
    """What visitors bring.

    Args:
        root: folder to keep it in; made when the first file comes.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._tickets: dict[str, Ticket] = {}
        self._swept = False

    def ticket(self, most_files: int = MOST_FILES, most_bytes: int = MOST_BYTES) -> str:
        """Return a new word that lets files in; the oldest of very many words lets none in any more."""
        word = secrets.token_urlsafe(16)
        self._tickets[word] = Ticket(self.root / f".{word}", most_files, most_bytes)
        while len(self._tickets) > _MOST_TICKETS:
            self.drop(next(iter(self._tickets)))
        return word

    async def take(self, word: str, path: str, content: AsyncIterator[bytes], size: int = 0) -> None:
        """Write one file as it comes.

        Args:
            word: of `ticket`.
            path: relative, with ``/`` between folders.
            content: its bytes, in pieces.
            size: bytes that are said to come: what would be too much is refused before the first is read.

        Raises:
            ConfigError: if the word or the path is not possible, or the word was dropped meanwhile.
            DataError: if there are too many files, too many bytes, or not enough of the disk is free.
        """
        ticket = self._of(word)
        target = ticket.folder.joinpath(*_parts(path))
        ticket.files += 1
        if ticket.files > ticket.most_files:
            raise DataError(f"these are more than {ticket.most_files:,} files, the most that can be brought at once")
        self._check(ticket, size)
        if self.root.exists() and not is_folder_no_link(self.root):
            raise ConfigError(f"'{self.root}' is a link to another place: nothing is written there; remove it")
        make_folder(target.parent)
        if shutil.disk_usage(ticket.folder).free - size < LEFT_FREE:
            raise DataError("the disk is nearly full: make room, or give the path of the data instead")
        with target.open("wb") as file:
            async for piece in content:
                self._check(self._of(word), len(piece))
                ticket.bytes += len(piece)
                file.write(piece)

    def _sweep(self) -> None:
        """Remove what came to a studio that was killed since: folders in which nothing has changed for a day; once."""
        if self._swept:
            return
        self._swept = True
        for folder in self.root.glob(".*"):
            with contextlib.suppress(OSError):
                if _WORD.fullmatch(folder.name) and is_folder_no_link(folder) and folder.name[1:] not in self._tickets:
                    last = max(path.lstat().st_mtime for path in (folder, *folder.rglob("*")))
                    if time.time() - last > _ABANDONED_SECONDS:
                        shutil.rmtree(folder, ignore_errors=True)

    def _of(self, word: str) -> Ticket:
        ticket = self._tickets.get(word)
        if ticket is None:
            raise ConfigError("this page was opened too long ago: load it again")
        return ticket

    def _check(self, ticket: Ticket, more: int) -> None:
        if ticket.bytes + more > ticket.most_bytes:
            raise DataError(f"these are more than {ticket.most_bytes / 1e6:,.0f} MB: give their path instead")
        if sum(each.bytes for each in self._tickets.values()) + more > MOST_GATHERED:
            raise DataError("others bring so many files just now that there is no room: try again in a minute")

    def keep(self, word: str) -> Path:
        """Return where what came with a word is kept from now on: a file, or a folder of files.

        It lies in a folder for its content. Runs go on with what they were trained on: another file of that name takes
        no place of an earlier one.

        Raises:
            DataError: if nothing came.
        """
        ticket = self._tickets.pop(word, None)
        brought = [] if ticket is None else sorted(path for path in ticket.folder.rglob("*") if path.is_file())
        if ticket is None or not brought:
            raise DataError("no file was brought")
        try:
            whole = hashlib.sha256()
            for path in brought:
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                whole.update(f"{path.relative_to(ticket.folder)}\0{digest}\n".encode())
            tops = list(ticket.folder.iterdir())
            name = tops[0].name if len(tops) == 1 else "pictures"
            kept = self.root / whole.hexdigest()[:12] / name
            if not kept.exists():
                make_folder(kept.parent)
                move_into_place(tops[0] if len(tops) == 1 else ticket.folder, kept)
            return kept
        finally:
            shutil.rmtree(ticket.folder, ignore_errors=True)
            self._sweep()

    def read(self, word: str) -> list[tuple[str, bytes]]:
        """Return (name, content) of what came with a word, and keep none of it."""
        ticket = self._tickets.get(word)
        try:
            found = [] if ticket is None else sorted(path for path in ticket.folder.rglob("*") if path.is_file())
            return [(path.name, path.read_bytes()) for path in found]
        finally:
            self.drop(word)
            self._sweep()

    def drop(self, word: str) -> None:
        """Forget a word, and what came with it."""
        ticket = self._tickets.pop(word, None)
        if ticket is not None:
            shutil.rmtree(ticket.folder, ignore_errors=True)


def _parts(path: str) -> tuple[str, ...]:
    """Return the names of a relative path that leads nowhere else.

    Raises:
        ConfigError: otherwise.
    """
    parts = PurePosixPath(path).parts
    fine = all(not part.startswith(".") and "\\" not in part and part.isprintable() for part in parts)
    if not parts or path.startswith("/") or not fine or len(parts) > _DEEPEST:
        raise ConfigError(f"'{path}' is no name for a file of data")
    if any(len(part.encode()) > _LONGEST for part in parts):
        raise ConfigError(f"'{path[:60]}...' is too long a name for a file of data")
    return parts
