"""Named measurements: what one is, and how its name is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from saddlepoint.core.errors import ConfigError, suggest
from saddlepoint.core.types import Modality
from saddlepoint.evaluation.rows import PROTOCOL_NAME, Metric, Row, short_count
from saddlepoint.evaluation.sets import MOST, Bench, SampleSet
from saddlepoint.metrics.extractors import Extractor


@dataclass(frozen=True)
class Task:
    """One protocol on one bench.

    Attributes:
        bench: samples, data, controls.
        n: number of samples.
        extractor: of the features; None for protocols and data without one.
    """

    bench: Bench
    n: int
    extractor: Extractor | None

    @property
    def features_name(self) -> str:
        """The word for the features in a protocol's name."""
        return "coordinates" if self.extractor is None else self.extractor.name


@dataclass(frozen=True)
class Protocol:
    """A measurement with a name.

    Attributes:
        kind: first word of its name: ``fd`` in ``fd10k_mnist-lenet_test``.
        aliases: other words for it on the command line.
        modalities: kinds of data it can measure.
        summary: one line for listings.
        metrics: its figures.
        measure: (set, task) -> the figures of one set of samples.
        verdict: one or two sentences about all rows.
        name: full name of the protocol on a task.
        controls: (bench) -> names of the control sets that are measured beside the model.
        count: (bench, wanted) -> number of samples.
        most: (bench) -> number of samples that is wanted where no name asks for another.
        needs: (bench) -> why it cannot be measured here, or "".
        extracts: whether it works on features.
        classifies: whether it asks which class an image shows, so that the data's own classifier goes before the
            extractor that suits the data.
        datasets: names of the data sets it is made for; empty: any. Others are not told that it was left out.
        on_request: whether it is measured only where it is asked for by name.
        translates: whether it measures translations; others than generators that transform images are not told that it
            was left out.
        model: (bench, n) -> the model's samples.
        control: (bench, name, n) -> those of a control set.
        usual: (bench) -> whether it belongs to the default set there; where not, it is measured by name only.
        seconds: (task) -> about how long one set of samples takes beside its features, by timing a small part; None: no
            time worth counting.
        version: raised when the same input gives other figures, so that kept control rows are measured again.
    """

    kind: str
    modalities: tuple[Modality, ...]
    summary: str
    metrics: tuple[Metric, ...]
    measure: Callable[[SampleSet, Task], list[Row]]
    verdict: Callable[[Sequence[Row], Task], str]
    aliases: tuple[str, ...] = ()
    name: Callable[[Task], str] = lambda task: ""
    controls: Callable[[Bench], Sequence[str]] = lambda bench: bench.control_names
    count: Callable[[Bench, int], int] = lambda bench, wanted: bench.count(wanted)
    most: Callable[[Bench], int] = lambda bench: MOST
    needs: Callable[[Bench], str] = lambda bench: ""
    extracts: bool = True
    classifies: bool = False
    datasets: tuple[str, ...] = ()
    on_request: bool = False
    translates: bool = False
    model: Callable[[Bench, int], SampleSet] = lambda bench, n: bench.model(n)
    control: Callable[[Bench, str, int], SampleSet] = lambda bench, name, n: bench.control(name, n)
    usual: Callable[[Bench], bool] = lambda bench: True
    seconds: Callable[[Task], float] | None = None
    version: int = 1

    def full_name(self, task: Task) -> str:
        """Return the name that fixes counts, extractor and split."""
        return self.name(task) or f"{self.kind}{short_count(task.n)}_{task.features_name}_test"

    def unfit(self, bench: Bench) -> str:
        """Return why this protocol cannot be measured on the bench, or ""."""
        if bench.dataset.modality not in self.modalities:
            return f"it measures {' or '.join(self.modalities)} data, but '{bench.dataset.name}' holds {bench.noun}"
        return self.needs(bench)

    def task(self, bench: Bench, wanted: int | None = None, extractor: str | None = None) -> Task:
        """Return the protocol's task on a bench; ``wanted`` samples, None: the usual number."""
        find = bench.classifier if self.classifies else bench.extractor
        count = self.count(bench, self.most(bench) if wanted is None else wanted)
        return Task(bench, count, find(extractor) if self.extracts else None)


_REGISTRY: dict[str, Protocol] = {}


def register(protocol: Protocol) -> Protocol:
    """Make a protocol known by its kind and aliases."""
    _REGISTRY[protocol.kind] = protocol
    return protocol


def protocols() -> dict[str, Protocol]:
    """Return the registered protocols by kind, in the order of a report."""
    return dict(_REGISTRY)


def get_protocol(name: str) -> Protocol:
    """Return the protocol of a kind, an alias, or a full name.

    Raises:
        ConfigError: if there is none, with the nearest name.

    >>> get_protocol("parzen").kind == get_protocol("parzen10k_cv10").kind
    True
    """
    if not isinstance(name, str):
        raise ConfigError(f"a protocol is called by a text, such as 'fd', not by {name!r}")
    match = PROTOCOL_NAME.fullmatch(name)
    for protocol in _REGISTRY.values():
        if match and match["kind"] in (protocol.kind, *protocol.aliases):
            return protocol
    words = [word for protocol in _REGISTRY.values() for word in (protocol.kind, *protocol.aliases)]
    raise ConfigError(f"unknown protocol '{name}'; {suggest(name, words)}")


def task_of(name: str, bench: Bench) -> tuple[Protocol, Task]:
    """Return the protocol and the task that a kind, an alias or a full name asks for.

    A full name such as ``fd2k_pixels_test`` sets the number of samples and the extractor.

    Raises:
        ConfigError: if there is no such protocol, it does not fit, or a full name cannot be kept exactly.
    """
    protocol, match = get_protocol(name), PROTOCOL_NAME.fullmatch(name)
    if reason := protocol.unfit(bench):
        raise ConfigError(f"protocol '{name}' cannot be measured here: {reason}")
    assert match is not None
    if not match["count"] and not match["rest"]:
        return protocol, protocol.task(bench)
    wanted = int(match["count"]) * (1000 if match["thousands"] else 1) if match["count"] else None
    extractor = (match["rest"] or "").removesuffix("_test") if protocol.extracts else None
    task = protocol.task(bench, wanted, extractor if extractor not in ("", "coordinates") else None)
    if (found := protocol.full_name(task)) != name:
        raise ConfigError(
            f"protocol '{name}' cannot be kept with {bench.subject.count or 'any'} samples and '{bench.dataset.name}' "
            f"({len(bench.dataset.splits['test']):,} test rows); '{found}' can"
        )
    return protocol, task
