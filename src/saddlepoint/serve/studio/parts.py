"""What every page is made of: the frame with its navigation, pictures, errors in words."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nicegui import ui
from PIL import Image

from saddlepoint.core.quoting import for_html, for_terminal
from saddlepoint.data import Finding
from saddlepoint.engine.doctor.verdict import ALARMS
from saddlepoint.evaluation.report.page import STANDING
from saddlepoint.figures import grids
from saddlepoint.run.entries import Entry
from saddlepoint.serve.studio.waits import here

PLACES = (("Runs", "/"), ("Train", "/train"), ("Compare", "/compare"), ("Lab", "/lab"))
_HEAD = Path(__file__).with_name("head.html").read_text(encoding="utf-8")
_DROP = Path(__file__).with_name("drop.js").read_text(encoding="utf-8")

ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="6" fill="#3b6fc4"/>'
    '<path d="M4 10Q16 26 28 10M16 4V18" fill="none" stroke="#fff" stroke-width="3"/></svg>'
)


@contextmanager
def page(title: str, place: str = "", *, above: bool = False) -> Iterator[None]:
    """Lay out a page: name and navigation above, the content in one column that fits a phone and a wide screen.

    Args:
        title: heading, and name of the window.
        place: which of the places in the navigation it is, or lies below.
        above: put a way back to the place above the heading.
    """
    title = for_terminal(title)
    ui.page_title(f"{title} - saddlepoint")
    ui.add_head_html(_with_word(f"{_HEAD}<script>{_DROP}</script>"))
    ui.colors(primary="#3b6fc4")
    with (
        ui.header().classes("bar items-center py-0 px-2 sm:px-4"),
        ui.element("nav").classes("flex items-center gap-x-1 sm:gap-x-2 w-full").props('aria-label="Main"'),
    ):
        with ui.link(target="/").classes("brand sm:mr-4").props('aria-label="saddlepoint studio"'):
            ui.html(ICON, sanitize=False).style("width: 1.6rem; height: 1.6rem")
            ui.html("<span>saddlepoint studio</span>", sanitize=False)
        for name, target in PLACES:
            link = ui.link(name, target).classes("place")
            if name == place:
                link.props("aria-current=page")
        ui.space()
        shade = ui.button(icon="contrast").props('flat round dense aria-label="Light or dark"')
        shade.on("click", js_handler="() => switchShade()")
    content = ui.element("main").classes("w-full max-w-screen-xl mx-auto px-2 sm:px-4 pb-12")
    ui.skip_link(target=content)
    with content:
        if above:
            ui.link(f"\u2190 {place}", dict(PLACES)[place]).classes("text-sm inline-block pt-3")
        ui.label(title).classes("text-2xl font-medium break-words " + ("pb-2" if above else "pt-5 pb-3")).props(
            "role=heading aria-level=1"
        )
        yield


def _with_word(head: str) -> str:
    """Let scripts of our own carry the word without which the page's policy carries out none."""
    return head.replace("<script", f'<script nonce="{ui.context.client.request.state.nonce}"')


def address(place: str, name: str) -> str:
    """Return the address of a run's page, picture or report."""
    return f"{place}/{quote(name, safe='')}"


def thumbnail_address(entry: Entry) -> str:
    """Return the address of a small picture of a run's newest snapshot."""
    return f"{address('/thumbnail', entry.name)}/{entry.picture}.png"


def block() -> ui.column:
    """Put a card, and return it to be filled."""
    return ui.column().classes("sheet w-full gap-2")


def badge(text: str, tone: str = "") -> ui.label:
    """Put a word in a frame.

    Args:
        text: the word.
        tone: ``amber``, ``red``, "": neutral, or ``good``: only what was measured may call samples so.
    """
    return ui.label(text).classes(f"badge {tone}")


def tone_of(verdict: str) -> str:
    """Return the tone of a doctor's verdict: red for what ends a training, amber for other alarms."""
    return ("red" if verdict in ("diverged", "full collapse") else "amber") if verdict in ALARMS else ""


def worth_of(standing: str) -> tuple[str, str]:
    """Return the words of a report for where samples stand, and their tone; "" before anything was measured."""
    words, tone = STANDING.get(standing, ("", ""))
    return words, {"good": "good", "warn": "amber", "bad": "red"}.get(tone, "")


@contextmanager
def wide() -> Iterator[None]:
    """Hold what may be wider than a phone: it scrolls sideways, and a sign says so."""
    with ui.element("div").classes("reach"), ui.element("div").classes("wide"):
        yield


def waiting(text: str) -> ui.row:
    """Put a turning wheel with what is waited for; delete it, or clear its place, when it is there."""
    row = ui.row().classes("items-center gap-3 py-4").props("role=status")
    with row:
        ui.spinner(size="1.6em")
        ui.label(text).classes("quiet")
    return row


async def confirmed(question: str, action: str) -> bool:
    """Ask before something that cannot be undone; return whether to do it."""
    with ui.dialog() as dialog, ui.card():
        ui.label(question).classes("break-words")
        with ui.row().classes("w-full justify-end gap-2"):
            ui.button("Cancel", on_click=lambda: dialog.submit(False)).props("flat no-caps autofocus")
            ui.button(action, on_click=lambda: dialog.submit(True)).props("no-caps color=negative")
    answer = await here(dialog)
    dialog.delete()
    return bool(answer)


async def asked(question: str, value: str, action: str) -> str:
    """Ask for a word; return it, or "" if there is none."""
    with ui.dialog() as dialog, ui.card().classes("w-96"):
        field = ui.input(question, value=value).classes("w-full").props("autofocus")
        field.on("keydown.enter", lambda: dialog.submit(field.value))
        with ui.row().classes("w-full justify-end gap-2"):
            ui.button("Cancel", on_click=lambda: dialog.submit("")).props("flat no-caps")
            ui.button(action, on_click=lambda: dialog.submit(field.value)).props("no-caps")
    answer = await here(dialog)
    dialog.delete()
    return str(answer or "")


_FORMULA = re.compile(
    r"(?P<letter>\b[A-Za-z])_(?P<low>[A-Za-z]+|\d+)\b|(?P<star>\bD)\*|(?P<base>[A-Za-z\d)])\^(?P<high>-?\w+)"
    r"|\b(?P<root>sqrt)\b|\b(?P<alone>[DGV]\b|[dpxz]\b(?= = |\())"
)


def formula(text: str) -> str:
    """Return a sentence with its formulas set as such, as HTML: ``p_data`` with an index, ``D*`` with a star above.

    >>> formula("D* = p_data / (p_data + p_g)")
    '<i>D</i><sup>*</sup> = <i>p</i><sub>data</sub> / (<i>p</i><sub>data</sub> + <i>p</i><sub>g</sub>)'
    """

    def set_one(match: re.Match[str]) -> str:
        if match["letter"]:
            return f"<i>{match['letter']}</i><sub>{match['low']}</sub>"
        if match["star"]:
            return f"<i>{match['star']}</i><sup>*</sup>"
        if match["base"]:
            return f"{match['base']}<sup>{match['high'].replace('-', '&minus;')}</sup>"
        return "&radic;" if match["root"] else f"<i>{match['alone']}</i>"

    return _FORMULA.sub(set_one, for_html(text)).replace("+-", "&plusmn;")


class Formula(ui.html):
    """A sentence with formulas.

    Args:
        text: the sentence, as `formula` reads it.
    """

    def __init__(self, text: str) -> None:
        super().__init__(formula(text), sanitize=False)
        self.classes("formula")

    def say(self, text: str) -> None:
        """Show another sentence."""
        self.content = formula(text)


def heading(text: str) -> None:
    """Put a heading of the second level."""
    ui.label(text).classes("text-lg font-medium pt-4 pb-1").props("role=heading aria-level=2")


def say(text: str) -> ui.label:
    """Put a quiet sentence."""
    return ui.label(for_terminal(text, lines=True)).classes("quiet")


def data_url(picture: Image.Image) -> str:
    """Return a picture as text that a page can show."""
    return "data:image/png;base64," + base64.b64encode(grids.encoded(picture)).decode()


class Picture(ui.element):
    """An image whose pixels stay sharp however large it is shown.

    Args:
        alt: what it shows, for those who do not see it.
        width: in pixels of the page; None: its own.
    """

    def __init__(self, alt: str, width: int | None = None) -> None:
        super().__init__("img")
        self.classes("pixels")
        self.props["alt"] = alt
        self.set_visibility(False)
        if width is not None:
            self.style(f"width: {width}px")

    def show(self, picture: Image.Image | str) -> None:
        """Show a picture, or what is at an address."""
        self.set_visibility(True)
        self.props["src"] = picture if isinstance(picture, str) else data_url(picture)


class Legend(ui.row):
    """The names of a diagram's curves beside their colours, whole, with their formulas set.

    Args:
        options: of the diagram, as `charts` makes them.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__()
        self.classes("gap-x-4 gap-y-1")
        self.entries: list[tuple[str, str]] = []
        self.show(options)

    def show(self, options: Mapping[str, Any]) -> None:
        """Show the names of a diagram; nothing happens while they stay."""
        entries = list(dict.fromkeys((line["name"], line["color"]) for line in options["series"] if line["name"]))
        if entries == self.entries:
            return
        self.entries = entries
        self.clear()
        with self:
            for name, colour in entries:
                with ui.row().classes("items-center gap-2 flex-nowrap"):
                    ui.element("span").classes("swatch").style(f"background: {colour}")
                    Formula(name).classes("text-sm break-words min-w-0")


def copyable(label: str, text: str) -> Callable[[str], None]:
    """Put a line of text with a button that copies it; return the function that changes the text."""
    with ui.row().classes("items-center gap-2 w-full flex-nowrap"):
        ui.label(label).classes("quiet w-16 shrink-0")
        shown = ui.element("code").classes("text-sm grow min-w-0")
        with shown:
            content = ui.label(text)
        ui.button(icon="content_copy", on_click=lambda: ui.clipboard.write(content.text)).props(
            f'flat dense round aria-label="Copy the {label}"'
        )

    def change(text: str) -> None:
        content.text = text

    return change


def table(lines: list[list[str]], *, numbers: bool = True) -> None:
    """Put a table whose first line and first column are headings; the other columns hold numbers, or words.

    Further lines of a cell are set small.
    """
    with ui.element("table").classes("figures text-sm"):
        for number, line in enumerate(lines):
            with ui.element("tr"):
                for place, text in enumerate(line):
                    head = number == 0 or place == 0
                    with ui.element("th" if head else "td") as cell:
                        if head:
                            cell.props(f"scope={'col' if number == 0 else 'row'}")
                        if place:
                            cell.classes("words" if not numbers else "n own" if place == 1 and number else "n")
                        first, *more = text.split("\n")
                        ui.label(first)
                        for note in more:
                            # A sentence breaks between its words; the name of a protocol has no place to break.
                            ui.label(note).classes(f"quiet small {'break-words' if ' ' in note else 'break-all'}")


def reading(findings: Sequence[Finding]) -> None:
    """Put a reading plan as a table: what is done with the data, why, and the option for another reading.

    A column without a word is left out: a phone has no room for it.
    """
    lines = [["", "what is done", "why", "to have it otherwise"]]
    lines += [
        [found.topic, found.says if found.sure else f"likely: {found.says}", found.why, found.option]
        for found in findings
    ]
    told = [any(column[1:]) for column in zip(*lines, strict=True)]
    table([[text for text, tells in zip(line, told, strict=True) if tells] for line in lines], numbers=False)
