"""etcd through its JSON gateway, over HTTP: any of its members, one after the other. What it does on the wire: `etcd_wire`.

aiohttp is imported when the first call is made.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from typing import TYPE_CHECKING

from lbcore.store import etcd_wire as wire
from lbcore.store.faults import explained
from lbcore.store.interface import Changes, LeaseGone, Listing, Put, Refused, StoreError, Unreachable, Written

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
    from typing import Any

    import aiohttp

    from lbcore.config.secret import Secret

PAGE = 2000
"""Keys of one range."""
MOST_BYTES = 64 << 20
"""Of one answer, or one line of a watch: 4.7 MB were seen."""
LIMIT_S = 2.5
"""For one call to one member. An election takes 1 to 2 s, and does not carry over the requests that it catches; without a
quorum a member itself gives up after 7 s only."""


class EtcdStore:
    """A `Store`. endpoints: "http://HOST:PORT" or "https://HOST:PORT" of its members. tls: for those of https.

    limit_s: for one call to one member; None: LIMIT_S.
    """

    def __init__(
        self,
        endpoints: Iterable[str],
        *,
        user: str | None = None,
        password: Secret | None = None,
        tls: ssl.SSLContext | None = None,
        limit_s: float | None = None,
    ) -> None:
        self._endpoints = [endpoint.rstrip("/") for endpoint in endpoints]
        self._user, self._password = user, password
        self._tls = tls
        self._limit_s = LIMIT_S if limit_s is None else limit_s
        self._session: aiohttp.ClientSession | None = None
        self._token: str | None = None
        self._at = 0
        self._is_known = False
        self._watches: dict[int, list[_Watch]] = {}

    @property
    def endpoint(self) -> str:
        """The member that is asked now."""
        return self._endpoints[self._at]

    # --- the interface -------------------------------------------------------------------------------------------

    async def read(self, prefix: str, most: int | None = None) -> Listing:
        """See Store."""
        with self._legible():
            return await self._read(prefix, most)

    async def _read(self, prefix: str, most: int | None) -> Listing:
        first = page = wire.page_of(await self._call("/v3/kv/range", wire.range_body(prefix, PAGE)))
        items = list(first.items)
        while page.more:
            body = wire.range_body(prefix, PAGE, items[-1].key, first.revision)
            page = wire.page_of(await self._call("/v3/kv/range", body))
            items += page.items
            if most is not None and len(items) > most:
                raise Refused(f"more than {most:,} keys begin with {prefix!r}: is the prefix right?", "prefix")
        return Listing(items, first.revision, first.cluster)

    async def write(self, puts: Iterable[Put], deletes: Iterable[str] = (), *, absent: str | None = None) -> Written:
        """See Store."""
        result = await self._call("/v3/kv/txn", wire.txn_body(puts, deletes, absent))
        with self._legible():
            return Written(bool(result.get("succeeded")), wire.revision_of(result))

    async def try_write(self, key: str) -> None:
        """See Store. etcd asks for the rights to all that a transaction names, also where its condition does not hold."""
        await self._call("/v3/kv/txn", wire.never_body(key))

    async def grant(self, ttl_s: int) -> int:
        """See Store. etcd grants 2 s at least."""
        result = await self._call("/v3/lease/grant", {"TTL": str(ttl_s)})
        with self._legible():
            return int(result["ID"])

    async def renew(self, lease: int) -> None:
        """See Store."""
        answer = await self._call("/v3/lease/keepalive", {"ID": str(lease)})
        with self._legible():
            if not int(answer.get("result", {}).get("TTL", 0)):
                raise LeaseGone(f"lease {lease} is over")

    async def revoke(self, lease: int) -> None:
        """See Store."""
        with contextlib.suppress(LeaseGone):
            await self._call("/v3/lease/revoke", {"ID": str(lease)})

    async def watch(self, prefix: str, revision: int) -> AsyncGenerator[Changes]:
        """See Store."""
        await self._authenticate_first()
        body, lines, at, ended = wire.watch_body(prefix, revision), _Lines(), self._at, _Watch()
        try:
            async with self._post("/v3/watch", body, stream=True) as response, self._watching(at, ended, response):
                if response.status != 200:
                    raise await self._refusal(response, "watch")
                _keep_alive(response)
                standing = False
                while True:
                    async with asyncio.timeout(None if standing else self._limit_s):
                        data = await response.content.readany()
                    if not data:
                        raise Unreachable(f"{self.endpoint}: the watch was lost")
                    for line in lines.take(data):
                        standing = True
                        with self._legible():
                            changes = wire.changes_of(line)
                        yield changes
        except StoreError as error:
            self._turn_after(error, at)
            raise
        except _faults() as error:
            fault = ended.by or self._unreachable(error, at)
            self._next_endpoint(at, fault)
            raise fault from None

    @contextlib.asynccontextmanager
    async def _watching(self, at: int, watch: _Watch, response: aiohttp.ClientResponse) -> AsyncIterator[None]:
        """A member that hangs acknowledges bytes and says nothing: its watches end when a call to it does."""
        if at != self._at:
            raise Unreachable(f"{self._endpoints[at]}: a call to it has failed meanwhile")
        watch.response = response
        here = self._watches.setdefault(at, [])
        here.append(watch)
        try:
            yield
        finally:
            here.remove(watch)

    @contextlib.contextmanager
    def _legible(self) -> Iterator[None]:
        """Raises Refused for an answer that no etcd gives."""
        try:
            yield
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Refused(f"{self.endpoint} answers what no etcd does ({error!r:.80}): it is no etcd", "endpoints") from None

    async def close(self) -> None:
        """See Store."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    # --- one call ------------------------------------------------------------------------------------------------

    async def _call(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask the member that answered last; each further one where that cannot answer. Raises StoreError."""
        told: StoreError | None = None
        for _ in self._endpoints:
            at = self._at
            try:
                await self._authenticate_first()
                return await self._authorized(path, body)
            except Unreachable as error:
                told = error
                self._next_endpoint(at, error)
        assert told is not None
        raise told

    async def _authorized(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """With another token where the one we have is refused: they last for minutes, and die with a restart."""
        try:
            return await self._ask(path, body)
        except Refused:
            if self._user is None:
                raise
        self._token = None
        await self._authenticate_first()
        return await self._ask(path, body)

    async def _authenticate_first(self) -> None:
        if self._user is None or self._token is not None:
            return
        password = self._password.reveal() if self._password else ""
        try:
            answer = await self._ask("/v3/auth/authenticate", {"name": self._user, "password": password})
        except Refused as error:
            if "not enabled" in str(error):  # it asks nobody for a name
                self._token = ""
                return
            raise
        with self._legible():
            self._token = str(answer["token"])

    async def _ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        try:
            async with self._post(path, body) as response:
                if response.status != 200:
                    raise await self._refusal(response, path)
                document = await _document(response)
        except _faults() as error:
            raise self._unreachable(error) from None
        self._is_known = True
        if not isinstance(document, dict):
            raise Refused(f"{self.endpoint}{path} answers with no JSON object: it is no etcd", "endpoints")
        return document

    def _post(self, path: str, body: dict[str, Any], *, stream: bool = False) -> Any:
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, ssl=self._tls or True))
        limits = aiohttp.ClientTimeout(total=None if stream else self._limit_s, sock_connect=self._limit_s)
        fields = {"Content-Type": "application/json"}
        if stream:
            fields["Grpc-Metadata-hasleader"] = "true"  # else a watch is silent where there is no quorum
        if self._token:
            fields["Authorization"] = self._token
        url = f"{self.endpoint}{path}"
        return self._session.post(url, data=json.dumps(body), headers=fields, timeout=limits, allow_redirects=False)

    async def _refusal(self, response: aiohttp.ClientResponse, call: str) -> StoreError:
        document = await _document(response)
        if document is None:
            return Refused(f"{self.endpoint}{call.partition('?')[0]} answers {response.status}: it is no etcd", "endpoints")
        with self._legible():
            error = wire.fault_error(wire.fault_of(document), call.rpartition("/")[2])
        return Unreachable(f"{self.endpoint}: {error}") if isinstance(error, Unreachable) else error

    def _unreachable(self, error: BaseException, at: int | None = None) -> StoreError:
        return explained(error, self._endpoints[self._at if at is None else at], self._limit_s, known=self._is_known)

    def _next_endpoint(self, at: int, error: StoreError) -> None:
        """This one has failed; another call may have found that already."""
        if at != self._at:
            return
        for watch in self._watches.get(at, ()):
            watch.end(error)
        self._at = (self._at + 1) % len(self._endpoints)

    def _turn_after(self, error: StoreError, at: int) -> None:
        """What a watch that has ended changes for the next one."""
        if isinstance(error, Unreachable):
            self._next_endpoint(at, error)
        elif isinstance(error, Refused):
            self._token = None


class _Watch:
    """by: why a call that failed has ended it."""

    def __init__(self) -> None:
        self.response: aiohttp.ClientResponse | None = None
        self.by: StoreError | None = None

    def end(self, error: StoreError) -> None:
        """Whoever reads it is told."""
        self.by = error
        if self.response is not None:
            self.response.close()


class _Lines:
    """A stream, cut into lines."""

    def __init__(self) -> None:
        self._held = bytearray()

    def take(self, data: bytes) -> list[bytes]:
        """The lines that this part completes. Raises Unreachable when one is longer than it may be."""
        self._held += data
        if len(self._held) > MOST_BYTES:
            raise Unreachable(f"a line of the watch is longer than {MOST_BYTES} bytes")
        if b"\n" not in data:
            return []
        *lines, rest = self._held.split(b"\n")
        self._held = rest
        return [bytes(line) for line in lines if line.strip()]


def _faults() -> tuple[type[Exception], ...]:
    """What goes wrong on the way to a member; time limits are OSErrors."""
    import aiohttp

    return OSError, aiohttp.ClientError


async def _document(response: aiohttp.ClientResponse) -> Any:
    """The JSON of an answer; None: it is none."""
    held = bytearray()
    async for part in response.content.iter_any():
        held += part
        if len(held) > MOST_BYTES:
            return None
    try:
        return json.loads(held)
    except ValueError:
        return None


def _keep_alive(response: aiohttp.ClientResponse) -> None:
    """A watch is silent for hours: the kernel sees to it that its peer is still there."""
    transport = response.connection.transport if response.connection else None
    raw = transport.get_extra_info("socket") if transport else None
    if raw is not None:
        for option, value in (
            (socket.TCP_KEEPIDLE, 5),
            (socket.TCP_KEEPINTVL, 2),
            (socket.TCP_KEEPCNT, 3),
            (socket.TCP_USER_TIMEOUT, 11_000),
        ):
            raw.setsockopt(socket.IPPROTO_TCP, option, value)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def tls_of(ca: str | None, cert: str | None, key: str | None) -> ssl.SSLContext:
    """What members over https must show, and are shown. ca: None: the system's. Raises Refused, which names the option."""
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise Refused(f"{ca!r} cannot be used: {error.strerror or error}", "ca") from None
    if cert is not None:
        try:
            context.load_cert_chain(cert, key)
        except (OSError, ssl.SSLError) as error:
            raise Refused(f"{cert!r} cannot be used: {error.strerror or error}", "cert") from None
    return context
