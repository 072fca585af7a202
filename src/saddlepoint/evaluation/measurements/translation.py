"""How well images are translated: into the domain asked for, keeping what they show, back, against the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import torch
from torch import Tensor

from saddlepoint.core.errors import DataError
from saddlepoint.data import Truth, known_truth
from saddlepoint.data.dataset import Dataset, evenly
from saddlepoint.evaluation.features import kept_classifier
from saddlepoint.evaluation.protocol import Protocol, Task, register
from saddlepoint.evaluation.rows import Metric, Row, join, short_count
from saddlepoint.evaluation.sets import Bench, SampleSet, checked, inside
from saddlepoint.evaluation.text import row_of, sentence, shown, to_row
from saddlepoint.family.translation import LabelSets
from saddlepoint.metrics.bootstrap import Estimate, normal_interval, proportion
from saddlepoint.metrics.extractors import Lenet
from saddlepoint.metrics.imagenet import ImagenetLite
from saddlepoint.metrics.perceptual import Perceptual

DOMAIN = Metric("translations in the domain asked for", "higher", digits=3, least=0, most=1)
IDENTITY = Metric("content kept", "higher", digits=3, least=0, most=1)
TRUTH = Metric("error to the known truth", "lower", digits=4, least=0)
CYCLE = Metric("cycle error", "lower", digits=4, least=0)
DIVERSITY = Metric("diversity", "neither", digits=4, least=0)
LOOKS = Metric("perceptual diversity", "neither", digits=4, least=0)

COPY, KNOWN_TRUTH, NOISE = "inputs copied", "known truth", "uniform noise"

_IMAGES = 2_000
_DOMAIN_ROWS, _DOMAIN_EPOCHS = 20_000, 4
_CONTENT_ROWS, _CONTENT_EPOCHS = 50_000, 4
_ROUNDS, _AT_ONCE = 50, 64


@dataclass(frozen=True)
class Exercise:
    """Held-out images, and the domains they are to be translated into.

    Attributes:
        x: uint8 (n, channel, height, width), test rows, evenly spaced.
        rows: their numbers.
        own: their labels, as the data set has them.
        target: labels of other rows of the same label set, different from their own where any are.
    """

    x: np.ndarray
    rows: np.ndarray
    own: np.ndarray
    target: np.ndarray


def exercise(dataset: Dataset, n: int, seed: int) -> Exercise:
    """Return ``n`` test rows with targets.

    Raises:
        DataError: if the test rows have no labels.
    """
    split = dataset.splits["test"]
    if split.labels is None:
        raise DataError(f"the test rows of '{dataset.name}' have no labels, so nothing says their domain")
    rows = evenly(len(split), n)
    sets, own = LabelSets(dataset.spec), np.asarray(split.labels[rows])
    several = sets.several(torch.from_numpy(own))
    target, draws = several.clone(), torch.Generator().manual_seed(seed)
    for _ in range(_ROUNDS):
        same = (target == several).all(1)
        target[same] = sets.shuffled(several, draws)[same]
    classes = target.numpy() if own.ndim == 2 else target.argmax(1).numpy()
    return Exercise(np.asarray(split.x[rows]), rows, own, classes)


def _model(bench: Bench, n: int) -> SampleSet:
    assert bench.subject.translate is not None
    chosen = exercise(bench.dataset, n, bench.seed)
    bench.detail(f"translating {len(chosen.x):,} held-out images")
    raw = bench.subject.translate(inside(chosen.x), torch.from_numpy(chosen.target), bench.seed)
    return SampleSet(bench.subject.label, "model", checked(raw, chosen.x.shape, "image"), chosen.target, raw)


def _control(bench: Bench, name: str, n: int) -> SampleSet:
    chosen = exercise(bench.dataset, n, bench.seed)
    x = chosen.x
    if name == NOISE:
        x = np.random.default_rng(bench.seed).integers(0, 256, chosen.x.shape, dtype=np.uint8)
    elif name == KNOWN_TRUTH:
        truth = _truth(bench)
        assert truth is not None
        x = truth.translated("test", chosen.rows, chosen.target)
    return SampleSet(name, "control", x, chosen.target)


def _truth(bench: Bench) -> Truth | None:
    return known_truth(bench.dataset, bench.say)


def _measure(samples: SampleSet, task: Task) -> list[Row]:
    bench, chosen = task.bench, exercise(task.bench.dataset, task.n, task.bench.seed)
    hits, by_group = _in_domain(samples.x, chosen.target, bench)
    rows = [to_row(DOMAIN, samples, proportion(hits), by_group=by_group)]
    truth = _truth(bench)
    if truth is not None:
        if (content := _content(truth, bench)) is not None:
            same = content.extract(samples.x).labels == content.extract(chosen.x).labels
            rows.append(to_row(IDENTITY, samples, proportion(same), by_change=_by_change(same, chosen, bench.dataset)))
        known = truth.translated("test", chosen.rows, chosen.target) / np.float32(255)
        apart = _distances(samples.unit, known)
        rows.append(to_row(TRUTH, samples, _mean(apart), by_change=_by_change(apart, chosen, bench.dataset)))
    if samples.role == "model" and bench.subject.translate is not None and samples.raw is not None:
        own, target, real = torch.from_numpy(chosen.own), torch.from_numpy(chosen.target), inside(chosen.x)
        # Where a domain has many styles, the way back leads to the image's own.
        guided = bench.subject.guided
        back = guided(samples.raw, real, own) if guided else bench.subject.translate(samples.raw, own, bench.seed)
        again = bench.subject.translate(real, target, bench.seed + 1)
        rows.append(to_row(CYCLE, samples, _mean(_distances((back + 1) / 2, chosen.x / np.float32(255)))))
        rows.append(to_row(DIVERSITY, samples, _mean(_distances((again + 1) / 2, samples.unit))))
        if (looks := _apart(again, samples.raw, bench)) is not None:
            rows.append(to_row(LOOKS, samples, _mean(looks)))
    return rows


@torch.inference_mode()
def _apart(a: Tensor, b: Tensor, bench: Bench) -> np.ndarray | None:
    """Return the perceptual distance of each pair of colour pictures in [-1, 1]; None of others, or without weights."""
    if bench.dataset.spec.shape[0] not in (3, 4) or not isinstance(extractor := bench.extractor(), ImagenetLite):
        return None
    seen = Perceptual(extractor)
    pairs = zip(a.split(_AT_ONCE), b.split(_AT_ONCE), strict=True)
    return np.concatenate([seen(one, other).cpu().numpy().astype(np.float64) for one, other in pairs])


def _by_change(values: np.ndarray, chosen: Exercise, dataset: Dataset) -> dict[str, float]:
    """Return the mean of an image's value where a group's class stays, and for each way in which it changes."""
    sets = LabelSets(dataset.spec)
    own, target = (np.asarray(sets.several(torch.from_numpy(labels))) for labels in (chosen.own, chosen.target))
    found: dict[str, float] = {}
    for group in sets.groups:
        names, (a, b) = dataset.classes[group], (_chosen(labels[:, group]) for labels in (own, target))
        known = (a >= 0) & (b >= 0)
        ways = {f"{'/'.join(names)} stays": known & (a == b)}
        if len(names) == 1:
            names = (f"not {names[0]}", names[0])
        ways |= {f"{names[i]} to {names[j]}": (a == i) & (b == j) for i, j in permutations(range(len(names)), 2)}
        found |= {way: round(float(values[rows].mean()), 4) for way, rows in ways.items() if rows.any()}
    return found


def _chosen(group: np.ndarray) -> np.ndarray:
    """Return which class of a group holds, counted from 0 (of a group of one: whether it does); -1: not known."""
    return np.where(group[:, 0] < 0, -1, group[:, 0] if group.shape[1] == 1 else group.argmax(1))


def _distances(a: np.ndarray | Tensor, b: np.ndarray | Tensor) -> np.ndarray:
    """Return each image's mean absolute difference of pixels in [0, 1]."""
    found: np.ndarray = np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).reshape(len(a), -1).mean(1)
    return found


def _mean(each: np.ndarray) -> Estimate:
    """Return the mean over images; its interval covers their draw."""
    value, error = float(each.mean()), float(each.std(ddof=1) / len(each) ** 0.5) if len(each) > 1 else 0.0
    return Estimate(value, normal_interval(value, error), error)


def _in_domain(x: np.ndarray, target: np.ndarray, bench: Bench) -> tuple[np.ndarray, dict[str, float]]:
    """Return whether all groups of each image are as asked for, and the share that is, group by group."""
    several = np.asarray(LabelSets(bench.dataset.spec).several(torch.from_numpy(target)))
    right = np.ones(len(x), bool)
    by_group: dict[str, float] = {}
    for name, (columns, classifier) in _judges(bench).items():
        asked = several[:, columns]
        known, wanted = asked[:, 0] >= 0, _chosen(asked)
        hit = classifier.extract(np.ascontiguousarray(x)).labels == wanted
        right &= hit | ~known
        if known.any():
            by_group[name] = round(float(hit[known].mean()), 4)
    return right, by_group


def _judges(bench: Bench) -> dict[str, tuple[slice, Lenet]]:
    """Return a classifier of real images for each group of classes, by the classes' names."""
    dataset, judges = bench.dataset, {}
    sets = LabelSets(dataset.spec)
    for group in sets.groups:
        word = "/".join(dataset.classes[group])
        labels = {split: _column(dataset, split, group, sets) for split in ("train", "valid")}
        judges[word] = (
            group,
            kept_classifier(
                dataset, f"domains-{group.start}", labels, max(2, group.stop - group.start), rows=_DOMAIN_ROWS,
                epochs=_DOMAIN_EPOCHS, say=bench.say,
            ),
        )  # fmt: skip
    return judges


def _column(dataset: Dataset, split: str, group: slice, sets: LabelSets) -> np.ndarray:
    labels = dataset.splits[split].labels
    assert labels is not None
    return _chosen(np.asarray(sets.several(torch.from_numpy(np.asarray(labels))))[:, group])


def _content(truth: Truth, bench: Bench) -> Lenet | None:
    """Return a classifier of what images show, whatever their domain; None where the grey data has no labels."""
    labels = {split: truth.content(split) for split in ("train", "valid")}
    found = {split: chosen for split, chosen in labels.items() if chosen is not None}
    if len(found) < 2:
        return None
    return kept_classifier(
        bench.dataset, "content", found, len(truth.base.classes), rows=_CONTENT_ROWS, epochs=_CONTENT_EPOCHS,
        say=bench.say,
    )  # fmt: skip


def _verdict(rows: Sequence[Row], task: Task) -> str:
    model, copied = row_of(rows, None, DOMAIN.name), row_of(rows, COPY, DOMAIN.name)
    kept, error = row_of(rows, None, IDENTITY.name), row_of(rows, None, TRUTH.name)
    if model is None:
        return ""
    beside = "" if copied is None else f" ({COPY}: {shown(copied, DOMAIN)})"
    return join(
        (
            f"{sentence(model.row)} puts {shown(model, DOMAIN)} of held-out images into the domain asked for{beside}.",
            "" if kept is None else f"What they show is kept in {shown(kept, IDENTITY)}{_least(kept)}.",
            ""
            if error is None
            else f"They differ from the known truth by {shown(error, TRUTH)} of the range of a pixel.",
        )
    )


def _least(row: Row) -> str:
    """Say for which change a share is least."""
    ways: dict[str, float] = row.details.get("by_change", {})
    worst = min(ways, key=lambda way: ways[way], default="")
    return f", least in '{worst}': {IDENTITY.show(ways[worst])}" if worst else ""


def _controls(bench: Bench) -> Sequence[str]:
    return (COPY, *((KNOWN_TRUTH,) if _truth(bench) is not None else ()), NOISE)


def _needs(bench: Bench) -> str:
    if bench.subject.translate is None:
        return "the samples come without a generator that translates images"
    return "" if bench.dataset.splits["test"].labels is not None else f"'{bench.dataset.name}' has no labels"


register(
    Protocol(
        "translation", ("image",),
        "held-out images translated into other domains, named by classifiers of real images, beside the known truth",
        (DOMAIN, IDENTITY, TRUTH, CYCLE, DIVERSITY, LOOKS), _measure, _verdict,
        name=lambda task: f"translation{short_count(task.n)}_lenet_test",
        controls=_controls,
        count=lambda bench, wanted: bench.count(min(wanted, _IMAGES)),
        needs=_needs,
        version=6,
        extracts=False,
        translates=True,
        model=_model,
        control=_control,
    )
)  # fmt: skip
