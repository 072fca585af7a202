"""How long the report of a training on 400 own pictures takes, and what is said of it beforehand.

    python benchmarks/report_of_own.py run FOLDER    FOLDER of colour pictures, of which the first 400 are taken
    python benchmarks/report_of_own.py write         write the sentence of docs/evaluation.md from the kept figures

`dcgan small` at 64x64 is trained for a few steps, for what is measured takes as long whatever the samples look like.
Seconds are processor time of one thread; first with an empty cache, then again. The figures of the last commit are kept
in benchmarks/figures/report_of_own.json.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import torch
from records import keep, measured_on

import saddlepoint
from saddlepoint.metrics.imagenet import imagenet_lite
from saddlepoint.metrics.imagenet_weights import published_weights
from saddlepoint.run.run import Run

HERE = Path(__file__).parent
FIGURES = HERE / "figures" / "report_of_own.json"
DOCS = HERE.parent / "docs"
PICTURES, SIZE, STEPS, THREADS = 400, 64, 20, 1


def run(folder: Path) -> None:
    """Train, measure twice, keep."""
    torch.set_num_threads(THREADS)
    published_weights(print)  # the download is not what is timed
    imagenet_lite()
    paths = sorted(path for path in folder.iterdir() if path.is_file())[:PICTURES]
    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "pictures"
        data.mkdir()
        for path in paths:
            (data / path.name).symlink_to(path.resolve())
        made = saddlepoint.train(
            "dcgan", str(data), size=SIZE, steps=STEPS, out=Path(place) / "run", threads=THREADS, background="white"
        )
        os.environ["SADDLEPOINT_CACHE_DIR"] = str(Path(place) / "cache")
        found = {word: measured(made) for word in ("first", "again")}
    keep(FIGURES, {"pictures": len(paths), "size": SIZE, **found}, THREADS)
    print(json.dumps(found, indent=1))


def measured(made: Run) -> dict[str, object]:
    """Evaluate; return processor and wall time, what was said beforehand, and the time of each protocol."""
    said: list[str] = []
    begun, wall = time.process_time(), time.perf_counter()
    report = made.evaluate(say=said.append, detail=lambda line: None, threads=THREADS)
    return {
        "seconds": round(time.process_time() - begun, 1), "wall": round(time.perf_counter() - wall, 1),
        "said": said[:2],
        "protocols": {result.protocol: result.seconds for result in report.results}, "standing": report.standing,
    }  # fmt: skip


def write() -> None:
    """Write the sentence."""
    kept = json.loads(FIGURES.read_text())
    page = DOCS / "evaluation.md"
    text = page.read_text()
    begin = "- 400 own pictures of 64x64: "
    before, _, rest = text.partition(begin)
    after = rest.partition("\n")[2]
    first, again = (kept[word]["seconds"] for word in ("first", "again"))
    sentence = (
        f"the whole report takes {first:.0f} s of processor time of one thread, again {again:.0f} s; more than 5 s are "
        f"said beforehand. {measured_on([{**kept, 'mark': ''}])}"
    )
    page.write_text(f"{before}{begin}{sentence}\n{after}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"] and len(sys.argv) == 3:
        run(Path(sys.argv[2]))
    elif sys.argv[1:] == ["write"]:
        write()
    else:
        sys.exit(__doc__)
