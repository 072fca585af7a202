"""Starting a training: family, data, preset and options, all from the registry."""

from __future__ import annotations

import asyncio
import hashlib
import shlex
import uuid
from functools import partial
from pathlib import Path
from typing import cast

from nicegui import events, ui

from saddlepoint import api
from saddlepoint._errors import ConfigError
from saddlepoint.config import describe
from saddlepoint.data import KNOWN, OpenQuestion, Preparation, Reading, absolute_source
from saddlepoint.family import get_family
from saddlepoint.serve.studio import parts
from saddlepoint.serve.studio.desk import Desk

_MOST_BYTES = 2_000_000_000
_FILES = ".zip,.parquet,.npz,.npy,.csv,.tsv,.txt,.gz,.xlsx,.feather,.h5,.hdf5,.tar,.mat,.ts,.tsf,.arff,.nc"


class Form:
    """The form of one visitor.

    Args:
        desk: the studio's state.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        kinds = api.list_families()
        with ui.element("div").classes("grid grid-cols-1 sm:grid-cols-2 lg:grid-cols-4 gap-x-4 w-full max-w-screen-lg"):
            self.family = ui.select({name: f"{name}: {kind.summary}" for name, kind in kinds.items()}, label="family")
            self.preset = ui.select([], label="preset")
            self.data = ui.input("data", value="mnist", autocomplete=list(KNOWN))
            self.budget = ui.input("training time", placeholder="3m")
            self.seed = ui.number("seed", value=0, min=0, step=1, format="%d")
        names = ", ".join(list(KNOWN)[:6])
        parts.say(
            f"Data: a name such as {names}; the path of a folder of images, of a table or of arrays; or hf:owner/name."
        )
        self.upload = ui.upload(
            label="or bring a file", auto_upload=True, max_file_size=_MOST_BYTES, on_upload=parts.guarded(self.take),
            on_rejected=lambda: ui.notify("The file is larger than 2 GB: give its path instead.", type="negative"),
        ).props(f'accept="{_FILES}" flat bordered').classes("w-full max-w-xl")  # fmt: skip
        with ui.expansion("Options of the family").classes("w-full"):
            self.options = ui.element("div").classes("grid grid-cols-1 sm:grid-cols-2 lg:grid-cols-3 gap-x-4 w-full")
        self.fields: dict[str, tuple[ui.input, str]] = {}
        self.line = parts.copyable("command", "")
        self.asked: dict[str, str | bool] = {}
        with ui.row().classes("gap-2"):
            ui.button("Look into the data", icon="search", on_click=parts.guarded(self.look)).props("no-caps outline")
            ui.button("Train", icon="play_arrow", on_click=parts.guarded(self.start)).props("no-caps")
        self.frame = ui.column().classes("w-full")
        with self.frame:
            self.reading = ui.column().classes("w-full")
        self.family.on_value_change(self.chosen)
        self.preset.on_value_change(self.filled)
        for control in (self.budget, self.seed):
            control.on_value_change(self.said)
        self.data.on_value_change(self.brought)
        self.family.value = next(iter(kinds))

    def chosen(self) -> None:
        """Offer the presets of the chosen family."""
        presets = list(get_family(str(self.family.value)).PRESETS)
        self.preset.set_options(presets, value=presets[0])
        self.filled()

    def filled(self) -> None:
        """Offer the options of the chosen preset."""
        kind = get_family(str(self.family.value))
        if self.preset.value not in kind.PRESETS:
            return
        self.options.clear()
        self.fields.clear()
        self.budget.props["placeholder"] = kind.default_budget
        with self.options:
            for option, value, help in describe(kind.Config, kind.PRESETS[str(self.preset.value)]):
                name = option.removeprefix("--")
                field = ui.input(name, value=value, on_change=self.said).props("dense").classes("w-full")
                field.tooltip(help)
                self.fields[name] = (field, value)
        self.said()

    @property
    def changed(self) -> dict[str, str]:
        """Options that differ from the preset's."""
        return {name: str(field.value) for name, (field, usual) in self.fields.items() if field.value != usual}

    @property
    def words(self) -> list[str]:
        """Arguments of the command after family and data."""
        words = (
            []
            if self.preset.value == next(iter(get_family(str(self.family.value)).PRESETS))
            else ["--preset", str(self.preset.value)]
        )
        words += ["--budget", str(self.budget.value)] if self.budget.value else []
        words += ["--seed", str(int(self.seed.value or 0))] if self.seed.value else []
        words += Reading("", self.asked).flags()
        return words + [word for name, value in self.changed.items() for word in (f"--{name}", value)]

    def brought(self) -> None:
        """Forget what was chosen for other data."""
        self.asked.clear()
        self.reading.clear()
        self.said()

    def said(self) -> None:
        """Show the command that does the same."""
        self.line(shlex.join(["saddle", "train", str(self.family.value), "--data", str(self.data.value), *self.words]))

    async def take(self, event: events.UploadEventArguments) -> None:
        """Keep an uploaded file beside the runs, in a folder for its content, and choose it.

        Runs go on with what they were trained on: another file of that name takes no place of an earlier one.
        """
        name = Path(event.file.name).name
        if not name or name.startswith("."):
            raise ConfigError(f"'{event.file.name}' is no name for a file of data")
        self.desk.uploads.mkdir(parents=True, exist_ok=True)
        coming = self.desk.uploads / f".{uuid.uuid4().hex}"
        try:
            await event.file.save(coming)
            with coming.open("rb") as file:
                path = self.desk.uploads / hashlib.file_digest(file, "sha256").hexdigest()[:12] / name
            path.parent.mkdir(exist_ok=True)
            coming.replace(path)
        finally:
            coming.unlink(missing_ok=True)
        self.data.value = str(path)
        ui.notify(f"{name} is here; choose a family that suits it.")

    def request(self) -> api.Plan:
        """Return the request that the form holds.

        Raises:
            ConfigError: if there is no such data, or an option is not possible.
        """
        family, data = str(self.family.value), absolute_source(str(self.data.value).strip())
        if not (data in KNOWN or data.startswith("hf:") or Path(data).exists()):
            raise ConfigError(f"there is no data set or path '{self.data.value}'; names are: {', '.join(KNOWN)}")
        asked, budget = cast(Preparation, dict(self.asked)), str(self.budget.value or "") or None
        return api.plan(
            family, data, preset=str(self.preset.value), options=self.changed, budget=budget,
            seed=int(self.seed.value or 0), **asked,
        )  # fmt: skip

    async def look(self) -> bool:
        """Show how the data is read and what the family does with it, or ask; return whether it can be trained on."""
        request = self.request()
        self.reading.clear()
        with self.reading:
            parts.say("Reading ...")
        try:
            resolved = await asyncio.to_thread(api.resolve, request)
        except OpenQuestion as question:
            self.ask(question)
            return False
        except Exception:
            self.reading.clear()
            raise
        self.reading.clear()
        with self.reading, ui.element("div").classes("wide w-full"):
            parts.reading(resolved.reading.findings)
        return True

    def ask(self, question: OpenQuestion) -> None:
        """Put the readings of a question side by side, each with a button that chooses it."""
        self.reading.clear()
        with self.reading:
            parts.heading("The data can be read in several ways")
            ui.label(question.question)
            for reading in question.readings:
                with ui.card().classes("w-full"):
                    ui.label(reading.title).classes("font-medium")
                    if reading.rows:
                        ui.label("\n".join(reading.rows)).classes("font-mono text-sm whitespace-pre-wrap break-all")
                    ui.button("Read it so", on_click=partial(self.choose, reading)).props("no-caps flat")

    async def choose(self, reading: Reading) -> None:
        """Take one of the readings, and look again."""
        self.asked.update(reading.options)
        self.said()
        # The button goes with its question, and what is said of errors needs a place that stays.
        with self.frame:
            await parts.guarded(self.look)()

    async def start(self) -> None:
        """Read the data, start the process, and go to its page."""
        if not await self.look():
            return
        request = self.request()
        ui.navigate.to(f"/run/{self.desk.train(request.family, request.source, self.words)}")


def show(desk: Desk) -> None:
    """Show the form."""
    with parts.page("Train"):
        parts.say(
            "A training runs in a process of its own: it goes on when this page is closed, and when the studio ends."
        )
        Form(desk)
