"""The tables with which documents begin are what the script makes of the kept figures."""

from __future__ import annotations

import importlib
import json
import re
import statistics
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def summary(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return benchmarks/summary.py."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("summary")


def test_the_committed_tables_are_what_the_script_writes(summary: ModuleType) -> None:
    sections = summary.sections()
    assert {page.name for page, _ in sections} == {"results.md", "reliability.md", "README.md"}
    for (page, name), lines in sections.items():
        found = re.search(rf"<!-- {name}: begin -->\n(.*?)\n<!-- {name}: end -->", page.read_text(), re.DOTALL)
        assert found, f"{page.name} has no section '{name}'"
        assert found[1].splitlines() == lines, f"{page.name}: run python benchmarks/summary.py write"


def test_a_row_is_the_mean_of_its_kept_seeds(summary: ModuleType) -> None:
    kept = [ROOT / f"benchmarks/figures/2015/dcgan-fashion-mnist-20m-seed{seed}.json" for seed in range(3)]
    read = [json.loads(path.read_text())["figures"] for path in kept]
    values = [figures["model"]["Fréchet distance, bias removed"]["value"] for figures in read]
    (row,) = (row for row in summary.results() if row.data == "Fashion-MNIST")
    half = 4.302653 * statistics.stdev(values) / 3**0.5  # Student's 97.5% of two degrees of freedom
    mean = statistics.mean(values)
    assert row.figure == f"**{mean:.1f}** [{mean - half:.1f}, {mean + half:.1f}], 3 seeds"
    floor = read[0]["held-out images"]["Fréchet distance, bias removed"]["value"]
    assert row.floor == f"held-out images {floor:.3f}"
    assert row.time == "20 min (1)"


def test_a_row_of_one_seed_has_the_interval_of_its_protocol(summary: ModuleType) -> None:
    path = ROOT / "benchmarks/figures/2018/stargan-mnist-domains-20m-seed0.json"
    figure = json.loads(path.read_text())["figures"]["model"]["content kept"]
    low, high = figure["interval"]
    (row,) = (row for row in summary.results() if row.data == "mnist-domains")
    assert row.figure == f"**{figure['value']:.4f}** [{low:.4f}, {high:.4f}], 1 seed"
