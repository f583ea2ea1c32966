"""What becomes of the endings that workers record: lines of the access log, and spans of traces. Both follow the settings."""

from __future__ import annotations

from typing import NamedTuple

from lbcore.config.settings import wants_texts
from lbcore.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from lbcore.config.settings import BalancerSettings
    from lbcore.observe.access_log import AccessLog
    from lbcore.observe.sinks import Sink
    from lbcore.observe.traces import Traces
    from lbcore.table import Table


class Outlets(NamedTuple):
    """Where endings go: the access log's sink, and what sends spans; None: nowhere."""

    sink: Sink | None
    traces: Traces | None


class Recording:
    """Of one table. Nothing is loaded before it is wanted. The balancer's lock guards it."""

    def __init__(self, table: Table, instance: str, log: Callable[[str], None]) -> None:
        self._table = table
        self._instance = instance
        self._log = log
        self.access_log: AccessLog | None = None
        self._traces: Traces | None = None

    def begin(self, settings: BalancerSettings) -> None:
        """Record what the settings want. Raises ConfigError."""
        self.follow(settings, self.open(settings))

    def open(self, settings: BalancerSettings) -> Outlets:
        """What the settings want, opened: for `follow` or `discard`. Raises ConfigError with nothing left open."""
        traces = self._open_traces(settings)
        try:
            return Outlets(open_sink(settings), traces)
        except ConfigError:
            self.discard(Outlets(None, traces))
            raise

    def _open_traces(self, settings: BalancerSettings) -> Traces | None:
        """What there is already, or another."""
        if settings.traces == "off":
            return None
        if self._traces is not None and self._traces.endpoint == settings.traces:
            return self._traces
        from lbcore.observe.traces import Traces

        return Traces(settings.traces, self._instance, self._log, self._table.counts.add)

    def discard(self, outlets: Outlets) -> None:
        """Close what was opened and is not wanted after all."""
        if outlets.sink is not None:
            outlets.sink.close()
        if outlets.traces is not None and outlets.traces is not self._traces:
            outlets.traces.close()

    def follow(self, settings: BalancerSettings, outlets: Outlets) -> None:
        """Write into this sink, and send by these, from now on."""
        sink, traces = outlets
        if (sink is not None or traces is not None) and self.access_log is None:
            from lbcore.observe.access_log import AccessLog

            self.access_log = AccessLog(self._table, self._log)
            self.access_log.start()
        if self.access_log is not None:
            from lbcore.observe.line_formats import line_of

            self.access_log.follow(sink, line_of(settings))
            self.access_log.also = traces.take if traces is not None else None
        self._table.set_observed(
            settings.access_log_sample if sink is not None else 0,
            settings.trace_sample if traces is not None else 0,
            log_texts=sink is not None and wants_texts(settings.access_log_format, settings.access_log_fields),
        )
        before, self._traces = self._traces, traces
        if before is not None and before is not traces:
            before.close()

    def reopen(self, settings: BalancerSettings) -> None:
        """Open the access log anew, as after it was renamed. Raises ConfigError with the old one still in use."""
        self.follow(settings, Outlets(open_sink(settings), self._traces))

    @property
    def traces(self) -> bool:
        """Are spans made?"""
        return self._traces is not None

    def close(self) -> None:
        """Write and send what is left, if that can be done at once, and end."""
        if self.access_log:
            self.access_log.close()
        if self._traces:
            self._traces.close()


def open_sink(settings: BalancerSettings) -> Sink | None:
    """What the access log is to be written into; None: it is off. Raises ConfigError."""
    if settings.access_log == "off":
        return None
    from lbcore.observe.access_log import sink_of

    return sink_of(settings)
