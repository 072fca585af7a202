"""Every command and every Python block of the documents is carried out; what takes long is cut short, as told here."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import typer
from PIL import Image

import saddlepoint
from saddlepoint.cli import main
from saddlepoint.export import export_run
from tests.cli.test_cli import Command, saddle
from tests.unit.data_helpers import pictures, write_folder, write_named
from tests.unit.test_hub import StandIn, hub

__all__ = ["hub", "saddle"]

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

NOT_COMMANDS = {
    ("own-pictures.md", "import saddlepoint"): "test_editing.py and test_dragging.py do it",
    ("python.md", "import itertools"): "the hub, which test_python_habits.py stands in for",
    ("sweeps.md", "import saddlepoint"): "twenty trainings; test_sweeps.py has them",
    ("sweeps.md", "from pathlib import Path"): "a program for Ray Tune, which test_sweep_recipes.py carries out",
    ("sweeps.md", "#!/bin/bash"): "a script for SLURM; test_sweep_recipes.py reads it",
    ("taxonomy.md", "generative models"): "the tree",
    ("sweeps.md", "for worker in 1 2 3 4"): "several workers, which test_sweep_workers.py has",
    ("performance.md", "python benchmarks/gpu.py run"): "minutes of a GPU",
    ("README.md", "python3 -m venv .venv"): "an installation, which takes minutes",
    ("first-hour.md", "python3 -m venv .venv"): "an installation, which takes minutes",
    ("add-a-family.md", '[project.entry-points."saddlepoint.families"]'): "lines for a package's pyproject.toml",
    ("add-a-family.md", "SADDLEPOINT_IMPORT=my_family.py python -m pytest"): "test_add_a_family.py does it",
    ("architecture.md", "runs/gan-mnist-20261124-101500/"): "the files of a run folder",
    ("doctor.md", "doctor: discriminator too weak since 50 kimg"): "a verdict",
    ("performance.md", "threads: 1 (here a step"): "a line that a command says",
    ("performance.md", "precision: bf16 (here a bf16"): "lines that a command says",
    ("tour.md", "data:     mnist, 50,000 images of 1x28x28"): "what make demo printed",
    ("tour.md", "generator (EMA)             held-out images  training images"): "what make demo printed",
    ("tour.md", "what is done"): "what inspect says of a public table",
    ("tour.md", "error: no-header.csv"): "a question",
}
"""Blocks that nobody is meant to run, by their page and the beginning of their first line, and what they are."""

NOT_RUN = {
    **{
        ("own-pictures.md", f"saddle {words}"): "needs weights of others, or a run of hours; test_fine_tuning.py, "
        "test_import.py, test_editing.py and test_dragging.py do it"
        for words in (
            "train dcgan --data ./photos --from",
            "import",
            "sample runs/ffhq",
            "explore runs/ffhq",
            "train stylegan",
            "export runs/ffhq",
            "edit",
            "explore runs/faces",
            "drag",
        )
    },
    **{
        ("series.md", f"saddle sample RUN --{words}"): "needs a table of the reader's; test_series_given.py does it"
        for words in ("given", "fill", "length")
    },
    ("studio.md", "saddle explore runs/my-run --attribute"): "needs data with that label; test_editing.py does it",
    ("README.md", "saddle sweep"): "twenty trainings; test_sweeps.py has them",
    ("sweeps.md", "saddle sweep"): "twenty trainings; test_sweeps.py has them",
    ("trackers.md", "tensorboard"): "a server of TensorBoard's; test_tracker_packages.py reads its files",
    ("scaling.md", "torchrun --nnodes 2"): "needs two machines; test_processes.py trains across two network namespaces",
}
"""Commands that are not carried out, by page and beginning, and why."""

SHORTENED = (
    (r"^saddle train --resume\b.*", r"\g<0> --steps 33 --threads 1", "three steps more, not an hour"),
    (r"^saddle train (?!--resume).*", r"\g<0> --steps 3 --threads 1", "three steps, not minutes"),
    (r"^(?=.*--data)saddle train (timegan|star).*", r"\g<0> --no-report", "measured by a line of its own page"),
    (r"^torchrun .*", r"\g<0> --steps 3 --threads 1 --no-report", "three steps, not minutes"),
    (r"^saddle evaluate runs/timegan.*", r"\g<0> --protocol acf", "one protocol, not all"),
    (r"^saddle bench(?!.*--operations).*", r"\g<0> gan-2014 --rounds 1 --seconds 0.1", "one case, not all for minutes"),
    (r"^(saddle bench) dcgan (--operations)", r"\1 gan-mnist-1x28x28 \2 --rounds 1 --seconds 0.1", "one preset"),
    (r"^(saddle average .*)--end 500", r"\1--end 0.4", "a moment of the short run"),
    (r"^saddle lab --all", "saddle lab vanishing-gradient", "one experiment; test_lab.py carries out all"),
    (r"^saddle lab dirac figure1", "saddle lab dirac", "one experiment; test_lab.py carries out all"),
    (r"^saddle studio.*", r"\g<0> --port 0 --no-browser", "any free port, and no window"),
    (r"^(\S+ )?saddle serve.*", r"\g<0> --port 0", "any free port"),
    (r"^make (.*)", r"make --dry-run \1", "what it would do: it installs, and trains for minutes"),
    (r'budget="[0-9]+m"\)', "steps=33, threads=1)", "some steps, not minutes"),
)
"""What is changed in a command or a Python block before it is carried out, and why. All that fit are applied."""

WORLD = (
    (r"\bruns/(\S+)-\.\.\.", lambda match: newest(match[1])),
    (r"\bRUN\b", lambda match: newest("")),
    (r"\bFOLDER\b", lambda match: "mine"),
    (r"\bDIR\b", lambda match: "out"),
)
"""What stands for a name that the reader has to know."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, language, and text."""

    page: str
    language: str
    text: str

    @property
    def first(self) -> str:
        """Its first line."""
        return self.text.strip().splitlines()[0].strip()

    @property
    def is_listed(self) -> bool:
        """Whether nobody is meant to run it."""
        return any(self.page == page and self.first.startswith(start) for page, start in NOT_COMMANDS)


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [Block(page.name, language, text) for language, text in found]


def commands(text: str) -> Iterator[str]:
    """Yield the commands of a block, those in its comments too."""
    for line in text.replace("\\\n", " ").splitlines():
        command, _, comment = line.partition(" #")
        if command.strip():
            yield " ".join(command.split())
        yield from (found.strip() for found in re.findall(r"\bsaddle [a-z]+ [A-Z][^(;]*", comment))


def inline(page: Path) -> list[str]:
    """Return the commands that stand in the text of a page."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`((?:saddle|python|torchrun|make|pip install) [^`]+)`", text)


def newest(start: str) -> str:
    """Return the newest run folder whose name begins so."""
    found = sorted(Path("runs").glob(f"{start}*"), key=lambda path: path.stat().st_mtime)
    assert found, f"no run of '{start}' was trained by a command before"
    return str(found[-1])


def shortened(text: str) -> str:
    """Return a command or a Python block as it is carried out."""
    for pattern, replacement, _ in SHORTENED:
        text = re.sub(pattern, replacement, text)
    return text


def shape_of(line: str) -> str:
    """Return a line without what differs from run to run: numbers, their intervals, the width of columns."""
    line = re.sub(r"\[[-\d., e]+\]", "", line)
    return " ".join(re.sub(r"-?\d[\d,.:]*(e-?\d+)?", "0", line).split())


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what the documents' reader has: data, runs, samples, pictures."""
    place = tmp_path_factory.mktemp("world")
    write_named(place / "data", "mnist", train=1200, test=300)
    images = pictures(60, 16, channels=3)
    write_folder(place / "photos", list(images), ["summer", "winter"] * 30)
    write_folder(place / "mine", list(images[:2]))
    Image.fromarray(pictures(1, 28)[0]).save(place / "me.png")
    np.savez(place / "their-samples.npz", pictures(300, 28, seed=7))
    write_prices(place / "prices.csv", "")
    write_prices(place / "shops.csv", "shop")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SADDLEPOINT_DATA_DIR", str(place / "data"))
        patch.setenv("SADDLEPOINT_CACHE_DIR", str(place / "cache"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        for number, name in enumerate(("my-run", "one", "two")):
            options = {"generator_widths": "32", "discriminator_widths": "16", "batch_size": 16}
            folder = place / "runs" / name
            run = saddlepoint.train("cgan", steps=30, options=options, threads=1, seed=number, out=folder)
            if name != "my-run":
                run.save_report(run.evaluate(["fd", "memorisation"]))
        export_run(place / "runs" / "my-run", "hub", place / "card")
    return place


def write_prices(path: Path, group: str) -> None:
    """Write a table of prices by day, of one shop, or of two where a column tells them apart."""
    rng = np.random.default_rng(0)
    lines = [f"date,{group and group + ','}open,close"]
    for shop in ("north", "south") if group else ("",):
        days = np.datetime64("2024-01-01") + np.arange(400)
        opened = 100 + rng.normal(size=400).cumsum().round(2)
        lines += [f"{day},{shop and shop + ','}{o:.2f},{o + 1:.2f}" for day, o in zip(days, opened, strict=True)]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def world(prepared: Path, saddle: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return a copy of that folder, and stand in it."""
    place = Path(shutil.copytree(prepared, tmp_path / "world", ignore=shutil.ignore_patterns("data", "cache")))
    monkeypatch.chdir(place)
    monkeypatch.setenv("SADDLEPOINT_DATA_DIR", str(prepared / "data"))
    monkeypatch.setenv("SADDLEPOINT_CACHE_DIR", str(prepared / "cache"))
    return place


class Reader:
    """Carries out what a page says.

    Args:
        page: its file name.
        saddle: calls the command in this process.
    """

    def __init__(self, page: str, saddle: Command) -> None:
        self.page, self.saddle, self.missing = page, saddle, list[str]()
        self.said = ""

    def read(self, block: Block) -> None:
        """Carry out a block; hold one of the language ``text`` against what the block before it said."""
        if block.language == "text":
            self.look_for(block.text)
            return
        self.said = ""
        if block.language == "python":
            self.run_python(block.text)
        elif block.first.startswith("$ "):
            self.compare(block.text)
        else:
            for command in commands(block.text):
                if not any(self.page == page and command.startswith(start) for page, start in NOT_RUN):
                    self.run(command)

    def run_python(self, text: str) -> None:
        """Run a Python block in an interpreter of its own."""
        done = subprocess.run(
            [sys.executable, "-c", shortened(text)], capture_output=True, text=True, timeout=500, check=False
        )
        assert done.returncode == 0, done.stderr
        self.said = done.stdout

    def look_for(self, text: str) -> None:
        """Find each line in what was said, whatever its numbers; ``...`` is any text."""
        said = [shape_of(line) for line in self.said.splitlines()]
        for line in text.strip().splitlines():
            wanted = re.compile(re.escape(shape_of(line)).replace(r"\.\.\.", ".*"))
            assert any(map(wanted.match, said)), f"{self.page}: '{line.strip()}' was not said: {self.said}"

    def compare(self, text: str) -> None:
        """Run the command after ``$`` and compare what it says with what stands below."""
        command, *wanted = text.strip().splitlines()
        code, out, err = self.saddle(*shlex.split(command.removeprefix("$ "))[1:])
        assert (out + err).splitlines() == wanted
        assert code == 2

    def run(self, command: str) -> None:
        """Run a command as it is, but for what `SHORTENED` says."""
        for pattern, found in WORLD:
            command = re.sub(pattern, cast(Any, found), command)
        words = shlex.split(shortened(command))
        variables = {}
        while "=" in words[0]:
            name, _, variables[name] = words.pop(0).partition("=")
        kind = " ".join(words[:2])
        if kind in ("saddle serve", "saddle studio"):
            self.visit(words, variables)
        elif words[0] == "saddle":
            code, out, err = self.saddle(*words[1:])
            if code == 2 and re.search("error: .*(there is no npm|npm could not fetch)", err):
                self.missing.append(f"{command}: {err.strip().splitlines()[-1]}")
            else:
                assert code == 0, f"{command}: {err or out}"
            self.said += out + err
        elif kind == "pip install":
            self.look_for_the_extra(words[2])
        else:
            self.call(words)

    def call(self, words: list[str]) -> None:
        """Call another program: torchrun and python of this environment, make of this repository."""
        program = [sys.executable, "-m", "torch.distributed.run"] if words[0] == "torchrun" else [words[0]]
        program = [sys.executable] if words[0] == "python" else program
        place = ROOT if words[0] == "make" else Path.cwd()
        done = subprocess.run(
            [*program, *words[1:]], cwd=place, capture_output=True, text=True, timeout=500, check=False
        )
        assert done.returncode == 0, f"{words}: {done.stderr}"

    def look_for_the_extra(self, requirement: str) -> None:
        """See that an extra is one of the project."""
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        match = re.fullmatch(r"saddlepoint\[(\w+)\]", requirement)
        assert match is not None
        assert match[1] in extras

    def visit(self, words: list[str], variables: dict[str, str]) -> None:
        """Start a server, ask it for something, and end it with Ctrl-C."""
        env = {**os.environ, **variables, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": self.endpoint()}
        program = [sys.executable, "-m", "saddlepoint", *words[1:]]
        with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as process:
            assert process.stdout is not None
            said = ""
            while not (found := re.search(r"http://[^\s/]+:\d+", said)) and (line := process.stdout.readline()):
                said += line
            try:
                assert found, f"{words}: {said}{process.stderr and process.stderr.read()}"
                address = found[0].replace("0.0.0.0", "127.0.0.1") + ("/health" if words[1] == "serve" else "/")
                self.ask(address)
            finally:
                process.send_signal(signal.SIGINT)
            assert process.wait(60) in (0, 130, -signal.SIGINT)

    def ask(self, address: str) -> None:
        """Ask a server, which may have said its address a moment too early."""
        for attempt in range(100):
            try:
                with urllib.request.urlopen(address, timeout=30) as answer:
                    assert answer.status == 200
                return
            except OSError:
                assert attempt < 99
                time.sleep(0.2)

    def endpoint(self) -> str:
        """Return the address of the hub's stand-in."""
        import huggingface_hub.constants

        return str(huggingface_hub.constants.ENDPOINT)


RUNNABLE = [page for page in PAGES if any(not block.is_listed for block in blocks(page))]


@pytest.mark.slow
@pytest.mark.usefixtures("families_of_own")
@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.stem)
def test_a_page_does_what_it_says(page: Path, world: Path, hub: type[StandIn], saddle: Command) -> None:
    hub.files.update({path.name: path.read_bytes() for path in (world / "card").iterdir()})
    if page.name == "add-a-family.md":
        (block,) = (block for block in blocks(page) if block.language == "python")
        (world / "my_family.py").write_text(block.text)
    if page.name == "series.md":
        (world / "shops.csv").replace(world / "prices.csv")
    reader = Reader(page.name, saddle)
    for block in blocks(page):
        if not block.is_listed:
            reader.read(block)
    if page.name == "export.md":
        os.chdir(world / "runs" / "my-run" / "export-onnx")
        for command in inline(page):
            if command.startswith("python sample.py") and "made.onnx" not in command:  # a converter's file
                reader.run(command)
        assert Path("samples.png").exists()
    if reader.missing:
        pytest.skip(f"all else was carried out, but not {'; '.join(reader.missing)}")


def test_no_block_is_left_out_silently() -> None:
    everything = [block for page in PAGES for block in blocks(page)]
    for block in everything:
        known = re.match(r"(saddle|torchrun|make|pip install|\$ saddle) ", block.first)
        assert block.is_listed or block.language in ("python", "text") or known, (
            f"{block.page}: what is '{block.first}'?"
        )
        assert not (block.is_listed and known), f"{block.page}: '{block.first}' is a command, but not carried out"
    for page, start in NOT_COMMANDS:
        assert any(block.page == page and block.first.startswith(start) for block in everything), start
    for page, start in NOT_RUN:
        text = [command for block in everything if block.page == page for command in commands(block.text)]
        assert any(command.startswith(start) for command in text), start
    whole = [command for block in everything for command in (block.text, *commands(block.text))]
    for pattern, _, _ in SHORTENED:
        assert any(re.search(pattern, text) for text in whole), f"nothing is shortened by {pattern}"


def test_every_command_of_the_first_hour_is_carried_out_but_its_installation() -> None:
    left, read = [], []
    for block in blocks(ROOT / "docs" / "first-hour.md"):
        (left if block.is_listed else read).append(block)
    assert [block.first for block in left] == ["python3 -m venv .venv"]
    assert "saddle" not in left[0].text
    named = {command.split()[1] for block in read if not block.language for command in commands(block.text)}
    assert {"train", "sample", "evaluate", "data", "runs", "export"} <= named
    assert sum(block.language == "text" for block in read) >= 8


PLANTED = {
    "a run that is not there": "saddle sample nowhere",
    "an option that is not there": "saddle data list --sise 3",
    "a command in a comment": "saddle families gan    # or saddle families RUNS (docs)",
    "an extra that is not there": "pip install 'saddlepoint[exports]'",
    "a target that is not there": "make demos",
    "other words": "$ saddle train gan --objective minmax\nerror: objective is 'minmax'",
    "no error": "$ saddle families\n",
    "a name that is not there": "import saddlepoint\nsaddlepoint.trian",
}


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_planted_fails(name: str, saddle: Command) -> None:
    language = "python" if "import" in PLANTED[name] else ""
    with pytest.raises(AssertionError):
        Reader("README.md", saddle).read(Block("README.md", language, PLANTED[name]))


@pytest.mark.parametrize("text", ["no such line", "    presets: mnist, fashion-mnist", "... Goodfellow et al. (2014)"])
def test_what_was_not_said_is_found(text: str, saddle: Command) -> None:
    reader = Reader("first-hour.md", saddle)
    reader.read(Block("first-hour.md", "", "saddle families"))
    reader.read(
        Block("first-hour.md", "text", "gan: fully connected GAN (Goodfellow et al. 2014)\n...\n presets:  mnist, ...")
    )
    with pytest.raises(AssertionError, match="was not said"):
        reader.read(Block("first-hour.md", "text", text))


def options_of(words: list[str]) -> set[str]:
    """Return the options that a command of saddle knows; those of all families for `train`."""
    command: Any = typer.main.get_command(main.app)
    for word in words:
        command = getattr(command, "commands", {}).get(word, command)
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    known.add("--import")  # of all commands
    if words[0] == "train":
        fields = [kind.Config.__dataclass_fields__ for kind in saddlepoint.list_families().values()]
        known |= {"--" + name.replace("_", "-") for each in fields for name in each}
    return known | {"--width"} if "least-squares" in words else known


INLINE = sorted({(page.name, command) for page in PAGES for command in inline(page)})


@pytest.mark.parametrize(("page", "command"), INLINE, ids=[" ".join(pair) for pair in INLINE])
def test_a_command_in_the_text_names_what_there_is(page: str, command: str) -> None:
    words = shlex.split(command)
    if words[0] == "saddle":
        groups: Any = typer.main.get_command(main.app)
        assert words[1] in groups.commands
        assert {word for word in words if re.match(r"-{1,2}[a-z]", word)} <= options_of(words[1:])
    elif words[0] == "make":
        assert f"\n{words[1]}:" in (ROOT / "Makefile").read_text()
    elif words[:2] == ["pip", "install"]:
        Reader(page, cast(Any, None)).look_for_the_extra(words[2])
    elif words[1] == "-m":
        assert importlib.util.find_spec(words[2]) is not None
    elif words[1] != "sample.py":
        source = (ROOT / words[1]).read_text()
        assert 'if __name__ == "__main__":' in source
        if words[2:3] == ["run"]:
            assert "run_or_write(" in source or '"run", ' in source


@pytest.mark.slow
def test_the_scripts_that_the_documents_name_can_be_loaded() -> None:
    named = {word for _, command in INLINE for word in command.split() if word.startswith("benchmarks/")}
    assert len(named) > 10
    code = "import runpy, sys\nsys.path.insert(0, 'benchmarks')\n"
    code += "\n".join(f"runpy.run_path({name!r}, run_name='looked-at')" for name in sorted(named))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_python_expression_in_the_text_is_one() -> None:
    for page in PAGES:
        for text in re.findall(r"`(saddlepoint\.\w+\([^`]*\))`", page.read_text()):
            call = ast.parse(text, mode="eval").body
            assert isinstance(call, ast.Call)
            assert text.split("(")[0].removeprefix("saddlepoint.") in saddlepoint.__all__
