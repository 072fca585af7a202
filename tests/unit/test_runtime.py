"""Devices by name: which one is taken where the name leaves it open, and which are refused."""

from __future__ import annotations

import pytest
import torch

from saddlepoint.core.errors import ConfigError
from saddlepoint.engine.machine.runtime import resolve_device


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


@pytest.mark.parametrize("name", ["gpu", "meta", "xla"])
def test_an_unknown_device_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown device '{name}'; choose from: auto, cpu, cuda, mps"):
        resolve_device(name)
