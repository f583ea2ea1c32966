"""The status document, made from a segment alone: of this balancer, of another process's, of one that hangs."""

from __future__ import annotations

import time

from lbcore.engine.codes import (
    BACKEND_PROTOCOL_NAMES,
    CLASSES,
    DATAPATH_NAMES,
    GRPC_CODES,
    H2_CODES,
    LOOP_NAMES,
    MODE_NAMES,
    NO_POOL,
    POLICY_NAMES,
    PROTOCOL_NAMES,
    RESET_BY,
    SECTIONS,
    STATE_NAMES,
)
from lbcore.engine.segment import COUNTERS, Segment, date_text, text
from lbcore.observe.timings import MAX_MODELS, latency

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_WORKER_STATES = {0: "absent", 1: "serving", 2: "draining", 3: "gone"}
_TALLIED = (
    "accepted",
    "sessions",
    "requests",
    "failed",
    "client_aborts",
    "local_responses",
    "limited",
    "http2",
    "bytes_in",
    "bytes_out",
)


def document(segment: Segment) -> dict[str, Any]:
    """The status document of interface `GET /status`: JSON-ready, keys as documented in the README."""
    head = segment.head
    workers = [_worker(segment, index) for index in range(head.workers) if _is_shown(segment, index)]
    return {
        "name": text(head.name),
        "pid": head.control_pid,
        "uptime_s": round(max(0.0, time.time() - head.started_ms / 1000), 3),
        "version": text(head.version),
        "datapath": DATAPATH_NAMES.get(head.datapath, "?"),
        "loop": LOOP_NAMES.get(head.loop, "?"),
        "loop_reason": text(head.loop_reason),
        "generation": head.generation,
        "draining": bool(head.draining),
        "access_log": {"written": head.log_written, "lost": head.log_lost},
        "listeners": _listeners(segment),
        "pools": _pools(segment),
        "models": _models(segment),
        "workers": workers,
    }


def _is_shown(segment: Segment, index: int) -> bool:
    """The first section of each worker, and the second where it has been used: an upgrade goes from one to the other."""
    row = segment.worker(index)
    return bool(index < segment.head.workers // SECTIONS or row.turns or row.state)


PREFIX_COUNTS = ("continued", "shared", "new", "moved", "bytes", "matched")


def _listeners(segment: Segment) -> list[dict[str, Any]]:
    rows = ((index, segment.listener(index)) for index in range(segment.head.max_listeners))
    return [
        {
            "name": text(row.name),
            "address": text(row.address).partition("://")[2],
            "mode": MODE_NAMES.get(row.mode, "?"),
            "pool": None if row.pool == NO_POOL else text(segment.pool(row.pool).name),
            "tls": bool(row.terminates),
            "certificate_expires": date_text(row.certificate_expires_s) if row.certificate_expires_s else None,
            "tally": _tally(segment, segment.listener_tally, index, row.tenant),
        }
        for index, row in rows
        if row.state
    ]


def _tally(
    segment: Segment, of: Callable[[int, int], Any], index: int, tenant: int, without: tuple[str, ...] = ()
) -> dict[str, Any]:
    """What ended there, over all workers."""
    names = [name for name in _TALLIED if name not in without]
    total = dict.fromkeys(names, 0)
    responses, grpc = [0] * len(CLASSES), [0] * len(GRPC_CODES)
    for worker in range(segment.head.workers):
        tally = of(worker, index)
        if tally.tenant == tenant:
            total = {name: total[name] + getattr(tally, name) for name in names}
            responses = [a + b for a, b in zip(responses, tally.responses, strict=True)]
            grpc = [a + b for a, b in zip(grpc, tally.grpc, strict=True)]
    told = {code: count for code, count in zip(GRPC_CODES, grpc, strict=True) if count}
    return {**total, "responses": dict(zip(CLASSES, responses, strict=True)), "grpc": told}


def _models(segment: Segment) -> list[dict[str, Any]]:
    """Those that routes name and that have figures."""
    rows = ((index, segment.model(index)) for index in range(MAX_MODELS))
    return [
        {
            "name": text(row.name),
            "tally": _tally(segment, segment.model_tally, index, row.tenant, ("accepted", "sessions", "limited")),
        }
        for index, row in rows
        if row.tenant
    ]


def _prefix(segment: Segment, index: int) -> dict[str, int] | None:
    """What came of the texts of a pool with the policy `prefix`, over all workers and those who pick without the proxy."""
    pool = segment.pool(index)
    if POLICY_NAMES.get(pool.policy) != "prefix":
        return None
    tallies = [segment.pool_tally(section, index) for section in range(segment.sections)]
    return {
        name: sum(getattr(tally, f"prefix_{name}") for tally in tallies if tally.tenant == pool.tenant)
        for name in PREFIX_COUNTS
    }


def _pools(segment: Segment) -> list[dict[str, Any]]:
    members: dict[int, list[dict[str, Any]]] = {}
    rows = segment.backends()
    seen = [(segment.actives(worker), segment.health(worker)) for worker in range(segment.sections)]
    for index in range(segment.head.rows_used):
        row = rows[index]
        if row.state in STATE_NAMES:
            members.setdefault(row.pool, []).append(_backend(segment, index, row, seen))
    return [
        {
            "name": text(segment.pool(index).name),
            "policy": POLICY_NAMES.get(segment.pool(index).policy, "?"),
            "protocol": BACKEND_PROTOCOL_NAMES.get(segment.pool(index).protocol, "?"),
            "outage": bool(segment.pool(index).outage),
            "queued": sum(segment.budget(worker, index).queued for worker in range(segment.head.workers)),
            "latency": latency(segment, index),
            "tally": _tally(segment, segment.pool_tally, index, segment.pool(index).tenant, ("accepted", "limited")),
            "prefix": _prefix(segment, index),
            "backends": sorted(members.get(index, []), key=lambda backend: backend["generation"]),
        }
        for index in range(segment.head.max_pools)
        if segment.pool(index).state
    ]


def _backend(segment: Segment, index: int, row: Any, seen: list[tuple[Any, Any]]) -> dict[str, Any]:
    address, source, reason = segment.texts(row)
    generation, active, sessions, failures, latency_us, closes_ms, avoided = row.generation, 0, 0, 0, 0, 0, 0
    agreed: str | None = None
    now_ms = int(time.monotonic() * 1000)
    for actives, health in seen:
        active += actives[index]
        outcome = health[index]
        if outcome.generation == generation:
            sessions += outcome.sessions
            failures += outcome.failures
            avoided += bool(outcome.avoided)
            agreed = PROTOCOL_NAMES.get(outcome.speaks, agreed)
            latency_us = max(latency_us, outcome.latency_us)
            seen_ms = outcome.closes_after_ms
            closes_ms = min(closes_ms, seen_ms) if closes_ms and seen_ms else closes_ms or seen_ms
    return {
        "id": f"{index}.{generation}",
        "address": address,
        "generation": generation,
        "source": source,
        "state": STATE_NAMES.get(row.state, "down"),
        "reason": reason,
        "kept": bool(row.kept),
        "weight": row.weight,
        "tier": row.tier,
        "load": None if row.load < 0 else round(row.load, 3),
        "elsewhere": round(row.elsewhere, 3),
        "capacity": round(row.capacity, 3) or None,
        "share": _share(row, now_ms),
        "leaves_in_s": round(max(0, row.leaves_ms - now_ms) / 1000, 1) if row.leaves_ms else None,
        "active": active,
        "sessions": sessions,
        "failures": failures,
        "avoided_by": avoided,
        "latency_ms": round(latency_us / 1000, 3),
        "agreed": agreed,
        "closes_idle_after_s": round(closes_ms / 1000, 3) if closes_ms else None,
    }


def _share(row: Any, now_ms: int) -> float:
    """How much of its share a backend has: less than 1 in slow start."""
    age_ms = (now_ms - row.ramp_from_ms) & 0xFFFFFFFF
    return round(age_ms / row.ramp_ms, 3) if row.ramp_ms and age_ms < row.ramp_ms else 1.0


def _worker(segment: Segment, index: int) -> dict[str, Any]:
    row = segment.worker(index)
    counters = {name: getattr(row, name) for name in COUNTERS}
    state = _WORKER_STATES.get(row.state, "?")
    hangs = bool(segment.head.hanging[index // 64] >> index % 64 & 1)
    told = {"id": index, "pid": row.pid, "state": state, "hangs": hangs, "loop": LOOP_NAMES.get(row.loop, "?")}
    return {**told, "forwards": _forwards(row), **counters, "http2_resets": _resets(row)}


def _resets(row: Any) -> dict[str, dict[str, int]]:
    """Streams of HTTP/2 that were reset, by who reset them, then by the code of RST_STREAM (RFC 9113 7), without zeros."""
    counts = list(row.http2_resets)
    codes = len(H2_CODES)
    by = {who: counts[at * codes : (at + 1) * codes] for at, who in enumerate(RESET_BY)}
    return {who: {code: count for code, count in zip(H2_CODES, of, strict=True) if count} for who, of in by.items()}


def _forwards(row: Any) -> bool | None:
    """Does the kernel forward for this worker as it was to? None: it was not to. False: its program could not be loaded."""
    return row.forwards == row.forwards_asked if row.forwards_asked else None
