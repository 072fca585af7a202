"""The documents hold no placeholder and no link that leads nowhere."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import saddlepoint

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    assert "@@" not in text
    assert "TODO" not in text
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readme_names_every_family_and_preset() -> None:
    from saddlepoint import api

    text = (ROOT / "README.md").read_text()
    for name, family in api.families().items():
        assert f"`{name}`" in text
        assert all(f"`{preset}`" in text for preset in family.PRESETS)


def test_every_example_of_a_docstring_gives_what_it_says() -> None:
    examples = 0
    for module in pkgutil.walk_packages(saddlepoint.__path__, "saddlepoint."):
        if not module.name.endswith("__main__"):
            found = doctest.testmod(importlib.import_module(module.name))
            assert found.failed == 0, module.name
            examples += found.attempted
    assert examples > 30
