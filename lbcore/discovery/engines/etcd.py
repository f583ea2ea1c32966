"""etcd: the keys under a prefix, read and then watched."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

from lbcore.config.secret import Secret
from lbcore.discovery.engines.credential import Credential
from lbcore.discovery.engines.http import context_of, is_over_tls
from lbcore.discovery.engines.kv import MOST_KEYS, Entries
from lbcore.discovery.found import SourceFailed
from lbcore.store.etcd import EtcdStore
from lbcore.store.interface import Compacted, StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from lbcore.config.settings import SourceSettings
    from lbcore.discovery.engines.source import Ear
    from lbcore.discovery.found import Answer


class Etcd:
    """See lbcore.discovery.engines.source.Engine."""

    def __init__(self, settings: SourceSettings) -> None:
        self.what: str = str(settings.prefix)
        self._settings = settings
        self._password = Credential.of(settings, "password")
        self._note = f"no key begins with {self.what!r}"

    def endpoints(self) -> list[str]:
        """URLs of members."""
        return self._settings.urls

    async def ask(self, at: str) -> Answer:
        """What there is now. Raises SourceFailed."""
        async with self._store(at) as store:
            entries, _ = await self._read(store)
            return entries.answer(self._note)

    async def follow(self, at: str, ear: Ear) -> None:
        """Read, then watch from there; and again where the history was compacted, or `resync` is over. Raises SourceFailed."""
        async with self._store(at) as store:
            while True:
                until = time.monotonic() + self._settings.resync_s
                entries, revision = await self._read(store)
                ear.heard(str(revision))
                ear.changed(lambda entries=entries: entries.answer(self._note))  # type: ignore[misc]
                with contextlib.suppress(Compacted, TimeoutError):
                    async with asyncio.timeout(until - time.monotonic()):
                        await self._watch(store, entries, revision, ear)

    async def _read(self, store: EtcdStore) -> tuple[Entries, int]:
        listing = await store.read(self.what, most=MOST_KEYS)
        return Entries((item.key, item.value) for item in listing.items), listing.revision

    async def _watch(self, store: EtcdStore, entries: Entries, revision: int, ear: Ear) -> None:
        watch: Any = store.watch(self.what, revision + 1)
        async with contextlib.aclosing(watch) as lines:
            async for line in lines:
                for change in line.changes:
                    if change.value is None:
                        entries.drop(change.key)
                    else:
                        entries.put(change.key, change.value)
                ear.heard(str(line.revision))
                if line.changes:
                    ear.changed(lambda: entries.answer(self._note))

    @contextlib.asynccontextmanager
    async def _store(self, at: str) -> AsyncIterator[EtcdStore]:
        """One member. What it raises is SourceFailed."""
        password = self._password.text()
        store = EtcdStore(
            [at],
            user=self._settings.user,
            password=Secret(password) if password is not None else None,
            tls=context_of(self._settings) if is_over_tls(at) else None,
            limit_s=self._settings.timeout_ms / 1000,
        )
        try:
            yield store
        except StoreError as error:
            raise SourceFailed(str(error).removeprefix(f"{at}: ").removeprefix(at)) from None
        finally:
            await store.close()
