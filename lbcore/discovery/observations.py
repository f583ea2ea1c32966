"""What is seen of backends: probes, failures that workers report, and figures compared; judged by the rules of evidence."""

from __future__ import annotations

import errno

from lbcore.discovery import evidence as rules_of
from lbcore.discovery import outliers
from lbcore.discovery.connect_words import connect_words
from lbcore.discovery.evidence import Suspicion
from lbcore.engine import notes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lbcore.discovery.members import Members
    from lbcore.table import Row

_TLS_WORDS = {errno.EKEYREJECTED: "its certificate is not accepted", errno.EPROTO: "its TLS handshake failed"}
"""What the engine means by these (csrc/l4/secure.h)."""


class Observations:
    """Of all members. Their lock guards it."""

    def __init__(self, members: Members) -> None:
        self._all = members

    def probe_result(self, row: Row, ok: bool, detail: str = "", began: float | None = None) -> None:
        """A probe ended. detail: what went wrong, in words. began: when it began, monotonic seconds; None: now."""
        with self._all.lock:
            member = self._all.by_id.get(row.id)
            if member is None:
                return
            now, rules = self._all.clock(), self._all.pools_by_name[row.pool]
            self._all.count("probes_good" if ok else "probes_bad")
            if ok:
                rules_of.note_good_probe(member.evidence, rules, now)
            else:
                late = detail.startswith("timed out")
                served_at = self._all.table.health(row).last_answer if late else 0.0
                rules_of.note_bad_probe(member.evidence, detail, rules, now, late=late, served_at=served_at)
            suspicion = rules_of.settle_suspicion(member.evidence, ok, now if began is None else began, rules, now)
            if suspicion and not ok:
                self._all.states.eject(member, f"{suspicion}; its probe failed, too: {detail}", now)
            elif suspicion and rules_of.is_told(member.evidence, now):
                self._all.log(f"pool {row.pool}: {row.address} stays, its {rules.probe.kind} probe succeeds: {suspicion}")
            self._all.states.review(member, now)

    def failing(self, index: int, what: int) -> None:
        """A worker reports that connects to the backend in this row, or its responses, fail one after another.

        what: CONNECTS or RESPONSES of lbcore.engine.notes.
        """
        with self._all.lock:
            row = self._all.table.by_index(index)
            member = self._all.by_id.get(row.id) if row else None
            if row is None or member is None:
                return
            now = self._all.clock()
            outcome = self._all.table.health(row)
            if what == notes.RESPONSES and outcome.failed_responses_in_row:
                detail = f"status {outcome.last_status}" if outcome.last_status else "none came, or it broke off"
                why = f"{rules_of.times(outcome.failed_responses_in_row, 'response')} failed in a row: {detail}"
                match rules_of.note_responses_failed(member.evidence, why, self._all.pools_by_name[row.pool], now):
                    case Suspicion.EJECT:
                        self._all.states.eject(member, why, now)
                    case Suspicion.PROBE:
                        self._all.on_suspect(row)
                    case Suspicion.NOTHING:
                        pass
            elif what != notes.RESPONSES and outcome.failures_in_row:
                detail = _TLS_WORDS.get(outcome.last_errno) or connect_words(outcome.last_errno, row.address)
                rules_of.note_connects_failed(
                    member.evidence, outcome.failures_in_row, detail, self._all.pools_by_name[row.pool], now
                )
                self._all.states.review(member, now)

    def compare(self, now: float) -> None:
        """Compare the backends of each pool whose time has come, by what was seen since the last time."""
        with self._all.lock:
            due = [name for name, health in self._all.health.items() if now >= health.compare_at]
            if due:
                totals = self._all.table.totals()
                for name in due:
                    self._compare_pool(name, totals, now)

    def _compare_pool(self, name: str, totals: Any, now: float) -> None:
        health, rules = self._all.health[name], self._all.pools_by_name[name].outlier
        health.compare_at = now + rules.interval_ms / 1000
        figures = {}
        for id, member in health.members.items():
            good, bad, latency_us, in_row = totals[member.row.index]
            figures[id] = outliers.Figures(good - member.good, bad - member.bad, latency_us)
            member.good, member.bad = good, bad
            if in_row and in_row >= self._all.pools_by_name[name].max_connect_failures > 0:
                # of those who pick without the proxy: nobody else reports for them
                self.failing(member.row.index, notes.CONNECTS)
        for id, why in outliers.worse(figures, rules).items():
            self._all.states.eject(health.members[id], f"ejected: {why}", now)
