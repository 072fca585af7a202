"""Networks under the names of the widespread ports of StyleGAN2 to PyTorch: a state_dict ``g_ema``, beside ``d``.

Their factors stand in the code, not in the files: those of the published configurations are taken (a multiplier of .01
in the mapping network, LeakyReLU with a gain of the root of 2).
"""

from __future__ import annotations

import math
from collections.abc import Mapping as Named
from dataclasses import replace
from typing import Any

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

FORM = "state_dict of a StyleGAN2 in PyTorch (names of rosinality's port)"

_ROOT, _SLOWLY, _GROUP = math.sqrt(2), 0.01, 4

State = Named[str, Stored]


def is_state(found: Any) -> bool:
    """Whether these are the tensors of a generator of this port."""
    return isinstance(found, dict) and isinstance(found.get("input.input"), Stored)


def _named(state: Named[Any, Any]) -> State:
    """Return what has a name: keys of a stranger's dictionary may be numbers."""
    return {name: tensor for name, tensor in state.items() if type(name) is str}


def networks_of(found: Named[str, Any]) -> Networks:
    """Return the networks of a file with ``g_ema`` (or ``g``) and ``d``.

    Raises:
        CheckpointError: if they are of another architecture.
    """
    name = next((name for name in ("g_ema", "g") if is_state(found.get(name))), None)
    if name is None:
        raise Unsupported("it holds no generator: neither g_ema nor g")
    notes = [] if name == "g_ema" else ["it holds no average (g_ema): these are the last weights"]
    generator, state, discriminator = generator_of(_named(found[name])), found.get("d"), None
    average = found.get("latent_avg")
    if isinstance(average, Stored):
        generator = replace(generator, mapping=replace(generator.mapping, average=average))
    if isinstance(state, dict):
        try:
            discriminator = discriminator_of(_named(state))
        except Unsupported as error:
            notes.append(f"its discriminator is left out: {error}")
    return Networks(FORM, generator, discriminator, "", tuple(notes))


def generator_of(state: State) -> Generator:
    """Return a generator.

    Raises:
        Unsupported: if a tensor is not there, or of another number of axes.
    """
    sides = sum(name.startswith("to_rgbs.") and name.endswith(".upsample.kernel") for name in state)
    if not 1 <= sides <= 8:
        raise Unsupported("it has a generator that is not for images of 8 to 1,024 pixels")
    colours = [_colours(state, "to_rgb1"), *(_colours(state, f"to_rgbs.{k}") for k in range(sides))]
    layers = [_styled(state, "conv1", 0), *(_styled(state, f"convs.{k}", k + 1) for k in range(2 * sides))]
    filters = {taps_of(_tensor(state, f"to_rgbs.{k}.upsample.kernel", 2), 4.0) for k in range(sides)}
    if len(filters) != 1:
        raise Unsupported("its blocks have different resampling filters")
    mapping = list[Affine]()
    while f"style.{len(mapping) + 1}.weight" in state:
        mapping.append(_product(state, f"style.{len(mapping) + 1}", _SLOWLY, _ROOT))
    if not mapping:
        raise Unsupported("its mapping network has no layers")
    return Generator(
        Mapping(tuple(mapping)), _tensor(state, "input.input", 4), tuple(layers), tuple(colours), filters.pop()
    )


def discriminator_of(state: State) -> Discriminator:
    """Return a discriminator.

    Raises:
        Unsupported: as `generator_of`.
    """
    count = sum(name.startswith("convs.") and name.endswith(".skip.1.weight") for name in state)
    if not 1 <= count <= 8:
        raise Unsupported("it has a discriminator that is not for images of 8 to 1,024 pixels")
    shared, blocks, filters = math.sqrt(0.5), list[Block](), set[tuple[float, ...]]()
    for k in range(1, count + 1):
        at = f"convs.{k}"
        first = _convolution(state, f"{at}.conv1.0", f"{at}.conv1.1")
        second = _convolution(state, f"{at}.conv2.1", f"{at}.conv2.2", shared)
        blocks.append(Block(first, second, _convolution(state, f"{at}.skip.1", None, shared / _ROOT)))
        filters |= {taps_of(_tensor(state, f"{at}.{name}.0.kernel", 2)) for name in ("conv2", "skip")}
    if len(filters) != 1:
        raise Unsupported("its blocks have different resampling filters")
    last = _convolution(state, "final_conv.0", "final_conv.1")
    group = 0 if last.weight.shape[1] == last.weight.shape[0] else _GROUP
    return Discriminator(
        "residual", (_convolution(state, "convs.0.0", "convs.0.1"),), tuple(blocks), last,
        _product(state, "final_linear.0", 1.0, _ROOT), _product(state, "final_linear.1", 1.0, 1.0), group, None,
        filters.pop(),
    )  # fmt: skip


def _styled(state: State, name: str, number: int) -> Styled:
    return Styled(
        _tensor(state, f"{name}.conv.weight", 5), _product(state, f"{name}.conv.modulation", 1.0, 1.0),
        _tensor(state, f"{name}.activate.bias", 1), _tensor(state, f"{name}.noise.weight", 1),
        state.get(f"noises.noise_{number}"),
    )  # fmt: skip


def _colours(state: State, name: str) -> Colours:
    weight = _tensor(state, f"{name}.conv.weight", 5)
    style = _product(state, f"{name}.conv.modulation", 1.0, 1.0)
    return Colours(weight, style, _tensor(state, f"{name}.bias", 4), _fan(weight.shape[2:]))


def _product(state: State, name: str, multiplier: float, gain: float) -> Affine:
    weight = _tensor(state, f"{name}.weight", 2)
    return Affine(
        weight, _tensor(state, f"{name}.bias", 1), gain * multiplier * _fan(weight.shape[1:]), gain * multiplier
    )


def _convolution(state: State, name: str, bias: str | None, shared: float = 1.0) -> Affine:
    """Return a convolution and the bias of what follows it, with the gain of LeakyReLU and a further one."""
    weight, gain = _tensor(state, f"{name}.weight", 4), _ROOT * shared
    return Affine(
        weight, None if bias is None else _tensor(state, f"{bias}.bias", 1), gain * _fan(weight.shape[1:]), gain
    )


def _fan(shape: tuple[int, ...]) -> float:
    return 1 / math.sqrt(max(1, math.prod(shape)))


def _tensor(state: State, name: str, axes: int) -> Stored:
    found = state.get(name)
    if not isinstance(found, Stored) or len(found.shape) != axes:
        raise Unsupported(f"it has no tensor '{name}' of {axes} axes")
    return filled(found, f"'{name}'")
