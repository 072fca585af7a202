"""The first step of a training: your data, by name, by path, chosen, or dropped on the page."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from nicegui import ui

from saddlepoint.data import KNOWN
from saddlepoint.data.kinds import ARRAYS
from saddlepoint.data.sources.folder import IMAGE_SUFFIXES
from saddlepoint.data.tables.formats import READERS
from saddlepoint.data.tables.streams import ENDINGS
from saddlepoint.serve.studio import parts, waits
from saddlepoint.serve.studio.dropzone import DropZone
from saddlepoint.serve.studio.state import Studio, is_text

_EXAMPLES = ("digits", "ring8", "sines")
"""Data that are made or come with the library's own packages."""

_MOST_ENTRIES = 300
_PICTURES = tuple(IMAGE_SUFFIXES)
_FILES = (*ENDINGS, *READERS, *ARRAYS, ".zip", ".parquet", ".gz", ".feather", ".h5", ".hdf5", ".tar", ".mat")


class Source:
    """The field for data, with all ways to fill it.

    Args:
        studio: the studio's state.
        chosen: called when other data were chosen by more than typing.
    """

    def __init__(self, studio: Studio, chosen: Callable[[], Awaitable[None]]) -> None:
        self.studio, self.chosen = studio, chosen
        with ui.row().classes("items-end gap-3 w-full"):
            self.field = ui.input("data", placeholder="a path, a name, or hf:owner/name", autocomplete=list(KNOWN))
            self.field.props("stack-label").classes("grow min-w-48")
            ui.button("Choose a folder or file", icon="folder_open", on_click=waits.guarded(self.browse)).props(
                "outline no-caps"
            )
        DropZone(studio.uploads, "Drop pictures, a folder of them, a table or a zip here", self.brought, folders=True)
        with ui.row().classes("items-center gap-2"):
            parts.say("Or try:").classes("small")
            for name in _EXAMPLES:
                words = f"{name}: {KNOWN[name].description}"
                button = ui.button(name, on_click=partial(self.take, name)).props("flat dense no-caps")
                button.tooltip(words)

    @property
    def name(self) -> str:
        """What is in the field."""
        return str(self.field.value or "").strip()

    async def take(self, name: str) -> None:
        """Choose data by name or path."""
        self.field.value = name
        await self.chosen()

    async def brought(self, ticket: str) -> None:
        """Keep the files that came, and choose them."""
        await self.take(str(await waits.here(asyncio.to_thread(self.studio.uploads.keep, ticket))))

    async def browse(self) -> None:
        """Choose a folder or a file of this machine."""
        with ui.dialog() as dialog, ui.card().classes("w-full max-w-2xl"):
            Chooser(self.studio.roots, dialog.submit)
        path = await waits.here(dialog)
        dialog.delete()
        if path:
            await self.take(str(path))


class Chooser:
    """Folders and files below some roots, to go into and to choose.

    Args:
        roots: folders that can be looked into; nothing above them can.
        choose: receives the path that is chosen.
    """

    def __init__(self, roots: list[Path], choose: Callable[[str], None]) -> None:
        self.roots, self.choose = roots, choose
        self.folder = roots[0]
        with ui.row().classes("w-full items-center gap-2"):
            chosen = ui.select({str(root): str(root) for root in roots}, value=str(roots[0]), label="below")
            chosen.on_value_change(waits.guarded(lambda event: self.show(Path(event.value)))).classes("w-full")
        self.where = parts.say("").classes("small break-all")
        self.list = ui.column().classes("w-full gap-0 overflow-auto").style("max-height: 50vh")
        with ui.row().classes("w-full justify-end gap-2"):
            ui.button("Cancel", on_click=lambda: choose("")).props("flat no-caps")
            self.use = ui.button("Use this folder", on_click=lambda: choose(str(self.folder))).props("no-caps")
        ui.timer(0.01, waits.guarded(lambda: self.show(self.folder)), once=True)

    async def show(self, folder: Path) -> None:
        """Show what a folder holds."""
        root = await waits.looked(lambda: next((root for root in self.roots if below(root, folder)), None))
        if root is None:
            return
        self.folder = folder
        folders, files, pictures = await waits.looked(listing, folder)
        self.where.text = str(folder)
        self.use.text = f"Use this folder ({pictures:,} pictures)" if pictures else "Use this folder"
        self.list.clear()
        with self.list:
            if folder.resolve() != root.resolve():
                self.line("arrow_upward", "..", partial(self.show, folder.parent))
            for name in folders:
                self.line("folder", name, partial(self.show, folder / name))
            for name in files:
                self.line("description", name, partial(self.choose, str(folder / name)))
            if not folders and not files:
                parts.say("No folders, tables, arrays or archives here." if not pictures else "Only pictures here.")

    def line(self, icon: str, name: str, action: Callable[[], Any]) -> None:
        """Put one entry."""
        button = ui.button(name, icon=icon, on_click=waits.guarded(action)).props("flat no-caps align=left dense")
        button.classes("w-full break-all")


def below(root: Path, path: Path) -> bool:
    """Whether a path, links followed, lies in a folder or is it."""
    return path.resolve().is_relative_to(root.resolve())


def listing(folder: Path) -> tuple[list[str], list[str], int]:
    """Return the folders, the files of data, and how many pictures lie in a folder.

    What is hidden is left out, and what has a name that is no text.
    """
    folders, files, pictures = [], [], 0
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return [], [], 0
    for entry in sorted(entries, key=lambda entry: entry.name.lower()):
        if entry.name.startswith(".") or not is_text(entry.name):
            continue
        if entry.is_dir():
            folders.append(entry.name)
        elif entry.name.lower().endswith(_PICTURES):
            pictures += 1
        elif entry.name.lower().endswith(_FILES):
            files.append(entry.name)
    return folders[:_MOST_ENTRIES], files[:_MOST_ENTRIES], pictures
