"""Why the released dynamics of 2014 stand below 225 nats after an hour: one hour's end, continued in three ways.

    python benchmarks/why_2014.py [PRESET]     continue the hour of results_gan.py; can be stopped at any moment

Starts from the last checkpoint of runs/results/PRESET-60m-seed0 (by `results_gan.py run`), sees 400,000 more images as
released, with an average of G's weights, and with a tenth of the learning rate, and keeps each Parzen log-likelihood in
benchmarks/figures/gan/why-PRESET.json. If the average or the small steps gain much and the released steps little, the
distance is noise of the large steps, not something the players have not learnt.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from saddlepoint.core.files import write_atomically
from saddlepoint.engine.settings import Observer
from saddlepoint.engine.storage.checkpoint import list_checkpoints, read_checkpoint
from saddlepoint.run import api

FIGURES = Path(__file__).parent / "figures" / "gan"
RUNS = Path("runs") / "results"
KIMG = 400
WAYS: dict[str, dict[str, Any]] = {
    "as released": {},
    "average of G, half-life 50,000 images": {"ema_half_life_kimg": 50.0},
    "learning rate .01": {"lr": 0.01, "lr_decay": 1.0},
}


def run(preset: str) -> None:
    """Continue in every way that has no figure yet."""
    path = FIGURES / f"why-{preset}.json"
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    start = list_checkpoints(RUNS / f"{preset}-60m-seed0" / "checkpoints")[0]
    before = read_checkpoint(start).facts["nimg"]
    for way, options in WAYS.items():
        if way in kept:
            continue
        out = RUNS / f"why-{preset}-{'-'.join(way.replace(',', '').replace('.', '').split())}"
        if not out.exists():
            shutil.copytree(start, out / "checkpoints" / start.name)
        plan = api.plan(
            preset=preset, options=options, kimg=before / 1000 + KIMG, seed=0, threads=1, out=out, device="cpu"
        )
        trained, outcome = api.start(plan, Observer(say=print))
        if outcome.reason == "interrupted":
            sys.exit("interrupted; run the same command again")
        row = trained.evaluate(["parzen"]).rows[0]
        kept[way] = {"nimg": outcome.progress.nimg, "parzen": row.value, "standard_error": row.standard_error}
        write_atomically(path, json.dumps({**kept, "from nimg": before}, indent=1) + "\n")
        print(f"{preset}, {way}: {row.value:.1f} nats")


if __name__ == "__main__":
    run(sys.argv[1] if len(sys.argv) > 1 else "mnist-2014")
