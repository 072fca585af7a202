"""Training that begins with the weights of another run, and layers of D that keep them.

Source of the second: Mo et al. 2020, "Freeze the Discriminator: a Simple Baseline for Fine-Tuning GANs": the layers
near the picture know what any picture has, and few examples would only spoil them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from saddlepoint.core.errors import ConfigError
from saddlepoint.family import DiscriminatorLogits, Family

LEAST = 0.1
"""Share of the generator's weights that must fit."""


@dataclass(frozen=True)
class Taken:
    """What was taken over.

    Attributes:
        numbers: of the family's weights, and how many there are.
        drawn: names of the tensors that were drawn anew: the source has none of this name and shape.
    """

    numbers: tuple[int, int]
    drawn: tuple[str, ...]


@torch.no_grad()
def take_over(family: Family, source: Mapping[str, Tensor], kept: Collection[str] = ()) -> Taken:
    """Put the weights of another run in the place of a family's own, where names and shapes agree.

    Args:
        family: with its first weights, and what depends on its own data.
        source: the other run's tensors by name.
        kept: buffers that depend on the family's own data; they stay.

    Raises:
        ConfigError: if hardly any weight fits what the family samples with.
    """
    own = family.state_dict()
    wanted = {name: tensor for name, tensor in own.items() if name not in kept}
    found = {
        name: source[name]
        for name, tensor in wanted.items()
        if name in source and source[name].shape == tensor.shape and source[name].dtype == tensor.dtype
    }
    sampling = {name: tensor.numel() for name, tensor in wanted.items() if name.split(".")[0] in family.averaged}
    fits = sum(number for name, number in sampling.items() if name in found)
    if fits < LEAST * sum(sampling.values()):
        raise ConfigError(
            f"only {fits:,} of the {sum(sampling.values()):,} weights that '{family.name}' samples with, with these "
            "options and this data, are there of the same name and shape; take a run of the same architecture and "
            "size, or leave --from out"
        )
    for name, tensor in found.items():
        own[name].copy_(tensor)
    numbers = (sum(t.numel() for t in found.values()), sum(t.numel() for t in wanted.values()))
    return Taken(numbers, tuple(name for name in wanted if name not in found))


def buffers_set_by(prepare: Callable[[], None], family: Family) -> set[str]:
    """Return the names of the buffers that ``prepare`` changes."""
    before = {name: buffer.clone() for name, buffer in family.named_buffers()}
    prepare()
    return {name for name, buffer in family.named_buffers() if not torch.equal(buffer, before[name])}


def first_layers(family: Family, count: int) -> frozenset[str]:
    """Return the names of the parameters of D's first layers, in the order in which a sample meets them.

    Args:
        family: on any device; its weights stay.
        count: layers with parameters of their own, from the sample on; 0: none.

    Raises:
        ConfigError: if the family has no D, or not so many layers.
    """
    if not count:
        return frozenset()
    discriminator = family._modules.get("discriminator")
    if discriminator is None or not isinstance(family, DiscriminatorLogits):
        raise ConfigError(f"'{family.name}' has no discriminator of which layers could be frozen")
    met: list[str] = []
    handles = [
        module.register_forward_pre_hook(_remembering(met, name))
        for name, module in discriminator.named_modules()
        if name and any(True for _ in module.parameters(recurse=False))
    ]
    device, training = next(family.parameters()).device, family.training
    try:
        family.eval()
        labels = torch.zeros(2, dtype=torch.long, device=device) if family.classes else None
        with torch.no_grad():
            family.logits(torch.zeros(2, *family.data.shape, device=device), labels)
    finally:
        family.train(training)
        for handle in handles:
            handle.remove()
    layers = list(dict.fromkeys(met))
    if count >= len(layers):
        raise ConfigError(
            f"freeze_discriminator is {count}, but the D of '{family.name}' has {len(layers)} layers, of which at "
            f"least one must learn; choose 0 to {max(0, len(layers) - 1)}"
        )
    return frozenset(
        f"discriminator.{layer}.{name}"
        for layer in layers[:count]
        for name, _ in discriminator.get_submodule(layer).named_parameters(recurse=False)
    )


def _remembering(met: list[str], name: str) -> Callable[[Any, Any], None]:
    return lambda module, inputs: met.append(name)
