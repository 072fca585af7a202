"""Sweeps beside the folder of runs: what was searched, what each trial came to, the winner's figures."""

from __future__ import annotations

from nicegui import ui

from saddlepoint.core.errors import SaddlepointError
from saddlepoint.run.sweeps.space import shown
from saddlepoint.run.sweeps.summary import Summary, read_summary, sweeps_in
from saddlepoint.serve.studio import parts, waits
from saddlepoint.serve.studio.state import Studio

_SHOWN, _BEST = 20, 10


async def show(studio: Studio) -> None:
    """Show the sweeps."""
    with parts.page("Sweeps", "Runs", above=True):
        folders = await waits.looked(lambda: sweeps_in(studio.sweeps))
        if not folders:
            with parts.block():
                parts.say(f"There is no sweep in '{studio.sweeps}' yet: saddle sweep dcgan --over lr=1e-4..1e-2")
        for folder in folders[:_SHOWN]:
            with parts.block():
                try:
                    found = await waits.looked(read_summary, folder)
                    picture = await waits.looked(found.picture)
                except SaddlepointError as error:
                    ui.label(str(error)).classes("break-all")
                    continue
                _sweep(found)
                with parts.wide():
                    parts.Picture(f"figures of the trials of {found.name}").show(picture)
        if len(folders) > _SHOWN:
            parts.say(f"and {len(folders) - _SHOWN} more in '{studio.sweeps}'")


def _sweep(found: Summary) -> None:
    """Put what a sweep is, its best trials, and the winner's figures."""
    parts.heading(found.name)
    parts.say(f"{found.title}, over {', '.join(found.over)}. Judged by: {found.measure}; lower is better.")
    complete = [trial for trial in found.trials if trial.figure is not None]
    complete.sort(key=lambda trial: trial.figure or 0.0)
    lines = [["trial", "figure", *found.names]]
    for trial in complete[:_BEST]:
        values = (shown(trial.values.get(name)) for name in found.names)
        lines.append([str(trial.number), f"{trial.figure:.4g}", *values])
    with parts.wide():
        parts.table(lines)
    open_ = sum(trial.state == "running" for trial in found.trials)
    at_work = (
        f"; {open_} {'is at work, or waits' if open_ == 1 else 'are at work, or wait'} for a worker" if open_ else ""
    )
    parts.say(f"{len(complete)} of {len(found.trials)} trials are complete{at_work}.")
    if found.winner:
        parts.say("The winner, trained again with other seeds, on held-out rows:")
        with parts.wide():
            parts.table(
                [["figure", "mean over seeds", "95% interval"]]
                + [
                    [f"{metric}\n{protocol}", f"{value:.4g}", interval]
                    for protocol, metric, value, interval in found.winner
                ]
            )
