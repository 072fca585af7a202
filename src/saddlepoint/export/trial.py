"""Exported files in the runtime that they are written for, before anyone gets them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.progress import Say
from saddlepoint.export.forms import Target
from saddlepoint.export.parity import VISIBLE
from saddlepoint.export.sampler.runtimes import version

_SECONDS = 900
_SAID = re.compile(r"^\w+: (\S+) from PyTorch", re.MULTILINE)


def tried(folder: Path, name: str, target: Target, say: Say) -> dict[str, Any]:
    """Let the folder's own program compare its files with PyTorch; return what ``model.json`` says of it.

    In a process of its own: some runtimes end it over a graph that they do not know.

    Args:
        folder: a whole export.
        name, target: what it is for.
        say: receives one line.

    Raises:
        ConfigError: if the runtime is here and does not make PyTorch's samples.
    """
    if not target.checked:
        say(f"{name}: {target.note or 'the files are those of onnxruntime'}")
        return {"tried": None}
    if version(target.runtime) is None:
        say(f"{name}: it is not installed here, so the files were tried in onnxruntime only")
        return {"tried": None}
    called = f"{target.runtime} {version(target.runtime)}"
    code, largest, words = _checked(folder)
    if code or largest is None:
        raise ConfigError(f"{called} does not make this generator's samples, so nothing was exported: {words}")
    say(f"{name}: at most {largest:.1e} from PyTorch in {called}")
    told = {"tried": {"in": called, "largest": largest}}
    if name != "openvino":
        return told
    _, coarse, _ = _checked(folder, "--precision", "default")
    if coarse is not None and coarse < VISIBLE:
        say(f"{name}: its default precision is harmless, at most {coarse:.1e} away")
        return {**told, "precision": "default"}
    far = "fails" if coarse is None else f"is {coarse:.1g} away"
    say(f"{name}: its default precision {far}, so sample.py asks for 32 bits")
    return told


def _checked(folder: Path, *words: str) -> tuple[int, float | None, str]:
    """Return the exit code of ``sample.py --check``, the largest distance that it tells, and the reason it gives."""
    command = [sys.executable, str(folder / "sample.py"), "--check", *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return 1, None, f"it takes more than {_SECONDS} seconds"
    found = [float(gap) for gap in _SAID.findall(done.stdout)]
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    ended = f"its process ends (exit code {done.returncode})"
    # The program tells whole paths, of a folder that is not there yet for whoever reads it.
    reason = lines[-1].removeprefix("error: ").replace(f"{folder.resolve()}/", "") if lines else ended
    return done.returncode, max(found, default=None), reason
