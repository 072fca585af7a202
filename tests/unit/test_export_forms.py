"""The forms that runtimes need: other graphs that make the same; guards; files that are tried before use."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from saddlepoint.cli.ship import Runtime
from saddlepoint.core.errors import ConfigError
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.export import export_run, quality
from saddlepoint.export.forms import OPSET, TARGETS, Forms, Target, chosen
from saddlepoint.export.parity import TOLERANCE, check
from saddlepoint.export.rewrites import LOWERED, fold_constants
from saddlepoint.export.sampler import runtimes
from saddlepoint.export.sampler.generator import Generator
from saddlepoint.export.sampler.runtimes import RUNTIMES, in_shape
from saddlepoint.export.trial import tried
from saddlepoint.families.stylegan1.game import EPSILON, SLOPE, Epilogue
from saddlepoint.nn.styled import normalised_constant
from saddlepoint.run.run import Run
from tests.contract.presets import untrained
from tests.unit.exported import written
from tests.unit.measured import measured


def operators(path: Path) -> set[str]:
    return {node.op_type for node in onnx.load(path).graph.node}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("openvin", None, None), "did you mean 'openvino'"),
        ((None, 16, None), "opset is 16, but it must be from 17 to 23"),
        ((None, None, "0"), "from 1 to 65,536, or dynamic"),
        ((None, None, "many"), "batch is 'many'"),
        (("ncnn", None, "4"), "for ncnn it must be 1"),
        (("tract", None, "dynamic"), "for tract it must be a number"),
    ],
)
def test_what_cannot_be_had_is_refused(asked: tuple[Any, Any, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        chosen(*asked)


def test_choices_follow_from_the_target() -> None:
    assert chosen(None, None, None) == (Target(), Forms())
    assert chosen("ncnn", None, None)[1].batch == 1
    assert chosen("tract", 18, "8")[1] == Forms(opset=18, batch=8, half=False)
    assert chosen("tensorrt", None, "dynamic")[1].batch is None
    assert {runtime.value for runtime in Runtime} == set(TARGETS)
    assert {target.runtime for target in TARGETS.values()} <= set(RUNTIMES)


@pytest.mark.parametrize(
    ("name", "preset", "forms", "without"),
    [
        ("dcgan", "small-conditional", TARGETS["ncnn"].forms, {"ReduceMean", "Gather", "Cast", "Equal"}),
        ("timegan", "increments", Forms(recurrent="unrolled"), {"GRU"}),
        ("cgan", "mnist", Forms(labels="rows"), {"Equal", "Cast", "OneHot", "Gather"}),
        ("stargan2", "tiny-32", Forms(opset=17, batch=2), {"Equal", "Cast", "OneHot", "GatherND"}),
    ],
)
def test_a_graph_in_another_form_makes_the_same(
    name: str, preset: str, forms: Forms, without: set[str], tmp_path: Path
) -> None:
    family = untrained(name, preset)[0]
    folder = written(family, tmp_path, forms)
    assert check(family, folder)["largest"] < TOLERANCE
    assert not operators(folder / "model.onnx") & without
    model = onnx.load(folder / "model.onnx")
    assert model.opset_import[0].version == forms.opset
    sizes = [size for value in model.graph.input for size in value.type.tensor_type.shape.dim]
    assert all(size.dim_value for size in sizes) == (forms.batch is not None)
    if forms.opset == LOWERED:
        assert "allowzero" not in {attribute.name for node in model.graph.node for attribute in node.attribute}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return measured(tmp_path_factory, ["fd"])


@pytest.fixture(scope="module")
def exported(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_run(run, "onnx", tmp_path_factory.mktemp("exports") / "digits", measure=False)


def test_rows_beyond_a_fixed_batch_go_in_pieces(run: Run, exported: Path, tmp_path: Path) -> None:
    fixed = Generator(export_run(run, "onnx", tmp_path / "fixed", measure=False, batch=4))
    z, labels = run.inputs(9, seed=1).numpy(), np.arange(9)
    found = fixed.generate(z, labels)
    assert found.shape[0] == 9
    assert np.abs(found - Generator(exported).generate(z, labels)).max() < 1e-5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.array([0, 10])}, "labels are from 0 to 10, but they must be from 0 to 9"),
        ({"labels": np.array([-1, 0])}, "from -1 to 0"),
        ({"labels": np.array([0.0, 1.0])}, "must be whole numbers"),
        ({"labels": np.zeros((2, 1), int)}, "must be whole numbers"),
        ({"labels": np.array([1])}, "the same number of rows"),
        ({"inputs": np.zeros((2, 3), np.float32)}, "'inputs' is of shape"),
    ],
)
def test_the_sampler_refuses_what_runtimes_let_pass(
    run: Run, exported: Path, change: dict[str, np.ndarray], message: str
) -> None:
    given = {"inputs": run.inputs(2, seed=0).numpy(), "labels": np.array([3, 4])}
    generator = Generator(exported)
    assert len(generator.run("model", given)) == 2
    with pytest.raises(ValueError, match=message):
        generator.run("model", given | change)
    with pytest.raises(ValueError, match="needs 'labels'"):
        generator.run("model", {"inputs": given["inputs"]})


def test_the_raw_file_refuses_a_class_beyond_the_last(run: Run, exported: Path) -> None:
    session = ort.InferenceSession(exported / "model.onnx")
    given = {"inputs": run.inputs(1, seed=0).numpy(), "labels": np.array([10])}
    with pytest.raises(Exception, match="out of data bounds"):
        session.run(None, given)


def far_from_64_bits() -> Any:
    """Return a stylegan1 whose maps vary by thousandths around a large number, as a young one's do around 1."""
    family = untrained("stylegan1", "tiny-32")[0]
    family.generator.constant.fill_(300.0)
    family.generator.blocks[0].epilogues[0].strength.fill_(3e-3)
    return family


def test_rounding_that_is_magnified_is_held_against_64_bits(tmp_path: Path) -> None:
    family = far_from_64_bits()
    found = check(family, written(family, tmp_path))
    assert found["largest"] > TOLERANCE
    assert found["from_64_bits"] < TOLERANCE / 10 < found["pytorch_from_64_bits"]
    # The planted failure: another program, not another rounding.
    for image in family.generator.images:
        image.bias += 3 * found["pytorch_from_64_bits"]
    with pytest.raises(ConfigError, match="64 bits give"):
        check(family, tmp_path)


@pytest.mark.parametrize("middle", [1.0, -1.0, 0.01])
def test_the_form_for_constants_is_the_same_map(middle: float) -> None:
    random = torch.Generator().manual_seed(0)
    layer = Epilogue(5, 7).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.05, generator=random)
    constant = middle + 0.02 * torch.randn(1, 5, 4, 4, generator=random, dtype=torch.float64)
    w, noise = (torch.randn(shape, generator=random, dtype=torch.float64) for shape in ((3, 7), (3, 1, 4, 4)))
    wanted = layer(constant.expand(3, -1, -1, -1), w, noise)
    assert torch.allclose(layer.of_constant(constant, w, noise), wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_it_keeps_in_16_bits_what_the_plain_one_loses(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    random = torch.Generator().manual_seed(0)
    noise, styles = torch.randn(2, 1, 4, 4, generator=random), torch.zeros(2, 6)
    strength, bias, constant = torch.full((3,), 3e-3), torch.zeros(3), torch.ones(1, 3, 4, 4)
    given = (constant, styles, strength, bias, noise)
    exact = normalised_constant(*(x.double() for x in given), slope=SLOPE, eps=EPSILON)
    layer = Epilogue(3, 4).to(dtype)
    layer.strength.data, layer.bias.data = strength.to(dtype), bias.to(dtype)
    plain = layer._by_pytorch(noise.to(dtype), constant.to(dtype), styles.to(dtype), layer.strength, layer.bias)
    assert (plain - exact).abs().max() > 0.1
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    found = normalised_constant(*(x.to(dtype) for x in given), slope=SLOPE, eps=EPSILON)
    assert (found - exact).abs().max() < 0.05


def test_what_depends_on_weights_alone_is_computed_once() -> None:
    from onnx import TensorProto, helper, numpy_helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy")
    nodes = [helper.make_node("Mul", ["a", "b"], ["c"]), helper.make_node("Add", ["x", "c"], ["y"])]
    constants = [numpy_helper.from_array(np.full(2, v, np.float32), name) for name, v in (("a", 2.0), ("b", 3.0))]
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(helper.make_graph(nodes, "g", [x], [y], constants), opset_imports=opset, ir_version=10)
    fold_constants(model)
    assert [node.op_type for node in model.graph.node] == ["Add"]
    assert [tensor.name for tensor in model.graph.initializer] == ["c"]
    (found,) = ort.InferenceSession(model.SerializeToString()).run(None, {"x": np.ones(2, np.float32)})
    assert found.tolist() == [7.0, 7.0]


def test_an_output_that_depends_on_weights_alone_is_kept() -> None:
    from onnx import TensorProto, helper, numpy_helper

    x, y, c = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xyc")
    nodes = [helper.make_node("Mul", ["a", "a"], ["c"]), helper.make_node("Neg", ["x"], ["y"])]
    graph = helper.make_graph(nodes, "g", [x], [y, c], [numpy_helper.from_array(np.full(2, 3, np.float32), "a")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    fold_constants(model)
    found = ort.InferenceSession(model.SerializeToString()).run(["c"], {"x": np.ones(2, np.float32)})
    assert found[0].tolist() == [9.0, 9.0]


def test_weights_in_16_bits_that_cost_too_much_are_not_kept(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "MOST", 1e-9)
    lines: list[str] = []
    folder = export_run(run, "onnx", tmp_path / "out", measure=False, opset=19, say=lines.append)
    assert not list(folder.glob("*.half.onnx"))
    assert any("no weights are kept" in line for line in lines)
    assert json.loads((folder / "model.json").read_text())["half"]["refused"]
    with pytest.raises(ValueError, match="leave --half out"):
        Generator(folder, half=True)


def checked(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(folder / "sample.py"), "--check", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_folder_checks_itself_and_what_others_made_of_it(exported: Path, tmp_path: Path) -> None:
    done = checked(exported)
    assert done.returncode == 0, done.stderr
    assert "model: " in done.stdout
    model = onnx.load(exported / "model.onnx")
    bias = next(tensor for tensor in model.graph.initializer if tensor.name.endswith("output.bias"))
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(0.05), bias.name))
    onnx.save(model, tmp_path / "converted.onnx")
    done = checked(exported, "--model", str(tmp_path / "converted.onnx"))
    assert done.returncode == 1
    assert "away from PyTorch's: 'model'" in done.stderr


TRIED = Target(checked=True)


def test_a_runtime_that_makes_others_is_refused(exported: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "export"))
    lines: list[str] = []
    assert tried(folder, "one", TRIED, lines.append)["tried"]["largest"] < TOLERANCE
    known = dict(np.load(folder / "check.npz"))
    np.savez(folder / "check.npz", **(known | {"model/made": known["model/made"] + 0.01}))
    with pytest.raises(ConfigError, match=r"does not make this generator's samples.*'model' 0.01"):
        tried(folder, "one", TRIED, lines.append)
    # One that ends its process over a graph ends no export without a word.
    (folder / "sample.py").write_text("import os\nos.abort()\n")
    with pytest.raises(ConfigError, match="its process ends"):
        tried(folder, "one", TRIED, lines.append)
    assert tried(folder, "other", Target(note="not tried: no such machine"), lines.append) == {"tried": None}
    assert lines[-1] == "other: not tried: no such machine"


def test_a_refusal_names_files_of_the_folder_alone(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the folder is written: its program tells whole paths, and the folder is gone once it is refused."""
    folder = Path(shutil.copytree(exported, tmp_path / "export"))
    (folder / "model.onnx").write_bytes(b"none")
    monkeypatch.chdir(tmp_path)
    for named in (folder, Path("export")):
        with pytest.raises(ConfigError, match=r"nothing was exported: model\.onnx is damaged"):
            tried(named, "one", TRIED, print)


@pytest.mark.parametrize(("harmless", "precision"), [("1.0e-03", "default"), ("6.0e-03", None)])
def test_bf16_is_taken_where_the_check_finds_it_harmless(
    tmp_path: Path, harmless: str, precision: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saddlepoint.export.trial.version", lambda runtime: "1")
    (tmp_path / "sample.py").write_text(
        f"import sys\nprint('model:', '{harmless}' if 'default' in sys.argv else '1.0e-06', 'from PyTorch in it')\n"
    )
    assert tried(tmp_path, "openvino", TRIED, print).get("precision") == precision


@pytest.mark.parametrize(
    ("row", "wanted", "found"),
    [
        ((28, 28), [1, 28, 28], (1, 1, 28, 28)),
        ((1, 28, 28), [1, 28, 28], (1, 1, 28, 28)),
        ((1, 1, 28, 28), [1, 28, 28], (1, 1, 28, 28)),  # the batch axis is there
        ((6, 128), [6, 128], (1, 6, 128)),
        ((28, 28, 3), [3, 28, 28], (1, 28, 28, 3)),  # channels last are another graph: the check is to see it
        ((5,), None, (1, 5)),
    ],
)
def test_a_row_of_ncnn_has_its_batch_axis_once(row: tuple[int, ...], wanted: list[int] | None, found: Any) -> None:
    x = np.arange(np.prod(row)).reshape(row)
    made = in_shape(x, wanted)
    assert made.shape == found
    assert np.array_equal(made.reshape(-1), x.reshape(-1))


def test_a_generator_knows_the_rows_of_its_graphs(tmp_path: Path) -> None:
    family = untrained("stylegan1", "tiny-32")[0]
    folder = written(family, tmp_path, Forms())
    generator = Generator(folder)
    z = family.sample_inputs(1, stream("cpu", "z")).numpy()
    truncation = np.ones(1, np.float32)
    styles = generator.run("mapping", {"inputs": z, "truncation": truncation})
    made = generator.run("model", {"styles": styles} | generator.noise("model", 1, np.random.default_rng(0)))
    found = [list(x.shape[1:]) for x in (z, styles, made)]
    assert [generator._made(name) for name in ("inputs", "mapping", "model")] == found


def test_ncnn_is_converted_with_one_row_where_the_graph_takes_any_number(monkeypatch: pytest.MonkeyPatch) -> None:
    network, asked = mock.MagicMock(), list[list[list[int]]]()
    network.load_param.return_value = network.load_model.return_value = 0
    monkeypatch.setitem(sys.modules, "ncnn", mock.MagicMock(Net=lambda: network))
    monkeypatch.setattr(runtimes, "_converted", lambda place, content, shapes, full: asked.append(shapes) or ("a", "b"))
    graph = {"inputs": [{"name": "z", "shape": [None, 64]}, {"name": "label", "shape": [None]}]}
    runtimes.ncnn(b"", graph, runtimes.Settings(batch=1))
    assert asked == [[[1, 64], [1]]]
