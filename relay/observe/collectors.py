"""Two collectors the library lacks: a histogram fed by whole batches, and values computed at the scrape."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector


class BatchHistogram(Collector):
    """A histogram that takes many observations at once.

    `Histogram.observe` costs about 2 µs, a twentieth of what a message may cost in all; this costs a tenth of it.
    """

    def __init__(self, name: str, text: str, bounds: Sequence[float]) -> None:
        self._name = name
        self._text = text
        self._bounds = (*bounds, float("inf"))
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0

    def observe(self, values: Iterable[float]) -> None:
        """Count every value."""
        bounds, counts = self._bounds, self._counts
        for value in values:
            counts[bisect_left(bounds, value)] += 1
            self._sum += value

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """Give the one metric."""
        names = ["+Inf" if bound == float("inf") else str(float(bound)) for bound in self._bounds]
        buckets = list(zip(names, accumulate(map(float, self._counts)), strict=True))
        family = HistogramMetricFamily(self._name, self._text)
        family.add_metric([], buckets, self._sum)
        yield family


class ScrapedCounter(Collector):
    """A counter whose values, by one label, are asked for when it is scraped."""

    def __init__(self, name: str, text: str, label: str, values: Callable[[], Mapping[str, float]]) -> None:
        self._name = name
        self._text = text
        self._label = label
        self._values = values

    def collect(self) -> Iterable[CounterMetricFamily]:
        """Give the one metric."""
        family = CounterMetricFamily(self._name, self._text, labels=[self._label])
        for label, value in self._values().items():
            family.add_metric([label], value)
        yield family
