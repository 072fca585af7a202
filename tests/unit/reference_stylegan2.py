"""A StyleGAN2 written for tests, from the papers: its tensors in a tree, what it computes, and the files it is kept in.

Nothing of the library computes here: weights are modulated for each sample, zeros stand between pixels, filters are
sums of shifted copies. Files have the structure of the released code's, made by `pickle` and `torch.save` themselves.
"""

from __future__ import annotations

import math
import pickle
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

SOURCE = "raise AssertionError('the source text of a network was executed')\n"
ROOT = 2**0.5


@dataclass
class Node:
    """A part of a network: tensors, parts, attributes."""

    kind: str
    tensors: dict[str, Tensor] = field(default_factory=dict)
    parts: dict[str, Node] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Node:
        return self.parts[name]

    def __reduce__(self) -> Any:
        """Be pickled with a class's source text, as the released code does."""
        buffers = {"resample_filter", "noise_const", "w_avg"}
        state = {
            "training": False,
            "_parameters": OrderedDict(
                (name, torch.nn.Parameter(value, requires_grad=False))
                for name, value in self.tensors.items()
                if name not in buffers
            ),
            "_buffers": OrderedDict((name, value) for name, value in self.tensors.items() if name in buffers),
            "_non_persistent_buffers_set": set(),
            "_modules": OrderedDict(self.parts),
            "_init_kwargs": sys.modules["dnnlib.util"].EasyDict(activation="lrelu"),
            **self.facts,
        }
        meta = {"type": "class", "version": 6, "module_src": SOURCE, "class_name": self.kind, "state": state}
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (meta,)


@contextmanager
def released_names() -> Iterator[None]:
    """Let the names that the released code's pickles ask for be there while one is written."""
    made = {
        name: types.ModuleType(name) for name in ("dnnlib", "dnnlib.util", "torch_utils", "torch_utils.persistence")
    }
    easy = type("EasyDict", (dict,), {"__module__": "dnnlib.util"})

    def _reconstruct_persistent_obj(meta: object) -> None:
        raise AssertionError("a name of a pickle was looked up and called")

    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    vars(made["dnnlib.util"])["EasyDict"] = easy
    vars(made["torch_utils.persistence"])["_reconstruct_persistent_obj"] = _reconstruct_persistent_obj
    sys.modules.update(made)
    try:
        yield
    finally:
        for name in made:
            del sys.modules[name]


def pickled(path: Path, nets: Mapping[str, Node | None], protocol: int = 4) -> Path:
    """Write a network pickle."""
    with released_names(), path.open("wb") as file:
        pickle.dump({"training_set_kwargs": {"path": "/data/faces.zip"}, **nets, "augment_pipe": None}, file, protocol)
    return path


class Drawn:
    """Draws the tensors of both networks."""

    def __init__(
        self, widths: tuple[int, ...], *, classes: int = 0, depth: int = 2, judge_depth: int = 3, w: int = 12,
        z: int = 8, taps: tuple[float, ...] = (1, 3, 3, 1), clamp: float | None = None, kind: str = "residual",
        rate: float = 0.01,
    ) -> None:  # fmt: skip
        self.widths, self.classes, self.w, self.z, self.kind, self.clamp = widths, classes, w, z, kind, clamp
        self.stream = torch.Generator().manual_seed(0)
        line = torch.tensor(taps, dtype=torch.float32)
        self.filter = torch.outer(line, line) / line.sum() ** 2
        self.rate = rate
        self.g = Node(
            "Generator", {}, {"synthesis": self.synthesis(), "mapping": self.mapping(z, w, depth, average=True)}
        )
        self.d = self.discriminator(judge_depth)

    def draw(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.stream)

    def full(self, a: int, b: int, act: str, rate: float = 1.0, start: float = 0.0) -> Node:
        facts = {"activation": act, "weight_gain": rate / math.sqrt(a), "bias_gain": rate}
        return Node(
            "FullyConnectedLayer",
            {"weight": self.draw(b, a) / rate, "bias": start + 0.1 * self.draw(b) / rate},
            {},
            facts,
        )

    def conv(self, a: int, b: int, size: int, *, plain: bool = False) -> Node:
        facts = {
            "activation": "linear" if plain else "lrelu", "weight_gain": 1 / math.sqrt(a * size**2),
            "act_gain": 1 if plain else ROOT, "conv_clamp": self.clamp,
        }  # fmt: skip
        tensors = {"weight": self.draw(b, a, size, size), "resample_filter": self.filter}
        return Node("Conv2dLayer", tensors if plain else {**tensors, "bias": 0.1 * self.draw(b)}, {}, facts)

    def mapping(self, z: int, w: int, depth: int, *, average: bool = False) -> Node:
        sizes = [z + (w if self.classes else 0), *[w] * depth]
        parts = {f"fc{k}": self.full(a, b, "lrelu", self.rate) for k, (a, b) in enumerate(pairwise(sizes))}
        if self.classes:
            parts["embed"] = self.full(self.classes, w, "linear")
        return Node("MappingNetwork", {"w_avg": 0.1 * self.draw(w)} if average else {}, parts, {"num_ws": 4})

    def synthesis(self) -> Node:
        blocks = {}
        for k, width in enumerate(self.widths):
            side, parts = 4 << k, {}
            tensors = {"resample_filter": self.filter} | ({} if k else {"const": self.draw(width, 4, 4)})
            for name, a in (("conv0", self.widths[k - 1]), ("conv1", width))[k == 0 :]:
                layer = {
                    "weight": self.draw(width, a, 3, 3), "bias": 0.1 * self.draw(width),
                    "noise_const": self.draw(side, side), "noise_strength": torch.tensor(0.3),
                    "resample_filter": self.filter,
                }  # fmt: skip
                facts = {"activation": "lrelu", "act_gain": ROOT, "conv_clamp": self.clamp, "use_noise": True}
                parts[name] = Node(
                    "SynthesisLayer", layer, {"affine": self.full(self.w, a, "linear", start=1.0)}, facts
                )
            rgb = {"weight": self.draw(3, width, 1, 1), "bias": 0.1 * self.draw(3)}
            facts = {"conv_clamp": self.clamp, "weight_gain": 1 / math.sqrt(width)}
            parts["torgb"] = Node("ToRGBLayer", rgb, {"affine": self.full(self.w, width, "linear", start=1.0)}, facts)
            blocks[f"b{side}"] = Node("SynthesisBlock", tensors, parts, {"architecture": "skip"})
        return Node("SynthesisNetwork", {}, blocks)

    def discriminator(self, depth: int) -> Node:
        blocks, last = {}, self.widths[0]
        for k in range(len(self.widths) - 1, 0, -1):
            a, b = self.widths[k], self.widths[k - 1]
            parts = {"conv0": self.conv(a, a, 3), "conv1": self.conv(a, b, 3)}
            if self.kind == "residual":
                parts["skip"] = self.conv(a, b, 1, plain=True)
            if k == len(self.widths) - 1 or self.kind == "skip":
                parts["fromrgb"] = self.conv(3, a, 1)
            blocks[f"b{4 << k}"] = Node("DiscriminatorBlock", {"resample_filter": self.filter}, parts)
        parts = {
            "mbstd": Node("MinibatchStdLayer", {}, {}, {"group_size": 2, "num_channels": 1}),
            "conv": self.conv(last + 1, last, 3), "fc": self.full(last * 16, last, "lrelu"),
            "out": self.full(last, last if self.classes else 1, "linear"),
        }  # fmt: skip
        if self.kind == "skip":
            parts["fromrgb"] = self.conv(3, last, 1)
            parts["fromrgb"].facts["conv_clamp"] = None
        if self.classes:
            blocks["mapping"] = self.mapping(0, last, depth)
        return Node("Discriminator", {}, {**blocks, "b4": Node("DiscriminatorEpilogue", {}, parts)})

    # What they compute.

    def images(self, z: Tensor, labels: Tensor | None, psi: float = 1.0) -> Tensor:
        """Return images, not limited, with the fixed noise."""
        mapping, synthesis = self.g["mapping"], self.g["synthesis"]
        w = mapped(mapping, z, labels)
        average = mapping.tensors["w_avg"]
        w = average + psi * (w - average)
        x = synthesis["b4"].tensors["const"].expand(len(z), -1, -1, -1)
        image: Tensor | None = None
        for k in range(len(self.widths)):
            block = synthesis[f"b{4 << k}"]
            for name in ("conv0", "conv1")[k == 0 :]:
                layer = block[name]
                x = modulated(
                    x, layer.tensors["weight"], fully(layer["affine"], w), self.filter if name == "conv0" else None
                )
                x = x + layer.tensors["noise_const"] * layer.tensors["noise_strength"]
                x = limit(act(x + layer.tensors["bias"][:, None, None]), self.clamp)
            rgb = block["torgb"]
            style = fully(rgb["affine"], w) * rgb.facts["weight_gain"]
            y = torch.einsum("oi,ni,nihw->nohw", rgb.tensors["weight"][:, :, 0, 0], style, x)
            y = limit(y + rgb.tensors["bias"][:, None, None], self.clamp)
            image = y if image is None else y + filtered(spread(image), self.filter * 4, len(self.filter) // 2)
        assert image is not None
        return image

    def logits(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """Return logits, with the deviation of groups of two."""
        h: Tensor | float = 0.0
        shared = 0.5**0.5 if self.kind == "residual" else 1.0
        for k in range(len(self.widths) - 1, 0, -1):
            block = self.d[f"b{4 << k}"]
            if "fromrgb" in block.parts:
                h = h + convolved(block["fromrgb"], x)
                x = halved(x, self.filter)
            assert isinstance(h, Tensor)
            beside = 0.0 if self.kind != "residual" else shared * convolved(block["skip"], halved(h, self.filter))
            y = filtered(convolved(block["conv0"], h), self.filter, len(self.filter) // 2, len(self.filter) // 2)
            h = convolved(block["conv1"], y, stride=2, gain=shared) + beside
        last = self.d["b4"]
        assert isinstance(h, Tensor)
        h = h + (convolved(last["fromrgb"], x) if self.kind == "skip" else 0.0)
        pairs = h.reshape(2, -1, *h.shape[1:])
        deviation = (pairs.var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))
        h = torch.cat([h, deviation.repeat(2)[:, None, None, None].expand(-1, 1, 4, 4)], 1)
        found = fully(last["out"], fully(last["fc"], convolved(last["conv"], h).flatten(1)))
        if not self.classes:
            return found[:, 0]
        return (found * mapped(self.d["mapping"], None, labels)).sum(1) / math.sqrt(found.shape[1])


def act(x: Tensor) -> Tensor:
    """Return LeakyReLU of slope .2, times the root of 2."""
    return torch.where(x > 0, x, 0.2 * x) * ROOT


def limit(x: Tensor, most: float | None) -> Tensor:
    """Limit values."""
    return x if most is None else x.clamp(-most, most)


def fully(node: Node, x: Tensor) -> Tensor:
    """Return a fully connected layer."""
    weight, facts = node.tensors["weight"], node.facts
    y = x @ (weight * facts["weight_gain"]).t() + node.tensors["bias"] * facts["bias_gain"]
    return act(y) if facts["activation"] == "lrelu" else y


def mapped(node: Node, z: Tensor | None, labels: Tensor | None) -> Tensor:
    """Return w."""
    parts = [] if z is None else [z]
    if "embed" in node.parts:
        assert labels is not None
        parts.append(fully(node["embed"], F.one_hot(labels, node["embed"].tensors["weight"].shape[1]).float()))
    x = torch.cat([part / (part.square().mean(1, keepdim=True) + 1e-8).sqrt() for part in parts], 1)
    for k in range(sum(name.startswith("fc") for name in node.parts)):
        x = fully(node[f"fc{k}"], x)
    return x


def spread(x: Tensor) -> Tensor:
    """Put a zero after every pixel."""
    y = torch.zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
    y[:, :, ::2, ::2] = x
    return y


def filtered(x: Tensor, kernel: Tensor, before: int, after: int | None = None) -> Tensor:
    """Filter with zeros around: so many before, one less after; as a sum of shifted copies."""
    size = len(kernel)
    after = before - 1 if after is None else after
    x = F.pad(x, (before, after, before, after))
    high, wide = x.shape[2] - size + 1, x.shape[3] - size + 1
    return sum(
        (kernel[i, j] * x[:, :, i : i + high, j : j + wide] for i in range(size) for j in range(size)), torch.zeros(())
    )


def halved(x: Tensor, kernel: Tensor) -> Tensor:
    """Filter, and take every second pixel."""
    side = len(kernel) // 2 - 1
    return filtered(x, kernel, side, side)[:, :, ::2, ::2]


def convolved(node: Node, x: Tensor, stride: int = 1, gain: float = 1.0) -> Tensor:
    """Return a convolution with its activation, gain and limit."""
    weight = node.tensors["weight"] * node.facts["weight_gain"]
    y = F.conv2d(x, weight, None, stride, 0 if stride == 2 else weight.shape[2] // 2)
    if node.facts["activation"] == "linear":
        return y
    most = None if node.facts["conv_clamp"] is None else node.facts["conv_clamp"] * gain
    return limit(act(y + node.tensors["bias"][:, None, None]) * gain, most)


def modulated(x: Tensor, weight: Tensor, styles: Tensor, kernel: Tensor | None) -> Tensor:
    """Return the modulated and demodulated convolution, sample by sample; with a filter the side is doubled."""
    found = []
    for one, style in zip(x, styles, strict=True):
        w = weight * style[None, :, None, None]
        w = w / (w.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if kernel is None:
            found.append(F.conv2d(one[None], w, padding=1))
            continue
        # A transposed convolution: zeros between pixels, the mirrored kernel.
        y = F.conv2d(F.pad(spread(one[None])[:, :, :-1, :-1], (2, 2, 2, 2)), w.flip(2, 3))
        side = len(kernel) // 2 - 1
        found.append(filtered(y, kernel * 4, side, side))
    return torch.cat(found)


def as_port(drawn: Drawn) -> dict[str, Any]:
    """Return the tensors under the names of the port, with its axes of length 1."""
    g: OrderedDict[str, Tensor] = OrderedDict()
    d: OrderedDict[str, Tensor] = OrderedDict()
    kernel, last = drawn.filter, len(drawn.widths) - 1

    def styled(at: str, node: Node, number: int) -> None:
        g[f"{at}.conv.weight"] = node.tensors["weight"][None]
        g[f"{at}.conv.modulation.weight"], g[f"{at}.conv.modulation.bias"] = node["affine"].tensors.values()
        g[f"{at}.noise.weight"] = node.tensors["noise_strength"][None]
        g[f"{at}.activate.bias"] = node.tensors["bias"]
        g[f"noises.noise_{number}"] = node.tensors["noise_const"][None, None]

    def colours(at: str, node: Node) -> None:
        g[f"{at}.conv.weight"], g[f"{at}.bias"] = (
            node.tensors["weight"][None],
            node.tensors["bias"][None, :, None, None],
        )
        g[f"{at}.conv.modulation.weight"], g[f"{at}.conv.modulation.bias"] = node["affine"].tensors.values()

    for k in range(2):
        g[f"style.{k + 1}.weight"], g[f"style.{k + 1}.bias"] = drawn.g["mapping"][f"fc{k}"].tensors.values()
    synthesis = drawn.g["synthesis"]
    g["input.input"] = synthesis["b4"].tensors["const"][None]
    styled("conv1", synthesis["b4"]["conv1"], 0)
    colours("to_rgb1", synthesis["b4"]["torgb"])
    for k in range(last):
        block = synthesis[f"b{8 << k}"]
        styled(f"convs.{2 * k}", block["conv0"], 2 * k + 1)
        styled(f"convs.{2 * k + 1}", block["conv1"], 2 * k + 2)
        colours(f"to_rgbs.{k}", block["torgb"])
        g[f"to_rgbs.{k}.upsample.kernel"] = 4 * kernel
    d["convs.0.0.weight"], d["convs.0.1.bias"] = take(drawn.d[f"b{4 << last}"]["fromrgb"])
    for number, k in enumerate(range(last, 0, -1), 1):
        block, at = drawn.d[f"b{4 << k}"], f"convs.{number}"
        d[f"{at}.conv1.0.weight"], d[f"{at}.conv1.1.bias"] = take(block["conv0"])
        d[f"{at}.conv2.0.kernel"], d[f"{at}.skip.0.kernel"] = kernel.clone(), kernel.clone()
        d[f"{at}.conv2.1.weight"], d[f"{at}.conv2.2.bias"] = take(block["conv1"])
        d[f"{at}.skip.1.weight"] = block["skip"].tensors["weight"]
    d["final_conv.0.weight"], d["final_conv.1.bias"] = take(drawn.d["b4"]["conv"])
    for k, name in enumerate(("fc", "out")):
        d[f"final_linear.{k}.weight"], d[f"final_linear.{k}.bias"] = take(drawn.d["b4"][name])
    return {"g": g, "d": d, "g_ema": OrderedDict((name, value.clone()) for name, value in g.items())}


def take(node: Node) -> tuple[Tensor, Tensor]:
    """Return weight and bias."""
    return node.tensors["weight"], node.tensors["bias"]
