"""What the metrics of a model server say of its load: the few gauges that matter, out of a text of any length.

The text is Prometheus' exposition format 0.0.4, or OpenMetrics. Lines of other metrics are not looked at.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from lbcore.config.settings.scrape import Gauge, Gauges

MOST_BYTES = 4 << 20
"""Of a server's metrics; more are refused."""
_LABELS = rb'\{(?:[^"}\n]|"(?:[^"\\\n]|\\.)*")*\}'
_LABEL = re.compile(rb'([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"')


class MetricsFault(Exception):
    """Metrics that say nothing of the load, or nothing that can be believed; in words."""


class EngineLoad(NamedTuple):
    """in_flight: requests that run or wait. usage: 0 to 1, of what it has for them; None: it does not say."""

    in_flight: int | None
    usage: float | None


@lru_cache(maxsize=64)
def _samples_of(name: str) -> re.Pattern[bytes]:
    """Begins with the line feed before: a literal, which re searches for quickly."""
    return re.compile(rb"\n" + re.escape(name).encode() + rb"(" + _LABELS + rb")?[ \t]+(\S+)")


def _values(gauge: Gauge, text: bytes) -> list[float]:
    """Of the gauge's series. Raises MetricsFault."""
    found = []
    for sample in _samples_of(gauge.name).finditer(text):
        if gauge.label and (gauge.label.encode(), gauge.value.encode()) not in _LABEL.findall(sample[1] or b""):
            continue
        try:
            value = float(sample[2])
        except ValueError:
            value = math.nan
        if not 0 <= value < 1e9:
            raise MetricsFault(f"{gauge} is {sample[2][:32].decode(errors='replace')}")
        found.append(value)
    return found


def _in_flight(gauges: Gauges, text: bytes) -> int | None:
    for together in gauges.in_flight:
        found = [_values(gauge, text) for gauge in together]
        if all(found):
            return round(sum(map(sum, found)))
        if any(found):
            missing = next(gauge for gauge, values in zip(together, found, strict=True) if not values)
            raise MetricsFault(f"{missing} is missing")
    return None


def _usage(gauges: Gauges, text: bytes) -> float | None:
    for gauge in gauges.usage:
        found = _values(gauge, text)
        if found:
            if max(found) > 1.001:
                raise MetricsFault(f"{gauge} is {max(found):g}, no share")
            return min(1.0, sum(found) / len(found))
    return None


def read_load(gauges: Gauges, text: bytes) -> EngineLoad:
    """The load. Series of a gauge are added up; of usage their mean counts. Raises MetricsFault: nothing is believed then."""
    lines = b"\n" + text
    load = EngineLoad(_in_flight(gauges, lines), _usage(gauges, lines))
    if load == (None, None):
        names = [*(gauge for together in gauges.in_flight for gauge in together), *gauges.usage]
        raise MetricsFault(f"no {names[0]} in {len(text)} bytes of metrics")
    return load
