"""What every page is made of: the frame with its navigation, pictures, errors in words."""

from __future__ import annotations

import base64
import functools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from nicegui import ui
from PIL import Image

from saddlepoint import explore
from saddlepoint._errors import SaddlepointError
from saddlepoint.data import Finding

_PLACES = (("Runs", "/"), ("Train", "/train"), ("Compare", "/compare"), ("Lab", "/lab"))

_HEAD = """
<style>
  :root { color-scheme: light dark; }
  body { overflow-x: hidden; }
  .pixels { image-rendering: pixelated; max-width: 100%; height: auto; display: block; }
  .wide { overflow-x: auto; max-width: 100%; }
  .figures { border-collapse: collapse; font-variant-numeric: tabular-nums; }
  .figures th, .figures td { padding: .25rem .7rem; text-align: left; vertical-align: top; }
  .figures th, .figures td { font-weight: 400; border-top: 1px solid #8884; }
  .figures .n { text-align: right; white-space: nowrap; }
  .quiet { opacity: .8; }
  .link, .nicegui-link { color: #2b66c4; text-decoration: underline; overflow-wrap: anywhere; }
  .body--dark .link, .body--dark .nicegui-link { color: #8ab4f8; }
  a:focus-visible, button:focus-visible, [tabindex]:focus-visible { outline: 2px solid #3b7dd8; outline-offset: 2px; }
  code { overflow-wrap: anywhere; }
</style>
<script>
  const shade = "saddlepoint-dark";
  window.switchShade = () => {
    Quasar.Dark.toggle();
    localStorage.setItem(shade, Quasar.Dark.isActive ? "yes" : "no");
  };
  window.addEventListener("load", () => {
    const kept = localStorage.getItem(shade);
    if (kept !== null) Quasar.Dark.set(kept === "yes");
  });
</script>
"""


@contextmanager
def page(title: str) -> Iterator[None]:
    """Lay out a page: navigation above, the content in one column that fits a phone and a wide screen."""
    ui.page_title(f"{title} - saddlepoint")
    ui.add_head_html(_HEAD)
    ui.colors(primary="#3b6fc4")
    with (
        ui.header().classes("items-center gap-x-4 gap-y-0 py-1 px-3 bg-primary"),
        ui.element("nav").classes("flex flex-wrap items-center gap-x-4 w-full").props('aria-label="Main"'),
    ):
        for name, target in _PLACES:
            ui.link(name, target).classes("text-white no-underline py-2")
        ui.space()
        shade = ui.button(icon="contrast").props('flat round color=white aria-label="Light or dark"')
        shade.on("click", js_handler="() => switchShade()")
    content = ui.element("main").classes("w-full max-w-screen-xl mx-auto px-2 sm:px-4 pb-10")
    ui.skip_link(target=content)
    with content:
        ui.label(title).classes("text-2xl py-3").props("role=heading aria-level=1")
        yield


def heading(text: str) -> None:
    """Put a heading of the second level."""
    ui.label(text).classes("text-lg pt-4 pb-1").props("role=heading aria-level=2")


def say(text: str) -> ui.label:
    """Put a quiet sentence."""
    return ui.label(text).classes("quiet")


def complain(error: Exception) -> None:
    """Show an error of the library in words, where it arose, until it is closed."""
    ui.notify(str(error), type="negative", position="top", timeout=0, close_button="Close", multi_line=True)


def guarded(action: Callable[..., Any]) -> Callable[..., Awaitable[None]]:
    """Let errors of the library, and of files, be said on the page instead of ending in a traceback."""

    @functools.wraps(action)
    async def wrapped(*arguments: Any) -> None:
        try:
            outcome = action(*arguments)
            if isinstance(outcome, Awaitable):
                await outcome
        except (SaddlepointError, OSError) as error:
            complain(error)

    return wrapped


def data_url(picture: Image.Image) -> str:
    """Return a picture as text that a page can show."""
    return "data:image/png;base64," + base64.b64encode(explore.encoded(picture)).decode()


class Picture(ui.element):
    """An image whose pixels stay sharp however large it is shown.

    Args:
        words: what it shows, for those who do not see it.
        width: in pixels of the page; None: its own.
    """

    def __init__(self, words: str, width: int | None = None) -> None:
        super().__init__("img")
        self.classes("pixels")
        self.props["alt"] = words
        self.set_visibility(False)
        if width is not None:
            self.style(f"width: {width}px")

    def show(self, picture: Image.Image | str) -> None:
        """Show a picture, or what is at an address."""
        self.set_visibility(True)
        self.props["src"] = picture if isinstance(picture, str) else data_url(picture)


def copyable(label: str, text: str) -> Callable[[str], None]:
    """Put a line of text with a button that copies it; return the function that changes the text."""
    with ui.row().classes("items-center gap-2 w-full flex-nowrap"):
        ui.label(label).classes("quiet w-16 shrink-0")
        shown = ui.element("code").classes("text-sm grow min-w-0")
        with shown:
            content = ui.label(text).classes("break-all")
        ui.button(icon="content_copy", on_click=lambda: ui.clipboard.write(content.text)).props(
            f'flat dense round aria-label="Copy the {label}"'
        )

    def change(text: str) -> None:
        content.text = text

    return change


def table(lines: list[list[str]], *, numbers: bool = True) -> None:
    """Put a table whose first line and first column are headings; the other columns hold numbers, or words."""
    with ui.element("table").classes("figures text-sm"):
        for number, line in enumerate(lines):
            with ui.element("tr"):
                for place, text in enumerate(line):
                    head = number == 0 or place == 0
                    with ui.element("th" if head else "td") as cell:
                        if head:
                            cell.props(f"scope={'col' if number == 0 else 'row'}")
                        if place and numbers:
                            cell.classes("n")
                        ui.label(text)


def reading(findings: Sequence[Finding]) -> None:
    """Put a reading plan as a table: what is done with the data, why, and the option for another reading."""
    lines = [["", "what is done", "why", "else"]]
    lines += [
        [found.topic, found.says if found.sure else f"likely: {found.says}", found.why, found.option]
        for found in findings
    ]
    table(lines, numbers=False)
