"""An editing session: one sample that is changed step by step, each of which can be undone."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.types import Samples
from saddlepoint.figures import grids
from saddlepoint.run.samples.drag_pictures import start_of
from saddlepoint.run.samples.dragging import Drag, Dragged, Dragging, Place
from saddlepoint.run.samples.editing import keep_place
from saddlepoint.run.samples.latent import Explorer
from saddlepoint.run.samples.points import Point

_MOST_POINTS, _MOST_STEPS = 16, 100


class Session:
    """The sample, its points, and how it came to be as it is.

    Args:
        explorer: of a run of images.
        point: where it begins, in words of `Point.parse`.

    Attributes:
        size: (height, width) of the sample.
        first, sample: as it was at first, and as it is, (1, *sample).
        handles, targets: what is dragged where.
        region: what may change, (left, top, right, bottom), or None.
        trying: whether a way along a direction is shown that is not accepted yet.

    Raises:
        ConfigError: if the run makes no images, or there is no such point.
    """

    def __init__(self, explorer: Explorer, point: str) -> None:
        if explorer.family.data.modality != "image":
            raise ConfigError(f"'{explorer.run.name}' makes {explorer.family.data.modality}s: only pictures are edited")
        self.explorer, self.point = explorer, Point.parse(point)
        self.size = (int(explorer.family.data.shape[1]), int(explorer.family.data.shape[2]))
        code, self.label = start_of(explorer, self.point)
        self._history: list[tuple[Tensor, dict[str, Any]]] = [(code, {})]
        self._tried: tuple[Tensor, dict[str, Any]] | None = None
        self._dragging: Dragging | None = None
        self._steps, self._seen = 0, tuple[Dragged, ...]()
        self.first = self.sample = self._drawn(code)
        self.handles: list[Place] = []
        self.targets: list[Place] = []
        self.region: tuple[float, float, float, float] | None = None

    @property
    def code(self) -> Tensor:
        """The code as it is, without what is only tried."""
        return self._history[-1][0]

    @property
    def trying(self) -> bool:
        return self._tried is not None

    def _drawn(self, code: Tensor) -> Samples:
        return self.explorer.samples(self.explorer.styles(code[None]), self.label, 0)

    def place(self, across: float, down: float) -> Place:
        """Return the pixel at shares of width and height."""
        height, width = self.size
        return float(min(width - 1, int(across * width))), float(min(height - 1, int(down * height)))

    def add(self, handle: Place, target: Place) -> None:
        """Add a point that is to be dragged.

        Raises:
            ConfigError: if there are too many, or one lies outside the sample.
        """
        if len(self.handles) >= _MOST_POINTS:
            raise ConfigError(f"{_MOST_POINTS} points are there already, the most at once: remove them first")
        height, width = self.size
        for x, y in (handle, target):
            if not (0 <= x < width and 0 <= y < height):
                raise ConfigError(f"the place {x:g},{y:g} lies outside: x is 0 to {width - 1}, y 0 to {height - 1}")
        self.handles.append(handle)
        self.targets.append(target)

    def add_words(self, text: str) -> None:
        """Add a point that is written as ``X,Y X,Y``: from where to where.

        Raises:
            ConfigError: if it is written in another way, and as `add`.
        """
        try:
            (x, y), (to_x, to_y) = (map(float, part.split(",")) for part in text.split())
        except ValueError as error:
            raise ConfigError(f"the point is '{text}', but it must be X,Y X,Y such as 20,40 26,36") from error
        self.add((x, y), (to_x, to_y))

    def span(self, one: Place, other: Place) -> None:
        """Let only what lies between two corners change."""
        (left, right), (top, bottom) = (sorted((one[axis], other[axis])) for axis in (0, 1))
        self.region = left, top, right, bottom

    def forget(self) -> None:
        """Remove points and region."""
        self.handles, self.targets, self.region = [], [], None

    def begin(self) -> None:
        """Begin to drag the points.

        Raises:
            ConfigError: if there are none, or the generator has no maps to follow.
        """
        if not self.handles:
            raise ConfigError("there is no point to drag: press at one in the picture, and release where it shall go")
        self.drop()
        asked = Drag(tuple(self.handles), tuple(self.targets), self.region)
        self._dragging, self._steps = Dragging(self.explorer, self.code, asked, self.label), 0

    def step(self) -> Dragged:
        """Drag by one step, and show where it is."""
        assert self._dragging is not None, "begin comes first"
        state = self._dragging.step()
        self._steps += 1
        self.sample, self.handles = state.sample, list(state.handles)
        self._seen = (state,)
        return state

    def end(self) -> None:
        """Make what was dragged a step that can be undone."""
        if self._dragging is None:
            return
        done, self._dragging = self._dragging, None
        if self._steps:
            facts = {"kind": "drag", **asdict(done.drag), "steps": self._steps, "ends": self._seen[0].handles}
            self._push(done.code, facts)

    def attempt(self, direction: int | str, amount: float) -> None:
        """Show the sample further along a direction, in standard deviations.

        Raises:
            ConfigError: if there is no such direction.
        """
        code = self.code + amount * self.explorer.spread * self.explorer.direction(direction)
        self._tried = code, {"kind": "direction", "direction": direction, "amount": amount}
        self.sample = self._drawn(code)

    def accept(self) -> None:
        """Make what is tried a step that can be undone."""
        if self._tried is not None:
            self._push(*self._tried)

    def drop(self) -> None:
        """Give up what is tried."""
        if self._tried is not None:
            self._tried = None
            self.sample = self._drawn(self.code)

    def undo(self) -> None:
        """Take back the last step."""
        if len(self._history) > 1:
            self._history.pop()
        self._tried = None
        self.sample = self._drawn(self.code)
        self.handles, self.targets = [], []

    def _push(self, code: Tensor, facts: dict[str, Any]) -> None:
        self._tried = None
        self._history.append((code, facts))
        del self._history[1:-_MOST_STEPS]
        self.sample = self._drawn(code)

    def both(self) -> Image.Image:
        """Return the sample before and after at full size, side by side."""
        return grids.grid(torch.cat([self.first, self.sample]), 2, scale=1)

    def keep(self, out: Path) -> Path:
        """Write the place as a run of its own, with all steps that led to it; return its folder.

        Raises:
            ConfigError: if the folder is there.
        """
        steps = [facts for _, facts in self._history[1:]]
        about = {"kind": "place", "point": str(self.point), "steps": steps}
        return keep_place(self.explorer, self.code, self.label, out, about, self.first)
