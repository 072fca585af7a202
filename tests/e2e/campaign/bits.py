"""Kinds of faults of what lies on the disk: a file changed, cut, emptied or gone after the command that wrote it."""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path

from saddlepoint.engine.storage.checkpoint import list_checkpoints, step_of
from tests.e2e.campaign.place import Missed, Place, demand
from tests.e2e.campaign.states import State, contents, newest


def damage(path: Path, rng: random.Random) -> str:
    """Change a bit of a file, cut it, empty it, or remove it; return what was done."""
    how, content = rng.choice(["bit", "bit", "cut", "empty", "gone"]), bytearray(path.read_bytes())
    if how == "gone" or not content:
        path.unlink()
        return "gone"
    if how == "bit":
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    kept = {"bit": content, "cut": content[: rng.randrange(len(content))], "empty": bytearray()}
    path.write_bytes(kept[how])
    return how


def file_of(folder: Path, rng: random.Random) -> Path:
    """Return one of the files below a folder."""
    return rng.choice(sorted(path for path in folder.rglob("*") if path.is_file()))


def checkpoint_damaged(place: Place, state: State) -> None:
    """Damage a file of the newest checkpoint: an older one is used, with a word about it."""
    run = place.folder / state.needs[0]
    found, *older = list_checkpoints(run / "checkpoints")
    before = contents(run / "checkpoints")
    # Commands that use a run do not read what only training needs.
    names = ("state.json", *(f"{name}.safetensors" for name in state.reads))
    damage(found / place.rng.choice(names), place.rng)
    code = state.carried_out(place)
    said = place.said()
    if not older:  # nothing to fall back on: refused in words
        demand(code == 2, f"a damaged checkpoint is used: {place.tail()}")
        demand("damaged" in said, f"no clear word: {place.tail()}")
        return
    demand(code == 0, f"exit code {code}: {place.tail()}")
    demand("damaged" in said, f"it does not say that a checkpoint is damaged: {place.tail()}")
    kept = contents(run / "checkpoints")
    lost = [name for name in before if not name.startswith(found.name) and kept.get(name) != before[name]]
    if state.name != "resume":
        demand(lost == [], f"lost: {lost[:2]}")
        return
    demand(newest(run) >= max(map(step_of, older)), "lost: an older checkpoint")
    state.again(place)


def cache_damaged(place: Place, state: State) -> None:
    """Damage a file of the prepared data: it is prepared again, or the remedy is told."""
    cache = place.folder / "cache"
    shutil.copytree(place.template.parent / "cache", cache)
    damage(file_of(cache, place.rng), place.rng)

    def plant() -> None:
        os.environ["SADDLEPOINT_CACHE_DIR"] = str(cache)

    place.plants.append(plant)
    state.again(place)


def average_damaged(place: Place, state: State) -> None:
    """Damage one of the kept averages of several lengths, or those of the newest checkpoint: it is told."""
    profiles = list_checkpoints(place.run / "checkpoints")[0] / "profiles.safetensors"
    damage(place.rng.choice([profiles, file_of(place.run / "averages", place.rng)]), place.rng)
    code = state.carried_out(place)
    if code == 0:
        demand("damaged" in place.said() or state.made(place) == state.reference(place), "a damaged average was used")
    else:
        demand(any(w in place.said() for w in ("damaged", "averages", "moments")), f"no clear word: {place.tail()}")


def served_export_damaged(place: Place, state: State) -> None:
    """Damage a file of exported weights: the server refuses it in words, or answers as with the run."""
    out = ("--out", str(place.folder / "made"))
    place.succeeds("export", str(place.run), "--format", "safetensors", *out)
    damage(file_of(place.folder / "made", place.rng), place.rng)
    state.source = "made"
    try:
        code = state.carried_out(place)
    finally:
        state.source = "run"
    demand(code == 0 or "error: " in place.said(), f"no clear word: {place.tail()}")
    state.whole(place, 0)
    state.again(place)


def export_damaged(place: Place, state: State) -> None:
    """Damage a file of exported weights: sampling from it is refused in words, or gives what it gave."""
    place.succeeds(*state.words(place))
    out = place.folder / "made"
    place.succeeds("sample", str(out), "-n", "8", "--out", str(place.folder / "a.npz"), "--threads", "1")
    damage(file_of(out, place.rng), place.rng)
    code = place.call("sample", str(out), "-n", "8", "--out", str(place.folder / "b.npz"), "--threads", "1")
    if code == 0:
        same = (place.folder / "a.npz").read_bytes() == (place.folder / "b.npz").read_bytes()
        demand(same, "damaged weights make other samples, and nothing is said")
    shutil.rmtree(out)
    state.again(place)


def healthy_damaged(place: Place, state: State) -> None:
    """Kill a training with remedies, and damage the checkpoint that they go back to: another is used, or it says so."""
    child = place.start(*state.words(place))
    time.sleep(place.rng.uniform(0, state.length))
    place.kill(child)
    kept = list_checkpoints(place.run / "healthy")
    if not kept:
        raise Missed
    damage(file_of(kept[0], place.rng), place.rng)
    saved = state.saved(place)
    code = state.carried_out(place)
    state.whole(place, saved)
    if code == 0:
        demand(state.made(place) == state.reference(place), "a damaged state was gone back to")
    else:
        demand("damaged" in place.said() or "healthy" in place.said(), f"no clear word: {place.tail()}")


def journal_torn(place: Place, state: State) -> None:
    """Kill a worker, and cut the last line of the sweep's journal, as a disk may: the sweep goes on, or says so."""
    children = state.begin(place)
    time.sleep(place.rng.uniform(0.3, 1.0) * state.length)
    for child in children:
        place.kill(child)
    path = place.folder / "sweep" / "journal.log"
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    if len(lines) < 2:
        raise Missed
    path.write_bytes(b"".join(lines[:-1]) + lines[-1][: place.rng.randrange(len(lines[-1]))])
    code = state.carried_out(place)
    demand(code == 0 or "journal" in place.said(), f"no clear word: {place.tail()}")
    if code == 0:
        demand(state.made(place) == state.reference(place), "the result is not that of an undisturbed sweep")


def run_damaged(place: Place, state: State) -> None:
    """Damage a file that describes the run (configuration, log, status): it goes on, or is refused in words."""
    kept = contents(place.run / "checkpoints")
    path = place.run / place.rng.choice(["config.json", "log.jsonl", "status.json"])
    content = path.read_bytes() if path.exists() else b""
    how = damage(path, place.rng) if content else "gone"
    code = state.carried_out(place)
    if code != 0:
        demand("error: " in place.said(), f"no clear word: {place.tail()}")
        demand(contents(place.run / "checkpoints") == kept, "lost: checkpoints of a run that was refused")
    if how != "gone" or content:
        path.write_bytes(content)
    if code != 0:
        state.again(place)
