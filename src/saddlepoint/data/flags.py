"""Options of data as words of the command line: how each is called, and how sizes and lists are read and written."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from typing import Any

from saddlepoint.core.errors import DataError
from saddlepoint.core.quoting import for_shell


def flag(name: str) -> str:
    """Return the word of the command line for an option.

    >>> flag("time_column")
    '--time-column'
    """
    return "--" + name.replace("_", "-")


def read_size(value: Any) -> tuple[int, int] | None:
    """Return (width, height) from 64, "64", "64x96" or a pair.

    Raises:
        DataError: on anything else.
    """
    if value is None:
        return None
    if isinstance(value, str):
        if (match := re.fullmatch(r"\s*(\d{1,6})(?:\s*[xX\u00d7]\s*(\d{1,6}))?\s*", value)) is None:
            raise DataError(f"--size is '{value}', but it must be a number of pixels such as 64, or WIDTHxHEIGHT")
        return int(match[1]), int(match[2] or match[1])
    if isinstance(value, int) and not isinstance(value, bool):
        return value, value
    sides = tuple(value)
    if len(sides) != 2 or not all(isinstance(side, int) for side in sides):
        raise DataError(f"--size is {value!r}, but it must be a number of pixels, or (width, height)")
    return sides[0], sides[1]


def shown_size(size: tuple[int, int] | None) -> str:
    """Return a size as it is written.

    >>> shown_size((64, 96)), shown_size((28, 28))
    ('64x96', '28x28')
    """
    return "" if size is None else f"{size[0]}x{size[1]}"


def names_of(text: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """Return names from ``"a,b"`` or a sequence of them; None stays None.

    >>> names_of("Black_Hair, Smiling")
    ('Black_Hair', 'Smiling')
    >>> names_of('"a, b",c')
    ('a, b', 'c')
    """
    if text is None:
        return None
    if not isinstance(text, str):
        return tuple(text)
    parts = next(csv.reader([text.replace("\n", " ")], skipinitialspace=True), [])
    return tuple(part.strip() for part in parts if part.strip())


def listed(names: Iterable[str]) -> str:
    """Return names as `names_of` reads them: in quotes where they hold commas, or begin with a quote.

    >>> listed(["a, b", "c"])
    '"a, b",c'
    """
    return ",".join('"' + name.replace('"', '""') + '"' if "," in name or name[:1] == '"' else name for name in names)


def columns_flag(names: Iterable[str]) -> str:
    """Return the option that learns these columns alone, to paste into a shell.

    >>> columns_flag(["low", "high"]), columns_flag(["a b"]), columns_flag([])
    ('--columns low,high', "--columns 'a b'", '--columns NAMES')
    """
    return for_shell("--columns", listed(names) if (names := list(names)) else "NAMES")


def two_numbers(value: Any) -> tuple[float, float]:
    """Return the two numbers of ``--levels``, of text with a comma or of a pair.

    Raises:
        DataError: if they are not two.
    """
    parts = value.split(",") if isinstance(value, str) else list(value)
    try:
        low, high = (float(part) for part in parts)
    except (TypeError, ValueError):
        raise DataError(f"--levels is {value!r}, but it must be two numbers such as 0,4095") from None
    return low, high
