"""Networks of StyleGAN2 from files of other code, against a reference network, and as runs that everything takes."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import saddlepoint
from saddlepoint.core.errors import CheckpointError, ConfigError
from saddlepoint.engine.settings import Observer
from saddlepoint.export.card import card
from saddlepoint.run import api
from saddlepoint.run.imports.importing import import_weights
from saddlepoint.run.run import Run
from tests.unit.reference_stylegan2 import Drawn, Node, as_port, pickled

WIDTHS = (8, 6, 4)
VARIANTS: dict[str, dict[str, Any]] = {
    "residual": {},
    "plain, conditional, limited": {"kind": "plain", "classes": 3, "clamp": 0.5, "depth": 3},
    "skip, box filter": {"kind": "skip", "taps": (1, 1), "clamp": 0.7},
    "residual, limited, six taps, other rate": {"clamp": 0.4, "taps": (1, 2, 3, 3, 2, 1), "rate": 0.1},
    "conditional residual": {"classes": 2},
}


def imported(drawn: Drawn, place: Path, protocol: int = 4, **more: Any) -> Run:
    nets = {"G": drawn.g, "D": drawn.d, "G_ema": drawn.g} | more
    found = import_weights(pickled(place / "faces.pkl", nets, protocol), place / "run")
    return saddlepoint.load(found.path)


def inputs(drawn: Drawn, n: int = 4) -> tuple[Tensor, Tensor | None, Tensor]:
    stream = torch.Generator().manual_seed(7)
    side = 4 << len(drawn.widths) - 1
    z, x = torch.randn(n, drawn.z, generator=stream), torch.randn(n, 3, side, side, generator=stream)
    return z, torch.arange(n) % drawn.classes if drawn.classes else None, x


def assert_same(run: Run, drawn: Drawn) -> None:
    family: Any = run.family
    z, labels, x = inputs(drawn)
    w = family.mapping(z, labels)
    for psi in (1.0, 0.7):
        styles = torch.lerp(family.w_average.expand_as(w), w, psi)[:, None].expand(-1, family.w_layers, -1)
        wanted = drawn.images(z, labels, psi)
        found = family.generator.synthesis(styles, family.generator.fixed_noise)
        torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-5)
        truncation = None if psi == 1 else psi
        torch.testing.assert_close(
            run.generate(z, labels, truncation=truncation), wanted.clamp(-1, 1), atol=2e-5, rtol=0
        )
    # The deviation is the minibatch's in training only.
    found = family.discriminator.train().logits(x, labels)
    torch.testing.assert_close(found, drawn.logits(x, labels), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_images_and_logits_are_those_of_the_file(variant: str, tmp_path: Path) -> None:
    drawn = Drawn(WIDTHS, **VARIANTS[variant])
    run = imported(drawn, tmp_path)
    assert_same(run, drawn)
    config: Any = run.family.config
    assert (config.batch_size, config.conditional, config.label_depth) == (
        32,
        drawn.classes > 0,
        3 if drawn.classes else None,
    )


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_is_read(protocol: int, tmp_path: Path) -> None:
    drawn = Drawn(WIDTHS)
    assert_same(imported(drawn, tmp_path, protocol), drawn)


def test_channels_in_another_order_in_memory_are_the_same(tmp_path: Path) -> None:
    drawn = Drawn(WIDTHS)
    layer = drawn.g["synthesis"]["b8"]["conv0"]
    layer.tensors["weight"] = layer.tensors["weight"].to(memory_format=torch.channels_last)
    assert not layer.tensors["weight"].is_contiguous()
    assert_same(imported(drawn, tmp_path), drawn)


@pytest.mark.parametrize("archive", [True, False])
def test_files_of_the_port_are_read_in_both_forms(archive: bool, tmp_path: Path) -> None:
    drawn = Drawn((8, 8, 4), w=8)
    average = drawn.g["mapping"].tensors["w_avg"]
    # Of a file of training: arguments of the command, and states of optimizers, whose keys are numbers.
    more = {"latent_avg": average, "args": argparse.Namespace(size=16), "g_optim": {"state": {0: {"step": 3}}}}
    torch.save(as_port(drawn) | more, tmp_path / "cats.pt", _use_new_zipfile_serialization=archive)
    run = saddlepoint.load(import_weights(tmp_path / "cats.pt", tmp_path / "run").path)
    run.family.discriminator.head.group = 2  # the port's is 4, the reference's 2
    assert_same(run, drawn)
    assert run.config["imported"]["file"] == "cats.pt"


def test_a_port_with_a_tensor_of_no_numbers_is_refused(tmp_path: Path) -> None:
    state = as_port(Drawn((4, 4), w=8))
    state["g_ema"]["to_rgbs.0.conv.weight"] = torch.zeros(1, 3, 0, 1, 1)
    torch.save(state, tmp_path / "faces.pt")
    with pytest.raises(CheckpointError, match=r"'to_rgbs.0.conv.weight' has no numbers"):
        import_weights(tmp_path / "faces.pt", tmp_path / "made")


def test_a_mean_of_w_that_is_not_there_is_that_of_many_points(tmp_path: Path) -> None:
    drawn = Drawn((8, 8, 4), w=8)
    torch.save(as_port(drawn), tmp_path / "cats.pt")
    found = import_weights(tmp_path / "cats.pt", tmp_path / "run")
    assert any("mean of w" in note for note in found.notes)
    family: Any = saddlepoint.load(found.path).family
    w = family.mapping(torch.randn(20_000, 8, generator=torch.Generator().manual_seed(1)))
    assert (family.w_average - w.mean(0)).abs().max() < 6 * w.std() * (1 / 10_000 + 1 / 20_000) ** 0.5


def test_keys_that_are_no_names_are_passed_over(tmp_path: Path) -> None:
    """Before, a number among the names of a state_dict ended in a traceback."""
    drawn = Drawn(WIDTHS)
    found = as_port(drawn)
    odd = {name: {3: torch.zeros(2), **state} for name, state in found.items() if isinstance(state, dict)}
    assert {"g_ema", "d"} <= set(odd)
    torch.save({**found, **odd}, tmp_path / "odd.pt")
    torch.save(found, tmp_path / "cats.pt")
    assert import_weights(tmp_path / "odd.pt", tmp_path / "a").notes == (
        import_weights(tmp_path / "cats.pt", tmp_path / "b").notes
    )


def test_the_average_is_taken_and_last_weights_only_where_there_is_none(tmp_path: Path) -> None:
    first, other = Drawn(WIDTHS), Drawn(WIDTHS)
    other.g = Drawn(WIDTHS, z=8, rate=0.02).g
    for place, nets, wanted in (
        (tmp_path / "a", {"G": other.g}, first),
        (tmp_path / "b", {"G": first.g, "G_ema": None}, first),
    ):
        place.mkdir()
        run = imported(first, place, **nets)
        torch.testing.assert_close(
            run.family.generator.constant[0], wanted.g["synthesis"]["b4"].tensors["const"], atol=0, rtol=0
        )
    assert "no average" in run.config["imported"]["notes"][0]


def test_without_a_discriminator_one_is_drawn_and_that_is_said(tmp_path: Path) -> None:
    drawn = Drawn(WIDTHS)
    for place, d, words in ((tmp_path / "a", None, "is drawn"), (tmp_path / "b", Drawn((8, 4, 4)).d, "channels")):
        place.mkdir()
        run = imported(drawn, place, D=d)
        assert any(words in note for note in run.config["imported"]["notes"])
        z, labels, _ = inputs(drawn)
        torch.testing.assert_close(run.generate(z, labels), drawn.images(z, labels).clamp(-1, 1), atol=2e-5, rtol=0)
        assert run.family.discriminator.input.weight.std() > 0.5  # not left at what memory held


def test_a_discriminator_that_takes_no_image_in_is_left_out(tmp_path: Path) -> None:
    drawn = Drawn(WIDTHS)
    del drawn.d[f"b{4 << len(WIDTHS) - 1}"].parts["fromrgb"]
    notes = imported(drawn, tmp_path, D=drawn.d).config["imported"]["notes"]
    assert any("takes the image in at 0 places, not 1" in note for note in notes)


def test_layers_without_noise_have_a_strength_of_0(tmp_path: Path) -> None:
    drawn = Drawn(WIDTHS)
    for block in drawn.g["synthesis"].parts.values():
        for name in ("conv0", "conv1"):
            if name in block.parts:
                del block[name].tensors["noise_strength"], block[name].tensors["noise_const"]
    run = imported(drawn, tmp_path)
    assert "without noise" in run.config["imported"]["notes"][0]
    family: Any = run.family
    assert not family.config.fixed_noise
    assert all(float(layer.strength) == 0 for layer in [family.generator.first, *family.generator.ups])


def alias_free(drawn: Drawn) -> dict[str, Any]:
    inner = {**drawn.g["synthesis"].parts, "input": Node("SynthesisInput", {"weight": torch.zeros(2, 2)})}
    return {
        "G_ema": Node(
            "Generator", {}, {"synthesis": Node("SynthesisNetwork", {}, inner), "mapping": drawn.g["mapping"]}
        )
    }


def other_activation(drawn: Drawn) -> dict[str, Any]:
    drawn.g["mapping"]["fc0"].facts["activation"] = "relu"
    return {}


def not_a_number(drawn: Drawn) -> dict[str, Any]:
    drawn.g["synthesis"]["b8"]["torgb"].tensors["bias"][1] = torch.nan
    return {}


def other_shape(drawn: Drawn) -> dict[str, Any]:
    drawn.g["synthesis"]["b8"]["conv1"].tensors["bias"] = torch.zeros(5)
    return {}


def no_images_at_each_side(drawn: Drawn) -> dict[str, Any]:
    del drawn.g["synthesis"]["b4"].parts["torgb"]
    return {}


def no_numbers(drawn: Drawn) -> dict[str, Any]:
    drawn.g["synthesis"]["b4"]["torgb"].tensors["weight"] = torch.zeros(3, 0, 1, 1)
    return {}


def uneven_filter(drawn: Drawn) -> dict[str, Any]:
    for block in drawn.g["synthesis"].parts.values():
        block.tensors["resample_filter"] = torch.full((3, 3), 1 / 9)
    return {}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (alias_free, "alias-free"),
        (other_activation, "activation relu"),
        (not_a_number, "no finite number"),
        (other_shape, r"\(5,\) where 'generator.layers.0.bias' is \(6,\)"),
        (no_images_at_each_side, "image at each side"),
        (no_numbers, r"has no numbers: its shape is \(3, 0, 1, 1\)"),
        (uneven_filter, "resampling filter"),
    ],
)
def test_other_architectures_are_refused_in_words(
    change: Callable[[Drawn], dict[str, Any]], words: str, tmp_path: Path
) -> None:
    drawn = Drawn(WIDTHS)
    more = change(drawn)
    with pytest.raises(CheckpointError, match=words):
        imported(drawn, tmp_path, **more)
    assert [path.name for path in tmp_path.iterdir()] == ["faces.pkl"]  # nothing half made


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"GAN": {}, "version": "1.9.0"}, "lucidrains"),
        ({"mapping.fc0.weight": torch.zeros(2, 2)}, "without their factors"),
        ({"model": {}}, "known here .but model.; what is read"),
        (torch.zeros(3), "no networks; what is read"),
    ],
)
def test_other_files_are_refused_with_what_they_are(content: Any, words: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "some.pt")
    with pytest.raises(CheckpointError, match=words):
        import_weights(tmp_path / "some.pt", tmp_path / "run")


def test_a_place_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(ConfigError, match="is there already"):
        imported(Drawn(WIDTHS), tmp_path)


def test_a_training_begins_with_it_and_says_where_it_came_from(tmp_path: Path) -> None:
    run = imported(Drawn(WIDTHS, kind="skip"), tmp_path)
    data, said = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8), list[str]()
    plan = api.plan(
        "stylegan", data, start_from=run.path, threads=1, out=tmp_path / "tuned", steps=2, batch_size=4, lr=1e-9
    )
    tuned, _ = api.start(plan, Observer(say=said.append))
    assert any("all" in line and "faces" in line for line in said if line.startswith("from:"))
    kept = tuned.config["start_from"]["imported"]
    assert kept == {name: run.config["imported"][name] for name in ("file", "sha256", "form")}
    z, _, _ = inputs(Drawn(WIDTHS))
    torch.testing.assert_close(tuned.generate(z), run.generate(z), atol=1e-4, rtol=0)
    assert "faces.pkl" in card(tuned)
    assert "began with the weights" in card(tuned)


def test_its_card_and_configuration_name_the_file_and_no_place(tmp_path: Path) -> None:
    run = imported(Drawn(WIDTHS, classes=2), tmp_path)
    found = card(run)
    for words in (
        "faces.pkl",
        run.config["imported"]["sha256"],
        "trained elsewhere, on faces",
        "licence of the weights",
    ):
        assert words in found
    assert str(tmp_path) not in found + json.dumps(run.config)
    assert "samples seen" not in found
    assert run.family.data.classes == ("0", "1")


def test_it_is_measured_on_whatever_data_is_named_with_as_many_classes(tmp_path: Path) -> None:
    run = imported(Drawn(WIDTHS, classes=2), tmp_path)
    with pytest.raises(saddlepoint.DataError, match=r"trained on 'data of faces\.pkl'"):
        run.dataset()
    pictures = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    for count, fits in ((2, True), (3, False)):
        np.savez(tmp_path / f"{count}.npz", x=pictures, y=np.arange(40) % count)
        named = saddlepoint.load(run.path, data=tmp_path / f"{count}.npz")
        if fits:
            assert named.dataset().spec.shape == (3, 16, 16)
        else:
            with pytest.raises(saddlepoint.DataError, match="3 classes"):
                named.dataset()


@pytest.mark.slow
def test_its_graphs_compute_the_same(tmp_path: Path) -> None:
    run = imported(Drawn(WIDTHS, classes=2, clamp=0.5), tmp_path)
    folder = saddlepoint.export_run(run, "onnx", tmp_path / "graphs", measure=False)  # compares with PyTorch itself
    described = json.loads((folder / "model.json").read_text())
    assert not [
        i
        for graph in described["graphs"]
        for i in graph["inputs"]
        if i["kind"] == "normal" and graph["name"] == "model"
    ]
