"""The keys of TLS session tickets that the nodes share, so that a session begun at one node is resumed at another. Pure."""

from __future__ import annotations

import json
from typing import NamedTuple

from lbcore.cluster.seal import opened, sealed
from lbcore.cluster.words import NotOurs
from lbcore.tls.bundle import MOST_KEYS
from lbcore.tls.tickets import KEY_BYTES, random_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PURPOSE = "tickets"
AHEAD_MS = 3_600_000
"""A key that is born so far in the future is no key of ours: it would never be changed."""


class SharedKey(NamedTuple):
    """born_ms: Unix time. secret: the bytes of a struct lb_ticket_key."""

    born_ms: int
    secret: bytes


class TicketRing:
    """keys: the newest first; the first one seals. write: the store is to be told."""

    def __init__(self, secret: bytes, fresh: Callable[[], bytes] = random_key) -> None:
        self._secret, self._fresh = secret, fresh
        self.keys: tuple[SharedKey, ...] = ()
        self.write: bool = False
        self._foreign = False

    def changed(self, value: bytes | None, now_ms: int) -> None:
        """What the store has; None: nothing. Whoever merges the same keys finds the same. Raises NotOurs; nothing is written
        over such a value, since it may be of nodes with another secret."""
        self.write, self._foreign = False, True
        theirs = self._read(value, now_ms) if value is not None else ()
        self._foreign = False
        self.keys = _newest((*self.keys, *theirs))
        self.write = self.keys != theirs

    def rotate(self, now_ms: int, rotation_ms: int, *, leads: bool) -> None:
        """A new key when it is time. leads: this node is the one that makes it; others wait for a while longer."""
        patience_ms = 0 if leads or not self.keys else max(5000, rotation_ms // 10)
        if self.keys and now_ms < self.keys[0].born_ms + rotation_ms + patience_ms:
            return
        kept = (key for key in self.keys if now_ms - key.born_ms < MOST_KEYS * rotation_ms)
        self.keys = _newest((SharedKey(now_ms, self._fresh()), *kept))
        self.write = not self._foreign

    def value(self) -> bytes:
        """For the store: sealed."""
        plain = json.dumps([[key.born_ms, key.secret.hex()] for key in self.keys])
        return sealed(self._secret, PURPOSE, plain.encode())

    def _read(self, value: bytes, now_ms: int) -> tuple[SharedKey, ...]:
        try:
            pairs = json.loads(opened(self._secret, PURPOSE, value))
            keys = tuple(SharedKey(int(born_ms), bytes.fromhex(text)) for born_ms, text in pairs)
        except (ValueError, TypeError) as error:
            raise NotOurs(str(error)) from None
        if any(len(key.secret) != KEY_BYTES or key.born_ms > now_ms + AHEAD_MS for key in keys):
            raise NotOurs("keys that this version cannot use")
        return keys


def _newest(keys: Iterable[SharedKey]) -> tuple[SharedKey, ...]:
    return tuple(sorted(set(keys), reverse=True)[:MOST_KEYS])
