"""The memory of a table: the shared segment, made or taken over, its head, and who may write it."""

from __future__ import annotations

import mmap
import os
import time

from lbcore import _engine, locks
from lbcore._layout import ffi
from lbcore.engine.codes import DATAPATHS, LOOPS, SECTIONS
from lbcore.engine.segment import Segment, SegmentError, make_memory, map_shared
from lbcore.forked import NotOurs
from lbcore.table.counts import Counts
from lbcore.table.sections import Sections

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_LISTENERS = 64
MAX_POOLS = 256
MAX_MODELS: int = ffi.integer_const("LB_MODELS")


class TableMemory:
    """Owns the segment's memory (`fd`) until `close()`. `lock` guards all that is written there.

    counts: what the control plane counts of itself. sections: the workers' parts.
    """

    def __init__(
        self,
        *,
        name: str,
        version: str,
        workers: int,
        max_backends: int,
        datapath: str,
        loop: tuple[str, str] = ("epoll", ""),
        memory: int | None = None,
    ) -> None:
        """loop: by what workers serve sockets, and why. memory: descriptor of a segment whose writer is gone, ours from now on;
        its numbers count, and what is in it stays.

        Raises OSError when the memory cannot be had, SegmentError when it is of another layout.
        """
        sections = SECTIONS * workers
        limits = (MAX_LISTENERS, MAX_POOLS, max_backends, sections)
        size = _engine.segment_bytes(listeners=MAX_LISTENERS, pools=MAX_POOLS, backends=max_backends, workers=sections)
        self.lock: Any = locks.rlock("table")
        self.fd: int = make_memory(size) if memory is None else memory
        self.memory: mmap.mmap = map_shared(self.fd)
        fresh = memory is None
        try:
            self._writer: Any = _engine.TableWriter(self.memory, create=limits if fresh else None)
            self.segment: Segment = Segment(self.memory)
        except (OSError, SegmentError):
            self.memory.close()
            raise
        self.workers: int = int(self.segment.head.workers) // SECTIONS
        if fresh:
            self._writer.sections(workers)  # the others count when they are used
        self._write_head(name, version, DATAPATHS[datapath], loop, fresh=fresh)
        self.counts: Counts = Counts(self._writer, self.segment)
        self.sections: Sections = Sections(self._writer, self.segment, self.lock)

    def _write_head(self, name: str, version: str, datapath: int, loop: tuple[str, str], *, fresh: bool) -> None:
        head = self.segment.head
        self._writer.head(
            name=name.encode(),
            version=version.encode(),
            started_ms=int(time.time() * 1000) if fresh else head.started_ms,
            control_pid=os.getpid(),
            datapath=datapath if fresh else head.datapath,
            loop=LOOPS[loop[0]],
            loop_reason=loop[1].encode(),
            client_key=os.urandom(16) if fresh else bytes(head.client_key),
        )

    def close(self) -> None:
        """Unmap and give the memory back. The table is not to be used any more."""
        with self.lock:
            self._writer.release()
            self.segment.close()
            self.memory.close()
            if self.fd >= 0:
                os.close(self.fd)
                self.fd = -1

    def disown(self) -> None:
        """In a forked child: the memory is its parent's, and nothing is written there from here."""
        self.lock = locks.rlock("table")
        self._writer = NotOurs()
        self.counts.disown()
        self.sections = Sections(self._writer, self.segment, self.lock)
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    @property
    def closed(self) -> bool:
        """Has it been closed?"""
        return self.fd < 0

    # --- of the balancer as a whole ------------------------------------------------------------------------------

    def set_observed(self, log_every: int, trace_every: int = 0, *, log_texts: bool = False) -> None:
        """Have one of so many endings recorded for the access log, and one of so many exchanges traced; 0: none."""
        with self.lock:
            self._writer.observe(log_every, trace_every, log_texts)

    def tell_log(self, written: int, lost: int) -> None:
        """How far the access log is. Its thread is the only writer of these two, and takes no lock: it must not wait."""
        self._writer.log_tally(written, lost)

    def set_routes(self, table: bytes) -> None:
        """Publish routes, as `lbcore.table.routes.pack` made them."""
        with self.lock:
            self._writer.routes(table)

    def set_ready(self, ready: bool) -> None:
        """Say in the segment whether clients should come: what health_path of listeners answers."""
        with self.lock:
            self._writer.ready(ready)

    def set_draining(self, draining: bool) -> None:
        """Say in the segment that the balancer drains."""
        with self.lock:
            self._writer.draining(draining)
