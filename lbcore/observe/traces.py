"""OpenTelemetry: spans made from the workers' records and sent over OTLP, by a thread of its own. Needs the extra lbcore[otel].

A request's span is of kind SERVER, from its whole head to its end; its attributes follow the semantic conventions for HTTP.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from lbcore.errors import ConfigError
from lbcore.log_once import LogOnce
from lbcore.observe.lines import ended_by, parts
from lbcore.observe.records import HTTP2, REUSED, TRACED

if TYPE_CHECKING:
    from collections.abc import Callable

    from lbcore.observe.lines import Names
    from lbcore.observe.records import Record

QUEUE = 8192
"""Spans that wait at most: with more, the oldest are lost."""
BATCH = 512
EVERY_S = 1.0
TIMEOUT_S = 5


def check_extra() -> None:
    """Raises ConfigError where the extra is missing."""
    try:
        import opentelemetry.exporter.otlp.proto.http.trace_exporter
        import opentelemetry.sdk.resources  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"traces: needs the extra: pip install 'lbcore[otel]' ({error})") from None


class Traces:
    """Sends until `close`. count: called with what to count. Raises ConfigError where the extra is missing."""

    def __init__(self, endpoint: str, instance: str, log: Callable[[str], None], count: Callable[[str, int], None]) -> None:
        check_extra()
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource

        self.endpoint = endpoint
        self._exporter: Any = OTLPSpanExporter(endpoint=endpoint, timeout=TIMEOUT_S)
        self._resource = Resource({"service.name": "lbcore", "service.instance.id": instance})
        self._log_once = LogOnce(log, "traces", "they are sent again")
        self._waiting: deque[Any] = deque(maxlen=QUEUE)
        self._wake = threading.Event()
        self._stopping = False
        self._count = count
        self._thread = threading.Thread(target=self._run, name="lbcore-traces", daemon=True)
        self._thread.start()

    def take(self, records: list[Record], names: Names) -> None:
        """Queue what is sampled. Never waits."""
        for record in records:
            if record.flags & TRACED:
                if len(self._waiting) == QUEUE:
                    self._count("spans_lost", 1)
                self._waiting.append(self._span(record, names))

    def close(self) -> None:
        """Send what waits, if it can be sent within a second or so, and end."""
        self._stopping = True
        self._wake.set()
        self._thread.join(1.0)
        self._exporter.shutdown()
        self._thread.join(TIMEOUT_S)

    def _run(self) -> None:
        while True:
            stopping = self._stopping
            while self._waiting:
                if not self._send([self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]) and stopping:
                    return
            if stopping:
                return
            self._wake.wait(EVERY_S)

    def _send(self, spans: list[Any]) -> bool:
        from opentelemetry.sdk.trace.export import SpanExportResult

        try:
            good = self._exporter.export(spans) is SpanExportResult.SUCCESS
            reason = "not taken"
        except Exception as error:  # what a library meets on the network is no reason to end
            good, reason = False, repr(error)
        self._count("spans_sent" if good else "spans_lost", len(spans))
        self._log_once.tell("" if good else f"{self.endpoint}: {reason}")
        return good

    def _span(self, record: Record, names: Names) -> Any:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

        trace_id = record.trace_high << 64 | record.trace_low
        method, host, path, _, _, id, reason = parts(record)
        end, by = ended_by(record)
        failed = record.status >= 500 or end in ("backend_broke_off", "no_resource")
        attributes: dict[str, Any] = {
            "http.request.method": method,
            "url.path": path,
            "server.address": host,
            "client.address": names.client(record.client, record.port),
            "network.protocol.version": "2" if record.minor == HTTP2 else f"1.{record.minor}",
            "http.response.status_code": record.status or None,
            "lbcore.listener": names.listener(record.listener)[0],
            "lbcore.pool": names.pool(record.pool) or None,
            "lbcore.backend": names.backend(record.backend, record.generation) or None,
            "lbcore.backend.reused": bool(record.flags & REUSED),
            "lbcore.backend.tried": record.tried,
            "lbcore.end": end,
            "lbcore.end.by": by or None,
            "lbcore.reason": reason or None,
            "lbcore.request_id": id or None,
            "http.request.size": record.bytes_in,
            "http.response.size": record.bytes_out,
        }
        end_ns = names.unix_ns(record.ended_us)
        parent = SpanContext(trace_id, record.parent, True, TraceFlags(1)) if record.parent else None
        return ReadableSpan(
            name=method,
            context=SpanContext(trace_id, record.span, False, TraceFlags(1)),
            parent=parent,
            resource=self._resource,
            attributes={key: value for key, value in attributes.items() if value is not None},
            kind=SpanKind.SERVER,
            status=Status(StatusCode.ERROR, reason or end) if failed else Status(),
            start_time=end_ns - record.total_us * 1000,
            end_time=end_ns,
        )
