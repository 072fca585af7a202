"""What each process of `test_processes.py` does: train cases for some steps, and keep what it holds at the end.

torchrun --nproc-per-node 2 -m tests.e2e.beside FOLDER FAMILY-PRESET:STEPS ...
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import torch

import saddlepoint.families  # noqa: F401 - registers the families
from saddlepoint.data.feed import Feed
from saddlepoint.engine.loop import Trainer
from saddlepoint.engine.machine.distributed import ProcessGroup, join
from saddlepoint.engine.settings import Settings
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.family import build_family, families
from tests.contract.presets import CASES, made, reduced

BATCH = 8


def train(name: str, preset: str, folder: Path, steps: int, group: ProcessGroup, micro_batch: int | None) -> Trainer:
    """Train one case and return its trainer."""
    kind = families()[name]
    dataset = made(kind, preset)
    config = dataclasses.replace(reduced(kind, preset), batch_size=BATCH)
    settings = Settings(steps=steps, report_kimg=3 * BATCH / 1000, micro_batch=micro_batch)
    feed = Feed(dataset.splits["train"], BATCH, 0, shares=settings.shares(BATCH, group.size))
    family = build_family(name, config, dataset.spec)
    trainer = Trainer(family, feed, settings, RunFolder(folder / f"{name}-{preset}"), group=group)
    trainer.train(dataset.stats)
    return trainer


def main() -> None:
    """Train cases beside the other processes."""
    folder, steps = Path(sys.argv[1]), dict(word.split(":") for word in sys.argv[2:])
    torch.set_num_threads(1)
    group = join()
    for name, preset in (case for case in CASES if "-".join(case) in steps):
        trainer = train(name, preset, folder, int(steps[f"{name}-{preset}"]), group, None)
        held = {file: group for file, group in trainer.state.checkpoint().tensors.items() if file != "training"}
        torch.save(held, folder / f"{name}-{preset}-{group.rank}.pt")


if __name__ == "__main__":
    main()
