"""Training that begins with another run's weights: they are that run's, what does not fit is named, and it resumes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import saddlepoint
from saddlepoint.core.errors import CheckpointError, ConfigError
from saddlepoint.engine.settings import Observer
from saddlepoint.engine.warm_start import first_layers
from saddlepoint.family import DataSpec, build_family, get_family, get_preset
from saddlepoint.run import api, fine_tuning
from saddlepoint.run.run import Run


def pictures(seed: int, channels: int = 1, rows: int = 64) -> np.ndarray:
    shape = (rows, 16, 16) if channels == 1 else (rows, 16, 16, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Run:
    place = tmp_path_factory.mktemp("begun") / "run"
    return saddlepoint.train("dcgan", pictures(0), steps=6, threads=1, out=place, batch_size=8, lr=1e-3)


def tuned(begun: Run | str, out: Path, data: np.ndarray | None = None, **more: Any) -> tuple[Run, list[str]]:
    said: list[str] = []
    source = begun if isinstance(begun, str) else begun.path
    plan = api.plan(
        "dcgan", pictures(1) if data is None else data, start_from=source, threads=1, out=out, **{"steps": 4, **more}
    )
    run, _ = api.start(plan, Observer(say=said.append))
    return run, [line for line in said if line.startswith("from:")]


def weights(run: Run) -> dict[str, torch.Tensor]:
    return dict(run.family.state_dict())


@pytest.mark.parametrize(("shape", "size"), [((3, 64, 64), 64), ((1, 48, 64), "64x48"), ([1, 64, 48], "48x64")])
def test_a_size_is_a_side_or_width_by_height(shape: Any, size: int | str) -> None:
    """As --size takes it."""
    assert fine_tuning._size(shape) == size


def test_it_begins_with_the_average_and_the_options_of_the_run(begun: Run, tmp_path: Path) -> None:
    # At a rate of nearly 0 nothing moves: what is there at the end is what was there at the beginning.
    run, said = tuned(begun, tmp_path / "run", lr=1e-12, steps=1)
    assert run.config["options"] == begun.config["options"] | {"lr": 1e-12}  # a batch of 8, too
    assert len(said) == 1
    assert "all " in said[0]
    for name, value in weights(begun).items():
        torch.testing.assert_close(weights(run)[name], value, msg=name)
    assert not torch.equal(
        weights(saddlepoint.load(begun.path, averaged=False))["generator.output.weight"],
        weights(begun)["generator.output.weight"],
    )  # so that it was the average
    assert run.config["start_from"] | {"source": "", "sha256": "", "data": ""} == {
        "source": "", "family": "dcgan", "preset": "small", "step": 6, "nimg": 48, "data": "", "sha256": "",
    }  # fmt: skip


def test_what_does_not_fit_is_drawn_anew_and_named(begun: Run, tmp_path: Path) -> None:
    run, said = tuned(begun, tmp_path / "run", pictures(1, channels=3), lr=1e-12, steps=1)
    other = saddlepoint.train(
        "dcgan", pictures(1, channels=3), steps=1, threads=1, out=tmp_path / "alone", batch_size=8, lr=1e-12
    )
    fits = {name for name, value in weights(begun).items() if weights(run)[name].shape == value.shape}
    assert 0 < len(weights(run).keys() - fits) < len(fits)
    for name, value in weights(run).items():
        source = begun if name in fits else other  # what is drawn is what a run of the same seed draws
        torch.testing.assert_close(value, weights(source)[name], msg=name)
    assert "drawn anew" in said[0]
    assert min(weights(run).keys() - fits) in said[0]


def test_it_goes_on_bit_for_bit_without_the_other_run(begun: Run, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(begun.path, source)
    whole, _ = tuned(str(source), tmp_path / "whole", freeze_discriminator=1)
    tuned(str(source), tmp_path / "parts", freeze_discriminator=1, steps=2)
    shutil.rmtree(source)
    part, _ = api.start(api.plan_to_resume(tmp_path / "parts", steps=4, data=pictures(1)))
    for name, value in weights(whole).items():
        assert torch.equal(weights(part)[name], value), name
    assert part.config["start_from"] == whole.config["start_from"]


def test_weights_that_changed_meanwhile_are_no_beginning(begun: Run, tmp_path: Path) -> None:
    source, run = tmp_path / "source", tmp_path / "run"
    shutil.copytree(begun.path, source)
    tuned(str(source), run, steps=2)
    shutil.rmtree(run / "checkpoints")  # as if it had ended before the first one
    api.start(api.plan_to_resume(run, steps=2, data=pictures(1)))
    shutil.rmtree(run / "checkpoints")
    kept = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(kept | {"start_from": kept["start_from"] | {"sha256": "0" * 64}}))
    with pytest.raises(CheckpointError, match="holds other weights than when this run began"):
        api.start(api.plan_to_resume(run, steps=2, data=pictures(1)))
    with pytest.raises(ConfigError, match="weights to begin with"):
        tuned(str(source), run)


def test_frozen_layers_stay_and_all_others_learn(begun: Run, tmp_path: Path) -> None:
    run, _ = tuned(begun, tmp_path / "run", freeze_discriminator=1, steps=3)
    frozen = first_layers(begun.family, 1)
    assert frozen
    moved = {name for name, value in weights(begun).items() if not torch.equal(weights(run)[name], value)}
    learned = {name for name, _ in run.family.named_parameters()}
    assert moved & learned == learned - frozen


def test_an_export_is_a_beginning_too(begun: Run, tmp_path: Path) -> None:
    saddlepoint.export_run(begun.path, "safetensors", out=tmp_path / "export")
    run, said = tuned(str(tmp_path / "export"), tmp_path / "run", lr=1e-12, steps=1)
    assert "all " in said[0]
    assert run.config["start_from"]["sha256"] == tuned(begun, tmp_path / "other")[0].config["start_from"]["sha256"]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("dcgan", ["discriminator.layers.0.weight"]),
        ("r3gan", ["discriminator.input.weight", "discriminator.stages.0.0.first.weight"]),
        ("stylegan", ["discriminator.layers.0.weight"]),
    ],
)
def test_layers_are_counted_as_a_sample_meets_them(name: str, wanted: list[str]) -> None:
    family = build_family(name, get_preset(get_family(name), None)[1], DataSpec("image", (3, 32, 32), rows=10))
    found = first_layers(family, len(wanted))
    assert [one for one in sorted(found) if one.endswith("weight")] == sorted(wanted)
    assert first_layers(family, 0) == frozenset()


@pytest.mark.parametrize(
    ("family", "request_", "words"),
    [
        ("gan", {}, "is a run of 'dcgan', with whose weights no 'gan' can begin"),
        ("dcgan", {"freeze_discriminator": 99}, "layers, of which at least one must learn"),
        ("dcgan", {"width": 24}, "are there of the same name and shape"),
    ],
)
def test_what_cannot_be_is_refused(
    begun: Run, tmp_path: Path, family: str, request_: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        saddlepoint.train(
            family, pictures(1), start_from=begun.path, threads=1, out=tmp_path / "run", steps=1, **request_
        )
    if family == "gan" or "freeze_discriminator" in request_:
        assert not (tmp_path / "run").exists()


def test_frozen_layers_need_a_beginning() -> None:
    with pytest.raises(ConfigError, match="name a run to begin with: --from RUN"):
        api.plan("dcgan", "mnist", freeze_discriminator=1)
