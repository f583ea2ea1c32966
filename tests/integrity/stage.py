"""A balancer in one of the modes on one of the datapaths, the sessions that go through it, and its books."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

import pytest
from harness import PATIENCE_S, SLOWER, balanced, check_idle, check_ledger, is_quiet, totals, wait_for
from hypothesis import HealthCheck, settings
from soak import books
from tls_peers import settings_of, shown, trusting

from integrity.openings import BINDS, PROLOGUE, Door
from integrity.peers import judge, play
from integrity.scenarios import proper, total

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tls_peers import Authority

    from integrity.scenarios import Meeting
    from lbcore.api.balancer import Balancer

EPOLL, URING = "auto by epoll", "auto by uring"
ALWAYS = ("copy", "splice", EPOLL)
LOCAL = "offload_local"
DATAPATHS = (*ALWAYS, URING, "offload", LOCAL)
"""Those after ALWAYS depend on the kernel and the privileges. copy and offload are by the loop that lbcore chooses.
LOCAL: auto, with that option."""
OPTIONS: dict[str, dict[str, object]] = {
    EPOLL: {"datapath": "auto", "loop": "epoll"},
    URING: {"datapath": "auto", "loop": "uring"},
    LOCAL: {"offload_local": True},
}
MODES = tuple(BINDS)


def bounded(examples: int) -> settings:
    """So many examples, times LBCORE_INTEGRITY_TIMES; in CI the same ones each time. One that fails prints how to repeat it."""
    return settings(
        max_examples=examples * int(os.environ.get("LBCORE_INTEGRITY_TIMES", "1")),
        deadline=None,
        derandomize="CI" in os.environ,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


def top_of(datapath: str) -> dict[str, object]:
    """The keys that ask for it."""
    return OPTIONS.get(datapath, {"datapath": datapath})


def flags_of(datapath: str) -> list[str]:
    """Likewise of the command line."""
    if datapath == LOCAL:
        return ["--offload-local"]
    return [word for key, value in top_of(datapath).items() for word in (f"--{key}", str(value))]


@functools.cache
def refusal(datapath: str, network: str) -> str:
    """Why `lbcore run` will not have this datapath in this network, in its own words; "" when it will."""
    if datapath in ALWAYS:
        return ""
    with tempfile.TemporaryDirectory() as directory:
        line = ["--listen", "tcp://127.0.0.1:0", "--admin", "off", "--workers", "1", *flags_of(datapath)]
        process = subprocess.Popen(
            [sys.executable, "-m", "lbcore", "run", *line],
            env={**os.environ, "LBCORE_RUNTIME_DIR": directory},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        if process.stdout.readline().startswith("lbcore ready "):
            process.terminate()
        _, said = process.communicate(timeout=PATIENCE_S * SLOWER)
    assert process.returncode in (0, 2), said
    return said.strip() if process.returncode else ""


def need(datapath: str) -> None:
    """Skip the test where the datapath is refused."""
    if reason := refusal(datapath, os.readlink("/proc/thread-self/ns/net")):
        pytest.skip(reason)


class Stage:
    """An embedded balancer with one worker. door: its backend."""

    def __init__(self, balancer: Balancer, door: Door) -> None:
        self.balancer, self.door = balancer, door
        self._sessions = self._proper = 0
        self._bytes: tuple[int, int] | None = (0, 0)
        self._held = books.holding(os.getpid())

    def play(self, meetings: Sequence[Meeting]) -> None:
        """Open a session for each, let them happen at once, judge each, and check the books."""
        pairs = []
        try:
            for meeting in meetings:
                self._note_meeting(meeting)
                pairs.append(self.door.open(self.balancer.address, meeting))
            play(pairs)
        finally:
            for side in (side for pair in pairs for side in pair):
                side.wire.close()
        for client, backend in pairs:
            judge(client, backend)
        self.check()

    def _note_meeting(self, meeting: Meeting) -> None:
        prologue = PROLOGUE.get(self.door.mode)
        if prologue is None or not proper(meeting):  # of a session that was broken off nobody knows how much had passed
            self.note(1, proper=int(proper(meeting)))
        else:
            talked = self.door.talked
            self.note(
                1, proper=1, bytes_in=prologue + talked + total(meeting.client), bytes_out=talked + total(meeting.backend)
            )

    def note(self, sessions: int, *, proper: int, bytes_in: int | None = None, bytes_out: int | None = None) -> None:
        """So much more must be in the books. bytes_in, bytes_out: None when nobody can say."""
        self._sessions += sessions
        self._proper += proper
        known = self._bytes and bytes_in is not None and bytes_out is not None
        self._bytes = (self._bytes[0] + bytes_in, self._bytes[1] + bytes_out) if known else None  # type: ignore[index,operator]

    def check(self) -> None:
        """All sessions have ended: the equations hold, nothing is held, and all that was played is in the figures."""
        wait_for(lambda: is_quiet(self.balancer.status()), "all sessions end")
        status = self.balancer.status()
        check_ledger(status)
        check_idle(status)
        figures = totals(status)
        assert figures["accepted"] == self._sessions, figures
        assert figures["closed_done"] >= self._proper, figures
        if self._bytes:
            assert (figures["bytes_in"], figures["bytes_out"]) == self._bytes, figures
        # an end is counted before its sockets are closed
        wait_for(lambda: not books.more_descriptors(self._held, books.holding(os.getpid())), "descriptors are as before")


@contextlib.contextmanager
def stage(mode: str, datapath: str, authority: Authority, site: Path) -> Iterator[Stage]:
    """A Stage. Skips the test where the datapath is refused."""
    need(datapath)
    context = trusting(authority) if mode == "terminated" else None
    listener = {"certificates": shown(site)} if mode == "terminated" else {}
    with Door(mode, context, talks=datapath == LOCAL) as door:
        chosen = settings_of(f"{BINDS[mode]}://127.0.0.1:0", door.backend, listener=listener, top=top_of(datapath))
        with balanced(settings=chosen) as balancer:
            yield Stage(balancer, door)
