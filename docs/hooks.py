"""Pages of the site that lie elsewhere: README.md is its home, and the public names are its reference."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import saddlepoint

ROOT = Path(__file__).parents[1]
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    for name, place in PAGES.items():
        files.append(File.generated(config, place, content=moved((ROOT / name).read_text())))
    files.append(File.generated(config, "api.md", content=reference()))
    return files


def on_page_markdown(markdown: str, **kwargs: object) -> str:
    """Let links of the documents to pages of the root lead to where those stand on the site."""
    return re.sub(r"\]\(\.\./([A-Z]+\.md)", lambda link: f"]({PAGES.get(link[1], link[0][2:])}", markdown)


def moved(text: str) -> str:
    """Return a page of the root with links that hold in the folder of documents."""
    text = re.sub(r"\]\(docs/", "](", text)
    return re.sub(r"\]\(([A-Z]+\.md)", lambda link: f"]({PAGES.get(link[1], link[1])}", text)


def reference() -> str:
    """Return the page of all public names, in the order in which they are listed."""
    homes = {name: f"{home}.{name}" for name, home in saddlepoint._HOMES.items()}
    head = (
        "# Python reference\n\nThe public names; [in Python and notebooks](python.md) shows them at work. "
        "`import saddlepoint` loads no PyTorch; each is imported when first used.\n"
    )
    return head + "".join(f"\n::: {homes[name]}\n" for name in saddlepoint.__all__ if name in homes)
