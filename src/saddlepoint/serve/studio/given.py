"""Images that visitors bring: projected into a latent space, or translated."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from nicegui import events, ui

from saddlepoint import pictures
from saddlepoint._errors import ConfigError
from saddlepoint.serve.studio import charts, parts
from saddlepoint.serve.studio.desk import Desk
from saddlepoint.shelf import Entry

_MOST_FILES = 16
_MOST_BYTES = 20_000_000
_STEPS = 300


def projection_panel(desk: Desk, name: str, entry: Entry) -> None:
    """Find the places of given images in the latent space."""
    parts.say("Bring your own pictures: the generator's nearest samples are looked for.")
    parts.say("They are cropped to a square and resized. The search takes some seconds, for large generators a minute.")
    status = ui.label()
    picture = parts.Picture("your pictures above the generator's nearest samples")
    plot = ui.echart(charts.line_options({})).classes("w-full max-w-2xl h-56")
    plot.set_visibility(False)

    async def project(files: list[tuple[str, bytes]]) -> None:
        run, explorer = desk.open(name)
        if explorer is None:
            raise ConfigError(f"'{name}' has no latent space")
        images = run.read_pictures(files)
        seen = {"step": 0}
        status.text = "Looking ..."
        timer = ui.timer(0.3, lambda: status.set_text(f"Looking: step {seen['step']} of {_STEPS}"))
        try:
            found = await asyncio.to_thread(
                explorer.project, images, steps=_STEPS, progress=lambda step, losses: seen.update(step=step + 1)
            )
        finally:
            timer.deactivate()
        picture.show(pictures.projection(images, found))
        mean, last = found.mean_losses.mean().item(), found.losses[-1].mean().item()
        words = f"the generator's mean image has {mean:.4f}, {mean / last:.1f} times as much"
        status.text = f"Mean squared error {last:.4f}; {words}."
        plot.options.update(charts.step_options("mean squared error", found.losses.mean(1).tolist()))
        plot.set_visibility(True)

    _upload(project)


def translation_panel(desk: Desk, name: str, entry: Entry) -> None:
    """Translate given images into every domain."""
    parts.say("Bring your own pictures: each row is one of them, each further column a domain.")
    picture = parts.Picture("your pictures, and their translations")

    async def translate(files: list[tuple[str, bytes]]) -> None:
        run, _ = desk.open(name)
        picture.show(await asyncio.to_thread(pictures.translation, run, run.read_pictures(files)))

    _upload(translate)


def _upload(use: Callable[[list[tuple[str, bytes]]], Awaitable[None]]) -> None:
    async def take(event: events.MultiUploadEventArguments) -> None:
        await use([(file.name, await file.read()) for file in event.files])

    upload = ui.upload(
        label="Pictures (PNG, JPEG, ...)",
        multiple=True, max_files=_MOST_FILES, max_total_size=_MOST_BYTES, auto_upload=True,
        on_multi_upload=parts.guarded(take),
        on_rejected=lambda: ui.notify(f"At most {_MOST_FILES} pictures of 20 MB together, please.", type="negative"),
    )  # fmt: skip
    upload.props('accept="image/*" flat bordered').classes("w-full max-w-xl")
