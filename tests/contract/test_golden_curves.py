"""Every preset's first steps are what they were: the same losses, and, on the machine they were kept on, the same bits.

``python -m tests.contract.test_golden_curves`` writes the kept curves anew; a change of them is a change for users and
belongs in the changelog.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from saddlepoint.engine.machine import runtime
from saddlepoint.engine.storage.folder import RunFolder
from tests.contract.test_every_family import CASES, run, tensors

KEPT = Path(__file__).parents[1] / "golden" / "curves.json"
STEPS = 12

FIRST, LATER = 1e-4, 0.1
"""How far a figure may be off on another processor: rounding differs, and Adam's first steps go by the sign of
gradients that are all but zero. Measured with two older instruction sets: 5e-6 at the first step, .04 within twelve."""


def machine() -> dict[str, str]:
    """Return what the bits depend on."""
    capability = torch.backends.cpu.get_cpu_capability()
    processor = runtime.machine()["processor"]
    return {"torch": torch.__version__, "numpy": np.__version__, "processor": processor, "capability": capability}


def curve(name: str, preset: str, folder: Path) -> dict[str, Any]:
    """Return the figures of the log's lines, and a hash of all that a checkpoint holds, after a few steps in fp32."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums of some layers depend on the number
    try:
        state = run(name, preset, folder, STEPS)
    finally:
        torch.set_num_threads(threads)
    digest = hashlib.sha256()
    for key, tensor in sorted(tensors(state).items()):
        digest.update(key.encode() + str(tuple(tensor.shape)).encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    lines = [line for line in RunFolder(folder).read_log() if "nimg" in line]
    return {"log": [figures(line) for line in lines], "sha256": digest.hexdigest()}


def figures(line: dict[str, Any]) -> dict[str, float]:
    """Return what a line of the log says of the training, without times."""
    return {name: value for name, value in line.items() if isinstance(value, int | float)}


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_the_first_steps_are_what_they_were(name: str, preset: str, tmp_path: Path) -> None:
    kept = json.loads(KEPT.read_text())
    right, found = kept["curves"][f"{name}/{preset}"], curve(name, preset, tmp_path / "run")
    assert [line.keys() for line in found["log"]] == [line.keys() for line in right["log"]]
    for number, (line, of_then) in enumerate(zip(found["log"], right["log"], strict=True)):
        loose = LATER if number else FIRST
        assert line == pytest.approx(of_then, rel=loose, abs=loose)
    if machine() == kept["machine"]:
        assert found == right


def test_every_preset_has_a_kept_curve() -> None:
    assert set(json.loads(KEPT.read_text())["curves"]) == {f"{name}/{preset}" for name, preset in CASES}


def main() -> None:
    """Write the curves of this machine."""
    curves = {}
    for name, preset in CASES:
        with tempfile.TemporaryDirectory() as place:
            curves[f"{name}/{preset}"] = curve(name, preset, Path(place) / "run")
    found = {"machine": machine(), "curves": curves}
    KEPT.write_text(json.dumps(found, indent=1, default=str) + "\n")
    sys.stderr.write(f"{len(curves)} curves on {platform.machine()}\n")


if __name__ == "__main__":
    main()
