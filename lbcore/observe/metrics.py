"""GET /metrics: what a balancer does, as Prometheus text or OpenMetrics. Made anew for each scrape; `families` is the table
of all that there is to show."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from lbcore.engine.codes import STATES
from lbcore.observe.families import COUNTED, LE_S, MOST_BACKENDS, TABLES
from lbcore.observe.timings import KINDS, MODEL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client.core import Metric

    from lbcore.observe.family import Family
    from lbcore.observe.timings import Timing

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text"
OPENMETRICS_TYPE = f"{OPENMETRICS}; version=1.0.0; charset=utf-8"

_KINDS = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
_UNITS = ("seconds", "bytes")

SHOWN_STATES = (*STATES, "kept")
"""Of backends: one that is up only because nobody is better is "kept" here, so that an alert can tell it."""

Sample = tuple[str, tuple[str, ...], Any]


class Observation(NamedTuple):
    """What a scrape is made from.

    document: the status document. timings: a Timing by (pool, kind). control: what the control plane counts of itself: cpu_s,
    memory_bytes, descriptors, threads, probes_good, probes_bad, shortages_probe, shortages_lookup, registrations, heartbeats,
    reloads_taken, reloads_refused, refusals (of the admin server, by status), and workers: (cpu_s, memory_bytes) by id. What is
    missing there is not shown.
    """

    document: dict[str, Any]
    timings: Mapping[tuple[str, str], Timing]
    control: dict[str, Any]

    def samples(self) -> Iterator[Sample]:
        """(family's name, labels, value) of everything."""
        yield from self._instance()
        yield from _of_cluster(self.document.get("cluster"))
        for listener in self.document["listeners"]:
            yield "listener_connections", (listener["name"],), listener["tally"]["accepted"]
            yield from _ended("listener", listener["name"], listener["tally"])
            yield "listener_limited", (listener["name"],), listener["tally"]["limited"]
            if listener["certificate_expires"]:
                expires = datetime.fromisoformat(listener["certificate_expires"]).timestamp()
                yield "listener_certificate_expires_seconds", (listener["name"],), expires
        for pool in self.document["pools"]:
            yield from self._pool(pool)
        for model in self.document.get("models", ()):
            yield from _of_model(model["name"], model["tally"])
            timing = self.timings.get((model["name"], MODEL))
            if timing is not None:
                yield "model_request_seconds", (model["name"],), timing
        for told in self.document.get("maps", ()):
            yield from _of_map(told)
        yield from self._backends()
        for worker in self.document["workers"]:
            for name, family in COUNTED.items():
                yield family.name, (str(worker["id"]),), worker[name]
            yield "worker_rings", (str(worker["id"]),), int(worker["loop"] == "uring")
            yield "worker_hangs", (str(worker["id"]),), int(worker["hangs"])
            for who, codes in worker["http2_resets"].items():
                for code, count in codes.items():
                    yield "worker_http2_resets", (str(worker["id"]), who, code), count
            if worker["forwards"] is not None:
                yield "worker_forwards", (str(worker["id"]),), int(worker["forwards"])
        for number, (cpu_s, memory) in self.control.get("workers", {}).items():
            yield "worker_cpu_seconds", (str(number),), cpu_s
            yield "worker_memory_bytes", (str(number),), memory
        yield "access_log_lines", (), self.document["access_log"]["written"]
        yield "access_log_lost", (), self.document["access_log"]["lost"]

    def _instance(self) -> Iterator[Sample]:
        document, control = self.document, self.control
        yield "info", (document["name"], document["version"], document["datapath"], document["loop"]), 1
        yield "uptime_seconds", (), document["uptime_s"]
        yield "draining", (), int(document["draining"])
        for name, key in (
            ("control_cpu_seconds", "cpu_s"),
            ("control_memory_bytes", "memory_bytes"),
            ("control_descriptors", "descriptors"),
            ("control_threads", "threads"),
            ("registrations", "registrations"),
            ("heartbeats", "heartbeats"),
            ("spans_sent", "spans_sent"),
            ("spans_lost", "spans_lost"),
        ):
            if key in control:
                yield name, (), control[key]
        for name, results in (
            ("probes", ("good", "bad")),
            ("shortages", ("probe", "lookup")),
            ("reloads", ("taken", "refused")),
        ):
            for result in results:
                if f"{name}_{result}" in control:
                    yield name, (result,), control[f"{name}_{result}"]
        for status, count in sorted(control.get("refusals", {}).items()):
            yield "admin_refused", (str(status),), count

    def _pool(self, pool: dict[str, Any]) -> Iterator[Sample]:
        name, backends = pool["name"], pool["backends"]
        yield from _ended("pool", name, pool["tally"])
        for state in SHOWN_STATES:
            yield "pool_backends", (name, state), sum(_state(backend) == state for backend in backends)
        yield "pool_outage", (name,), int(pool["outage"])
        yield "pool_active", (name,), sum(backend["active"] for backend in backends)
        yield "pool_queued", (name,), pool["queued"]
        if pool["prefix"] is not None:
            yield from _prefix(name, pool["prefix"])
        yield from self._sources(pool)
        yield from _scrapes(pool)
        for kind in KINDS:
            timing = self.timings.get((name, kind))
            if timing is not None:
                yield f"pool_{kind}_seconds", (name,), timing

    @staticmethod
    def _sources(pool: dict[str, Any]) -> Iterator[Sample]:
        for source in pool.get("sources", ()):
            labels = (pool["name"], source["kind"], source["what"])
            yield "source_connected", labels, int(source["connected"])
            yield "source_stale", labels, int(source["state"] != "up")
            if source["last_contact_s"] is not None:
                yield "source_last_contact_seconds", labels, source["last_contact_s"]
            for key in ("entries", "skipped", "failures"):
                yield f"source_{key}", labels, source[key]

    def _backends(self) -> Iterator[Sample]:
        count = sum(len(pool["backends"]) for pool in self.document["pools"])
        shown = count <= MOST_BACKENDS
        yield "backends_without_series", (), 0 if shown else count
        for pool in self.document["pools"] if shown else ():
            # an address that left and came back may stand twice: the newest speaks
            for backend in {backend["address"]: backend for backend in pool["backends"]}.values():
                labels = (pool["name"], backend["address"])
                for state in SHOWN_STATES:
                    yield "backend_state", (*labels, state), int(_state(backend) == state)
                for key in ("weight", "active", "sessions", "failures"):
                    yield f"backend_{key}", labels, backend[key]
                yield "backend_latency_seconds", labels, backend["latency_ms"] / 1000

    def collect(self) -> Iterable[Metric]:
        """All families that have something to show, in the table's order: what prometheus_client's writers ask for."""
        found: dict[str, list[tuple[tuple[str, ...], Any]]] = {}
        for name, labels, value in self.samples():
            found.setdefault(name, []).append((labels, value))
        for table in TABLES.values():
            for family in table:
                if family.name in found:
                    yield _metric(family, found.pop(family.name))
        assert not found, f"not in the table: {', '.join(found)}"


def _of_cluster(cluster: dict[str, Any] | None) -> Iterator[Sample]:
    if cluster is None:
        return
    yield "cluster_connected", (), int(cluster["connected"])
    if cluster["last_contact_s"] is not None:
        yield "cluster_last_contact_seconds", (), cluster["last_contact_s"]
    yield "cluster_lag_seconds", (), cluster["lag_s"]
    yield "cluster_nodes", (), len(cluster["nodes"])
    for name in ("revision", "registrations", "heard", "unwritten", "ignored"):
        yield f"cluster_{name}", (), cluster[name]
    for way, count in cluster["reports"].items():
        yield "cluster_reports", (way,), count


def _scrapes(pool: dict[str, Any]) -> Iterator[Sample]:
    for scrape in pool.get("scrapes", ()):
        labels = (pool["name"], scrape["backend"])
        if scrape["age_s"] is not None:
            yield "scrape_age_seconds", labels, scrape["age_s"]
        for result in ("good", "failed"):
            yield "scrapes", (*labels, result), scrape[result]


def _of_map(told: dict[str, Any]) -> Iterator[Sample]:
    label = (told["file"],)
    yield "map_hosts", label, told["hosts"]
    yield "map_read_seconds", label, told["read_at"]
    yield "map_faulty", label, int(bool(told["fault"]))
    for result in ("taken", "refused"):
        yield "map_reloads", (*label, result), told[result]


def _of_model(name: str, tally: dict[str, Any]) -> Iterator[Sample]:
    for key in ("requests", "failed"):
        yield f"model_{key}", (name,), tally[key]
    for status, count in tally["responses"].items():
        yield "model_responses", (name, status), count


def _prefix(name: str, prefix: dict[str, int]) -> Iterator[Sample]:
    for result in ("continued", "shared", "new"):
        yield "pool_prefix_requests", (name, result), prefix[result]
    yield "pool_prefix_moved", (name,), prefix["moved"]
    yield "pool_prefix_bytes", (name,), prefix["bytes"]
    yield "pool_prefix_matched_bytes", (name,), prefix["matched"]


def _ended(scope: str, name: str, tally: dict[str, Any]) -> Iterator[Sample]:
    for key in ("sessions", "requests", "failed", "client_aborts", "local_responses"):
        yield f"{scope}_{key}", (name,), tally[key]
    yield f"{scope}_received_bytes", (name,), tally["bytes_in"]
    yield f"{scope}_sent_bytes", (name,), tally["bytes_out"]
    for status, count in tally["responses"].items():
        yield f"{scope}_responses", (name, status), count
    yield f"{scope}_http2_requests", (name,), tally["http2"]
    for code, count in tally["grpc"].items():
        yield f"{scope}_grpc_calls", (name, code.upper()), count


def _state(backend: dict[str, Any]) -> str:
    return "kept" if backend["kept"] else str(backend["state"])


def _metric(family: Family, samples: list[tuple[tuple[str, ...], Any]]) -> Any:
    unit = next((unit for unit in _UNITS if family.name.endswith(f"_{unit}")), "")
    metric: Any = _KINDS[family.kind](f"lbcore_{family.name}", family.help, labels=family.labels, unit=unit)
    for labels, value in samples:
        if family.kind == "histogram":
            counts = [*zip(map(str, LE_S), value.up_to([bound * 1e6 for bound in LE_S]), strict=True), ("+Inf", value.count)]
            metric.add_metric(labels, counts, value.sum_us / 1e6)
        else:
            metric.add_metric(labels, value)
    return metric


def render(
    document: dict[str, Any],
    timings: Mapping[tuple[str, str], Timing] | None = None,
    control: dict[str, Any] | None = None,
    *,
    openmetrics: bool = False,
) -> bytes:
    """The text of a scrape: see Observation."""
    observation: Any = Observation(document, timings or {}, control or {})
    write: Any = generate_openmetrics if openmetrics else generate_latest
    return bytes(write(observation))


def wants_openmetrics(accept: str) -> bool:
    """Does a scraper's Accept ask for OpenMetrics?"""
    return any(part.split(";")[0].strip().lower() == OPENMETRICS for part in accept.split(","))
