"""What was measured of a run, as its report has it: the verdict, one table, the limits; and a button that measures."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from nicegui import ui

from saddlepoint._errors import DataError
from saddlepoint._files import read_json
from saddlepoint._quoting import for_shell
from saddlepoint.engine.folder import RunFolder
from saddlepoint.evaluate import (
    ARROWS,
    DIRECTIONS,
    Metric,
    Report,
    Result,
    cannot_judge,
    kept_results,
    report_of,
    shown,
)
from saddlepoint.evaluate.rows import label_of, left_out
from saddlepoint.serve.studio import parts
from saddlepoint.serve.studio.desk import Desk
from saddlepoint.shelf import Entry

_EVERY_SECONDS, _MOST_SUMMARY = 1.0, 1024**2
BLIND = "by plain pixels: a good value says nothing"


def results_of(folder: Path) -> list[Result]:
    """Return what was measured of a run; empty before, or if it cannot be read."""
    return kept_results(RunFolder(folder).report)


def verdict_of(results: Sequence[Result]) -> str:
    """Return the whole evaluation in a sentence or two; "" without any."""
    try:
        return report_of(results).verdict if results else ""
    except DataError as error:
        return str(error)


def limits_of(folder: Path) -> list[str]:
    """Return what a reader of the figures must know first, and what was not measured, as the last report says it."""
    try:
        kept = read_json(RunFolder(folder).report / "summary.json", _MOST_SUMMARY)
        return [*map(str, kept["limits"]), *left_out(kept["omitted"])]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def lines_of(results: Sequence[Result]) -> list[list[str]]:
    """Return the table: a line for each figure that has a value, its name and direction, the model and the controls.

    A name stands alone where one protocol has it; the full name of the protocol is under it where two do.
    """
    rows = [label_of(results), *Report(tuple(results), "", "").controls]
    names = [metric.name for result in results for metric in result.metrics]
    lines = [["", *rows]]
    for result in results:
        for metric in result.metrics:
            found = {
                row.row: shown(row, metric).replace(" ", "\n", 1) for row in result.rows if row.metric == metric.name
            }
            if found:
                lines.append([_name(metric, result, names.count(metric.name) > 1), *(found.get(r, "") for r in rows)])
    return lines


def _name(metric: Metric, result: Result, ambiguous: bool) -> str:
    blind = BLIND if cannot_judge(result.protocol) else ""
    notes = ", ".join(note for note in (metric.unit, DIRECTIONS[metric.better], blind) if note)
    which = f"\n{result.protocol}" if ambiguous else ""
    return f"{metric.name} {ARROWS[metric.better]}".strip() + (f"\n{notes}" if notes else "") + which


def figures_panel(desk: Desk, name: str, entry: Entry) -> None:
    """Show verdict, table and limits."""
    folder = desk.folder(name)
    place = ui.column().classes("w-full gap-2")

    def draw() -> None:
        place.clear()
        results = results_of(folder)
        with place:
            if not results:
                return
            ui.label(verdict_of(results)).classes("text-lg max-w-4xl")
            with parts.block(), parts.wide():
                parts.table(lines_of(results))
            parts.say(
                "Brackets are 95% intervals over samples, \u00b1 one standard error. Columns after the first need no "
                "model: they say what a figure can tell."
            ).classes("small")
            if limits := limits_of(folder):
                parts.heading("Limits")
                for sentence in limits:
                    ui.label(sentence).classes("max-w-4xl")
            with ui.expansion("What each figure says").classes("w-full"):
                for result in results:
                    ui.label(result.summary).classes("font-medium pt-2")
                    ui.label(result.verdict)
                    parts.say(result.protocol).classes("small break-all")

    draw()
    MeasureButton(desk, name, draw)


class MeasureButton:
    """A button that measures a run, what it is at, and the way to its report.

    Args:
        desk: the studio's state.
        name: of the run.
        done: called when there are new figures.
        also: words before the button while there are no figures.
    """

    def __init__(self, desk: Desk, name: str, done: Callable[[], None], also: str = "") -> None:
        self.desk, self.name, self.done, self.also = desk, name, done, also
        self.folder = desk.folder(name)
        self.note = parts.say("").classes("small")
        with ui.row().classes("items-center gap-3"):
            self.button = ui.button("Measure", icon="straighten").props("outline no-caps")
            self.wheel = ui.spinner(size="1.4em")
            self.report = ui.link("The report as a page", parts.address("/report", name), new_tab=True)
        self.wheel.set_visibility(False)
        self.elsewhere, self.seen = False, self.written()
        self.button.on_click(parts.guarded(self.measure))
        self.stand()
        self.watch()
        ui.timer(_EVERY_SECONDS, self.watch)

    def stand(self) -> None:
        """Show what is there."""
        there = bool(results_of(self.folder))
        self.button.text = "Measure again" if there else "Measure now"
        self.report.set_visibility((RunFolder(self.folder).report / "index.html").is_file())
        before = (
            self.also or f"Not measured yet. Here, or in a terminal: {for_shell('saddle', 'evaluate', self.folder)}"
        )
        self.note.text = "" if there else before

    def written(self) -> int:
        """Return when figures were written last; 0 before."""
        try:
            return (RunFolder(self.folder).report / "metrics.jsonl").stat().st_mtime_ns
        except OSError:
            return 0

    def watch(self) -> None:
        """Show that another process measures it, and what it found; this page's own measuring says that itself."""
        at = RunFolder(self.folder).measuring()
        elsewhere = at is not None and at[0] != os.getpid()
        if elsewhere and at is not None:
            self.note.text = f"Being measured: {at[1] or 'reading the data'}"
        if elsewhere != self.elsewhere:
            self.button.set_enabled(not elsewhere)
            self.wheel.set_visibility(elsewhere)
            if not elsewhere:
                self.stand()
        now = self.written()
        if now != self.seen and not self.wheel.visible:
            self.done()
            self.stand()
        self.elsewhere, self.seen = elsewhere, now

    async def measure(self) -> None:
        """Measure the run, and say what it is at."""
        said = {"line": "Reading the data"}
        self.button.disable()
        self.wheel.set_visibility(True)
        self.note.text = "Measuring: from seconds to some minutes"
        timer = ui.timer(0.5, lambda: self.note.set_text(f"Measuring: {said['line']}"))

        def over() -> None:
            timer.deactivate()
            self.wheel.set_visibility(False)
            self.button.enable()
            self.stand()

        with parts.afterwards(over):
            run, _ = await parts.here(self.desk.opened(self.name))
            # Measured and kept in one go: whoever leaves the page finds the figures when coming back.
            measured = asyncio.to_thread(lambda: run.save_report(run.evaluate(say=lambda line: said.update(line=line))))
            await parts.here(measured)
        self.done()
