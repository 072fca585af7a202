"""The library in Python: train, resume, load, sample."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import saddlepoint
from saddlepoint.core.errors import CheckpointError, ConfigError, DataError
from saddlepoint.core.times import parse_budget
from saddlepoint.engine.storage.checkpoint import list_checkpoints
from saddlepoint.families.gan import GAN
from saddlepoint.run import api
from saddlepoint.run.request import TrainRequest

SMALL = {"generator_widths": "16", "discriminator_widths": (8,), "batch_size": 16}


@pytest.fixture
def run(tmp_path: Path) -> saddlepoint.Run:
    return saddlepoint.train("gan", data="ring8", steps=20, options=SMALL, threads=1, out=tmp_path / "run")


def test_import_is_light_and_names_are_there() -> None:
    code = "import sys, saddlepoint; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    for name in saddlepoint.__all__:
        assert getattr(saddlepoint, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        saddlepoint.trian  # noqa: B018


@pytest.mark.parametrize(
    ("asked", "limits"),
    [
        ({}, (parse_budget(GAN.tags.budget), None, None)), ({"budget": "7m"}, (420.0, None, None)),
        ({"steps": 9}, (None, 9, None)), ({"kimg": 2.5}, (None, None, 2.5)),
        ({"budget": "7m", "steps": 9, "kimg": 2.5}, (420.0, 9, 2.5)),
    ],
)  # fmt: skip
def test_the_budget_of_a_family_holds_where_no_limit_is_asked_for(asked: dict[str, Any], limits: tuple) -> None:
    found = api._settings(GAN, "mnist", TrainRequest(**asked))
    assert (found.seconds, found.steps, found.kimg) == limits
    assert (found.remedy, api._settings(GAN, "mnist-2014", TrainRequest()).remedy) == ("auto", "off")


def test_the_ith_sample_depends_on_seed_and_i_only(run: saddlepoint.Run) -> None:
    few, many = run.sample(10, seed=3), run.sample(600, seed=3)
    assert torch.equal(few, run.sample(10, seed=3))
    assert torch.equal(run.inputs(600, seed=3)[:10], run.inputs(10, seed=3))
    torch.testing.assert_close(many[:10], few, rtol=1e-5, atol=1e-6)
    assert len(many.unique(dim=0)) == 600
    assert not torch.equal(few, run.sample(10, seed=4))
    with pytest.raises(ConfigError, match="at least 1"):
        run.sample(0)


def test_resumed_in_python_equals_straight(run: saddlepoint.Run, tmp_path: Path) -> None:
    straight = saddlepoint.train("gan", data="ring8", steps=30, options=SMALL, threads=1, out=tmp_path / "straight")
    resumed = saddlepoint.resume(run.path, steps=30)
    assert resumed.step == straight.step == 30
    assert torch.equal(resumed.sample(50), straight.sample(50))
    assert not torch.equal(resumed.sample(50), run.sample(50))


def test_averaged_and_raw_weights_differ(run: saddlepoint.Run) -> None:
    raw = saddlepoint.load(run.path, averaged=False)
    assert not raw.averaged
    assert not torch.equal(raw.sample(5), run.sample(5))


def test_a_moved_run_folder_still_loads(run: saddlepoint.Run, tmp_path: Path) -> None:
    shutil.move(run.path, tmp_path / "elsewhere")
    assert torch.equal(saddlepoint.load(tmp_path / "elsewhere").sample(5), run.sample(5))


def test_damaged_runs_are_refused_in_words(run: saddlepoint.Run) -> None:
    for text, message in (("{", "cannot be read"), ("[]", "holds no configuration"), ("{}", "damaged: 'family'")):
        (run.path / "config.json").write_text(text)
        with pytest.raises(CheckpointError, match=message):
            saddlepoint.load(run.path)


def test_limits_of_a_resumed_run_are_checked(run: saddlepoint.Run) -> None:
    with pytest.raises(ConfigError, match="steps is -4, but it must be positive"):
        api.plan_to_resume(run.path, steps=-4)


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("keep", 0, ConfigError, "keep is 0, but it must be positive"),
        ("kimg", "20", CheckpointError, "is damaged"),
        ("sed", 1, CheckpointError, "is damaged: .*'sed'"),
    ],
)
def test_damaged_settings_are_refused_in_words(
    run: saddlepoint.Run, name: str, value: object, error: type[Exception], message: str
) -> None:
    path = run.path / "config.json"
    config = json.loads(path.read_text())
    config["settings"][name] = value
    path.write_text(json.dumps(config))
    with pytest.raises(error, match=message):
        api.plan_to_resume(run.path)


def test_weights_of_other_networks_are_refused(run: saddlepoint.Run) -> None:
    path = run.path / "config.json"
    config = json.loads(path.read_text())
    config["options"]["generator_widths"] = [17]
    path.write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="belongs to other networks"):
        saddlepoint.load(run.path)


def test_a_run_without_a_whole_checkpoint_says_what_is_wrong(run: saddlepoint.Run) -> None:
    for checkpoint in list_checkpoints(run.path / "checkpoints"):
        (checkpoint / "model.safetensors").write_bytes(b"no")
    with pytest.raises(CheckpointError, match=r"no whole checkpoint .*is damaged"):
        saddlepoint.load(run.path)
    shutil.rmtree(run.path / "checkpoints")
    with pytest.raises(CheckpointError, match="train it first"):
        saddlepoint.load(run.path)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("3m", 180), ("1.5h", 5400), ("1d", 86400), (45, 45), (" 2 m ", 120)]
)
def test_times(text: str | float, seconds: float) -> None:
    assert api.parse_time("budget", text) == seconds


def test_vectors_cannot_be_measured_by_parzen(run: saddlepoint.Run) -> None:
    with pytest.raises(ConfigError, match="measures image data"):
        run.evaluate(["parzen"])


def test_changed_data_is_noticed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", rng.normal(size=(200, 2)).astype(np.float32))
    run = saddlepoint.train(
        "gan", data=str(tmp_path / "x.npy"), steps=2, options=SMALL, threads=1, out=tmp_path / "run"
    )
    assert run.dataset().spec.shape == (2,)
    np.save(tmp_path / "x.npy", rng.normal(size=(200, 2)).astype(np.float32))
    with pytest.raises(DataError, match="has changed since the run was trained"):
        run.dataset()
    with pytest.raises(DataError, match=r"was trained on other data than '.*x\.npy' holds: \d+ .* then"):
        saddlepoint.resume(run.path, steps=4)


def test_data_on_a_relative_path_is_found_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32))
    monkeypatch.chdir(tmp_path)
    run = saddlepoint.train("gan", data="x.npy", steps=2, options=SMALL, threads=1, out="run")
    path = run.path.resolve()
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert saddlepoint.load(path).dataset().spec.rows > 100


def test_a_folder_called_like_a_data_set_does_not_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ring8").mkdir()
    run = saddlepoint.train("gan", data="ring8", steps=2, options=SMALL, threads=1, out="run")
    assert run.config["data"]["source"] == "ring8"
    assert run.dataset().name == "ring8"


def test_a_foreign_folder_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["Other"]}')
    with pytest.raises(ConfigError, match="none of saddlepoint's"):
        saddlepoint.train("gan", data="ring8", steps=2, options=SMALL, threads=1, out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_a_folder_with_files_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text("mine")
    with pytest.raises(ConfigError, match=r"no run folder .* holds log.jsonl.*choose another --out"):
        saddlepoint.train("gan", data="ring8", steps=2, options=SMALL, threads=1, out=tmp_path)
    assert (tmp_path / "log.jsonl").read_text() == "mine"
