"""The lab, live: controls, diagrams that move, theory beside measurement, and the checks."""

from __future__ import annotations

import asyncio

from nicegui import ui

from saddlepoint.core.errors import SaddlepointError, sentence, suggest
from saddlepoint.lab import EXPERIMENTS, Control, Live, View, perform
from saddlepoint.serve.studio import charts, parts, waits

_FRAME_SECONDS = 0.06


def show_all() -> None:
    """Show what experiments there are."""
    with parts.page("Lab", "Lab"):
        parts.say("The theory of the game beside its measurement. Every experiment runs live; its checks can fail.")
        with ui.element("div").classes("grid grid-cols-1 md:grid-cols-2 lg:grid-cols-3 gap-4 w-full pt-3"):
            for experiment in EXPERIMENTS.values():
                with parts.block():
                    ui.link(experiment.title, f"/lab/{experiment.name}").classes("text-lg")
                    parts.Formula(experiment.claim)


def show(name: str) -> None:
    """Show one experiment."""
    experiment = EXPERIMENTS.get(name)
    with parts.page(experiment.title if experiment else "No such experiment", "Lab", above=True):
        if experiment is None:
            ui.label(f"There is no experiment '{name}'; {sentence(suggest(name, EXPERIMENTS))}")
            return
        with ui.column().classes("w-full gap-4"):
            parts.Formula(f"Theory: {experiment.claim}.").classes("text-lg")
            _Stage(experiment.live())
            _checks(name)


class _Stage:
    """A live experiment on the page of one visitor."""

    def __init__(self, live: Live) -> None:
        self.live, self.frames, self.busy = live, 0, False
        self.wanted, self.afresh = dict[str, float | str | bool](), False
        with parts.block().classes("gap-4"):
            with ui.row().classes("items-end gap-x-8 gap-y-3 w-full"):
                for control in live.controls():
                    self.put(control)
            self.put_buttons()
        view = live.view()
        self.plots: list[tuple[parts.Formula, parts.Legend, ui.echart]] = []
        with ui.element("div").classes("grid grid-cols-1 md:grid-cols-2 gap-4 w-full"):
            for panel in view.panels:
                with parts.block().classes("gap-1 items-center"):
                    title = parts.Formula(panel.title)
                    options = charts.panel_options(panel)
                    legend = parts.Legend(options)
                    plot = ui.echart(options).classes("w-full")
                    plot.style("max-width: 28rem; height: min(28rem, 92vw)" if panel.square else "height: 18rem")
                    self.plots.append((title, legend, plot))
        with parts.block().classes("gap-1"):
            self.sentences = [parts.Formula(text) for text in view.sentences]
        self.timer = ui.timer(_FRAME_SECONDS, waits.guarded(self.frame))

    def put_buttons(self) -> None:
        """Put what lets it run, stops it, and begins anew."""
        with ui.row().classes("gap-2 items-center"):
            self.button = ui.button("Pause", icon="pause", on_click=self.toggle).props("outline no-caps")
            ui.button("Again", icon="replay", on_click=waits.guarded(self.again)).props("outline no-caps")
            self.count = parts.say("").classes("frames")

    def put(self, control: Control) -> None:
        """Put what sets one value."""
        element: ui.select | ui.switch | ui.slider
        if control.choices:
            element = ui.select(list(control.choices), value=control.usual, label=control.label).classes("w-48")
        elif isinstance(control.usual, bool):
            element = ui.switch(control.label, value=control.usual)
        else:
            usual = float(control.usual)
            with ui.column().classes("gap-0 w-56"):
                text = ui.label().classes("text-sm")
                element = ui.slider(min=control.low, max=control.high, step=control.step, value=usual)
                element.props(f'aria-label="{control.label}"')
                text.bind_text_from(element, "value", lambda value: f"{control.label}: {value:g}")
        element.on_value_change(waits.guarded(lambda event: self.set(control.name, event.value)))

    def set(self, name: str, value: float | str | bool) -> None:
        """Change a value before the next frame, and go on."""
        self.wanted[name] = value
        self.play()

    def again(self) -> None:
        """Begin anew with the present values."""
        self.afresh = True
        self.play()

    def play(self) -> None:
        """Let it run."""
        self.timer.active = True
        self.button.text = "Pause"
        self.button.props["icon"] = "pause"

    def toggle(self) -> None:
        """Pause, or go on."""
        if not self.timer.active:
            self.play()
            return
        self.timer.active = False
        self.button.text = "Go on"
        self.button.props["icon"] = "play_arrow"

    def advance(self) -> tuple[bool, View]:
        """Take what was changed, and go on by one frame."""
        changes, self.wanted = self.wanted, {}
        self.live.set(changes)
        if self.afresh:
            self.afresh = False
            self.live.restart()
        return self.live.advance(), self.live.view()

    async def frame(self) -> None:
        """Advance beside the page, and show what there is to see."""
        if self.busy:
            return
        self.busy = True
        try:
            going, view = await waits.here(asyncio.to_thread(self.advance))
        except SaddlepointError as error:
            self.timer.active = False
            waits.complain(error)
            return
        finally:
            self.busy = False
        self.frames += 1
        self.count.text = f"frame {self.frames:,}"
        for (title, legend, plot), panel in zip(self.plots, view.panels, strict=True):
            options = charts.panel_options(panel)
            title.say(panel.title)
            legend.show(options)
            plot.options.update(options)
        for label, text in zip(self.sentences, view.sentences, strict=True):
            label.say(text)
        if not going:
            self.toggle()


def _checks(name: str) -> None:
    """Offer to carry out the experiment's checks."""
    with parts.block():
        ui.label("Checks").classes("font-medium").props("role=heading aria-level=2")
        parts.say("The whole experiment without a screen, as in the command saddle lab: seconds, or a minute.")
        with ui.row().classes("items-center gap-3"):
            button = ui.button("Check", icon="fact_check").props("outline no-caps")
            wheel = ui.spinner(size="1.4em")
        wheel.set_visibility(False)
        area = ui.column().classes("gap-1 w-full")

    def over() -> None:
        wheel.set_visibility(False)
        button.enable()

    async def check() -> None:
        button.disable()
        wheel.set_visibility(True)
        area.clear()
        with waits.afterwards(over):
            found = await waits.here(asyncio.to_thread(lambda: next(perform([name]))))
        with area:
            ui.label(str(found)).classes("font-medium")
            for check in found.checks:
                with ui.row().classes("items-start gap-2 flex-nowrap"):
                    ui.icon("check" if check.holds else "close", size="1.3em").props("aria-hidden=true")
                    parts.Formula(f"{'holds' if check.holds else 'DOES NOT HOLD'}: {check}").classes("text-sm")

    button.on_click(waits.guarded(check))
