"""A stand-in of the API of Kubernetes: EndpointSlices, listed in pages and watched, with expiry, bookmarks and refusals.

https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

import asyncio
import copy
import json
from typing import TYPE_CHECKING, Any

from aiohttp import web
from engine_peers import HttpPeer

if TYPE_CHECKING:
    import ssl

SELECTOR = "kubernetes.io/service-name="


class KubernetesPeer(HttpPeer):
    """tokens: that it accepts, None: it asks for none. rights: may the account read slices? page: at most so many slices of a
    list at once, whatever the client asks. expires: how a watch from a forgotten revision ends, "status" (HTTP 410) or "event".
    busy: what the next requests are told, "list" or "watch", with 429 and this Retry-After. silent: no head for watches.
    prefix: the path before the API's.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.tokens: set[str] | None = None
        self.rights = True
        self.namespace = "default"
        self.page = 500
        self.expires = "event"
        self.expired_pages = 0
        self.slices: dict[str, dict[str, Any]] = {}
        self.revision = 100
        self._oldest = 0
        self._history: list[tuple[int, str, dict[str, Any]]] = []
        self._pages: dict[str, tuple[int, list[dict[str, Any]]]] = {}
        self._news: asyncio.Event = asyncio.Event()
        self._ending = 0
        self.watches = 0
        self.busy: list[tuple[str, str]] = []
        self.silent = False
        self.prefix = ""
        super().__init__(context)

    # --- what it knows -------------------------------------------------------------------------------------------

    def set(self, *addresses: str) -> None:
        """Ready endpoints: a slice for those of a port, and another for those whose host is a name."""
        groups: dict[tuple[int, str], list[dict[str, Any]]] = {}
        for address in addresses:
            host, _, port = address.rpartition(":")
            named = host.rstrip(".")[-1].isalpha()
            groups.setdefault((int(port), "-names" if named else ""), []).append(endpoint(host))
        wanted = {
            f"shop-{port}{more}": slice_of(f"shop-{port}{more}", *entries, port=port, kind="FQDN" if more else "IPv4")
            for (port, more), entries in groups.items()
        }
        self.put(*(wanted.values() or [slice_of("shop-empty")]))
        self.drop(*({name for name in self.slices if name.startswith("shop-")} - set(wanted or ["shop-empty"])))

    def put(self, *documents: dict[str, Any]) -> None:
        """These slices come, or change."""

        async def put() -> None:
            for document in documents:
                name = document["metadata"]["name"]
                self._tell("MODIFIED" if name in self.slices else "ADDED", document)
                self.slices[name] = self._history[-1][2]
            self._wake()

        self.call(put())

    def drop(self, *names: str) -> None:
        """These slices go."""

        async def drop() -> None:
            for name in names:
                self._tell("DELETED", self.slices.pop(name))
            self._wake()

        self.call(drop())

    def compact(self) -> None:
        """Forget all history, and end all watches."""

        async def compact() -> None:
            self.revision += 1
            self._oldest, self._history = self.revision, []
            self._ending += 1
            self._wake()

        self.call(compact())

    def end_watches(self) -> None:
        """As the API server does when their time is over."""

        async def end() -> None:
            self._ending += 1
            self._wake()

        self.call(end())

    def bookmark(self) -> None:
        """Something else changed meanwhile: watches are told the revision alone."""

        async def bookmark() -> None:
            self.revision += 1
            self._history.append((self.revision, "BOOKMARK", {"metadata": {"resourceVersion": str(self.revision)}}))
            self._wake()

        self.call(bookmark())

    def say(self, event: dict[str, Any]) -> None:
        """Have watches say this, whatever it is."""

        async def say() -> None:
            self.revision += 1
            self._history.append((self.revision, "", event))
            self._wake()

        self.call(say())

    def _tell(self, kind: str, document: dict[str, Any]) -> None:
        self.revision += 1
        document = copy.deepcopy(document)
        document["metadata"]["resourceVersion"] = str(self.revision)
        self._history.append((self.revision, kind, document))

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    # --- its API -------------------------------------------------------------------------------------------------

    async def handle(self, request: web.Request) -> web.StreamResponse:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.tokens is not None and token not in self.tokens:
            return _status(401, "Unauthorized", "Unauthorized")
        if (
            request.path != f"{self.prefix}/apis/discovery.k8s.io/v1/namespaces/{self.namespace}/endpointslices"
            or not self.rights
        ):
            return _status(403, "Forbidden", f"endpointslices is forbidden: User cannot list {request.path}")
        kind = "watch" if "watch" in request.query else "list"
        if self.busy and self.busy[0][0] == kind:
            answer = _status(429, "TooManyRequests", "Too many requests, please try again later.")
            answer.headers["Retry-After"] = self.busy.pop(0)[1]
            return answer
        if "watch" in request.query:
            if self.silent:
                await asyncio.sleep(3600)
            return await self._watch(request)
        return self._list(request)

    def _list(self, request: web.Request) -> web.Response:
        assert not {"resourceVersion", "resourceVersionMatch"} & set(request.query), (
            "a list is of now; pages go on by their token"
        )
        token = request.query.get("continue", "")
        if token and (self.expired_pages or token not in self._pages):
            self.expired_pages = max(0, self.expired_pages - 1)
            return _status(410, "Expired", "The provided continue parameter is too old")
        revision, items = self._pages.pop(token) if token else (self.revision, self._matching(request))
        limit = min(self.page, int(request.query.get("limit", "500")))
        metadata: dict[str, Any] = {"resourceVersion": str(revision)}
        if len(items) > limit:
            following = f"page-{len(self.asked)}"
            self._pages[following] = revision, items[limit:]
            metadata |= {"continue": following, "remainingItemCount": len(items) - limit}
        document = {"kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1", "metadata": metadata}
        return web.json_response({**document, "items": items[:limit]})

    def _matching(self, request: web.Request) -> list[dict[str, Any]]:
        service = request.query["labelSelector"].removeprefix(SELECTOR)
        return [one for one in self.slices.values() if one["metadata"]["labels"]["kubernetes.io/service-name"] == service]

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        assert request.query["allowWatchBookmarks"] == "true"
        assert not {"limit", "continue", "resourceVersionMatch"} & set(request.query), "they are for lists"
        since = int(request.query["resourceVersion"])
        if since < self._oldest and self.expires == "status":
            return _status(410, "Expired", "too old resource version")
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        if since < self._oldest:
            document = _document(410, "Expired", f"too old resource version: {since} ({self._oldest})")
            await response.write(_line({"type": "ERROR", "object": document}))
            return response
        self.watches += 1
        try:
            await self._tell_from(since, response, float(request.query["timeoutSeconds"]))
        finally:
            self.watches -= 1
        return response

    async def _tell_from(self, since: int, response: web.StreamResponse, seconds: float) -> None:
        ending, deadline = self._ending, asyncio.get_running_loop().time() + seconds
        while ending == self._ending:
            news = self._news
            for revision, kind, document in [entry for entry in self._history if entry[0] > since]:
                since = revision
                await response.write(_line({"type": kind, "object": document} if kind else document))
            left_s = deadline - asyncio.get_running_loop().time()
            if left_s <= 0 or self._oldest > since:
                return
            try:
                await asyncio.wait_for(news.wait(), left_s)
            except TimeoutError:
                return


def _line(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode() + b"\n"


def _document(code: int, reason: str, message: str) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": reason, "code": code}


def _status(code: int, reason: str, message: str) -> web.Response:
    return web.json_response(_document(code, reason, message), status=code)


def endpoint(ip: str, **values: Any) -> dict[str, Any]:
    """An endpoint that is ready, unless the conditions say otherwise."""
    conditions = {"ready": True, "serving": True, "terminating": False}
    for name in conditions:
        if name in values:
            conditions[name] = values.pop(name)
    return {"addresses": [ip.strip("[]")], "conditions": conditions, **values}


def slice_of(
    name: str, *endpoints: dict[str, Any], port: int | None = 8000, port_name: str = "http", kind: str = "IPv4", **values: Any
) -> dict[str, Any]:
    """An EndpointSlice of service "shop". port: None: it has no ports."""
    service = values.pop("service", "shop")
    ports = [] if port is None else [{"name": port_name, "port": port, "protocol": "TCP"}]
    return {
        "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": service}},
        "addressType": kind,
        "endpoints": list(endpoints),
        "ports": ports,
        **values,
    }
