"""The server against its own OpenAPI: schemathesis looks for answers that the description does not have."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import saddlepoint

pytestmark = pytest.mark.slow
EXAMPLES = 50


def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    options = {"generator_widths": "16", "discriminator_widths": "8", "batch_size": 16}
    saddlepoint.train("cgan", data="digits", steps=3, options=options, threads=1, out=tmp_path / "run")
    words = [sys.executable, "-m", "saddlepoint", "serve", str(tmp_path / "run"), "--port", "0", "--threads", "1"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            found = re.search(r"http://\S+:\d+", server.stdout.readline())
            assert found is not None
            fuzz = [sys.executable, "-m", "schemathesis.cli", "run", f"{found[0]}/openapi.json", "--seed", "1"]
            fuzz += ["--max-examples", str(EXAMPLES), "--request-timeout", "30"]
            done = subprocess.run(fuzz, capture_output=True, text=True, timeout=1500, check=False, cwd=tmp_path)
            assert done.returncode == 0, done.stdout[-5000:]
        finally:
            server.terminate()
            server.wait(30)
