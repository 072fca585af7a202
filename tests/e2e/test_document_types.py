"""A type checker takes every Python block of the documents, and sees what is wrong in one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.e2e.test_documents import PAGES, ROOT, blocks

pytestmark = pytest.mark.slow

FREE = "# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False\n"
"""A reader's own functions need no types; all else is as for the package."""

WANTED = {("python.md", 'saddlepoint.train("dcgan", "./photos", learning_rate=0.1)'): {"call-overload"}}
"""Lines that show a mistake, by page, and what is said of them."""

PLANTED = {
    'import saddlepoint\nsaddlepoint.load("runs/a").sampel(4)': "attr-defined",
    'import saddlepoint\nsaddlepoint.train("gan", bugdet="3m")': "call-overload",
    'import saddlepoint\nsaddlepoint.push_to_hub("runs/a", 3)': "arg-type",
    'import saddlepoint\nfor x in saddlepoint.from_pretrained("a/b").batches(8):\n    x.shape': "attr-defined",
    "import saddlepoint\nsaddlepoint.trian": "attr-defined",
    "class Mine(saddlepoint.Callback): ...": "name-defined",
    "import saddlepoint\nclass Mine(saddlepoint.Callback):\n    def on_step(self): ...": "override",
}
"""Programs with a mistake, and its kind."""


def said_of(programs: Mapping[str, str], folder: Path) -> dict[str, list[tuple[str, str]]]:
    """Return what mypy says of programs by the settings of the project: the line and the kind of each error."""
    folder.mkdir()
    for name, text in programs.items():
        (folder / f"{name}.py").write_text(FREE + text)
    # From the root, whose kept results spare the package itself.
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", *map(str, sorted(folder.iterdir()))],
        cwd=ROOT, env={**os.environ, "MYPYPATH": "src"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr + done.stdout
    found: dict[str, list[tuple[str, str]]] = {name: [] for name in programs}
    for place, number, kind in re.findall(r"^(.+?):(\d+): error: .*\[([\w-]+)\]$", done.stdout, re.MULTILINE):
        found[Path(place).stem].append((programs[Path(place).stem].splitlines()[int(number) - 2].strip(), kind))
    assert sum(map(len, found.values())) == done.stdout.count(" error: "), done.stdout
    return found


def test_every_python_block_has_the_types_that_the_package_has(tmp_path: Path) -> None:
    programs = {
        f"{page.stem.replace('-', '_')}_{number}": (page.name, block.text)
        for page in PAGES
        for number, block in enumerate(block for block in blocks(page) if block.language == "python")
    }
    assert len(programs) > 12
    found = said_of({name: text for name, (_, text) in programs.items()}, tmp_path / "blocks")
    wrong = {(programs[name][0], line): set[str]() for name, errors in found.items() for line, _ in errors}
    for name, errors in found.items():
        for line, kind in errors:
            wrong[programs[name][0], line].add(kind)
    assert wrong == WANTED


def test_what_is_planted_is_seen(tmp_path: Path) -> None:
    found = said_of({f"planted_{number}": text for number, text in enumerate(PLANTED)}, tmp_path / "planted")
    kinds = [{kind for _, kind in errors} for errors in found.values()]
    assert kinds == [{kind} for kind in PLANTED.values()]
