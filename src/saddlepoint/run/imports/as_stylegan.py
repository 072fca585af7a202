"""Networks of StyleGAN2 in the place of our own: the options that express them, and their tensors under our names.

Factors agree by construction (weights of variance 1, scaled when they are used); where a file has others they go into
the weights, so that images and logits are the same and only the speed of learning differs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from saddlepoint.core.errors import ConfigError
from saddlepoint.engine.machine import runtime
from saddlepoint.engine.training import load_weights
from saddlepoint.families.stylegan import StyleGAN, StyleGANConfig
from saddlepoint.family import DataSpec, Family, build_family
from saddlepoint.nn import style
from saddlepoint.run.imports.published import (
    Affine,
    Discriminator,
    Generator,
    Networks,
    Unsupported,
    numbers,
)
from saddlepoint.run.imports.published import Mapping as Layers
from saddlepoint.run.imports.stored import Stored
from saddlepoint.run.weights import no_larger_than

_DRAWN = 10_000
"""Points of w whose mean stands for one that a file lacks."""

_EPSILON = 1e-8


def family_of_networks(networks: Networks) -> tuple[Family, tuple[str, ...]]:
    """Return our networks with the weights, and sentences on what was done.

    Args:
        networks: of a file.

    Raises:
        CheckpointError: if a shape is none that the family can have.
    """
    generator, judge, notes = networks.generator, networks.discriminator, list(networks.notes)
    if judge is not None and (why := _unlike(generator, judge)):
        notes.append(f"its discriminator is left out: {why}")
        judge = None
    config, spec = config_of(generator, judge), spec_of(generator)
    with no_larger_than(2 * sum(math.prod(stored.shape) for stored in _all_of(generator))):
        try:
            family = build_family(StyleGAN.name, config, spec)
        except ConfigError as error:
            raise Unsupported(str(error)) from error
    written = _Written(family)
    written.generator(generator)
    if judge is None:
        family.reset_parameters(runtime.stream("cpu", "import"))
        notes.append("it has no discriminator that is read: fine-tuning begins with a D that is drawn")
    else:
        written.discriminator(judge)
    load_weights(family, family.state_dict() | written.tensors)
    notes += written.notes
    if generator.mapping.average is None:
        _average_w(family)
        notes.append(f"it has no mean of w: that of {_DRAWN:,} points is taken")
    return family.eval().requires_grad_(False), tuple(notes)


def _all_of(generator: Generator) -> list[Stored]:
    label = generator.mapping.label
    return [
        *(each.weight for each in generator.layers), *(each.weight for each in generator.colours),
        *(each.weight for each in generator.mapping.layers), *(each.style.weight for each in generator.layers),
        *([] if label is None else [label.weight]),
    ]  # fmt: skip


def _unlike(generator: Generator, judge: Discriminator) -> str:
    """Return why one set of options cannot describe both networks; "": it can."""
    widths = (*(block.first.weight.shape[0] for block in judge.blocks), judge.convolution.weight.shape[0])
    if widths[::-1] != generator.widths:
        return f"it has {widths[::-1]} channels, and the generator {generator.widths}"
    if judge.taps != generator.taps:
        return "its resampling filter is another than the generator's"
    if judge.clamp != generator.clamp:
        return f"its maps are limited to {judge.clamp}, those of the generator to {generator.clamp}"
    classes = 0 if judge.mapping is None or judge.mapping.label is None else judge.mapping.label.weight.shape[1]
    if classes != generator.classes:
        return f"it knows {classes} labels, and the generator {generator.classes}"
    if judge.mapping is not None and judge.output.weight.shape[0] != judge.convolution.weight.shape[0]:
        return "its vector of a label has another length than its last maps have channels"
    return ""


def config_of(generator: Generator, judge: Discriminator | None) -> StyleGANConfig:
    """Return the options that the networks have, and for training those that StyleGAN2-ADA chooses by the size.

    Source: Karras et al. 2020 (StyleGAN2-ADA), released code, configuration ``auto`` with one GPU. How a network was
    trained stands in no file.
    """
    side, first = generator.side, generator.mapping.layers[0].weight.shape
    label = generator.mapping.label
    batch = max(1, min(4096 // side, 32))
    plain = judge is not None and judge.kind == "plain"  # of CIFAR-10: neither path lengths nor mixed styles
    config = replace(
        StyleGAN.PRESETS["paper-ffhq-256"],
        batch_size=batch, conditional=generator.classes > 0,
        latent_size=first[1] - (0 if label is None else label.weight.shape[0]),
        w_size=generator.mapping.layers[-1].weight.shape[0], mapping_depth=len(generator.mapping.layers),
        width=generator.widths[-1], max_width=max(generator.widths), resample_filter=generator.taps,
        clamp=generator.clamp, norm_epsilon=_EPSILON, unit_labels=False,
        fixed_noise=all(layer.noise is not None for layer in generator.layers),
        discriminator="residual" if judge is None else judge.kind,
        deviation_group=min(batch, 4) if judge is None else judge.group,
        label_depth=None if judge is None or judge.mapping is None else len(judge.mapping.layers),
        mixing=0.0 if plain else 0.9, path_weight=0.0 if plain else 2.0,
        lr=2e-3 if side >= 1024 else 2.5e-3, r1_gamma=2e-4 * side**2 / batch,
        ema_half_life_kimg=batch * 10 / 32, ema_ramp=0.05,
    )  # fmt: skip
    doubling = style.widths_of(config.width, config.max_width, len(generator.widths))
    return config if tuple(doubling) == generator.widths else replace(config, widths=generator.widths)


def spec_of(generator: Generator) -> DataSpec:
    """Return what the images are; labels have no names in a file, so they are called by their numbers."""
    names = tuple(map(str, range(generator.classes)))
    shape = (generator.colours[-1].weight.shape[-4], generator.side, generator.side)
    return DataSpec("image", shape, names, rows=0, shares=(1 / len(names),) * len(names) if names else ())


@dataclass
class _Written:
    """Tensors under our names, brought to our factors.

    Attributes:
        family: whose names they are.
        tensors: by name.
        notes: sentences on what is otherwise than it was.
    """

    family: Family
    tensors: dict[str, Tensor] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def put(self, name: str, stored: Stored | Tensor, factor: float = 1.0) -> None:
        """Put a tensor in the place of one of ours, times a factor; axes of length 1 may differ."""
        own = self.family.get_buffer(name) if name in self._buffers else self.family.get_parameter(name)
        found = numbers(stored, f"'{name}'") if isinstance(stored, Stored) else stored
        if [size for size in found.shape if size != 1] != [size for size in own.shape if size != 1]:
            raise Unsupported(f"a tensor is {tuple(found.shape)} where '{name}' is {tuple(own.shape)}")
        found = found.reshape(own.shape)
        self.tensors[name] = found if math.isclose(factor, 1, rel_tol=1e-6) else found * factor

    @property
    def _buffers(self) -> frozenset[str]:
        return frozenset(name for name, _ in self.family.named_buffers())

    def affine(self, name: str, layer: Affine) -> None:
        """Put a layer in the place of one of ours that scales weight and bias by factors of its own."""
        own: Any = self.family.get_submodule(name)
        self.put(f"{name}.weight", layer.weight, layer.gain / own.scale)
        if (own.bias is None) != (layer.bias is None):
            raise Unsupported(f"'{name}' has a bias in one of the two networks alone")
        if layer.bias is not None:
            self.put(f"{name}.bias", layer.bias, layer.bias_gain / own.bias_scale)

    def generator(self, of: Generator) -> None:
        self.mapping("generator.mapping", of.mapping)
        self.put("generator.constant", of.constant)
        sides = range(len(of.colours) - 1)
        names = ["first", *chain.from_iterable((f"ups.{k}", f"layers.{k}") for k in sides)]
        if len(names) != len(of.layers):
            raise Unsupported(f"the generator has {len(of.layers)} layers, not {len(names)}")
        for number, (name, layer) in enumerate(zip(names, of.layers, strict=True)):
            at = f"generator.{name}"
            self.put(f"{at}.conv.weight", layer.weight)
            self.affine(f"{at}.conv.affine", layer.style)
            self.put(f"{at}.bias", layer.bias)
            self.put(f"{at}.strength", torch.zeros(()) if layer.strength is None else layer.strength)
            if layer.noise is not None and self.family.config.fixed_noise:
                self.put(f"generator.noise{number}", layer.noise)
        for number, colours in enumerate(of.colours):
            at = f"generator.images.{number}"
            own: Any = self.family.get_submodule(f"{at}.conv")
            self.put(f"{at}.conv.weight", colours.weight, colours.gain / own.scale)
            self.affine(f"{at}.conv.affine", colours.style)
            self.put(f"{at}.bias", colours.bias)
        if any(layer.strength is None for layer in of.layers):
            self.notes.append("it has layers without noise: theirs has a strength of 0, which training can raise")

    def mapping(self, name: str, of: Layers) -> None:
        for number, layer in enumerate(of.layers):
            self.affine(f"{name}.layers.{number}", layer)
        if of.label is not None:
            self.affine(f"{name}.label", of.label)
        if of.average is not None:
            self.put("generator.w_average", of.average)

    def discriminator(self, of: Discriminator) -> None:
        first, *others = of.inputs
        self.affine("discriminator.input", first)
        for number, reader in enumerate(others):
            self.affine(f"discriminator.inputs.{number}", reader)
        for number, block in enumerate(of.blocks):
            at = f"discriminator.blocks.{number}"
            self.affine(f"{at}.conv", block.first)
            self.affine(f"{at}.down", block.second)
            if block.skip is not None:
                self.affine(f"{at}.skip", block.skip)
        for name, layer in (("conv", of.convolution), ("hidden", of.hidden), ("output", of.output)):
            self.affine(f"discriminator.head.{name}", layer)
        if of.mapping is not None:
            self.mapping("discriminator.head.label", of.mapping)


@torch.no_grad()
def _average_w(family: Any) -> None:
    """Set the mean of w, as truncation needs it."""
    stream = runtime.stream("cpu", "mean of w")
    z, labels = family.sample_inputs(_DRAWN, stream), family.sample_labels(_DRAWN, stream)
    family.w_average.copy_(family.mapping(z, labels).mean(0))
