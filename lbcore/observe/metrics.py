"""GET /metrics: the status document as Prometheus text. A collector that reads once a scrape and keeps nothing."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from lbcore.segment import COUNTERS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.core import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

GAUGES = {"active", "buffers", "pipes", "exchanges_active", "queued", "connections_kept", "handshakes_active"}
STATES = ("up", "down", "starting", "busy", "draining")


class _Collector:
    """Turns one status document into metric families."""

    def __init__(self, document: dict[str, Any], refusals: dict[int, int]) -> None:
        self._document = document
        self._refusals = refusals

    def collect(self) -> Iterable[Metric]:
        """All families."""
        yield from self._instance()
        refused = CounterMetricFamily(
            "lbcore_admin_refused", "Calls of the admin server that were refused.", labels=("status",)
        )
        for status, count in sorted(self._refusals.items()):
            refused.add_metric([str(status)], count)
        yield refused
        yield self._certificates()
        yield from self._workers()
        yield from self._backends()

    def _instance(self) -> Iterable[Metric]:
        document = self._document
        info = GaugeMetricFamily("lbcore_info", "This balancer.", labels=("name", "version", "datapath"))
        info.add_metric([document["name"], document["version"], document["datapath"]], 1)
        yield info
        yield GaugeMetricFamily("lbcore_uptime_seconds", "Seconds since the start.", document["uptime_s"])
        yield GaugeMetricFamily("lbcore_draining", "1 while draining.", float(document["draining"]))

    def _certificates(self) -> Metric:
        family = GaugeMetricFamily(
            "lbcore_listener_certificate_expires_seconds",
            "Unix time when the first of a listener's certificates expires.",
            labels=("listener",),
        )
        for listener in self._document["listeners"]:
            if listener["certificate_expires"]:
                family.add_metric([listener["name"]], datetime.fromisoformat(listener["certificate_expires"]).timestamp())
        return family

    def _workers(self) -> Iterable[Metric]:
        for name in COUNTERS:
            kind = GaugeMetricFamily if name in GAUGES else CounterMetricFamily
            family = kind(f"lbcore_worker_{name}", f"Worker figure {name}; see csrc/shm_layout.h.", labels=("worker",))
            for worker in self._document["workers"]:
                family.add_metric([str(worker["id"])], worker[name])
            yield family

    def _backends(self) -> Iterable[Metric]:
        labels = ("pool", "backend")
        figures = (
            (GaugeMetricFamily("lbcore_backend_active", "Sessions and exchanges now.", labels=labels), "active"),
            (GaugeMetricFamily("lbcore_backend_weight", "Weight.", labels=labels), "weight"),
            (
                CounterMetricFamily(
                    "lbcore_backend_sessions", "Connects that succeeded, and exchanges that were answered.", labels=labels
                ),
                "sessions",
            ),
            (
                CounterMetricFamily("lbcore_backend_failures", "Connects and answers that failed.", labels=labels),
                "failures",
            ),
        )
        states = GaugeMetricFamily("lbcore_backend_state", "1 for the state it is in.", labels=(*labels, "state"))
        for pool in self._document["pools"]:
            # an address that left and came back may stand twice: the newest speaks
            newest = {backend["address"]: backend for backend in pool["backends"]}
            for backend in newest.values():
                names = [pool["name"], backend["address"]]
                for family, key in figures:
                    family.add_metric(names, backend[key])
                for state in STATES:
                    states.add_metric([*names, state], float(backend["state"] == state))
        yield from (family for family, _ in figures)
        yield states


def render(document: dict[str, Any], refusals: dict[int, int] | None = None) -> bytes:
    """The text of a scrape. refusals: of the admin server, by status."""
    registry = CollectorRegistry()
    registry.register(_Collector(document, refusals or {}))
    return generate_latest(registry)
