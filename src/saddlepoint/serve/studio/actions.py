"""What can be done with a whole run: train it on, rename it, remove it; each asks first."""

from __future__ import annotations

import asyncio
from functools import partial

from nicegui import ui

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.quoting import for_shell
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.engine.storage.standing import standing_of
from saddlepoint.run import api
from saddlepoint.run.index import remove_run, rename_run
from saddlepoint.run.measure import is_followed
from saddlepoint.serve.studio import parts, waits
from saddlepoint.serve.studio.state import Studio

_TIMES = ("+10m", "+1h", "+8h")


def further(studio: Studio, name: str, time: str, report: bool) -> None:
    """Train a run on for so much longer, through ``saddle train --resume``.

    Args:
        studio: the studio's state.
        name: of the run.
        time: such as ``10m`` or ``+10m``: more than is spent.
        report: whether it is measured at the end.

    Raises:
        CheckpointError: if it is being trained or measured, or cannot be read.
        ConfigError: if the time is none, all stages of the run are over, or too many trainings run already.
        DataError: if its data is no longer where it was.
    """
    folder, budget = studio.folder(name), f"+{time.strip().removeprefix('+').strip()}"
    if over := standing_of(RunFolder(folder)).over:
        raise ConfigError(f"{over}: this run has nothing left to train")
    api.plan_to_resume(folder, budget=budget)  # refused here, where somebody reads it
    studio.go_on(name, budget, report)


async def train_on(studio: Studio, name: str) -> bool:
    """Ask how much longer a run is to be trained, and go on; return whether it does."""
    folder = studio.folder(name)
    measured = await waits.looked(lambda: is_followed(str(RunFolder(folder).read_config()["data"]["source"])))
    with ui.dialog() as dialog, ui.card().classes("w-full max-w-lg"):
        ui.label(f"Train {name} on").classes("text-lg font-medium break-words").props("role=heading aria-level=2")
        time = ui.input("more training time", value=_TIMES[0]).classes("w-full").props("autofocus")
        with ui.row().classes("gap-1"):
            for offered in _TIMES:
                ui.button(offered, on_click=partial(time.set_value, offered)).props("flat dense no-caps")
        report = ui.checkbox("measure the samples at the end", value=measured)
        line = parts.copyable("command", "")

        def said() -> None:
            words = ["--budget", str(time.value or "")]
            own = report.value if report.value != measured else None
            words += [] if own is None else ["--report" if own else "--no-report"]
            line(for_shell("saddle", "train", "--resume", folder, *words))

        said()
        for control in (time, report):
            control.on_value_change(said)
        time.on("keydown.enter", lambda: dialog.submit(True))
        with ui.row().classes("w-full justify-end gap-2"):
            ui.button("Cancel", on_click=lambda: dialog.submit(False)).props("flat no-caps")
            ui.button("Train on", on_click=lambda: dialog.submit(True)).props("no-caps")
    answer = await waits.here(dialog)
    asked, wanted = str(time.value or ""), bool(report.value)
    dialog.delete()
    if answer:
        await waits.here(asyncio.to_thread(further, studio, name, asked, wanted))
    return bool(answer)


async def rename(studio: Studio, name: str) -> str:
    """Ask for another name of a run and give it; return it, or "" if nothing was changed."""
    new = (await parts.asked(f"New name of {name}", name, "Rename")).strip()
    if not new or new == name:
        return ""
    await waits.here(asyncio.to_thread(rename_run, studio.index.root, name, new))
    ui.notify(f"{name} is now {new}.")
    return new


async def remove(studio: Studio, name: str) -> bool:
    """Ask, and remove a run; return whether it is gone."""
    question = f"Delete {name} with its checkpoints, pictures and figures? This cannot be undone."
    if not await parts.confirmed(question, "Delete"):
        return False
    await waits.here(asyncio.to_thread(remove_run, studio.index.root, name))
    ui.notify(f"{name} is deleted.")
    return True
