"""Shared by all tests: one thread, a cache and a run folder of their own, no network."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import saddlepoint.families  # noqa: F401 - the built-in ones are known before any other
from saddlepoint.family import registry
from tests.contract.devices import VARIABLE, device_of_tests

torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked ``gpu`` where there is neither CUDA nor MPS, and no other device is named for a dry run."""
    if device_of_tests() is None:
        skip = pytest.mark.skip(reason=f"no CUDA, no MPS; {VARIABLE}=cpu tries the tests themselves")
        for item in items:
            if "gpu" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(autouse=True)
def _isolated(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep caches out of the user's home and the hub out of the tests."""
    monkeypatch.setenv("SADDLEPOINT_CACHE_DIR", str(_cache(tmp_path_factory)))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    _share_torchlib()


def _cache(factory: pytest.TempPathFactory) -> Path:
    path = factory.getbasetemp() / "cache"
    if not path.exists():
        path.mkdir()
        if "PYTEST_XDIST_WORKER" in os.environ:
            # Kernels take 16 s to compile: what one worker has compiled, the others load.
            kernels = factory.getbasetemp().parent / "kernels"
            kernels.mkdir(mode=0o700, exist_ok=True)
            (path / "kernels").symlink_to(kernels)
    return path


def _share_torchlib() -> None:
    """Let exports share PyTorch's table of ONNX functions, which it reads from source for every graph: .4 s each."""
    module = sys.modules.get("torch.onnx._internal.exporter._registration")
    table = getattr(module, "ONNXRegistry", None)
    if table is not None and not hasattr(table.from_torchlib, "cache_info"):
        table.from_torchlib = staticmethod(functools.cache(table.from_torchlib))


@pytest.fixture
def families_of_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Forget families that a test brings, also inside it, by calling what this returns."""
    known, paths, modules = dict(registry._REGISTRY), list(sys.path), set(sys.modules)
    monkeypatch.delenv(registry.VARIABLE, raising=False)

    def forget() -> None:
        brought = {kind.__module__ for name, kind in registry._REGISTRY.items() if name not in known}
        registry._REGISTRY.clear()
        registry._REGISTRY.update(known)
        registry._IMPORTED.clear()
        os.environ.pop(registry.VARIABLE, None)
        sys.path[:] = paths
        for name in brought - modules:
            sys.modules.pop(name, None)

    yield forget
    forget()
