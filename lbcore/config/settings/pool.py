"""Pools and the backends that they name."""

from __future__ import annotations

import re

from lbcore.config import options
from lbcore.config.option import HOUR_MS, parse_duration, slots
from lbcore.config.secret import Secret
from lbcore.config.settings.addresses import join_host_port, parse_address
from lbcore.config.settings.base import Settings, is_token
from lbcore.config.settings.edits import KEYS, edit_faults, take_edits
from lbcore.config.settings.health import LeaseSettings, OutlierSettings, ProbeSettings, statuses
from lbcore.config.settings.scrape import ScrapeSettings
from lbcore.config.settings.source import SourceSettings
from lbcore.config.settings.sticky import sticky_faults
from lbcore.config.settings.tls import pool_faults
from lbcore.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from lbcore.config.settings.edits import HeaderEdits

DEFAULT_POOL = "default"
MOST_KEYS = 4
HASH_NAME_BYTES = 64
"""Of the names in `hash`: csrc/layout/segment.h."""
DEFAULT_QUEUE = 1024
MAX_HEDGE_MS = HOUR_MS


class BackendSettings(Settings):
    """A backend that the configuration names."""

    OPTIONS = options.BACKEND
    __slots__ = slots(options.BACKEND)
    KEY = "backend."

    address: str
    weight: int
    backup: bool

    @property
    def tier(self) -> int:
        """0: it takes turns. 1: only while none of tier 0 can."""
        return int(self.backup)

    def check(self) -> Iterable[str]:
        if self.address is None:
            yield "address: missing (HOST:PORT or unix:/PATH)"
            return
        try:
            self.address = join_host_port(*parse_address(self.address))
        except ValueError as error:
            yield f"address: {error}"

    @classmethod
    def parse(cls, text: str | BackendSettings) -> BackendSettings:
        """Of "10.0.0.5:8000" or "10.0.0.5:8000,weight=10,backup". Raises ConfigError."""
        if isinstance(text, BackendSettings):
            return text
        address, *extras = text.split(",") if isinstance(text, str) else [repr(text)]
        values: dict[str, Any] = {"address": address}
        for extra in extras:
            name, equals, value = extra.partition("=")
            if extra == "backup":
                values["backup"] = True
            elif name == "weight" and equals:
                values["weight"] = value
            else:
                raise ConfigError(f"backend {text!r}: {extra!r} is not allowed (allowed: weight=N, backup)")
        return cls(**values)


class PoolSettings(Settings):
    """A pool: its policy, its limits, its health rules, and the backends that the configuration names."""

    OPTIONS = options.POOL
    __slots__ = slots(options.POOL, *KEYS, "backends", "lease", "outlier", "probe", "scrape", "sources")

    name: str
    policy: str
    connect_timeout_ms: int
    retries: int
    retry_budget: int
    retry_floor: int
    retry_on: list[int] | None
    retry_post: bool
    hedge_after: str | None
    hedge_budget: int
    max_connect_failures: int
    initial: str
    when_none: str
    on_down: str
    retry_after_ms: int
    tcp_keepalive_ms: int
    user_timeout_ms: int
    hash: str | None
    prefix_ttl_ms: int
    prefix_cache: int
    max_active: int
    queue: int | None
    queue_timeout_ms: int
    response_timeout_ms: int
    send_timeout_ms: int
    backend_idle_timeout_ms: int
    max_idle_connections: int
    max_failed_responses: int
    failed_statuses: str
    error_format: str | None
    sticky: str | None
    sticky_secret: Secret | None
    sticky_drain: str
    sticky_samesite: str
    sticky_domain: str | None
    sticky_path: str
    sticky_max_age_ms: int | None
    slow_start_ms: int
    max_cost: int
    send_proxy: str
    hold_down_ms: int
    hold_down_max_ms: int
    tls: bool
    tls_verify: bool
    tls_ca: str | None
    tls_name: str | None
    tls_cert: str | None
    tls_key: str | None
    protocol: str
    repeat_calls: str
    trailers: bool
    max_response_header_bytes: int
    max_response_headers: int
    request_headers: HeaderEdits
    response_headers: HeaderEdits
    probe: ProbeSettings
    lease: LeaseSettings
    outlier: OutlierSettings
    scrape: ScrapeSettings
    sources: list[SourceSettings]
    backends: list[BackendSettings]

    def take(self, values: dict[str, Any]) -> Iterable[str]:
        yield from take_edits(self, values)
        self.probe = values.pop("probe", None) or ProbeSettings()
        self.lease = values.pop("lease", None) or LeaseSettings()
        self.outlier = values.pop("outlier", None) or OutlierSettings()
        self.scrape = values.pop("scrape", None) or ScrapeSettings()
        self.sources = list(values.pop("sources", ()))
        self.backends = []
        for backend in values.pop("backends", ()):
            try:
                self.backends.append(BackendSettings.parse(backend))
            except ConfigError as error:
                yield from error.problems

    @property
    def queue_length(self) -> int:
        """Requests that may wait, each worker."""
        return self.queue if self.queue is not None else DEFAULT_QUEUE if self.max_active else 0

    @property
    def hash_parts(self) -> tuple[str, str]:
        """("header", "X-Tenant") of "header:X-Tenant"; ("address", "")."""
        default = "json:messages,prompt" if self.policy == "prefix" else "address"
        kind, _, name = (self.hash or default).partition(":")
        return kind, name

    @property
    def hedge_delay(self) -> tuple[int, int]:
        """Milliseconds and 0, or 0 and a percentile; both 0: requests are not hedged. Raises ValueError."""
        if self.hedge_after is None:
            return 0, 0
        percentile = re.fullmatch(r"p([1-9][0-9])", self.hedge_after)
        if percentile:
            return 0, int(percentile[1])
        delay_ms = parse_duration(self.hedge_after)
        if not 1 <= delay_ms <= MAX_HEDGE_MS:
            raise ValueError
        return delay_ms, 0

    def _hedge_faults(self) -> Iterable[str]:
        try:
            delay = self.hedge_delay
        except ValueError:
            yield (
                f"hedge_after: {self.hedge_after!r} is not allowed"
                ' (allowed: a duration from 1ms to 1h, or "p10" to "p99", a percentile of the response times)'
            )
            return
        for key in ("sticky", "send_proxy") if any(delay) else ():
            if getattr(self, key) not in (None, "off"):
                yield f"hedge_after: not with {key}, which binds clients to a backend"

    def check(self) -> Iterable[str]:
        kind, name = self.hash_parts
        named = kind in ("header", "cookie")
        keys = name.split(",")
        is_json = kind == "json" and len(keys) <= MOST_KEYS and all(keys) and len(name.encode()) < HASH_NAME_BYTES
        if not is_json and (kind not in ("address", "path", "header", "cookie") or named != is_token(name)):
            yield f"hash: {self.hash!r} is not allowed (allowed: address, path, header:NAME, cookie:NAME, json:NAME,NAME)"
        yield from sticky_faults(self)
        try:
            statuses(self.failed_statuses, 500)
        except ValueError:
            yield (
                f"failed_statuses: {self.failed_statuses!r} is not allowed"
                ' (allowed: statuses and ranges from 500 to 599, such as "500,502-504")'
            )
        yield from self._hedge_faults()
        yield from pool_faults(self)
        yield from edit_faults(self)
        try:
            self.probe = self.probe.as_to(self)
        except ConfigError as error:  # the probe's own words are right: it is one of ours that it cannot use
            yield from (problem.removeprefix(ProbeSettings.KEY) for problem in error.problems)
        self.scrape.follow(self)
        seen: set[str] = set()
        for backend in self.backends:
            if backend.address in seen:
                yield f"pool {self.name}: backend {backend.address} is named twice"
            seen.add(backend.address)
