"""Consul: the instances of a service whose checks pass, by blocking queries.

https://developer.hashicorp.com/consul/api-docs/health and .../features/blocking
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from lbcore.discovery.engines.credential import Credential
from lbcore.discovery.engines.entries import place_of
from lbcore.discovery.engines.http import Http, context_of, is_over_tls
from lbcore.discovery.found import MOST_ENTRIES, Answer, Found, SourceFailed, scaled

if TYPE_CHECKING:
    from lbcore.config.settings import SourceSettings
    from lbcore.discovery.engines.http import Reply
    from lbcore.discovery.engines.source import Ear

BURST = 10
"""Answers that may come one behind the other before `interval` paces them."""


class Pace:
    """So many turns at once, then one each interval_s. Pure: the clock is given."""

    def __init__(self, burst: int, interval_s: float, now: float) -> None:
        self._burst, self._interval_s = burst, interval_s
        self._left, self._seen = float(burst), now

    def wait_s(self, now: float) -> float:
        """Take a turn: how long to wait before it."""
        self._left = min(self._burst, self._left + (now - self._seen) / self._interval_s) - 1
        self._seen = now
        return max(0.0, -self._left * self._interval_s)


class Consul:
    """See lbcore.discovery.engines.source.Engine."""

    def __init__(self, settings: SourceSettings) -> None:
        service = str(settings.service)
        self.what: str = "/".join(
            name for name in (settings.datacenter, settings.partition, settings.namespace, service) if name is not None
        )
        self._settings = settings
        self._token = Credential.of(settings, "token")
        self._path = f"/v1/health/service/{quote(service, safe='')}"

    def endpoints(self) -> list[str]:
        """URLs of agents or servers."""
        return self._settings.urls

    async def ask(self, at: str) -> Answer:
        """What there is now. Raises SourceFailed."""
        async with self._http(at) as http:
            return self._answer(await self._query(http, 0))

    async def follow(self, at: str, ear: Ear) -> None:
        """Ask again and again, each time from the index of the last answer. Raises SourceFailed."""
        async with self._http(at) as http:
            pace = Pace(BURST, self._settings.interval_ms / 1000, time.monotonic())
            index = 0
            while True:
                reply = await self._query(http, index)
                fresh = _index_of(reply)
                answer = self._answer(reply)
                ear.heard(str(fresh))
                if fresh != index:
                    ear.changed(lambda answer=answer: answer)  # type: ignore[misc]
                index = next_index(index, fresh)
                await asyncio.sleep(pace.wait_s(time.monotonic()))

    def _http(self, at: str) -> Http:
        context = context_of(self._settings) if is_over_tls(at) else None
        return Http(at, self._settings.timeout_ms / 1000, context, self._headers)

    def _headers(self) -> dict[str, str]:
        token = self._token.text()
        return {"X-Consul-Token": token} if token else {}

    async def _query(self, http: Http, index: int) -> Reply:
        """index: 0 is answered at once, another when there is something new or `resync` is over. Consul waits up to a
        sixteenth longer, so that its clients do not come back together."""
        settings = self._settings
        params = [("passing", "1"), *(("tag", tag) for tag in settings.tags or ())]
        for key, name in (("dc", settings.datacenter), ("partition", settings.partition), ("ns", settings.namespace)):
            params += [(key, name)] if name else []
        if settings.consistency != "default":
            params.append((settings.consistency, "1"))
        if not index:
            return await http.get(self._path, params)
        wait_s = settings.resync_ms / 1000
        params += [("index", str(index)), ("wait", f"{settings.resync_ms}ms")]
        return await http.get(self._path, params, wait_s * 17 / 16)

    def _answer(self, reply: Reply) -> Answer:
        if not isinstance(reply.document, list):
            raise SourceFailed("the answer is no list of instances: is it Consul?")
        found, skipped = instances(reply.document, self._settings.tags or [])
        note = "no instance passes its checks, or there is no such service"
        if reply.headers.get("X-Consul-Results-Filtered-By-ACLs") == "true":
            note = "the token may not read all of it: it needs service:read and node:read"
        return Answer(found, skipped, note=note)


def _index_of(reply: Reply) -> int:
    """Raises SourceFailed."""
    text = reply.headers.get("X-Consul-Index", "")
    if not (text.isascii() and text.isdigit()):
        raise SourceFailed("the answer has no X-Consul-Index: is it Consul?")
    return max(1, int(text))


def next_index(last: int, fresh: int) -> int:
    """What is asked from next: an index that goes backwards begins anew (a server was restored or replaced)."""
    return 0 if fresh < last else fresh


def instances(document: list[Any], tags: list[str]) -> tuple[list[Found], dict[str, str]]:
    """The backends that a health answer names, and why others are skipped, by the id of the instance."""
    named: dict[str, int] = {}
    skipped: dict[str, str] = {}
    for number, entry in enumerate(document):
        key = str(number)
        try:
            service, key = entry["Service"], str(entry["Service"].get("ID") or number)
            if not set(tags) <= set(service.get("Tags") or ()):
                continue
            address, weight = _address(entry), _weight(service)
        except ValueError as error:
            skipped[key] = str(error)
        except (KeyError, TypeError, AttributeError):
            skipped[key] = "not an instance of a service"
        else:
            if len(named) < MOST_ENTRIES:
                named.setdefault(address, weight)
            else:
                skipped[key] = f"more than {MOST_ENTRIES:,} backends"
    weights = scaled(list(named.values()))
    return sorted(Found(address, weight) for address, weight in zip(named, weights, strict=True)), skipped


def _address(entry: dict[str, Any]) -> str:
    """That of the service; where it has none, that of its node."""
    host, port = entry["Service"].get("Address") or entry["Node"]["Address"], entry["Service"].get("Port")
    if type(host) is not str or type(port) is not int:
        raise TypeError
    return place_of(host, port)


def _weight(service: dict[str, Any]) -> int:
    weight = (service.get("Weights") or {}).get("Passing", 1)
    if type(weight) is not int or not 0 <= weight <= 65_535:
        raise ValueError(f"weight: {str(weight)[:60]} is not a whole number from 0 to 65535")
    return weight
