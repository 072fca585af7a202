"""Every preset's first steps are what they were.

With the versions and the processor that the curves were kept on: the same bits. With others: the same figures, each
within ten times the difference that was measured between versions of PyTorch and instruction sets.

    python -m tests.contract.test_golden_curves          keeps the curves anew: a change for users, for the changelog
    python -m tests.contract.test_golden_curves beside   with another PyTorch: keeps how far its figures are off
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

CURVED = [*CASES, ("timegan", "increments:starts")]
"""Windows of the contract have classes, those of most tables have none: then they begin as windows of the data."""
KEPT = Path(__file__).parents[1] / "golden" / "curves.json"
STEPS = 12

LEAST, MOST, TIMES = 1e-5, 0.1, 10
"""How far a figure may be off with other versions or on another processor: `TIMES` what was measured, within bounds.
Rounding differs, and Adam's first steps go by the sign of gradients that are all but zero: `stylegan1` is .05 off after
a new side begins, most presets are not at all. Before the first step nothing is magnified: `LEAST` holds."""


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


def off(found: dict[str, float], kept: dict[str, float]) -> dict[str, float]:
    """Return how far each figure is off: the smaller one of its absolute and its relative error."""
    return {name: abs(found[name] - value) / max(1.0, abs(value)) for name, value in kept.items()}


def beyond(found: list[dict[str, float]], kept: dict[str, Any]) -> list[str]:
    """Return the figures that are further off than other versions and processors make them."""
    said, known = [], kept.get("off")  # None: nobody has measured this preset with other versions yet
    for number, (line, of_then) in enumerate(zip(found, kept["log"], strict=True)):
        for name, error in off(line, of_then).items():
            later = MOST if known is None else min(MOST, max(LEAST, TIMES * known.get(name, 0.0)))
            most = later if number else LEAST
            if not error <= most:
                said.append(f"step {line['step']}: {name} {line[name]}, was {of_then[name]}; off by more than {most}")
    return said


@pytest.mark.parametrize(("name", "preset"), CURVED)
def test_the_first_steps_are_what_they_were(name: str, preset: str, tmp_path: Path) -> None:
    everything = json.loads(KEPT.read_text())
    kept, found = everything["curves"][f"{name}/{preset}"], curve(name, preset, tmp_path / "run")
    assert [line.keys() for line in found["log"]] == [line.keys() for line in kept["log"]]
    assert not beyond(found["log"], kept)
    if machine() == everything["machine"]:
        assert found == {"log": kept["log"], "sha256": kept["sha256"]}


def test_a_figure_may_be_off_by_what_was_measured_for_it() -> None:
    kept = {"log": [{"step": 1, "V": -8.0, "KL": 0.5}, {"step": 2, "V": -8.0, "KL": 0.5}], "off": {"V": 1e-3}}
    first, later = ({"step": number, "V": -8.0, "KL": 0.5} for number in (1, 2))
    assert not beyond([first, {**later, "V": -8.07, "KL": 0.500009}], kept)
    assert len(beyond([first, {**later, "V": -8.09}], kept)) == 1
    assert len(beyond([first, {**later, "KL": 0.50002}], kept)) == 1
    assert len(beyond([{**first, "V": -8.001}, {**later, "KL": float("nan")}], kept)) == 2


def test_every_preset_has_a_kept_curve() -> None:
    assert set(json.loads(KEPT.read_text())["curves"]) == {f"{name}/{preset}" for name, preset in CURVED}


def main(words: list[str]) -> None:
    """Write the curves of this machine, or how far its figures are off those that are kept."""
    curves = {}
    for name, preset in CURVED:
        with tempfile.TemporaryDirectory() as place:
            curves[f"{name}/{preset}"] = curve(name, preset, Path(place) / "run")
    kept = json.loads(KEPT.read_text())
    write(beside(kept, machine(), curves) if words == ["beside"] else anew(kept, machine(), curves))
    sys.stderr.write(f"{len(curves)} curves on {platform.machine()}\n")


def anew(kept: dict[str, Any], here: dict[str, str], curves: dict[str, Any]) -> dict[str, Any]:
    """Return these curves in the place of the kept ones; what was measured beside them is still how far others are."""
    measured = {name: {"off": found["off"]} for name, found in kept["curves"].items() if "off" in found}
    curves = {name: {**found, **measured.get(name, {})} for name, found in curves.items()}
    return {"machine": here, "beside": kept.get("beside", []), "curves": curves}


def beside(kept: dict[str, Any], here: dict[str, str], curves: dict[str, Any]) -> dict[str, Any]:
    """Return the kept curves with the largest differences to them, those of ``curves`` included."""
    for name, found in kept["curves"].items():
        worst = dict[str, float](found.get("off", {}))
        for line, of_then in zip(curves[name]["log"], found["log"], strict=True):
            for figure, error in off(line, of_then).items():
                if error > worst.get(figure, 0.0):
                    worst[figure] = float(f"{error:.2g}")
        found["off"] = dict(sorted(worst.items()))
    others = [one for one in kept["beside"] if one != here]
    return {**kept, "beside": sorted([*others, here], key=lambda one: sorted(one.items()))}


def write(kept: dict[str, Any]) -> None:
    """Write the file of the kept curves."""
    KEPT.write_text(json.dumps(kept, indent=1, default=str) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
