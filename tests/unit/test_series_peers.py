"""Peers of time series: drawn on where it was, measured as `saddle evaluate --samples` does, tables over seeds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.unit.scripts import scripts_of

ROOT = Path(__file__).parents[2]
NAMES = ("records", "series_starts", "series_foreign", "series_adapters", "series_peers")


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the modules by name."""
    return scripts_of(NAMES, monkeypatch)


def stub(scripts: dict[str, Any], rows: int) -> Any:
    """Return a peer whose samples are its weight and noise."""

    class Stub(scripts["series_foreign"].Peer):  # type: ignore[misc]
        parameters, version = 1, "0"
        weight = 0.0
        draws = 0

        def train(self, clock: Any) -> None:
            clock.start()
            while True:
                self.weight += 0.5
                clock.tick(3, -self.weight)

        def draw(self, n: int) -> np.ndarray:
            self.draws += 1
            noise = torch.randn(n, 2, 1).numpy() + np.random.standard_normal((n, 2, 1))  # noqa: NPY002
            return np.asarray(self.weight + noise)

        def state(self) -> Any:
            return self.weight

        def restore(self, state: Any) -> None:
            self.weight = state

    return Stub(Path(), np.zeros((rows, 2, 1), np.float32), 0)


def test_a_drawing_that_was_stopped_goes_on_from_the_same_weights_to_the_same_samples(
    scripts: dict[str, Any], tmp_path: Path
) -> None:
    foreign = scripts["series_foreign"]
    first, second = (stub(scripts, 2 * foreign.PART) for _ in range(2))
    foreign.trained(first, tmp_path, 1e-9)
    foreign.drawn(first, tmp_path)
    whole = np.load(tmp_path / "samples.npy")
    (tmp_path / "samples.npy").unlink()
    (tmp_path / f"samples-{foreign.PART:05}.npy").unlink()

    foreign.trained(second, tmp_path, 1e-9)
    foreign.drawn(second, tmp_path)

    assert (first.draws, second.draws) == (2, 1)
    assert second.weight == first.weight == 0.5
    assert np.array_equal(np.load(tmp_path / "samples.npy"), whole)
    assert whole.shape == (2 * foreign.PART, 2, 1)
    assert whole.dtype == np.float32
    assert (whole.min(), whole.max()) == (0, 1)
    # Other parts have other noise.
    assert not np.array_equal(whole[: foreign.PART], whole[foreign.PART :])
    facts = json.loads((tmp_path / "training.json").read_text())
    assert (facts["updates"], facts["nimg"], facts["loss"][-1]) == (1, 3, -0.5)
    assert 0.4 < facts["outside"] < 0.8


def test_kept_samples_are_measured_as_by_saddle_evaluate(scripts: dict[str, Any], tmp_path: Path) -> None:
    from saddlepoint.run.measure import evaluate_samples

    peers = scripts["series_peers"]
    rng = np.random.default_rng(0)
    data, samples = (rng.random((90, 8, 2), dtype=np.float32) for _ in range(2))
    # Every window spans [0, 1], so that the units of the file are the scale of the data whatever its splits are.
    data[:, 0], data[:, 1] = 0, 1
    np.save(tmp_path / "data.npy", data)
    np.save(tmp_path / "samples.npy", samples)
    (tmp_path / "training.json").write_text('{"updates": 2}')
    source = str(tmp_path / "data.npy")

    # Nobody is there to train: what is kept is taken.
    kept, facts = peers.made(peers.Row("dgan", source, 0), tmp_path, str(tmp_path / "no python"), tmp_path, 1.0)
    found = scripts["records"].figures_of(peers.measured(source, kept, ("acf", "marginals")))
    report, _ = evaluate_samples(tmp_path / "samples.npy", source, ("acf", "marginals"), out=tmp_path / "report")

    assert facts == {"updates": 2}
    assert found["model"] == scripts["records"].figures_of(report)["model"]
    assert found["model"]["autocorrelation distance"]["value"] > 0


def test_a_line_is_the_mean_over_seeds_or_the_interval_of_one(scripts: dict[str, Any]) -> None:
    peers = scripts["series_peers"]

    def kept(h32: float, mark: str) -> dict[str, Any]:
        figure = {"value": h32, "interval": [h32 - 0.1, h32 + 0.1]}
        figures = {"model": {"discriminative score, 32 units": figure}, "block bootstrap": {"forecast error": figure}}
        return {"seconds": 1200.0, "mark": mark, "figures": figures}

    lines = peers.table_of([("A", kept(0.25, " a")), ("B", kept(0.5, " b")), ("A", kept(0.75, " b"))], "stocks")

    assert lines[1] == "`stocks`"
    a, b, bootstrap = lines[5:]
    empty = " |  |  |  |  |  |  |  |"
    assert a == f"| A | 2 a b | 1200.0 (1200.0 to 1200.0) | 0.500 (0.250 to 0.750){empty}"
    assert b == f"| B | 1 b | 1200.0 | 0.500 [0.400, 0.600]{empty}"
    assert bootstrap.startswith("| *block bootstrap* |  |  |  |")
    assert "0.250 [0.150, 0.350]" in bootstrap
    assert peers.table_of([], "stocks") == []


def test_a_section_has_both_data_and_what_was_trained(
    scripts: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = scripts["series_peers"]
    page = tmp_path / "page.md"
    page.write_text("# Results\n")
    for name, value in {"FIGURES": tmp_path, "FIGURES_OF_OURS": tmp_path / "none", "PAGE": page}.items():
        monkeypatch.setattr(peers, name, value)
    with pytest.raises(SystemExit, match="no row is finished"):
        peers.write()
    figure = {"value": 0.1, "interval": None}
    for seed, updates in enumerate((10, 20)):
        scripts["records"].keep(
            tmp_path / f"par-etth1-seed{seed}.json",
            {
                "seconds": 1200.0, "parameters": 7000, "updates": updates, "nimg": 2000, "seconds of drawing": 5.5,
                "version": "0.8", "reduced": "", "figures": {"model": {"Context-FID": figure}},
            },
            1,
        )  # fmt: skip

    peers.write()

    text = page.read_text()
    assert text.startswith("# Results\n\n\n## Beside other generators\n\n<!-- series-peers: begin -->")
    assert "`stocks`" not in text
    assert "| PAR | 2 | 1200.0 (1200.0 to 1200.0) |  |  | 0.100 (0.100 to 0.100) |" in text
    assert "| PAR | `etth1` | 0.8 | 7,000 | 15 | 2,000 | 6 | nothing |" in text


def test_rows_are_each_peer_on_both_data_for_three_seeds_and_one_that_shows_a_reduction(
    scripts: dict[str, Any],
) -> None:
    peers = scripts["series_peers"]
    assert len(peers.ROWS) == 4 * 2 * 3 + 1
    assert list(peers.ROWS)[:2] == ["diffusion-ts-stocks-seed0", "timevae-stocks-seed0"]
    assert {row.peer for row in peers.ROWS.values()} == set(peers.PEERS) == set(peers.WORDS)
    assert "diffusion-ts-500-stocks-seed0" in peers.ROWS
