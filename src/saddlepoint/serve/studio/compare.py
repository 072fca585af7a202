"""Two runs side by side: the same seeds, the same axes, the figures that both have."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from nicegui import ui

from saddlepoint.core.errors import SaddlepointError
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.evaluation import ARROWS, Comparison, cannot_judge, shown
from saddlepoint.run.compare import compare_runs
from saddlepoint.run.entries import Entry
from saddlepoint.run.samples import pictures
from saddlepoint.serve.studio import charts, parts, waits
from saddlepoint.serve.studio.figures import BLIND, MeasureButton, results_of
from saddlepoint.serve.studio.state import Studio, data_of, standing

_CHARTS = ("V", "D(x)", "D(G(z))")


async def show(studio: Studio, one: str = "", two: str = "") -> None:
    """Show two runs; without names, offer the choice."""
    with parts.page("Compare", "Compare"):
        entries = {entry.name: entry for entry in await waits.looked(studio.entries) if entry.family}
        if len(entries) < 2:
            with parts.block():
                ui.label("Two runs are needed to compare. Train them on the page Train, or with saddle train.")
                ui.button("Train", icon="play_arrow", on_click=lambda: ui.navigate.to("/train")).props("no-caps")
            return
        chosen = pair_of(list(entries.values()), one, two)
        with ui.row().classes("items-end gap-4 w-full"):
            first = ui.select(list(entries), value=chosen[0], label="run 1").classes("w-full sm:w-96")
            second = ui.select(partners(entries, chosen[0]), value=chosen[1], label="run 2").classes("w-full sm:w-96")
            seed = ui.number("seed", value=0, min=0, step=1, format="%d").classes("w-24")
        area = ui.column().classes("w-full")
        begun = 0

        async def draw() -> None:
            nonlocal begun
            begun += 1
            this, pair = begun, [str(first.value), str(second.value)]
            area.clear()
            # What is drawn while another choice comes goes with its own place.
            with area, ui.column().classes("w-full gap-4 pt-4") as place:
                if not same_data(entries[pair[0]], entries[pair[1]]):
                    words = " and ".join(f"{name} on {data_of(entries[name])}" for name in pair)
                    ui.label(f"These runs are on different data ({words}): their figures cannot be compared.")
                await _sides(studio, entries, pair, int(seed.value or 0))
            if this == begun:
                with place:
                    await _charts(studio, pair)
                    await _figures(studio, pair, waits.guarded(draw))

        async def other() -> None:
            offered = partners(entries, str(first.value))
            kept = second.value if second.value in offered else next(iter(offered))
            changed = kept != second.value
            second.set_options(offered, value=kept)
            if not changed:  # else its own handler draws
                await draw()

        first.on_value_change(waits.guarded(other))
        for control in (second, seed):
            control.on_value_change(waits.guarded(draw))
        ui.timer(0.01, waits.guarded(draw), once=True)


def pair_of(entries: Sequence[Entry], one: str = "", two: str = "") -> tuple[str, str]:
    """Return the runs to begin with: those that are asked for, else the newest two on the same data.

    Args:
        entries: at least two, the newest first.
        one, two: names that are asked for; what no run has counts as none.
    """
    known = {entry.name: entry for entry in entries}
    if one in known and two in known:
        return one, two
    if one in known or two in known:
        given = one if one in known else two
        return given, next(iter(partners(known, given)))
    for number, entry in enumerate(entries):
        same = [other.name for other in entries[number + 1 :] if same_data(other, entry)]
        if same:
            return entry.name, same[0]
    return entries[0].name, entries[1].name


def same_data(one: Entry, two: Entry) -> bool:
    """Whether two runs read the same rows in the same way, whatever path they were given."""
    if one.fingerprint and two.fingerprint:
        return one.fingerprint == two.fingerprint
    return one.data == two.data


def partners(entries: Mapping[str, Entry], name: str) -> dict[str, str]:
    """Return the runs to compare one with, by name: those on the same data first; of others their data is said."""
    others = [entry for entry in entries.values() if entry.name != name]
    others.sort(key=lambda entry: not same_data(entry, entries[name]))
    alike = {entry.name: same_data(entry, entries[name]) for entry in others}
    return {n: n if same else f"{n} (on other data: {data_of(entries[n])})" for n, same in alike.items()}


async def _sides(studio: Studio, entries: Mapping[str, Entry], pair: list[str], seed: int) -> None:
    """Lay out both sides, then draw: another choice may clear the page while a picture is made."""
    made = []
    entries = {**entries, **{name: await waits.looked(studio.entry, name) for name in pair}}
    with ui.element("div").classes("grid grid-cols-1 md:grid-cols-2 gap-4 w-full"):
        for name, colour in zip(pair, charts.COLOURS, strict=False):
            with parts.block().classes("gap-1"):
                with ui.row().classes("items-center gap-2 flex-nowrap"):
                    ui.element("span").classes("swatch").style(f"background: {colour}")
                    ui.link(name, parts.address("/run", name)).classes("break-all font-medium")
                entry = entries[name]
                parts.say(f"{entry.family} {entry.preset} on {data_of(entry)}; {standing(entry)}").classes("small")
                if entry.verdict:
                    parts.badge(f"doctor: {entry.verdict}", parts.tone_of(entry.verdict))
                if entry.standing:
                    parts.badge(*parts.worth_of(entry.standing))
                wheel = parts.waiting("Drawing samples")
                picture = parts.Picture(f"samples of {name}, seed {seed}").classes("large")
                made.append((name, picture, wheel, parts.say("")))
    for name, picture, wheel, problem in made:
        try:
            run, _ = await waits.here(studio.opened(name))
            picture.show(await waits.here(asyncio.to_thread(pictures.made, run, "grid", None, seed=seed)))
        except (SaddlepointError, OSError) as error:
            problem.text = str(error)
        wheel.set_visibility(False)


def _drawn(studio: Studio, pair: list[str]) -> dict[str, dict[str, tuple[list[float], list[float]]]]:
    """Return the curves of both by what they show, those without a point left out."""
    logs = {name: RunFolder(studio.folder(name)).read_log() for name in pair}
    drawn = {
        key: {name: charts.column([line for line in log if "nimg" in line], key) for name, log in logs.items()}
        for key in _CHARTS
    }
    return {key: lines for key, lines in drawn.items() if any(x for x, _ in lines.values())}


async def _charts(studio: Studio, pair: list[str]) -> None:
    """Put the curves of both; their names stand whole above, in the colours of the curves."""
    drawn = await waits.looked(_drawn, studio, pair)
    if not drawn:
        return
    with parts.block():
        ui.label("Curves of the training").classes("font-medium").props("role=heading aria-level=2")
        parts.Legend(charts.line_options(next(iter(drawn.values()))))
        with ui.element("div").classes("grid grid-cols-1 lg:grid-cols-3 gap-2 w-full"):
            for key, lines in drawn.items():
                level = ("-log 4", -charts.LOG4) if key == "V" else ("1/2", 0.5)
                with ui.column().classes("w-full gap-0"):
                    ui.label(key)
                    ui.echart(charts.line_options(lines, level)).classes("w-full h-64")


def _table(found: Comparison, pair: list[str]) -> None:
    lines = [["", *pair, ""]]
    for line in found:
        values = [shown(line.rows[name], line.metric) if name in line.rows else "" for name in pair]
        if any(values):
            blind = f"\n{BLIND}" if cannot_judge(line.protocol) else ""
            name = f"{line.metric.name} {ARROWS[line.metric.better]}".strip() + blind
            lines.append([f"{name}\n{line.protocol}", *values, line.text()])
    if len(lines) > 1:
        with parts.wide():
            parts.table(lines)


async def _figures(studio: Studio, pair: list[str], again: Callable[[], Awaitable[None]]) -> None:
    """Put the figures of both: at once what is known, then what takes seconds."""
    with parts.block():
        ui.label("Figures").classes("font-medium").props("role=heading aria-level=2")
        if pair[0] == pair[1]:
            parts.say("Choose two different runs to compare their figures.")
            return
        lacking = await waits.looked(lambda: [name for name in pair if not results_of(studio.folder(name))])
        folders = [studio.folder(name) for name in pair]
        try:
            if not lacking:
                found = await waits.looked(lambda: compare_runs(folders, shuffle=False))
                with ui.column().classes("w-full") as place:
                    _table(found, pair)
                    wheel = parts.waiting("Shuffling the samples of both") if found.pending else None
                if wheel is not None:
                    found = await waits.here(asyncio.to_thread(compare_runs, folders))
                    if place.is_deleted:  # others were chosen meanwhile
                        return
                    place.clear()
                    with place:
                        _table(found, pair)
        except SaddlepointError as error:
            ui.label(str(error))
            return

        def redraw() -> None:
            ui.timer(0.01, again, once=True)

        for name in lacking:
            ui.label(name).classes("font-medium break-all")
            MeasureButton(studio, name, redraw, "This run was not measured yet.")
