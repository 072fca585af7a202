"""Types of the keyword arguments: as the code has them, and a type checker that sees mistakes."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from tests import make_requests

ROOT = Path(__file__).parents[2]

CALLS = """
import saddlepoint
class Mine(saddlepoint.Callback):
    def on_step(self, progress: object) -> None: ...
saddlepoint.train(budget="3m", lr=0.1)
saddlepoint.train("dcgan", "./photos", lr=1e-4, size=64, batch_size=16, callbacks=[Mine()], progress=True)
saddlepoint.train("timegan", "prices.csv", time_column="day", options={"lr": 0.1})
saddlepoint.train("gan", objective="hinge", generator_widths=[64, 64])
saddlepoint.train("least-squares", "ring8", steps=3, options={"width": 32})
saddlepoint.resume("runs/mine", budget="1h", progress=False)
saddlepoint.train("dcgan", lrr=0.1)
saddlepoint.train("dcgan", lr="fast")
saddlepoint.train("gan", objective="hing")
saddlepoint.train("gan", budget=[3])
saddlepoint.train("timegan", cutout=True)
saddlepoint.resume("runs/mine", bugdet="1h")
"""
GOOD, BAD = range(4, 10), range(10, 16)


def test_the_file_is_what_the_code_says() -> None:
    text = make_requests.FILE.read_text()
    made = ast.dump(ast.parse(make_requests.text()))
    assert ast.dump(ast.parse(text)) == made, "run: python tests/make_requests.py"


def test_a_type_checker_sees_wrong_arguments(tmp_path: Path) -> None:
    path = tmp_path / "calls.py"
    path.write_text(CALLS.lstrip())
    lines = CALLS.lstrip().splitlines()
    package = ROOT / "src" / "saddlepoint"
    # The files that hold the types alone: without PyTorch this takes a second.
    files = [
        package / "__init__.py",
        package / "run" / "requests.pyi",
        package / "data" / "options.py",
        package / "run" / "callbacks.py",
    ]
    words = [
        "--follow-imports=skip",
        "--ignore-missing-imports",
        "--no-incremental",
        "--cache-dir",
        str(tmp_path / "kept"),
    ]
    found = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file=", *words, *map(str, files), str(path)],
        capture_output=True, text=True, check=False, cwd=tmp_path, env={"MYPYPATH": str(ROOT / "src"), "PATH": ""},
    )  # fmt: skip
    wrong = {
        int(line.split(":")[1]) for line in found.stdout.splitlines() if line.startswith("calls.py") and "error" in line
    }
    assert wrong == {number for number, line in enumerate(lines, 1) if number in BAD}, sorted(wrong)
    assert all(lines[number - 1].startswith("saddlepoint.") for number in (*GOOD, *BAD))
