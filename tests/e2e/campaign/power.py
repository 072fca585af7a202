"""The power goes: of what was not synced anything may be lost, and it comes back in any order."""

from __future__ import annotations

import shutil

from tests.e2e.campaign.disk import after_power_loss, lay_down
from tests.e2e.campaign.place import Place, Plant
from tests.e2e.campaign.recording import Recording, acknowledge, record
from tests.e2e.campaign.states import State

WAYS = ("nothing", "names", "bytes", "some", "some")
RECORDINGS: dict[tuple[str, str], Recording] = {}
"""By template and state: one recording gives as many losses as are wanted."""


def told(place: Place) -> Plant:
    """Return what lets a process note, outside of its disk, each checkpoint that the writer takes to be saved."""

    def plant() -> None:
        from pathlib import Path
        from typing import Any

        from saddlepoint.engine import run_writer
        from saddlepoint.engine.doctor import remedies

        real = run_writer.write_checkpoint

        def write(folder: Path, checkpoint: Any, keep: int) -> Path:
            path = real(folder, checkpoint, keep)
            acknowledge(place, str(checkpoint.step))
            return path

        run_writer.write_checkpoint = remedies.write_checkpoint = write

    return plant


def power_lost(place: Place, state: State) -> None:
    """Lose the power at a random moment, and any of the writes, names and renames that were not synced by then."""
    key = (str(place.template), state.name)
    if key not in RECORDINGS:
        RECORDINGS[key] = recorded(place, state)
    lose(place, state, RECORDINGS[key])


def recorded(place: Place, state: State) -> Recording:
    """Record the command, in folders that stay."""
    there = place.template.parent / "recorded" / state.name
    shutil.rmtree(there, ignore_errors=True)
    shutil.copytree(place.folder, there / "disk")
    own = Place(there / "disk", place.rng, there, place.template, [*place.plants])
    words = state.bounded(own)
    return record(own, *words, before=told(own))


def lose(place: Place, state: State, found: Recording) -> None:
    """Lay down what a loss leaves of a recording, and bring it back."""
    moment = place.rng.randrange(len(found.calls) + 1)
    if place.rng.random() < 0.5:  # just after something was saved, where a lack shows
        moment = min(len(found.calls), place.rng.choice(found.saved)[0] + place.rng.randrange(3))
    saved = [what for when, what in found.saved if when <= moment]
    shutil.rmtree(place.folder)
    place.folder.mkdir()
    lay_down(after_power_loss(found.disk(moment).top, place.rng, place.rng.choice(WAYS)), place.folder)
    steps = [int(what) for what in saved if what != "all"]
    if "all" in saved:
        state.kept(place)
    state.whole(place, steps[-1] if steps else state.least(place))  # the last one: a remedy goes back
    state.again(place)
