"""Devices by name: which one is taken where the name leaves it open, and which are refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import saddlepoint
from saddlepoint.core.errors import ConfigError
from saddlepoint.engine.machine import runtime
from saddlepoint.engine.machine.runtime import resolve_device, use_device
from saddlepoint.run import launch


@pytest.fixture
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let PyTorch say that there are four GPUs of CUDA."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)


@pytest.mark.usefixtures("four_gpus")
@pytest.mark.parametrize(
    ("name", "index", "wanted"),
    [
        ("auto", None, "cuda"), ("auto", 3, "cuda:3"), ("cuda", None, "cuda"), ("cuda", 2, "cuda:2"),
        ("cuda:1", 2, "cuda:1"), ("cuda:0", 3, "cuda:0"), ("cuda:3", None, "cuda:3"), ("cpu", 2, "cpu"),
    ],
)  # fmt: skip
def test_a_process_takes_the_gpu_of_its_number_unless_one_is_named(name: str, index: int | None, wanted: str) -> None:
    assert str(resolve_device(name, index)) == wanted


@pytest.mark.usefixtures("four_gpus")
@pytest.mark.parametrize(("name", "index"), [("cuda:4", None), ("cuda", 4), ("cpu:1", None)])
def test_a_device_beyond_those_that_are_there_is_refused(name: str, index: int | None) -> None:
    with pytest.raises(ConfigError, match="not present on this machine; use --device cpu or --device auto"):
        resolve_device(name, index)


@pytest.fixture
def rounded() -> Iterator[None]:
    """Let PyTorch round products of fp32, and forget it."""
    places = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [place.allow_tf32 for place in places]
    for place in places:
        place.allow_tf32 = True
    yield
    for place, value in zip(places, before, strict=True):
        place.allow_tf32 = value


@pytest.mark.usefixtures("rounded")
def test_a_gpu_computes_fp32_as_fp32_and_is_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    current: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    use_device(torch.device("cpu"))
    assert torch.backends.cudnn.allow_tf32
    use_device(torch.device("cuda"))
    assert not current
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == (False, False)
    use_device(torch.device("cuda", 2))
    assert current == [torch.device("cuda", 2)]


def test_a_training_prepares_its_device_before_its_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[torch.device] = []
    plain = launch.resolve

    def resolve(*given: Any) -> Any:
        assert prepared == [torch.device("cpu")]
        return plain(*given)

    monkeypatch.setattr(runtime, "use_device", prepared.append)
    monkeypatch.setattr(launch, "resolve", resolve)
    small = {"generator_widths": "8", "discriminator_widths": "8", "batch_size": 16}
    saddlepoint.train("gan", "ring8", steps=1, options=small, threads=1, out=tmp_path / "run")


@pytest.mark.parametrize("name", ["tpu", "meta", "xla"])
def test_an_unknown_device_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown device '{name}'; choose from: auto, cpu, cuda, mps"):
        resolve_device(name)
