"""Exported folders: the same samples as PyTorch's, without PyTorch; weights that load again; refusals."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch import Tensor

import saddlepoint
from saddlepoint.core.errors import CheckpointError, ConfigError
from saddlepoint.data.catalogue import KNOWN
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.export import export_run, formats, kept, onnx_file, parity, quality
from saddlepoint.export.graphs import Graph, example, graphs_of
from saddlepoint.export.onnx_file import write_graphs
from saddlepoint.export.parity import check
from saddlepoint.export.random_inputs import RandomInputs
from saddlepoint.export.recurrent import _GATES, _ordered
from saddlepoint.export.sampler import units
from saddlepoint.export.sampler.files import grid, png, write
from saddlepoint.export.sampler.generator import Generator, taken
from saddlepoint.families.timegan.fixed import Fixed
from saddlepoint.family import families
from saddlepoint.family.boltzmann import Boltzmann
from saddlepoint.figures import grids
from saddlepoint.nn.mlp import dropout
from saddlepoint.run.run import Run
from tests.contract.presets import CASES, quick_ones, untrained
from tests.unit.exported import described
from tests.unit.measured import measured

OTHER_GRAPHS = ("gan", "cgan", "dcgan", "stargan", "timegan")
"""Families whose presets have generators of several kinds; those of the others differ in size."""
SAME_GRAPHS = [("gan", preset) for preset in ("mnist-private", "mnist-algorithm1", "tfd-2014")]
"""Presets whose graphs hold the operations of those of another one: they differ in the game."""

CHAINED = [name for name, kind in families().items() if issubclass(kind, Boltzmann)]


@pytest.mark.slow
@pytest.mark.parametrize("name", CHAINED)
def test_chains_of_units_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"family '{name}' draws units that are 0 or 1 .* --format safetensors"):
        graphs_of(untrained(name, "small")[0])


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        *quick_ones((case for case in CASES if case[0] not in CHAINED), True, OTHER_GRAPHS, SAME_GRAPHS),
        ("timegan", "increments:starts"),
    ],
)
def test_files_make_what_pytorch_makes(name: str, preset: str, tmp_path: Path) -> None:
    family = untrained(name, preset)[0]
    graphs = write_graphs(family, tmp_path)
    described(family, graphs, tmp_path)
    found = check(family, tmp_path)
    assert 0 <= found["largest"] < 1e-4
    weights = sum(p.numel() for p in family.parameters())
    assert sum(graph["bytes"] for graph in graphs) < 4 * weights + 1_000_000, "weights are kept twice"
    for graph in graphs:
        batch_axis_is_named(onnx.load(tmp_path / graph["file"]), graph["inputs"])
    here = str(Path(saddlepoint.__file__).parent).encode()
    for file in tmp_path.glob("*.onnx"):
        assert here not in file.read_bytes(), "a path of this machine is in the file"


def test_a_graph_that_holds_the_rows_of_its_example_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted mistake: `len`, which the tracer takes for a constant, and says nothing of."""
    remembered = Fixed.remembered

    def counted(self: Fixed, chosen: torch.Tensor, generator: torch.Generator) -> list[torch.Tensor]:
        assert len(chosen)
        return remembered(self, chosen, generator)

    monkeypatch.setattr(Fixed, "remembered", counted)
    with pytest.raises(ConfigError, match=r"cannot trace 'inputs' of family 'timegan' .* take its batch from x.shape"):
        write_graphs(untrained("timegan", "increments:starts")[0], tmp_path)


def batch_axis_is_named(model: Any, inputs: list[dict[str, Any]]) -> None:
    """Hold a file to one name for the axis of the rows, on every input and on the output."""
    names = {value.name: [size.dim_param for size in value.type.tensor_type.shape.dim] for value in model.graph.input}
    assert names == {of["name"]: ["batch" if size is None else "" for size in of["shape"]] for of in inputs}
    (output,) = model.graph.output
    assert output.type.tensor_type.shape.dim[0].dim_param == "batch"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a conditional run on digits with figures."""
    return measured(tmp_path_factory, ["fd"])


@pytest.fixture(scope="module")
def exported(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_run(run, "onnx", tmp_path_factory.mktemp("exports") / "digits", measure=False)


WITHOUT_TORCH = """
import sys, runpy
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "saddlepoint", "PIL", "onnx", "scipy"):
            raise ImportError(f"{name} is not there")
sys.meta_path.insert(0, Refused())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def sampled(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-c", WITHOUT_TORCH, str(folder / "sample.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_folder_samples_without_torch(run: Run, exported: Path, tmp_path: Path) -> None:
    out = tmp_path / "drawn.png"
    done = sampled(exported, "-n", "9", "--label", "3", "--out", str(out))
    assert done.returncode == 0, done.stderr
    with Image.open(out) as picture:
        assert picture.size == (3 * 58 + 2, 3 * 58 + 2)  # 8 pixels enlarged to 56, gaps of 2
    arrays = tmp_path / "drawn.npz"
    assert sampled(exported, "-n", "200", "--seed", "4", "--out", str(arrays)).returncode == 0
    folder = tmp_path / "single"
    assert sampled(exported, "-n", "9", "--label", "3", "--out", str(folder)).returncode == 0
    assert sorted(path.name for path in folder.iterdir()) == [f"00000{number}.png" for number in range(9)]
    with Image.open(out) as sheet, Image.open(folder / "000004.png") as middle:
        assert middle.size == (8, 8)
        assert np.array_equal(np.asarray(sheet)[60:116:7, 60:116:7], np.asarray(middle))
    again = sampled(exported, "-n", "9", "--out", str(folder))
    assert (again.returncode, "not an empty folder" in again.stderr) == (1, True)
    kept = np.load(arrays)
    assert kept["x"].shape == (200, 1, 8, 8)
    assert np.abs(kept["x"]).max() <= 1
    assert set(kept["labels"]) == set(range(10))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--label", "eleven"), "no class 'eleven'"),
        (("--out", "x.csv"), "should end in"),
        (("--truncation", ".5"), "intermediate space"),
        (("-n", "0"), "at least one sample"),
    ],
)
def test_the_program_refuses_in_words(exported: Path, words: tuple[str, ...], message: str) -> None:
    done = sampled(exported, *words)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_table_of_series_is_quoted_and_names_classes(tmp_path: Path) -> None:
    columns = [{"name": "price, USD"}, {"name": "plain"}]
    spec = {"modality": "sequence", "classes": ["up", "down"], "layout": {"columns": columns, "label": "mood"}}
    fake: Any = SimpleNamespace(spec=spec, restored=lambda x: x)
    x = np.array([[[1.5, 2.0], [np.nan, np.nan]], [[3.0, 4.0], [5.0, 6.0]]])
    write(tmp_path / "s.csv", fake, x, np.array([1, 0]))
    with (tmp_path / "s.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["window", "price, USD", "plain", "mood"], ["0", "1.5", "2", "down"], ["1", "3", "4", "up"],
            ["1", "5", "6", "up"],
        ]  # fmt: skip


def test_the_same_inputs_give_the_samples_of_the_run(run: Run, exported: Path) -> None:
    z, labels = run.inputs(20, seed=5), run.labels(20, seed=5)
    assert labels is not None
    found = Generator(exported).generate(z.numpy(), labels.numpy())
    assert np.abs(found - run.generate(z, labels).numpy()).max() < 1e-5
    halved = Generator(exported, half=True).generate(z.numpy(), labels.numpy())
    assert 0 < np.abs(halved - found).max() < 0.05


def test_windows_come_back_by_the_rules_of_their_columns() -> None:
    """A number, a category, one that stays within a window, a frequent value, and a column above another one."""
    plain = {"low": 0.0, "high": 10.0, "decimals": 1}
    columns = [
        {"name": "n", **plain},
        {"name": "sky", "values": ["sun", "rain", "snow"]},
        {"name": "site", "low": 100.0, "high": 200.0, "decimals": 0, "static": True},
        {"name": "wet", **plain, "spike": 0.0},
        {"name": "top", **plain, "above": ["n"], "range": [0.0, 12.0]},
    ]
    # Numbers first, then what stands in groups: three of the category, one that stays, two of the frequent value.
    window = np.array(
        [
            [0.2, 0.5, 0.1, 0.1, 0.7, 0.2, 0.25, 0.9, 0.1],
            [0.84, 0.004, 0.9, 0.8, 0.1, 0.1, 0.25, 0.2, 0.3],
            [np.nan] * 9,
        ]
    )[None]
    found = units.restored(window, columns)
    # At the first step the frequent value is likely; at the second .04 would be rounded to it, and is not.
    assert found[0, 0].tolist() == [2.0, 1.0, 125.0, 0.0, 3.0]
    assert found[0, 1].tolist() == [8.4, 0.0, 125.0, 0.1, 12.0]
    assert np.isnan(found[0, 2]).all()


def test_chosen_rows_lie_along_the_open_axis() -> None:
    x = np.arange(24).reshape(2, 3, 4)
    assert np.array_equal(taken(x, [2, None, 4], np.array([2, 0]), 3), x[:, [2, 0]])
    assert np.array_equal(taken(x, [None, 3, 4], np.array([1]), 2), x[1:])
    assert taken(x, [None, 3, 4], np.arange(2), 2) is x
    # What has no axis of rows, such as a noise map that all share, belongs to any of them.
    assert taken(x, [2, 3, 4], np.array([1]), 2) is x


def test_the_description_says_where_it_comes_from(run: Run, exported: Path) -> None:
    told = json.loads((exported / "model.json").read_text())
    assert told["classes"] == [str(digit) for digit in range(10)]
    assert told["data"]["licence"] == KNOWN[run.config["data"]["name"]].licence
    assert told["parity"]["largest"] < 1e-4
    assert told["half"]["bytes"] < 0.9 * told["half"]["bytes_whole"]
    assert told["figures"][0]["protocol"].startswith("fd")
    assert str(run.path) not in json.dumps(told)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda told: told.update(graphs=[]), "graphs"),
        (lambda told: told["graphs"][0].update(file="../model.onnx"), "no file of this folder"),
        (lambda told: told["graphs"][0]["inputs"][0].update(shape=[2**40]), "shape"),
        (lambda told: told["graphs"][0]["inputs"][0].update(shape=[2**20, 2**20]), "shape"),
        (lambda told: told["graphs"][0]["inputs"][0].update(shape=[None, *[1] * 8]), "shape"),
        (lambda told: told["graphs"][0]["inputs"][0].update(shape=[None, True]), "shape"),
        (lambda told: told.update(batch=True), "batch"),
        (lambda told: told["graphs"][0]["inputs"][0].update(type="complex64"), "type"),
        (lambda told: told["graphs"][0]["inputs"][0].update(type=10**30), "type"),
        (lambda told: told["graphs"][0]["inputs"][0].pop("name"), "name"),
        (lambda told: told["graphs"][0]["inputs"][0].update(name=["z"]), "name"),
        (lambda told: told["graphs"][0]["inputs"][0].update(kind="integers", low=0.5, high=2), "integers"),
        (lambda told: told["graphs"][0]["inputs"][0].update(kind="integers", low=0, high=2**64), "integers"),
        (lambda told: told["graphs"][0]["inputs"][0].update(kind="integers", low=2, high=2), "integers"),
        (lambda told: told["graphs"][0].pop("sha256"), "sha256"),
        (lambda told: told.update(shares=[[]]), "shares"),
        (lambda told: told.update(shares=[-1.0] * 10), "shares"),
        (lambda told: told.update(modality="taste"), "modality"),
        (lambda told: told.clear(), "modality"),
    ],
)
def test_a_damaged_description_is_refused_in_words(
    exported: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object], word: str
) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "export"))
    told = json.loads((folder / "model.json").read_text())
    change(told)
    (folder / "model.json").write_text(json.dumps(told))
    with pytest.raises(ValueError, match="does not describe a generator") as caught:
        Generator(folder)
    assert word in str(caught.value)
    done = sampled(folder)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_a_graph_that_cannot_be_run_is_refused_in_words(exported: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "export"))
    (folder / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(ValueError, match="checksum"):
        Generator(folder)
    told = json.loads((folder / "model.json").read_text())
    for graph in told["graphs"]:
        graph["sha256"] = hashlib.sha256((folder / graph["file"]).read_bytes()).hexdigest()
    (folder / "model.json").write_text(json.dumps(told))
    with pytest.raises(ValueError, match="no graph that can be run"):
        Generator(folder)


def test_a_graph_that_differs_is_refused(run: Run, exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The planted failure: the file holds other weights than the run.
    bias = run.family.generator.output.bias
    with torch.no_grad():
        bias += 0.05
    try:
        with pytest.raises(ConfigError, match="away from PyTorch's"):
            check(run.family, exported)
    finally:
        with torch.no_grad():
            bias -= 0.05
    assert check(run.family, exported)["largest"] < parity.TOLERANCE


@pytest.mark.parametrize("size", parity.SIZES)
def test_a_graph_that_differs_at_one_batch_size_is_refused(
    run: Run, exported: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    plain = Generator.generate

    def shifted(self: Generator, z: np.ndarray, *more: Any) -> np.ndarray:
        made = plain(self, z, *more)
        made[-1:] += 0.01 * (len(made) == size)
        return made

    monkeypatch.setattr(Generator, "generate", shifted)
    with pytest.raises(ConfigError, match="away from PyTorch's"):
        check(run.family, exported)


def test_of_large_images_fewer_are_compared() -> None:
    assert parity.sizes_for((24, 6)) == parity.sizes_for((3, 64, 64)) == parity.SIZES == (1, 2, 7, 64)
    assert parity.sizes_for((3, 128, 128)) == (1, 2, 7, 16)
    assert parity.sizes_for((3, 256, 256)) == (1, 2, 4)
    assert parity.sizes_for((3, 1024, 1024)) == (1, 2)


def test_a_figure_that_would_take_long_is_not_measured(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "PATIENCE", 0)
    said: list[str] = []
    folder = export_run(run, "onnx", tmp_path / "out", say=said.append)
    assert "protocol" not in json.loads((folder / "model.json").read_text())["half"]
    assert any("quality was not measured, because" in line for line in said)


def test_nothing_is_left_of_an_export_that_fails(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(run: Run, folder: Path, choices: object) -> None:
        (folder / "half-written").touch()
        raise ConfigError("the disk is on fire")

    monkeypatch.setattr(formats, "WRITERS", {"onnx": fails})
    with pytest.raises(ConfigError, match="on fire"):
        export_run(run, "onnx", tmp_path / "out", measure=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_fp16_costs_are_measured_by_the_projects_own_figure(run: Run, tmp_path: Path) -> None:
    lines: list[str] = []
    folder = export_run(run, "onnx", tmp_path / "out", say=lines.append)
    cost = json.loads((folder / "model.json").read_text())["half"]
    assert cost["protocol"].startswith("fd")
    assert cost["half"]["value"] == pytest.approx(cost["whole"]["value"], rel=0.01)
    assert cost["half"]["value"] != cost["whole"]["value"]
    assert any("becomes" in line for line in lines)


@pytest.mark.slow
def test_series_come_back_in_the_units_of_their_table(tmp_path: Path) -> None:
    times = np.arange(200)
    rows = [f"{i},{100 + 10 * np.sin(i / 5):.2f},{i % 7}" for i in times]
    table = tmp_path / "prices.csv"
    table.write_text("\n".join(["day,price,count", *rows]) + "\n")
    options = {"width": "8", "latent_size": "4", "latent_shared": "2"}
    run = saddlepoint.train(
        "timegan", data=str(table), steps=3, options=options, window=8, time_column="day", threads=1,
        out=tmp_path / "run",
    )  # fmt: skip
    folder = export_run(run, "onnx", tmp_path / "out", measure=False)
    out = tmp_path / "drawn.csv"
    assert sampled(folder, "-n", "3", "--out", str(out)).returncode == 0
    lines = out.read_text().splitlines()
    assert lines[0] == "window,price,count"
    assert len(lines) == 1 + 3 * 8
    prices = [float(line.split(",")[1]) for line in lines[1:]]
    assert min(prices) >= 90
    assert max(prices) <= 110
    assert all(float(line.split(",")[2]).is_integer() for line in lines[1:])


def test_weights_load_as_the_same_generator(run: Run, tmp_path: Path) -> None:
    folder = export_run(run, "safetensors", tmp_path / "weights")
    again = saddlepoint.load(folder)
    assert torch.equal(again.sample(50, seed=3), run.sample(50, seed=3))
    assert again.step == run.step
    assert str(run.path.parent) not in (folder / "config.json").read_text()
    with pytest.raises(ConfigError, match="averaged weights only"):
        saddlepoint.load(folder, averaged=False)


def test_an_export_is_not_written_over(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(ConfigError, match="is there already"):
        export_run(run, "safetensors", tmp_path / "out")
    with pytest.raises(ConfigError, match="did you mean 'onnx'"):
        export_run(run, "onx")


def test_a_png_of_our_own_is_read_by_others(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for channels in (1, 3):
        pixels = rng.integers(0, 256, (channels, 5, 7), dtype=np.uint8)
        path = tmp_path / f"{channels}.png"
        path.write_bytes(png(pixels))
        with Image.open(path) as picture:
            read = np.asarray(picture).reshape(5, 7, channels)
        assert np.array_equal(read.transpose(2, 0, 1), pixels)


@pytest.mark.parametrize("shape", [(10, 1, 28, 28), (7, 3, 64, 48), (2, 4, 9, 20), (3, 3, 100, 100)])
def test_the_programs_sheet_is_the_librarys(shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    wanted = np.asarray(grids.tile(images, see_through=True)).reshape(*grid(images).shape[1:], shape[1])
    assert np.array_equal(grid(images).transpose(1, 2, 0), wanted)


def no_graphs(*given: Any) -> Any:
    raise AssertionError("the graphs were written anew")


def test_a_second_export_takes_the_graphs_of_the_first(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = export_run(run, "onnx", measure=False)
    monkeypatch.setattr(onnx_file, "write_graphs", no_graphs)
    lines: list[str] = []
    second = export_run(run, "onnx", tmp_path / "second", measure=False, say=lines.append)
    kinds = ("*.onnx", "*.json", "*.py", "sampler/*.py")
    written = [{p.name: p.read_bytes() for kind in kinds for p in folder.glob(kind)} for folder in (first, second)]
    assert written[0] == written[1]
    assert any("from PyTorch" in line for line in lines), "it must be compared all the same"
    # The planted failure: files of other weights under this identity.
    bias = run.family.generator.output.bias
    bias += 0.05
    try:
        with pytest.raises(AssertionError, match="written anew"):
            export_run(run, "onnx", tmp_path / "changed", measure=False)
        claimed = json.loads((first / "model.json").read_text())["identity"]
        monkeypatch.setattr(kept, "identity", lambda run, forms: claimed)
        with pytest.raises(ConfigError, match="away from PyTorch's"):
            export_run(run, "onnx", tmp_path / "changed", measure=False)
    finally:
        bias -= 0.05
    (first / "model.onnx").write_bytes(b"damaged")
    with pytest.raises(AssertionError, match="written anew"):
        export_run(run, "onnx", tmp_path / "damaged", measure=False)


def test_costs_are_measured_once(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def cost(run: Run, folder: Path, measure: bool, say: object) -> dict[str, Any]:
        asked.append(measure)
        return {"largest": 0.0} | ({"protocol": "fd"} if measure else {})

    monkeypatch.setattr(quality, "cost_of_fp16", cost)
    shutil.rmtree(run.path / kept.PLACE, ignore_errors=True)
    for measure in (False, False, True, True, False):
        told = json.loads((export_run(run, "onnx", measure=measure) / "model.json").read_text())
    assert asked == [False, True]
    assert told["half"]["protocol"] == "fd"


def test_recorded_draws_are_replayed_in_their_order() -> None:
    def draw(generator: torch.Generator) -> Tensor:
        x = torch.randn(2, 3, generator=generator) + torch.rand(2, 3, generator=generator)
        return dropout(x, 0.5, generator) + torch.randint(5, (2, 1), generator=generator)

    with RandomInputs() as recorded:
        wanted = draw(stream("cpu", "record"))
    assert [d.kind for d in recorded.draws] == ["normal", "uniform", "integers", "integers"]
    with RandomInputs(recorded.values, recorded.readings):
        # Another generator: nothing is drawn from it.
        assert torch.equal(draw(stream("cpu", "other")), wanted)
    assert torch.equal(draw(stream("cpu", "record")), wanted), "recording must not change what is drawn"


def test_recording_refuses_draws_it_does_not_know() -> None:
    with RandomInputs(), pytest.raises(ConfigError, match="by bernoulli"):
        torch.bernoulli(torch.full((2,), 0.5), generator=stream("cpu", "record"))


def test_a_generator_that_decides_by_its_inputs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    family = untrained("gan", "mnist")[0]
    plain = type(family).generate

    def deciding(self: Any, inputs: Tensor, labels: Tensor | None = None, *, generator: torch.Generator) -> Tensor:
        return plain(self, inputs if bool(inputs[0, 0] > 10) or float(inputs.sum()) else -inputs, generator=generator)

    monkeypatch.setattr(type(family), "generate", deciding)
    with pytest.raises(ConfigError, match="decides by its inputs"):
        graphs_of(family)


def test_draws_know_their_batch_axis() -> None:
    inputs, model = graphs_of(untrained("timegan", "increments")[0])
    assert isinstance(inputs, Graph)
    assert inputs.inputs[0].shape == (8, 32, None)
    assert model.inputs[0].shape == (None, 8, 32)
    assert example(inputs.inputs[0], 4, inputs.family).shape == (8, 32, 4)


def test_gates_are_put_into_the_order_of_onnx() -> None:
    """Its documents list the gates of GRU as z, r, h and those of LSTM as i, o, f, c."""
    ours = {"gru": "rzh", "gru-before": "rzh", "lstm": "ifco"}
    theirs = {"gru": "zrh", "gru-before": "zrh", "lstm": "iofc"}
    assert {cell: "".join(ours[cell][place] for place in order) for cell, order in _GATES.items()} == theirs
    gates = torch.arange(8).repeat_interleave(2)[:8]
    assert _ordered(gates, (0, 3, 1, 2)).tolist() == [0, 0, 3, 3, 1, 1, 2, 2]


def test_a_damaged_folder_is_refused_by_the_program(exported: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(exported, copy)
    content = bytearray((copy / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (copy / "model.onnx").write_bytes(content)
    done = sampled(copy)
    assert done.returncode == 1
    assert "checksum does not match" in done.stderr


def test_missing_runs_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not a run folder"):
        export_run(tmp_path / "nowhere")


@pytest.mark.slow
def test_categories_spikes_and_rules_come_back_without_the_library(tmp_path: Path) -> None:
    """The folder's own program decodes windows as the library does, and its graphs make the same windows."""
    rng = np.random.default_rng(0)
    days = np.datetime64("2015-01-01") + np.arange(1000)
    low, dry = rng.normal(size=1000).round(1), rng.random(1000) < 0.5
    lines = [
        f"{day},{0.0 if dry[i] else rng.exponential(3) + 0.1:.1f},{low[i]:.1f},{low[i] + rng.random():.1f},"
        f"{'dry' if dry[i] else 'wet'}"
        for i, day in enumerate(days)
    ]
    (tmp_path / "w.csv").write_text("\n".join(["day,rain,low,high,kind", *lines]) + "\n")
    options = {"width": "8", "latent_size": "4", "latent_shared": "2"}
    run = saddlepoint.train(
        "timegan", data=str(tmp_path / "w.csv"), steps=3, options=options, window=8, threads=1, keep="low <= high",
        out=tmp_path / "run",
    )  # fmt: skip
    assert run.layout.onehot == (2, 2)
    assert run.layout.known == 2
    folder = export_run(run, "onnx", tmp_path / "out", measure=False)
    x = run.sample(50, seed=1).numpy()
    assert np.array_equal(Generator(folder).restored(x), run.layout.restore(x))
    out = tmp_path / "drawn.csv"
    assert sampled(folder, "-n", "20", "--out", str(out)).returncode == 0
    with out.open() as file:
        drawn = list(csv.DictReader(file))
    assert {row["kind"] for row in drawn} == {"dry", "wet"}
    assert all(float(row["low"]) <= float(row["high"]) for row in drawn)
    with pytest.raises(ConfigError, match="--format onnx, whose program can"):
        export_run(run, "web", tmp_path / "page", measure=False)


def test_what_is_written_can_be_read_by_whom_the_umask_lets(
    run: Run, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SADDLEPOINT_CACHE_DIR", str(tmp_path / "cache"))
    export_run(run, "hub", tmp_path / "hub")
    pictures = np.random.default_rng(0).integers(0, 256, (12, 1, 16, 16), dtype=np.uint8)
    saddlepoint.train("dcgan", pictures, steps=1, threads=1, out=tmp_path / "memory")
    umask = os.umask(0)
    os.umask(umask)
    paths = [path for root in (run.path, exported, tmp_path) for path in root.rglob("*")]
    assert {path.suffix for path in paths} > {".safetensors", ".onnx"}
    assert any(tmp_path / "cache" in path.parents and path.is_file() for path in paths)
    closed = [p for p in paths if stat.S_IMODE(p.stat().st_mode) != (0o777 if p.is_dir() else 0o666) & ~umask]
    assert closed == []
