"""NATS: the keys of a key-value bucket, watched. Requires nats-py, which is loaded when a pool names such a source.

https://docs.nats.io/nats-concepts/jetstream/key-value-store
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

from lbcore.discovery.engines.credential import Credential
from lbcore.discovery.engines.http import context_of, is_over_tls, words
from lbcore.discovery.engines.kv import Entries
from lbcore.discovery.found import SourceFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from lbcore.config.settings import SourceSettings
    from lbcore.discovery.engines.source import Ear
    from lbcore.discovery.found import Answer

CLOSE_S = 0.5
PING_S = 15
"""A server that answers no ping for two of these is gone."""


class NatsKv:
    """See lbcore.discovery.engines.source.Engine."""

    def __init__(self, settings: SourceSettings) -> None:
        self._prefix = (settings.prefix or "").removesuffix(".")
        self.what: str = f"{settings.bucket}/{self._prefix}" if self._prefix else str(settings.bucket)
        self._settings = settings
        self._token, self._password = Credential.of(settings, "token"), Credential.of(settings, "password")
        self._note = f"the bucket has no key {self._prefix + '.*' if self._prefix else ''}".rstrip()

    def endpoints(self) -> list[str]:
        """URLs of servers."""
        return self._settings.urls

    async def ask(self, at: str) -> Answer:
        """What there is now. Raises SourceFailed."""
        async with _connected(at, self._settings, self._token, self._password) as (client, gone):
            bucket = await self._bucket(client)
            async with self._watched(bucket) as watcher:
                entries, _ = await self._listed(watcher, gone)
                return entries.answer(self._note)

    async def follow(self, at: str, ear: Ear) -> None:
        """Watch, and begin the watch again after `resync`: a bucket whose entries expire may do it without a word.

        Raises SourceFailed."""
        async with _connected(at, self._settings, self._token, self._password) as (client, gone):
            bucket = await self._bucket(client)
            while True:
                until = time.monotonic() + self._settings.resync_s
                async with self._watched(bucket) as watcher:
                    entries, revision = await self._listed(watcher, gone)
                    ear.heard(str(revision))
                    ear.changed(lambda entries=entries: entries.answer(self._note))  # type: ignore[misc]
                    await self._follow(watcher, entries, gone, ear, until)

    async def _follow(self, watcher: Any, entries: Entries, gone: asyncio.Event, ear: Ear, until: float) -> None:
        while (left_s := until - time.monotonic()) > 0:
            try:
                entry = await _next(watcher, gone, left_s)
            except TimeoutError:
                return
            ear.heard(str(_take(entries, entry)))
            ear.changed(lambda: entries.answer(self._note))

    async def _bucket(self, client: Any) -> Any:
        import nats.js.errors

        name = self._settings.bucket
        with _in_words(self._settings.timeout_ms / 1000):
            try:
                return await client.jetstream(timeout=self._settings.timeout_ms / 1000).key_value(name)
            except nats.js.errors.BucketNotFoundError:
                raise SourceFailed(f"there is no bucket {name!r}") from None
            except nats.js.errors.BadBucketError:
                raise SourceFailed(f"{name!r} is a stream, and no key-value bucket") from None

    @contextlib.asynccontextmanager
    async def _watched(self, bucket: Any) -> AsyncIterator[Any]:
        with _in_words(self._settings.timeout_ms / 1000):
            watcher = await bucket.watch(f"{self._prefix}.>" if self._prefix else ">")
        try:
            yield watcher
        finally:
            with contextlib.suppress(Exception):  # the connection may be gone
                await watcher.stop()

    async def _listed(self, watcher: Any, gone: asyncio.Event) -> tuple[Entries, int]:
        """What there is now, and the revision of the latest entry. A watch tells it first, and then None."""
        listed: dict[str, bytes] = {}
        revision = 0
        while True:
            try:
                entry = await _next(watcher, gone, self._settings.timeout_ms / 1000)
            except TimeoutError:
                raise SourceFailed(f"no answer within {self._settings.timeout_ms / 1000:g} s") from None
            if entry is None:
                return Entries(listed.items()), revision
            revision = max(revision, entry.revision)
            if entry.operation is None:
                listed[entry.key] = entry.value or b""


def _take(entries: Entries, entry: Any) -> int:
    """Of a watch. Its revision."""
    if entry.operation is None:
        entries.put(entry.key, entry.value or b"")
    else:
        entries.drop(entry.key)
    return int(entry.revision)


async def _next(watcher: Any, gone: asyncio.Event, within_s: float) -> Any:
    """The next entry of a watch. Raises SourceFailed when the connection ends, and TimeoutError."""
    reading = asyncio.ensure_future(watcher.updates(timeout=None))
    ending = asyncio.ensure_future(gone.wait())
    try:
        done, _ = await asyncio.wait({reading, ending}, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        if reading in done:
            return reading.result()
        if ending in done:
            raise SourceFailed("it closed the connection")
        raise TimeoutError
    finally:
        reading.cancel()
        ending.cancel()


@contextlib.asynccontextmanager
async def _connected(
    at: str, settings: SourceSettings, token: Credential, password: Credential
) -> AsyncIterator[tuple[Any, asyncio.Event]]:
    """A connection to one server, which is never given up for another that it names; and the event of its end."""
    client, gone = _new_client(), asyncio.Event()
    over_tls = is_over_tls(at)
    secrets = {"user": settings.user, "password": password.text(), "token": token.text()}
    begun = False
    proof = _proof(settings, lambda: _insist(client, over_tls))

    async def on_error(error: Exception) -> None:
        if not begun:
            raise error  # or nats-py would try again and again

    async def on_end() -> None:
        gone.set()

    def given(name: str) -> Any:
        """nats-py asks for it when it has the server's first words, by which TLS has begun or never will."""

        def give() -> str:
            _insist(client, over_tls)
            return str(secrets[name])

        return give if secrets[name] is not None else None

    try:
        with _in_words(settings.timeout_ms / 1000):
            async with asyncio.timeout(settings.timeout_ms / 1000):
                await client.connect(
                    at,
                    error_cb=on_error,
                    closed_cb=on_end,
                    allow_reconnect=False,
                    max_reconnect_attempts=1,
                    connect_timeout=max(1, settings.timeout_ms // 1000),
                    ping_interval=PING_S,
                    tls=context_of(settings) if over_tls else None,
                    name="lbcore",
                    user=given("user"),
                    password=given("password"),
                    token=given("token"),
                    **proof,
                )
                begun = True
                _insist(client, over_tls)
        yield client, gone
    finally:
        begun = True
        with contextlib.suppress(Exception):  # it may be closed already, or half open
            async with asyncio.timeout(CLOSE_S):  # after a failed handshake nats-py waits for ever
                await client.close()


def _proof(settings: SourceSettings, insist: Callable[[], None]) -> dict[str, Any]:
    """How nats-py proves who lbcore is by a .creds file. insist: called before anything is shown. Raises SourceFailed."""
    if settings.creds_file is None:
        return {}
    from lbcore.discovery.engines import nats_creds

    try:
        creds = nats_creds.read(settings.creds_file)
    except ValueError as error:
        raise SourceFailed(str(error)) from None

    def jwt() -> bytes:
        insist()
        return creds.jwt.reveal().encode()

    def signature(nonce: str) -> bytes:
        insist()
        return creds.signed(nonce)

    return {"user_jwt_cb": jwt, "signature_cb": signature}


def _insist(client: Any, over_tls: bool) -> None:
    """nats-py goes on without TLS where the server's first words, which anybody could have sent, ask for none."""
    if over_tls and not client._server_info.get("tls_required"):
        raise SourceFailed("it speaks no TLS, and the endpoint says tls://")


@contextlib.contextmanager
def _in_words(timeout_s: float) -> Any:
    """What nats-py raises, as SourceFailed."""
    import nats.errors
    import nats.js.errors

    try:
        yield
    except (TimeoutError, nats.errors.TimeoutError):
        raise SourceFailed(f"no answer within {timeout_s:g} s") from None
    except (nats.errors.NoRespondersError, nats.js.errors.ServiceUnavailableError):
        raise SourceFailed("JetStream is not enabled there, or has no leader") from None
    except nats.js.errors.APIError as error:
        raise SourceFailed(str(error.description or error)[:200]) from None
    except nats.errors.Error as error:
        raise SourceFailed(str(error).removeprefix("nats: ").strip("' ").lower()[:200]) from None
    except (OSError, ValueError) as error:
        raise SourceFailed(words(error)) from None


def _new_client() -> Any:
    """Of nats-py. Raises SourceFailed where that is not installed."""
    try:
        from nats.aio.client import Client
    except ImportError:
        raise SourceFailed("it requires nats-py: pip install 'lbcore[nats]'") from None
    return Client()
