"""`saddle import`: from a file of others to samples, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.cli.test_cli import Command, saddle  # noqa: F401
from tests.unit.reference_stylegan2 import Drawn, pickled


def test_from_a_file_of_others_to_samples(saddle: Command) -> None:  # noqa: F811
    drawn = Drawn((8, 8, 4), classes=2)
    pickled(Path("some faces.pkl"), {"G": drawn.g, "D": None, "G_ema": drawn.g})
    code, out, err = saddle("import", "some faces.pkl")
    assert (code, out.strip()) == (0, "runs/some-faces"), err
    assert "G, 16x16, 2 labels" in err
    assert "note:     it has no discriminator" in err
    code, out, _ = saddle("runs")
    assert "some-faces" in out
    assert "broken" not in out
    assert saddle("sample", "some-faces", "-n", "4", "--label", "1", "--out", "made.png")[0] == 0
    assert Path("made.png").stat().st_size > 1000
    assert saddle("explore", "some-faces", "--point", "3", "--out", "place.png")[0] == 0
    code, out, err = saddle("import", "some faces.pkl", "--quiet")
    assert (code, out) == (2, "")
    assert "is there already" in err


def test_a_file_in_the_place_of_a_run_is_told_the_way(saddle: Command) -> None:  # noqa: F811
    torch.save({"w": torch.ones(3)}, "cats.pt")
    for words in (("sample", "cats.pt"), ("train", "stylegan", "--from", "cats.pt", "--data", "digits")):
        code, _, err = saddle(*words)
        assert code == 2
        assert "make one of it, without running its code: saddle import cats.pt" in err
    code, _, err = saddle("import", "cats.pt", "--out", "x")
    assert code == 2
    assert "error: 'cats.pt' cannot be imported: it holds no networks that are known here (but w)" in err
    code, _, err = saddle("import", "nothing.pkl")
    assert (code, "No such file" in err) == (2, True)
    assert not Path("x").exists()
