"""Families from elsewhere: files, modules, installed packages; and never from what a run folder names."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import saddlepoint
from saddlepoint.core.errors import CheckpointError, ConfigError
from saddlepoint.families.gan import GAN
from saddlepoint.family import families, register, registry

OWN = """
from saddlepoint.families.gan import GAN
from saddlepoint.family import register

@register
class Own(GAN):
    name, summary = "{name}", "a family of my own"
"""
SMALL = {"generator_widths": "16", "discriminator_widths": "8", "batch_size": 16}

pytestmark = pytest.mark.usefixtures("families_of_own")


def written(folder: Path, file: str = "mine.py", name: str = "mine", more: str = "") -> Path:
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(OWN.format(name=name) + more)
    return path


def test_a_file_brings_its_families_once(tmp_path: Path) -> None:
    path = written(tmp_path, more="import mine_helper\nCOUNT = mine_helper.counted()\n")
    (tmp_path / "mine_helper.py").write_text("calls = []\ndef counted():\n    calls.append(1)\n    return len(calls)\n")
    assert saddlepoint.import_families(path, path) == ["mine", "mine"]
    assert registry.import_families(str(path)) == ["mine"]
    assert sys.modules["mine"].COUNT == 1
    assert list(saddlepoint.list_families())[-1] == "mine"
    assert next(iter(saddlepoint.list_families())) == "gan"
    assert registry.get_family("mine").summary == "a family of my own"


def test_a_file_called_like_another_module_takes_no_place(tmp_path: Path) -> None:
    path = written(tmp_path, "json.py", "taken")
    assert registry.import_families(path) == ["taken"]
    assert sys.modules["json"] is json
    again = written(tmp_path / "other", "json.py", "taken-2")
    assert registry.import_families(again) == ["taken-2"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import nothing_of_this_name\n", "'.*bad.py' cannot be imported: ModuleNotFoundError: .*line 1 of bad.py"),
        ("x = 1\ny = x.z\n", "AttributeError: 'int' object has no attribute 'z'.*line 2 of bad.py"),
        ("def f(:\n", r"cannot be imported: .*\(line 1\)"),
        ("x = 1\n", "registers no family; put @register"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bad.py"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        registry.import_families(path)
    assert "bad" not in sys.modules or text == "x = 1\n"


def test_files_and_modules_that_are_not_there() -> None:
    with pytest.raises(ConfigError, match=r"no file 'nowhere/mine.py' to import"):
        registry.import_families("nowhere/mine.py")
    with pytest.raises(ConfigError, match="no module 'nowhere_mine' to import"):
        registry.import_families("nowhere_mine")


def test_a_name_belongs_to_one_class(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"two families are called 'gan': mine\.Own and saddlepoint\.families\."):
        registry.import_families(written(tmp_path, name="gan"))
    assert registry.get_family("gan") is GAN

    def define() -> type:
        class Again(GAN):
            name = "again"

        return register(Again)

    first, second = define(), define()
    assert first is not second
    assert registry.get_family("again") is second


def test_a_script_that_is_imported_too_is_one_family(tmp_path: Path) -> None:
    path = written(tmp_path, more="import saddlepoint\nprint(saddlepoint.import_families(__file__))\n")
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "['mine']" in done.stdout


def test_the_environment_names_files_and_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = written(tmp_path, "one.py", "one"), written(tmp_path, "two.py", "two")
    monkeypatch.setenv(registry.VARIABLE, f"{one}{os.pathsep}{two}")
    assert registry.get_family("two").name == "two"
    assert {"one", "two"} <= registry.families().keys()
    monkeypatch.setenv(registry.VARIABLE, "gone.py")
    with pytest.raises(ConfigError, match=r"no file 'gone\.py'"):
        registry.families()


def test_what_was_imported_is_named_to_other_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path)
    monkeypatch.chdir(tmp_path)
    registry.remember("mine.py", "a.module")
    registry.remember("mine.py")
    assert os.environ[registry.VARIABLE] == f"{path}{os.pathsep}a.module"


def installed(folder: Path, name: str, module: str) -> None:
    """Put a package with an entry point where Python finds it."""
    about = folder / f"{module}_package-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}-package\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[{registry.GROUP}]\n{name} = {module}\n")


def test_installed_packages_bring_families(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    written(tmp_path, "theirs.py", "theirs")
    installed(tmp_path, "theirs", "theirs")
    with pytest.raises(ConfigError, match="unknown family 'their'; did you mean 'theirs'"):
        registry.get_family("their")
    assert "theirs" not in sys.modules, "looking at names imports nothing"
    assert registry.get_family("theirs").name == "theirs"
    assert "theirs" in registry.families()


def test_packages_are_looked_through_once_until_one_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, looked = registry.metadata.entry_points, list[str]()
    monkeypatch.setattr(registry.metadata, "entry_points", lambda group: looked.append(group) or read(group=group))
    monkeypatch.syspath_prepend(tmp_path)
    assert not {"first", "second"} & registry.families().keys()
    registry.families()
    assert len(looked) == 1
    for number, name in enumerate(("first", "second"), start=2):
        written(tmp_path, f"{name}.py", name)
        installed(tmp_path, name, name)
        os.utime(tmp_path, (number, number))  # however coarse the clock of the file system is
        assert registry.get_family(name).name == name
        assert len(looked) == number


def test_a_broken_package_is_left_out_and_says_why_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "cracked.py").write_text("raise RuntimeError('no such device')\n")
    (tmp_path / "hollow.py").write_text("")
    installed(tmp_path, "cracked", "cracked")
    installed(tmp_path, "hollow", "hollow")
    assert not {"cracked", "hollow"} & registry.families().keys()
    with pytest.raises(ConfigError, match=r"'cracked' of the package 'cracked-package' cannot be.*no such device"):
        registry.get_family("cracked")
    with pytest.raises(ConfigError, match="'hollow-package' says that 'hollow' has a family 'hollow', but"):
        registry.get_family("hollow")


def test_what_a_run_folder_names_is_never_imported(tmp_path: Path, families_of_own: Callable[[], None]) -> None:
    marker = tmp_path / "marker"
    path = written(tmp_path, more=f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n")
    registry.import_families(path)
    run = saddlepoint.train("mine", "ring8", steps=2, options=SMALL, threads=1, out=tmp_path / "run")
    source = run.config["family_source"]
    assert (source["module"], source["file"]) == ("mine", str(path))
    families_of_own()
    marker.unlink()
    for opened in (saddlepoint.load, lambda folder: saddlepoint.resume(folder, steps=3)):
        with pytest.raises(CheckpointError, match=rf"family 'mine', which came from .*pass --import {path}"):
            opened(run.path)
    assert not marker.exists()
    registry.import_families(path)
    assert saddlepoint.load(run.path).sample(3).shape == (3, 2)


def test_a_changed_file_is_said_on_going_on(
    tmp_path: Path, families_of_own: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    registry.import_families(written(tmp_path))
    run = saddlepoint.train("mine", "ring8", steps=2, options=SMALL, threads=1, out=tmp_path / "run")
    saddlepoint.resume(run.path, steps=3, progress=True)
    assert "has changed" not in capsys.readouterr().err
    families_of_own()
    registry.import_families(written(tmp_path, more="# another line\n"))
    saddlepoint.resume(run.path, steps=4, progress=True)
    assert "the file of the family 'mine' has changed since this run began" in capsys.readouterr().err


def test_an_export_names_no_path_of_this_machine(tmp_path: Path) -> None:
    registry.import_families(written(tmp_path))
    run = saddlepoint.train("mine", "ring8", steps=2, options=SMALL, threads=1, out=tmp_path / "run")
    folder = saddlepoint.export_run(run, "safetensors", tmp_path / "export")
    text = (folder / "config.json").read_text()
    assert json.loads(text)["family_source"]["file"] == "mine.py"
    assert str(tmp_path) not in text
    assert saddlepoint.load(folder).sample(3).shape == (3, 2)


def test_runs_of_built_in_families_name_no_source(tmp_path: Path) -> None:
    run = saddlepoint.train("gan", "ring8", steps=2, options=SMALL, threads=1, out=tmp_path / "run")
    assert "family_source" not in run.config


def test_names_are_refused_before_any_family_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    built_in = {name for name, kind in registry.families().items() if registry.is_built_in(kind)}
    assert set(registry.built_in_names()) == built_in
    monkeypatch.delenv(registry.VARIABLE, raising=False)
    for name in registry.families():
        registry.refuse_unknown(name)
    with pytest.raises(ConfigError, match="unknown family 'dcgam'; did you mean 'dcgan'"):
        registry.refuse_unknown("dcgam")
    monkeypatch.setenv(registry.VARIABLE, "my_family.py")
    registry.refuse_unknown("dcgam")  # that file may have it


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dcgam"], "unknown family 'dcgam'"),
        (["--budget", "3moons"], "budget is '3moons'"),
        (["--budget", "+3m"], "nothing that could be added to"),
        (["--resume", "latest", "--budget", "+3moons"], "budget is '3moons'"),
        (["--checkpoint", "often"], "checkpoint is 'often'"),
    ],
)
def test_slips_are_told_without_pytorch(words: list[str], said: str) -> None:
    code = (
        "import sys; from saddlepoint.cli import main as cli\n"
        f"sys.argv = ['saddle', 'train', *{words!r}]\n"
        "try: cli.main()\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False"]
    assert said in done.stderr


@pytest.mark.parametrize("name", sorted(families()))
def test_a_word_that_is_no_choice_is_refused_by_every_option_of_words(name: str) -> None:
    """So that a slip is told before anything is trained, not taken for one of several ways."""
    config = next(iter(families()[name].PRESETS.values()))
    words = [field.name for field in dataclasses.fields(config) if isinstance(getattr(config, field.name), str)]
    for word in words:
        with pytest.raises(ConfigError, match="no-such-way"):
            dataclasses.replace(config, **{word: "no-such-way"})
