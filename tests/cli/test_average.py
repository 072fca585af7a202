"""`saddle average`: made, chosen, refused, and used like a run."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.test_cli import SMALL, Command, saddle  # noqa: F401

TRAIN = ["train", "gan", "--data", "digits", *SMALL, "--no-report", "--steps", "300", "--out", "runs/mine"]


def test_from_a_run_to_an_average_that_is_used_like_one(saddle: Command) -> None:  # noqa: F811
    assert saddle(*TRAIN)[0] == 0
    code, out, err = saddle("average", "mine", "--length", "0.05", "--threads", "1")
    assert (code, out.strip()) == (0, "runs/mine-average-0.05"), err
    assert saddle("sample", "mine-average-0.05", "-n", "4", "--out", "made.png")[0] == 0
    assert saddle("evaluate", "mine-average-0.05", "--protocol", "fd", "--threads", "1")[0] == 0
    assert saddle("explore", "mine-average-0.05", "--out", "place.png")[0] == 0
    code, out, _ = saddle("export", "mine-average-0.05", "--format", "hub", "--out", "shipped")
    assert code == 0
    assert "over a share of 0.05 of the training" in Path("shipped/README.md").read_text()
    code, out, _ = saddle("runs")
    assert "mine-average-0.05" in out
    assert "broken" not in out


def test_the_table_names_the_best_and_the_present_average(saddle: Command) -> None:  # noqa: F811
    saddle(*TRAIN)
    code, out, err = saddle("average", "mine", "--out", "best", "--threads", "1")
    assert code == 0, err
    assert "chosen by: Fréchet distance (pixels) to 177 validation images" in err
    for words in ("last weights", "present average", "length 0.1 ", "profile off by", "best: "):
        assert words in out
    assert (out.splitlines()[-1] == "best") == Path("best").is_dir()
    code, out, _ = saddle("average", "mine", "--out", "again", "--json", "--quiet", "--threads", "1")
    found = json.loads(out)
    assert len(found["trials"]) > 5
    assert found["path"] == ("again" if Path("again").is_dir() else None)


def test_what_cannot_be_is_one_line_with_a_remedy(saddle: Command) -> None:  # noqa: F811
    saddle(*TRAIN, "--averages", "off")
    assert not Path("runs/mine/averages").exists()
    for words, message in (
        (("--length", "0.5"), "length is 0.5, but it must be from 0.01 to below 0.2887"),
        (("--length", "0.1"), "keeps no averages of other lengths: it was trained without them"),
        ((), "train again with --averages on (saddle train gan --averages on)"),
        (("--length", "much"), "--length"),
    ):
        code, out, err = saddle("average", "mine", *words)
        assert (code, out) == (2, "")
        assert err.startswith("error: ")
        assert message in err
        assert len(err.strip().splitlines()) == 1
