"""Faults put into commands: a clear word, nothing lost, the same bits afterwards (tests/e2e/campaign)."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from saddlepoint.core import durable
from tests.e2e.campaign import power
from tests.e2e.campaign.cells import CELLS, KINDS, STATES, Cell, inject
from tests.e2e.campaign.place import Place
from tests.e2e.campaign.states import STEPS, State
from tests.e2e.campaign.template import make_template

pytestmark = pytest.mark.skipif(os.name != "posix", reason="faults are put into forked processes")
needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="what a command writes is seen by strace")


@contextlib.contextmanager
def made(folder: Path, *states: str) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SADDLEPOINT_CACHE_DIR", os.environ.get("SADDLEPOINT_CACHE_DIR", ""))  # which the template changes
        patch.setenv("OMP_NUM_THREADS", "1")
        yield make_template(folder, [STATES[name] for name in states], known=300)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with made(tmp_path_factory.mktemp("faults"), "resume", "average") as template:
        yield template


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with made(tmp_path_factory.mktemp("all-faults"), *STATES) as template:
        yield template


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_nothing_is_lost(cell: Cell, templates: Path) -> None:
    if cell.kind == "power lost" and shutil.which("strace") is None:
        pytest.skip("what a command writes is seen by strace")
    if cell.kind in ("disk full", "read-only") and os.geteuid():
        pytest.skip("file systems are mounted by root")
    assert inject(cell.kind, cell.state, 0, templates).problem == ""


@pytest.mark.parametrize("kind", ["killed", "killed while saving", "checkpoint damaged"])
def test_resuming_loses_nothing(kind: str, template: Path) -> None:
    assert inject(kind, "resume", 0, template).problem == ""


@needs_strace
@pytest.mark.parametrize("state", ["resume", "average"])
def test_what_was_saved_outlasts_a_loss_of_power(state: str, template: Path) -> None:
    for seed in range(3):
        assert inject("power lost", state, seed, template).problem == ""


@needs_strace
@pytest.mark.parametrize("state", ["resume", "average"])
def test_names_that_are_not_synced_are_missed(state: str, template: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The campaign can fail: without the syncs of folders, what was said to be saved is gone."""
    real = durable.flush

    def files_only(path: Path) -> None:
        if not path.is_dir():
            real(path)

    monkeypatch.setattr(durable, "flush", files_only)
    monkeypatch.setattr("saddlepoint.core.files.flush", files_only)
    monkeypatch.setattr(power, "RECORDINGS", {})
    monkeypatch.setattr(power, "WAYS", ("nothing",))
    shutil.rmtree(template.parent / "recorded", ignore_errors=True)
    found = [inject("power lost", state, seed, template) for seed in range(4)]
    assert any(fault.lost for fault in found), [fault.problem for fault in found]
    shutil.rmtree(template.parent / "recorded")


@needs_strace
def test_bytes_that_are_not_synced_are_missed(template: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = durable.flush
    monkeypatch.setattr(durable, "flush", lambda path: real(path) if path.is_dir() else None)
    monkeypatch.setattr(power, "RECORDINGS", {})
    monkeypatch.setattr(power, "WAYS", ("names",))
    shutil.rmtree(template.parent / "recorded", ignore_errors=True)
    found = [inject("power lost", "resume", seed, template) for seed in range(4)]
    assert any(fault.lost for fault in found), [fault.problem for fault in found]
    shutil.rmtree(template.parent / "recorded")


def test_a_broken_rule_is_told(template: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault after which checkpoints are gone counts as a loss."""

    def burnt(place: Place, state: State) -> None:
        saved = state.saved(place)
        shutil.rmtree(place.run / "checkpoints")
        state.whole(place, saved)

    monkeypatch.setitem(KINDS, "burnt", burnt)
    fault = inject("burnt", "resume", 0, template)
    assert fault.lost == 1
    assert fault.problem.startswith(f"lost: step {STEPS} had been saved")
