"""Dragging points of a sample to where they shall be: the code is moved until what was at a point lies at its target.

    F(q)  maps of the generator at half the size of the sample, enlarged to it; p a handle, t its target
    L = sum_p sum_(|q - p| <= r1) |F(q) - F(q + d)|_1,  F(q) held still,  d = (t - p) / ||t - p||    (equation 1)
      + lambda |(F - F_0)(1 - M)|_1                                  what must not move: outside the region M
    p <- the place within r2 of p where F is nearest to F_0 at the first handle                      (equation 2)

Source: Pan et al. 2023, "Drag Your GAN". Deviations: radii and learning rate are shares of the sample's size and of the
spread of the codes, for generators of any size; any layer's maps of half the size will do, so that families without w
are dragged in z; terms are means over numbers instead of sums, so that they weigh alike in every generator; lambda is 5
instead of 20, by which handles of small generators, that move all at once, stay where they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddlepoint.core.config import check
from saddlepoint.core.errors import ConfigError
from saddlepoint.core.types import Samples
from saddlepoint.family.capabilities import StyleSpace
from saddlepoint.run.samples.latent import Explorer

Place = tuple[float, float]
"""(x, y) in pixels of the sample, from its upper left corner: the middle of the first pixel is (0, 0)."""


@dataclass(frozen=True)
class Drag:
    """What is dragged where.

    Attributes:
        handles: places of the sample.
        targets: where they shall go, as many.
        region: (left, top, right, bottom) in pixels: what may change; holds handles and targets. None: everything may.
        near: pixels from its target at which a handle has arrived.
        rate: learning rate, in standard deviations of a coordinate.
        radius: r1, as a share of the longer side; at least one pixel.
        reach: r2, the same.
        stillness: weight lambda of what must not move.
    """

    handles: tuple[Place, ...]
    targets: tuple[Place, ...]
    region: tuple[float, float, float, float] | None = None
    near: float = 1.0
    rate: float = 0.02
    radius: float = 0.03
    reach: float = 0.06
    stillness: float = 5.0

    def __post_init__(self) -> None:
        if len(self.handles) != len(self.targets) or not self.handles:
            raise ConfigError(
                f"{len(self.handles)} handles and {len(self.targets)} targets are given: each handle needs its target"
            )
        if self.region is not None:
            left, top, right, bottom = self.region
            for x, y in (*self.handles, *self.targets):
                if not (left <= x <= right and top <= y <= bottom):
                    raise ConfigError(
                        f"the place {x:g},{y:g} lies outside the region {left:g},{top:g},{right:g},{bottom:g}: what "
                        "may change holds each point and its target; take a larger region"
                    )
        check(self.near > 0, "near", self.near, "above 0")
        check(0 < self.rate <= 1, "rate", self.rate, "above 0 and at most 1")
        check(self.stillness >= 0, "stillness", self.stillness, "0 or more")


@dataclass(frozen=True)
class Dragged:
    """Where dragging stands.

    Attributes:
        sample: (1, *sample), on the CPU.
        handles: where the handles are now.
        distance: of the farthest handle from its target, in pixels.
        arrived: whether all are near enough.
    """

    sample: Samples
    handles: tuple[Place, ...]
    distance: float
    arrived: bool


class Dragging:
    """Drags points of one sample, step by step.

    Args:
        explorer: of a run of images.
        code: where it begins, (latent,) or (layers, w).
        drag: what is dragged where.
        label: class, (1,), of a conditional generator.

    Attributes:
        code: where it is, on the CPU.

    Raises:
        ConfigError: if the run makes no images, a place lies outside them, or the generator has no maps to follow.
    """

    def __init__(self, explorer: Explorer, code: Tensor, drag: Drag, label: Tensor | None = None) -> None:
        family = explorer.family
        if family.data.modality != "image":
            raise ConfigError(f"'{explorer.run.name}' makes {family.data.modality}s: only pictures can be dragged")
        self.explorer, self.drag = explorer, drag
        self.size = (int(family.data.shape[1]), int(family.data.shape[2]))
        _check_places(drag, self.size)
        device = explorer.run.device
        self.label = None if label is None else label.to(device)
        self._whole = explorer.styles(code[None].to(device)).detach().clone()
        self._maps, reached = _maps_of(explorer, self._whole, self.label, self.size)
        # Later layers make colours and details of what lies where it lies: they stay.
        self._moving = self._whole[:, reached] if isinstance(family, StyleSpace) else self._whole
        self._moving = self._moving.clone().requires_grad_(True)
        self._reached = reached
        self._optimizer = torch.optim.Adam([self._moving], lr=drag.rate * explorer.spread)
        self.handles, self._targets = (
            torch.tensor(places, device=device, dtype=torch.float32) for places in (drag.handles, drag.targets)
        )
        side = max(self.size)
        self._near = _around(max(1.0, drag.radius * side), device)
        self._around = _around(max(2.0, drag.reach * side), device)
        self._first: Tensor | None = None
        self._wanted = torch.empty(0, device=device)

    @property
    def code(self) -> Tensor:
        """The code where it stands, on the CPU."""
        return self._codes().detach()[0].cpu()

    def _codes(self) -> Tensor:
        if not isinstance(self.explorer.family, StyleSpace):
            return self._moving
        rest = torch.ones(self._whole.shape[1], dtype=torch.bool, device=self._whole.device)
        rest[self._reached] = False
        return torch.cat([self._moving, self._whole[:, rest]], 1)

    def step(self) -> Dragged:
        """Look at the sample, follow the handles in it, and move the code by one step; return what was seen."""
        with _Taken(self._maps) as taken:
            sample = self.explorer.made(self._codes(), self.label, 0)
        maps = F.interpolate(taken.maps.float(), size=self.size, mode="bilinear", align_corners=False)
        with torch.no_grad():
            self._follow(maps)
        gaps = self._targets - self.handles
        far = gaps.norm(dim=1)
        state = Dragged(
            sample.detach().cpu(), tuple(map(_pair, self.handles.tolist())), float(far.max()),
            bool((far <= self.drag.near).all()),
        )  # fmt: skip
        if not state.arrived:
            (self._moving.grad,) = torch.autograd.grad(self._loss(maps, gaps, far), self._moving)
            self._optimizer.step()
        return state

    def _follow(self, maps: Tensor) -> None:
        """Find the handles again: where the maps are nearest to what they were at the first handles."""
        if self._first is None:
            self._first, self._wanted = maps.clone(), _at(maps, self.handles)
            return
        for number, (handle, wanted) in enumerate(zip(self.handles, self._wanted, strict=True)):
            places = self._inside(handle + self._around)
            gaps = (_at(maps, places) - wanted).abs().sum(1)
            self.handles[number] = places[gaps.argmin()]

    def _inside(self, places: Tensor) -> Tensor:
        height, width = self.size
        return places.clamp(min=0).minimum(places.new_tensor([width - 1, height - 1]))

    def _loss(self, maps: Tensor, gaps: Tensor, far: Tensor) -> Tensor:
        assert self._first is not None
        loss = maps.new_zeros(())
        for handle, gap, length in zip(self.handles, gaps, far, strict=True):
            if length > self.drag.near:
                places = self._inside(handle + self._near)
                ahead = self._inside(places + gap / length)
                loss = loss + (_at(maps, ahead) - _at(maps, places).detach()).abs().mean()
        if self.drag.region is not None and self.drag.stillness:
            loss = loss + self.drag.stillness * ((maps - self._first).abs() * self._still).mean()
        return loss

    @property
    def _still(self) -> Tensor:
        """1 where nothing may change, 0 in the region."""
        assert self.drag.region is not None
        left, top, right, bottom = self.drag.region
        still = torch.ones(self.size, device=self._whole.device)
        still[max(0, math.floor(top)) : math.ceil(bottom) + 1, max(0, math.floor(left)) : math.ceil(right) + 1] = 0
        return still


def drag(
    explorer: Explorer, code: Tensor, asked: Drag, label: Tensor | None = None, steps: int = 200
) -> tuple[Tensor, list[Dragged]]:
    """Drag until all handles have arrived, or for so many steps; return the code, and what was seen at each step.

    Args:
        explorer: of a run of images.
        code: where it begins, (latent,) or (layers, w).
        asked: what is dragged where.
        label: class, (1,), of a conditional generator.
        steps: at most.

    Raises:
        ConfigError: as `Dragging`.
    """
    check(1 <= steps <= 100_000, "steps", steps, "1 to 100,000")
    dragging, seen = Dragging(explorer, code, asked, label), list[Dragged]()
    for _ in range(steps):
        before = dragging.code
        seen.append(dragging.step())
        if seen[-1].arrived:
            return before, seen
    return before, seen


def _pair(values: Sequence[float]) -> Place:
    return float(values[0]), float(values[1])


def _check_places(drag: Drag, size: tuple[int, int]) -> None:
    height, width = size
    for x, y in (*drag.handles, *drag.targets):
        if not (0 <= x <= width - 1 and 0 <= y <= height - 1):
            raise ConfigError(
                f"the place {x:g},{y:g} lies outside the sample: x is 0 to {width - 1}, y 0 to {height - 1}"
            )


def _around(radius: float, device: torch.device) -> Tensor:
    """Return whole steps (n, 2) no longer than a radius."""
    reach = torch.arange(-math.floor(radius), math.floor(radius) + 1, device=device, dtype=torch.float32)
    steps = torch.stack(torch.meshgrid(reach, reach, indexing="xy"), -1).reshape(-1, 2)
    return steps[steps.norm(dim=1) <= radius]


def _at(maps: Tensor, places: Tensor) -> Tensor:
    """Return maps (1, channels, height, width) at places (n, 2) between pixels, (n, channels)."""
    height, width = maps.shape[2:]
    scale = places.new_tensor([max(1, width - 1), max(1, height - 1)])
    grid = (2 * places / scale - 1)[None, None]
    found = F.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=True)
    return found[0, :, 0].T


class _Taken:
    """Notes what a module returns, while it is open."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.maps = module, torch.empty(0)

    def __enter__(self) -> _Taken:
        self._handle = self.module.register_forward_hook(self._note)
        return self

    def _note(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        self.maps = output

    def __exit__(self, *error: object) -> None:
        self._handle.remove()


def _maps_of(explorer: Explorer, codes: Tensor, label: Tensor | None, size: tuple[int, int]) -> tuple[nn.Module, slice]:
    """Return the module whose maps are followed, and the layers of w that come before it.

    It is the last one whose maps are half as large as the sample, and that gradients lead through to the code.
    """
    seen: list[tuple[nn.Module, Tensor]] = []
    family, channels = explorer.family, explorer.family.data.shape[0]
    half = tuple(max(1, side // 2) for side in size)

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and tuple(output.shape[2:]) == half:
            seen.append((module, output))

    handles = [module.register_forward_hook(note) for module in family.modules() if module is not family]
    asked = codes.detach().clone().requires_grad_(True)
    try:
        explorer.made(asked, label, 0)
    finally:
        for handle in handles:
            handle.remove()
    rich = [(module, maps) for module, maps in seen if maps.shape[1] > channels and maps.requires_grad]
    if not rich:
        raise ConfigError(
            f"the generator of '{explorer.run.name}' has no maps of {half[1]} x {half[0]} that could be followed: only "
            "generators of convolutions are dragged"
        )
    module, maps = rich[-1]
    if not isinstance(family, StyleSpace):
        return module, slice(None)
    (slopes,) = torch.autograd.grad(maps.square().sum(), asked)
    moves = slopes[0].abs().amax(1) > 0
    return module, slice(0, int(moves.nonzero().max()) + 1)
