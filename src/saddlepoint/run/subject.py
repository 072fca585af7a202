"""A run as its evaluation sees it: a generator that makes samples, and a training of which the report tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from saddlepoint.core.types import from_bytes
from saddlepoint.data import Dataset, short_name
from saddlepoint.engine.machine.threads import told_threads
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.evaluation import Explicit, Latents, Subject
from saddlepoint.evaluation.report.facts import changed_options, chosen_options
from saddlepoint.evaluation.report.page import Training
from saddlepoint.family.capabilities import DiscriminatorLogits, Guided, StyleSpace
from saddlepoint.family.explicit import Encoding, Likelihood

if TYPE_CHECKING:
    from saddlepoint.run.run import Run


def subject_of(run: Run, dataset: Dataset | None) -> Subject:
    """Return the generator of a run; see `Run.subject`."""
    label, tags = label_of(run), run.family.tags
    if tags.input == "image":
        return _translator(run, label, dataset)
    latents = styles = None
    family, styled = run.family, isinstance(run.family, StyleSpace)
    if isinstance(family, StyleSpace):
        layers = family.w_layers
        # Both ends of a path are of one class.
        styles = Latents(
            lambda n, draws: run.codes(family.sample_inputs(n, draws), run.labels(n)),
            lambda w: run.synthesise(w[:, None].expand(-1, layers, -1)),
        )
    if tags.input == "latent":
        # Every mapping network here scales z to unit root mean square first, as published.
        latents = Latents(family.sample_inputs, lambda z: run.generate(z, run.labels(len(z)), seed=0), styled)

    def sample(n: int, seed: int) -> Tensor:
        """As a file of samples would hold them: series with constants and decimals of their columns."""
        x = run.sample(n, seed=seed)
        if run.family.data.modality != "sequence":
            return x
        return torch.from_numpy(run.layout.as_written(x.numpy()))

    labels = (lambda n, seed: _labels(run, n, seed)) if run.family.classes else None
    replicate = (lambda x, c, seed: run.replicate(x, c, seed=seed)) if isinstance(family, Encoding) else None
    return Subject(
        label, sample, labels=labels, latents=latents, styles=styles, explicit=_explicit(run), replicate=replicate,
        logits=_judge(run), privacy=str(run.privacy or ""),
    )  # fmt: skip


def _judge(run: Run) -> Callable[[Tensor, np.ndarray | None], Tensor] | None:
    """Return D's logits of given rows, where the family has a D."""
    if not isinstance(run.family, DiscriminatorLogits):
        return None
    return lambda x, labels: run.logits(x, None if labels is None else torch.from_numpy(np.asarray(labels)))


def _explicit(run: Run) -> Explicit | None:
    """Return the run as an explicit model, where its family is one."""
    family = run.family
    if not isinstance(family, Likelihood):
        return None

    def log_likelihood(x: Tensor, seed: int) -> tuple[Tensor, float]:
        found = run.log_likelihood(x, seed=seed)
        return found.values, found.error

    return Explicit(family.likelihood, family.observed, family.estimator, log_likelihood)


def label_of(run: Run) -> str:
    """Return whose samples they are: the average that training kept, one made after it, or the last weights.

    The last weights, too, where the run kept no average: there the averaged generator is the generator itself.
    """
    length = run.config.get("average", {}).get("length")
    if isinstance(length, float):
        return f"generator (average of length {length:g})"
    return "generator (EMA)" if run.averaged and run.family.config.keeps_average else "generator"


def _labels(run: Run, n: int, seed: int) -> np.ndarray:
    labels = run.labels(n, seed=seed)
    assert labels is not None
    return labels.numpy()


def _translator(run: Run, label: str, dataset: Dataset | None) -> Subject:
    """Return a generator that transforms images: its samples are held-out images in domains drawn anew."""
    return Subject(
        label,
        lambda n, seed: run.generate(_images(run, n, seed, dataset), run.labels(n, seed=seed), seed=seed),
        labels=lambda n, seed: _labels(run, n, seed),
        translate=lambda x, c, seed: run.generate(x, c, seed=seed),
        guided=run.guided if isinstance(run.family, Guided) else None,
        logits=_judge(run),
    )


def _images(run: Run, n: int, seed: int, dataset: Dataset | None) -> Tensor:
    if dataset is None:
        return run.inputs(n, seed=seed)
    held_out, rng = dataset.splits["valid"].x, np.random.default_rng(seed)
    rows = rng.permutation(len(held_out))[:n] if n <= len(held_out) else rng.integers(0, len(held_out), n)
    return from_bytes(torch.from_numpy(np.asarray(held_out)[rows]))


def training_of(run: Run) -> Training:
    """Return what a report says of the training of a run."""
    config, diagnosis = run.config, run.diagnosis
    machine, seconds = config.get("machine", {}), run.seconds
    facts = {
        "run": run.path.name,
        "family": f"{config['family']}, preset {config['preset']}, seed of training {config['settings']['seed']}",
        "trained": f"{run.step * run.family.config.batch_size:,} samples seen, step {run.step:,}"
        + ("" if seconds is None else f", {seconds:,.0f} s of training"),
        "machine": ", ".join(str(machine[key]) for key in ("processor", "torch") if key in machine)
        + f", {told_threads(run.log, config.get('threads'))}, {config['device']}",
        "saddlepoint": str(config.get("saddlepoint", "?")),
    }
    if (spent := run.privacy) is not None:
        facts["privacy"] = str(spent)
    about = {
        "run": f"{run.path.resolve().name}, {facts['trained']}",
        "family": f"{run.family.summary}; preset {config['preset']}",
        "options that differ from the preset": ", ".join(changed_options(config)) or "none",
        "chosen automatically": "; ".join(chosen_options(config)),
    }
    title = f"{config['family']} on {short_name(str(config['data']['name']))}"
    snapshots = RunFolder(run.path).samples
    return Training(run.log, diagnosis.verdict, diagnosis.evidence, facts, title, about, snapshots)
