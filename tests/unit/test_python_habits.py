"""What people expect of a library: iterators of samples, data sets of PyTorch, plain modules, completion in a shell."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import saddlepoint
from saddlepoint.core.errors import CheckpointError, ConfigError
from saddlepoint.core.types import from_bytes
from saddlepoint.data.spec import DataSpec
from saddlepoint.family import build_family, get_family
from saddlepoint.run.generator import Generator


def generator(name: str = "gan", preset: str = "points", shape: tuple[int, ...] = (2,), classes: int = 0) -> Generator:
    modality = "vector" if len(shape) == 1 else "image"
    names, shares = tuple(map(str, range(classes))), (1 / classes,) * classes if classes else ()
    spec = DataSpec(modality, shape, names, 100, shares)  # type: ignore[arg-type]
    torch.manual_seed(0)
    family = build_family(name, get_family(name).PRESETS[preset], spec)
    return Generator(family.eval().requires_grad_(False), "run")


@pytest.mark.parametrize("classes", [0, 3])
def test_minibatches_are_the_samples_in_order(classes: int) -> None:
    drawn = generator("dcgan", "small-conditional", (1, 16, 16), 3) if classes else generator()
    taken = list(itertools.islice(drawn.batches(70, seed=4), 5))  # 350 samples: more than one chunk
    x = torch.cat([batch for batch, _ in taken])
    assert torch.equal(x, drawn.sample(350, seed=4))
    labels = [asked for _, asked in taken if asked is not None]
    assert len(labels) == (5 if classes else 0)
    if classes:
        wanted = drawn.labels(350, seed=4)
        assert wanted is not None
        assert torch.equal(torch.cat(labels), wanted)
        one, asked = next(drawn.batches(8, seed=4, label=2))
        assert torch.equal(one, drawn.sample(8, seed=4, label=2))
        assert asked is not None
        assert asked.tolist() == [2] * 8


def test_an_empty_minibatch_is_refused() -> None:
    with pytest.raises(ConfigError, match="size of a minibatch is 0"):
        next(generator().batches(0))


def test_rows_of_a_split_for_a_loader() -> None:
    x = np.random.default_rng(0).integers(0, 256, (60, 1, 8, 8), np.uint8)
    dataset = saddlepoint.load_dataset((x, np.arange(60) % 3), modality="image")
    train = dataset.splits["train"]
    loader = torch.utils.data.DataLoader(dataset.to_torch(), batch_size=16)
    batches = list(loader)
    assert torch.equal(torch.cat([images for images, _ in batches]), from_bytes(torch.from_numpy(np.array(train.x))))
    assert train.labels is not None
    assert torch.cat([labels for _, labels in batches]).tolist() == train.labels.tolist()
    assert len(dataset.to_torch("test")) == len(dataset.splits["test"])
    plain = saddlepoint.load_dataset(np.random.default_rng(0).normal(size=(60, 2)).astype("float32"))
    assert [row.shape for row in plain.to_torch()] == [(2,)] * len(plain.splits["train"])
    with pytest.raises(ConfigError, match="there is no split 'tests'; did you mean 'test'"):
        dataset.to_torch("tests")


ALONE = """
import sys, torch
program = torch.export.load(sys.argv[1])
assert not any(name.split(".")[0] == "saddlepoint" for name in sys.modules)
torch.save(program.module()(*torch.load(sys.argv[2])), sys.argv[3])
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_plain_module_needs_no_saddlepoint(tmp_path: Path) -> None:
    run = saddlepoint.train(
        "dcgan", "digits", preset="small-conditional", steps=1, out=tmp_path / "run", threads=1, precision="fp32"
    )
    module = saddlepoint.to_torch(run, tmp_path / "g.pt2")
    assert [name for name, *_ in module.signature] == ["inputs", "labels"]
    inputs, labels = run.inputs(7, seed=3), torch.arange(7)
    made = run.generate(inputs, labels)
    assert torch.allclose(module(inputs, labels), made, atol=1e-5)
    torch.save((inputs, labels), tmp_path / "in.pt")
    # -S and -I: no path of this project; torch's own folder is given by hand.
    place = str(Path(torch.__file__).parents[1])
    code = f"import sys; sys.path.append({place!r})\n{ALONE}"
    words = [sys.executable, "-I", "-c", code, *(str(tmp_path / name) for name in ("g.pt2", "in.pt", "out.pt"))]
    subprocess.run(words, check=True, cwd=tmp_path)
    assert torch.allclose(torch.load(tmp_path / "out.pt"), made, atol=1e-5)


def test_no_graph_no_module() -> None:
    run = generator("rbm", "small", (1, 8, 8))
    from saddlepoint.export.graphs import whole_graph

    with pytest.raises(ConfigError, match="export it with --format safetensors"):
        whole_graph(run.family)


def test_a_name_that_is_no_generator(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a hub id"):
        saddlepoint.from_pretrained("nothing")
    with pytest.raises(CheckpointError):
        saddlepoint.from_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="it must be OWNER/NAME"):
        saddlepoint.push_to_hub(tmp_path, "digits")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_lines_for_a_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    from saddlepoint.cli.completion import Shell, completion

    completion(Shell(shell))
    assert "_SADDLE_COMPLETE" in capsys.readouterr().out
