"""Networks as StyleGAN2-ADA for PyTorch pickles them, and StyleGAN3's code where it trains a StyleGAN2 configuration.

Their factors are attributes beside the tensors and are taken from there: the learning rate's multiplier of the mapping
network stands nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping as Named
from pathlib import PurePath
from typing import Any

from saddlepoint.run.imports.pickles import Part
from saddlepoint.run.imports.published import (
    Affine,
    Block,
    Colours,
    Discriminator,
    Generator,
    Mapping,
    Networks,
    Styled,
    Unsupported,
    filled,
    taps_of,
)
from saddlepoint.run.imports.stored import Stored

FORM = "network pickle of StyleGAN2-ADA, or of StyleGAN3's code with a StyleGAN2 configuration"

_ROOT = math.sqrt(2)
_GAINS = {"linear": 1.0, "lrelu": _ROOT}


def networks_of(found: Named[str, Any]) -> Networks:
    """Return the networks of a pickle with ``G_ema`` and ``D``.

    Raises:
        CheckpointError: if they are alias-free, or of another architecture.
    """
    name = next((name for name in ("G_ema", "G") if isinstance(found.get(name), Part)), None)
    if name is None:
        raise Unsupported("it holds no generator: neither G_ema nor G")
    notes = [] if name == "G_ema" else ["it holds no average (G_ema): these are the last weights"]
    generator, part, discriminator = generator_of(found[name]), found.get("D"), None
    if isinstance(part, Part):
        try:
            discriminator = discriminator_of(part)
        except Unsupported as error:
            notes.append(f"its discriminator is left out: {error}")
    told = found.get("training_set_kwargs")
    path = told.get("path") if isinstance(told, dict) else None
    return Networks(FORM, generator, discriminator, PurePath(path).stem[:80] if type(path) is str else "", tuple(notes))


def generator_of(part: Part) -> Generator:
    """Return a generator.

    Raises:
        Unsupported: if it is alias-free, or of another architecture.
    """
    synthesis, mapping = (_part(part, name) for name in ("synthesis", "mapping"))
    if "input" in synthesis.parts:
        raise Unsupported(
            "it holds an alias-free generator (StyleGAN3-T or -R), which is another architecture; only StyleGAN2 is "
            "read, such as --cfg=stylegan2 of that code trains"
        )
    blocks = _blocks(synthesis)
    layers, colours = list[Styled](), list[Colours]()
    for number, block in enumerate(blocks):
        if "skip" in block.parts or "torgb" not in block.parts:
            raise Unsupported("its generator has no image at each side (architecture 'skip'), which this family's has")
        layers += [_styled(_part(block, name)) for name in ("conv0", "conv1")[number == 0 :]]
        colours.append(_colours(_part(block, "torgb")))
    of_layers = [_part(block, "conv1") for block in blocks]
    return Generator(
        _mapping(mapping), _tensor(blocks[0], "const"), tuple(layers), tuple(colours),
        _same([taps_of(_tensor(block, "resample_filter")) for block in blocks], "resampling filters"),
        _same([_limit(layer) for layer in of_layers], "limits of maps"),
    )  # fmt: skip


def discriminator_of(part: Part) -> Discriminator:
    """Return a discriminator.

    Raises:
        Unsupported: if it is of an architecture that this family has not.
    """
    blocks, last = _blocks(part)[:0:-1], _part(part, "b4")
    kind = "residual" if "skip" in blocks[0].parts else "skip" if "fromrgb" in last.parts else "plain"
    deviation = last.parts.get("mbstd")
    group, maps = (
        (0, 0) if deviation is None else (deviation.facts.get("group_size"), deviation.facts.get("num_channels"))
    )
    if maps not in (0, 1) or not (group is None or (type(group) is int and group >= 0)):
        raise Unsupported(f"its discriminator has {str(maps)[:20]} maps of deviations, not one")
    readers = [block.parts["fromrgb"] for block in blocks if "fromrgb" in block.parts]
    readers += [last.parts["fromrgb"]] if kind == "skip" else []
    if len(readers) != (places := len(blocks) + 1 if kind == "skip" else 1):
        raise Unsupported(f"its {kind} discriminator takes the image in at {len(readers)} places, not {places}")
    shared = math.sqrt(0.5) if kind == "residual" else 1.0
    inner = [
        Block(
            _convolution(_part(block, "conv0")), _convolution(_part(block, "conv1"), shared),
            _convolution(_part(block, "skip"), shared) if kind == "residual" else None,
        )
        for block in blocks
    ]  # fmt: skip
    return Discriminator(
        kind, tuple(map(_convolution, readers)), tuple(inner), _convolution(_part(last, "conv")),
        _product(_part(last, "fc"), "lrelu"), _product(_part(last, "out"), "linear"), WHOLE if group is None else group,
        _mapping(part.parts["mapping"]) if "mapping" in part.parts else None,
        _same([taps_of(_tensor(block, "resample_filter")) for block in blocks], "resampling filters"),
        _same([_limit(part) for part in (*(_part(block, "conv0") for block in blocks), _part(last, "conv"))], "limits"),
    )  # fmt: skip


WHOLE = 2**16
"""Samples of a group where it is the whole minibatch."""


def _blocks(part: Part) -> list[Part]:
    """Return the blocks ``b4``, ``b8`` and so on, from the smallest side."""
    found = list[Part]()
    while (block := part.parts.get(f"b{4 << len(found)}")) is not None:
        found.append(block)
    if (
        len(found) < 2
        or len(found) > 9
        or len(found) != sum(name[:1] == "b" and name[1:].isdecimal() for name in part.parts)
    ):
        raise Unsupported(f"it has a {part.kind} whose blocks are not those of images of 8 to 1,024 pixels")
    return found


def _mapping(part: Part) -> Mapping:
    layers = list[Affine]()
    while (layer := part.parts.get(f"fc{len(layers)}")) is not None:
        layers.append(_product(layer, "lrelu"))
    if not layers:
        raise Unsupported("its mapping network has no layers")
    label = _product(part.parts["embed"], "linear") if "embed" in part.parts else None
    return Mapping(tuple(layers), label, part.tensors.get("w_avg"))


def _styled(part: Part) -> Styled:
    if part.facts.get("activation") != "lrelu" or not math.isclose(_number(part, "act_gain"), _ROOT, rel_tol=1e-6):
        raise Unsupported("its layers have another activation than LeakyReLU with a gain of the root of 2")
    weight = _tensor(part, "weight")
    if weight.shape[2:] != (3, 3):
        raise Unsupported(f"its layers have kernels of {weight.shape[2:]}, not 3 x 3")
    return Styled(
        weight, _product(_part(part, "affine"), "linear"), _tensor(part, "bias"), part.tensors.get("noise_strength"),
        part.tensors.get("noise_const"),
    )  # fmt: skip


def _colours(part: Part) -> Colours:
    style = _product(_part(part, "affine"), "linear")
    return Colours(_tensor(part, "weight"), style, _tensor(part, "bias"), _number(part, "weight_gain"))


def _product(part: Part, activation: str) -> Affine:
    if part.facts.get("activation") != activation:
        raise Unsupported(f"a layer has the activation {str(part.facts.get('activation'))[:20]}, not {activation}")
    gain, bias = _GAINS[activation], part.tensors.get("bias")
    return Affine(
        _tensor(part, "weight"), bias, gain * _number(part, "weight_gain"), gain * _number(part, "bias_gain")
    )  # fmt: skip


def _convolution(part: Part, shared: float = 1.0) -> Affine:
    """Return a layer; ``shared`` is a further gain where its sum with another layer shall have a variance of 1."""
    bias = part.tensors.get("bias")
    if part.facts.get("activation") != ("linear" if bias is None else "lrelu"):
        raise Unsupported(f"a convolution has the activation {str(part.facts.get('activation'))[:20]}")
    gain = shared * _number(part, "act_gain")
    return Affine(_tensor(part, "weight"), bias, gain * _number(part, "weight_gain"), gain)


def _limit(part: Part) -> float | None:
    found = part.facts.get("conv_clamp")
    return None if found is None else _number(part, "conv_clamp")


def _part(part: Part, name: str) -> Part:
    if name not in part.parts:
        raise Unsupported(f"its {part.kind} has no part '{name}'")
    return part.parts[name]


def _tensor(part: Part, name: str) -> Stored:
    if name not in part.tensors:
        raise Unsupported(f"its {part.kind} has no tensor '{name}'")
    return filled(part.tensors[name], f"'{name}' of its {part.kind}")


def _number(part: Part, name: str) -> float:
    found = part.facts.get(name)
    # A truth is a number to Python, and none here.
    if not isinstance(found, int | float) or isinstance(found, bool) or not abs(found) <= 1e9:
        raise Unsupported(f"'{name}' of its {part.kind} is no number")
    return float(found)


def _same(values: list[Any], what: str) -> Any:
    if any(value != values[0] for value in values):
        raise Unsupported(f"its blocks have different {what}")
    return values[0]
