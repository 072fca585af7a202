"""Shared by all tests: one thread, a cache and a run folder of their own, no network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _isolated(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep caches out of the user's home and the hub out of the tests."""
    monkeypatch.setenv("SADDLEPOINT_CACHE_DIR", str(_cache(tmp_path_factory)))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def _cache(factory: pytest.TempPathFactory) -> Path:
    path = factory.getbasetemp() / "cache"
    path.mkdir(exist_ok=True)
    return path
