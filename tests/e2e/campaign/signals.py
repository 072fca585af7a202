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
    _ended(place, state, place.rng.choice([signal.SIGTERM, signal.SIGINT]))


def _ended(place: Place, state: State, number: signal.Signals) -> None:
    """End one process of the command by a signal that finds it at work."""
    children = state.begin(place)
    said = place.saying[-len(children) :]
    state.working(place, children)
    time.sleep(place.rng.uniform(0, state.length / (1 + place.attempt)))
    saved, which = state.saved(place), place.rng.randrange(len(children))
    if there := place.alive(children[which]):
        os.kill(children[which], number)
    code = [place.ended(child) for child in children][which]
    text = said[which].read_text(errors="replace")
    demand("Traceback" not in text, f"a traceback: {text[-6000:]}")
    demand(code in (130, -number, 0) or not there, f"exit code {code}: {text[-300:]}")
    if code == 130 and state.resumable:
        demand("Go on with" in text, f"it did not say how to go on: {text[-300:]}")
    state.whole(place, saved)
    state.again(place)
    if not there:
        raise Missed


def killed_while_saving(place: Place, state: State) -> None:
    """Kill the command inside a chosen call that renames, syncs, opens or removes."""
    name = place.rng.choice(["replace", "fsync", "open", "unlink"])
    count = round(state.calls ** place.rng.random())

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
