"""Starting a training: your data first, then what is trained on it, then the command that does the same."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from nicegui import ui

from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.core.quoting import for_shell, shortened
from saddlepoint.data import KNOWN, Dataset, OpenQuestion, Preparation, Reading, absolute_source
from saddlepoint.data.tables.formats import READERS
from saddlepoint.data.tables.streams import ENDINGS
from saddlepoint.engine.machine.runtime import AUTO, read_threads
from saddlepoint.family import families, get_family
from saddlepoint.family.capabilities import Sized
from saddlepoint.run import api
from saddlepoint.run.measure import after_training, is_followed, report_time
from saddlepoint.run.plan import Resolved
from saddlepoint.serve.studio import parts, thumbnails, waits
from saddlepoint.serve.studio.bringing import Source
from saddlepoint.serve.studio.choices import Fields
from saddlepoint.serve.studio.state import Studio

_TIMES = ("1m", "3m", "20m", "1h")
_FIRST = {"image": "dcgan", "vector": "gan", "sequence": "timegan"}
_TABLES = (*ENDINGS, *READERS, ".feather")
_KINDS = {1: "vector", 2: "sequence", 3: "image"}
_CHOSEN = ("size", "options", "batch")


class Form:
    """The form of one visitor.

    Args:
        studio: the studio's state.
    """

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.asked: dict[str, str | bool] = {}
        # What the form itself put last, which is no choice of the visitor's.
        self.put_family, self.put_size = next(iter(families())), "auto"
        self.looked, self.by_hand = False, False
        self.resolution: Resolved | None = None
        with parts.block():
            _step(1, "Your data")
            self.source = Source(studio, waits.guarded(self.look))
            with ui.row().classes("items-center gap-3"):
                ui.button("Look into the data", icon="search", on_click=waits.guarded(self.look)).props(
                    "no-caps outline"
                )
            self.frame = ui.column().classes("w-full gap-2")
            with self.frame:
                self.reading = ui.column().classes("w-full gap-2")
        with parts.block():
            _step(2, "What to train")
            self.put_choices()
        with parts.block():
            _step(3, "Options")
            self.heading = ui.expansion("Options of the family").classes("w-full")
            with self.heading:
                self.fields = Fields(self.said)
        with parts.block():
            _step(4, "Train")
            self.line = parts.copyable("command", "")
            self.report = ui.checkbox("measure the samples at the end, and write a report", value=True)
            self.report.on_value_change(waits.guarded(self.foretold))
            self.after = parts.say("").classes("small")
            parts.say(
                "It runs in a process of its own: it goes on when this page is closed, and when the studio ends."
            ).classes("small")
            ui.button("Train", icon="play_arrow", on_click=waits.guarded(self.start)).props("no-caps")
        self.source.field.on_value_change(self.brought)
        self.source.field.on("keydown.enter", waits.guarded(self.look))
        self.offer(list(families()))
        self.family.value = self.put_family

    def put_choices(self) -> None:
        """Put what every training has: family, preset, size, time, threads, and the rest folded."""
        with ui.element("div").classes("grid grid-cols-1 sm:grid-cols-2 gap-x-6 gap-y-2 w-full"):
            self.family = ui.select([], label="family").classes("w-full min-w-0")
            self.preset = ui.select([], label="preset").classes("w-full min-w-0")
            with ui.column().classes("w-full gap-0"):
                self.budget = ui.input("training time", placeholder="3m").props("stack-label").classes("w-full")
                with ui.row().classes("gap-1"):
                    for time in _TIMES:
                        ui.button(time, on_click=partial(self.budget.set_value, time)).props("flat dense no-caps")
            self.size = ui.select(["auto"], value="auto", label="size of the pictures").classes("w-full")
            self.threads = ui.input("threads", value=AUTO).classes("w-full")
            self.threads.tooltip("auto, or a number of CPU threads that stays")
        with (
            ui.expansion("Seed, remedies, device").classes("w-full"),
            ui.element("div").classes("grid grid-cols-1 sm:grid-cols-3 gap-x-6 w-full"),
        ):
            self.seed = ui.number("seed", value=0, min=0, step=1, format="%d")
            self.remedy = ui.select(_REMEDIES, value="", label="when the doctor finds trouble")
            self.device = ui.select(["auto", "cpu", "cuda", "mps"], value="auto", label="device")
        self.family.on_value_change(waits.guarded(self.chosen))
        self.preset.on_value_change(self.filled)
        self.size.on_value_change(waits.guarded(self.sized))
        for control in (self.budget, self.threads, self.seed, self.remedy, self.device):
            control.on_value_change(self.said)

    def offer(self, names: Sequence[str]) -> None:
        """Offer families."""
        self.family.set_options({name: f"{name}: {families()[name].summary}" for name in names})

    async def chosen(self) -> None:
        """Offer the presets and sizes of the chosen family; look at the data as it would."""
        kind = get_family(str(self.family.value))
        presets = list(kind.PRESETS)
        self.preset.set_options(presets, value=presets[0])
        sizes = [str(size) for size in kind.sizes] if issubclass(kind, Sized) else ["16", "28", "32", "64"]
        images = "image" in kind.tags.modalities
        self.put_size = str(self.size.value) if self.size.value in sizes else "auto"
        self.size.set_options(["auto", *sizes], value=self.put_size)
        self.size.set_visibility(images)
        self.filled()
        if kind.name != self.put_family:
            self.put_family, self.by_hand = kind.name, True
            if self.looked:
                await self.look()

    def filled(self) -> None:
        """Offer the options of the chosen preset."""
        kind = get_family(str(self.family.value))
        if self.preset.value in kind.PRESETS:
            self.budget.props["placeholder"] = f"{kind.tags.budget}, if left empty"
            self.heading.text = f"Options of {kind.name}"
            self.fields.fill(kind, str(self.preset.value))
            self.said()

    async def sized(self) -> None:
        """Take another size; what was seen of the data is seen again."""
        self.said()
        if self.size.value != self.put_size:
            self.put_size = str(self.size.value)
            if self.looked:
                await self.look()

    @property
    def preparation(self) -> dict[str, str | bool]:
        """How the data is to be read, as far as it was said."""
        sized = {"size": str(self.size.value)} if self.size.value != "auto" and self.size.visible else {}
        return {**self.asked, **sized}

    @property
    def arguments(self) -> list[str]:
        """Arguments of the command after family and data.

        Raises:
            ConfigError: as `read_threads`.
        """
        usual = next(iter(get_family(str(self.family.value)).PRESETS))
        arguments = [] if self.preset.value == usual else ["--preset", str(self.preset.value)]
        for name, value in (
            ("budget", self.budget.value), ("seed", int(self.seed.value or 0)), ("threads", self.fixed_threads),
            ("remedy", self.remedy.value), ("device", "" if self.device.value == "auto" else self.device.value),
        ):  # fmt: skip
            arguments += [f"--{name}", str(value)] if value else []
        if self.report.value != is_followed(self.source.name):
            arguments += ["--report" if self.report.value else "--no-report"]
        arguments += Reading("", self.preparation).flags()
        return arguments + [word for name, value in self.fields.different.items() for word in (f"--{name}", value)]

    @property
    def fixed_threads(self) -> int | None:
        """The number of threads that was asked for; None: chosen by itself.

        Raises:
            ConfigError: as `read_threads`.
        """
        return read_threads(str(self.threads.value or AUTO).strip())

    def brought(self) -> None:
        """Forget what was chosen for other data."""
        self.asked.clear()
        self.reading.clear()
        self.looked, self.resolution = False, None
        self.report.value = is_followed(self.source.name)
        self.after.text = ""
        self.offer(list(families()))
        self.said()

    def said(self) -> None:
        """Show the command that does the same."""
        try:
            arguments = self.arguments
        except ConfigError as error:
            self.line(str(error))
            return
        name = self.source.name or "YOUR-DATA"
        self.line(for_shell("saddle", "train", str(self.family.value), "--data", name, *arguments))

    def request(self, family: str = "") -> api.Plan:
        """Return the request that the form holds.

        Args:
            family: in the place of the one that is chosen, with its own preset and options.

        Raises:
            ConfigError: if there is no such data, or an option is not possible.
        """
        if not self.source.name:
            raise ConfigError("choose your data first: a folder of pictures, a table, or a name such as digits")
        own = family in ("", self.family.value)
        data = absolute_source(self.source.name)
        if not (data in KNOWN or data.startswith("hf:") or Path(data).exists()):
            raise ConfigError(f"there is no data set or path '{self.source.name}'; names are: {', '.join(KNOWN)}")
        asked = cast(Preparation, self.preparation if own else dict(self.asked))
        more: dict[str, Any] = {"preset": str(self.preset.value), "options": self.fields.different} if own else {}
        return api.plan(
            family or str(self.family.value), data, budget=str(self.budget.value or "") or None,
            seed=int(self.seed.value or 0), threads=self.fixed_threads, remedy=str(self.remedy.value) or None,
            device=str(self.device.value), **more, **asked,
        )  # fmt: skip

    async def look(self) -> None:
        """Show how the data is read and what the family does with it, or ask; then say what the report will take."""
        if await self.read():
            await self.foretold()

    async def foretold(self) -> None:
        """Say whether the training will be measured, and how long that takes, as the command does."""
        self.said()
        resolved = self.resolution
        if not self.report.value:
            self.after.text = "Nothing is measured at the end: the run's page can do it later."
        elif resolved is None:
            self.after.text = "How long that takes is said once the data is looked into."
        else:
            self.after.text = "How long that takes is being measured ..."
            asked = asyncio.to_thread(report_time, resolved.dataset, resolved.network, resolved.to_json())
            forecast = await waits.here(asked)
            if self.report.value and resolved is self.resolution:
                self.after.text = f"The report {after_training(forecast)}."

    async def read(self) -> bool:
        """Show how the data is read and what the family does with it, or ask; return whether it can be trained on."""
        self.request()
        self.reading.clear()
        with self.reading:
            parts.waiting("Reading the data")
        try:
            resolved = await self.resolved()
            picture = await waits.here(asyncio.to_thread(thumbnails.rows_of, resolved.dataset))
        except OpenQuestion as question:
            self.ask(question)
            return False
        except waits.LeftError:
            raise
        except Exception:
            self.reading.clear()
            raise
        self.take(resolved)
        self.resolution = resolved
        self.reading.clear()
        with self.reading:
            _shown(resolved, picture)
        return True

    async def resolved(self) -> Resolved:
        """Return the request with its data read, by the chosen family, or before one is chosen by one that takes it."""
        chosen = self.by_hand or bool(self.fields.different)
        names = [str(self.family.value)] if chosen else _likely(self.source.name)
        problem: Exception | None = None
        for name in names:
            try:
                return await waits.here(asyncio.to_thread(api.resolve, self.request(name)))
            except OpenQuestion:
                self.choose_family(name)
                raise
            except (ConfigError, DataError) as error:
                problem = problem or error
        assert problem is not None
        raise problem

    def take(self, resolved: Resolved) -> None:
        """Offer the families that take the data."""
        kind = resolved.dataset.modality
        names = [name for name, family in families().items() if kind in family.tags.modalities]
        self.choose_family(resolved.plan.family, names)
        self.looked = True

    def choose_family(self, name: str, names: Sequence[str] = ()) -> None:
        """Choose a family without looking at the data again."""
        self.put_family = name
        if names:
            self.offer(names)
        self.family.value = name

    def ask(self, question: OpenQuestion) -> None:
        """Put the readings of a question side by side, each with a button that chooses it."""
        self.reading.clear()
        with self.reading:
            parts.heading("The data can be read in several ways")
            ui.label(question.question)
            for reading in question.readings:
                with parts.block():
                    ui.label(reading.title).classes("font-medium")
                    if reading.rows:
                        ui.label("\n".join(reading.rows)).classes("font-mono text-sm whitespace-pre-wrap break-all")
                    ui.button("Read it so", on_click=partial(self.choose, reading)).props("no-caps outline")

    async def choose(self, reading: Reading) -> None:
        """Take one of the readings, and look again."""
        self.asked.update(reading.options)
        self.said()
        # The button goes with its question, and what is said of errors needs a place that stays.
        with self.frame:
            await waits.guarded(self.look)()

    async def start(self) -> None:
        """Read the data, start the process, and go to its page."""
        self.by_hand = True  # what stands in the form is what is trained
        if not await self.read():
            return
        request = self.request()
        started = asyncio.to_thread(self.studio.train, request.family, request.source, self.arguments)
        name = await waits.here(started)
        ui.navigate.to(parts.address("/run", name))


_REMEDIES = {"": "as the preset has it", "auto": "change one thing", "off": "say it only"}


def show(studio: Studio) -> None:
    """Show the form."""
    with parts.page("Train", "Train"), ui.column().classes("w-full gap-4"):
        Form(studio)


def _step(number: int, title: str) -> None:
    ui.label(f"{number}. {title}").classes("text-lg font-medium").props("role=heading aria-level=2")


def _likely(source: str) -> list[str]:
    """Return families to look at data with, the likeliest first."""
    kind = "sequence" if source.lower().removesuffix(".gz").endswith(_TABLES) else "image"
    if source in KNOWN:
        kind = _KINDS.get(len(KNOWN[source].shape), kind)
    return [_FIRST[kind], *(family for other, family in _FIRST.items() if other != kind)]


def _shown(resolved: Resolved, picture: Any) -> None:
    """Put what the data is, some rows of it, what is chosen for it, and folded how all of it is read."""
    dataset, findings = resolved.dataset, resolved.reading.findings
    ui.label(_described(dataset)).classes("font-medium")
    parts.Picture("rows of the training data").show(picture)
    ui.label(f"What {resolved.plan.family} would do with it:")
    with ui.column().classes("gap-0"):
        for found in findings:
            if found.topic in _CHOSEN or not found.sure:
                parts.say(f"\u2022 {found.sentence()}").classes("small")
    with ui.expansion(f"All {len(findings)} lines of how it is read").classes("w-full"), parts.wide():
        parts.reading(findings)


def _described(dataset: Dataset) -> str:
    """Say what a data set is."""
    noun = {"image": "pictures", "vector": "rows", "sequence": "windows"}[dataset.modality]
    counts = {name: len(split.x) for name, split in dataset.splits.items()}
    held = counts.get("valid", 0) + counts.get("test", 0)
    shape = dataset.spec.shape
    if dataset.modality == "image":
        colour = {1: "grey", 3: "colour", 4: "colour and alpha"}.get(shape[0], f"{shape[0]} channels")
        form = f"{shape[2]} x {shape[1]} pixels, {colour}"
    else:
        form = " x ".join(map(str, shape)) + (" steps x columns" if len(shape) == 2 else " numbers")
    named = f"; {len(dataset.classes)} classes: {shortened(dataset.classes, 8)}" if dataset.classes else ""
    return f"{counts['train']:,} {noun} to train on, {held:,} held out; {form}{named}"
