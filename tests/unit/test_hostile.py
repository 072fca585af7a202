"""Files that mean harm: nothing in them is executed, they take no more memory than they have bytes, and are refused."""

from __future__ import annotations

import json
import resource
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import saddlepoint
from saddlepoint.core.errors import CheckpointError, ConfigError, DataError, SaddlepointError
from saddlepoint.core.files import read_json
from saddlepoint.data import load_dataset
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.export import export_run
from saddlepoint.run import weights

OPTIONS = {"generator_widths": "16", "discriminator_widths": "8", "batch_size": 16}


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SADDLEPOINT_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        folder = tmp_path_factory.mktemp("runs")
        run = saddlepoint.train("gan", data="digits", steps=3, options=OPTIONS, threads=1, out=folder / "run")
        return export_run(run, "safetensors", folder / "export")


@pytest.fixture
def folder(export: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(export, tmp_path / "export"))


def truncated(folder: Path) -> None:
    file = folder / weights.FILE
    file.write_bytes(file.read_bytes()[:-100])


def empty(folder: Path) -> None:
    (folder / weights.FILE).write_bytes(b"")


def huge_header(folder: Path) -> None:
    (folder / weights.FILE).write_bytes(struct.pack("<Q", 2**62) + b"{}")


def header_beyond_the_file(folder: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    (folder / weights.FILE).write_bytes(struct.pack("<Q", len(header)) + header)


def overlapping(folder: Path) -> None:
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    header = json.dumps({"a": entry, "b": entry}).encode()
    (folder / weights.FILE).write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))


def pickle(folder: Path) -> None:
    import pickle as writer

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (folder / "executed",))

    (folder / weights.FILE).write_bytes(writer.dumps({"w": Bomb()}))


def other_type(folder: Path) -> None:
    tensors = load_file(folder / weights.FILE)
    save_file({name: x.double() for name, x in tensors.items()}, folder / weights.FILE)


def other_shape(folder: Path) -> None:
    tensors = load_file(folder / weights.FILE)
    save_file({name: torch.zeros(3) for name in tensors}, folder / weights.FILE)


def missing_tensor(folder: Path) -> None:
    tensors = load_file(folder / weights.FILE)
    save_file(dict(list(tensors.items())[1:]), folder / weights.FILE)


def config(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        path = folder / "config.json"
        values = json.loads(path.read_text())
        change(values)
        path.write_text(json.dumps(values))

    return changed


def written(text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "config.json").write_text(text) and None


CASES: dict[str, Callable[[Path], None]] = {
    "truncated": truncated, "empty": empty, "a huge header": huge_header,
    "a header beyond the file": header_beyond_the_file,
    "overlapping tensors": overlapping, "a pickle": pickle, "another type": other_type, "another shape": other_shape,
    "a missing tensor": missing_tensor,
    "networks of a petabyte": config(lambda c: c["options"].update(generator_widths=[10**7, 10**7])),
    "a shape of a petabyte": config(lambda c: c["data"].update(shape=[1, 10**7, 10**7])),
    "a negative shape": config(lambda c: c["data"].update(shape=[1, -8, 8])),
    "a shape of words": config(lambda c: c["data"].update(shape=["a"])),
    "shares of words": config(lambda c: c["data"].update(classes=["a"], shares=["b"])),
    "shares below zero": config(lambda c: c["data"].update(classes=["a", "b"], shares=[-1, 2])),
    "shares of nothing": config(lambda c: c["data"].update(classes=["a", "b"], shares=[0, 0])),
    "another family": config(lambda c: c.update(family="os.system")),
    "an unknown option": config(lambda c: c["options"].update(hook="os.system")),
    "options that are none": config(lambda c: c.update(options=[])),
    "no data": config(lambda c: c.pop("data")),
    "no format": config(lambda c: c.pop("export")),
    "another format": config(lambda c: c["export"].update(format=99)),
    "no JSON": written("{"), "no object": written("[]"), "deep JSON": written("[" * 10**6),
    "a number as JSON": written("1" * 5000),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_hostile_exports_are_refused_in_words(folder: Path, name: str) -> None:
    CASES[name](folder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises((CheckpointError, ConfigError)) as caught:
        saddlepoint.load(folder)
    assert len(str(caught.value)) > 20
    assert not (folder / "executed").exists()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000, "more than 300 MB were taken"


def test_a_square_matrix_counts_with_all_its_numbers() -> None:
    with (
        pytest.raises(CheckpointError, match="far larger than the weights"),
        weights.no_larger_than(10),
    ):
        torch.eye(30_000)


def test_the_unharmed_export_loads(folder: Path) -> None:
    assert saddlepoint.load(folder).sample(2).shape == (2, 1, 8, 8)


def test_lines_of_a_log_that_are_no_text_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_bytes(b'{"step": 1}\n{"step": \xff}\n\xff\xfe\n{"step": 3}\n{"st')
    assert RunFolder(tmp_path).read_log() == [{"step": 1}, {"step": 3}]


@pytest.mark.parametrize(
    "line", ["[1]", "7", '{"step": "7"}', '{"step": 1, "signs": {"reach": 1.0}}', '{"event": "diverged"}',
             '{"nimg": 1, "signs": {"reach": "x"}}', '{"nimg": 1.5}', '{"nimg": 1, "signs": []}'],
)  # fmt: skip
def test_lines_of_a_log_that_cannot_be_reckoned_with_are_left_out(tmp_path: Path, line: str) -> None:
    sound = '{"step": 1, "nimg": 10, "signs": {"reach": 1.0}}'
    (tmp_path / "log.jsonl").write_text(f"{sound}\n{line}\n")
    assert RunFolder(tmp_path).read_log() == [json.loads(sound)]


def test_a_json_of_a_billion_rows_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with open(path, "wb") as file:
        # A sparse file: ten billion bytes that take no disk.
        file.write(b'{"rows": [')
        file.truncate(10**10)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(SaddlepointError, match="more than"):
        saddlepoint.load(tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000
    deep = tmp_path / "deep.json"
    deep.write_text("[" * 10**6)
    with pytest.raises(ValueError, match="nested too deeply"):
        read_json(deep)


def test_a_zip_writes_nothing_outside(tmp_path: Path) -> None:
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("../../escaped.png", "/escaped.png", "a/../../escaped.png"):
            archive.writestr(name, b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError):
        load_dataset(str(path))
    assert not list(tmp_path.parent.glob("**/escaped.png"))


def test_a_runs_own_checkpoint_is_held_to_its_configuration(tmp_path: Path) -> None:
    run = saddlepoint.train("gan", data="digits", steps=3, options=OPTIONS, threads=1, out=tmp_path / "run")
    path = run.path / "config.json"
    values = json.loads(path.read_text())
    values["options"]["generator_widths"] = [10**7, 10**7]
    path.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="far larger than the weights"):
        saddlepoint.load(run.path)


@pytest.mark.parametrize(
    "shares", [(0.5,), (0.5, -0.5), (0.0, 0.0), (0.5, float("nan")), (0.5, float("inf")), (0.5, 1e99)]
)
def test_shares_that_labels_cannot_be_drawn_with_are_refused(shares: tuple[float, ...]) -> None:
    """1e99 is finite here, but not as a float32, which labels are drawn with."""
    given = {"modality": "image", "shape": (1, 8, 8), "classes": ("a", "b"), "rows": 4}
    assert weights.spec_of({**given, "shares": (1.0, 0.25)}).shares == (1.0, 0.25)
    with pytest.raises(ValueError, match="shares"):
        weights.spec_of({**given, "shares": shares})
