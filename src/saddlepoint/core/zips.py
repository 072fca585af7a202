"""Zip archives that may be a stranger's: whatever is wrong with one is told as `zipfile.BadZipFile`."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO, Any


class Zip(zipfile.ZipFile):
    """An archive to read from.

    The standard library takes a name for UTF-8 where the archive says so, and raises what no reader expects where it
    is not: in the list of members, or before a member itself. It also asks for as much memory as a member says it has,
    before it reads the first byte of it.

    Args:
        file: a path, or an open file.

    Raises:
        OSError: if it cannot be read.
        zipfile.BadZipFile: if it is damaged, from `open` too.
    """

    def __init__(self, file: Path | IO[bytes]) -> None:
        try:
            super().__init__(file)
        except UnicodeDecodeError as error:
            raise _damaged(error) from error
        if not all(member.filename for member in self.filelist):  # `ZipInfo.is_dir` looks at the last character
            self.close()
            raise zipfile.BadZipFile("a member of it has no name")
        if any(member.header_offset + member.compress_size > self.start_dir for member in self.filelist):
            self.close()
            raise zipfile.BadZipFile("a member of it says that it has more bytes than there are")

    def open(self, *args: Any, **options: Any) -> IO[bytes]:
        """Open a member, as `zipfile.ZipFile.open` does."""
        try:
            return super().open(*args, **options)
        except UnicodeDecodeError as error:
            raise _damaged(error) from error


def _damaged(error: UnicodeDecodeError) -> zipfile.BadZipFile:
    return zipfile.BadZipFile(f"a name in it is not in UTF-8, as it says ({error.reason})")
