"""A worker or a backend is killed at a random point: nothing wrong comes of it, and the books say what was lost."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness import PATIENCE_S, SLOWER, command, dial, totals, wait_for
from hypothesis import given
from hypothesis import strategies as st
from soak import books
from tls_peers import balancing, trusting

from integrity.openings import BINDS, Door
from integrity.origin import NUMBER
from integrity.pattern import Stream
from integrity.peers import Side, judge, play
from integrity.scenarios import Meeting, Script, total
from integrity.stage import DATAPATHS, EPOLL, LOCAL, MODES, URING, bounded, flags_of, need, top_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness import Command
    from tls_peers import Authority

TESTS = Path(__file__).resolve().parent.parent
KILLS = 3
STREAMS = Script(((300_000, 1),) * 5, "finish")
SESSIONS = 6
ALL_BYTES = 2 * SESSIONS * total(STREAMS)


# --- a worker --------------------------------------------------------------------------------------------------------


class Killing:
    """Called while sessions are played: kills that process once so many bytes have come. after: None for never."""

    def __init__(self, pid: int, pairs: list[tuple[Side, Side]], after: int | None) -> None:
        self._pid, self._after = pid, after
        self._sides = [side for pair in pairs for side in pair]
        self.done = after is None

    def __call__(self) -> None:
        if not self.done and self._after <= sum(side.received for side in self._sides):
            os.kill(self._pid, signal.SIGKILL)
            self.done = True


def workers(lb: Command) -> list[int]:
    """Their processes, when all serve; else []."""
    rows = lb.status()["workers"]
    return [row["pid"] for row in rows] if all(row["state"] == "serving" for row in rows) else []


def held(lb: Command) -> list[books.Holding]:
    """By the control plane and each worker."""
    return [books.holding(pid) for pid in (lb.pid, *workers(lb))]


def more(before: list[books.Holding], now: list[books.Holding]) -> str:
    """What is held now that was not before."""
    if len(before) != len(now):
        return "not all are there"
    return "; ".join(filter(None, (books.more_descriptors(*pair) for pair in zip(before, now, strict=True))))


def lost_in(pairs: list[tuple[Side, Side]]) -> int:
    """How many of them did not come to a proper end. All others are judged."""
    lost = 0
    for client, backend in pairs:
        if client.ended == backend.ended == "properly" and client.received == backend.received == total(STREAMS):
            judge(client, backend)
        else:
            lost += 1
    return lost


@pytest.mark.parametrize(
    ("mode", "datapath"),
    [*(("tcp", each) for each in DATAPATHS), *((mode, loop) for mode in MODES[1:] for loop in (EPOLL, URING))],
)
def test_a_worker_is_killed(mode: str, datapath: str, tmp_path: Path, authority: Authority, site: Path) -> None:
    """Sessions of the other worker notice nothing; those of the killed one count as lost; the next serves as the first did."""
    need(datapath)
    context = trusting(authority) if mode == "terminated" else None
    certificate = ["--cert", str(site)] if mode == "terminated" else []
    with Door(mode, context, talks=datapath == LOCAL) as door:
        line = ["--listen", f"{BINDS[mode]}://127.0.0.1:0", "--backend", door.backend, "--health", "off", *certificate]
        with command(tmp_path, *line, "--workers", "2", *flags_of(datapath)) as lb:

            def once(after: int | None, which: int = 0) -> None:
                """after: how many bytes the worker is killed; None: not at all."""
                pairs = [door.open(lb.address, Meeting(STREAMS, STREAMS)) for _ in range(SESSIONS)]
                before, pid = totals(lb.status())["closed_lost"], workers(lb)[which]
                play(pairs, Killing(pid, pairs, after))
                lost = lost_in(pairs)
                assert after is not None or not lost
                wait_for(lambda: len(workers(lb)) == 2 and (after is None) == (pid in workers(lb)), "both workers serve")
                wait_for(lambda: totals(lb.status())["active"] == 0, "all sessions end")
                assert totals(lb.status())["closed_lost"] - before >= lost

            once(None)
            start = held(lb)

            @bounded(KILLS)
            @given(st.integers(0, ALL_BYTES * 3 // 4), st.integers(0, 1))
            def killed(after: int, which: int) -> None:
                once(after, which)
                wait_for(lambda: not more(start, held(lb)), "descriptors are as before")

            killed()
            once(None)


# --- a backend -------------------------------------------------------------------------------------------------------


class Origin:
    """A process of integrity.origin."""

    def __init__(self) -> None:
        env = {**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS}/support:{TESTS.parent}"}
        line = [sys.executable, "-m", "integrity.origin"]
        self.process = subprocess.Popen(line, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.address = f"127.0.0.1:{int(self.process.stdout.readline())}"

    def kill(self) -> str:
        """End it: what it complained of."""
        self.process.kill()
        return self.process.communicate()[1]


class Visitor(threading.Thread):
    """Sends its stream and looks at the backend's until it is told to finish. whole: it ended properly, and after that."""

    def __init__(self, address: tuple[str, int], number: int) -> None:
        super().__init__(daemon=True)
        self._client, self._number = dial(address), number
        self._finish = threading.Event()
        self.received = 0
        self.whole = False
        self.fault: BaseException | None = None
        self.start()

    def run(self) -> None:
        theirs = Stream(2 * self._number + 1, f"backend {self._number}")
        pouring = threading.Thread(target=self._pour, daemon=True)
        pouring.start()
        try:
            while data := self._client.recv(1 << 16):
                theirs.check(self.received, data)
                self.received += len(data)
            self.whole = self._finish.is_set()
        except OSError:
            pass
        except BaseException as fault:
            self.fault = fault
        self._finish.set()
        pouring.join()
        self._client.close()

    def _pour(self) -> None:
        mine, at = Stream(2 * self._number), 0
        with contextlib.suppress(OSError):
            self._client.sendall(self._number.to_bytes(NUMBER, "big"))
            while not self._finish.is_set():
                at += self._client.send(mine.piece(at, 1 << 16))
            self._client.shutdown(socket.SHUT_WR)

    def finish(self) -> None:
        """Enough: end properly, if it has not ended otherwise."""
        self._finish.set()
        self.join(PATIENCE_S * SLOWER)
        assert not self.is_alive(), f"client {self._number} hangs after {self.received} bytes"
        if self.fault:
            raise self.fault


@contextlib.contextmanager
def origins() -> Iterator[list[Origin]]:
    """Two of them, killed at the end. What they complained of fails the test."""
    both = [Origin(), Origin()]
    try:
        yield both
    finally:
        complaints = [origin.kill() for origin in both if origin.process.poll() is None]
    assert not any(complaints), complaints


@pytest.mark.parametrize("datapath", DATAPATHS)
def test_a_backend_is_killed(datapath: str) -> None:
    """At another point in each run. Its sessions end, the others' go on, and who comes next is served."""
    need(datapath)
    after = random.randrange(5_000_000)
    with origins() as (one, two), balancing("tcp://127.0.0.1:0", one.address, two.address, top=top_of(datapath)) as lb:
        start = books.holding(os.getpid())
        first = [Visitor(lb.address, number) for number in range(SESSIONS)]
        wait_for(lambda: all(visitor.received for visitor in first), "all are served")
        wait_for(lambda: sum(visitor.received for visitor in first) >= after, f"{after} bytes come")
        assert not one.kill()
        later = [Visitor(lb.address, SESSIONS + number) for number in range(2)]
        wait_for(lambda: all(visitor.received > 100_000 for visitor in later), "those who come later are served")
        wait_for(lambda: sum(visitor.is_alive() for visitor in first) == SESSIONS // 2, f"half end, killed after {after} bytes")
        for visitor in (*first, *later):
            visitor.finish()
        assert sum(visitor.whole for visitor in first) == SESSIONS // 2
        assert all(visitor.whole for visitor in later)
        wait_for(lambda: totals(lb.status())["active"] == 0, "all sessions end")
        figures = totals(lb.status())
        assert (figures["accepted"], figures["refused"]) == (SESSIONS + 2, 0)
        wait_for(lambda: not books.more_descriptors(start, books.holding(os.getpid())), "descriptors are as before")
