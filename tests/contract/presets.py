"""Every preset at a size that a test can train, data that it accepts, and which presets wait for the slow suite."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import pytest

from saddlepoint.data.dataset import Dataset, Split
from saddlepoint.engine.machine.runtime import stream
from saddlepoint.family import Family, FamilyConfig, StyleSpace, build_family, families, get_preset
from saddlepoint.family.capabilities import prepare

CASES = [(name, preset) for name, kind in families().items() for preset in kind.PRESETS]
"""Family and preset."""

VARIANTS = {
    "differences": {"penalty_form": "finite-difference", "penalty_every": 3},
    "muon": {"optimizer": "muon"},
    "starts": {"start": "data"},
}
"""Options beside which a preset is held against the contract too: ``tiny-32:muon`` is the preset with them."""

SHAPES = {"cifar10-conv-2014": (3, 32, 32)}
"""Shape of images for presets that cannot make those of 16 x 16."""


MIXED = (
    ("gan", "cifar10-conv-2014"), ("stylegan", "tiny-64"), ("stylegan", "paper-ffhq-256"), ("r3gan", "cifar10"),
)  # fmt: skip
"""Presets that take long, and of which other presets have the phases and losses: tests of the engine alone do without.

The networks of cifar10-conv-2014 are its own: tests of losses, phases and states still see them.
"""


def reduced(kind: type[Family], preset: str) -> Any:
    """Return a preset, or a variant of one, with narrow layers.

    What a test holds against the contract does not depend on their number.
    """
    preset, _, variant = preset.partition(":")
    config: FamilyConfig = dataclasses.replace(get_preset(kind, preset)[1], **VARIANTS.get(variant, {}))
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name.endswith("widths"):
            changes[field.name] = tuple(min(width, 32) for width in value)
            if preset == "ddpm-cifar10":  # two sides, of which the smaller has attention
                changes[field.name] = (16, 16)
        elif field.name in ("width", "discriminator_width", "style_width"):
            changes[field.name] = min(value, 8)
        elif field.name in ("fade_kimg", "stable_kimg"):
            # Two steps of eight samples, so that a short training goes through every side.
            changes[field.name] = 0.016
        elif field.name in ("max_width", "w_size") and issubclass(kind, StyleSpace):
            changes[field.name] = min(value, 32)
        elif field.name in ("hidden", "chains", "ais_distributions", "ais_runs"):
            changes[field.name] = min(value, 12)
        elif field.name in ("blocks", "halvings"):
            changes[field.name] = 1
        elif field.name in ("layers", "n_critic"):
            changes[field.name] = min(value, 2)
        elif field.name == "sample_steps":
            # Chains of an untrained machine forget their start, and with the same noise all come to one state.
            changes[field.name] = 1
        elif field.name == "pretrain_epochs":
            changes[field.name] = 1
        elif field.name in ("embedding_iterations", "supervised_iterations", "colours_steps"):
            # A run of a few steps then goes through all stages.
            changes[field.name] = min(value, 5)
        elif field.name == "flow_steps":
            changes[field.name] = min(value, 2)
        elif field.name == "condition_width":
            changes[field.name] = min(value, 16)
        elif field.name == "warm_up_kimg" and value is not None:
            # The first steps of a very long rise are lost in rounding.
            changes[field.name] = None if preset == "ddpm-cifar10" else min(value, 10.0)
        elif field.name == "evaluations":
            changes[field.name] = min(value, 2)
        elif field.name == "sigmoid_bias":
            # The first updates of a bias of -2 are lost in rounding.
            changes[field.name] = 0.0
    if preset == "cifar10-conv-2014":
        # The maps before the transposed convolution are part of its geometry.
        changes["generator_widths"] = (32, 8000)
    return dataclasses.replace(config, **changes)


def quick_ones(
    cases: Iterable[tuple[str, str]] = tuple(CASES),
    defaults: bool = False,
    whole: Collection[str] = (),
    later: Collection[tuple[str, str]] = (),
) -> list[Any]:
    """Return cases as parameters of a test; those that run the same code as an earlier one are marked slow.

    Args:
        cases: family and preset.
        defaults: whether the test is of the engine, so that each family's first preset is enough.
        whole: families of which every preset counts all the same.
        later: cases that are marked slow, whatever they run.
    """
    seen, found = set(), []
    for name, preset in cases:
        code = (
            name
            if defaults and name not in whole
            else (name, preset.partition(":")[2], *_choices(families()[name], preset))
        )
        waits = code in seen or (name, preset) in later
        found.append(pytest.param(name, preset, marks=[pytest.mark.slow] if waits else []))
        seen.add(code)
    return found


def _choices(kind: type[Family], preset: str) -> tuple[str, ...]:
    """Return what a preset decides beside sizes and rates: words, truths, and whether a number is 0."""

    def choice(value: Any) -> Any:
        if isinstance(value, tuple):
            return bool(value), *map(choice, value[:1])
        return bool(value) if isinstance(value, (int, float)) else value

    config = reduced(kind, preset)
    return tuple(repr(choice(getattr(config, field.name))) for field in dataclasses.fields(config))


def made(kind: type[Family], preset: str, modality: str | None = None) -> Dataset:
    """Return random rows of a kind that the preset accepts, with held-out rows; labelled, unless it takes none."""
    config = get_preset(kind, preset.partition(":")[0])[1]
    pictured = getattr(config, "contrast", None) is not None or getattr(config, "given", "none") != "none"
    modality = modality or kind.tags.modalities[0]
    if pictured:
        modality = "image"
    rng, labels = np.random.default_rng(3), np.arange(56) % 3
    if modality == "image":
        x = rng.integers(0, 256, (56, *SHAPES.get(preset, (1, 16, 16))), dtype=np.uint8)
    elif modality == "sequence":
        x = rng.uniform(size=(56, 8, 3)).astype(np.float32)
    else:
        x = rng.normal(size=(56, 2)).astype(np.float32)
    if preset.endswith(":starts"):
        return Dataset("made", modality, {"train": Split(x[:40]), "valid": Split(x[40:])}, (), "0")  # type: ignore[arg-type]
    splits = {"train": Split(x[:40], labels[:40]), "valid": Split(x[40:], labels[40:])}
    return Dataset("made", modality, splits, ("a", "b", "c"), "0")  # type: ignore[arg-type]


def untrained(name: str, preset: str) -> tuple[Family, Dataset]:
    """Return a preset in reduced form with weights drawn, ready to sample, and its data."""
    kind = families()[name]
    dataset = made(kind, preset)
    family = build_family(name, reduced(kind, preset), dataset.spec)
    family.reset_parameters(stream("cpu", "weights", 0))
    prepare(family, dataset.stats())
    return family.eval().requires_grad_(False), dataset
