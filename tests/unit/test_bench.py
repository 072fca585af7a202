"""The bench: equal networks on both sides, counted operations against hand counts, and a short run of it."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from saddlepoint.cli.main import app
from saddlepoint.core.errors import ConfigError
from saddlepoint.engine.machine.precision import Precision
from saddlepoint.family import families
from saddlepoint.lab.against import PRESETS, against
from saddlepoint.lab.baseline import dcgan_networks, mlp_networks, timegan_networks
from saddlepoint.lab.bench import Bench, bench, count_operations
from saddlepoint.lab.bench_cases import CASES, baseline_step, engine_step
from saddlepoint.lab.operations import KINDS, _by_kind, kind_of, operations
from saddlepoint.nn.native import library
from tests.unit.kernels import by_kernels


@pytest.mark.parametrize("name", CASES)
def test_the_baseline_trains_networks_of_the_same_size(name: str) -> None:
    case = CASES[name]
    config, trainer = case.config, engine_step(case)()
    if case.family == "timegan":
        # PyTorch's GRU has two biases for each gate, of which the engine keeps the sum for all but the candidate.
        for name, network in timegan_networks(case.shape[1], config.width, config.layers).items():
            both = 2 * config.width * network.rnn.num_layers
            size = sum(p.numel() for p in network.parameters()) - both
            assert size == sum(p.numel() for p in trainer.state.family.get_submodule(name).parameters()), name
        return
    if case.family == "gan":
        features = case.shape[0] * case.shape[1] * case.shape[2]
        baseline = mlp_networks(
            features, config.latent_size, config.generator_widths, config.discriminator_widths, config.pieces
        )
    else:
        baseline = dcgan_networks(case.shape[0], case.shape[1], config.latent_size, config.width, config.kernel)
    for player, network in zip(("generator", "discriminator"), baseline, strict=True):
        ours = sorted(p.numel() for p in trainer.state.family.get_submodule(player).parameters())
        assert ours == sorted(p.numel() for p in network.parameters()), player


def test_operations_arecount_operations() -> None:
    """Plain step of the MLP: three passes through D and one through G, with all gradients of a user's loop."""
    g = 100 * 1200 + 1200 * 1200 + 1200 * 784
    d = 784 * 1200 + 240 * 1200 + 240
    d_inner = 240 * 1200 + 240
    # D on data and samples: forward, weights, inputs of its inner layers. G: D forward, its weights and all inputs,
    # then G's weights and inputs of its inner layers; the one forward pass of G serves both.
    expected = 2 * (2 * (d + d + d_inner) + (d + d + d) + g + g + (g - 100 * 1200))
    assert count_operations(baseline_step(CASES["gan-2014"])) == pytest.approx(100 * expected, rel=1e-6)


def test_a_baseline_step_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    step = baseline_step(CASES["gan-2014"])
    losses = [step()[0] for _ in range(30)]
    assert losses[-1] < losses[0]


def test_both_loops_of_timegan_begin_with_the_same_losses() -> None:
    """Every logit is near 0 at first, so D's loss is 3 log 2 on both sides; G's then falls on the plain one."""
    torch.manual_seed(0)
    step, engine = baseline_step(CASES["timegan"]), engine_step(CASES["timegan"])
    first, *_, last = (step() for _ in range(6))
    assert first[0] == pytest.approx(3 * math.log(2), rel=0.1)
    assert last[1] < first[1]
    for _ in range(3):
        trainer = engine()
    assert trainer.state.statistics.means()["loss/discriminator"] == pytest.approx(3 * math.log(2), rel=0.1)


@pytest.fixture(scope="module")
def found() -> Bench:
    """Return a short measurement where training would take bf16."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("saddlepoint.lab.bench.choose_precision", lambda *words: Precision("bf16"))
        return bench(["gan-2014"], rounds=1, seconds=0.05, threads=1)


def test_bench_measures_what_it_names(found: Bench) -> None:
    (case,) = found.cases
    assert case.case == "gan-2014"
    assert case.ratio.median == pytest.approx(case.engine.median / case.baseline.median)
    assert case.memory > 0
    assert case.baseline_memory > 0
    assert sum(case.phases.values()) == pytest.approx(1)
    assert {"gradient of the discriminator", "updates"} <= set(case.phases)
    assert case.flops < case.baseline_flops
    with pytest.raises(ConfigError, match="did you mean 'gan-2014'"):
        bench(["gan-2041"])


def test_bf16_is_measured_where_training_would_take_it(found: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    (case,) = found.cases
    assert case.bf16_ratio is not None
    assert case.bf16_ratio.median != case.ratio.median
    monkeypatch.setattr("saddlepoint.lab.bench.choose_precision", lambda *words: Precision("fp32"))
    monkeypatch.setattr("saddlepoint.lab.bench._peak_memory", lambda *words: 0.0)  # three processes more
    assert bench(["gan-2014"], rounds=1, seconds=0.05, threads=1).cases[0].bf16_ratio is None


def test_the_command_prints_a_table_and_json(found: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[Any]()

    def measured(cases: Sequence[str], **words: Any) -> Bench:
        asked.append((list(cases), words))
        return found

    monkeypatch.setattr("saddlepoint.lab.bench.bench", measured)
    words = ["bench", "gan-2014", "--rounds", "1", "--seconds", "0.1", "--threads", "1"]
    told = CliRunner().invoke(app, words)
    assert told.exit_code == 0, told.output
    assert "ratio" in told.output
    kept = json.loads(CliRunner().invoke(app, [*words, "--json"]).output)
    assert asked == [(["gan-2014"], {"rounds": 1, "seconds": 0.1, "threads": "1"})] * 2
    assert kept["cases"][0]["engine"]["median"] > 0
    assert {"plain", "plain_flops", "plain_memory", "half"} <= set(kept["cases"][0]), "as figures of before have them"


LARGE_STEPS = """
import resource, torch
from saddlepoint.engine.machine.runtime import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        [torch.ones(6_000_000) for _ in range(8)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
usual = faults()
assert keep_freed_memory()
faults()
print(usual, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_is_kept_for_the_next_step() -> None:
    """With glibc's starting values, which it may or may not raise by itself, every step faults all its pages in."""
    start = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
    told = subprocess.run(
        [sys.executable, "-c", LARGE_STEPS], capture_output=True, text=True, check=True, env=start
    ).stdout
    usual, kept = map(int, told.split())
    assert kept < 1000
    assert usual > 10 * kept


def test_this_installation_is_measured_against_itself() -> None:
    """Ratios of one build with itself are near 1, in one process each; the presets are those that people get."""
    root = Path(__file__).parents[2]
    (pair,) = against(root, ["cgan"], rounds=3, seconds=0.4, precision="fp32")
    assert pair.name == "cgan-mnist-1x28x28"
    assert pair.precision == ("fp32", "fp32")
    assert pair.ratio.least <= pair.ratio.median <= pair.ratio.most
    assert 1 / 3 < pair.ratio.median < 3
    assert all(50 < memory < 2000 for memory in pair.memory)


def test_every_preset_of_the_comparison_is_there() -> None:
    for one in PRESETS.values():
        assert one.preset in families()[one.family].PRESETS


def test_what_cannot_be_compared_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no package saddlepoint"):
        against(tmp_path)
    with pytest.raises(ConfigError, match="no preset is called 'dcgam'"):
        against(Path(__file__).parents[2], ["dcgam"])
    (tmp_path / "saddlepoint").mkdir()
    (tmp_path / "saddlepoint" / "__init__.py").write_text("")
    said: list[str] = []
    assert against(tmp_path, ["cgan"], rounds=1, seconds=0.1, say=said.append) == []
    assert "left out: ModuleNotFoundError" in said[0]


def test_operations_of_a_step_are_counted_by_kind() -> None:
    """The default GAN has two products a layer of G, and those of D's four passes; what it draws is one call."""
    profile = operations(PRESETS["gan-mnist-1x28x28"], "fp32", steps=3)
    assert profile.precision == "fp32"
    assert profile.calls["random numbers"] == 1
    assert sum(kernel.calls for kernel in profile.kernels) == profile.calls["products"]
    # G: three layers forward, three gradients of weights and two of inputs.
    batch = [kernel for kernel in profile.kernels if "64x768" in kernel.shapes and "768x784" in kernel.shapes]
    assert [kernel.name for kernel in batch] == ["addmm"]
    assert all(0 < kernel.alone <= kernel.microseconds * 3 for kernel in profile.kernels)
    assert abs(sum(profile.shares.values()) - 1) < 0.5


@by_kernels
def test_kernels_are_seen_with_their_shapes_and_let_go() -> None:
    profile = operations(PRESETS["dcgan-small-1x28x28"], "bf16", steps=3)
    found = {(kernel.name, kernel.shapes): kernel.calls for kernel in profile.kernels}
    # D's second layer: once for logits, once for the penalties' way back, on data and samples together.
    assert found["forward", "32x32x14x14 64x32x4x4 stride 2 bfloat16"] == 2
    assert found["weight_gradient", "32x32x14x14 64x32x4x4 stride 2 bfloat16"] == 1
    assert all(kernel.alone > 0 for kernel in profile.kernels)
    assert not hasattr(library.load().forward, "func")  # the kernels themselves again


def test_one_large_cast_among_many_small_ones_counts_as_it_took() -> None:
    """Of a step of a second the cast of a large weight takes .4, whatever else is cast beside it."""
    seconds = {("_to_copy", "8000x8000 bfloat16"): [0.4, 0.4], ("_to_copy", "2 float32"): [1e-6] * 92,
               ("mm", "100x8000 8000x8000 bfloat16"): [0.3, 0.3]}  # fmt: skip
    shares, calls = _by_kind(seconds, 2, 1.0)
    assert list(shares) == ["casts and copies", "products", "between operations"]
    assert list(shares.values()) == pytest.approx([0.4, 0.3, 0.3], abs=1e-3)
    assert calls == {"casts and copies": 47, "products": 1, "between operations": 0}


def test_every_operation_has_one_kind() -> None:
    names = [name for kind in KINDS.values() for name in kind]
    assert len(names) == len(set(names))
    assert kind_of("no_such_operation") == "elementwise"
