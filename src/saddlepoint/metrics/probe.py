"""A discriminator trained afresh to tell two samples apart: networks and trees, stacked and calibrated.

Whatever it does with the rows it is trained on is allowed: a bound measured on new rows holds for any discriminator.
It only has to be good.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saddlepoint.nn.adam import Adam
from saddlepoint.nn.storage import with_storage

INNER = 0.25
"""Share of the rows that choose when to stop and how to weigh the members; the others train them."""

LARGEST_LOGIT = 7.0
"""Logits are cut off here: log D stays above -7.001, and being sure and right costs 0.0009 nats at most."""

TREE_FEATURES = 16
"""Largest number of features that boosted trees are tried on."""

SMALLEST_IMAGE = 8
"""Height and width from which rows (channel, height, width) get a convolutional network."""

_CHECKS = 12
_DECAY = 0.01
_EVALUATION_ROWS = 1000
_UNITS = 128

Member = Callable[[Sequence[np.ndarray]], np.ndarray]
"""From views of rows, each (n, *sample), to logits (n,) float64."""


@dataclass(frozen=True)
class Probe:
    """A trained discriminator.

    Attributes:
        members: the discriminators it consists of, by name.
        weights: of their logits, >= 0.
        offset: added to the weighted sum.
    """

    members: dict[str, Member]
    weights: tuple[float, ...]
    offset: float

    def logits(self, views: Sequence[np.ndarray]) -> np.ndarray:
        """Return the logits of rows, (n,) float64 within +-`LARGEST_LOGIT`; positive: real.

        Args:
            views: as in `train_probe`.
        """
        total = np.full(len(views[0]), self.offset)
        for member, weight in zip(self.members.values(), self.weights, strict=True):
            if weight > 0:
                total += weight * member(views)
        return np.clip(total, -LARGEST_LOGIT, LARGEST_LOGIT)


@dataclass(frozen=True)
class _Recipe:
    """How one network is trained: minibatches, their size, Adam's largest rate."""

    steps: int
    batch: int
    rate: float


_ON_VECTORS = _Recipe(600, 256, 3e-3)
_ON_IMAGES = _Recipe(400, 128, 1e-2)


class _Labelled:
    """Views of real rows above generated ones, labels 1 and 0, weights by which both kinds count the same in all."""

    def __init__(self, real: Sequence[np.ndarray], fake: Sequence[np.ndarray]) -> None:
        counts = [len(real[0]), len(fake[0])]
        self.views = [np.concatenate(pair) for pair in zip(real, fake, strict=True)]
        self.y = np.repeat([1.0, 0.0], counts)
        self.weight = np.repeat([0.5 / n for n in counts], counts) * sum(counts)

    def __len__(self) -> int:
        return len(self.y)


def train_probe(real: Sequence[np.ndarray], fake: Sequence[np.ndarray], seed: int) -> Probe:
    """Train members on three quarters of the rows and weigh them by the last quarter.

    Images from 8 x 8 get a convolutional and a fully connected network, other rows a fully connected network and,
    up to 16 features, boosted trees, which see structure much finer than the spread of the data. Weights and offset
    are a logistic regression on the members' logits, which also calibrates them.

    On a CPU the same arguments and number of threads give the same probe; the global random state is left alone.

    Args:
        real: views of the real rows: arrays (n, *sample) that describe the same n rows, at least one, of any real
            and finite type; n at least 8.
        fake: the same views of m generated rows.
        seed: of the division, the starts and the minibatches.

    Returns:
        The probe; its logits aim at log p_data / p_g.
    """
    rng = np.random.default_rng(seed)
    parts = [_divide(views, rng) for views in (real, fake)]
    train, inner = (_Labelled(a, b) for a, b in zip(*parts, strict=True))
    members: dict[str, Member] = {}
    for k, view in enumerate(real):
        place = f" {k}" if k else ""
        first, second = (int(s) for s in rng.integers(2**31, size=2))
        if view.ndim == 4 and min(view.shape[2:]) >= SMALLEST_IMAGE:
            members[f"convolutional{place}"] = _train_network(train, inner, k, first, _convolutional, _ON_IMAGES)
            members[f"connected{place}"] = _train_network(train, inner, k, second, _connected, _ON_IMAGES)
            continue
        members[f"connected{place}"] = _train_network(train, inner, k, first, _connected, _ON_VECTORS)
        if math.prod(view.shape[1:]) <= TREE_FEATURES:
            members[f"trees{place}"] = _train_trees(train, k, second)
    weights, offset = stack(np.stack([member(inner.views) for member in members.values()]), inner.y, inner.weight)
    return Probe(members, weights, offset)


def probe_seconds(rows: np.ndarray) -> float:
    """Return about how long `train_probe` takes on rows like these and as many generated ones, by timing few steps.

    It is processor time of this thread: other programs do not count.

    Args:
        rows: (n, *sample).
    """
    image = rows.ndim == 4 and min(rows.shape[2:]) >= SMALLEST_IMAGE
    recipe = _ON_IMAGES if image else _ON_VECTORS
    few = np.asarray(rows[: max(2, min(len(rows) // 2, recipe.batch))])
    labelled, seconds = _Labelled([few], [few]), 0.0
    for make in (_convolutional, _connected) if image else (_connected,):
        spent = []
        for steps in (2, _CHECKS, 3 * _CHECKS):  # the first steps pay for more; then as many checks, and more steps
            start = time.thread_time()
            _train_network(labelled, labelled, 0, 0, make, replace(recipe, steps=steps))
            spent.append(time.thread_time() - start)
        step = max(0.0, spent[2] - spent[1]) / (2 * _CHECKS)
        seconds += spent[1] + step * (recipe.steps - _CHECKS)
    return seconds


def stack(logits: np.ndarray, labels: np.ndarray, weight: np.ndarray) -> tuple[tuple[float, ...], float]:
    """Return weights >= 0 and an offset by which a sum of logits has the least cross-entropy.

    Args:
        logits: (members, n).
        labels: (n,) of 0 and 1.
        weight: (n,) of the rows, mean 1.
    """
    logits, signs = np.clip(logits, -30, 30), 2 * labels - 1

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        margin = signs * (parameters[:-1] @ logits + parameters[-1])
        slope = -weight * signs * np.exp(-np.logaddexp(0, margin)) / len(labels)
        return float((weight * np.logaddexp(0, -margin)).mean()), np.append(logits @ slope, slope.sum())

    start = np.append(np.full(len(logits), 1 / len(logits)), 0.0)
    bounds = [(0.0, None)] * len(logits) + [(None, None)]
    # Imported here: it takes a quarter of a second, which the start of a command should not pay.
    from scipy.optimize import minimize

    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return tuple(float(w) for w in found[:-1]), float(found[-1])


def _divide(views: Sequence[np.ndarray], rng: np.random.Generator) -> tuple[list[np.ndarray], list[np.ndarray]]:
    order = rng.permutation(len(views[0]))
    size = max(1, round(INNER * len(order)))
    return [view[order[size:]] for view in views], [view[order[:size]] for view in views]


def _train_network(
    train: _Labelled,
    inner: _Labelled,
    view: int,
    seed: int,
    make: Callable[[tuple[int, ...], torch.Generator], nn.Module],
    recipe: _Recipe,
) -> Member:
    """Train one network and return it as it was when it did best on the inner rows."""
    generator = torch.Generator().manual_seed(seed)
    rows = train.views[view]
    scale = _Scale(rows, per_channel=make is _convolutional)
    network = make(rows.shape[1:], generator)
    x, y, weight = scale(rows), torch.from_numpy(train.y).float(), torch.from_numpy(train.weight).float()
    optimizer = Adam(network.parameters(), _DECAY)
    checks = {math.ceil(recipe.steps * k / _CHECKS) for k in range(1, _CHECKS + 1)}
    batches = _minibatches(len(train), recipe.batch, generator)
    best = math.inf
    state: dict[str, Tensor] = {}
    for step in range(1, recipe.steps + 1):
        chosen = next(batches)
        loss = F.binary_cross_entropy_with_logits(network(x[chosen]).squeeze(1), y[chosen], weight[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step(recipe.rate * _rate(step - 1, recipe.steps))
        if step in checks:
            margin = (2 * inner.y - 1) * _evaluate(network, scale, inner.views[view])
            now = float((inner.weight * np.logaddexp(0, -margin)).mean())
            if now < best or not state:
                best, state = now, {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(state)
    return lambda views: _evaluate(network, scale, views[view])


def _rate(step: int, steps: int) -> float:
    """Share of the largest rate: up for a tenth of the steps, then down to 0 along a cosine."""
    rise = steps // 10
    return (step + 1) / rise if step < rise else 0.5 + 0.5 * math.cos(math.pi * (step - rise) / (steps - rise))


def _minibatches(n: int, batch: int, generator: torch.Generator) -> Iterator[Tensor]:
    while True:
        yield from torch.randperm(n, generator=generator).split(min(batch, n))


class _Scale:
    """Shift and scale to mean 0 and standard deviation 1 over rows, for each value or each channel."""

    def __init__(self, rows: np.ndarray, per_channel: bool) -> None:
        axes = (0, 2, 3) if per_channel else (0,)
        self.mean = rows.mean(axes, dtype=np.float64, keepdims=True)
        spread = rows.std(axes, dtype=np.float64, keepdims=True)
        self.factor = 1 / np.where(spread > 0, spread, 1.0)

    def __call__(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(((rows - self.mean) * self.factor).astype(np.float32))


@torch.inference_mode()
def _evaluate(network: nn.Module, scale: _Scale, rows: np.ndarray) -> np.ndarray:
    parts = [network(scale(rows[i : i + _EVALUATION_ROWS])) for i in range(0, len(rows), _EVALUATION_ROWS)]
    return torch.cat(parts).squeeze(1).double().numpy()


def _train_trees(train: _Labelled, view: int, seed: int) -> Member:
    # Imported here: it takes a second, and only vectors need it.
    from sklearn.ensemble import HistGradientBoostingClassifier

    # Many small trees: smooth densities need the depth less than the number.
    trees = HistGradientBoostingClassifier(
        max_iter=300, max_leaf_nodes=8, l2_regularization=10, early_stopping=True, random_state=seed
    )
    trees.fit(train.views[view].reshape(len(train), -1), train.y, train.weight)
    return lambda views: trees.decision_function(views[view].reshape(len(views[view]), -1))


def _connected(shape: tuple[int, ...], generator: torch.Generator) -> nn.Module:
    sizes = (math.prod(shape), _UNITS, _UNITS)
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [_draw(nn.Linear(inputs, outputs, device="meta"), generator), nn.SiLU()]
    return nn.Sequential(*layers, _draw(nn.Linear(_UNITS, 1, device="meta"), generator))


def _convolutional(shape: tuple[int, ...], generator: torch.Generator) -> nn.Module:
    """Blocks of pixels as channels, so that large images cost no more, two convolutions of stride 2, one layer."""
    channels, height, width = shape
    block = max(2, math.ceil(min(height, width) / 16))
    down, right = -height % block, -width % block
    first, second = channels * block**2, 32
    cells = math.prod(math.ceil((n + pad) / block / 4) for n, pad in ((height, down), (width, right)))
    layers = [
        _draw(nn.Conv2d(first, second, 3, stride=2, padding=1, device="meta"), generator), nn.LeakyReLU(0.2),
        _draw(nn.Conv2d(second, 64, 3, stride=2, padding=1, device="meta"), generator), nn.LeakyReLU(0.2),
        nn.Flatten(), _draw(nn.Linear(64 * cells, 64, device="meta"), generator), nn.LeakyReLU(0.2),
        _draw(nn.Linear(64, 1, device="meta"), generator),
    ]  # fmt: skip
    network = nn.Sequential(nn.ZeroPad2d((0, right, 0, down)), nn.PixelUnshuffle(block), *layers)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _draw(layer: nn.Linear | nn.Conv2d, generator: torch.Generator) -> nn.Module:
    """Give storage to a layer of the meta device, He's start and bias 0."""
    layer = with_storage(layer)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
