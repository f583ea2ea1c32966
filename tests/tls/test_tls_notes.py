"""What workers are told of TLS, and when. A stand-in takes the notes in a worker's place, and reads what comes with them."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections import namedtuple
from pathlib import Path
from typing import Any, ClassVar

import pytest
from certificates import make_certificate
from harness import wait_for

from lbcore import Balancer, ConfigError, _engine
from lbcore._layout import ffi
from lbcore.config.settings import BalancerSettings, CertificateSettings, ListenerSettings, PoolSettings, ProbeSettings
from lbcore.control import worker_pool
from lbcore.engine import notes
from lbcore.engine.channel import Channel
from lbcore.observe.metrics import render
from lbcore.tls import publisher, tickets
from lbcore.tls.bundle import LISTENER, POOL, TICKETS

EXPIRES_S = 2_000_000_000
Told = namedtuple("Told", "kind id value data")


class StandIn:
    """Takes a worker's place: says that it serves, and keeps what it is told."""

    made: ClassVar[list[StandIn]] = []

    def __init__(
        self,
        table: Any,
        worker: int,
        channel: Channel,
        limits: Any,
        core: int | None,
        adoption_socket: str | None,
        filtered: bool,
    ) -> None:
        self.pid = os.getpid()
        self.told: list[Told] = []
        self._channel = channel.theirs
        self._channel.setblocking(True)
        self._thread = threading.Thread(target=self._serve, name="lbcore-stand-in")
        self._thread.start()
        self.obituary = "ended"
        StandIn.made.append(self)

    def _serve(self) -> None:
        note = struct.Struct("=IIQ")
        self._channel.send(note.pack(notes.READY, 0, 0))
        while True:
            data, descriptors, _, _ = socket.recv_fds(self._channel, note.size, 1)
            if not data:
                break
            kind, number, value = note.unpack(data)
            if kind != notes.WAKE:  # its heart does not beat: it is looked after as one that hangs
                self.told.append(Told(kind, number, value, self._read(kind, descriptors)))
            if kind == notes.LISTEN:
                self._channel.send(note.pack(notes.LISTENING, number, 0))
            if kind in (notes.DRAIN, notes.STOP):
                break
        self._channel.close()

    @staticmethod
    def _read(kind: int, descriptors: list[int]) -> bytes | None:
        found = None
        for fd in descriptors:
            if kind == notes.TLS:
                with pytest.raises(OSError, match="not permitted"):
                    os.write(fd, b"!")
                found = os.pread(fd, os.fstat(fd).st_size, 0)
            os.close(fd)
        return found

    def wait(self, timeout: float) -> bool:
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def kill(self) -> None:
        self._thread.join()

    def of_tls(self) -> list[tuple[int, int]]:
        """(kind of the bundle, row) of each note; row -1 - N: row N has none any more."""
        tls = [note for note in self.told if note.kind == notes.TLS]
        return [(note.value, note.id if note.data is not None else -1 - note.id) for note in tls]


@pytest.fixture(autouse=True)
def _stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins for the workers and for what the engine says of bundles."""
    StandIn.made = []

    def check(bundle: bytes) -> list[tuple[list[str], int]]:
        count = ffi.cast("struct lb_tls_bundle *", ffi.from_buffer(bundle)).certificates
        return [(["site"], EXPIRES_S + number) for number in range(count)]

    monkeypatch.setattr(worker_pool, "ThreadWorker", StandIn)
    monkeypatch.setattr(_engine, "tls_check", check, raising=False)
    monkeypatch.setattr(_engine, "tls_library", lambda path: "OpenSSL 3", raising=False)


def settings(cert: Path, *, pools: list[PoolSettings] | None = None, **top: Any) -> BalancerSettings:
    shown = [CertificateSettings(cert=str(cert), key=str(cert.with_suffix(".key")))]
    web = ListenerSettings(bind="https://127.0.0.1:0", name="web", certificates=shown, pool="app")
    plain = ListenerSettings(bind="tcp://127.0.0.1:0", name="plain", pool="app")
    app = PoolSettings(name="app", tls=True, probe=ProbeSettings(kind="off"))
    return BalancerSettings(**{"workers": 1, "listeners": [plain, web], "pools": pools or [app]} | top)


def changed(made: BalancerSettings, at: int, **values: Any) -> BalancerSettings:
    """The same with one listener changed."""
    listeners = list(made.listeners)
    listeners[at] = listeners[at].replace(**values)
    return made.replace(listeners=listeners)


@pytest.fixture
def cert(tmp_path: Path) -> Path:
    return make_certificate(tmp_path, "site")[0]


def test_a_new_worker_is_told_everything_before_it_listens(cert: Path) -> None:
    with Balancer(settings=settings(cert), log=print):
        (worker,) = StandIn.made
        assert worker.of_tls() == [(TICKETS, 0), (POOL, 0), (LISTENER, 1)]
        assert [note.kind for note in worker.told][-2:] == [notes.LISTEN, notes.LISTEN]
        assert cert.read_bytes().strip() in (worker.told[2].data or b"")


def test_a_worker_that_takes_anothers_place_is_told_the_same(cert: Path) -> None:
    with Balancer(settings=settings(cert), log=print) as lb:
        first = StandIn.made[0]
        first._channel.shutdown(socket.SHUT_RDWR)
        wait_for(lambda: len(StandIn.made) == 2 and len(StandIn.made[1].told) == len(first.told), "another worker")
        assert StandIn.made[1].told == first.told
        lb.hurry()


def test_without_tls_nobody_is_told_anything() -> None:
    with Balancer("tcp://127.0.0.1:0", ["127.0.0.1:1"], health="off", workers=1, log=print):
        assert StandIn.made[0].of_tls() == []


def test_a_reload_tells_what_is_new(cert: Path, tmp_path: Path) -> None:
    other, _ = make_certificate(tmp_path, "other")
    made = settings(cert)
    with Balancer(settings=made, log=print) as lb:
        (worker,) = StandIn.made
        worker.told.clear()
        lb.reload(made)
        assert worker.of_tls() == [], "nothing is new"
        lb.reload(settings(other))
        wait_for(lambda: worker.of_tls() == [(LISTENER, 1)], "the other certificate")
        assert other.read_bytes().strip() in (worker.told[-1].data or b"")
        plain = PoolSettings(name="app", probe=ProbeSettings(kind="off"))
        lb.reload(settings(other, pools=[plain]))
        wait_for(lambda: worker.of_tls()[1:] == [(POOL, -1)], "no TLS to the pool")
        lb.reload(settings(other, listeners=settings(other).listeners[:1]))
        wait_for(lambda: worker.of_tls()[2:] == [(POOL, 0), (LISTENER, -2)], "no listener that ends TLS")


def test_a_name_that_moves_to_another_listener(cert: Path) -> None:
    """Bundles go by names: the row that leaves must not take the one of the row that comes."""
    made = settings(cert)
    with Balancer(settings=made, log=print) as lb:
        (worker,) = StandIn.made
        worker.told.clear()
        lb.reload(changed(made, 1, host="localhost"))
        wait_for(lambda: len(worker.of_tls()) == 2, "the new row is told, the old one withdrawn")
        assert worker.of_tls() == [(LISTENER, 2), (LISTENER, -2)]
        kinds = [note.kind for note in worker.told]
        assert kinds == [notes.TLS, notes.LISTEN, notes.UNLISTEN, notes.TLS]


def test_a_reload_with_a_broken_file_changes_nothing(cert: Path) -> None:
    made = settings(cert)
    with Balancer(settings=made, log=print) as lb:
        (worker,) = StandIn.made
        worker.told.clear()
        cert.write_text("")
        with pytest.raises(ConfigError, match="has no certificate in it"):
            lb.reload(made.replace(pools=[*made.pools, PoolSettings(name="new")]))
        assert worker.told == []
        assert lb.settings == made
        assert [pool["name"] for pool in lb.status()["pools"]] == ["app"]


def test_a_start_with_a_broken_file_leaves_nothing(cert: Path) -> None:
    cert.unlink()
    lb = Balancer(settings=settings(cert), log=print)
    with pytest.raises(ConfigError, match=r"listener web: certificate\[0\].cert: .* cannot be read"):
        lb.start()
    assert not lb.running
    assert StandIn.made == []


def test_files_that_change_are_told(cert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "LOOK_EVERY_S", 0.05)
    lines: list[str] = []
    with Balancer(settings=settings(cert), log=lines.append):
        (worker,) = StandIn.made
        worker.told.clear()
        (tmp_path / "fresh").mkdir()
        for fresh in reversed(make_certificate(tmp_path / "fresh", "site")):
            fresh.replace(cert.parent / fresh.name)
        wait_for(lambda: cert.read_bytes().strip() in (b"".join(note.data or b"" for note in worker.told)), "the new one")
        assert set(worker.of_tls()) == {(LISTENER, 1)}
        assert "listener web: its files have changed and are in force: site, until 2033-05-18T03:33:20Z" in lines


def test_keys_of_tickets_change(cert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(publisher, "rotated", lambda keys, now, rotation_s: tickets.rotated(keys, now, 0.2))
    with Balancer(settings=settings(cert), log=print):
        (worker,) = StandIn.made

        def sent() -> list[list[bytes]]:
            found = []
            for note in worker.told:
                if note.kind == notes.TLS and note.value == TICKETS:
                    packed = ffi.cast("struct lb_ticket_keys *", ffi.from_buffer(note.data))
                    raw, size = bytes(ffi.buffer(packed.keys)), tickets.KEY_BYTES
                    found.append([raw[at * size : (at + 1) * size] for at in range(packed.count)])
            return found

        wait_for(lambda: len(sent()) >= 4, "several rotations")
        first, second, third, fourth = sent()[:4]
        assert [len(keys) for keys in (first, second, third, fourth)] == [1, 2, 3, 3]
        assert second[1:] == first
        assert fourth[1:] == third[:2]


def test_status_and_metrics_tell_when_certificates_expire(cert: Path) -> None:
    with Balancer(settings=settings(cert), log=print) as lb:
        document = lb.status()
        found = {entry["name"]: (entry["mode"], entry["tls"], entry["certificate_expires"]) for entry in document["listeners"]}
        assert found == {"plain": ("tcp", False, None), "web": ("https", True, "2033-05-18T03:33:20Z")}
        assert 'lbcore_listener_certificate_expires_seconds{listener="web"} 2e+09' in render(document).decode()


def test_a_hung_worker_that_is_told_of_everything_there_can_be() -> None:
    channel = Channel()
    try:
        assert all(channel.send(notes.TLS, row, POOL) for row in range(1 + 256 + 64 + 64))
    finally:
        channel.close()


def test_memory_that_is_told_is_sealed() -> None:
    fd = publisher.sealed(b"x" * 100_000)
    try:
        assert os.read(fd, 200_000) == b"x" * 100_000
        with pytest.raises(OSError, match="not permitted"):
            os.ftruncate(fd, 0)
    finally:
        os.close(fd)
