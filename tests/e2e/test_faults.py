"""Faults put into training, saving, evaluating and sampling: a clear word, nothing lost, training goes on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.campaign import KINDS, inject, make_template


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("faults")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SADDLEPOINT_CACHE_DIR", str(folder / "cache"))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield make_template(folder)


@pytest.mark.skipif(os.name != "posix", reason="faults are put into forked processes")
@pytest.mark.parametrize("kind", [pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS])
def test_nothing_is_lost(kind: str, template: Path) -> None:
    for seed in range(2):
        assert inject(kind, seed, template).problem == ""


def test_a_broken_rule_is_told(template: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The campaign can fail: a fault after which checkpoints are gone counts as a loss."""

    def burn(place: object) -> None:
        import shutil

        seen = max(place.whole())  # type: ignore[attr-defined]
        shutil.rmtree(place.run / "checkpoints")  # type: ignore[attr-defined]
        place.goes_on(seen)  # type: ignore[attr-defined]

    monkeypatch.setitem(KINDS, "burnt", (burn, 1))
    fault = inject("burnt", 0, template)
    assert fault.lost == 1
    assert fault.problem.startswith("lost: step 60 had been saved")
