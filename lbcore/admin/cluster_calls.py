"""What operators order of a whole cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lbcore.admin.bodies import DrainNode, parse
from lbcore.admin.request import Refusal, Reply, Request, json_reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from lbcore.admin.authorization import Authorization


class ClusterCalls:
    """drain: of a node, None: this one; its name. None: this balancer is in no cluster."""

    def __init__(self, authorization: Authorization, drain: Callable[[str | None, bool], str] | None) -> None:
        self._authorization, self._drain = authorization, drain

    async def drain_node(self, request: Request) -> Reply:
        """POST /cluster/drain-node."""
        self._authorization.check_operator(request)
        body = parse(await request.read() or b"{}", DrainNode)
        if self._drain is None:
            raise Refusal(409, "this balancer is in no cluster ([cluster] in its configuration)")
        try:
            node = self._drain(body.node, not body.undo)
        except ValueError as error:
            raise Refusal(404, str(error)) from None
        return json_reply({"node": node, "drained": not body.undo})
