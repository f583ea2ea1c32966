"""Where the load of a pool's backends is read: the metrics of model servers."""

from __future__ import annotations

import re
from typing import NamedTuple

from lbcore.config import options
from lbcore.config.option import slots
from lbcore.config.settings.base import Settings
from lbcore.config.settings.health import ProbeSettings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from lbcore.config.settings.health import Way

TRITON_PORT = 8002
MOST_GAUGES = 8
_GAUGE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{([a-zA-Z_][a-zA-Z0-9_]*)="([^"\\,]*)"\})?')


class Gauge(NamedTuple):
    """A metric; of its series, those alone whose label has a value. label: "" for all of them."""

    name: str
    label: str = ""
    value: str = ""

    def __str__(self) -> str:
        return f'{self.name}{{{self.label}="{self.value}"}}' if self.label else self.name


class Gauges(NamedTuple):
    """What to read. Of each the first that a server has: in_flight is a sum of gauges, usage a share, 0 to 1."""

    in_flight: tuple[tuple[Gauge, ...], ...]
    usage: tuple[Gauge, ...]


KINDS = {
    # docs.vllm.ai, usage/metrics: kv_cache_usage_perc since V1, gpu_cache_usage_perc before
    "vllm": Gauges(
        ((Gauge("vllm:num_requests_running"), Gauge("vllm:num_requests_waiting")),),
        (Gauge("vllm:kv_cache_usage_perc"), Gauge("vllm:gpu_cache_usage_perc")),
    ),
    # docs.sglang.io, references/production_metrics
    "sglang": Gauges(
        ((Gauge("sglang:num_running_reqs"), Gauge("sglang:num_queue_reqs")),),
        (Gauge("sglang:token_usage"),),
    ),
    # Triton's user guide, metrics; the first of each is the TensorRT-LLM backend's
    "triton": Gauges(
        (
            (Gauge("nv_trt_llm_request_metrics", "request_type", "active"),),
            (Gauge("nv_inference_pending_request_count"),),
        ),
        (Gauge("nv_trt_llm_kv_cache_block_metrics", "kv_cache_block_type", "fraction"),),
    ),
}


class ScrapeSettings(Settings):
    """Whether, where and how often the backends' metrics are read. way: how a backend is reached for them."""

    OPTIONS = options.SCRAPE
    __slots__ = slots(options.SCRAPE, "way")
    KEY = "scrape."

    kind: str
    path: str
    port: int | None
    tls: bool | None
    interval_ms: int
    timeout_ms: int
    stale_ms: int
    in_flight: str | None
    usage: str | None
    way: ProbeSettings | None

    def take(self, values: dict[str, object]) -> Iterable[str]:
        values.pop("way", None)
        self.way = None
        return ()

    @property
    def gauges(self) -> Gauges:
        """What is read. Raises ValueError."""
        if self.kind != "custom":
            return KINDS[self.kind]
        named = tuple(_gauge(text) for text in self.in_flight.split(",")) if self.in_flight else ()
        return Gauges((named,) if named else (), (_gauge(self.usage),) if self.usage else ())

    def check(self) -> Iterable[str]:
        if not self.path.startswith("/") or " " in self.path or not self.path.isascii():
            yield f"path: {self.path!r} is not allowed (allowed: an absolute path such as /metrics)"
        for name in ("in_flight", "usage"):
            if getattr(self, name) is not None and self.kind != "custom":
                yield f"{name}: only for kind custom, this is {self.kind}"
            yield from self._gauge_faults(name)
        if self.kind == "custom" and self.in_flight is None and self.usage is None:
            yield "kind: custom requires in_flight or usage"
        if self.stale_ms < self.interval_ms:
            yield f"stale: shorter than interval, {self.interval_ms} ms: no read would count until the next"

    def _gauge_faults(self, name: str) -> Iterable[str]:
        texts = (getattr(self, name) or "").split(",") if getattr(self, name) is not None else ()
        for text in texts:
            if not _GAUGE.fullmatch(text.strip()):
                yield f'{name}: {text!r} is not allowed (allowed: the name of a gauge, or name{{label="value"}})'
        if len(texts) > (MOST_GAUGES if name == "in_flight" else 1):
            yield f"{name}: too many gauges (allowed: {MOST_GAUGES if name == 'in_flight' else 1})"

    def follow(self, pool: Way) -> None:
        """Reach backends as the pool's traffic does, where nothing else is said."""
        if self.kind == "off":
            return
        port = self.port or (TRITON_PORT if self.kind == "triton" else None)
        tls = False if self.tls is None and port is not None else self.tls
        self.way = ProbeSettings(
            kind="http", path=self.path, port=port, tls=tls, timeout=f"{self.timeout_ms}ms", status="200"
        ).as_to(pool)


def _gauge(text: str) -> Gauge:
    found = _GAUGE.fullmatch(text.strip())
    if found is None:
        raise ValueError
    return Gauge(*(part or "" for part in found.groups()))
