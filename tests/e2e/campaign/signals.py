"""Kinds of faults that end processes."""

from __future__ import annotations

import os
import signal
import time

from tests.e2e.campaign.place import Missed, Place, demand
from tests.e2e.campaign.states import State


def killed(place: Place, state: State) -> None:
    """Kill the command at a random moment."""
    _ended(place, state, signal.SIGKILL)


def terminated(place: Place, state: State) -> None:
    """Ask the command to end, as a scheduler (SIGTERM) or Ctrl-C would: training saves, and says how to go on."""
    number = place.rng.choice([signal.SIGTERM, signal.SIGINT])
    code = _ended(place, state, number)
    demand("Traceback" not in place.said(), f"a traceback: {place.said()[-600:]}")
    demand(code in (130, -number, 0), f"exit code {code}: {place.tail()}")
    if code == 130 and place.resumable:
        demand("Go on with" in place.said(), f"it did not say how to go on: {place.tail()}")


def _ended(place: Place, state: State, number: signal.Signals) -> int:
    """End the command by a signal that finds it at work; return its exit code."""
    children = state.begin(place)
    state.working(place, children)
    time.sleep(place.rng.uniform(0, state.length))
    saved = state.saved(place)
    victim = place.rng.choice(children)
    if there := place.alive(victim):
        os.kill(victim, number)
    codes = {child: place.ended(child) for child in children}
    state.whole(place, saved)
    state.again(place)
    if not there:
        raise Missed
    return codes[victim]


def killed_while_saving(place: Place, state: State) -> None:
    """Kill the command inside a chosen call that renames, syncs, opens or removes."""
    name, count = place.rng.choice(["replace", "fsync", "open", "unlink"]), place.rng.randrange(1, 40)

    def plant() -> None:
        real, calls = getattr(os, name), [0]

        def call(*given: object, **named: object) -> object:
            calls[0] += 1
            if calls[0] == count:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*given, **named)

        setattr(os, name, call)

    saved = state.saved(place)
    code = place.ended(place.start(*state.words(place), before=plant))
    demand(code in (-signal.SIGKILL, 0), f"it was not killed but ended with {code}: {place.tail()}")
    state.whole(place, saved)
    state.again(place)
    if code == 0:
        raise Missed
