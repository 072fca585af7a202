"""The trackers themselves, offline: what was sent is read back from event files, a SQLite store, a file of records.

Each test needs its package: ``pip install 'saddlepoint[tensorboard]'`` and so on. MLflow (3.17) asks for an older
pyarrow than constraints.txt has, so that it is tested in an environment of its own.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import saddlepoint
from saddlepoint.core.errors import ConfigError
from saddlepoint.run.trackers.opening import opened
from saddlepoint.run.trackers.tracker import Destination

SMALL: dict[str, Any] = {
    "generator_widths": (16,), "discriminator_widths": (8,), "batch_size": 16, "threads": 1, "precision": "fp32",
}  # fmt: skip
STEPS, MORE = 6, 12


def twice(folder: Path, tracker: str) -> list[dict[str, Any]]:
    """Train, go on without a word of the tracker, and return the log."""
    saddlepoint.train("gan", "ring8", steps=STEPS, out=folder, log_to=tracker, **SMALL)
    return saddlepoint.resume(folder, steps=MORE).log


@pytest.mark.filterwarnings("ignore")
def test_tensorboard_reads_one_curve(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = twice(tmp_path / "run", "tensorboard")
    found = EventAccumulator(str(tmp_path / "run" / "tensorboard"), size_guidance={"scalars": 0, "images": 0})
    found.Reload()
    points = [(point.step, point.value) for point in found.Scalars("D_G_z")]
    assert [step for step, _ in points] == [line["step"] for line in log]
    assert all(math.isclose(value, line["D(G(z))"], rel_tol=1e-6) for (_, value), line in zip(points, log, strict=True))
    assert [picture.step for picture in found.Images("samples")] == [*range(11), 12]
    assert "settings/text_summary" in found.Tags()["tensors"]


@pytest.mark.filterwarnings("ignore")
def test_tensorboard_takes_back_what_is_made_again(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracker = opened("tensorboard", Destination(tmp_path))
    for step in (1, 2, 3):
        tracker.numbers(step, {"V": 1.0})
    tracker.take_back(1)
    tracker.numbers(2, {"V": 2.0})
    tracker.close("interrupted")
    tracker = opened("tensorboard", Destination(tmp_path, tracker.identity, 2))
    tracker.numbers(3, {"V": 3.0})
    tracker.close("finished")
    figures = opened("tensorboard", Destination(tmp_path, tracker.identity))  # of a report: nothing is made again
    figures.numbers(3, {"fd": 4.0})
    figures.close("finished")
    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert [(point.step, point.value) for point in found.Scalars("V")] == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert [point.step for point in found.Scalars("fd")] == [3]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_wandb_keeps_one_run_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    log = twice(tmp_path / "run", "wandb")
    files = sorted((tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len({file.name for file in files}) == 1, "one run"
    rows = [row for file in files for row in records(file) if row.get("type") == "history"]
    items = [row["history"]["item"] for row in rows]
    assert [(item["step"], item["V"]) for item in items if "V" in item] == [(line["step"], line["V"]) for line in log]
    numbers = [item["_step"] for item in items]
    assert numbers == sorted(set(numbers)), "no row has the number of another, which would be dropped"
    assert sum("samples.path" in item for item in items) == 12


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_wandb_asks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    wandb.teardown()
    monkeypatch.setattr(wandb.util, "prompt_choices", lambda *asked, **more: pytest.fail("a thread asked something"))
    with pytest.raises(ConfigError, match="nobody is logged in: wandb login, or WANDB_MODE=offline"):
        opened("wandb", Destination(tmp_path))
    wandb.teardown()


def records(path: Path) -> list[dict[str, Any]]:
    command = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_mlflow_keeps_one_run_in_sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)
    log = twice(tmp_path / "run", "mlflow")
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("saddlepoint").experiment_id])
    history = client.get_metric_history(run.info.run_id, "D_G_z")
    assert [(point.step, point.value) for point in history] == [(line["step"], line["D(G(z))"]) for line in log]
    assert run.data.params["options/generator_widths"] == "16"
    assert run.data.params["settings/steps"] == str(STEPS), "as it began: another value would be refused"
    assert run.info.status == "FINISHED"
    assert len(client.list_artifacts(run.info.run_id, "samples")) == 12
