"""Sockets that a loop serves, against a model: message sizes, pauses, slow readers, orders of closing, drawn by hypothesis."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from ring_sockets import FAILED, HUNG_UP, IN, OUT, PEER_ENDED, RingSocket, build
from rings import needs_ring

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_HELD = 40
"""Buffers in the inbox of a socket that nobody reads: two, and what one wake-up may bring (csrc/core/ring_inbox.c)."""

SIZES = st.one_of(st.integers(1, 200), st.integers(1, 9000), st.sampled_from([4095, 4096, 4097, 8192, 65536]))
STEPS = st.one_of(
    st.tuples(st.sampled_from(["put", "take", "read", "peek", "splice"]), SIZES),
    st.tuples(st.just("write"), SIZES, st.integers(0, 5000)),
    st.tuples(st.just("wait"), st.just(0)),
    st.tuples(st.sampled_from(["settle", "wait 0", "wait 0"])),
    st.tuples(st.just("storm"), st.integers(1, 60)),
    st.tuples(st.sampled_from(["fin", "finish"])),
)
ENDS = st.sampled_from(["pump", "pump_late", "close", "reset", "rst"])


@dataclass
class Model:
    """What was done to one connection, and so what it may say."""

    socket: RingSocket
    put: int = 0
    read: int = 0
    written: int = 0
    taken: int = 0
    peer_ended: bool = False
    we_ended: bool = False
    readable: bool = True
    """As an edge-triggered reader knows it: no read has said "again" since the last event."""
    writable: bool = True

    def do(self, name: str, *sizes: int) -> int | str:
        """One step; what comes of it is what the model allows."""
        word, *rest = name.split()
        if word == "storm":
            return self._storm(*sizes)
        if self.peer_ended if word in ("fin", "put") else self.we_ended and word in ("finish", "write"):
            return "again"
        said = self.socket.step(word, *rest, *sizes)
        check = getattr(self, f"_after_{word}", None)
        if check:
            check(said, *sizes)
        return said

    def _storm(self, count: int) -> str:
        for _ in range(count):
            self.do("put", 100)
            self.do("wait", 0)
        return "ok"

    # --- what may be said -----------------------------------------------------------------------------------------------

    def _after_put(self, said: int | str, size: int) -> None:
        assert said == "again" or (isinstance(said, int) and said <= size)
        self.put += said if isinstance(said, int) else 0

    def _after_take(self, said: int | str, size: int) -> None:
        if said == "end":
            assert self.we_ended
            assert self.taken == self.written
        else:
            assert said == "again" or (isinstance(said, int) and said <= min(size, self.written - self.taken))
        self.taken += said if isinstance(said, int) else 0

    def _came(self, said: int | str, size: int) -> None:
        if said == "end":
            assert self.peer_ended
            assert self.read == self.put
        elif said == "again":
            self.readable = False
        else:
            assert isinstance(said, int)
            assert said <= min(size, self.put - self.read)

    def _after_read(self, said: int | str, size: int) -> None:
        self._came(said, size)
        self.read += said if isinstance(said, int) else 0

    _after_splice = _after_read

    def _after_peek(self, said: int | str, size: int) -> None:
        before = self.readable
        self._came(said, size)
        self.readable = before  # who peeks reads afterwards

    def _after_write(self, said: int | str, first: int, second: int) -> None:
        if said == "again":
            self.writable = False
            return
        assert isinstance(said, int)
        assert said <= first + second
        self.writable = self.writable and said == first + second
        self.written += said

    def _after_wait(self, told: int | str, _timeout: int = 0) -> None:
        assert (isinstance(told, int) and not told & (FAILED | HUNG_UP)) or (self.peer_ended and self.we_ended)
        assert isinstance(told, int)
        self.readable = self.readable or bool(told & (IN | PEER_ENDED))
        self.writable = self.writable or bool(told & OUT)
        if told & PEER_ENDED:
            assert self.peer_ended
        held = self.socket.step("held")
        assert isinstance(held, int)
        assert held <= MOST_HELD

    def _after_fin(self, _said: int | str) -> None:
        self.peer_ended = True

    def _after_finish(self, _said: int | str) -> None:
        self.we_ended = True

    # --- to the end -----------------------------------------------------------------------------------------------------

    def pump(self) -> None:
        """A reader and a writer that go by events alone come to the end: nothing is lost, and no event."""
        self.do("fin")
        self.pump_late()

    def pump_late(self) -> None:
        """The same; its peer ends when it has all that we send."""
        owed = self.written + (0 if self.we_ended else 20_000)
        ended = False
        for turn in range(400):
            while self.readable and not ended:
                ended = self.do("splice" if turn % 3 == 1 else "read", 3000) == "end"
            while self.writable and self.written < owed:
                self.do("write", min(3000, owed - self.written), 0)
            if self.written >= owed:
                self.do("finish")
            while isinstance(took := self.do("take", 50_000), int):
                pass
            if took == "end":
                self.do("fin")
            if ended and took == "end":
                return
            self.do("wait", 0 if turn < 20 else 20)
        raise AssertionError(f"it does not come to its end: {self}")

    def close(self) -> None:
        """What we have sent arrives, then the end: a reset at most where we left bytes unread."""
        left = self.read < self.put or not self.peer_ended
        self.socket.step("close")
        for turn in range(400):
            self.socket.step("wait", 0 if turn < 20 else 20)
            while isinstance(took := self.socket.step("take", 50_000), int):
                self.taken += took
            if took == "end":
                assert self.taken == self.written
                return
            if took == "fail":
                assert left
                return
        raise AssertionError(f"its peer sees no end: {self}")

    def reset(self) -> None:
        """The peer sees a reset."""
        self.socket.step("reset")
        self.socket.step("wait", 0)
        while isinstance(took := self.socket.step("take", 50_000), int):
            pass
        assert took == "fail" or (took == "end" and self.we_ended)

    def rst(self) -> None:
        """We see a reset, behind what came before at most."""
        self.socket.step("rst")
        for turn in range(100):
            self.socket.step("wait", 0 if turn < 20 else 20)
            while isinstance(got := self.socket.step("read", 50_000), int):
                self.read += got
            if got in ("fail", "end"):
                assert got == "fail" or self.peer_ended
                assert self.read <= self.put
                return
        raise AssertionError(f"we see no reset: {self}")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    return build(tmp_path_factory.mktemp("ring_socket"))


@pytest.fixture(params=[pytest.param("ring", marks=needs_ring), "epoll"])
def socket(program: list[str], request: pytest.FixtureRequest) -> Iterator[tuple[RingSocket, str]]:
    with RingSocket(program) as one:
        yield one, request.param


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@example(steps=[("put", 1), ("splice", 1)], end="rst", tight=False)  # a read of what was read ahead met the reset behind it
@given(steps=st.lists(STEPS, max_size=40), end=ENDS, tight=st.booleans())
def test_a_socket_behaves_as_the_model(
    socket: tuple[RingSocket, str], steps: list[tuple[str, ...]], end: str, tight: bool
) -> None:
    """The next connection begins when all that the ring had is back (tests/c/ring_socket.c: end_loop)."""
    program, kind = socket
    program.step("new", kind, int(tight))
    model = Model(program)
    for name, *sizes in steps:
        model.do(name, *sizes)
    getattr(model, end)()
