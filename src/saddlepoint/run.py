"""A finished or unfinished run as an object: its configuration, its log, its generator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import saddlepoint.families  # noqa: F401 - registers the families
from saddlepoint._errors import CheckpointError, ConfigError, DataError
from saddlepoint._types import Samples
from saddlepoint.config import from_json
from saddlepoint.data import Dataset, load_dataset
from saddlepoint.data.cache import cache_dir
from saddlepoint.engine import runtime
from saddlepoint.engine.folder import RunFolder
from saddlepoint.engine.state import newest_checkpoint
from saddlepoint.engine.training import load_weights
from saddlepoint.evaluate import Report, evaluate
from saddlepoint.family import DataSpec, Family, build_family, get_family

_CHUNK = 250


class Run:
    """A trained run: its configuration, its log, and its generator.

    Attributes:
        path: the run folder.
        config: the resolved configuration.
        family: the networks, with averaged weights for the generators.
        step: step of the checkpoint in use.
        averaged: whether the generators have their averaged weights.
    """

    def __init__(self, path: Path, config: Mapping[str, Any], family: Family, step: int, averaged: bool) -> None:
        self.path, self.config, self.family, self.step, self.averaged = path, config, family, step, averaged
        self.device = next(family.parameters()).device

    @property
    def log(self) -> list[dict[str, Any]]:
        """The lines of ``log.jsonl``."""
        return RunFolder(self.path).read_log()

    def inputs(self, n: int, *, seed: int = 0) -> Tensor:
        """Return the generator's inputs for ``n`` samples; the i-th depends on (seed, i) only."""
        chunks = [
            self.family.sample_inputs(_CHUNK, runtime.stream("cpu", "sample", seed, chunk))
            for chunk in range(-(-n // _CHUNK))
        ]
        return torch.cat(chunks)[:n]

    @torch.no_grad()
    def sample(self, n: int, *, seed: int = 0) -> Samples:
        """Return ``n`` samples on the CPU: (n, *sample), images in [-1, 1].

        Raises:
            ConfigError: if ``n`` is below 1.
        """
        if n < 1:
            raise ConfigError(f"the number of samples is {n}, but it must be at least 1")
        return self.generate(self.inputs(n, seed=seed), seed=seed)

    @torch.no_grad()
    def generate(self, inputs: Tensor, *, seed: int = 0) -> Samples:
        """Return the samples of given inputs, computed in pieces, on the CPU."""
        pieces = [
            self.family.generate(
                piece.to(self.device), generator=runtime.stream(self.device, "generate", seed, number)
            ).cpu()
            for number, piece in enumerate(inputs.split(_CHUNK))
        ]
        return torch.cat(pieces)

    def dataset(self, say: Callable[[str], None] | None = None) -> Dataset:
        """Return the data the run was trained on, prepared in the same way.

        Raises:
            DataError: if it cannot be found, or has changed.
        """
        data = self.config["data"]
        dataset = load_dataset(data["source"], say=say, **{key: data[key] for key in ("size", "channels", "fit")})
        if dataset.fingerprint != data["fingerprint"]:
            raise DataError(
                f"'{data['source']}' has changed since the run was trained on it (fingerprint "
                f"{dataset.fingerprint[:12]} now, {data['fingerprint'][:12]} then); restore it, or train again"
            )
        return dataset

    def evaluate(
        self, protocols: Sequence[str] = ("parzen",), *, seed: int = 0, say: Callable[[str], None] | None = None
    ) -> Report:
        """Measure the generator by named protocols, beside the reference rows.

        Raises:
            ConfigError: on an unknown protocol, or one that does not fit the data.
        """
        return evaluate(
            lambda n, s: self.sample(n, seed=s),
            self.dataset(say),
            protocols,
            seed=seed,
            label="generator (EMA)" if self.averaged else "generator",
            cache_dir=cache_dir() / "controls",
            progress=say,
        )


def load(path: str | Path, *, device: str = "cpu", averaged: bool = True) -> Run:
    """Load a run's newest whole checkpoint for sampling; nothing in it is executed.

    Args:
        path: run folder.
        device: where to put the networks.
        averaged: use the moving average of the generator's weights, not the last ones.

    Raises:
        CheckpointError: if there is no run, no whole checkpoint, or it belongs to other networks.
    """
    folder = RunFolder(path)
    config = folder.read_config()
    files = ("model", "averages") if averaged else ("model",)
    checkpoint, problems = newest_checkpoint(folder.checkpoints, files)
    if checkpoint is None:
        detail = f" ({'; '.join(problems.values())})" if problems else "; train it first"
        raise CheckpointError(f"run '{folder.path}' has no whole checkpoint{detail}")
    try:
        kind, data = get_family(config["family"]), config["data"]
        spec = DataSpec(data["modality"], tuple(data["shape"]), tuple(data["classes"]), data["rows"])
        family = build_family(kind.name, from_json(kind.Config, config["options"]), spec)
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"'{folder.path}/config.json' is damaged: {error}") from error
    load_weights(family, checkpoint.tensors["model"])
    for name in family.averaged if averaged else ():
        start, saved = name + ".", checkpoint.tensors["averages"]
        weights = {key.removeprefix(start): tensor for key, tensor in saved.items() if key.startswith(start)}
        load_weights(family.get_submodule(name), weights)
    family.to(runtime.resolve_device(device)).eval().requires_grad_(False)
    return Run(folder.path, config, family, checkpoint.step, averaged)
