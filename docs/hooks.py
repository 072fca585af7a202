"""Pages of the site that lie elsewhere: README.md is its home, and the public names are its reference."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING

import saddlepoint

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parents[1]
VERSION = "| `__version__` | The version, as text: `saddle --version` says the same. |"
HEAD = """# Python reference

Every public name of `saddlepoint`; [in Python and notebooks](python.md) shows them at work.
`import saddlepoint` loads no PyTorch; each name is imported when first used.

| name | what it is |
|---|---|
"""
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Say which version the pages are of."""
    config.site_name = f"saddlepoint {saddlepoint.__version__}"
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    from mkdocs.structure.files import File

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
    lines = [f"| [`{name}`](#{homes[name]}) | {told(name)} |" for name in saddlepoint.__all__ if name in homes]
    return HEAD + "\n".join([*lines, VERSION, ""]) + "".join(f"\n::: {home}\n" for home in homes.values())


def told(name: str) -> str:
    """Return the first sentence of what a public name says of itself."""
    text = inspect.getdoc(getattr(saddlepoint, name)) or ""
    return " ".join(text.split("\n\n")[0].split()).replace("|", "\\|")
