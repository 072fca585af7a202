"""What the server counts, in the text format of Prometheus: answers, samples, batches, what waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper ends of the histogram of answering times, in seconds."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counts of one server since it began; its own registry, so that two servers of a process do not mix.

    Args:
        now: what is read when it is asked for, by name and help; names that end in ``_total`` only ever grow.
    """

    def __init__(self, now: Mapping[str, tuple[str, Callable[[], float]]]) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "saddlepoint_requests", "Answers by path and status.", ("path", "status"), registry=self.registry
        )
        self.samples = Counter("saddlepoint_samples", "Samples that were sent.", registry=self.registry)
        self.seconds = Histogram(
            "saddlepoint_answer_seconds", "Time from a request's head to the end of its answer.", buckets=BUCKETS,
            registry=self.registry,
        )  # fmt: skip
        self._counters: dict[tuple[str, int], Counter] = {}
        self.registry.register(_Now(now))

    def note(self, path: str, status: int, seconds: float) -> None:
        """Count an answer."""
        if (counter := self._counters.get((path, status))) is None:  # looking it up costs as much as all else here
            counter = self._counters[path, status] = self.requests.labels(path, str(status))
        counter.inc()
        self.seconds.observe(seconds)

    def text(self) -> str:
        """Return all figures."""
        return generate_latest(self.registry).decode()


class _Now(Collector):
    """Figures that the server's parts keep themselves."""

    def __init__(self, now: Mapping[str, tuple[str, Callable[[], float]]]) -> None:
        self.now = now

    def collect(self) -> Iterator[Metric]:
        """Read them."""
        for name, (says, read) in self.now.items():
            kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            yield kind(f"saddlepoint_{name}", says, value=read())
