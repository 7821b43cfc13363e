"""Which plots are drawn of a result. Pure."""

import statistics
from collections.abc import Callable, Mapping
from typing import Any

from bench.plots import Axes, bars, lines
from bench.result import Result

Data = Mapping[str, Mapping[str, Any]]
"""What each scenario kept."""


def charts(result: Result) -> dict[str, str]:
    """Return the plots of what was measured, each by its name."""
    data = {name: found.data for name, found in result.found.items()}
    return {f"{name}.svg": draw(data) for name, draw in _CHARTS.items() if name in data}


def _rates(runs: Mapping[str, list[Mapping[str, float]]]) -> dict[str, float]:
    return {name: statistics.median(run["rate"] for run in found) for name, found in runs.items()}


def _alone(data: Data, name: str) -> float:
    return float(statistics.median(data["yardsticks"][name]))


def _speed(data: Data) -> str:
    alone = {"RabbitMQ alone, fed encoded frames": "broker", "Postgres alone, claims and marks": "postgres"}
    figures = _rates(data["speed"]["runs"]) | {words: _alone(data, name) for words, name in alone.items()}
    return bars("Throughput of one backlog", "a second", figures)


def _batch(data: Data) -> str:
    axes = Axes("Throughput against batch size, two lanes", "RELAY_BATCH_SIZE", "msg/s", log_x=True)
    return lines(axes, {"relay": data["batch"]["by_batch"]}, {"naive, batches of 500": _alone(data, "naive")})


def _replicas(data: Data) -> str:
    axes = Axes("Throughput against replicas on one table", "relays", "msg/s")
    return lines(axes, {"relays together": data["replicas"]["by_copies"]}, {"naive": _alone(data, "naive")})


def _flat(data: Data) -> str:
    return bars("Throughput out of tables large in their own ways", "msg/s", _rates(data["flat"]["runs"]))


def _claims(data: Data) -> str:
    by_dead = [(dead, mark, zero) for dead, mark, zero in data["claims"]["by_dead"] if dead]
    series = {
        "from the low-water mark": [(dead, mark) for dead, mark, _ in by_dead],
        "from 0": [(dead, zero) for dead, _, zero in by_dead],
    }
    axes = Axes("A claim under an old snapshot, median", "dead rows before it", "ms", log_x=True, log_y=True)
    return lines(axes, series)


def _bodies(data: Data) -> str:
    axes = Axes("Bytes a second against size of body", "bytes", "MB/s", log_x=True, log_y=True)
    return lines(axes, data["bodies"]["mb_s"])


def _latency(data: Data) -> str:
    axes = Axes("From the commit to the broker, 500 rows/s", "ms", "share", log_x=True, steps=True)
    return lines(axes, data["latency"]["histograms"])


_CHARTS: Mapping[str, Callable[[Data], str]] = {
    "speed": _speed,
    "batch": _batch,
    "replicas": _replicas,
    "flat": _flat,
    "claims": _claims,
    "bodies": _bodies,
    "latency": _latency,
}
