"""What is built is what is needed: a small wheel that works where nothing but its own requirements is installed."""

from __future__ import annotations

import email
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import trove_classifiers

from saddlepoint import __version__

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "saddlepoint"
LARGEST = 3 * 10**6
"""Bytes of a wheel."""
LARGEST_SOURCE = 25 * 10**6
"""Bytes of a source archive, half of which are the documents' pictures."""
EXTRAS = {
    "nicegui", "socketio", "fastapi", "uvicorn", "starlette", "prometheus_client", "onnx", "onnxscript", "onnxruntime",
    "torch_fidelity",
    "h5py", "pydicom", "nibabel", "astropy", "openpyxl", "xarray", "h5netcdf", "cftime", "zarr", "av", "optuna",
    "tensorboard", "wandb", "mlflow",
}  # fmt: skip
"""Packages that only extras bring."""


def told(*words: str | Path, cwd: Path = ROOT, code: int | None = 0, **env: str) -> str:
    """Run a command outside the repository's Python path, expect its exit code, and return all that it said."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, env={**clean, **env}, text=True, timeout=900,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert code in (None, done.returncode), f"{words} ended with {done.returncode}: {done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the wheel and the source archive."""
    folder = tmp_path_factory.mktemp("dist")
    told(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


def test_twine_finds_nothing_to_say(built: Path) -> None:
    files = sorted(built.iterdir())
    assert [path.name for path in files] == [
        f"saddlepoint-{__version__}-py3-none-any.whl",
        f"saddlepoint-{__version__}.tar.gz",
    ]
    assert told(sys.executable, "-m", "twine", "--no-color", "check", "--strict", *files).count("PASSED") == 2


def test_the_wheel_is_small_and_holds_the_package_alone(wheel: Path) -> None:
    assert wheel.stat().st_size < LARGEST
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.startswith(f"saddlepoint-{__version__}.dist-info/")}
    tracked = told("git", "ls-files", "src/saddlepoint").splitlines() if (ROOT / ".git").exists() else []
    present = {path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert names == {path.relative_to(PACKAGE.parent).as_posix() for path in present}
    assert {path.removeprefix("src/") for path in tracked} <= names
    assert {
        "saddlepoint/evaluation/report/page.css",
        "saddlepoint/evaluation/report/page.html.jinja",
        "saddlepoint/export/card.md.jinja",
        "saddlepoint/export/page.html.jinja",
        "saddlepoint/export/page.js",
        "saddlepoint/py.typed",
        "saddlepoint/metrics/weights/mnist-lenet.safetensors",
    } <= names


def test_the_source_archive_holds_what_is_kept_and_nothing_else(built: Path) -> None:
    """Tests read documents, pictures, figures of benchmarks: all of it is there, so that they pass from the archive."""
    (path,) = built.glob("*.tar.gz")
    assert path.stat().st_size < LARGEST_SOURCE
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    kept = told("git", "ls-files").splitlines()
    assert names == {name for name in kept if not name.startswith(".ci/")} | {"PKG-INFO"}


def test_the_metadata_is_right(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"saddlepoint-{__version__}.dist-info/METADATA").decode()
        scripts = archive.read(f"saddlepoint-{__version__}.dist-info/entry_points.txt").decode()
    found = email.message_from_string(text)
    assert (found["Name"], found["Version"], found["License-Expression"]) == ("saddlepoint", __version__, "Apache-2.0")
    assert found["Requires-Python"] == ">=3.11"
    assert found["Description-Content-Type"] == "text/markdown"
    assert found["Summary"]
    assert found.get_all("License-File") == ["LICENSE"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(found.get_all("Provides-Extra")) == set(project["optional-dependencies"])
    assert found.get_all("Classifier") == sorted(project["classifiers"])
    assert set(found.get_all("Classifier")) <= trove_classifiers.classifiers
    assert found.get_payload() == (ROOT / "README.md").read_text()
    assert [line for line in scripts.splitlines() if "=" in line] == [
        "saddle = saddlepoint.cli.main:main",
        "saddlepoint = saddlepoint.cli.main:main",
    ]
    cited = (ROOT / "CITATION.cff").read_text()
    assert f"version: {__version__}\n" in cited


def reach_an_index(folder: Path) -> None:
    """Skip the test where pip reaches no index."""
    said = told(sys.executable, "-m", "pip", "download", "--no-deps", "-d", folder, "packaging", code=None)
    if not list(folder.glob("packaging-*")):
        pytest.skip(f"pip reaches no package index: {said.splitlines()[-1]}")


@pytest.fixture(scope="module")
def empty(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield the commands of an environment that holds the wheel and what it requires, nothing else."""
    reach_an_index(tmp_path_factory.mktemp("index"))
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder, with_pip=True)
    commands = folder / ("Scripts" if os.name == "nt" else "bin")
    told(
        commands / "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-compile",
        "-c",
        ROOT / "constraints.txt",
        wheel,
        cwd=folder,
    )
    yield commands
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def trained(empty: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder where a run was trained by what was installed."""
    folder = tmp_path_factory.mktemp("elsewhere")
    words = ["train", "gan", "--data", "digits", "--kimg", "20", "--threads", "1", "--out", "run"]
    assert "trained:  20" in told(empty / "saddle", *words, cwd=folder)
    return folder


def test_only_the_core_is_installed(empty: Path, tmp_path: Path) -> None:
    assert "No broken requirements" in told(empty / "python", "-m", "pip", "check")
    assert told(empty / "saddle", "--version", cwd=tmp_path).strip() == f"saddlepoint {__version__}"
    assert told(empty / "saddlepoint", "--version", cwd=tmp_path).strip() == f"saddlepoint {__version__}"
    assert (
        told(empty / "python", "-m", "saddlepoint", "--version", cwd=tmp_path).strip() == f"saddlepoint {__version__}"
    )
    here = told(empty / "python", "-c", "import saddlepoint; print(saddlepoint.__file__)", cwd=tmp_path)
    assert Path(here.strip()).is_relative_to(empty.parent)
    found = f"import importlib.util as i; print([n for n in {sorted(EXTRAS)} if i.find_spec(n)])"
    assert told(empty / "python", "-c", found, cwd=tmp_path).strip() == "[]"


IMPORT_ALL = """
import importlib, pkgutil, saddlepoint
for module in pkgutil.walk_packages(saddlepoint.__path__, "saddlepoint."):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            print(module.name, error.name)
"""


def test_every_module_is_there_and_misses_nothing_but_extras(empty: Path, tmp_path: Path) -> None:
    lines = [line.split() for line in told(empty / "python", "-c", IMPORT_ALL, cwd=tmp_path).splitlines()]
    assert lines, "the studio at least needs an extra"
    assert {missing.split(".")[0] for _, missing in lines} <= EXTRAS
    assert all(module.startswith(("saddlepoint.serve.", "saddlepoint.export.")) for module, _ in lines)


def test_a_run_is_sampled_measured_and_shipped(empty: Path, trained: Path) -> None:
    picture = told(empty / "saddle", "sample", "run", "-n", "16", cwd=trained).splitlines()[
        -1
    ]  # after what it says of itself meanwhile
    assert (trained / picture).read_bytes().startswith(b"\x89PNG")
    said = told(empty / "saddle", "evaluate", "run", "--threads", "1", cwd=trained)
    assert "report: run" in said
    assert (trained / "run" / "report" / "index.html").exists()
    told(empty / "saddle", "export", "run", "--format", "hub", "--out", "card", cwd=trained)
    code = "import saddlepoint; print(tuple(saddlepoint.load('card').sample(4).shape))"
    assert told(empty / "python", "-c", code, cwd=trained).strip() == "(4, 1, 8, 8)"
    told(empty / "saddle", "explore", "run", "--point", "3", "--out", "place.png", cwd=trained)
    resumed = told(empty / "saddle", "train", "--resume", "run", "--kimg", "22", "--threads", "1", cwd=trained)
    assert "trained:  2" in resumed


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        ("export run", "export"),
        ("export run --format web --out page", "export"),
        ("serve run --port 0", "serve"),
        ("studio --no-browser --port 0", "studio"),
        ("evaluate run --features inception-v3", "inception"),
    ],
)
def test_a_missing_extra_is_named_in_one_line(empty: Path, trained: Path, words: str, extra: str) -> None:
    before = set(trained.rglob("*"))
    said = told(empty / "saddle", *words.split(), cwd=trained, code=2)
    assert f"pip install 'saddlepoint[{extra}]'" in said
    assert [line for line in said.splitlines() if line.startswith("error: ")] == said.splitlines()[-1:]
    assert "Traceback" not in said
    assert set(trained.rglob("*")) == before, "a refused command leaves nothing behind"


def test_one_command_without_an_installation(wheel: Path, empty: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    venv.create(tools, with_pip=True)
    python = tools / empty.name / "python"
    told(python, "-m", "pip", "install", "--quiet", "pipx")
    words = ["run", "--spec", wheel, "--pip-args", f"-c {ROOT / 'constraints.txt'}", "saddle", "--version"]
    said = told(python, "-m", "pipx", *words, cwd=tmp_path, PIPX_HOME=str(tmp_path / "pipx"))
    assert f"saddlepoint {__version__}" in said.splitlines()
    shutil.rmtree(tmp_path / "pipx")
