"""Makes the runs of ``runs-ada098a/`` with the package as it was at that commit; later packages must open them.

PYTHONPATH=<worktree at ada098a>/src python tests/golden/make_runs.py NEW_FOLDER
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import saddlepoint

SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "gan": ("ring8", {"preset": "points", "generator_widths": "8,8", "discriminator_widths": "8,8"}),
    "gan-digits": ("digits", {"preset": "mnist", "generator_widths": "16", "discriminator_widths": "16"}),
    "cgan": ("digits", {"generator_widths": "16", "discriminator_widths": "16"}),
    "dcgan": ("digits", {"width": 4}),
    "timegan": ("sines", {"width": 8, "critic_width": 8}),
    "stylegan": ("domains", {"width": 2, "max_width": 8, "w_size": 8, "mapping_depth": 2}),
    "stylegan1": ("domains", {"width": 2, "max_width": 8, "w_size": 8, "latent_size": 8, "mapping_depth": 2}),
    "stargan": ("domains", {"width": 2, "discriminator_width": 2, "blocks": 1, "layers": 2, "colours_steps": 4}),
    "stargan2": ("domains", {"width": 2, "max_width": 8, "style_size": 8, "style_width": 8, "discriminator_width": 4}),
}


STEPS, LATER = 12, 16


def write_domains(folder: Path) -> None:
    """Write 48 colour pictures of 16 x 16 in three classes."""
    rng = np.random.default_rng(3)
    for number, pixels in enumerate(rng.integers(0, 256, (48, 16, 16, 3), dtype=np.uint8)):
        place = folder / "abc"[number % 3]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{number:02d}.png")


def made_by(run: Any) -> np.ndarray:
    """Return four samples of a run, or four translations of the same random pictures."""
    if run.family.tags.input != "image":
        return run.sample(4, seed=0).numpy()
    pictures = torch.from_numpy(np.random.default_rng(5).uniform(-1, 1, (4, 3, 16, 16)).astype(np.float32))
    return run.generate(pictures, torch.tensor([0, 1, 2, 0]), seed=0).numpy()


def main(folder: Path) -> None:
    """Train each a few steps, and leave out what is only looked at."""
    folder.mkdir(parents=True)
    os.chdir(folder)
    write_domains(Path("domains"))
    for name, (data, options) in SMALL.items():
        known = {"batch_size": 8, **options}
        preset = known.pop("preset", None)
        family = name.partition("-")[0]
        saddlepoint.train(family, data=data, preset=preset, steps=STEPS, options=known, threads=1, out=name)
        for picture in sorted(Path(name, "samples").iterdir())[:-1]:
            picture.unlink()
        shutil.rmtree(Path(name, "healthy"))
    made = {name: made_by(saddlepoint.load(name)) for name in SMALL}
    shutil.copytree(".", "later")
    for name in SMALL:
        made[f"{name} later"] = made_by(saddlepoint.resume(f"later/{name}", steps=LATER))
    np.savez_compressed("samples.npz", allow_pickle=False, **made)
    for place in ("domains", "later"):
        shutil.rmtree(place)
    for config in Path().glob("*/config.json"):
        config.write_text(config.read_text().replace(str(Path().absolute()), ""))  # no path of a machine is kept


if __name__ == "__main__":
    main(Path(sys.argv[1]))
