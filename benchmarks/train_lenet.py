"""Train the classifier that is shipped as `mnist-lenet`: 50,000 images to train, 10,000 to choose the epoch.

    python benchmarks/train_lenet.py [--epochs 16] [--seed 0] [--data mnist] [--weights FILE] [--out FOLDER]

The 10,000 test images are looked at once, at the end. The same PyTorch, seed and number of threads (one, unless
--threads says otherwise) give the same file, whose SHA-256 is printed; `saddlepoint.metrics.extractors` pins it.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from dataclasses import asdict
from pathlib import Path

import torch
from scipy.stats import binomtest

from saddlepoint.data import load_dataset
from saddlepoint.metrics.lenet import accuracy, save_classifier, train_classifier

WEIGHTS = Path(__file__).parents[1] / "src" / "saddlepoint" / "metrics" / "weights" / "mnist-lenet.safetensors"
FIGURES = Path(__file__).parent / "figures" / "lenet"


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the classifier shipped as mnist-lenet.")
    parser.add_argument("--data", default="mnist", help="labelled images (default: mnist)")
    parser.add_argument("--epochs", type=int, default=16, help="passes over the training images (default: 16)")
    parser.add_argument("--seed", type=int, default=0, help="of the training (default: 0)")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch (default: 1)")
    parser.add_argument("--flip", action="store_true", help="mirror half of the images while training")
    parser.add_argument("--version", default="1", help="version written into the weights (default: 1)")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="where the weights go")
    parser.add_argument("--out", type=Path, default=FIGURES, help="folder of the figures")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    data = load_dataset(args.data, say=print)
    train, valid, test = (data.splits[split] for split in ("train", "valid", "test"))
    start, busy = time.perf_counter(), time.process_time()
    training = train_classifier(
        train.x,
        train.labels,
        valid=(valid.x, valid.labels),
        classes=len(data.classes),
        seed=args.seed,
        epochs=args.epochs,
        flip=args.flip,
        say=print,
    )
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - busy
    right = accuracy(training.classifier, test.x, test.labels)
    interval = binomtest(round(right * len(test)), len(test)).proportion_ci(0.95, "wilson")
    facts = {
        "name": f"{args.data}-lenet",
        "version": args.version,
        "data": data.name,
        "fingerprint": data.fingerprint,
        "classes": list(data.classes),
        "seed": args.seed,
        "test_accuracy": right,
    }
    digest = save_classifier(args.weights, training.classifier, facts)
    chosen = training.epochs[training.chosen]
    figures = {
        **facts,
        "test_interval_95": [interval.low, interval.high],
        "valid_accuracy": chosen.valid_accuracy,
        "chosen_epoch": training.chosen + 1,
        "weights_bytes": args.weights.stat().st_size,
        "sha256": digest,
        "train_seconds": round(seconds, 1),
        "train_cpu_seconds": round(cpu_seconds, 1),
        "machine": f"{platform.machine()}, {args.threads} thread(s)",
        "torch": torch.__version__,
        "epochs": [{k: round(v, 5) for k, v in asdict(epoch).items()} for epoch in training.epochs],
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / f"{facts['name']}.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(f"test accuracy {100 * right:.2f}% ({100 * interval.low:.2f} to {100 * interval.high:.2f}), 95% interval")
    print(f"{args.weights}: {figures['weights_bytes']:,} bytes, SHA-256 {digest}")


if __name__ == "__main__":
    main()
