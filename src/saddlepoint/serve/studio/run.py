"""The page of a run: how it stands, its curves, its learning, its samples, its latent space, its figures."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

from nicegui import ui

from saddlepoint import jobs, pictures
from saddlepoint._errors import SaddlepointError
from saddlepoint.data.plan import findings_from_json
from saddlepoint.engine.folder import RunFolder
from saddlepoint.evaluate import read_results, shown
from saddlepoint.family import families
from saddlepoint.serve.studio import charts, parts
from saddlepoint.serve.studio.desk import Desk, standing
from saddlepoint.serve.studio.explorer import explorer_panel
from saddlepoint.serve.studio.given import projection_panel, translation_panel
from saddlepoint.shelf import Entry

_EVERY_SECONDS = 1.0
_LANDMARKS = (0, 10_000, 50_000, 90_000)
_PANEL = Callable[[Desk, str, Entry], None]


def show(desk: Desk, name: str) -> None:
    """Show one run; a broken one says what is broken."""
    with parts.page(name):
        if desk.shelf.path(name) is None:
            ui.label(f"There is no run '{name}' in {desk.shelf.root}.")
            ui.link("All runs", "/")
            return
        entry = desk.shelf.entry(name)
        if entry.state == "starting" and not entry.family:
            ui.label("Starting: the data is read and the networks are built.")
            ui.timer(_EVERY_SECONDS, lambda: None if _is_new(desk, name) else ui.navigate.reload())
            return
        if entry.state == "broken":
            ui.label(f"This folder is no run that can be read: {entry.detail}.")
            say_output(desk, name)
            return
        parts.say(f"{entry.family}, preset {entry.preset}, on {entry.data}")
        _controls(desk, name)
        offered = panels(entry)
        with ui.tabs().props("inline-label outside-arrows mobile-arrows align=left dense").classes("w-full") as tabs:
            for title in offered:
                ui.tab(title).props("no-caps")
        with ui.tab_panels(tabs, value=next(iter(offered)), animated=False).classes(
            "w-full bg-transparent"
        ) as shown_panels:
            holders = {}
            for title in offered:
                with ui.tab_panel(title).classes("px-0"):
                    holders[title] = ui.column().classes("w-full")
        filled: set[str] = set()

        def fill() -> None:
            title = str(shown_panels.value)
            if title not in filled:
                holders[title].clear()
                with holders[title]:
                    # What cannot be shown yet, before the first checkpoint, is tried again when it is chosen again.
                    if _fill(offered[title], desk, name, entry):
                        filled.add(title)

        shown_panels.on_value_change(fill)
        fill()


def _is_new(desk: Desk, name: str) -> bool:
    entry = desk.shelf.entry(name)
    return entry.state == "starting" and not entry.family


def panels(entry: Entry) -> dict[str, _PANEL]:
    """Return the panels that suit the run: what its family is tagged with, and its kind of data."""
    tags = families()[entry.family].tags if entry.family in families() else None
    found: dict[str, _PANEL] = {"Training": _training, "Filmstrip": _filmstrip, "Samples": _samples}
    if entry.modality == "image":
        found |= {"Neighbours": _neighbours}
    if tags is not None and tags.input == "latent" and entry.modality != "sequence":
        found |= {"Explorer": explorer_panel}
        if entry.modality == "image":
            found |= {"Projection": projection_panel}
    if tags is not None and tags.input == "image":
        found |= {"Translation": translation_panel}
    return found | {"Figures": _figures, "Data": _data}


def _data(desk: Desk, name: str, entry: Entry) -> None:
    """Show how the data of the run was read, and what the family did with it."""
    kept = RunFolder(desk.folder(name)).read_config().get("data", {})
    parts.say(f"{entry.data}: how it was read, and what was chosen for it. Another reading is another run.")
    with ui.element("div").classes("wide w-full"):
        parts.reading(findings_from_json(kept.get("reading", [])))


def _fill(panel: _PANEL, desk: Desk, name: str, entry: Entry) -> bool:
    """Fill a panel, or say why it cannot be; return whether it is filled."""
    try:
        panel(desk, name, entry)
    except (SaddlepointError, OSError) as error:
        ui.label(str(error))
        return False
    return True


def _controls(desk: Desk, name: str) -> None:
    """How it stands, and what can be done about it."""
    with ui.row().classes("items-center gap-2 w-full"):
        state = ui.label().props('role=status aria-label="state of the run"')
        bar = ui.linear_progress(0.0, show_value=False).classes("grow min-w-24").props('aria-label="progress"')
    verdict = ui.label()
    with ui.row().classes("gap-2"):
        pause = ui.button("Pause", icon="pause", on_click=parts.guarded(lambda: jobs.pause(desk.folder(name))))
        go_on = ui.button("Go on", icon="play_arrow", on_click=parts.guarded(lambda: jobs.go_on(desk.folder(name))))

        async def end() -> None:
            ui.notify("Saving and stopping ...")
            await asyncio.to_thread(jobs.stop, desk.folder(name))

        stop = ui.button("Stop", icon="stop", on_click=parts.guarded(end))
    for button in (pause, go_on, stop):
        button.props("outline no-caps")

    def refresh() -> None:
        jobs.reap()
        entry = desk.shelf.entry(name)
        state.text = standing(entry)
        bar.value = entry.progress or 0.0
        bar.set_visibility(entry.progress is not None)
        verdict.text = f"doctor: {entry.verdict}" if entry.verdict else ""
        pause.set_visibility(entry.state == "running")
        go_on.set_visibility(entry.state in ("paused", "failed"))
        stop.set_visibility(entry.state in ("running", "paused", "failed"))

    refresh()
    ui.timer(_EVERY_SECONDS, refresh)


def say_output(desk: Desk, name: str) -> None:
    """Show the last lines that the run's process said."""
    try:
        lines = (desk.folder(name) / jobs.OUTPUT).read_text(errors="replace").splitlines()[-20:]
    except OSError:
        return
    with ui.expansion("What the process said").classes("w-full"):
        ui.code("\n".join(lines), language="text").classes("w-full")


def _training(desk: Desk, name: str, entry: Entry) -> None:
    """V, D(x), D(G(z)) and losses with the values of theory; the doctor's signs."""
    folder = RunFolder(desk.folder(name))
    empty = parts.say("Nothing is written yet: the first line comes after a few thousand samples.")
    plots: dict[str, ui.echart] = {}
    area = ui.element("div").classes("grid grid-cols-1 lg:grid-cols-2 gap-2 w-full")
    with ui.column().classes("w-full") as signs:
        parts.heading("The doctor's signs")
        choice = ui.select([], label="sign").classes("w-64")
        sign = ui.echart(charts.line_options({})).classes("w-full h-64")
        words = ui.column().classes("gap-0")
    read = -1

    def draw_sign() -> None:
        if choice.value:
            sign.options.update(charts.sign_options(folder.read_log(), str(choice.value)))

    def refresh() -> None:
        nonlocal read
        try:
            size = (folder.path / "log.jsonl").stat().st_size
        except OSError:
            size = 0
        if size == read:
            return
        read = size
        log = folder.read_log()
        for title, options in charts.training_curves(log).items():
            if title not in plots:
                with area, ui.column().classes("w-full gap-0"):
                    ui.label(title)
                    plots[title] = ui.echart(options).classes("w-full h-64")
            plots[title].options.update(options)
        empty.set_visibility(not plots)
        names = charts.sign_names(log)
        signs.set_visibility(bool(names))
        if names and choice.options != names:
            choice.set_options(names, value=choice.value or names[0])
        draw_sign()
        words.clear()
        with words:
            for sentence in folder.read_status().get("evidence", []):
                ui.label(str(sentence))

    choice.on_value_change(draw_sign)
    refresh()
    ui.timer(_EVERY_SECONDS, refresh)
    say_output(desk, name)


def _filmstrip(desk: Desk, name: str, entry: Entry) -> None:
    """The same inputs over training, with a scrubber."""
    folder = desk.folder(name)
    steps: list[int] = []
    empty = parts.say("There are no snapshots yet: the first is made before the first step.")
    with ui.column().classes("w-full") as strip:
        caption = ui.label().props("aria-live=polite")
        slider = (
            ui.slider(min=0, max=1, step=1, value=0)
            .classes("max-w-xl")
            .props('aria-label="step of training" markers snap')
        )
        with ui.row().classes("gap-2"):
            for mark in _LANDMARKS:
                ui.button(f"{mark:,}", on_click=lambda mark=mark: seek(mark)).props("flat dense no-caps")
            ui.button("last", on_click=lambda: seek(1 << 60)).props("flat dense no-caps")
        picture = parts.Picture(
            "samples of the averaged generator from the same inputs, at the chosen step of training"
        )
        picture.style("width: min(100%, 34rem)")
        parts.say("The buttons go to the snapshot nearest to that step. Every picture shows the same inputs.")

    def scrub() -> None:
        if steps:
            step = steps[min(int(slider.value or 0), len(steps) - 1)]
            caption.text = f"step {step:,}"
            picture.show(f"/snapshot/{name}/{step}.png")

    def seek(mark: int) -> None:
        slider.value = min(range(len(steps)), key=lambda place: abs(steps[place] - mark))

    def refresh() -> None:
        found = sorted(
            int(m[1])
            for path in (folder / "samples").glob("step*.png")
            if (m := re.fullmatch(r"step(\d{8,})", path.stem))
        )
        if found == steps:
            return
        at_end = not steps or int(slider.value or 0) >= len(steps) - 1
        steps[:] = found
        slider.props["max"] = max(1, len(steps) - 1)
        if at_end:
            slider.value = len(steps) - 1
        scrub()
        empty.set_visibility(not steps)
        strip.set_visibility(bool(steps))

    slider.on_value_change(scrub)
    strip.set_visibility(False)
    refresh()
    ui.timer(_EVERY_SECONDS, refresh)


def _samples(desk: Desk, name: str, entry: Entry) -> None:
    """Grids by seed and label; interpolations."""
    family = desk.open(name)[0].family
    classes = family.data.classes[: family.classes]
    with ui.row().classes("items-end gap-4"):
        kinds = {"grid": "samples"} | ({"interpolation": "interpolations"} if family.tags.input != "image" else {})
        kinds |= {"styles": "styles", "references": "references"} if family.tags.guided else {}
        kind = ui.select(kinds, value="grid", label="picture").classes("w-40")
        seed = ui.number("seed", value=0, min=0, step=1, format="%d").classes("w-24")
        label = ui.select(
            {"": "every class", **dict(zip(classes, classes, strict=True))}, value="", label="label"
        ).classes("w-40")
        label.set_visibility(bool(classes))
    picture = parts.Picture("samples of the averaged generator")
    command = parts.copyable("command", "")

    async def draw() -> None:
        run, _ = desk.open(name)
        asked = str(label.value) if label.value else None
        drawn = await asyncio.to_thread(
            pictures.made, run, str(kind.value), None, seed=int(seed.value or 0), label=asked
        )
        picture.show(drawn)
        words = f"saddle sample {run.path} --seed {int(seed.value or 0)} --picture {kind.value}"
        command(words + (f" --label {asked}" if asked else ""))

    for control in (kind, seed, label):
        control.on_value_change(parts.guarded(draw))
    ui.timer(0.01, parts.guarded(draw), once=True)


def _neighbours(desk: Desk, name: str, entry: Entry) -> None:
    """Samples beside their nearest training images; the closest pairs of an evaluation."""
    parts.say("In the yellow frame: the training image nearest to the sample on its left.")
    waiting = ui.label("Looking for neighbours ...")
    nearest = parts.Picture("samples with their nearest training images in yellow frames")
    parts.heading("Closest copies")
    note = ui.label()
    closest = parts.Picture("the pairs of a sample and a training image that are closest")

    async def draw() -> None:
        try:
            run, _ = desk.open(name)
        except (SaddlepointError, OSError) as error:
            waiting.text = str(error)
            return
        try:
            nearest.show(await asyncio.to_thread(pictures.made, run, "neighbours"))
            waiting.set_visibility(False)
        except SaddlepointError as error:
            waiting.text = str(error)
        try:
            picture, distances = await asyncio.to_thread(pictures.copies, run)
            closest.show(picture)
            reach = f"distances {distances[0]:.3g} to {distances[-1]:.3g}"
            note.text = f"Of all samples the evaluation looked at, the closest to training images; {reach}."
        except SaddlepointError as error:
            note.text = str(error)

    ui.timer(0.01, parts.guarded(draw), once=True)


def _figures(desk: Desk, name: str, entry: Entry) -> None:
    """What was measured, with intervals, beside the rows that need no model."""
    folder = desk.folder(name)
    note = ui.label()
    button = ui.button("Measure now", icon="straighten").props("outline no-caps")
    table = ui.element("div").classes("wide w-full")

    def draw() -> None:
        table.clear()
        file = RunFolder(folder).report / "metrics.jsonl"
        if not file.exists():
            note.text = f"Not measured yet. Here, or in a terminal: saddle evaluate {folder}"
            return
        results = read_results(file)
        rows = list(dict.fromkeys(row.row for result in results for row in result.rows))
        note.text = "Brackets are 95% intervals over samples. Columns after the first need no model."
        lines = [["", *rows]]
        for result in results:
            for metric in result.metrics:
                found = {row.row: shown(row, metric) for row in result.rows if row.metric == metric.name}
                lines.append([f"{metric.name} ({result.protocol})", *(found.get(row, "") for row in rows)])
        with table:
            parts.table(lines)

    async def measure() -> None:
        button.disable()
        try:
            note.text = "Measuring; this takes from seconds to some minutes ..."
            run, _ = desk.open(name)
            report = await asyncio.to_thread(run.evaluate)
            await asyncio.to_thread(run.save_report, report)
            draw()
            note.text = report.verdict
        finally:
            button.enable()

    button.on_click(parts.guarded(measure))
    draw()
