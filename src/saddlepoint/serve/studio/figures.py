"""What was measured of a run, as its report has it: the verdict, one table, the limits; and a button that measures."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nicegui import ui

from saddlepoint.core.errors import DataError
from saddlepoint.core.files import read_json
from saddlepoint.core.progress import Say
from saddlepoint.core.quoting import for_shell
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.evaluation import (
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
from saddlepoint.evaluation.rows import label_of, left_out
from saddlepoint.run.entries import Entry
from saddlepoint.run.run import Run
from saddlepoint.serve.studio import parts, waits
from saddlepoint.serve.studio.state import Studio

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


def figures_panel(studio: Studio, name: str, entry: Entry) -> None:
    """Show verdict, table and limits."""
    folder = studio.folder(name)
    place = ui.column().classes("w-full gap-2")

    async def draw() -> None:
        results, limits = await waits.looked(lambda: (results_of(folder), limits_of(folder)))
        place.clear()
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
            if limits:
                parts.heading("Limits")
                for sentence in limits:
                    ui.label(sentence).classes("max-w-4xl")
            with ui.expansion("What each figure says").classes("w-full"):
                for result in results:
                    ui.label(result.summary).classes("font-medium pt-2")
                    ui.label(result.verdict)
                    parts.say(result.protocol).classes("small break-all")

    ui.timer(0.01, waits.watching(draw), once=True)
    MeasureButton(studio, name, draw)


@dataclass(frozen=True)
class _Kept:
    """What is kept of a run's measuring.

    Attributes:
        figures: whether there are any.
        page: whether there is a report to look at.
        written: when figures were written last, in ns since the epoch; 0 before.
        elsewhere: what another process that measures it is at; None: there is none.
    """

    figures: bool
    page: bool
    written: int
    elsewhere: str | None


def _kept(folder: Path) -> _Kept:
    run = RunFolder(folder)
    try:
        written = (run.report / "metrics.jsonl").stat().st_mtime_ns
    except OSError:
        written = 0
    at = run.measuring()
    elsewhere = at[1] or "reading the data" if at is not None and at[0] != os.getpid() else None
    return _Kept(bool(results_of(folder)), (run.report / "index.html").is_file(), written, elsewhere)


class MeasureButton:
    """A button that measures a run, what it is at, and the way to its report.

    Args:
        studio: the studio's state.
        name: of the run.
        done: called when there are new figures.
        also: words before the button while there are no figures.
    """

    def __init__(self, studio: Studio, name: str, done: Callable[[], Any], also: str = "") -> None:
        self.studio, self.name, self.done, self.also = studio, name, waits.watching(done), also
        self.folder = studio.folder(name)
        self.note = parts.say("").classes("small")
        with ui.row().classes("items-center gap-3"):
            self.button = ui.button("Measure", icon="straighten").props("outline no-caps")
            self.wheel = ui.spinner(size="1.4em")
            self.report = ui.link("The report as a page", parts.address("/report", name), new_tab=True)
        self.wheel.set_visibility(False)
        self.report.set_visibility(False)
        self.seen: _Kept | None = None
        self.button.on_click(waits.guarded(self.measure))
        ui.timer(_EVERY_SECONDS, waits.watching(self.watch))

    def stand(self, now: _Kept) -> None:
        """Show what is there."""
        self.button.text = "Measure again" if now.figures else "Measure now"
        self.report.set_visibility(now.page)
        before = (
            self.also or f"Not measured yet. Here, or in a terminal: {for_shell('saddle', 'evaluate', self.folder)}"
        )
        self.note.text = "" if now.figures else before

    async def watch(self) -> None:
        """Show that another process measures it, and what it found; this page's own measuring says that itself."""
        before, now = self.seen, await waits.looked(_kept, self.folder)
        if before is None and not self.wheel.visible:
            self.stand(now)
        if now.elsewhere is not None:
            self.note.text = f"Being measured: {now.elsewhere}"
        if (now.elsewhere is None) != (before is None or before.elsewhere is None):
            self.button.set_enabled(now.elsewhere is None)
            self.wheel.set_visibility(now.elsewhere is not None)
            if now.elsewhere is None:
                self.stand(now)
        self.seen = now
        if before is not None and now.written != before.written and not self.wheel.visible:
            await self.done()
            self.stand(now)

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

        try:
            with waits.afterwards(over):
                run, _ = await waits.here(self.studio.opened(self.name))
                # Measured and kept in one go: whoever leaves the page finds the figures when coming back.
                await waits.here(asyncio.to_thread(self.measured, run, lambda line: said.update(line=line)))
        finally:
            self.seen = None  # looked at anew
        await self.done()

    def measured(self, run: Run, say: Say) -> None:
        """Measure and keep the figures; one run at a time."""
        run.check_report_place()
        with self.studio.measuring(self.name):
            run.save_report(run.evaluate(say=say))
