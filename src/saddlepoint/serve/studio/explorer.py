"""The latent space of a generator under sliders."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from nicegui import ui

from saddlepoint import explore, films, pictures
from saddlepoint._errors import ConfigError
from saddlepoint.latent import MOST_DIRECTIONS, Explorer, Point, View, command
from saddlepoint.serve.studio import parts
from saddlepoint.serve.studio.desk import Desk
from saddlepoint.shelf import Entry

_REACH = 4.0
_SIDE = 336


class Panel:
    """The controls of one visitor, and the view they make.

    Args:
        desk: the studio's state.
        name: of the run.
    """

    def __init__(self, desk: Desk, name: str) -> None:
        self.desk, self.name = desk, name
        self.saved: list[Point] = []
        self.view, self.busy = View(), False
        self.point = self.view.points[0]
        self.build(self.explorer)

    @property
    def explorer(self) -> Explorer:
        """The latent space at the newest checkpoint."""
        explorer = self.desk.open(self.name)[1]
        if explorer is None:
            raise ConfigError(f"'{self.name}' has no latent space")
        return explorer

    def build(self, explorer: Explorer) -> None:
        """Lay out the controls."""
        family, count = explorer.family, min(MOST_DIRECTIONS, len(explorer.directions))
        names = family.data.classes[: family.classes]
        with ui.element("div").classes("grid grid-cols-1 md:grid-cols-2 gap-4 w-full"):
            with ui.column().classes("items-start"):
                self.picture = parts.Picture("the generator's sample at this place of its latent space", _SIDE)
                self.took = parts.say("")
                with ui.row().classes("gap-2"):
                    ui.button("Save as PNG", icon="download", on_click=parts.guarded(self.download)).props(
                        "outline no-caps"
                    )
                    ui.button("Keep this point", icon="push_pin", on_click=parts.guarded(self.keep)).props(
                        "outline no-caps"
                    )
                    ui.button("Back to the seed", icon="restart_alt", on_click=parts.guarded(self.reset)).props(
                        "outline no-caps"
                    )
                self.path = ui.column().classes("w-full gap-0")
            with ui.column().classes("w-full gap-1"):
                with ui.row().classes("items-end gap-4"):
                    self.seed = ui.number("seed", value=0, min=0, step=1, format="%d").classes("w-24")
                    self.label = ui.select(
                        {"": "of the seed", **dict(zip(names, names, strict=True))}, value="", label="label"
                    ).classes("w-36")
                    self.label.set_visibility(bool(names))
                self.truncation = _slider("truncation", 0, 1.5, 1.0, 0.01)
                if family.tags.has_w:
                    with ui.row().classes("items-end gap-4"):
                        self.other = ui.number("style of seed", value=None, min=0, step=1, format="%d").classes("w-32")
                        self.layer = ui.number("from layer", value=0, min=0, max=family.w_layers - 1, step=1).classes(
                            "w-28"
                        )
                parts.say("Principal directions, those that change the picture most first; in standard deviations.")
                self.sliders = {
                    number: _slider(f"direction {number}", -_REACH, _REACH, 0.0, 0.05) for number in range(1, count + 1)
                }
        self.command = parts.copyable("command", "")
        self.python = parts.copyable("Python", "")
        self.has_w = family.tags.has_w
        controls = [self.seed, self.label, self.truncation, *self.sliders.values()]
        for control in [*controls, *([self.other, self.layer] if self.has_w else [])]:
            control.on_value_change(parts.guarded(self.moved))
        ui.timer(0.01, parts.guarded(self.show), once=True)

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
                self.picture.show(await asyncio.to_thread(self.drawn, shown))
                self.took.text = f"{1000 * (time.perf_counter() - started):.0f} ms"
            line, python = command(self.explorer.run, shown)
            self.command(f"{line} --out picture.png")
            self.python(python)
        finally:
            self.busy = False

    def drawn(self, view: View) -> str:
        """Return a view as a picture that a page can show."""
        explorer = self.explorer
        return parts.data_url(pictures.frame(explorer, explorer.sample(view)[0]))

    def keep(self) -> None:
        """Keep the point that the controls name; two or more make a path to drag along."""
        self.saved.append(self.point)
        self.path.clear()
        with self.path:
            ui.label("Points kept: " + "; ".join(str(point) for point in self.saved)).classes("text-sm break-all")
            if len(self.saved) > 1:
                place = _slider("along the points", 0, len(self.saved) - 1, 0.0, 0.01)
                place.on_value_change(parts.guarded(lambda event: self.travelled(float(event.value))))
                ui.button("Film", icon="movie", on_click=parts.guarded(self.film)).props("flat no-caps")
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

    def download(self) -> None:
        """Give the picture to the browser as a file."""
        explorer = self.explorer
        picture = pictures.frame(explorer, explorer.sample(self.view)[0])
        ui.download.content(explore.encoded(picture), f"{self.name}.png", "image/png")

    async def film(self) -> None:
        """Give a film along the points to the browser."""
        view, explorer = replace(self.view, points=tuple(self.saved), at=0.0), self.explorer
        samples = await asyncio.to_thread(explorer.path, view, 24 * (len(self.saved) - 1))
        ui.download.content(
            films.film([pictures.frame(explorer, sample, see_through=False) for sample in samples]),
            f"{self.name}.gif",
            "image/gif",
        )


def _slider(label: str, low: float, high: float, value: float, step: float) -> ui.slider:
    with ui.row().classes("items-center w-full flex-nowrap gap-3"):
        ui.label(label).classes("w-28 shrink-0 text-sm")
        slider = ui.slider(min=low, max=high, step=step, value=value).classes("grow")
        slider.props(f'aria-label="{label}"')
        ui.label().bind_text_from(slider, "value", lambda number: f"{number:.2f}").classes("w-12 text-sm text-right")
    return slider


def explorer_panel(desk: Desk, name: str, entry: Entry) -> None:
    """Put the explorer of a run."""
    Panel(desk, name)
