"""The site of the documents builds without a warning, shows every page, and loads nothing from another host."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import saddlepoint

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
LOADED = {"src", "srcset", "data", "poster"}
"""Attributes that make a browser fetch something; of links it is href, but for those that a person follows."""


class Fetches(HTMLParser):
    """Gathers the addresses that a page fetches by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag fetches."""
        self.addresses += [value or "" for name, value in attrs if name in LOADED or (tag, name) == ("link", "href")]


def elsewhere(page: str) -> list[str]:
    """Return what a page or a style sheet fetches from other hosts."""
    reader = Fetches()
    reader.feed(page)
    found = [
        *reader.addresses,
        *re.findall(r"url\(\s*['\"]?([^'\")]*)", page),
        *re.findall(r"@import\s+['\"]([^'\"]*)", page),
    ]
    return [address for address in found if re.match(r"(https?:)?//", address)]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the built site."""
    pytest.importorskip("mkdocs", reason="MkDocs is not installed: pip install 'saddlepoint[docs]'")
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


def test_every_document_is_a_page(site: Path) -> None:
    pages = {path.stem for path in site.glob("*.html")}
    documents = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert pages - documents == {"index", "api", "contributing", "changelog", "404"}
    assert documents <= pages
    home = (site / "index.html").read_text()
    assert all(f'href="{name}.html"' in home for name in pages - {"404", "index"}), "a page is not in the navigation"
    assert 'src="images/demo-grid.png"' in home


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    page = (site / "api.html").read_text()
    for name, home in saddlepoint._HOMES.items():
        assert f'id="{home}.{name}"' in page, f"{name} is missing"


def test_nothing_is_loaded_from_another_host(site: Path) -> None:
    files = [*site.rglob("*.html"), *site.rglob("*.css")]
    assert len(files) > 20
    assert {path.name: found for path in files if (found := elsewhere(path.read_text()))} == {}


@pytest.mark.parametrize(
    "planted",
    [
        '<script src="https://example.org/a.js"></script>',
        '<link rel="stylesheet" href="//example.org/a.css">',
        '<img src="http://example.org/a.png">',
        "<style>@font-face { src: url('https://example.org/a.woff2') }</style>",
        '@import "https://example.org/a.css";',
    ],
)
def test_what_is_planted_is_found(planted: str) -> None:
    assert len(elsewhere(planted)) == 1
    assert elsewhere('<a href="https://example.org">there</a><img src="images/a.png">') == []


@pytest.mark.parametrize("name", ["index", "results", "api"])
def test_a_page_asks_no_other_host_and_is_as_wide_as_the_window(browser: Any, site: Path, name: str) -> None:
    complaints: list[str] = []
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    allowed = (site.as_uri(), "blob:", "data:")
    page.on("request", lambda r: None if r.url.startswith(allowed) else complaints.append(f"request to {r.url}"))
    page.goto((site / f"{name}.html").as_uri())
    page.wait_for_load_state("networkidle")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("[...document.images].every(image => image.loading === 'lazy' || image.naturalWidth > 0)")
    assert complaints == []
    page.close()
