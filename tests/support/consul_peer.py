"""A stand-in of Consul: /v1/health/service with blocking queries, as its documentation has them."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

from aiohttp import web
from engine_peers import HttpPeer

if TYPE_CHECKING:
    import ssl

PATH = re.compile(r"/v1/health/service/([^/]+)")


class ConsulPeer(HttpPeer):
    """index: as Consul's Raft index. token: whom it lets read, None: everybody. filtering: a wrong token gets an empty answer
    instead of 403, as Consul does for tokens without rights. waits: seconds that blocking queries wait at most."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.index = 10
        self.token: str | None = None
        self.filtering = False
        self.waits = 60.0
        self.service = "shop"
        self.instances: dict[str, dict[str, Any]] = {}
        self._news: asyncio.Event = asyncio.Event()
        super().__init__(context)

    # --- what it knows -------------------------------------------------------------------------------------------

    def set(self, *addresses: str) -> None:
        """These instances, and no others."""
        self.tell({address: instance(address, tags=("v2",)) for address in addresses})

    def tell(self, instances: dict[str, dict[str, Any]], index: int | None = None) -> None:
        """Other instances, as of another index: the next, unless a test says which."""

        async def tell() -> None:
            self.instances = dict(instances)
            self.index = self.index + 1 if index is None else index
            self._news.set()
            self._news = asyncio.Event()

        self.call(tell())

    # --- its API -------------------------------------------------------------------------------------------------

    async def handle(self, request: web.Request) -> web.StreamResponse:
        match = PATH.fullmatch(request.path)
        if not match:
            return web.Response(status=404, text="Invalid URL path: not a recognized HTTP API endpoint")
        if request.query.get("dc") not in (None, "dc1"):
            return web.Response(status=500, text="No path to datacenter")
        allowed = self.token is None or request.headers.get("X-Consul-Token") == self.token
        if not allowed and not self.filtering:
            return web.Response(status=403, text="ACL not found")
        await self._block(request)
        found = [entry for entry in self.instances.values() if _wanted(entry, request)] if match[1] == self.service else []
        headers = {"X-Consul-Index": str(self.index), "X-Consul-KnownLeader": "true", "X-Consul-LastContact": "0"}
        if not allowed:
            found, headers["X-Consul-Results-Filtered-By-ACLs"] = [], "true"
        return web.json_response(found, headers=headers)

    async def _block(self, request: web.Request) -> None:
        """Until there is something newer than the index that was asked from, or the wait is over."""
        asked = int(request.query.get("index", 0))
        if not asked:
            return
        wait = request.query.get("wait", "300000ms")
        assert re.fullmatch(r"\d+ms", wait), wait
        deadline = asyncio.get_running_loop().time() + min(self.waits, int(wait[:-2]) / 1000)
        while self.index <= asked:
            left_s = deadline - asyncio.get_running_loop().time()
            if left_s <= 0:
                return
            try:
                await asyncio.wait_for(self._news.wait(), left_s)
            except TimeoutError:
                return
            if self.index < asked:  # restored from a snapshot: Consul lets go of those that wait
                return


def instance(
    address: str, *, weight: int = 1, status: str = "passing", tags: tuple[str, ...] = (), node: str = "10.255.0.1"
) -> dict[str, Any]:
    """An entry of a health answer. address: "IP:PORT"; ":PORT": the node's address."""
    host, _, port = address.rpartition(":")
    return {
        "Node": {"Node": "one", "Address": node, "Datacenter": "dc1"},
        "Service": {
            "ID": f"shop-{address}",
            "Service": "shop",
            "Tags": list(tags),
            "Address": host.strip("[]"),
            "Port": int(port),
            "Weights": {"Passing": weight, "Warning": 1},
        },
        "Checks": [{"CheckID": "serfHealth", "Status": "passing"}, {"CheckID": "service", "Status": status}],
    }


def _wanted(entry: dict[str, Any], request: web.Request) -> bool:
    checks = entry.get("Checks") or ()
    if "passing" in request.query and any(check["Status"] != "passing" for check in checks):
        return False
    return set(request.query.getall("tag", [])) <= set(entry.get("Service", {}).get("Tags") or ())
