"""The latent space of a generator under sliders."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from nicegui import ui

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.quoting import for_file_name
from saddlepoint.family.capabilities import StyleSpace
from saddlepoint.figures import grids, video
from saddlepoint.run.entries import Entry
from saddlepoint.run.samples import views
from saddlepoint.run.samples.latent import Explorer, Point, View, command
from saddlepoint.serve.studio import parts, waits
from saddlepoint.serve.studio.state import Studio

_REACH = 4.0
_SIDE = 336
_SMALL = 64
_MOST_POINTS = 16
_END = 3.0
"""Standard deviations from the seed at which the small pictures of a direction are taken."""


class Panel:
    """The controls of one visitor, and the view they make.

    Args:
        studio: the studio's state.
        name: of the run.
    """

    def __init__(self, studio: Studio, name: str) -> None:
        self.studio, self.name = studio, name
        self.saved: list[Point] = []
        self.view, self.busy = View(), False
        self.point = self.view.points[0]
        self.ends: dict[int | str, tuple[parts.Picture, parts.Picture]] = {}
        self.ends_of: View | None = None
        self.build(self.explorer)

    @property
    def explorer(self) -> Explorer:
        """The latent space at the newest checkpoint; it may be read anew, so that it is asked for beside the page."""
        explorer = self.studio.open(self.name)[1]
        if explorer is None:
            raise ConfigError(f"'{self.name}' has no latent space")
        return explorer

    def build(self, explorer: Explorer) -> None:
        """Lay out the picture beside its controls, and below them the lines that make it elsewhere."""
        with ui.element("div").classes("grid grid-cols-1 md:grid-cols-2 gap-4 w-full items-start"):
            with parts.block().classes("items-start md:sticky md:top-16"):
                self.put_picture()
            with parts.block().classes("gap-1"):
                self.put_controls(explorer)
        self.command = parts.copyable("command", "")
        self.python = parts.copyable("Python", "")
        self.has_w = isinstance(explorer.family, StyleSpace)
        controls = [self.seed, self.label, self.truncation, *self.sliders.values()]
        for control in [*controls, *([self.other, self.layer] if self.has_w else [])]:
            control.on_value_change(waits.guarded(self.moved))
        ui.timer(0.01, waits.guarded(self.show), once=True)

    def put_picture(self) -> None:
        """Put the picture, and what can be done with its place."""
        self.picture = parts.Picture("the generator's sample at this place of its latent space", _SIDE)
        self.took = parts.say("Drawing ...").classes("small")
        with ui.row().classes("gap-2"):
            for text, icon, action in (
                ("Save as PNG", "download", self.download), ("Keep this point", "push_pin", self.keep),
                ("Back to the seed", "restart_alt", self.reset),
            ):  # fmt: skip
                button = ui.button(text, icon=icon, on_click=waits.guarded(action))
                button.props("outline no-caps dense").classes("px-2")
        self.path = ui.column().classes("w-full gap-0")

    def put_controls(self, explorer: Explorer) -> None:
        """Put seed, label, truncation, mixed styles, and a slider for each direction."""
        family = explorer.family
        names = family.data.classes[: family.classes]
        with ui.row().classes("items-end gap-4"):
            self.seed = ui.number("seed", value=0, min=0, step=1, format="%d").classes("w-24")
            offered = {"": "of the seed", **dict(zip(names, names, strict=True))}
            self.label = ui.select(offered, value="", label="label").classes("w-36")
            self.label.set_visibility(bool(names))
        self.truncation = _slider("truncation", 0, 1.5, 1.0, 0.01)
        if isinstance(family, StyleSpace):
            with ui.row().classes("items-end gap-4"):
                self.other = ui.number("style of seed", value=None, min=0, step=1, format="%d").classes("w-32")
                self.layer = ui.number("from layer", value=0, min=0, max=family.w_layers - 1, step=1).classes("w-28")
        images = family.data.modality == "image"
        parts.say(
            f"Directions in latent space, those that change the {'picture' if images else 'sample'} most first, in "
            "standard deviations."
            + (f" The small pictures show the seed at \u2212{_END:g} and +{_END:g}." if images else "")
        ).classes("small pt-2")
        self.sliders = {name: self.direction(name, family.data.modality) for name in explorer.offered}

    def direction(self, name: int | str, modality: str) -> ui.slider:
        """Put the slider of a direction, between small pictures of where it leads to."""
        word = f"direction {name}" if isinstance(name, int) else name
        with ui.column().classes("w-full gap-0 pt-1"):
            ui.label(word).classes("text-sm")
            with ui.row().classes("items-center w-full flex-nowrap gap-3"):
                low = parts.Picture(f"{word} at -{_END:g}").classes("end")
                slider = ui.slider(min=-_REACH, max=_REACH, step=0.05, value=0.0).classes("grow")
                slider.props(f'aria-label="{word}"')
                high = parts.Picture(f"{word} at +{_END:g}").classes("end")
                _value_of(slider)
        if modality == "image":
            self.ends[name] = low, high
        return slider

    async def moved(self) -> None:
        """Read the controls, and show the place they name."""
        moves = tuple((number, float(slider.value)) for number, slider in self.sliders.items() if slider.value)
        point = Point(int(self.seed.value or 0), moves)
        mix = None
        if self.has_w and self.other.value is not None:
            mix = (int(self.other.value), int(self.layer.value or 0))
        label = str(self.label.value) if self.label.value else None
        self.point = point
        self.view = View((point,), 0.0, label, float(self.truncation.value), mix)
        await self.show()

    async def travelled(self, at: float) -> None:
        """Show a place on the path through the points that were kept."""
        self.view = replace(self.view, points=tuple(self.saved), at=min(at, len(self.saved) - 1.0))
        await self.show()

    async def show(self) -> None:
        """Show the picture of the view, and the lines that make it elsewhere; of views that come too fast, the last."""
        if self.busy:
            return
        self.busy = True
        try:
            shown = None
            while shown is not self.view:
                shown, started = self.view, time.perf_counter()
                picture, (line, python) = await waits.here(asyncio.to_thread(self.drawn, shown))
                self.picture.show(picture)
                self.took.text = f"{1000 * (time.perf_counter() - started):.0f} ms"
            self.command(f"{line} --out picture.png")
            self.python(python)
            await self.show_ends(shown)
        finally:
            self.busy = False
        if shown is not self.view:
            await self.show()

    def drawn(self, view: View) -> tuple[str, tuple[str, str]]:
        """Return a view as a picture that a page can show, and the lines that make it elsewhere."""
        explorer = self.explorer
        return parts.data_url(views.frame(explorer, explorer.sample(view)[0])), command(explorer.run, view)

    async def show_ends(self, view: View) -> None:
        """Show where the directions lead to from the seed of a view, if that is not what is shown."""
        start = View((Point(view.points[0].seed),), 0.0, view.label, view.truncation)
        if start == self.ends_of or not self.ends:
            return
        self.ends_of = start
        drawn = await waits.here(asyncio.to_thread(self.drawn_ends, start))
        for (low, high), pair in zip(self.ends.values(), drawn, strict=True):
            low.show(pair[0])
            high.show(pair[1])

    def drawn_ends(self, view: View) -> list[tuple[str, str]]:
        """Return the two ends of every direction as small pictures."""
        explorer, found = self.explorer, []
        samples = explorer.sheet(view, reach=_END, columns=2)[: 2 * len(self.ends)]
        for sample in samples:
            small = grids.single(sample)
            small.thumbnail((_SMALL, _SMALL))
            found.append(parts.data_url(small))
        return list(zip(found[::2], found[1::2], strict=True))

    def keep(self) -> None:
        """Keep the point that the controls name; two or more make a path to drag along."""
        if len(self.saved) >= _MOST_POINTS:
            raise ConfigError(f"{_MOST_POINTS} points are kept already, the most of a film: forget them first")
        self.saved.append(self.point)
        self.path.clear()
        with self.path:
            ui.label("Points kept: " + "; ".join(str(point) for point in self.saved)).classes("text-sm break-all")
            if len(self.saved) > 1:
                place = _slider("along the points", 0, len(self.saved) - 1, 0.0, 0.01)
                place.on_value_change(waits.guarded(lambda event: self.travelled(float(event.value))))
                ui.button("Film", icon="movie", on_click=waits.guarded(self.film)).props("flat no-caps")
            ui.button("Forget them", icon="delete", on_click=self.forget).props("flat no-caps")

    def forget(self) -> None:
        """Drop the points that were kept."""
        self.saved.clear()
        self.path.clear()

    async def reset(self) -> None:
        """Put every slider back, and leave the path."""
        for slider in self.sliders.values():
            slider.value = 0.0
        self.truncation.value = 1.0
        await self.moved()

    async def download(self) -> None:
        """Give the picture to the browser as a file."""

        def drawn() -> bytes:
            explorer = self.explorer
            return grids.encoded(views.frame(explorer, explorer.sample(self.view)[0]))

        ui.download.content(await waits.here(asyncio.to_thread(drawn)), f"{for_file_name(self.name)}.png", "image/png")

    async def film(self) -> None:
        """Give a film along the points to the browser."""
        view = replace(self.view, points=tuple(self.saved), at=0.0)

        def drawn() -> bytes:
            explorer = self.explorer
            samples = explorer.path(view, 24 * (len(self.saved) - 1))
            return video.film([views.frame(explorer, sample, see_through=False) for sample in samples])

        ui.download.content(await waits.here(asyncio.to_thread(drawn)), f"{for_file_name(self.name)}.gif", "image/gif")


def _slider(label: str, low: float, high: float, value: float, step: float) -> ui.slider:
    with ui.row().classes("items-center w-full flex-nowrap gap-3"):
        ui.label(label).classes("w-28 shrink-0 text-sm")
        slider = ui.slider(min=low, max=high, step=step, value=value).classes("grow")
        slider.props(f'aria-label="{label}"')
        _value_of(slider)
    return slider


def _value_of(slider: ui.slider) -> None:
    shown = ui.label().bind_text_from(slider, "value", lambda number: f"{number:.2f}")
    shown.classes("w-10 shrink-0 text-sm text-right")


def explorer_panel(studio: Studio, name: str, entry: Entry) -> None:
    """Put the explorer of a run."""
    Panel(studio, name)
