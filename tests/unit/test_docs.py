"""The documents hold no placeholder and no link that leads nowhere."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
import runpy
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


def test_the_versions_that_were_run_are_those_that_the_package_names() -> None:
    """A row of the table for each Python of the metadata; the changelog begins with this version."""
    rows = re.findall(r"^\| (3\.\d+) \|", (ROOT / "docs" / "python.md").read_text(), re.MULTILINE)
    named = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', (ROOT / "pyproject.toml").read_text())
    assert sorted(set(rows)) == sorted(named)
    assert "3.11" in named
    versions = re.findall(r"^## (\d[\d.]*)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0] == saddlepoint.__version__


def test_names_of_the_package_in_messages_and_docstrings_are_there() -> None:
    """A remedy that names a function names one that can be called: ``saddlepoint.figures.grids.to_uint8``."""
    named = set[str]()
    for path in Path(saddlepoint.__path__[0]).rglob("*.py"):
        texts = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
        for text in texts:
            if isinstance(text, str):
                named |= set(re.findall(r"(?<![\w./-])saddlepoint(?:\.[A-Za-z_]\w*)+(?![\w/-])", text))
    assert len(named) > 30
    for name in named - {"saddlepoint.exchange"}:  # which is a key of what a server is told of a request
        pkgutil.resolve_name(name)


def test_each_promise_of_security_names_a_test_that_is_there() -> None:
    text = "".join((ROOT / "docs" / name).read_text() for name in ("security.md", "notebook/strangers.md"))
    written = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = re.findall(r"`(?:tests/\w+/)?(test_\w+(?:\.py)?)`", text)
    files = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    missing = [name for name in named if name not in files and f"def {name}(" not in written]
    assert len(named) > 30
    assert not missing


def test_the_page_on_data_has_the_counts_of_the_tables() -> None:
    table = (ROOT / "docs" / "notebook" / "public-tables.md").read_text()
    (counts,) = re.findall(r"^\d+ tables of .*: (\d+ read, .*)\.$", table, re.MULTILINE)
    assert f"| {counts} |" in (ROOT / "docs" / "data.md").read_text()


def test_the_readme_names_every_family_and_preset() -> None:
    from saddlepoint.run import api

    text = (ROOT / "README.md").read_text()
    for name, family in api.list_families().items():
        assert f"`{name}`" in text
        assert all(f"`{preset}`" in text for preset in family.PRESETS)


def test_the_reference_says_of_every_public_name_what_it_is() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "hooks.py"))["reference"]()
    rows = dict(re.findall(r"^\| \[?`(\w+)`.*? \| (.+) \|$", page, re.MULTILINE))
    assert list(rows) == saddlepoint.__all__
    assert all(re.match(r"[A-Z].*[.:]", text) for text in rows.values()), rows
    for name, home in saddlepoint._HOMES.items():
        assert f"\n::: {home}.{name}\n" in page
        assert f"(#{home}.{name})" in page


def test_every_public_member_of_a_public_class_is_described() -> None:
    kinds = [kind for name in saddlepoint.__all__ if inspect.isclass(kind := getattr(saddlepoint, name))]
    members = [(kind, name, value) for kind in kinds for name, value in vars(kind).items() if name[0] != "_"]
    described = [(kind, name) for kind, name, value in members if callable(value) or isinstance(value, property)]
    assert len(described) > 30
    assert [f"{kind.__name__}.{name}" for kind, name in described if not inspect.getdoc(getattr(kind, name))] == []


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
