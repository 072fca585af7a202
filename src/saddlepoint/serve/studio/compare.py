"""Two runs side by side: the same seeds, the same axes, the figures that both have."""

from __future__ import annotations

import asyncio

from nicegui import ui

from saddlepoint import pictures
from saddlepoint._errors import SaddlepointError
from saddlepoint.engine.folder import RunFolder
from saddlepoint.evaluate import shown
from saddlepoint.measure import compare_runs
from saddlepoint.serve.studio import charts, parts
from saddlepoint.serve.studio.desk import Desk, standing

_CURVES = ("V", "D(x)", "D(G(z))")


def show(desk: Desk, one: str = "", two: str = "") -> None:
    """Show two runs; without names, offer the choice."""
    with parts.page("Compare"):
        names = [entry.name for entry in desk.shelf.entries() if entry.family]
        if len(names) < 2:
            ui.label("Two runs are needed to compare. Train them on the page Train, or with saddle train.")
            return
        chosen = [one if one in names else names[0], two if two in names else names[1]]
        with ui.row().classes("items-end gap-4 w-full"):
            selects = [
                ui.select(names, value=name, label=f"run {number}").classes("w-full sm:w-96")
                for number, name in enumerate(chosen, 1)
            ]
            seed = ui.number("seed", value=0, min=0, step=1, format="%d").classes("w-24")
        area = ui.column().classes("w-full")
        begun = 0

        async def draw() -> None:
            nonlocal begun
            begun += 1
            this, pair = begun, [str(select.value) for select in selects]
            area.clear()
            # What is drawn while another choice comes goes with its own place.
            with area, ui.column().classes("w-full") as place:
                await _sides(desk, pair, int(seed.value or 0))
            if this == begun:
                with place:
                    _curves(desk, pair)
                    _figures(desk, pair)

        for control in (*selects, seed):
            control.on_value_change(parts.guarded(draw))
        ui.timer(0.01, parts.guarded(draw), once=True)


async def _sides(desk: Desk, pair: list[str], seed: int) -> None:
    """Lay out both sides, then draw: another choice may clear the page while a picture is made."""
    made = []
    with ui.element("div").classes("grid grid-cols-1 md:grid-cols-2 gap-4 w-full"):
        for name in pair:
            with ui.column().classes("w-full gap-1"):
                ui.link(name, f"/run/{name}").classes("break-all")
                entry = desk.shelf.entry(name)
                parts.say(standing(entry))
                parts.say(f"doctor: {entry.verdict}" if entry.verdict else "")
                picture = parts.Picture(f"samples of {name}, seed {seed}").style("width: 100%")
                made.append((name, picture, parts.say("")))
    for name, picture, problem in made:
        try:
            run, _ = desk.open(name)
            picture.show(await asyncio.to_thread(pictures.made, run, "grid", None, seed=seed))
        except SaddlepointError as error:
            problem.text = str(error)


def _curves(desk: Desk, pair: list[str]) -> None:
    logs = {name: RunFolder(desk.folder(name)).read_log() for name in pair}
    with ui.element("div").classes("grid grid-cols-1 lg:grid-cols-3 gap-2 w-full"):
        for key in _CURVES:
            lines = {name: charts.column([line for line in log if "nimg" in line], key) for name, log in logs.items()}
            if any(x for x, _ in lines.values()):
                level = ("-log 4", -charts.LOG4) if key == "V" else ("1/2", 0.5)
                with ui.column().classes("w-full gap-0"):
                    ui.label(key)
                    ui.echart(charts.line_options(lines, level)).classes("w-full h-64")


def _figures(desk: Desk, pair: list[str]) -> None:
    parts.heading("Figures")
    if pair[0] == pair[1]:
        parts.say("Choose two different runs to compare their figures.")
        return
    try:
        found = compare_runs([desk.folder(name) for name in pair])
    except SaddlepointError as error:
        ui.label(str(error))
        return
    lines = [["", *pair, ""]]
    for line in found:
        values = [shown(line.rows[name], line.metric) if name in line.rows else "" for name in pair]
        lines.append([f"{line.metric.name} ({line.protocol})", *values, line.words()])
    with ui.element("div").classes("wide w-full"):
        parts.table(lines)
