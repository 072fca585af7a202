"""A request, and what it becomes once its data is read: sizes and options chosen, each with its reason.

Training, a dry run, `saddle data inspect --family` and the studio all show what `resolve` found.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from saddlepoint.core.config import to_json
from saddlepoint.core.errors import ConfigError, DataError
from saddlepoint.core.version import __version__
from saddlepoint.data import Dataset, absolute_source, load_dataset, natural_side
from saddlepoint.data.in_memory import in_memory
from saddlepoint.data.in_memory import path_of as in_memory_path
from saddlepoint.data.kinds import ARRAYS, sure_kind
from saddlepoint.data.options import Options, Preparation
from saddlepoint.data.plan import Finding, ReadingPlan, as_findings, findings_to_json
from saddlepoint.engine.machine.runtime import AUTO
from saddlepoint.engine.settings import Settings
from saddlepoint.engine.storage.folder import RunFolder
from saddlepoint.family import Family, FamilyConfig, build_family, get_family
from saddlepoint.family.capabilities import Sized, suited
from saddlepoint.family.registry import other_kind
from saddlepoint.run.privacy import privately
from saddlepoint.run.weights import check_classes, rebuilt


@dataclass(frozen=True)
class Plan:
    """A training request in full, before any data is read: what is left open by it is chosen by `resolve`.

    Attributes:
        family: name of the family.
        preset: name of the preset that the options started from.
        options: the family's configuration.
        source: data set name, path or hub id.
        preparation: how data is prepared: arguments of `load_dataset`.
        settings: seed, budget and cadence.
        device: cpu, cuda, mps or auto.
        threads: CPU threads; None: measured.
        out: run folder; None: a new one below ``runs/``, or an unfinished one of the same configuration.
        named: options that the user named, which stay; None: no option is chosen by the data.
        root: folder in which a new run is made; None: ``SADDLEPOINT_RUNS``, or ``runs``.
        goes_on: whether it is the plan of a run that is there, which keeps its options.
        start_from: the run whose weights it begins with; None: its own, drawn.
        log_to: trackers that hear of it; (): none any more; None: those that the run had before.
    """

    family: str
    preset: str
    options: FamilyConfig
    source: str
    preparation: Mapping[str, Any] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)
    device: str = "auto"
    threads: int | None = None
    out: Path | None = None
    named: frozenset[str] | None = None
    root: Path | None = None
    goes_on: bool = False
    start_from: str | None = None
    log_to: tuple[str, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the plan as it is printed by a dry run and kept in ``config.json``."""
        return {
            "saddlepoint": __version__,
            "family": self.family,
            "preset": self.preset,
            "options": to_json(self.options),
            "data": {"source": self.source, "options": dict(self.preparation)},
            "settings": dataclasses.asdict(self.settings),
            "device": self.device,
            "threads": self.threads or AUTO,
        }


@dataclass(frozen=True)
class Resolved:
    """A request with its data read and all choices made.

    Attributes:
        plan: the request, with the sizes and options that were chosen.
        dataset: the data.
        network: the family, built for the data.
        chosen: what the family does with the data, and why.
    """

    plan: Plan
    dataset: Dataset
    network: Family
    chosen: tuple[Finding, ...] = ()

    @property
    def reading(self) -> ReadingPlan:
        """How the data is read and what the family does with it: the whole plan."""
        return ReadingPlan(self.plan.source, (*self.dataset.findings, *self.chosen))

    def to_json(self) -> dict[str, Any]:
        """Return what a dry run prints and ``config.json`` keeps."""
        kept = self.plan.to_json()
        kept["data"] |= _described(self.dataset, self.plan.source, self.reading)
        return kept


def options_for(kind: type[Family], preparation: Preparation) -> Options:
    """Return options of data, with the kind of rows that the family takes where it takes one only."""
    return Options.of(**{**_only_kind(kind), **preparation})


def _only_kind(kind: type[Family]) -> Preparation:
    own = kind.tags.modalities
    return {"modality": own[0]} if len(own) == 1 else {}


def resolve(request: Plan, device: torch.device, say: Callable[[str], None] | None = None) -> Resolved:
    """Load the data; choose what the request leaves open by what it is.

    Args:
        request: what to train.
        device: a CPU takes smaller images than a GPU unless a size is asked for.
        say: as in `load_dataset`.

    Raises:
        ConfigError: if the family does not take such data, or cannot be built for it.
        DataError: as `load_dataset`.
    """
    kind = get_family(request.family)
    _refuse_other_kind(request.source, kind)
    dataset, preparation, found = _loaded(request, kind, device, say)
    _refuse_names(dataset)
    options, reasons = request.options, tuple[str, ...]()
    if request.named is not None:
        options, reasons = suited(kind, request.options, dataset.spec, request.named)
    found += as_findings(reasons, "options")
    found.append(Finding("batch", f"minibatches of {options.batch_size} samples", option="--batch-size N"))
    plan = replace(request, preparation=preparation, options=options)
    asked = rebuilt(RunFolder(plan.out)) if plan.goes_on and plan.out is not None else contextlib.nullcontext()
    with asked:
        network = build_family(plan.family, options, dataset.spec)
    return _with_privacy(Resolved(plan, dataset, network, tuple(found)), say or (lambda line: None))


def _loaded(
    request: Plan, kind: type[Family], device: torch.device, say: Callable[[str], None] | None
) -> tuple[Dataset, dict[str, Any], list[Finding]]:
    """Load the data as the family takes it; return how it was prepared, and what was chosen of that."""
    # An array that could be images or series is read as what the family takes.
    arrays = Path(request.source).suffix.lower() in ARRAYS or in_memory(request.source)
    preparation: dict[str, Any] = {**(_only_kind(kind) if arrays else {}), **request.preparation}
    sizes = kind.sizes if issubclass(kind, Sized) else ()
    if not sizes or preparation.get("size") is not None:
        return load_dataset(request.source, say=say, **preparation), preparation, []
    # The side is known before the data is read, or only after; then images of another side are read again.
    dataset, own = None, natural_side(request.source, **preparation)
    if own is None:
        dataset = load_dataset(request.source, say=say, **preparation)
        if dataset.modality != "image":
            return dataset, preparation, []
        own = dataset.spec.shape[1]
    most = kind.most_on_cpu if issubclass(kind, Sized) and device.type == "cpu" else None
    side, why = choose_size(own, sizes, most)
    if not why:
        read = load_dataset(request.source, say=say, **preparation) if dataset is None else dataset
        return read, preparation, []
    preparation["size"] = side
    trains = f"{kind.name} trains on {side}x{side} images"
    found = Finding("size", trains, why, "--size N or WIDTHxHEIGHT", sure=False)
    return load_dataset(request.source, say=say, **preparation), preparation, [found]


def _with_privacy(resolved: Resolved, say: Callable[[str], None]) -> Resolved:
    """Return a plan with the noise chosen, where it is private."""
    plan = resolved.plan
    if plan.settings.privacy is None:
        return resolved
    settings, told = privately(plan.settings, resolved.network, say)
    return replace(resolved, plan=replace(plan, settings=settings), chosen=(*resolved.chosen, *told))


def _refuse_names(dataset: Dataset) -> None:
    """Refuse names of classes that no run could be loaded with.

    Raises:
        DataError: naming the first.
    """
    try:
        check_classes(dataset.classes)
    except ValueError as error:
        raise DataError(f"in '{dataset.name}' {error}; give the class another name") from error


def _refuse_other_kind(source: str, family: type[Family]) -> None:
    """Refuse a table for a family of pictures, and the reverse, before the data is read and found fault with.

    Raises:
        ConfigError: naming the families that train on such data.
    """
    path = in_memory_path(source) if in_memory(source) else Path(source).expanduser()
    if path is None or (path.is_dir() and "image" in family.tags.modalities):  # no table, and may be large
        return
    modality = sure_kind(path)
    if modality is not None and modality not in family.tags.modalities:
        shown = "the data" if in_memory(source) else f"'{source}'"
        raise ConfigError(f"{shown} is {_HOLDS[modality]}, but {other_kind(family, modality)}")


_HOLDS = {"sequence": "a table", "image": "a folder of pictures"}


def as_prepared(kind: type[Family], data: Dataset, preparation: Preparation) -> Preparation:
    """Return how a prepared data set is prepared: it keeps its size, which whoever loaded it has chosen.

    Where the family makes no such images, and where another size is asked for, it is prepared again.
    """
    if data.modality != "image" or preparation.get("size") is not None or not issubclass(kind, Sized):
        return preparation
    _, height, width = data.spec.shape
    return {**preparation, "size": (width, height)} if kind.can_make(width, height) else preparation


def choose_size(own: int, sizes: Sequence[int], most: int | None) -> tuple[int, str]:
    """Return the side of the images to train on, and why it is not their own; an empty reason if it is.

    Args:
        own: side of the images as they are.
        sizes: sides the family can make.
        most: largest side to choose, or None.

    >>> choose_size(20, (16, 28, 32, 64), 32)
    (16, 'size 16 was chosen: the nearest to 20 that the family can make')
    >>> choose_size(28, (16, 28, 32, 64), 32)
    (28, '')
    >>> choose_size(256, (32, 40, 48, 64, 128), 32)[1][-20:]
    '(--size 64 for more)'
    """
    side = max((size for size in sizes if size <= min(own, most or own)), default=min(sizes))
    if side == own:
        return side, ""
    if most is not None and own > most:
        # Twice the side, if it can be: what people ask for next.
        larger = min((size for size in sizes if 2 * side <= size <= own), default=0)
        larger = larger or min((size for size in sizes if size > side), default=side)
        return side, f"size {side} was chosen: the largest that trains in minutes on a CPU (--size {larger} for more)"
    return side, f"size {side} was chosen: the nearest to {own} that the family can make"


def _described(dataset: Dataset, source: str, reading: ReadingPlan) -> dict[str, Any]:
    """Return what ``config.json`` keeps of the data; the source must be found from any working directory."""
    return {
        "source": absolute_source(source),
        "name": dataset.name,
        "fingerprint": dataset.fingerprint,
        "shape": list(dataset.spec.shape),
        "modality": dataset.modality,
        "classes": list(dataset.classes),
        "rows": dataset.spec.rows,
        "total": sum(len(split) for split in dataset.splits.values()),
        "shares": list(dataset.spec.shares),
        "static": dataset.static,
        **({} if dataset.layout is None else {"layout": dataset.layout.to_json()}),
        "labelling": [list(groups) for groups in dataset.labelling],
        **({"look": dataset.look.to_json()} if dataset.look.to_json() else {}),
        "reading": findings_to_json(reading.findings),
    }
