"""What configurations, checkpoints, figures and exports from elsewhere may say, and what they cost."""

# Fixtures are imported, and asked for by their names.
# ruff: noqa: F401, F811

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import saddlepoint
from saddlepoint.core.errors import CheckpointError, SaddlepointError
from saddlepoint.data.series.layout import layout_from_json
from saddlepoint.engine.storage import tensors
from saddlepoint.engine.storage.checkpoint import read_checkpoint, write_checkpoint
from saddlepoint.engine.storage.tensors import _BYTES, load_tensors, read_header
from saddlepoint.evaluation import read_results
from saddlepoint.export import kept
from saddlepoint.export.sampler.description import reads_other_files
from saddlepoint.export.sampler.generator import Generator
from saddlepoint.run import index, weights
from tests.unit.foreign import HUGE, READERS, THEIRS, changed, made, outside, replaced, run, soon, within

# --- what a configuration and a checkpoint may say --------------------------------------------------------------------

NAMES: list[Any] = [7, None, "", "x" * 1001, "\udc80", ["a"], {}]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_class_is_called_by_a_text(name: Any, run: Path) -> None:
    """Before, any JSON value was a name."""
    changed(run / "config.json", lambda kept: kept["data"]["classes"].__setitem__(3, name))
    with pytest.raises(CheckpointError, match=r"config\.json"):
        saddlepoint.load(run)


def test_classes_may_be_called_by_words_of_any_script(run: Path) -> None:
    names = [
        "\u0634\u064e\u062c\u0631",
        "\u05e7\u05d5\u200f\u05df",
        "\u0e19\u0e01",
        "\u6728",
        "a/b",
        "<b>",
        "x" * 1000,
        "e\u0301",
        "a\nb\x1b[2J",
        "z\u200dz",
    ]
    changed(run / "config.json", lambda kept: kept["data"].update(classes=names))
    assert saddlepoint.load(run).family.data.classes == tuple(names)


@pytest.mark.parametrize("classes", ["0123456789", {}, 3], ids=str)
def test_classes_are_a_list(classes: Any, run: Path) -> None:
    changed(run / "config.json", lambda kept: kept["data"].update(classes=classes))
    with pytest.raises(CheckpointError, match=r"config\.json"):
        saddlepoint.load(run)


ENTRIES = [
    *((name, ()) for name in ("family", "preset", "options", "settings", "data", "device", "threads", "machine")),
    *((name, ("data",)) for name in ("source", "name", "fingerprint", "modality", "shape", "classes", "rows")),
    *((name, ("data",)) for name in ("shares", "static", "labelling", "reading", "options", "look", "total")),
    *((name, ("settings",)) for name in ("seed", "steps", "kimg", "seconds", "keep", "snapshot_samples", "remedy")),
    *((name, ("options",)) for name in ("batch_size", "generator_widths", "lr", "latent_size")),
]


@pytest.mark.parametrize(("name", "inside"), ENTRIES, ids=str)
def test_an_entry_of_another_kind_is_refused_in_words(
    name: str, inside: tuple[str, ...], made: Path, tmp_path: Path
) -> None:
    """Before, several of them ended in a traceback, in one command or another."""
    values: list[Any] = [None, 10**400, -1, "x", [[[]]], {"a": 1}, "\x1b[31m" * 2000, HUGE]
    for number, value in enumerate(values):
        run = tmp_path / str(number) / "run"
        shutil.copytree(made, run)

        def put(kept: dict[str, Any], value: Any = value) -> None:
            for part in inside:
                kept = kept[part]
            kept[name] = value

        changed(run / "config.json", put)
        for reader in READERS[:4]:
            with contextlib.suppress(SaddlepointError):
                reader(run)


@pytest.mark.parametrize(
    "name", ["../other.safetensors", "/etc/hosts", "model.safetensors/..", "extra.safetensors", ""]
)
def test_a_checkpoint_names_its_own_files_only(name: str, run: Path) -> None:
    """Before, names could be paths."""
    state = run / "checkpoints" / "step00000003" / "state.json"
    kept = json.loads(state.read_text())
    del kept["digest"]
    kept["sha256"][name] = "0" * 64
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
    state.write_text(json.dumps({**kept, "digest": digest}))
    with pytest.raises(CheckpointError, match="which none has"):
        read_checkpoint(state.parent)


def safetensors(entries: dict[str, Any], size: int = 0) -> bytes:
    """Return a file of these entries, with so many bytes after its header."""
    header = json.dumps(entries).encode()
    return struct.pack("<Q", len(header)) + header + bytes(size)


def entry(shape: list[Any], begin: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


HEADERS = {
    "empty": b"",
    "short": b"\x00" * 7,
    "longer than the file": struct.pack("<Q", 2**62) + b"{}",
    "no list": safetensors([]),  # type: ignore[arg-type]
    "deep": struct.pack("<Q", 4000) + b"[" * 2000 + b"]" * 2000,
    "more than the file": safetensors({"w": entry([2**40], 0, 2**42)}),
    "less than the file": safetensors({"w": entry([1], 0, 4)}, 8),
    "shape and place differ": safetensors({"w": entry([3], 0, 8)}, 8),
    "overlap": safetensors({"a": entry([2], 0, 8), "b": entry([2], 0, 8)}, 8),
    "gap": safetensors({"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, 12),
    "negative": safetensors({"a": entry([-1], 0, -4)}),
    "no number": safetensors({"a": entry([2.0], 0, 8)}, 8),
    "truth": safetensors({"a": entry([True], 0, 4)}, 4),
    "more axes than a tensor has": safetensors({"a": entry([1] * 65, 0, 4)}, 4),
    "other type": safetensors({"a": entry([2], 0, 8, "PY_OBJECT")}, 8),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_a_header_is_held_against_its_file(kind: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(HEADERS[kind])
    with pytest.raises(ValueError, match=r"its|nested"):
        read_header(tmp_path / "model.safetensors")


def test_a_file_with_holes_beyond_the_memory_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before, its checksum was made first, which takes an hour for a file that takes a kilobyte on the disk."""
    monkeypatch.setattr(tensors, "usable_memory", lambda: 10**9)
    (tmp_path / "model.safetensors").write_bytes(safetensors({"w": entry([2**29], 0, 2**31)}))
    with open(tmp_path / "model.safetensors", "r+b") as file:
        file.truncate(file.seek(0, os.SEEK_END) + 2**31)
    with pytest.raises(ValueError, match="2 GB, more than the 1 GB of memory here"):
        read_header(tmp_path / "model.safetensors")


def test_networks_of_a_run_that_goes_on_are_about_as_large_as_its_checkpoint(run: Path) -> None:
    """Before, they took whatever the configuration asked for."""
    changed(run / "config.json", lambda kept: kept["options"].update(generator_widths=[9_000, 9_000]))
    with pytest.raises(CheckpointError, match="far larger than the weights"):
        saddlepoint.resume(run, steps=5)


def test_a_remedy_of_the_log_asks_for_no_larger_networks(run: Path) -> None:
    line = {
        "step": 1, "nimg": 16, "event": "remedy", "number": 1, "verdict": "diverged", "evidence": [], "alarm_nimg": 48,
        "undone": None, "remedy": "rate", "why": "", "changes": {"generator_widths": [9_000, 9_000]}, "until": 90,
        "abandoned": "remedies/01.jsonl",
    }  # fmt: skip
    (run / "log.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(CheckpointError, match="far larger than the weights"):
        saddlepoint.resume(run, steps=5)


@pytest.mark.parametrize("change", ["shape", "name", "statistics", "type", "nimg"])
def test_a_state_of_other_networks_is_refused_in_words(change: str, run: Path) -> None:
    """Before, momenta of any shape and name were taken over, and training ended in a traceback."""
    kept = read_checkpoint(run / "checkpoints" / "step00000003")
    parts = {name: dict(part) for name, part in kept.tensors.items()}
    training, facts = parts["training"], dict(kept.facts)
    momentum = next(name for name in training if name.startswith("optimizer") and not name.endswith("/step"))
    if change == "shape":
        training[momentum] = torch.zeros(3)
    elif change == "name":
        training[momentum + "_more"] = training[momentum].clone()
    elif change == "statistics":
        training["statistics/loss"] = torch.zeros(3)
    elif change == "type":
        parts["model"] = {name: x.double() if x.is_floating_point() else x for name, x in parts["model"].items()}
    else:
        facts["nimg"] = 10**9
    shutil.rmtree(run / "checkpoints")
    write_checkpoint(run / "checkpoints", type(kept)(kept.step, parts, facts), keep=1)
    with pytest.raises(CheckpointError, match=r"checkpoint's|belongs to"):
        saddlepoint.resume(run, steps=5)


COLUMN: dict[str, Any] = {"name": "x", "low": 0.0, "high": 1.0}


@pytest.mark.parametrize(
    "columns",
    [
        [{**COLUMN, "low": "0"}],
        [{**COLUMN, "high": float("inf")}],
        [{**COLUMN, "decimals": 10**6}],
        [{**COLUMN, "step": 0}],
        [{**COLUMN, "values": 7}],
        [{**COLUMN, "name": []}],
        [{**COLUMN, "range": [1]}],
        [{**COLUMN, "above": ["y"], "range": [0, 1]}],
        [{**COLUMN, "above": ["y"], "range": [0, 1]}, {**COLUMN, "name": "y", "above": ["x"], "range": [0, 1]}],
    ],
    ids=str,
)
def test_a_kept_column_is_one_that_values_can_be_of(columns: list[dict[str, Any]]) -> None:
    """Before, two columns above each other let whoever wrote samples wait for ever, or end in a traceback."""
    kept = {"columns": columns, "order": ["x"], "clock": None, "label": None}
    with pytest.raises(SaddlepointError, match="damaged"):
        layout_from_json(kept)


ODD_FIGURES: list[Callable[[dict[str, Any]], object]] = [
    lambda kept: kept["rows"][0].update(value=10**400),
    lambda kept: kept["rows"][0].update(interval=[1.0]),
    lambda kept: kept["rows"][0].update(interval=3),
    lambda kept: kept["metrics"][0].update(digits=10**9),
    lambda kept: kept["metrics"][0].update(better="best"),
    lambda kept: kept.update(rows=7),
    lambda kept: kept.update(more=1),
]


@pytest.mark.parametrize("change", ODD_FIGURES, ids=range(len(ODD_FIGURES)))
def test_kept_figures_that_cannot_be_are_refused(change: Callable[[dict[str, Any]], object], tmp_path: Path) -> None:
    row = {
        "metric": "distance", "row": "g", "value": 1.0, "standard_error": None, "interval": None, "role": "model",
        "details": {},
    }  # fmt: skip
    kept: dict[str, Any] = {
        "protocol": "fd1k_x_test", "summary": "", "verdict": "", "data": "digits", "fingerprint": "a", "seed": 0,
        "version": 1, "seconds": 1.0, "metrics": [{"name": "distance", "better": "lower", "unit": "", "digits": 2}],
        "rows": [row],
    }  # fmt: skip
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps(kept))
    assert read_results(path)[0].rows[0].value == 1.0
    change(kept)
    path.write_text(json.dumps(kept))
    with pytest.raises(SaddlepointError, match="cannot be read"):
        read_results(path)


@pytest.mark.parametrize("name", ["x" * 300, "a\x00b", "/".join("x" * 200 for _ in range(40))], ids=len)
def test_a_name_in_an_address_that_no_file_can_have_is_no_run(name: str, tmp_path: Path) -> None:
    """Before, a long one was a traceback."""
    assert index.RunIndex(tmp_path).path(name) is None


# --- exports ---


def sum_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# --- exports ----------------------------------------------------------------------------------------------------------


def onnx_file(place: str, where: str = "initializer") -> bytes:
    """Return a small graph that has its numbers in another file, as a weight, in an attribute, or in a branch."""
    from onnx import TensorProto, helper

    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4])
    if place:
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=place)
    else:
        tensor.raw_data = bytes(16)
    given, made = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy")
    nodes = [helper.make_node("Add", ["x", "w"], ["y"])]
    if where != "initializer":
        nodes = [helper.make_node("Constant", [], ["w"], value=tensor), *nodes]
    graph = helper.make_graph(nodes, "g", [given], [made], [tensor] if where == "initializer" else [])
    if where == "branch":
        inner = helper.make_graph([helper.make_node("Constant", [], ["y"], value=tensor)], "b", [], [made])
        chosen = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
        node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
        graph = helper.make_graph([node], "g", [chosen], [made])
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())


@pytest.mark.parametrize("where", ["initializer", "attribute", "branch"])
def test_a_graph_with_numbers_in_another_file_is_found_out(where: str) -> None:
    assert not reads_other_files(onnx_file("", where))
    for place in ("other.bin", "../home/file", "/etc/hostname"):
        assert reads_other_files(onnx_file(place, where))


@pytest.mark.parametrize("content", [b"\xff" * 20, b"\x3a\xff\xff\xff\xff\x07", b"\x3b", b"\x38\x01", b"<html>"])
def test_what_is_no_graph_is_refused(content: bytes) -> None:
    with pytest.raises((ValueError, IndexError)):
        reads_other_files(content)


@pytest.mark.parametrize("kind", ["own", "other file", "pipe"])
def test_a_foreign_export_reads_nothing_but_its_own_graphs(kind: str, tmp_path: Path) -> None:
    """Before, onnxruntime was left to decide, and a pipe was waited for."""
    content = onnx_file("elsewhere.bin" if kind == "other file" else "")
    (tmp_path / "elsewhere.bin").write_bytes(bytes(16))
    spec = {
        "modality": "vector", "classes": [], "shares": [],
        "graphs": [
            {"name": "model", "file": "model.onnx", "sha256": sum_of(content), "half": None, "inputs": []}
        ],
    }  # fmt: skip
    (tmp_path / "model.json").write_text(json.dumps(spec))
    replaced(tmp_path / "model.onnx", os.mkfifo if kind == "pipe" else lambda path: path.write_bytes(content))
    if kind == "own":
        assert list(Generator(tmp_path).graphs) == ["model"]
        return
    with within(20), pytest.raises(ValueError, match=r"in another file|no file, but a pipe"):
        Generator(tmp_path)


@pytest.mark.parametrize("name", ["../../../home/file", "/etc/hostname", "model.json", "a/b.onnx", "model.onnx"])
def test_graphs_of_an_earlier_export_are_taken_from_it_alone(
    name: str, run: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, a path was copied from where it led to where it led."""
    place = run / kept.PLACE
    place.mkdir()
    shutil.copy(outside / "file", place / "model.onnx")
    graph = {"file": name, "sha256": sum_of(THEIRS), "half": None}
    (place / "model.json").write_text(json.dumps({"identity": "this", "parity": {}, "graphs": [graph]}))
    found = kept.earlier(saddlepoint.load(run), "this")
    assert (found is not None) == (name == "model.onnx")


def test_an_export_in_a_cache_of_links_is_loaded(made: Path, tmp_path: Path) -> None:
    """The hub's snapshots are links to files that are called by what they hold."""
    from saddlepoint.export import export_run

    blobs = export_run(made, "safetensors", tmp_path / "blobs")
    (tmp_path / "snapshot").mkdir()
    for path in blobs.iterdir():
        (tmp_path / "snapshot" / path.name).symlink_to(path)
    assert torch.equal(saddlepoint.load(tmp_path / "snapshot").sample(3), saddlepoint.load(blobs).sample(3))
    with pytest.raises(CheckpointError, match="is an export"):
        saddlepoint.resume(tmp_path / "snapshot")


@pytest.mark.parametrize(
    "kind",
    [
        torch.bool, torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.uint32, torch.int64,
        torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2, torch.float16, torch.bfloat16, torch.float32,
        torch.float64, torch.complex64,
    ],
    ids=str,
)  # fmt: skip
def test_tensors_of_every_type_that_safetensors_has_are_read(tmp_path: Path, kind: torch.dtype) -> None:
    x = torch.ones(3, 5).to(kind)
    save_file({"x": x, "none": x[:0]}, tmp_path / "model.safetensors")
    header = read_header(tmp_path / "model.safetensors")
    assert header["x"].shape == (3, 5)
    assert _BYTES[header["x"].dtype] == kind.itemsize
    found = load_tensors(tmp_path / "model.safetensors")
    assert found["x"].dtype == kind
    assert torch.equal(found["x"].view(torch.uint8), x.view(torch.uint8))


@pytest.mark.parametrize(
    ("value", "sound"),
    [(1, True), (5, True), (2**53, True), (0, False), (2**53 + 1, False), (True, False), (3.0, False), (None, False)],
)
def test_a_count_is_a_whole_number_within_its_bounds(value: Any, sound: bool) -> None:
    assert weights._is_count(value, 1) is sound
    assert weights._is_count(value, 1, 4) is (sound and value <= 4)
