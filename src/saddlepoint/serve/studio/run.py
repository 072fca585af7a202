"""The page of a run: how it stands, its curves, its learning, its samples, its latent space, its figures."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from nicegui import ui

from saddlepoint.core.errors import SaddlepointError
from saddlepoint.core.quoting import for_shell, for_terminal
from saddlepoint.data.plan import findings_from_json
from saddlepoint.engine.storage.folder import LOG, RunFolder
from saddlepoint.evaluation.report.pictures import reach
from saddlepoint.family import families
from saddlepoint.family.capabilities import Guided
from saddlepoint.run import jobs
from saddlepoint.run.entries import STATES, Entry
from saddlepoint.run.samples import memorised, pictures
from saddlepoint.run.samples.neighbours import Neighbours
from saddlepoint.serve.studio import actions, charts, parts, waits
from saddlepoint.serve.studio.edit import edit_panel
from saddlepoint.serve.studio.explorer import explorer_panel
from saddlepoint.serve.studio.figures import figures_panel
from saddlepoint.serve.studio.overview import overview_panel
from saddlepoint.serve.studio.own_images import projection_panel, translation_panel
from saddlepoint.serve.studio.state import Studio, data_of, evidence_of, standing

_EVERY_SECONDS = 1.0
_NEEDS: dict[str, Callable[[Studio, str], Awaitable[object]]] = {
    "Samples": Studio.opened, "Neighbours": Studio.opened, "Explorer": Studio.explored, "Projection": Studio.opened,
    "Edit": Studio.explored, "Translation": Studio.opened,
}  # fmt: skip
"""What is loaded before a panel is put."""

_PANEL = Callable[[Studio, str, Entry], None]


async def show(studio: Studio, name: str, tab: str = "") -> None:
    """Show one run, at first the panel that is asked for; a broken one says what is broken."""
    with parts.page(name, "Runs", above=True):
        if await waits.looked(studio.path, name) is None:
            ui.label(f"There is no run '{name}' in {studio.index.root}.")
            return
        entry = await waits.looked(studio.entry, name)
        if entry.state == "starting" and not entry.family:
            parts.waiting("Starting: the data is read and the networks are built.")
            ui.timer(_EVERY_SECONDS, waits.watching(lambda: _until_begun(studio, name)))
            say_output(studio, name)
            return
        if entry.state == "broken":
            ui.label(f"This folder is no run that can be read: {entry.detail}.")
            say_output(studio, name)
            with ui.row().classes("pt-2"):
                ui.button("Delete", icon="delete", on_click=_removal(studio, name)).props("outline no-caps")
            return
        parts.say(f"{entry.family}, preset {entry.preset}, on {data_of(entry)}")
        _controls(studio, name, entry)
        _tabs(studio, name, entry, tab)


def _tabs(studio: Studio, name: str, entry: Entry, asked: str = "") -> None:
    """Put the panels; each is filled when it is first chosen, and what it needs is loaded beside the page."""
    offered = panels(entry)
    with ui.tabs().props("inline-label outside-arrows mobile-arrows align=left dense").classes("w-full") as tabs:
        for title in offered:
            ui.tab(title).props("no-caps")
    first = asked if asked in offered else next(iter(offered))
    with ui.tab_panels(tabs, value=first, animated=False).classes("w-full bg-transparent") as chosen:
        holders = {}
        for title in offered:
            with ui.tab_panel(title).classes("px-0"):
                holders[title] = ui.column().classes("w-full")
    filled: set[str] = set()

    async def fill() -> None:
        title = str(chosen.value)
        if title in filled:
            return
        filled.add(title)
        holders[title].clear()
        with holders[title]:
            # What cannot be shown yet, before the first checkpoint, is tried again when it is chosen again.
            if not await _fill(offered[title], studio, name, entry, _NEEDS.get(title)):
                filled.discard(title)

    chosen.on_value_change(waits.guarded(fill))
    ui.timer(0.01, waits.guarded(fill), once=True)


async def _until_begun(studio: Studio, name: str) -> None:
    entry = await waits.looked(studio.entry, name)
    if entry.state != "starting" or entry.family:
        ui.navigate.reload()


def panels(entry: Entry) -> dict[str, _PANEL]:
    """Return the panels that suit the run: what its family is tagged with, and its kind of data."""
    tags = families()[entry.family].tags if entry.family in families() else None
    found: dict[str, _PANEL] = {"Overview": overview_panel, "Training": _training, "Samples": _samples}
    if entry.modality == "image":
        found |= {"Neighbours": _neighbours}
    if tags is not None and tags.input == "latent" and entry.modality != "sequence":
        found |= {"Explorer": explorer_panel}
        if entry.modality == "image":
            found |= {"Edit": edit_panel, "Projection": projection_panel}
    if tags is not None and tags.input == "image":
        found |= {"Translation": translation_panel}
    return found | {"Figures": figures_panel, "Data": _data}


def _data(studio: Studio, name: str, entry: Entry) -> None:
    """Show how the data of the run was read, and what the family did with it."""
    kept = RunFolder(studio.folder(name)).read_config().get("data", {})
    parts.say(f"{entry.data}: how it was read, and what was chosen for it. Another reading is another run.")
    with parts.block(), parts.wide():
        parts.reading(findings_from_json(kept.get("reading", [])))


async def _fill(
    panel: _PANEL, studio: Studio, name: str, entry: Entry, needs: Callable[[Studio, str], Awaitable[object]] | None
) -> bool:
    """Fill a panel, or say why it cannot be; return whether it is filled."""
    try:
        if needs is not None:
            with waits.afterwards(parts.waiting("Loading the run").delete):
                await waits.here(needs(studio, name))
        panel(studio, name, entry)
    except (SaddlepointError, OSError) as error:
        ui.label(str(error))
        return False
    return True


def _removal(studio: Studio, name: str) -> Callable[[], Awaitable[None]]:
    async def remove() -> None:
        if await actions.remove(studio, name):
            ui.navigate.to("/")

    return waits.guarded(remove)


def _standing(studio: Studio, name: str) -> tuple[Entry, bool]:
    """Return how a run stands, and whether a process measures it that can be stopped."""
    entry = studio.entry(name)
    at = RunFolder(entry.path).measuring() if entry.state == "measuring" else None
    return entry, at is not None and at[0] not in (0, os.getpid())


def _controls(studio: Studio, name: str, first: Entry) -> None:
    """How it stands, and what can be done about it."""
    with ui.row().classes("items-center gap-x-3 gap-y-2 w-full py-2"):
        wheel = ui.spinner(size="1.2em")
        state = ui.label().classes("break-words min-w-0").props('role=status aria-label="state of the run"')
        verdict = parts.badge("")
        ui.space()
        buttons = _buttons(studio, name, lambda: refresh())
    bar = ui.linear_progress(0.0, show_value=False).classes("w-full").props('aria-label="progress"')

    def draw(entry: Entry, stoppable: bool) -> None:
        wheel.set_visibility(entry.state in ("starting", "measuring"))
        state.text = standing(entry)
        bar.value = entry.progress or 0.0
        bar.set_visibility(entry.state in ("starting", "running") and entry.progress is not None)
        verdict.text = f"doctor: {entry.verdict}"
        verdict.classes(replace=f"badge {parts.tone_of(entry.verdict)}")
        verdict.set_visibility(bool(entry.verdict))
        for button, states in buttons.items():
            button.set_visibility(entry.state in states if states else stoppable)

    async def refresh() -> None:
        jobs.reap()
        draw(*await waits.looked(_standing, studio, name))

    draw(first, False)
    ui.timer(_EVERY_SECONDS, waits.watching(refresh))


_AT_REST = tuple(state for state in STATES if state not in ("starting", "running", "measuring"))


def _buttons(studio: Studio, name: str, refresh: Callable[[], Awaitable[None]]) -> dict[ui.button, tuple[str, ...]]:
    """Put what can be done with a run; return the states in which each is offered, none: while a measuring can end."""

    async def end() -> None:
        ui.notify("Saving and stopping ...")
        await waits.here(asyncio.to_thread(jobs.stop, studio.folder(name)))

    async def end_measuring() -> None:
        await waits.here(asyncio.to_thread(jobs.stop_measuring, studio.folder(name)))
        ui.notify("The figure it is at is given up; those before it are kept.")

    async def rename() -> None:
        if new := await actions.rename(studio, name):
            ui.navigate.to(parts.address("/run", new))

    async def train_on() -> None:
        await actions.train_on(studio, name)
        await refresh()

    async def pauses() -> None:
        await waits.here(asyncio.to_thread(jobs.pause, studio.folder(name)))

    async def goes_on() -> None:
        await waits.here(asyncio.to_thread(studio.go_on, name))

    offered = (
        ("Train on", "more_time", waits.guarded(train_on), ("finished", "stopped")),
        ("Stop measuring", "stop", waits.guarded(end_measuring), ()),
        ("Pause", "pause", waits.guarded(pauses), ("running",)),
        ("Go on", "play_arrow", waits.guarded(goes_on), ("paused", "failed")),
        ("Stop", "stop", waits.guarded(end), ("running", "paused", "failed")),
        ("Rename", "edit", waits.guarded(rename), _AT_REST),
        ("Delete", "delete", _removal(studio, name), _AT_REST),
    )
    with ui.row().classes("gap-3"):
        return {
            ui.button(text, icon=icon, on_click=action).props("outline no-caps dense").classes("px-2"): states
            for text, icon, action, states in offered
        }


def output_of(folder: Path) -> str:
    """Return the last lines that a run's process said, of the last 64 KiB, without characters that do anything."""
    return "\n".join(for_terminal(line[:1000]) for line in jobs.output(folder)[-20:])


def say_output(studio: Studio, name: str) -> None:
    """Show the last lines that the run's process said: as text, whatever they look like."""
    with ui.expansion("What the process said").classes("w-full") as fold:
        words = ui.label().classes("font-mono text-sm whitespace-pre-wrap break-words")
    fold.set_visibility(False)

    async def fill() -> None:
        words.text = await waits.looked(lambda: output_of(studio.folder(name)))
        fold.set_visibility(bool(words.text))

    ui.timer(0.01, waits.watching(fill), once=True)


def _training(studio: Studio, name: str, entry: Entry) -> None:
    """V, D(x), D(G(z)) and losses with the values of theory; the doctor's signs."""
    folder = RunFolder(studio.folder(name))
    empty = parts.say("Nothing is written yet: the first line comes after a few thousand samples.")
    plots: dict[str, ui.echart] = {}
    area = ui.element("div").classes("grid grid-cols-1 lg:grid-cols-2 gap-2 w-full")
    with parts.block() as signs:
        ui.label("The doctor's signs").classes("font-medium").props("role=heading aria-level=2")
        choice = ui.select([], label="sign").classes("w-64")
        sign = ui.echart(charts.line_options({})).classes("w-full h-64")
        words = ui.column().classes("gap-0")
    read = -1

    async def draw_sign() -> None:
        if asked := str(choice.value or ""):
            sign.options.update(await waits.looked(lambda: charts.sign_options(folder.read_log(), asked)))

    async def refresh() -> None:
        nonlocal read
        found = await waits.looked(_learning, folder, read)
        if found is None:
            return
        read, curves, names, evidence = found
        for title, options in curves.items():
            if title not in plots:
                with area, ui.column().classes("sheet w-full gap-0"):
                    ui.label(title).classes("font-medium")
                    parts.Legend(options)
                    plots[title] = ui.echart(options).classes("w-full h-64")
            plots[title].options.update(options)
        empty.set_visibility(not plots)
        signs.set_visibility(bool(names))
        if names and choice.options != names:
            choice.set_options(names, value=choice.value or names[0])
        await draw_sign()
        words.clear()
        with words:
            for sentence in evidence:
                ui.label(sentence)

    choice.on_value_change(waits.watching(draw_sign))
    ui.timer(_EVERY_SECONDS, waits.watching(refresh))
    say_output(studio, name)


def _learning(folder: RunFolder, read: int) -> tuple[int, dict[str, dict[str, Any]], list[str], list[str]] | None:
    """Return size, curves, names of the signs and evidence of a log; None if it has the size that was read last."""
    try:
        size = (folder.path / LOG).stat().st_size
    except OSError:
        size = 0
    if size == read:
        return None
    log = folder.read_log()
    return size, charts.training_charts(log), charts.sign_names(log), evidence_of(folder.read_status())


def _samples(studio: Studio, name: str, entry: Entry) -> None:
    """Grids by seed and label; interpolations."""
    family = studio.open(name)[0].family  # it was loaded for this panel
    classes = family.data.classes[: family.classes]
    with ui.row().classes("items-end gap-4"):
        kinds = {"grid": "samples"} | ({"interpolation": "interpolations"} if family.tags.input != "image" else {})
        kinds |= {"styles": "styles", "references": "references"} if isinstance(family, Guided) else {}
        kind = ui.select(kinds, value="grid", label="picture").classes("w-40")
        seed = ui.number("seed", value=0, min=0, step=1, format="%d").classes("w-24")
        label = ui.select(
            {"": "every class", **dict(zip(classes, classes, strict=True))}, value="", label="label"
        ).classes("w-40")
        label.set_visibility(bool(classes))
    wheel = parts.waiting("Drawing")
    picture = parts.Picture("samples of the averaged generator")
    command = parts.copyable("command", "")

    async def draw() -> None:
        asked = str(label.value) if label.value else None
        wheel.set_visibility(True)
        with waits.afterwards(lambda: wheel.set_visibility(False)):
            run, _ = await waits.here(studio.opened(name))
            made = asyncio.to_thread(pictures.made, run, str(kind.value), None, seed=int(seed.value or 0), label=asked)
            drawn = await waits.here(made)
        picture.show(drawn)
        words = ["--seed", str(int(seed.value or 0)), "--picture", str(kind.value)]
        words += ["--label", asked] if asked else []
        command(for_shell("saddle", "sample", run.path, *words))

    for control in (kind, seed, label):
        control.on_value_change(waits.guarded(draw))
    ui.timer(0.01, waits.guarded(draw), once=True)


def _neighbours(studio: Studio, name: str, entry: Entry) -> None:
    """Samples beside their nearest training images; the closest pairs of an evaluation."""
    words = parts.say("In the yellow frame: the training image nearest to the sample on its left.")
    wheel = parts.waiting("Looking for neighbours")
    waiting = ui.label()
    nearest = parts.Picture("samples with their nearest training images in yellow frames")
    parts.heading("Closest pairs")
    note = ui.label()
    closest = parts.Picture("the pairs of a sample and a training image that are closest")

    async def draw() -> None:
        with waits.afterwards(wheel.delete):
            try:
                run, _ = await waits.here(studio.opened(name))
                nearest.show(await waits.here(asyncio.to_thread(pictures.made, run, "neighbours")))
                by = await waits.here(asyncio.to_thread(lambda: Neighbours(run).told_by))
                words.text = f"In the yellow frame: the training image nearest to the sample on its left, by {by}."
            except (SaddlepointError, OSError) as error:
                waiting.text = str(error)
        run, _ = await waits.here(studio.opened(name))
        try:
            picture, distances = await waits.here(asyncio.to_thread(memorised.copies, run))
            closest.show(picture)
            note.text = f"Of all samples the evaluation looked at, the closest to training images; {reach(distances)}."
        except SaddlepointError as error:
            note.text = str(error)

    ui.timer(0.01, waits.guarded(draw), once=True)
