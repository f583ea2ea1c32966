"""The access log: a thread that reads the workers' records and writes lines. Whatever it meets, no worker waits for it: what it
cannot write in time is overwritten in the ring, and counted.
"""

from __future__ import annotations

import threading
import time

from lbcore import locks
from lbcore.errors import ConfigError
from lbcore.log_once import LogOnce
from lbcore.observe.lines import Names, as_json
from lbcore.observe.records import BATCH, LOGGED, Records
from lbcore.observe.sinks import opened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from lbcore.config.settings import BalancerSettings
    from lbcore.observe.records import Record
    from lbcore.observe.sinks import Sink
    from lbcore.table import Table

    Line = Callable[[Record, Names], str]
    """How a record is written, with its end of line; "": it is not."""

EVERY_S = 0.05
"""How often the rings are looked at. At 160,000 endings a second and worker they would overflow meanwhile."""
LAST_WORDS_S = 1.0
"""How long a stop waits for what is still to be written."""


class AccessLog:
    """Writes while it runs. `follow` has it go on with other settings, or with the file opened anew.

    also: called with all records of a turn, those that sampling leaves out of the log included. May be set at any time.
    """

    def __init__(self, table: Table, log: Callable[[str], None]) -> None:
        self._table = table
        self._log_once = LogOnce(log, "access_log", "it is written again")
        self.also: Callable[[list[Record], Names], None] | None = None
        self._lock = locks.lock("access_log")
        self._sink: Sink | None = None
        self._next: tuple[Sink | None, Line] | None = None
        self._line: Line = as_json
        self._pending = b""
        self._torn = False  # it begins in the middle of a line
        self._faulty = False  # the sink said so: it is tried again in a while
        head = table.segment.head
        self._written, self._dropped = int(head.log_written), int(head.log_lost)  # another has written before
        self._records = Records(table.segment, table.memory)
        self._names = Names(table.segment)
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="lbcore-access-log", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def follow(self, sink: Sink | None, line: Line) -> None:
        """From now on this sink (None: none), which the log owns, with such lines."""
        with self._lock:
            stale, self._next = self._next, (sink, line)
        if stale is not None and stale[0] is not None:
            stale[0].close()
        self._wake.set()

    def close(self) -> None:
        """Write what is left, if that can be done at once, and end."""
        self._stopping = True
        self._wake.set()
        self._thread.join()
        for sink in (self._sink, self._next[0] if self._next else None):
            if sink is not None:
                sink.close()

    # --- the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        give_up_at = 0.0
        while True:
            try:
                busy = self._turn()
            except Exception as error:  # not even a fault of ours may end it
                self._log_once.tell(f"failed: {error!r}")
                busy = False
            now = time.monotonic()
            if self._stopping:
                give_up_at = give_up_at or now + LAST_WORDS_S
                if now > give_up_at or not (busy or self._pending):
                    return
            if self._pending and self._sink is not None and not self._faulty:
                self._sink.wait(EVERY_S)
            elif not busy:
                self._wake.wait(EVERY_S)
                self._wake.clear()

    def _turn(self) -> bool:
        """Write what waits, then what is new. Is there more?"""
        self._switch()
        more = False
        if self._flush():
            records, also = self._records.take(), self.also
            self._names.forget()
            more = len(records) >= BATCH
            if also is not None and records:
                also(records, self._names)
            if self._sink is not None:
                lines = [self._line(record, self._names) for record in records if record.flags & LOGGED]
                self._pending = "".join(lines).encode("ascii", "backslashreplace")
                self._flush()
        else:
            self._records.skip()
        self._table.tell_log(self._written, self._records.lost + self._dropped)
        return more

    def _flush(self) -> bool:
        """Is all written that waited?"""
        if not self._pending or self._sink is None:
            return True
        try:
            taken = self._sink.write(self._pending)
        except OSError as error:
            self._faulty = True
            self._log_once.tell(f"cannot be written: {error.strerror or error}")
            return False
        self._faulty = False
        self._written += self._pending.count(b"\n", 0, taken)
        if taken:
            self._torn = self._pending[taken - 1 : taken] != b"\n"
        self._pending = self._pending[taken:]
        if not self._pending:
            self._log_once.tell("")
        return not self._pending

    def _switch(self) -> None:
        """Go on with another sink. What the old one does not take at once goes to the new one, but for the rest of a line."""
        with self._lock:
            if self._next is None:
                return
            (sink, line), self._next = self._next, None
        if self._sink is not None:
            if not self._flush() and self._torn:
                _, _, self._pending = self._pending.partition(b"\n")
                self._dropped += 1
            self._torn = False
            self._sink.close()
        if sink is None:
            self._dropped += self._pending.count(b"\n")
            self._pending = b""
        self._sink, self._line = sink, line


def sink_of(settings: BalancerSettings) -> Sink:
    """What the settings name, opened. Raises ConfigError."""
    try:
        return opened(str(settings.access_log))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"access_log: {settings.access_log!r} cannot be opened: {reason}") from None
