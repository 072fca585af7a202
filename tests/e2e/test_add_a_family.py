"""docs/add-a-family.md is true: its block, saved as a file outside the package, is a family to every command."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import saddlepoint
from saddlepoint.family import registry
from tests.cli.test_cli import Command, saddle
from tests.contract import test_every_family as contract

__all__ = ["saddle"]

PAGE = Path(__file__).parents[2] / "docs" / "add-a-family.md"
NAME, PRESET = "least-squares", "points"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    path = tmp_path / "elsewhere" / "my_family.py"
    path.parent.mkdir()
    path.write_text(block)
    return path


@pytest.fixture
def registered(file: Path, families_of_own: Callable[[], None]) -> None:
    assert registry.import_families(file) == [NAME]


@pytest.mark.usefixtures("registered")
def test_the_block_passes_the_contract(tmp_path: Path) -> None:
    contract.test_configuration_survives_json(NAME, PRESET)
    contract.test_unknown_option_is_refused_with_a_suggestion(NAME)
    contract.test_every_field_says_what_it_means(NAME)
    contract.test_samples_have_shape_range_and_a_seed(NAME, PRESET)
    contract.test_loss_is_finite_per_sample(NAME, PRESET)
    contract.test_each_phase_moves_what_it_trains_and_nothing_else(NAME, PRESET)
    contract.test_resumed_training_equals_straight_training(NAME, PRESET, tmp_path / "resume")
    contract.test_state_is_complete(NAME, PRESET, tmp_path / "state")
    contract.test_training_does_not_touch_global_randomness(NAME, PRESET, tmp_path / "random")
    contract.test_average_follows_its_closed_form(NAME, tmp_path / "average")
    contract.short_training_beats_the_untrained_model(NAME, tmp_path / "short", 1000)


class Shell:
    """Calls the command as a process would that knows no family of another one.

    Args:
        saddle: calls the command in this process.
        forget: forgets families that came from elsewhere.
    """

    def __init__(self, saddle: Command, forget: Callable[[], None]) -> None:
        self.saddle, self.forget = saddle, forget

    def __call__(self, *words: Any) -> tuple[int, str, str]:
        self.forget()
        try:
            return self.saddle(*map(str, words))
        finally:
            self.forget()

    def done(self, *words: Any) -> str:
        """Return what a command that succeeds says."""
        code, out, err = self(*words)
        assert code == 0, err or out
        return out


@pytest.fixture
def shell(saddle: Command, families_of_own: Callable[[], None]) -> Shell:
    return Shell(saddle, families_of_own)


@pytest.fixture
def trained(shell: Shell, file: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    words = ["--data", "ring8", "--steps", "20", "--width", "16", "--threads", "1", "--out", folder]
    assert f"run:      {folder}" in shell.done("train", NAME, "--import", file, *words)
    return folder


def test_every_command_knows_it(
    trained: Path, shell: Shell, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = ["--import", file]
    assert "least-squares GAN for points" in shell.done("families", *own)
    assert "--width" in shell.done(*own, "families", NAME)
    assert '"family": "least-squares"' in shell.done(*own, "train", NAME, "--data", "ring8", "--dry-run")
    assert "minibatches of 64" in shell.done("data", "inspect", "ring8", "--family", NAME, f"--import={file}")
    shell.done("train", "--resume", trained, "--steps", "30", *own)
    assert Path(shell.done("sample", trained, "-n", "20", *own).strip()).exists()
    shell.done("sample", trained, "-n", "20", "--out", tmp_path / "samples.npz", *own)
    shell.done("evaluate", trained, "--protocol", "modes", "--quiet", *own)
    assert "modes" in shell.done("compare", trained, trained, *own)
    assert Path(shell.done("explore", trained, "--out", tmp_path / "place.png", *own).strip()).exists()
    export = shell.done("export", trained, "--format", "hub", "--out", tmp_path / "export", "--quiet", *own).strip()
    assert "least-squares GAN for points" in (Path(export) / "README.md").read_text()
    assert str(tmp_path) not in (Path(export) / "config.json").read_text()
    shell.done("sample", export, "-n", "4", "--out", tmp_path / "four.npz", *own)
    served = list[Any]()
    monkeypatch.setattr(
        "saddlepoint.serve.api.timeouts.make_server",
        lambda *args, **more: type("Server", (), {"run": lambda self, sockets: served.append(args)})(),
    )
    assert "serving:" in shell.done("serve", trained, "--port", "0", *own)
    assert len(served) == 1


def test_without_it_every_command_says_what_to_pass(trained: Path, shell: Shell, file: Path, tmp_path: Path) -> None:
    for words in (
        ["sample", trained], ["evaluate", trained], ["train", "--resume", trained, "--steps", "30"],
        ["explore", trained], ["export", trained, "--format", "safetensors", "--out", tmp_path / "export"],
        ["serve", trained, "--port", "0"],
    ):  # fmt: skip
        code, _, err = shell(*words)
        assert (code, err.count("\n")) == (2, 1)
        assert f"pass --import {file}" in err


def test_its_options_are_checked_and_the_file_too(shell: Shell, file: Path) -> None:
    code, _, err = shell("train", NAME, "--import", file, "--widht", "16")
    assert code == 2
    assert "did you mean '--width'?" in err
    code, _, err = shell("train", NAME, "--import", file.with_name("gone.py"))
    assert (code, "there is no file" in err) == (2, True)
    code, _, err = shell("train", NAME, "--import")
    assert (code, "--import needs a Python file" in err) == (2, True)
    code, _, err = shell("train", NAME)
    assert (code, "needs --import FILE.py" in err) == (2, True)


def test_processes_started_from_here_know_it(trained: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What the studio and torchrun do: the option of the parent is in the environment of the child.
    monkeypatch.chdir(file.parent)
    registry.remember("my_family.py")
    code = (
        "import saddlepoint, json, sys; run = saddlepoint.load(sys.argv[1]); "
        "print(json.dumps([run.step, list(run.sample(3).shape)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(trained)], capture_output=True, text=True, check=False, env=dict(os.environ),
        cwd=trained,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [20, [3, 2]]


@pytest.mark.usefixtures("registered")
def test_in_python_it_is_one_like_the_others(tmp_path: Path) -> None:
    run = saddlepoint.train(NAME, "ring8", steps=4, options={"width": 16}, threads=1, out=tmp_path / "run")
    again = saddlepoint.plan(NAME, "ring8", steps=4, width=16)  # type: ignore[call-arg]
    assert again.options == run.family.config
