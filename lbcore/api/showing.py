"""What a running balancer shows: the status document and metrics."""

from __future__ import annotations

from lbcore.errors import NotRunning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from lbcore.cluster.cluster import Cluster
    from lbcore.control.supervisor import Supervisor
    from lbcore.discovery.standing import Standing
    from lbcore.observe.recording import Recording
    from lbcore.table import Table


class Showing:
    """Of a balancer that runs. Any thread may ask, also while it is being stopped. standings: of the sources of its pools.
    scrapes: of the reads of their backends' metrics. certificates: that an authority issues; None: none is.
    """

    def __init__(
        self,
        table: Table,
        supervisor: Supervisor,
        recording: Recording,
        cluster: Cluster | None,
        standings: Callable[[], list[Standing]],
        scrapes: Callable[[], list[dict[str, Any]]],
        certificates: Callable[[], list[dict[str, Any]] | None],
    ) -> None:
        self._table, self._supervisor, self._recording = table, supervisor, recording
        self._cluster, self._standings, self._scrapes = cluster, standings, scrapes
        self._certificates = certificates

    def status(self) -> dict[str, Any]:
        """The status document. Raises NotRunning."""
        from lbcore.observe.status import document

        with self._table.lock:
            if self._table.closed:  # stopped by another thread, a moment ago
                raise NotRunning("the balancer is not running")
            found = document(self._table.segment)
        return self._completed(found)

    def _completed(self, found: dict[str, Any]) -> dict[str, Any]:
        """With what the control plane alone knows: how the sources of each pool are doing, what the reads of metrics
        came to, the files of maps, and the cluster."""
        standings, scrapes = self._standings(), self._scrapes()
        for pool in found["pools"]:
            pool["sources"] = [standing.document() for standing in standings if standing.pool == pool["name"]]
            pool["scrapes"] = [scrape for scrape in scrapes if scrape["pool"] == pool["name"]]
        found["maps"] = self._supervisor.listeners.map_standings()
        certificates = self._certificates()
        if certificates is not None:
            found["acme"] = certificates
        return found | ({"cluster": self._cluster.status()} if self._cluster else {})

    def metrics(self, openmetrics: bool = False) -> bytes:
        """What `GET /metrics` responds. Raises NotRunning."""
        from lbcore.observe.control import costs, figures
        from lbcore.observe.metrics import render
        from lbcore.observe.status import document
        from lbcore.observe.timings import all_timings

        spent = costs(self._supervisor.processes)
        with self._table.lock:
            if self._table.closed:
                raise NotRunning("the balancer is not running")
            status, timings = document(self._table.segment), all_timings(self._table.segment)
            control = figures(self._table.counts, spent)
        if not self._recording.traces:
            del control["spans_sent"], control["spans_lost"]
        return render(self._completed(status), timings, control, openmetrics=openmetrics)
