"""The images of a data set by the names that tables use for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from saddlepoint.core.errors import DataError

_MOST_COMPARED = 10**6
"""Images that names of tables are compared with, each some five microseconds."""


class Images:
    """The images of a data set, found by the names that tables use: with or without folders and endings.

    Args:
        names: paths relative to the data.
        splits: split of each, or "".
    """

    def __init__(self, names: Sequence[str], splits: Mapping[str, str]) -> None:
        self.names, self.splits = frozenset(names), splits
        self._by: dict[str, list[str]] = {}
        self._left = _MOST_COMPARED
        for name in names:
            path = PurePosixPath(name)
            for key in {path.name, path.stem, str(path.with_suffix(""))} - {name}:
                self._by.setdefault(key, []).append(name)

    def find(self, text: str, base: str, split: str) -> list[str]:
        """Return the images that a table means; several where it does not say which.

        Args:
            text: name in the table.
            base: folder of the table, ending in a slash, or "".
            split: that the table's own name says, or "".
        """
        clean = str(text).strip().replace("\\", "/").removeprefix("./")
        clean = PurePosixPath(clean).as_posix() if clean else ""
        if base + clean in self.names:
            return [base + clean]
        if not clean:
            return []
        tail = PurePosixPath(clean).name
        for key in dict.fromkeys((base + clean, clean, tail)):
            among = self._by.get(key, ())
            self._left -= len(among)
            if self._left < 0:
                raise DataError(
                    f"names such as '{clean:.60}' of a table of labels fit {len(among):,} images each; write their "
                    "paths relative to the folder of the table"
                )
            found = [name for name in among if name.startswith(base)]
            if key == tail and "/" in clean:
                found = [name for name in found if _ends_alike(name, clean)]
            if len(found) > 1 and split:
                found = [name for name in found if self.splits[name] == split] or found
            if found:
                return found
        return []


def _ends_alike(name: str, clean: str) -> bool:
    """Whether a table's path may mean an image: where both name the folder of the image, they must agree."""
    given, own = PurePosixPath(clean).parts, PurePosixPath(name).parts
    shared = min(len(given), len(own))
    return shared < 2 or given[-shared:-1] == own[-shared:-1]
