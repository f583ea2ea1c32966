"""What the data path saw of a backend, read from the segment."""

from __future__ import annotations

from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lbcore.engine.segment import Segment
    from lbcore.table.row import Row


class BackendHealth(NamedTuple):
    """What the data path saw of a backend, over all workers.

    active: sessions now. sessions: connects that succeeded. failures: connects that failed. failures_in_row: the most that one
    worker saw since its last success. last_errno: of the last failure, 0 if none. latency_ms: of connects, exponentially
    weighted. last_success, last_answer: monotonic seconds, 0 if never; of connects and answers, of answers only.
    failed_responses_in_row, last_status: the same of failed answers; status 0: none came.
    """

    active: int
    sessions: int
    failures: int
    failures_in_row: int
    last_errno: int
    latency_ms: float
    last_success: float
    failed_responses_in_row: int
    last_status: int
    last_answer: float


def health_of(segment: Segment, row: Row) -> BackendHealth:
    """The sum over all sections, those of picking processes included; figures of a row's former backends are left out."""
    active = sessions = failures = in_row = errno = latency = latest = failed_responses_in_row = status = answered = 0
    for worker in range(segment.sections):
        active += segment.actives(worker)[row.index]
        seen = segment.health(worker)[row.index]
        if seen.generation != row.generation:
            continue
        sessions += seen.sessions
        failures += seen.failures
        latency = max(latency, seen.latency_us)
        latest, answered = max(latest, seen.last_success_ms), max(answered, seen.last_response_ms)
        if seen.failures_in_row > in_row:
            in_row, errno = seen.failures_in_row, seen.last_errno
        if seen.failed_responses_in_row > failed_responses_in_row:
            failed_responses_in_row, status = seen.failed_responses_in_row, seen.last_status
    times = latency / 1000, latest / 1000, failed_responses_in_row, status, answered / 1000
    return BackendHealth(active, sessions, failures, in_row, errno, *times)
