"""The tables of the documents are what the scripts make of the kept figures."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


SCRIPTS = (
    "averages", "coverage", "faults", "fuzz", "hostile", "ladder", "mutation_tables", "quality", "remedies",
    "results_2015", "results_2018", "results_2020", "results_gan", "results_series", "scaling", "server_faults",
    "server_schema", "serving", "soak", "speed", "studio", "threads",
)  # fmt: skip


def section(page: Path, name: str) -> list[str]:
    """Return the lines between two marks of a page."""
    found = re.search(rf"<!-- {name}: begin -->\n(.*?)\n<!-- {name}: end -->", page.read_text(), re.DOTALL)
    assert found, f"{page.name} has no section '{name}'"
    return found[1].splitlines()


Loaded = Callable[[str], Any]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Loaded:
    """Return what loads a script, under a name of its own: one is called as the package coverage is."""
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    # Scripts set it for themselves.
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))

    def loaded(name: str) -> Any:
        spec = importlib.util.spec_from_file_location(f"script_{name}", ROOT / "benchmarks" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        script = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, script)
        spec.loader.exec_module(script)
        return script

    return loaded


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_section_is_what_its_script_writes(name: str, load: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    script, written = load(name), list[str]()

    def compare(page: Path, mark: str, lines: list[str]) -> None:
        assert section(page, mark) == "\n".join(lines).splitlines(), f"run python benchmarks/{name}.py write"
        written.append(mark)

    monkeypatch.setattr(script, "write_section", compare)
    monkeypatch.setattr(script, "draw_curves", lambda found: None, raising=False)
    script.write()
    assert written


@pytest.fixture
def summary(load: Loaded) -> Any:
    """Return benchmarks/summary.py."""
    return load("summary")


def test_the_committed_tables_are_what_the_script_writes(summary: Any) -> None:
    sections = summary.sections()
    assert {page.name for page, _ in sections} == {"results.md", "reliability.md", "README.md"}
    for (page, name), lines in sections.items():
        assert section(page, name) == lines, f"{page.name}: run python benchmarks/summary.py write"


def test_a_row_is_the_mean_of_its_kept_seeds(summary: Any) -> None:
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


def test_a_row_of_one_seed_has_the_interval_of_its_protocol(summary: Any) -> None:
    path = ROOT / "benchmarks/figures/2018/stargan-mnist-domains-20m-seed0.json"
    figure = json.loads(path.read_text())["figures"]["model"]["content kept"]
    low, high = figure["interval"]
    (row,) = (row for row in summary.results() if row.data == "mnist-domains")
    assert row.figure == f"**{figure['value']:.4f}** [{low:.4f}, {high:.4f}], 1 seed"
