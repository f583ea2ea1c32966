"""What the control plane of a running balancer knows of its cluster; shared memory has nothing of it."""

from __future__ import annotations

from typing import Any

from lbcore.client.registration import AdminClient
from lbcore.control import runtime
from lbcore.errors import LbcoreError

LIMIT_S = 2.0


def of_balancer(name: str) -> dict[str, Any] | None:
    """The part `cluster` of the status document; None: it is in no cluster. Raises NotRunning or LbcoreError."""
    word = runtime.find(name)
    if not word.get("cluster"):
        return None
    try:
        code, answer = AdminClient(f"unix:{word['control']}", timeout=LIMIT_S).call("GET", "/status")
    except OSError as error:
        raise LbcoreError(f"{name}: its control socket does not respond: {error}") from None
    if code != 200:
        raise LbcoreError(str(answer.get("error", f"status {code}")))
    found: dict[str, Any] | None = answer.get("cluster")
    return found
