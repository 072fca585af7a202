"""Editing on a page: points of a sample are dragged, directions tried, steps undone; own pictures are brought first."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from nicegui import events, ui

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.quoting import for_file_name
from saddlepoint.data.limits import SERVED_PIXELS
from saddlepoint.figures import grids
from saddlepoint.run.entries import Entry
from saddlepoint.run.samples.editing import Edited, edit_pictures, free_place, three
from saddlepoint.run.samples.projecting import Search
from saddlepoint.run.samples.session import Session
from saddlepoint.run.samples.tuning import Tuning
from saddlepoint.serve.studio import parts, waits
from saddlepoint.serve.studio.own_images import Brought, ways_in
from saddlepoint.serve.studio.state import Studio

_SIDE, _REACH = 384, 4.0
_MOST_STEPS = 300
_SEARCH, _TUNING = 300, 300
_RED, _BLUE = "#d7322a", "#2b66c4"

_WHERE = "(e) => emit(e.offsetX / e.target.clientWidth, e.offsetY / e.target.clientHeight)"
"""Where a pointer is, as shares of the picture's width and height."""


def edit_panel(studio: Studio, name: str, entry: Entry) -> None:
    """Put the editor of a run's samples, and the place to bring an own picture to."""
    with parts.block():
        ui.label("A picture of yours: its place is looked for, then a copy of the generator is tuned to make it.")
        parts.say(
            "It becomes a run of its own, beside this one, which stays as it is. It takes a minute or two."
        ).classes("small")
        _own_picture(studio, name)
    Editor(studio, name)


def _own_picture(studio: Studio, name: str) -> None:
    """Put what takes a picture and makes a run of it."""
    told = {"word": "Looking for its place", "step": 0, "of": _SEARCH}

    async def bring(images: Brought) -> None:
        with waits.told(wheel, status, lambda: f"{told['word']}: step {told['step']} of {told['of']}"):
            made = await waits.here(asyncio.to_thread(_edited, studio, name, images.files, told))
        picture.show(three(made))
        errors = made.errors[0]
        status.text = (
            f"{made.found.distance} distance: {errors['before']:.4f} the mean image, {errors['projected']:.4f} "
            f"projected, {errors['tuned']:.4f} tuned; other samples changed by {made.tuned.beside:.4f} (mean squared)."
        )
        link.set_text(f"Edit it: {made.path.name}")
        link.props["href"] = f"{parts.address('/run', made.path.name)}?tab=Edit"
        link.set_visibility(True)

    ways_in(studio, name, bring)
    with ui.row().classes("items-center gap-3"):
        wheel = ui.spinner(size="1.4em")
        status = ui.label().props("role=status")
    wheel.set_visibility(False)
    picture = parts.Picture("your picture, the nearest sample, and what the tuned generator makes")
    link = ui.link("").classes("text-lg")
    link.set_visibility(False)


def _edited(studio: Studio, name: str, files: list[tuple[str, bytes]], told: dict[str, Any]) -> Edited:
    """Edit a picture beside the page, telling how far it is."""
    _, explorer = studio.open(name)
    if explorer is None:
        raise ConfigError(f"'{name}' has no latent space")
    stem = for_file_name(Path(files[0][0]).stem)
    search = Search(
        _SEARCH, space="w", progress=lambda step, losses: told.update(word="Looking for its place", step=step + 1)
    )
    tuning = Tuning(_TUNING, progress=lambda step, losses: told.update(word="Tuning", step=step + 1))
    out = free_place(studio.folder(name).with_name(f"{name}-edit-{stem}"))
    return edit_pictures(explorer, files[:1], search=search, tuning=tuning, out=out, most_pixels=SERVED_PIXELS)


class Editor:
    """The sample that a visitor edits, with what can be done to it.

    Args:
        studio: the studio's state.
        name: of the run.
    """

    def __init__(self, studio: Studio, name: str) -> None:
        self.studio, self.name = studio, name
        self.session = self.opened("0")
        self.running, self.pressed = False, (0.0, 0.0)
        with ui.element("div").classes("grid grid-cols-1 md:grid-cols-2 gap-4 w-full items-start"):
            with parts.block().classes("items-start"):
                self.put_picture()
            with parts.block().classes("gap-2"):
                self.put_controls()
        self.show()

    def opened(self, point: str) -> Session:
        """Return the session of a point at the newest checkpoint."""
        explorer = self.studio.open(self.name)[1]
        if explorer is None:
            raise ConfigError(f"'{self.name}' has no latent space")
        return Session(explorer, point)

    def put_picture(self) -> None:
        """Put the sample as it is, under what marks points and region, and as it was at first."""
        with ui.element("div").classes("relative").style(f"width: {_SIDE}px; max-width: 100%"):
            self.picture = parts.Picture(
                "the sample as it is now; press at a point and release where it shall go", _SIDE
            )
            self.picture.style("touch-action: none; cursor: crosshair; width: 100%").props("draggable=false")
            self.picture.on("pointerdown", self.down, js_handler=_WHERE)
            self.picture.on("pointerup", waits.guarded(self.up), js_handler=_WHERE)
            self.marks = ui.html(sanitize=False).classes("absolute inset-0 pointer-events-none")
        self.status = parts.say("Press at a point of the picture, and release where it shall go.").props("role=status")
        parts.say("As it was:").classes("small")
        self.before = parts.Picture("the sample before it was edited", _SIDE // 2)

    def put_controls(self) -> None:
        """Put where it begins, what pressing means, the way of directions, and what keeps the result."""
        count = len(self.session.explorer.pivots)
        with ui.row().classes("items-end gap-4"):
            places = {"": "the seed", **{f"pivot{n}": f"picture {n}" for n in range(1, count + 1)}}
            self.start = ui.select(places, value=f"pivot{count}" if count else "", label="begin with").classes("w-32")
            self.start.set_visibility(bool(count))
            self.seed = ui.number("seed", value=0, min=0, step=1, format="%d").classes("w-24")
        self.mode = ui.toggle({"point": "Points", "region": "Region that may change"}, value="point").props("no-caps")
        with ui.row().classes("items-end gap-3"):
            self.words = ui.input("point in pixels", placeholder="20,40 26,36").classes("w-40")
            _button("Add point", "add", self.add)
        with ui.row().classes("gap-2"):
            self.go = _button("Drag", "open_with", self.drag)
            _button("Undo", "undo", self.undo)
            _button("Remove points", "close", self.forget)
            _button("Back to the start", "restart_alt", self.restart)
        offered = {
            str(one): f"direction {one}" if isinstance(one, int) else one for one in self.session.explorer.offered
        }
        with ui.row().classes("items-center w-full flex-nowrap gap-3 pt-2"):
            self.along = ui.select(offered, value=next(iter(offered), None), label="direction").classes("w-36")
            self.amount = ui.slider(min=-_REACH, max=_REACH, step=0.05, value=0.0).classes("grow")
            self.amount.props('aria-label="along the direction"')
            _button("Apply", "check", self.apply)
        with ui.row().classes("gap-2 pt-2"):
            _button("Save after", "download", self.download)
            _button("Save before and after", "download", self.download_both)
            _button("Keep as a run", "save", self.keep)
        self.kept = ui.link("").classes("break-all")
        self.kept.set_visibility(False)
        for control in (self.start, self.seed):
            control.on_value_change(waits.guarded(self.restart))
        self.amount.on_value_change(waits.guarded(self.slide))
        if count:
            ui.timer(0.01, waits.guarded(self.restart), once=True)

    def show(self) -> None:
        """Show the sample, its marks, and how it was."""
        self.picture.show(parts.data_url(grids.single(self.session.sample[0])))
        self.before.show(parts.data_url(grids.single(self.session.first[0])))
        self.marks.content = _marks(self.session)

    def down(self, event: events.GenericEventArguments) -> None:
        """Note where the pointer was pressed."""
        self.pressed = _shares(event)

    def up(self, event: events.GenericEventArguments) -> None:
        """Add a point from where the pointer was pressed to where it was released; or span the region."""
        start, end = (self.session.place(*shares) for shares in (self.pressed, _shares(event)))
        if self.mode.value == "region":
            self.session.span(start, end)
        elif start != end:
            self.session.add(start, end)
        self.show()

    def add(self) -> None:
        """Add the point that is written."""
        self.session.add_words(str(self.words.value or ""))
        self.show()

    def forget(self) -> None:
        """Remove points and region."""
        self.session.forget()
        self.show()

    async def restart(self) -> None:
        """Begin anew with the chosen place."""
        self.running = False
        point = str(self.start.value or int(self.seed.value or 0))
        self.session = await waits.here(asyncio.to_thread(self.opened, point))
        self.amount.value = 0.0
        self.show()

    def undo(self) -> None:
        """Take back the last drag or direction."""
        self.session.undo()
        self.show()

    async def drag(self) -> None:
        """Drag until the points have arrived, step by step, or until it is stopped."""
        if self.running:
            self.running = False
            return
        session = self.session
        await waits.here(asyncio.to_thread(session.begin))
        self.running = True
        self.go.set_text("Stop")
        try:
            begun, steps = time.perf_counter(), 0
            while self.running and steps < _MOST_STEPS:
                state = await waits.here(asyncio.to_thread(session.step))
                steps += 1
                self.show()
                rate = steps / (time.perf_counter() - begun)
                self.status.text = f"Step {steps}: {state.distance:.1f} pixels to go; {rate:.0f} steps a second."
                if state.arrived:
                    self.status.text = f"Arrived after {steps} steps, {rate:.0f} a second."
                    break
        finally:
            self.running = False
            session.end()
            self.go.set_text("Drag")
        self.show()

    async def slide(self) -> None:
        """Show the sample further along the direction, before that is applied."""
        if self.amount.value or self.session.trying:
            await waits.here(asyncio.to_thread(self.session.attempt, *self.way()))
            self.show()

    def way(self) -> tuple[int | str, float]:
        """Return the chosen direction, and how far."""
        word = str(self.along.value or "1")
        return (int(word) if word.isdecimal() else word), float(self.amount.value)

    def apply(self) -> None:
        """Make the way along the direction a step that can be undone."""
        self.session.accept()
        self.amount.value = 0.0
        self.show()

    def download(self) -> None:
        """Give the sample to the browser, at full size."""
        content = grids.encoded(grids.single(self.session.sample[0]))
        ui.download.content(content, f"{for_file_name(self.name)}-after.png", "image/png")

    def download_both(self) -> None:
        """Give the sample before and after to the browser, side by side at full size."""
        content = grids.encoded(self.session.both())
        ui.download.content(content, f"{for_file_name(self.name)}-before-after.png", "image/png")

    async def keep(self) -> None:
        """Write the place as a run of its own."""
        out = free_place(self.studio.folder(self.name).with_name(f"{self.name}-edited"))
        path = await waits.here(asyncio.to_thread(self.session.keep, out))
        self.kept.set_text(f"Kept: {path.name}")
        self.kept.props["href"] = f"{parts.address('/run', path.name)}?tab=Edit"
        self.kept.set_visibility(True)


def _button(text: str, icon: str, action: Callable[[], Any | Awaitable[Any]]) -> ui.button:
    button = ui.button(text, icon=icon, on_click=waits.guarded(action))
    button.props("outline no-caps dense").classes("px-2")
    return button


def _shares(event: events.GenericEventArguments) -> tuple[float, float]:
    """Return where a pointer is, as shares; whatever a page sends, they are numbers from 0 to 1."""
    try:
        x, y = (min(1.0, max(0.0, float(value))) for value in event.args[:2])
    except (TypeError, ValueError, IndexError):
        return 0.0, 0.0
    return x, y


def _marks(session: Session) -> str:
    """Return points, targets and the region as SVG, in pixels of the sample."""
    height, width = session.size
    r, shapes = max(width, height) / 60, list[str]()
    if session.region is not None:
        left, top, right, bottom = session.region
        shapes.append(
            f'<rect x="{left}" y="{top}" width="{right - left + 1}" height="{bottom - top + 1}" fill="none" '
            f'stroke="#fff" stroke-width="{r / 2:.2f}" stroke-dasharray="{r:.2f}"/>'
        )
    for (x, y), (to_x, to_y) in zip(session.handles, session.targets, strict=True):
        line = f'x1="{x + 0.5}" y1="{y + 0.5}" x2="{to_x + 0.5}" y2="{to_y + 0.5}"'
        shapes.append(f'<line {line} stroke="#fff" stroke-width="{r / 3:.2f}"/>')
        for place, colour in (((to_x, to_y), _BLUE), ((x, y), _RED)):
            shapes.append(
                f'<circle cx="{place[0] + 0.5}" cy="{place[1] + 0.5}" r="{r:.2f}" fill="{colour}" stroke="#fff" '
                f'stroke-width="{r / 4:.2f}"/>'
            )
    return (
        f'<svg viewBox="0 0 {width} {height}" style="width: 100%; height: 100%" aria-hidden="true">'
        f"{''.join(shapes)}</svg>"
    )
