"""Images that visitors bring: projected into a latent space, or translated."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from nicegui import ui

from saddlepoint.core.errors import ConfigError, SaddlepointError
from saddlepoint.core.types import Samples
from saddlepoint.data.limits import SERVED_PIXELS
from saddlepoint.figures import grids
from saddlepoint.run.entries import Entry
from saddlepoint.run.run import Run
from saddlepoint.run.samples import pictures, views
from saddlepoint.serve.studio import charts, parts, thumbnails, waits
from saddlepoint.serve.studio.dropzone import DropZone
from saddlepoint.serve.studio.state import Studio

_MOST_FILES = 16
_MOST_BYTES = 20_000_000
_STEPS = 300


def projection_panel(studio: Studio, name: str, entry: Entry) -> None:
    """Find the places of given images in the latent space."""
    with parts.block():
        ui.label("Which sample is nearest to a picture of yours? The generator's latent space is searched for it.")
        parts.say(
            "Pictures are brought to the shape of the training images. It takes some seconds, for large generators a "
            "minute."
        ).classes("small")

        async def project(images: Brought) -> None:
            run, explorer = await waits.here(studio.opened(name))
            if explorer is None:
                raise ConfigError(f"'{name}' has no latent space")
            seen = {"step": 0}
            status.text = "Looking ..."
            with waits.told(wheel, status, lambda: f"Looking: step {seen['step']} of {_STEPS}"):
                given = await waits.here(asyncio.to_thread(images, run))
                searched = asyncio.to_thread(
                    explorer.project, given, steps=_STEPS, progress=lambda step, losses: seen.update(step=step + 1)
                )
                found = await waits.here(searched)
            shown = await waits.here(asyncio.to_thread(views.projection, given, found))
            picture.show(shown)
            mean, last = found.mean_losses.mean().item(), found.losses[-1].mean().item()
            words = f"the generator's mean image has {mean:.4f}, {mean / last:.1f} times as much"
            word = "mean squared error" if found.distance == "pixels" else f"{found.distance} distance"
            status.text = f"{word.capitalize()} {last:.4f}; {words}."
            plot.options.update(charts.step_options(word, found.losses.mean(1).tolist()))
            plot.set_visibility(True)

        ways_in(studio, name, project)
    with ui.row().classes("items-center gap-3 pt-2"):
        wheel = ui.spinner(size="1.4em")
        status = ui.label()
    wheel.set_visibility(False)
    picture = parts.Picture("your pictures above the generator's nearest samples")
    plot = ui.echart(charts.line_options({})).classes("w-full max-w-2xl h-56")
    plot.set_visibility(False)


def translation_panel(studio: Studio, name: str, entry: Entry) -> None:
    """Translate given images into every domain."""
    with parts.block():
        ui.label("Your pictures in every domain: each row is one of them.")

        async def translate(images: Brought) -> None:
            run, _ = await waits.here(studio.opened(name))
            wheel.set_visibility(True)
            with waits.afterwards(lambda: wheel.set_visibility(False)):
                picture.show(await waits.here(asyncio.to_thread(lambda: pictures.translation(run, images(run)))))
            names = run.family.data.classes[: run.family.classes]
            columns.text = f"Columns: your picture, {', '.join(names)}."

        ways_in(studio, name, translate)
    wheel = ui.spinner(size="1.4em").classes("mt-2")
    wheel.set_visibility(False)
    columns = ui.label().classes("pt-2")
    picture = parts.Picture("your pictures, and their translations")


@dataclass(frozen=True)
class Brought:
    """Pictures that a visitor brought, or chose.

    Attributes:
        files: (name, content) of each.
    """

    files: list[tuple[str, bytes]]

    def __call__(self, run: Run) -> Samples:
        """Return them as a run's generator makes images."""
        return run.read_pictures(self.files, SERVED_PIXELS)


def ways_in(studio: Studio, name: str, use: Callable[[Brought], Awaitable[None]]) -> None:
    """Put a place to bring pictures, and pictures of the data to try it with.

    Args:
        studio: the studio's state.
        name: of the run.
        use: receives the pictures.
    """

    async def take(ticket: str) -> None:
        files = await waits.here(asyncio.to_thread(studio.uploads.read, ticket))
        await use(Brought(files))

    DropZone(
        studio.uploads, "Drop pictures here", take, accept="image/*", most_files=_MOST_FILES, most_bytes=_MOST_BYTES
    )
    place = ui.column().classes("w-full gap-1")
    with place:
        wheel = parts.waiting("Looking for pictures to try it with")

    async def offer() -> None:
        try:
            run, _ = await waits.here(studio.opened(name))
            images, what = await waits.here(asyncio.to_thread(lambda: thumbnails.examples(run.dataset())))
        except (SaddlepointError, OSError) as error:
            place.clear()
            with place:
                parts.say(f"There are no examples to try it with: {error}").classes("small")
            return
        wheel.delete()
        with place:
            parts.say(f"Or try one of these {what}:").classes("small")
            with ui.row().classes("gap-1"):
                for number, image in enumerate(images, 1):
                    one = thumbnails.small(image)
                    files = [(f"example{number}.png", grids.encoded(one))]
                    pick = ui.element("button").classes("pick").props(f'type=button aria-label="Try example {number}"')
                    with pick:
                        parts.Picture(f"example {number}").show(one)
                    pick.on("click", waits.guarded(partial(use, Brought(files))))

    ui.timer(0.01, waits.guarded(offer), once=True)
