"""Makes training steps of one preset and times them: carried out as a script, by this installation or by another one.

`against.py` starts it with the Python and the package that are to be measured, so it imports no neighbour of its own
and finds the names of earlier versions, whose modules lay elsewhere. It answers a line of JSON for each line it reads.

    python -P step_worker.py FAMILY PRESET SHAPE CLASSES PRECISION THREADS
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

HOMES = {
    "family": ("family",),
    "dataset": ("data.dataset",),
    "feed": ("data.feed",),
    "loop": ("engine.loop",),
    "plan": ("engine.plan",),
    "settings": ("engine.settings",),
    "folder": ("engine.storage.folder", "engine.folder"),
    "precision": ("engine.machine.precision", "engine.precision"),
    "runtime": ("engine.machine.runtime", "engine.runtime"),
}
"""Where the modules lie that a step needs: today, then in earlier versions."""

ROWS, WARM_UP = 2048, 3


def found(name: str) -> Any:
    """Return a module of the package, wherever this version has it."""
    for place in HOMES[name]:
        try:
            return importlib.import_module(f"saddlepoint.{place}")
        except ModuleNotFoundError as error:
            missing = error
    raise missing


def trainer_of(family: str, preset: str, shape: tuple[int, ...], classes: int, precision: str) -> Any:
    """Return a trainer on made-up rows; its folder is never written to."""
    import numpy as np
    import torch

    importlib.import_module("saddlepoint.families")
    contract, dataset, settings = found("family"), found("dataset"), found("settings").Settings()
    rng, series = np.random.default_rng(0), len(shape) == 2
    rows = rng.random((ROWS, *shape), dtype=np.float32) if series else rng.integers(0, 256, (ROWS, *shape), np.uint8)
    labels = np.arange(ROWS) % classes if classes else None
    modality = "sequence" if series else "image"
    names = tuple(map(str, range(classes)))
    data = dataset.Dataset("made", modality, {"train": dataset.Split(rows, labels)}, names, "0")
    kind = contract.get_family(family)
    config = contract.get_preset(kind, preset)[1]
    built = contract.build_family(family, config, data.spec)
    if hasattr(built, "prepare"):
        built.prepare(data.stats())
    feed = found("feed").Feed(data.splits["train"], config.batch_size, 0)
    chosen = found("precision").choose_precision(precision, torch.device("cpu"), modality)
    return found("loop").Trainer(built, feed, settings, found("folder").RunFolder(Path("unused")), precision=chosen)


def peak() -> float:
    """Return the peak memory of this process in MiB; 0 where the system does not say it."""
    with contextlib.suppress(OSError, StopIteration):  # what `getrusage` says begins with that of who started it
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    try:
        import resource
    except ImportError:
        return 0.0
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (1024**2 if sys.platform == "darwin" else 1024)


def main(words: list[str]) -> None:
    """Answer lines of a number, seconds, by the samples a second of so many seconds of steps, and the peak memory."""
    family, preset, shape, classes, precision, threads = words
    runtime = found("runtime")
    runtime.keep_freed_memory()
    runtime.use_threads(int(threads))
    trainer = trainer_of(family, preset, tuple(map(int, shape.split("x"))), int(classes), precision)
    locate = found("plan").locate

    last = trainer.stages[-1:]  # where a run spends most of its time; earlier ones end after so many steps

    def step() -> None:
        trainer.step(locate(last, trainer.state.step))

    for _ in range(WARM_UP):
        step()
    print(json.dumps({"precision": trainer.precision.name}), flush=True)  # noqa: T201 - the answer
    for line in sys.stdin:
        count, begun = 0, time.perf_counter()
        while (spent := time.perf_counter() - begun) < float(line):
            step()
            count += 1
        rate = count * trainer.feed.batch_size / spent
        print(json.dumps({"samples_per_second": rate, "mib": peak()}), flush=True)  # noqa: T201 - the answer


if __name__ == "__main__":
    main(sys.argv[1:])
