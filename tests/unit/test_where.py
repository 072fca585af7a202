"""The list of places is right: each file is there, and holds what it is said to hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = re.findall(
    r"^\| ([^|]+) \| `([\w/]+\.py)` \| `(\w+)` \|$", (ROOT / "docs" / "where.md").read_text(), re.MULTILINE
)


def test_there_are_enough_of_them() -> None:
    assert len(ROWS) >= 20
    assert len({path for _, path, _ in ROWS}) == len(ROWS), "one file is the answer to one question"


@pytest.mark.parametrize(("what", "path", "name"), ROWS, ids=[path for _, path, _ in ROWS])
def test_the_file_defines_the_name(what: str, path: str, name: str) -> None:
    text = (ROOT / "src" / "saddlepoint" / path).read_text()
    assert re.search(
        rf"^\s*(?:def|class) {name}\b|^{name}\b.* = |^@?{name}\(|import .*\b{name}\b", text, re.MULTILINE
    ), what
