"""The calls of interface "Admin endpoints": which there are, who may make them, and what is replied, also when they fail."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from lbcore.admin.bodies import BadBody
from lbcore.admin.cluster_calls import ClusterCalls
from lbcore.admin.dashboard import page
from lbcore.admin.limits import Refusals
from lbcore.admin.operator_calls import OperatorCalls
from lbcore.admin.picks import PickCalls
from lbcore.admin.registrations import Registrations
from lbcore.admin.request import LOOKS, OF_BACKENDS, Refusal, Reply, Request, json_reply
from lbcore.errors import LbcoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lbcore._engine import Pick
    from lbcore.admin.authorization import Authorization
    from lbcore.admin.bodies import UpgradeCall
    from lbcore.discovery.membership import Membership

    Handler = Callable[[Request], Awaitable[Reply]]


class Calls:
    """Of one event loop. handlers: each with its method and path; a path may end with {verb}.

    status, metrics, ready, reload, upgrade, drain_node, pick: what the balancer answers.
    """

    def __init__(
        self,
        authorization: Authorization,
        membership: Membership,
        *,
        status: Callable[[], dict[str, Any]],
        metrics: Callable[[bool], bytes],
        ready: Callable[[], tuple[bool, str, dict[str, Any]]],
        reload: Callable[[], None],
        upgrade: Callable[[UpgradeCall], str] | None,
        drain_node: Callable[[str | None, bool], str] | None,
        pick: Callable[[str, str | None, int], Pick],
        log: Callable[[str], None],
    ) -> None:
        self._status, self._ready, self._render_metrics, self._log = status, ready, metrics, log
        self._refusals = Refusals(log, membership.count)
        self._authorization = authorization
        self._registrations = Registrations(membership, authorization)
        self._picks = PickCalls(pick, self._registrations.pool)
        operator = OperatorCalls(membership, authorization, pool=self._registrations.pool, reload=reload, upgrade=upgrade)
        looks = (self._healthz, self._readyz, self._get_status, self._backends, self._metrics)
        self._looks: dict[str, Handler] = dict(zip(LOOKS, looks, strict=True))
        self.handlers: list[tuple[str, str, Handler]] = [
            *(("POST", path, self._of_a_backend) for path in OF_BACKENDS),
            ("GET", "/", self._dashboard),
            *(("GET", path, look) for path, look in self._looks.items()),
            ("POST", "/pick", self._picks.pick),
            ("POST", "/release", self._picks.release),
            ("POST", "/backends/{verb}", operator.backend),
            ("POST", "/reload", operator.reload),
            ("POST", "/upgrade", operator.upgrade),
            ("POST", "/cluster/drain-node", ClusterCalls(authorization, drain_node).drain_node),
        ]

    def close(self) -> None:
        """Let go of what callers hold."""
        self._picks.close()

    def failed(self, request: Request, error: Exception) -> Reply:
        """What is replied instead."""
        if isinstance(error, Refusal):
            if error.status in (401, 403, 429):
                self._refusals.note(error.status, request.caller, request.path, str(error))
            return json_reply(error.body, error.status, error.headers)
        if isinstance(error, BadBody):
            self._refusals.note(422, request.caller, request.path, str(error))
            return json_reply({"error": str(error), "key": error.key}, 422)
        self._log(f"admin: {request.method} {request.path}: {error!r}")
        return json_reply({"error": "internal error"}, 500)

    # --- backends ------------------------------------------------------------------------------------------------

    def answer_backend(self, request: Request, data: bytes) -> Reply:
        """To a call of OF_BACKENDS whose body is here."""
        try:
            self._authorization.check(request)
            return self._registered(request, data)
        except Exception as error:
            return self.failed(request, error)

    async def _of_a_backend(self, request: Request) -> Reply:
        return self._registered(request, await request.read())

    def _registered(self, request: Request, data: bytes) -> Reply:
        status, document = self._registrations.answer(request, data)
        return json_reply(document, status)

    # --- looking -------------------------------------------------------------------------------------------------

    async def answer_look(self, request: Request) -> Reply:
        """To a call of LOOKS."""
        try:
            self._authorization.check(request)
            return await self._looks[request.path](request)
        except Exception as error:
            return self.failed(request, error)

    async def _dashboard(self, request: Request) -> Reply:
        return Reply(200, *page())

    async def _backends(self, request: Request) -> Reply:
        return json_reply({"pools": self.document()["pools"]})

    async def _get_status(self, request: Request) -> Reply:
        return json_reply(self.document())

    def document(self) -> dict[str, Any]:
        """The status document. Raises Refusal."""
        try:
            return self._status()
        except LbcoreError as error:
            raise Refusal(503, str(error)) from None

    async def _healthz(self, request: Request) -> Reply:
        return json_reply({"status": "ok"})

    async def _readyz(self, request: Request) -> Reply:
        ready, reason, known = self._ready()
        return json_reply({"ready": ready, "reason": reason, **known}, 200 if ready else 503)

    async def _metrics(self, request: Request) -> Reply:
        from lbcore.observe.metrics import CONTENT_TYPE, OPENMETRICS_TYPE, wants_openmetrics

        new = wants_openmetrics(request.fields.get("Accept", ""))
        try:  # in a thread: heartbeats do not wait for a scrape of a thousand backends
            body = await asyncio.to_thread(self._render_metrics, new)
        except LbcoreError as error:
            raise Refusal(503, str(error)) from None
        return Reply(200, body, {"Content-Type": OPENMETRICS_TYPE if new else CONTENT_TYPE})
