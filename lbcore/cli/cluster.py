"""lbcore cluster: the nodes of a cluster and the store, as a running balancer sees them."""

from __future__ import annotations

import json
from typing import Any

from lbcore.cli.contact import of_balancer
from lbcore.cli.control import call
from lbcore.cli.show import table
from lbcore.errors import LbcoreError


def status(name: str, as_json: bool) -> int:
    """Print it: 0, or 1 without contact to the store. Raises NotRunning or LbcoreError."""
    found = of_balancer(name)
    if found is None:
        raise LbcoreError(f"{name} is in no cluster ([cluster] in its configuration)")
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        _print(found)
    return 0 if found["connected"] else 1


def _print(found: dict[str, Any]) -> None:
    contact = "connected" if found["connected"] else f"NOT CONNECTED: {found['error'] or 'not yet'}"
    drained = ", drained" if found["drained"] else ""
    print(f"node {found['node']}{drained}: {found['kind']} {found['prefix']}: {contact}")
    seen = "never" if found["last_contact_s"] is None else f"{found['last_contact_s']:.1f} s ago"
    print(
        f"last contact {seen}, revision {found['revision']}, lag {found['lag_s'] * 1000:.0f} ms; "
        f"{found['registrations']} registrations, {found['heard']} heard here, {found['unwritten']} not written yet, "
        f"{found['ignored']} keys ignored"
    )
    print(f"trust {found['trust']}: {found['reports']['used']} loads of other nodes used, {found['reports']['sent']} sent")
    table(
        ("node", "address", "version", "for s", "drained"),
        [
            (node["name"], node["address"], node["version"], f"{node['since_s']:.0f}", "yes" if node["draining"] else "")
            for node in found["nodes"]
        ],
    )


def drain_node(name: str, node: str | None, *, undo: bool) -> int:
    """Order it and say what was ordered. Raises NotRunning or LbcoreError."""
    answer = call(name, "/cluster/drain-node", {"undo": undo} | ({"node": node} if node else {}))
    print(f"node {answer['node']}: {'drained' if answer['drained'] else 'serves again'}")
    return 0
