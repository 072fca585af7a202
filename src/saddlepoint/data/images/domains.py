"""Domains whose translations are known: real images rendered in colours, strokes and polarities, item by item."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from saddlepoint.data.dataset import SPLITS, Dataset
from saddlepoint.data.sources.folder import Item, Source

INKS: Mapping[str, tuple[int, int, int]] = {
    "red": (225, 40, 40),
    "green": (30, 165, 60),
    "blue": (50, 90, 230),
    "yellow": (235, 200, 40),
}
"""Red, green and blue parts of each colour, in [0, 255]."""

_SEED = 2018
_PLUS = np.array([[[0, 1, 0], [1, 1, 1], [0, 1, 0]]], dtype=bool)
_SQUARE = np.ones((1, 3, 3), dtype=bool)
_THIN, _BOLD = 2.1, 4.5
"""Widths of strokes, in pixels."""


@dataclass(frozen=True)
class Domains:
    """How grey images of a data set are rendered.

    Attributes:
        name: of the result.
        base: name of the data set of grey images.
        groups: classes; of each group exactly one holds. A single group means one class a row.
        free: groups that no label tells: rows differ in them within every domain.
    """

    name: str
    base: str
    groups: tuple[tuple[str, ...], ...]
    free: tuple[tuple[str, ...], ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of all classes."""
        return tuple(name for group in self.groups for name in group)

    @property
    def labelling(self) -> tuple[tuple[int, ...], ...]:
        """Sizes of the groups as a `DataSpec` has them; empty for one class a row."""
        return (tuple(len(group) for group in self.groups),) if len(self.groups) > 1 else ()

    def draw(self, split: str, rows: int) -> np.ndarray:
        """Return the labels that rows of a split are rendered with: a fixed function of split and row."""
        chosen = self._chosen(split, rows)[:, : len(self.groups)]
        if not self.labelling:
            return chosen[:, 0]
        starts = np.array([0, *accumulate(len(group) for group in self.groups)][:-1])
        labels = np.zeros((rows, len(self.classes)), np.int64)
        np.put_along_axis(labels, chosen + starts, 1, 1)
        return labels

    def vary(self, split: str, rows: int) -> np.ndarray:
        """Return what rows of a split are in each free group, (rows, groups): as fixed as their labels."""
        return self._chosen(split, rows)[:, len(self.groups) :]

    def _chosen(self, split: str, rows: int) -> np.ndarray:
        rng = np.random.default_rng((_SEED, SPLITS.index(split)))
        return np.stack([rng.integers(0, len(group), rows) for group in (*self.groups, *self.free)], 1)

    def render(self, grey: np.ndarray, labels: np.ndarray, varied: np.ndarray) -> np.ndarray:
        """Return images with the given labels: the truth about what a translation should be.

        An ink is mixed with a black or a white ground by the grey value. Strokes are about 2.1 pixels wide if thin and
        4.5 if bold (`strokes`).

        Args:
            grey: uint8 (n, height, width).
            labels: (n,) class indices, or (n, classes) of 1 and 0.
            varied: (n, free groups), as `vary` gives them.

        Returns:
            uint8 (n, 3, height, width).
        """
        holds = np.eye(len(self.classes), dtype=np.int64)[labels] if labels.ndim == 1 else labels
        column = {name: holds[:, index].astype(bool) for index, name in enumerate(self.classes)}
        for group, kind in zip(self.free, varied.T, strict=True):
            column |= {name: kind == index for index, name in enumerate(group)}
        if "bold" in column:
            grey = strokes(grey, column["bold"])
        colours = [name for name in self.classes if name in INKS]
        ink = np.array([INKS[name] for name in colours], np.float32)[
            holds[:, [self.classes.index(name) for name in colours]].argmax(1)
        ]
        white = column.get("on-white", np.zeros(len(grey), bool)).astype(np.float32) * 255
        share = grey[:, None].astype(np.float32) / 255
        ground = white[:, None, None, None]
        return np.rint(ground + share * (ink[:, :, None, None] - ground)).astype(np.uint8)


def strokes(grey: np.ndarray, bold: np.ndarray) -> np.ndarray:
    """Return images with strokes of one of two widths, whatever their own.

    Thin: the image or its erosion, bold: one of three dilations; whichever comes nearest to 2.1 or 4.5 pixels. So the
    two never overlap, as they would if every stroke were made wider by the same amount: handwriting varies by more.

    Args:
        grey: uint8 (n, height, width), light strokes on black.
        bold: bool (n,).

    Returns:
        uint8 (n, height, width).
    """
    # Imported here: few need it, and it takes a seventh of a second of every start.
    from scipy.ndimage import grey_dilation, grey_erosion

    found, light, heavy = np.empty_like(grey), grey[~bold], grey[bold]
    wider = grey_dilation(heavy, footprint=_PLUS)
    found[~bold] = _nearest(_THIN, light, grey_erosion(light, footprint=_PLUS))
    found[bold] = _nearest(_BOLD, wider, *(grey_dilation(image, footprint=_SQUARE) for image in (heavy, wider)))
    return found


def stroke_width(grey: np.ndarray) -> np.ndarray:
    """Return the mean width of the strokes of each image, in pixels: twice the area over the outline (total variation).

    Args:
        grey: uint8 (n, height, width), light strokes on black. An empty image has width 0.
    """
    share = np.pad(grey.astype(np.float64) / 255, ((0, 0), (1, 1), (1, 1)))
    down, right = np.diff(share, axis=1)[:, :, :-1], np.diff(share, axis=2)[:, :-1]
    outline: np.ndarray = np.hypot(down, right).sum((1, 2))
    return 2 * share.sum((1, 2)) / np.maximum(outline, np.finfo(np.float64).tiny)


def _nearest(width: float, *candidates: np.ndarray) -> np.ndarray:
    """Return of each image the candidate whose strokes have nearly that width; the first of equals."""
    off = np.abs(np.stack([stroke_width(grey) for grey in candidates]) - width)
    chosen: np.ndarray = np.stack(candidates)[off.argmin(0), np.arange(off.shape[1])]
    return chosen


DOMAINS: Mapping[str, Domains] = {
    domains.name: domains
    for domains in (
        Domains(
            "mnist-domains", "mnist", (("red", "green", "blue"), ("thin", "bold"), ("on-black", "on-white"))
        ),
        Domains("mnist-colours", "mnist", (("red", "green", "blue"),), (("thin", "bold"), ("on-black", "on-white"))),
        Domains("fashion-colours", "fashion-mnist", (("red", "green", "blue", "yellow"),)),
    )
}  # fmt: skip
"""By name."""


def domains_source(base: Dataset, domains: Domains) -> Source:
    """Return the rows of a grey data set, each rendered with the labels drawn for it."""

    def items() -> Iterator[Item]:
        for split in SPLITS:
            x = np.asarray(base.splits[split].x)
            labels, varied = domains.draw(split, len(x)), domains.vary(split, len(x))
            for start in range(0, len(x), 1000):
                part = slice(start, start + 1000)
                for row, pixels in enumerate(domains.render(x[part, 0], labels[part], varied[part]), start):
                    label = labels[row].tolist()
                    one = tuple(label) if domains.labelling else int(label)
                    yield Item(pixels.transpose(1, 2, 0), one, f"{split} row {row}", split)

    note = f"each image of {base.name} in one of {' x '.join(str(len(group)) for group in domains.groups)} domains"
    if domains.free:
        note += f", within them in one of {' x '.join(str(len(group)) for group in domains.free)} styles"
    return Source(
        domains.name, f"domains-2/{base.fingerprint}/{_SEED}", items, classes=domains.classes, notes=(note,),
        labelling=domains.labelling,
    )  # fmt: skip
