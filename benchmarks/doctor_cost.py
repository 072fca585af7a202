"""Measures which share of training time the doctor takes: preset mnist as the command trains it, remedies on.

    python benchmarks/doctor_cost.py [KIMG] [THREADS]

The share is a ratio within one run: evaluations, gradient norms and healthy checkpoints over all of training.
"""

from __future__ import annotations

import sys
import tempfile
import time
from typing import Any

import torch

from saddlepoint.data import load_dataset
from saddlepoint.data.feed import Feed
from saddlepoint.engine.doctor.diagnostics import Evaluator
from saddlepoint.engine.doctor.monitor import Monitor
from saddlepoint.engine.loop import Trainer
from saddlepoint.engine.settings import SILENT, Settings
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.evaluation.features import shipped_classifier
from saddlepoint.family import build_family, get_family, get_preset


class Timed(Monitor):
    """Monitor that knows how long it took."""

    spent = 0.0

    def record_gradients(self, *args: Any) -> None:
        started = time.perf_counter()
        super().record_gradients(*args)
        self.spent += time.perf_counter() - started

    def on_report(self, *args: Any, **named: Any) -> list[dict[str, Any]]:
        started = time.perf_counter()
        found = super().on_report(*args, **named)
        self.spent += time.perf_counter() - started
        return found


def cost(kimg: float) -> None:
    """Train the default preset with the classifier and remedies on, as the command does; print the doctor's share."""
    dataset = load_dataset("mnist")
    config = get_preset(get_family("gan"), "mnist")[1]
    chosen = Settings(kimg=kimg, remedy="auto")
    with tempfile.TemporaryDirectory() as place:
        folder = RunFolder(place)
        monitor = Timed(Evaluator(dataset, 0, "cpu", shipped_classifier(dataset, "cpu")), chosen, folder, SILENT)
        family = build_family("gan", config, dataset.spec)
        trainer = Trainer(family, Feed(dataset.splits["train"], config.batch_size, 0), chosen, folder, monitor=monitor)
        seconds = trainer.train(dataset.stats).seconds
        evaluations = sum("signs" in line for line in folder.read_log())
    print(
        f"{torch.get_num_threads()} threads: {evaluations} evaluations and the healthy checkpoints of {kimg:g} kimg "
        f"took {monitor.spent:.2f} s of {seconds:.1f} s: {monitor.spent / seconds:.2%}"
    )


if __name__ == "__main__":
    words = sys.argv[1:]
    if words[1:]:
        torch.set_num_threads(int(words[1]))
    cost(float(words[0]) if words else 250.0)
