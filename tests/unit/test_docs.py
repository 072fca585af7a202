"""The documents hold no placeholder and no link that leads nowhere."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import saddlepoint

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    assert "@@" not in text
    assert "TODO" not in text
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_document_is_in_the_list_of_the_site() -> None:
    listed = set(re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert pages <= listed, f"not in mkdocs.yml: {sorted(pages - listed)}"


def test_each_promise_of_security_names_a_test_that_is_there() -> None:
    text = "".join((ROOT / "docs" / name).read_text() for name in ("security.md", "notebook/strangers.md"))
    written = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = re.findall(r"`(?:tests/\w+/)?(test_\w+(?:\.py)?)`", text)
    files = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    missing = [name for name in named if name not in files and f"def {name}(" not in written]
    assert len(named) > 30
    assert not missing


def test_the_readme_names_every_family_and_preset() -> None:
    from saddlepoint.run import api

    text = (ROOT / "README.md").read_text()
    for name, family in api.list_families().items():
        assert f"`{name}`" in text
        assert all(f"`{preset}`" in text for preset in family.PRESETS)


PUBLIC = """
import importlib, types, saddlepoint
first = {name: getattr(saddlepoint, name) for name in saddlepoint.__all__}
for module in saddlepoint._HOMES.values():
    importlib.import_module(module)
assert all(getattr(saddlepoint, name) is value for name, value in first.items())
assert not any(isinstance(value, types.ModuleType) for value in first.values())
"""


def test_public_names_stay_what_they_are_when_modules_are_loaded() -> None:
    done = subprocess.run([sys.executable, "-c", PUBLIC], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_example_of_a_docstring_gives_what_it_says() -> None:
    examples = 0
    for module in pkgutil.walk_packages(saddlepoint.__path__, "saddlepoint."):
        if not module.name.endswith("__main__"):
            found = doctest.testmod(importlib.import_module(module.name))
            assert found.failed == 0, module.name
            examples += found.attempted
    assert examples > 30
