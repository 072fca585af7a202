"""A run at first sight: its newest samples, how they came about, what they are worth."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.evaluation import ARROWS, cannot_judge
from saddlepoint.figures.snapshots import choose_steps
from saddlepoint.run.entries import Entry, Figure, snapshot_steps
from saddlepoint.serve.studio import parts, waits
from saddlepoint.serve.studio.figures import BLIND, MeasureButton, results_of, verdict_of
from saddlepoint.serve.studio.state import Studio, evidence_of

_EVERY_SECONDS = 1.0
_MARKS = 8


class Film:
    """Snapshots of the same inputs over training: the newest large, small ones of some steps, a slider over all.

    Args:
        studio: the studio's state.
        name: of the run.
    """

    def __init__(self, studio: Studio, name: str) -> None:
        self.studio, self.name = studio, name
        self.steps: list[int] = []
        self.marks: dict[int, ui.element] = {}
        self.empty = ui.label("There are no pictures yet: the first is drawn when training starts.")
        with ui.column().classes("w-full gap-2") as self.place:
            self.picture = parts.Picture("snapshot of the samples").classes("large")
            with ui.row().classes("items-center w-full gap-4 flex-nowrap"):
                self.slider = ui.slider(min=0, max=1, value=0, step=1).classes("grow")
                self.slider.props('aria-label="step of training"')
                self.caption = ui.label().classes("whitespace-nowrap")
            self.strip = ui.element("div").classes("strip").props('role=group aria-label="steps of training"')
            parts.say("The same inputs at each step: what changes is the generator.").classes("small")
        self.slider.on_value_change(self.scrub)
        self.place.set_visibility(False)
        self.empty.set_visibility(False)
        ui.timer(_EVERY_SECONDS, waits.watching(self.refresh))

    @property
    def step(self) -> int:
        """The step that is shown."""
        return self.steps[min(int(self.slider.value or 0), len(self.steps) - 1)]

    def scrub(self) -> None:
        """Show the picture of the step that the slider is at."""
        if not self.steps:
            return
        self.caption.text = f"step {self.step:,}"
        self.picture.show(f"{parts.address('/snapshot', self.name)}/{self.step}.png")
        for step, mark in self.marks.items():
            mark.props(f"aria-pressed={'true' if step == self.step else 'false'}")

    async def refresh(self) -> None:
        """Look which snapshots there are; stay at the newest if it was shown."""
        found = await waits.looked(lambda: snapshot_steps(self.studio.index.root / self.name))
        self.empty.set_visibility(not found)
        if found == self.steps:
            return
        at_end = not self.steps or int(self.slider.value or 0) >= len(self.steps) - 1
        self.steps = found
        self.draw_marks()
        self.slider.props["max"] = max(1, len(found) - 1)
        if at_end:
            self.slider.value = len(found) - 1
        self.scrub()
        self.place.set_visibility(bool(found))

    def draw_marks(self) -> None:
        """Put small pictures of steps that there are, even on a log scale."""
        self.strip.clear()
        self.marks = {}
        for step in choose_steps(self.steps, _MARKS) if self.steps else []:
            with self.strip, ui.element("button").classes("mark").props("type=button") as mark:
                small = parts.Picture(f"samples at step {step}").classes("thumb")
                small.show(f"{parts.address('/thumbnail', self.name)}/{step}.png")
                ui.label(f"{step:,}")
            mark.on("click", lambda step=step: self.seek(step))
            self.marks[step] = mark

    def seek(self, step: int) -> None:
        """Go to a step."""
        self.slider.value = self.steps.index(step)


def overview_panel(studio: Studio, name: str, entry: Entry) -> None:
    """Put the pictures large, and beside them the verdict, the first figures and how the training went."""
    with ui.element("div").classes("grid grid-cols-1 lg:grid-cols-5 gap-4 w-full items-start"):
        with parts.block().classes("lg:col-span-3"):
            Film(studio, name)
        with ui.column().classes("w-full gap-4 lg:col-span-2"):
            with parts.block():
                ui.label("What the samples are worth").classes("font-medium").props("role=heading aria-level=2")
                _worth(studio, name)
            with parts.block():
                ui.label("Training").classes("font-medium").props("role=heading aria-level=2")
                _training(studio, name)


def _worth(studio: Studio, name: str) -> None:
    place = ui.column().classes("w-full gap-1")

    async def draw() -> None:
        results, entry = await waits.looked(lambda: (results_of(studio.folder(name)), studio.entry(name)))
        place.clear()
        with place:
            if results:
                parts.badge(*parts.worth_of(entry.standing))
                ui.label(verdict_of(results))
            lines = [[f"{f.metric} {ARROWS[f.better]}".strip() + _note(f), f.value] for f in entry.figures]
            if lines:
                with parts.wide():
                    parts.table([["", "samples"], *lines])

    ui.timer(0.01, waits.watching(draw), once=True)
    MeasureButton(studio, name, draw, "Not measured yet: how near the samples are to the data is not known.")


def _note(figure: Figure) -> str:
    return f"\n{BLIND}" if cannot_judge(figure.protocol) else ""


def _training(studio: Studio, name: str) -> None:
    place = ui.column().classes("w-full gap-1")
    seen: list[tuple[float, str]] = []

    async def refresh() -> None:
        entry, status = await waits.looked(_told, studio, name)
        now = [(entry.changed, entry.verdict)]
        if now == seen:
            return
        seen[:] = now
        place.clear()
        with place:
            spent = f" in {entry.seconds:,.0f} s of training" if entry.seconds else ""
            ui.label(f"{entry.nimg / 1000:,.1f} thousand samples seen{spent}")
            if entry.verdict:
                ui.label(f"The doctor, who sees the course of training only: {entry.verdict}.")
            for sentence in evidence_of(status):
                parts.say(sentence).classes("small")

    ui.timer(_EVERY_SECONDS, waits.watching(refresh))


def _told(studio: Studio, name: str) -> tuple[Entry, dict[str, Any]]:
    return studio.entry(name), RunFolder(studio.folder(name)).read_status() if studio.path(name) else {}
