"""Texts in cells of CSV files, which spreadsheets may take for formulas."""

from __future__ import annotations

import re

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def harmless(text: str) -> str:
    """Return a text as it stands in a CSV cell: with an apostrophe before it where a spreadsheet would take it for a
    formula, which can run programs and send data away. Numbers stay as they are.

    >>> harmless("=1+2"), harmless("@x"), harmless("-1.5"), harmless("cat")
    ("'=1+2", "'@x", '-1.5', 'cat')
    """
    return f"'{text}" if text.startswith(_FORMULA) and not _PLAIN.fullmatch(text) else text


def as_meant(text: str) -> str:
    """Return a text that `harmless` gave as it was.

    >>> as_meant("'=1+2"), as_meant("'quoted'")
    ('=1+2', "'quoted'")
    """
    return text[1:] if text[:1] == "'" and harmless(text[1:]) == text else text
