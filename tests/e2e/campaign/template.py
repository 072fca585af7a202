"""What is copied into the place of each fault: a run, a translator, pictures; and what undisturbed commands make."""

from __future__ import annotations

import importlib
import json
import os
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from saddlepoint import load
from saddlepoint.core.cache import cache_dir
from saddlepoint.run.samples import pictures
from tests.e2e.campaign.place import Place, demand
from tests.e2e.campaign.several import write_points
from tests.e2e.campaign.states import KNOWN, STEPS, TRAIN, State, contents, train_undisturbed

TRANSLATOR = (
    "--width", "4", "--blocks", "1", "--discriminator-width", "4", "--layers", "2", "--batch-size", "4", "--steps", "2",
    "--threads", "1", "--no-report",
)  # fmt: skip


COMMON = ("saddlepoint.run.launch", "saddlepoint.run.api", "saddlepoint.cli.display", "saddlepoint.cli.tables")
"""Modules that commands import when they need them."""


def make_template(folder: Path, states: Sequence[State], known: int = KNOWN) -> Path:
    """Train the run that faults are put into; what it needs is imported and prepared for all forked processes.

    Args:
        folder: empty; what the campaign needs stays there.
        states: what is to be disturbed: each is carried out undisturbed first.
        known: steps of the undisturbed run whose every state is known.
    """
    torch.set_num_threads(1)
    compiled = cache_dir() / "kernels"
    if compiled.is_dir():  # it takes 20 s, and is no fault's business
        shutil.copytree(compiled, folder / "cache" / "kernels")
    os.environ["SADDLEPOINT_CACHE_DIR"] = str(folder / "cache")
    for module in {*COMMON, *(module for state in states for module in state.modules)}:
        importlib.import_module(module)
    template, outside = folder / "template", folder / "outside"
    outside.mkdir(parents=True)
    place = Place(template, random.Random(0), outside, template)
    template.mkdir()
    for steps in (STEPS // 3, 2 * STEPS // 3, STEPS):
        out = ("--out", str(place.run)) if steps == STEPS // 3 else ()
        words = TRAIN if out else ("train", "--resume", str(place.run), "--threads", "1")
        demand(place.call(*words, "--steps", str(steps), *out) == 0, place.tail())
    run = load(place.run)
    run.dataset()
    run.evaluate(["memorisation"], features="pixels")
    pictures.draw(run, "grid")
    needed = {name for state in states for name in state.needs}
    if "translator" in needed:
        _translator(place)
    if "sweep" in {state.name for state in states}:
        write_points(template / "points.npy")
    (template / "made").mkdir()
    for source in ("run", "translator"):
        if (template / source).exists():
            (template / "made" / f"{source}.json").write_text(json.dumps(contents(template / source / "checkpoints")))
    if {"resume", "studio"} & {state.name for state in states}:
        train_undisturbed(place, known)
    for state in states:
        for time in ("first", "second"):  # what the first one brings into the cache the others have
            own = fresh(state, outside / f"{state.name} {time}", template, random.Random(0))
            state.keep_reference(own)
            shutil.rmtree(own.folder)
    return template


def fresh(state: State, outside: Path, template: Path, rng: random.Random) -> Place:
    """Return a new place with what a state needs."""
    folder = outside / "place"
    folder.mkdir(parents=True)
    for name in state.needs:
        source = template / name
        shutil.copytree(source, folder / name) if source.is_dir() else shutil.copyfile(source, folder / name)
    place = Place(folder, rng, outside, template)
    place.plants = state.plants(place)
    return place


def _translator(place: Place) -> None:
    """Train a translator on a few pictures."""
    rng, pictures = np.random.default_rng(0), place.folder / "pictures"
    for number in range(24):
        path = pictures / ("cat", "dog")[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
    words = ("train", "stargan", "--data", str(pictures), *TRANSLATOR, "--out", str(place.folder / "translator"))
    demand(place.call(*words) == 0, place.tail())
