"""Kubernetes: the EndpointSlices of a service, listed and then watched.

https://kubernetes.io/docs/reference/using-api/api-concepts/ (watches, bookmarks, 410 Gone, pages of a list).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from typing import TYPE_CHECKING, Any

from lbcore.backoff import Backoff
from lbcore.discovery.engines.http import Http, Refused, is_over_tls, wait_of
from lbcore.discovery.engines.kube_access import access_of
from lbcore.discovery.engines.slices import backends
from lbcore.discovery.found import Answer, SourceFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from lbcore.config.settings import SourceSettings
    from lbcore.discovery.engines.kube_access import Access
    from lbcore.discovery.engines.kube_exec import Plugin
    from lbcore.discovery.engines.source import Ear

PAGE = 100
"""Slices of a page; a slice has up to 1,000 endpoints, by default 100."""
MOST_SLICES = 2000
WATCH_S = 240.0
"""A watch is asked to end after so long, as client-go does: its end is no fault."""
UNAUTHORIZED, GONE = 401, 410


class Expired(SourceFailed):
    """The API server has forgotten the revision that was asked for: list again."""


class Kubernetes:
    """See lbcore.discovery.engines.source.Engine."""

    def __init__(self, settings: SourceSettings) -> None:
        self.what: str = f"{settings.namespace}/{settings.service}" if settings.namespace else str(settings.service)
        self._settings = settings
        self._access: Access | None = None
        self._plugin: Plugin | None = None
        self._namespace = settings.namespace or "default"

    def endpoints(self) -> list[str]:
        """URLs of the API, as the account, the kubeconfig or the settings name it now. Raises SourceFailed."""
        self._access = access_of(self._settings)
        if self._access.plugin is not None:
            self._access.plugin.follow_on(self._plugin)
        self._plugin = self._access.plugin
        self._namespace = self._settings.namespace or self._access.namespace or "default"
        return self._access.endpoints

    async def ask(self, at: str) -> Answer:
        """What there is now. Raises SourceFailed."""
        async with self._http(at) as http:
            slices, _ = await self._list(http)
            return self._answer(slices, told=bool(slices))

    async def follow(self, at: str, ear: Ear) -> None:
        """List, then watch; and again where the API server has forgotten what was, or `resync` is over. Raises SourceFailed."""
        backoff = Backoff(0.1, 10.0)
        async with self._http(at) as http:
            while True:
                began = time.monotonic()
                slices, revision = await self._list(http)
                ear.heard(revision)
                ear.changed(lambda slices=slices: self._answer(slices, told=bool(slices)))  # type: ignore[misc]
                try:
                    await self._watch(http, slices, revision, ear, began + self._settings.resync_s)
                except Expired:
                    if time.monotonic() - began > WATCH_S / 2:
                        backoff.begin_anew()
                    await asyncio.sleep(backoff.next())

    def _http(self, at: str) -> Http:
        assert self._access is not None
        context = self._access.context() if is_over_tls(at) else None
        return Http(at, self._settings.timeout_ms / 1000, context, self._headers, self._access.server_name)

    def _headers(self) -> dict[str, str]:
        assert self._access is not None
        token = self._access.token.text()
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _answer(self, slices: dict[str, dict[str, Any]], told: bool) -> Answer:
        found, skipped = backends(slices.values(), self._settings)
        note = "" if slices else f"there is no EndpointSlice of a service {self._settings.service!r} in {self._namespace!r}"
        return Answer(found, skipped, told=told and not skipped, note=note)

    # --- list ----------------------------------------------------------------------------------------------------

    @property
    def _path(self) -> str:
        return f"/apis/discovery.k8s.io/v1/namespaces/{self._namespace}/endpointslices"

    @property
    def _selector(self) -> tuple[str, str]:
        return ("labelSelector", f"kubernetes.io/service-name={self._settings.service}")

    async def _list(self, http: Http) -> tuple[dict[str, dict[str, Any]], str]:
        """All slices by name, and the revision that they are as of. A list whose next page has expired begins again, once."""
        try:
            return await self._pages(http)
        except Refused as refusal:
            if refusal.status != GONE:
                raise
            return await self._pages(http)

    @contextlib.asynccontextmanager
    async def _allowed(self) -> AsyncIterator[None]:
        """With a token that a program tells, if one does. Of a refusal it learns that it needs another one."""
        if self._plugin is not None:
            await self._plugin.freshen()
        try:
            yield
        except Refused as refusal:
            if self._plugin is not None and refusal.status == UNAUTHORIZED:
                self._plugin.refused()
            raise

    async def _pages(self, http: Http) -> tuple[dict[str, dict[str, Any]], str]:
        slices: dict[str, dict[str, Any]] = {}
        token = ""
        for _ in range(MOST_SLICES):  # a page holds at least one
            params = [self._selector, ("limit", str(PAGE)), *([("continue", token)] if token else [])]
            async with self._allowed():
                page = (await http.get(self._path, params)).document
            try:
                for entry in page["items"] or ():
                    slices[str(entry["metadata"]["name"])] = entry
                revision, token = str(page["metadata"]["resourceVersion"]), page["metadata"].get("continue") or ""
            except (KeyError, TypeError, AttributeError):
                raise SourceFailed("the answer is no list of EndpointSlices: is it the API of Kubernetes?") from None
            if len(slices) > MOST_SLICES:
                raise SourceFailed(f"the service has more than {MOST_SLICES:,} EndpointSlices")
            if not token:
                return slices, revision
        raise SourceFailed("its list does not end")

    # --- watch ---------------------------------------------------------------------------------------------------

    async def _watch(self, http: Http, slices: dict[str, dict[str, Any]], revision: str, ear: Ear, until: float) -> None:
        """Take what changes, one watch behind the other, until this time. Raises Expired or SourceFailed."""
        while (left_s := until - time.monotonic()) > 0:
            asked_s = max(1, min(left_s, WATCH_S * random.uniform(0.75, 1.25)))
            began, before = time.monotonic(), revision
            revision = await self._one_watch(http, slices, revision, ear, asked_s)
            if revision == before and time.monotonic() - began < min(1.0, asked_s / 2):
                raise SourceFailed("it ends each watch at once")

    async def _one_watch(self, http: Http, slices: dict[str, dict[str, Any]], revision: str, ear: Ear, asked_s: float) -> str:
        params = [
            self._selector,
            ("watch", "1"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", revision),
            ("timeoutSeconds", str(round(asked_s))),
        ]
        silence_s = asked_s + self._settings.timeout_ms / 1000
        try:
            async with self._allowed(), contextlib.aclosing(http.lines(self._path, params, silence_s=silence_s)) as events:
                async for event in events:
                    revision = self._take(event, slices, ear)
        except Refused as refusal:
            raise Expired(str(refusal)) if refusal.status == GONE else refusal from None
        return revision

    def _take(self, event: Any, slices: dict[str, dict[str, Any]], ear: Ear) -> str:
        """An event of a watch: what it changes, and the revision that it is as of. Raises Expired or SourceFailed."""
        try:
            kind, entry = event["type"], event["object"]
            if kind == "ERROR":
                fault = f"the watch: {str(entry.get('message') or entry.get('reason'))[:200]}"
                if entry.get("code") == GONE:
                    raise Expired(fault)
                raise SourceFailed(fault, wait_of((entry.get("details") or {}).get("retryAfterSeconds")))
            revision = str(entry["metadata"]["resourceVersion"])
            if kind in ("ADDED", "MODIFIED"):
                slices[str(entry["metadata"]["name"])] = entry
            elif kind == "DELETED":
                slices.pop(str(entry["metadata"]["name"]), None)
        except (KeyError, TypeError, AttributeError):
            raise SourceFailed("the watch says what is no event of Kubernetes") from None
        if len(slices) > MOST_SLICES:
            raise SourceFailed(f"the service has more than {MOST_SLICES:,} EndpointSlices")
        ear.heard(revision)
        if kind != "BOOKMARK":
            ear.changed(lambda: self._answer(slices, told=True))
        return revision
