"""The command as a person meets it: what works, what is refused, and in which words."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saddlepoint.cli import main
from saddlepoint.core import waiting
from tests.unit.data_helpers import pictures, write_folder

Command = Callable[..., tuple[int, str, str]]
SMALL = ["--generator-widths", "32", "--discriminator-widths", "16", "--batch-size", "16", "--threads", "1"]


@pytest.fixture
def saddle(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Run the command in this process, in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    # What a slow machine says while one waits is no part of what a command says.
    for name in ("FIRST_SECONDS", "SHOWN_AFTER"):
        monkeypatch.setattr(waiting, name, 3600.0)

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["saddle", *words])
        with pytest.raises(SystemExit) as leaving:
            main.main()
        out, err = capfd.readouterr()
        code = leaving.value.code
        assert isinstance(code, int)
        return code, out, err

    return call


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "gam"], "unknown family 'gam'; did you mean 'gan'?"),
        (["train", "gan", "--preset", "mnist-2015"], "no preset 'mnist-2015'; did you mean 'mnist-2014'?"),
        (["train", "--lerning-rate", "3"], "unknown option '--lerning-rate'"),
        (["train", "--bugdet", "3m"], "unknown option '--bugdet'; did you mean '--budget'?"),
        (["train", "--momentm", ".5"], "unknown option '--momentm'; did you mean '--momentum'?"),
        (["train", "--lr"], "option '--lr' needs a value"),
        (["train", "--lr", "--steps", "5"], "option '--lr' needs a value"),
        (["train", "--simultaneous"], "option '--simultaneous' needs a value; it is on or off: true or false"),
        (["train", "--seed", "-1"], "--seed"),
        (["evaluate", "nowhere", "--seed", "-1"], "--seed"),
        (["train", "--kimg", "nan"], "kimg is nan, but it must be positive"),
        (["train", "--resume", "nowhere", "--steps", "-4"], "steps is -4, but it must be positive"),
        (["train", "--resume", "nowhere", "--seed", "3"], "leave out --seed"),
        (["train", "--resume", "nowhere", "--checkpoint", "5s"], "leave out --checkpoint"),
        (["train", "--lr", "fast"], "lr is 'fast', but it must be a number"),
        (["train", "--lr", "-1"], "lr is -1.0, but it must be positive"),
        (["train", "--objective", "minmax"], "did you mean 'minimax'?"),
        (["train", "--budget", "soon"], "budget is 'soon', but it must be a positive time such as 90s, 3m or 1.5h"),
        (["train", "--budget", "0"], "budget is '0'"),
        (["train", "--steps", "-4"], "steps is -4, but it must be positive"),
        (["train", "--steps", "four"], "'--steps'"),
        (["train", "--device", "gpu"], "unknown device 'gpu'; choose from: auto, cpu, cuda, mps"),
        (["train", "--remedy", "atuo"], "remedy is 'atuo'; did you mean 'auto'?"),
        (["train", "--stop-when", "done"], "stop-when is 'done'; choose from: finished"),
        (["train", "--resume", "nowhere", "--remedy", "off"], "leave out --remedy"),
        (["train", "--resume", "nowhere", "--stop-when", "done"], "stop-when is 'done'"),
        (["train", "--threads", "0"], "threads is 0, but it must be at least 1"),
        (["train", "--data", "digit", "--steps", "1"], "did you mean 'digits'?"),
        (["train", "--data", "./nowhere", "--steps", "1"], "nowhere"),
        (["train", "gan", "extra"], "unexpected extra argument"),
        (["train", "--resume", "nowhere"], "'nowhere' is not a run folder"),
        (["train", "--resume", "nowhere", "--lr", "1"], "a resumed run keeps its options"),
        (["sample", "nowhere"], "'nowhere' is not a run folder"),
        (["evaluate", "nowhere"], "'nowhere' is not a run folder"),
        (["evaluate"], "exactly one of the two"),
        (["evaluate", "run", "--samples", "x.npz"], "exactly one of the two"),
        (["evaluate", "--samples", "x.npz"], "--samples needs --data"),
        (["evaluate", "--samples", "x.npz", "--data", "digits"], "there are no samples at 'x.npz'"),
        (["evaluate", "--samples", "x.npz", "--data", "digits", "--attributes", "Male"], "leave the attributes out"),
        (["evaluate", "nowhere", "--data", "digits"], "'nowhere' is not a run folder"),
        (["evaluate", "nowhere", "--size", "16"], "leave out --size"),
        (["compare", "nowhere"], "'nowhere' is not a run folder, and no run in 'runs' begins so"),
        (["average", "nowhere"], "'nowhere' is not a run folder, and no run in 'runs' begins so"),
        (["average", "nowhere", "-n", "0"], "-n"),
        (["train", "--averages", "some"], "averages is 'some'; choose from: auto, off, on"),
        (["families", "dcgam"], "unknown family 'dcgam'"),
        (["trian"], "trian"),
    ],
)
def test_a_mistake_costs_one_clear_line(saddle: Command, words: list[str], message: str) -> None:
    code, out, err = saddle(*words)
    assert code == 2
    assert message in err
    assert err.startswith("error: ")
    assert len(err.strip().splitlines()) == 1
    assert out == ""
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["train"],
        ["sample"],
        ["evaluate"],
        ["average"],
        ["compare"],
        ["demo"],
        ["data", "inspect"],
        ["data", "list"],
        ["families"],
    ],
)
def test_help_has_examples(saddle: Command, words: list[str]) -> None:
    code, out, _ = saddle(*words, "--help")
    assert code == 0
    assert "saddle " in out
    assert words == [] or "Example" in out


def test_dry_run_prints_the_resolved_configuration_and_does_nothing(saddle: Command) -> None:
    code, out, _ = saddle("train", "--preset", "mnist-2014", "--lr", "0.2", "--kimg", "5", "--seed", "3", "--dry-run")
    config = json.loads(out)
    assert code == 0
    assert config["family"] == "gan"
    assert config["preset"] == "mnist-2014"
    assert config["options"]["lr"] == 0.2
    assert config["options"]["simultaneous"] is True
    assert config["settings"]["kimg"] == 5
    assert config["settings"]["seconds"] is None
    assert config["settings"]["seed"] == 3
    assert not Path("runs").exists()


def test_train_alone_means_gan_on_mnist_for_three_minutes(saddle: Command) -> None:
    config = json.loads(saddle("train", "--dry-run")[1])
    assert (config["family"], config["data"]["source"], config["preset"]) == ("gan", "mnist", "mnist")
    assert config["settings"]["seconds"] == 180


def test_from_training_to_pictures_and_figures(saddle: Command) -> None:
    code, out, err = saddle("train", "--data", "digits", "--steps", "30", "--out", "run", *SMALL)
    assert code == 0
    assert "run:      run" in out
    assert "digits" in err
    config = json.loads(Path("run/config.json").read_text())
    assert config["data"]["rows"] == 1444
    assert config["device"] == "cpu"
    assert Path("run/log.jsonl").exists()
    assert config["options"]["generator_widths"] == [32]
    assert json.loads(Path("run/status.json").read_text())["state"] == "finished"
    for picture in ("grid", "filmstrip", "neighbours", "interpolation"):
        code, out, _ = saddle("sample", "run", "--picture", picture)
        assert code == 0
        with Image.open(out.strip()) as image:
            assert min(image.size) > 100
        assert saddle("sample", "run", "--picture", picture, "-n", "3", "--out", "three.png")[0] == 0
    code, out, _ = saddle("sample", "run", "-n", "70", "--out", "x.npz", "--seed", "2")
    assert code == 0
    with np.load("x.npz") as arrays:
        samples = arrays["x"]
    assert samples.shape == (70, 1, 8, 8)
    assert samples.dtype == np.uint8
    saddle("sample", "run", "-n", "70", "--out", "y.npz", "--seed", "2")
    assert Path("x.npz").read_bytes() == Path("y.npz").read_bytes()
    for picture, rows in (("filmstrip", 5 * 13), ("neighbours", 10), ("interpolation", 50)):
        assert saddle("sample", "run", "--picture", picture, "-n", "5", "--out", "p.npz")[0] == 0
        with np.load("p.npz") as arrays:
            assert arrays["x"].shape == (rows, 1, 8, 8)


def test_a_conditional_run_is_asked_for_a_class(saddle: Command) -> None:
    assert saddle("train", "cgan", "--data", "digits", "--steps", "5", "--out", "run", *SMALL)[0] == 0
    assert saddle("sample", "run", "--label", "3", "-n", "5", "--out", "x.npz")[0] == 0
    with np.load("x.npz") as arrays:
        assert arrays["x"].shape == (5, 1, 8, 8)
    code, out, _ = saddle("sample", "run", "--label", "3")
    assert code == 0
    assert out.strip().endswith("grid-3-seed0.png")
    code, _, err = saddle("sample", "run", "--label", "eleven")
    assert code == 2
    assert "no class 'eleven' among the 10" in err
    saddle("train", "gan", "--data", "digits", "--steps", "2", "--out", "plain", *SMALL)
    code, _, err = saddle("sample", "plain", "--label", "3")
    assert code == 2
    assert "unconditional" in err


def test_own_images_need_nothing_else(saddle: Command) -> None:
    """Mixed sizes and modes: what was chosen is said, and the run is measured at the end."""
    rng = np.random.default_rng(1)
    Path("photos").mkdir()
    for i, (mode, size) in enumerate([("RGB", (50, 40)), ("L", (64, 64)), ("RGBA", (48, 48)), ("RGB", (40, 40))] * 15):
        bands = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
        pixels = rng.integers(0, 256, (size[1], size[0], *bands), dtype=np.uint8)
        Image.fromarray(pixels, mode).save(f"photos/{i}.png")
    small = ["--steps", "3", "--width", "4", "--batch-size", "8", "--threads", "1", "--out", "run"]
    code, out, err = saddle("train", "dcgan", "--data", "photos", *small)
    assert code == 0, err
    assert "augmentation by translation, cutout, colour: 48 training images are few" in err
    assert Path("run/report/index.html").exists()
    assert "report:   run/report/index.html" in out
    config = json.loads(Path("run/config.json").read_text())
    assert config["data"]["shape"] == [3, 32, 32]
    assert config["options"]["augment"] == ["translation", "cutout", "colour"]
    # The same command finds the run again and has nothing left to do.
    assert saddle("train", "dcgan", "--data", "photos", *small, "--no-report")[0] == 0


def test_images_of_a_size_that_a_family_cannot_make_are_resized_aloud(saddle: Command) -> None:
    small = ["--steps", "1", "--width", "4", "--batch-size", "8", "--threads", "1", "--out", "run"]
    code, _, err = saddle("train", "dcgan", "--data", "digits", *small)
    assert code == 0
    assert "size 16 was chosen: the nearest to 8 that the family can make" in err
    code, _, err = saddle("train", "dcgan", "--data", "digits", "--size", "18", *small[:-1], "other")
    assert code == 2
    assert "choose --size 20 or another of them" in err


def test_from_a_run_and_from_foreign_samples_to_a_comparison(saddle: Command) -> None:
    assert saddle("train", "--data", "digits", "--steps", "30", "--out", "run", *SMALL)[0] == 0
    kinds = ["--protocol", "parzen", "--protocol", "kd100_pixels_test"]
    code, out, _ = saddle("evaluate", "run", *kinds, "--quiet")
    assert code == 0
    assert "parzen1444_cv10" in out
    assert "training images" in out
    assert "k-means" in out
    lines = [json.loads(line) for line in Path("run/report/metrics.jsonl").read_text().splitlines()]
    assert [line["protocol"] for line in lines] == ["parzen1444_cv10", "kd100_pixels_test"]
    page = Path("run/report/index.html").read_text()
    assert "<table" in page
    assert "<img" in page
    # The run's own samples as a file give the same figure: what made them does not matter.
    saddle("sample", "run", "-n", "100", "--out", "x.npz")
    code, out, _ = saddle("evaluate", "--samples", "x.npz", "--data", "digits", "--protocol", "kd", "--quiet")
    assert code == 0
    assert Path("x-report/index.html").exists()
    (foreign,) = [json.loads(line) for line in Path("x-report/metrics.jsonl").read_text().splitlines()]
    assert foreign["rows"][0]["value"] == lines[1]["rows"][0]["value"]
    code, out, _ = saddle("compare", "run", "x-report", "--protocol", "kd")
    assert code == 0
    assert "no difference beyond chance" in out
    code, out, _ = saddle("compare", "run", "x-report")
    assert code == 0
    assert "kd100_pixels_test" in out
    assert "not compared: parzen1444_cv10: run only" in out
    code, _, err = saddle("compare", "run", "x-report", "--protocol", "parzen")
    assert code == 2
    assert "saddle evaluate x-report --protocol parzen" in err
    code, _, err = saddle("evaluate", "--samples", "x.npz", "--data", "ring8")
    assert code == 2
    assert "holds images, but 'ring8' holds vectors" in err


def test_the_same_command_goes_on_and_another_one_is_refused(saddle: Command) -> None:
    command = ["train", "--data", "digits", "--out", "run", *SMALL]
    saddle(*command, "--steps", "5")
    code, _, err = saddle(*command, "--steps", "9")
    assert code == 0
    assert "going on" in err
    assert json.loads(Path("run/status.json").read_text())["step"] == 9
    code, _, err = saddle(*command, "--steps", "9", "--lr", "0.5")
    assert code == 2
    assert "another configuration (option lr: " in err
    code, _, err = saddle("train", "--resume", "run", "--steps", "12")
    assert code == 0
    assert json.loads(Path("run/status.json").read_text())["step"] == 12


def test_an_unfinished_run_is_found_again_without_naming_it(saddle: Command) -> None:
    command = ["train", "--data", "digits", *SMALL, "--steps", "5"]
    saddle(*command)
    (first,) = Path("runs").iterdir()
    status = json.loads((first / "status.json").read_text())
    (first / "status.json").write_text(json.dumps({**status, "state": "interrupted"}))
    saddle(*command[:-1], "8")
    assert list(Path("runs").iterdir()) == [first]
    assert json.loads((first / "status.json").read_text())["step"] == 8
    saddle(*command)
    assert len(list(Path("runs").iterdir())) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_saves_and_says_how_to_go_on(number: signal.Signals, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "saddlepoint",
        "train",
        "--data",
        "digits",
        "--out",
        "run",
        "--budget",
        "1h",
        *SMALL,
    ]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    while not (tmp_path / "run" / "samples" / "step00000010.png").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.search(r"interrupted at step [\d,]+; saved. Go on with: saddle train --resume run", err)
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "interrupted"


def test_a_run_folder_that_cannot_be_written(saddle: Command) -> None:
    Path("file").write_text("")
    code, _, err = saddle("train", "--data", "digits", "--steps", "1", "--out", "file/run", *SMALL)
    assert code == 2
    assert "cannot be written" in err


def test_families_lists_presets_and_options(saddle: Command) -> None:
    assert "mnist-algorithm1" in saddle("families")[1]
    out = saddle("families", "gan")[1]
    assert "--r1-gamma" in out
    assert "learning rate at the start" in out


def test_data_commands(saddle: Command) -> None:
    assert "fashion-mnist" in saddle("data", "list")[1]
    out = saddle("data", "inspect", "digits")[1]
    assert "1,797" in out
    found = json.loads(saddle("data", "inspect", "digits", "--json")[1])
    assert found["classes"]


def test_demo_without_network_or_cache_runs_on_digits(saddle: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from saddlepoint import data
    from saddlepoint.core.errors import DataError

    real = data.load_dataset

    def offline(source: str, **options: object) -> object:
        if source == "mnist":
            raise DataError("no network")
        return real(source, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(data, "load_dataset", offline)
    code, out, _ = saddle("demo", "--budget", "1s", "--out", "run", "--threads", "1")
    assert code == 0
    assert "goes on with the digits" in out
    for name in ("grid", "filmstrip", "neighbours", "interpolation", "report"):
        path = re.search(rf"{name}:\s+(\S+)", out)
        assert path is not None
        assert Path(path[1]).exists()


@pytest.mark.parametrize("words", [[], ["data"]])
def test_without_a_command_there_is_help(saddle: Command, words: list[str]) -> None:
    code, out, err = saddle(*words)
    assert code == 0
    assert "Usage" in out + err
    assert "error" not in err


def test_a_folder_whose_name_is_no_text_is_told(tmp_path: Path) -> None:
    for name in (b"\xe9t\xe9", b"hiver"):
        write_folder(Path(os.fsdecode(os.fsencode(tmp_path / "d") + b"/" + name)), pictures(6))
    command = [sys.executable, "-m", "saddlepoint", "data", "inspect", str(tmp_path / "d")]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "LC_ALL": "C.UTF-8"}, check=False)
    assert done.returncode == 0, done.stderr
    assert b"\\udce9t\\udce9" in done.stdout


def test_a_dry_run_reads_the_data_and_says_what_a_run_would_keep(saddle: Command) -> None:
    words = ("train", "dcgan", "--data", "digits", "--steps", "1", "--threads", "1")
    code, out, err = saddle(*words, "--dry-run")
    assert code == 0
    assert "minibatches of 16 samples" in err
    assert "--batch-size N" in err
    shown = json.loads(out)
    assert not Path("runs").exists()
    assert saddle(*words, "--out", "run")[0] == 0
    kept = json.loads(Path("run/config.json").read_text())
    assert shown["data"] == kept["data"]
    assert shown["options"] == kept["options"]


def test_a_dry_run_refuses_what_training_refuses(saddle: Command) -> None:
    for words in (("--data", "./nope"), ("--data", "digits", "--size", "50"), ("--data", "digits", "--window", "9")):
        dry = saddle("train", "stylegan", *words, "--dry-run")
        real = saddle("train", "stylegan", *words, "--steps", "1")
        assert dry[0] == real[0] == 2
        assert dry[2].splitlines()[-1] == real[2].splitlines()[-1]


def test_inspecting_for_a_family_says_what_training_says(saddle: Command) -> None:
    code, out, _ = saddle("data", "inspect", "digits", "--family", "dcgan", "--json")
    assert code == 0
    seen = json.loads(out)["findings"]
    code, out, _ = saddle("train", "dcgan", "--data", "digits", "--dry-run")
    assert code == 0
    kept = json.loads(out)["data"]["reading"]
    assert [finding["says"] for finding in seen] == [finding["says"] for finding in kept]
