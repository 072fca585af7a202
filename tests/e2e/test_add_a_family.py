"""docs/add-a-family.md is true: its block, saved as one file, is a family."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from saddlepoint import api, cli, family
from tests.contract import test_every_family as contract

PAGE = Path(__file__).parents[2] / "docs" / "add-a-family.md"
NAME, PRESET = "least-squares", "points"


@pytest.fixture
def registered(tmp_path: Path) -> Iterator[None]:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    path = tmp_path / "least_squares.py"
    path.write_text(block)
    spec = importlib.util.spec_from_file_location("least_squares", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["least_squares"] = module
    try:
        spec.loader.exec_module(module)
        yield
    finally:
        del sys.modules["least_squares"]
        family._REGISTRY.pop(NAME, None)


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
    contract.test_short_training_beats_the_untrained_model(NAME, tmp_path / "short")


@pytest.mark.usefixtures("registered")
def test_the_command_knows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    words = ["train", NAME, "--data", "ring8", "--steps", "20", "--width", "16", "--threads", "1", "--out", str(folder)]
    monkeypatch.setattr(sys, "argv", ["saddle", *words])
    with pytest.raises(SystemExit) as leaving:
        cli.main()
    assert leaving.value.code == 0
    capfd.readouterr()
    assert api.load(folder).sample(10, seed=1).shape == (10, 2)
    monkeypatch.setattr(sys, "argv", ["saddle", "train", NAME, "--widht", "16"])
    with pytest.raises(SystemExit):
        cli.main()
    assert "did you mean 'width'?" in capfd.readouterr().err
