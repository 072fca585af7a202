"""Tables of samples that explain a generator: lines through z, styles mixed or in turn, truncation, references."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.types import from_bytes
from saddlepoint.data.labels.files import class_index
from saddlepoint.engine.machine import runtime
from saddlepoint.family.capabilities import Guided, StyleSpace, style_space
from saddlepoint.figures import grids
from saddlepoint.run.run import Run

STEPS = 10
"""Places on a line of an interpolation."""

_TRUNCATIONS = (1.0, 0.7, 0.5, 0.0, -0.5, -1.0)


@dataclass(frozen=True)
class Sheet:
    """Samples in rows, and the words that say what each row and column is.

    Attributes:
        samples: (rows * columns, *sample), row by row.
        columns: in a row.
        headings: a line for each column.
        captions: a line for each row; None: rows differ in their random draw only.
        corner: what stands in the place of the first sample, which is none then.
    """

    samples: Tensor
    columns: int
    headings: tuple[str, ...]
    captions: tuple[str, ...] | None = None
    corner: str | None = None

    def drawn(self) -> Image.Image:
        """Return it as a picture."""
        return grids.grid(
            self.samples, self.columns, headings=self.headings, captions=self.captions, corner=self.corner
        )


def sheet(run: Run, picture: str, n: int, seed: int, label: int | str | None) -> Sheet:
    """Return a table of samples.

    Args:
        run: the run.
        picture: interpolation, styles, truncation or references.
        n: rows; of styles and references columns, too.
        seed: of the samples.
        label: index or name of one class; None: one after another.

    Raises:
        ConfigError: if the generator has no such table, or no such class.
    """
    return SHEETS[picture](run, n, seed, label)


def _interpolated(run: Run, rows: int, seed: int, label: int | str | None) -> Sheet:
    """Walk along straight lines in z; the label of a row stays: the one asked for, else one class after another."""
    if run.family.tags.input == "image":
        raise ConfigError(f"'{run.path.name}' transforms images: there is no z to walk in; draw a grid")
    z0, z1 = run.inputs(2 * rows, seed=seed).split(rows)
    labels = run.labels(rows, seed=seed, label=label)
    if labels is not None and label is None:
        labels = torch.arange(rows) % run.family.classes
    steps = grids.walk(z0.flatten(1), z1.flatten(1), STEPS).unflatten(1, z0.shape[1:])
    samples = run.generate(steps, None if labels is None else labels.repeat_interleave(STEPS), seed=seed)
    headings = tuple(f"{share:.2g}" for share in np.linspace(0, 1, STEPS))
    return Sheet(samples, STEPS, headings, _names(run, labels))


def _names(run: Run, labels: Tensor | None) -> tuple[str, ...] | None:
    """Return the names of the classes of rows, where each row has one."""
    if labels is None or labels.ndim > 1:
        return None
    return tuple(run.family.data.classes[int(index)] for index in labels)


def _w(run: Run, n: int, seed: int, label: int | str | None) -> Tensor:
    """Return the places in w of ``n`` samples."""
    if not isinstance(run.family, StyleSpace):
        raise ConfigError(f"family '{run.family.name}' has no styles; draw a grid or an interpolation of its samples")
    return run.codes(run.inputs(n, seed=seed), run.labels(n, seed=seed, label=label))


def _styles(run: Run, n: int, seed: int, label: int | str | None) -> Sheet:
    """Return a table of n + 1 columns: styles mixed, or where styles belong to domains inputs in one style a column."""
    return (_restyled if isinstance(run.family, Guided) else _mixed)(run, n, seed, label)


def _restyled(run: Run, n: int, seed: int, label: int | str | None) -> Sheet:
    """Return inputs in the first column; column k has the style that the seed ``seed + k - 1`` draws.

    Columns of a domain stand together; it is the one asked for, or each in turn.
    """
    inputs = run.inputs(n, seed=seed)
    domains = torch.arange(n) * run.family.classes // n if label is None else run.labels(n, label=label)
    assert domains is not None
    # One by one: a draw of the style belongs to the place in a minibatch.
    made = [run.generate(x[None], domains[k, None], seed=seed + k) for x in inputs for k in range(n)]
    samples = torch.cat([inputs[:, None], torch.cat(made).unflatten(0, (n, n))], 1).flatten(0, 1)
    names = _names(run, domains) or ("",) * n
    return Sheet(samples, n + 1, ("input", *(f"{name}, seed {seed + k}" for k, name in enumerate(names))))


def _referenced(run: Run, n: int, seed: int, label: int | str | None) -> Sheet:
    """Return inputs in the first column, training images in the first row, and each input in the style of each."""
    if not isinstance(run.family, Guided):
        raise ConfigError(f"family '{run.family.name}' takes no style from a reference image; draw a grid")
    inputs, train = run.inputs(n, seed=seed), run.dataset().splits["train"]
    assert train.labels is not None
    found = torch.randperm(len(train.x), generator=runtime.stream("cpu", "references", seed)).numpy()
    if label is not None:
        found = found[train.labels[found] == class_index(label, run.family.data.classes)]
    images = from_bytes(torch.from_numpy(np.asarray(train.x[found[:n]])))
    domains = torch.from_numpy(train.labels[found[:n]].astype(np.int64))
    if len(images) < n:
        raise ConfigError(f"n is {n}, but there are {len(images)} training images of this class; choose a smaller -n")
    made = run.guided(inputs.repeat_interleave(n, 0), images.repeat(n, 1, 1, 1), domains.repeat(n))
    rows = torch.cat([inputs[:, None], made.unflatten(0, (n, n))], 1).flatten(0, 1)
    samples = torch.cat([torch.full_like(inputs[:1], -1.0), images, rows])
    return Sheet(samples, n + 1, ("", *(_names(run, domains) or ())), corner="inputs\nbelow,\nstyles\nright")


def _mixed(run: Run, n: int, seed: int, label: int | str | None) -> Sheet:
    """Return a table of samples: each has the coarse styles of its row's first one, the others of its column's."""
    w = _w(run, 2 * n, seed, label)
    layers = style_space(run.family).w_layers
    whole = w[:, None].expand(-1, layers, -1)
    coarse, fine = whole.split(n)
    table = fine.repeat(n, 1, 1)
    table[:, : layers // 2] = coarse.repeat_interleave(n, 0)[:, : layers // 2]
    rows, columns, inside = run.synthesise(torch.cat([whole, table]), seed).split((n, n, n * n))
    parts = [torch.full_like(rows[:1], -1.0), columns]
    for row, mixtures in zip(rows, inside.split(n), strict=True):
        parts += [row[None], mixtures]
    headings = ("coarse", *(f"fine {number}" for number in range(1, n + 1)))
    return Sheet(torch.cat(parts), n + 1, headings, corner="coarse\nbelow,\nfine\nright")


def _truncated(run: Run, n: int, seed: int, label: int | str | None) -> Sheet:
    """Return samples pulled towards the mean, a row each: all the way, and as far on the other side of it."""
    w = _w(run, n, seed, label)
    shares = torch.tensor(_TRUNCATIONS)[None, :, None]
    codes = torch.lerp(style_space(run.family).w_average.cpu().expand_as(w)[:, None], w[:, None], shares).flatten(0, 1)
    samples = run.synthesise(codes[:, None].expand(-1, style_space(run.family).w_layers, -1), seed)
    return Sheet(samples, len(_TRUNCATIONS), tuple(f"psi {share:g}" for share in _TRUNCATIONS))


SHEETS: dict[str, Callable[[Run, int, int, int | str | None], Sheet]] = {
    "interpolation": _interpolated, "styles": _styles, "truncation": _truncated, "references": _referenced,
}  # fmt: skip
"""What `sheet` can make."""
