"""POST /pick and POST /release: picking without the proxy, over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lbcore.admin.bodies import BadBody, Release, parse
from lbcore.admin.held_picks import HeldPicks
from lbcore.admin.request import Refusal, Reply, Request, json_reply
from lbcore.errors import NoBackend

if TYPE_CHECKING:
    from collections.abc import Callable

    from lbcore._engine import Pick


class PickCalls:
    """Of one event loop. pick: from a pool, by key and cost. pool: the one that a caller's word means; raises BadBody."""

    def __init__(self, pick: Callable[[str, str | None, int], Pick], pool: Callable[[str | None], str]) -> None:
        self._pick = pick
        self._pool = pool
        self._held = HeldPicks()

    async def pick(self, request: Request) -> Reply:
        """A backend by the pool's policy. hold_s: it counts as in use for so long, or until POST /release."""
        pool = self._pool(request.query.get("pool"))
        hold_s = _number(request, "hold_s", 0, 3600)
        cost = int(_number(request, "cost", 1, 65_535))
        try:
            picked = self._pick(pool, request.query.get("key"), max(1, cost))
        except NoBackend as error:
            raise Refusal(503, str(error), retry_after_s=1) from None
        except OSError as error:
            raise Refusal(503, f"no more processes can pick: {error.strerror}") from None
        answer: dict[str, Any] = {"address": picked.address, "id": picked.id, "pool": pool}
        if not hold_s:
            picked.release("left")
            return json_reply(answer)
        name = self._held.keep(picked, hold_s)
        if name is None:
            picked.release("left")
            raise Refusal(503, "too many picks are held")
        return json_reply(answer | {"pick": name, "hold_s": hold_s})

    async def release(self, request: Request) -> Reply:
        """End a pick that is held, and say what came of it."""
        body = parse(await request.read(), Release)
        if not self._held.release(body.pick, body.outcome):
            raise Refusal(404, "no such pick is held: it was released, or its time is over")
        return json_reply({"status": "released"})

    def close(self) -> None:
        """Let go of all that are held."""
        self._held.close()


def _number(request: Request, name: str, default: float, most: float) -> float:
    """A number of the query. Raises BadBody."""
    text = request.query.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= most:
        raise BadBody(f"{name}: {text!r} is not allowed (allowed: a number from 0 to {most:g})", name)
    return value
