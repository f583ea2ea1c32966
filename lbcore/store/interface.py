"""What lbcore asks of a store of keys: list, watch, write under a lease. Each class of errors calls for another answer."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from lbcore.errors import LbcoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable


class StoreError(LbcoreError):
    """The store did not do what it was asked."""


class Unreachable(StoreError):
    """No member answered in time, or none has a leader: try again later."""


class Refused(StoreError):
    """The store answers, and refuses: a password, a right, a certificate, or a store that is full. Trying soon changes nothing.

    option: the option of the configuration that is at fault.
    """

    def __init__(self, text: str, option: str) -> None:
        self.option: str = option
        super().__init__(text)


class Compacted(StoreError):
    """The history that a watch or a read asked for is gone: list again."""


class LeaseGone(StoreError):
    """The lease is over: grant another one."""


class Item(NamedTuple):
    """A key with its value. revision: of the store, when the key was written last. lease: 0: none."""

    key: str
    value: bytes
    revision: int
    lease: int = 0


class Listing(NamedTuple):
    """All keys under a prefix at one revision. cluster: which store this is; another one has another number."""

    items: list[Item]
    revision: int
    cluster: str


class Change(NamedTuple):
    """value: None: the key was deleted, or its lease is over."""

    key: str
    value: bytes | None
    revision: int
    lease: int = 0


class Changes(NamedTuple):
    """What one line of a watch brought, in order. revision: of the store, after them."""

    changes: list[Change]
    revision: int


class Put(NamedTuple):
    """A value to be written; lease: 0: it stays until it is deleted."""

    key: str
    value: bytes
    lease: int = 0


class Written(NamedTuple):
    """done: False: a condition did not hold, nothing was written."""

    done: bool
    revision: int


MOST_OPERATIONS = 100
"""Puts and deletes of one `write`: etcd takes 128."""


class Store(Protocol):
    """Used by one event loop. Every call raises StoreError; a time limit of seconds is the store's own."""

    async def read(self, prefix: str, most: int | None = None) -> Listing:
        """All keys that begin with the prefix, as a quorum has them. most: raises Refused instead of reading on beyond it."""

    def watch(self, prefix: str, revision: int) -> AsyncGenerator[Changes]:
        """Changes of these keys from a revision on. The first comes at once, and may be empty: the watch stands. It ends by
        raising Compacted, Refused, or Unreachable: then it was lost, and is to be begun again after the last revision."""

    async def write(self, puts: Iterable[Put], deletes: Iterable[str] = (), *, absent: str | None = None) -> Written:
        """One transaction of at most MOST_OPERATIONS, no key twice. absent: only if there is no such key. Raises LeaseGone."""

    async def try_write(self, key: str) -> None:
        """Might this key be written? Nothing is. Raises Refused where it may not."""

    async def grant(self, ttl_s: int) -> int:
        """A lease: keys written under it go when it has not been renewed for so long."""

    async def renew(self, lease: int) -> None:
        """Put its end off. Raises LeaseGone."""

    async def revoke(self, lease: int) -> None:
        """End it: its keys go. One that is over already is no error."""

    async def close(self) -> None:
        """End all connections."""
