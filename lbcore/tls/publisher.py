"""Takes to the workers what they are to know of TLS: all of it to a new one, and to each what changes. Keeps time with it."""

from __future__ import annotations

import fcntl
import os
import time

from lbcore.engine import notes
from lbcore.engine.channel import Channel
from lbcore.tls.bundle import LISTENER, POOL, TICKETS, pack_tickets
from lbcore.tls.tickets import TicketKey, due, rotated

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lbcore.config.settings import BalancerSettings
    from lbcore.tls.store import Bundle, Store

LOOK_EVERY_S = 5.0
"""How often files are looked at."""


def sealed(data: bytes) -> int:
    """A descriptor of memory that holds this and cannot be changed any more. Raises OSError."""
    fd = os.memfd_create("lbcore-tls", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.fchmod(fd, 0o600)  # for whoever reaches it through /proc/PID/fd: keys are in it
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        os.lseek(fd, 0, os.SEEK_SET)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    except OSError:
        os.close(fd)
        raise
    return fd


class TlsPublisher:
    """Between the store and the workers' channels. The supervisor's lock guards it.

    rows: the row of each listener, (LISTENER, name), and of each pool, (POOL, name). channels: to all workers that there are.
    shared_keys: of tickets, where other balancers have the same; without any, this one makes its own.
    """

    def __init__(
        self,
        store: Store,
        rows: Callable[[], dict[tuple[int, str], int]],
        channels: Callable[[], Iterable[Channel]],
        log: Callable[[str], None],
        shared_keys: Callable[[], tuple[TicketKey, ...]] = tuple,
    ) -> None:
        self._store, self._rows, self._channels, self._log = store, rows, channels, log
        self._shared_keys = shared_keys
        self._told: dict[tuple[int, int], bytes] = {}
        self._keys: tuple[TicketKey, ...] = ()
        self._rotation_s = 0.0
        self._look_at = 0.0

    # --- changes -------------------------------------------------------------------------------------------------

    def read(self, settings: BalancerSettings) -> dict[tuple[int, str], Bundle]:
        """All that the settings ask for, for `adopt`. Raises ConfigError."""
        return self._store.read(settings)

    def adopt(self, bundles: dict[tuple[int, str], Bundle], settings: BalancerSettings) -> None:
        """From now on this is in force; `tell` and `withdraw` take it to the workers."""
        self._store.adopt(bundles)
        self._rotation_s = settings.ticket_rotation_ms / 1000
        self._look_at = time.monotonic() + LOOK_EVERY_S

    def tell(self, kind: int) -> None:
        """Tell all workers what is new of listeners or of pools."""
        if kind == LISTENER:
            self._turn_keys(time.monotonic())
        for (its_kind, row), data in self._due().items():
            if its_kind == kind and self._told.get((kind, row)) != data:
                self._told[kind, row] = data
                self._send_all(kind, row, data)

    def withdraw(self) -> None:
        """Tell all workers of which rows notes.TLS is gone."""
        for kind, row in set(self._told) - set(self._due()):
            del self._told[kind, row]
            self._send_all(kind, row, None)

    def _due(self) -> dict[tuple[int, int], bytes]:
        """What the workers should have been told, by kind and row."""
        rows = self._rows()
        return {(key[0], rows[key]): bundle.data for key, bundle in self._store.bundles.items() if key in rows}

    # --- sending -------------------------------------------------------------------------------------------------

    def greet(self, channel: Channel) -> None:
        """Tell a new worker everything: the keys of tickets, then pools, then listeners."""
        if self._keys:
            self._send(channel, TICKETS, 0, self._packed_keys())
        for kind in (POOL, LISTENER):
            for (its_kind, row), data in self._told.items():
                if its_kind == kind:
                    self._send(channel, kind, row, data)

    def _send_all(self, kind: int, row: int, data: bytes | None) -> None:
        for channel in self._channels():
            self._send(channel, kind, row, data)

    def _send(self, channel: Channel, kind: int, row: int, data: bytes | None) -> None:
        """Each worker has memory of its own, whose offset it may move."""
        try:
            fd = None if data is None else sealed(data)
        except OSError as error:
            self._log(f"tls: a worker cannot be told of a change: {error.strerror}")
            return
        channel.send(notes.TLS, row, kind, descriptor=fd)
        if fd is not None:
            os.close(fd)

    # --- time ----------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> bool:
        """Look at the files and change the keys of tickets when it is time. Are new files in force? now: monotonic seconds."""
        self._turn_keys(now)
        if now < self._look_at:
            return False
        self._look_at = now + LOOK_EVERY_S
        fresh = self._store.look()
        if fresh:
            self.tell(POOL)
            self.tell(LISTENER)
        return fresh

    @property
    def wanted_at(self) -> float | None:
        """When `tick` is to be called next; None: nothing here changes by itself."""
        if not self._store.bundles:
            return None
        return min(self._look_at, due(self._keys, self._rotation_s)) if self._seals else self._look_at

    @property
    def _seals(self) -> bool:
        """Are there tickets to seal?"""
        return any(kind == LISTENER for kind, _ in self._store.bundles)

    def _turn_keys(self, now: float) -> None:
        if not self._seals:
            return
        before = self._keys
        self._keys = self._shared_keys() or rotated(before, now, self._rotation_s)
        if [key.secret for key in self._keys] != [key.secret for key in before]:
            self._send_all(TICKETS, 0, self._packed_keys())

    def _packed_keys(self) -> bytes:
        return pack_tickets([key.secret for key in self._keys])
