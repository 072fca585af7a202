"""Faults put into commands: a clear word, nothing lost, the same bits afterwards (tests/e2e/campaign)."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.campaign import power
from tests.e2e.campaign.cells import CELLS, KINDS, STATES, Cell, inject
from tests.e2e.campaign.place import Place
from tests.e2e.campaign.states import KNOWN, STEPS, State
from tests.e2e.campaign.template import make_template

pytestmark = pytest.mark.skipif(os.name != "posix", reason="faults are put into forked processes")
needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="what a command writes is seen by strace")


@contextlib.contextmanager
def made(folder: Path, *states: str, known: int = KNOWN) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SADDLEPOINT_CACHE_DIR", os.environ.get("SADDLEPOINT_CACHE_DIR", ""))  # which the template changes
        patch.setenv("OMP_NUM_THREADS", "1")
        yield make_template(folder, [STATES[name] for name in states], known=known)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with made(tmp_path_factory.mktemp("faults"), "resume", known=170) as template:
        yield template


@pytest.fixture(scope="module")
def averages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with made(tmp_path_factory.mktemp("averages"), "average") as template:
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


@pytest.mark.parametrize("kind", ["killed", "checkpoint damaged"])
def test_resuming_loses_nothing(kind: str, template: Path) -> None:
    assert inject(kind, "resume", 0, template).problem == ""


@needs_strace
def test_what_was_saved_outlasts_a_loss_of_power(template: Path) -> None:
    for seed in range(3):
        assert inject("power lost", "resume", seed, template).problem == ""


def files_only(path: Path) -> None:
    if not path.is_dir():
        os.fsync(os.open(path, os.O_RDONLY))


def folders_only(path: Path) -> None:
    if path.is_dir():
        os.fsync(os.open(path, os.O_RDONLY))


@needs_strace
@pytest.mark.parametrize(
    ("state", "synced", "way"),
    [
        ("resume", files_only, "nothing"),
        pytest.param("resume", folders_only, "names", marks=pytest.mark.slow),
        pytest.param("average", files_only, "nothing", marks=pytest.mark.slow),
    ],
)
def test_what_is_not_synced_is_missed(
    state: str,
    synced: Callable[[Path], None],
    way: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The campaign can fail: without the syncs of folders, or of files, what was said to be saved is gone."""
    template = request.getfixturevalue("template" if state == "resume" else "averages")
    for module in ("core.durable", "core.files", "engine.run_writer", "engine.storage.folder"):
        monkeypatch.setattr(f"saddlepoint.{module}.flush", synced)
    monkeypatch.setattr(power, "RECORDINGS", {})
    monkeypatch.setattr(power, "WAYS", (way,))
    recorded = template.parent / "recorded"
    shutil.rmtree(recorded, ignore_errors=True)
    found = [inject("power lost", state, seed, template) for seed in range(4)]
    shutil.rmtree(recorded)
    assert any(fault.lost for fault in found), [fault.problem for fault in found]


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
