"""What only the control plane of a running balancer knows: of its cluster, and of sources of backends."""

from __future__ import annotations

from typing import Any

from lbcore.client.admin_client import AdminClient
from lbcore.control import runtime
from lbcore.errors import LbcoreError

LIMIT_S = 2.0
SOURCES_LIMIT_S = 1.0
"""How long the control plane may take to tell of sources: the rest is shown all the same."""


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


def sources(word: dict[str, Any]) -> dict[str, list[dict[str, Any]]] | None:
    """By pool, how its sources are doing. word: what `runtime.find` says of the balancer. None: the control plane does not
    respond."""
    if not word.get("sources"):
        return {}
    try:
        code, answer = AdminClient(f"unix:{word['control']}", timeout=SOURCES_LIMIT_S).call("GET", "/status")
    except OSError:
        return None
    return {pool["name"]: pool.get("sources", []) for pool in answer["pools"]} if code == 200 else None
