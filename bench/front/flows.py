"""Which next hop the router's kernel takes for each of many connections."""

from __future__ import annotations

import subprocess
import time

from bench.front.network import CLIENT, PORT, ROUTER, SHARED, Network
from bench.front.nodes import EXAMPLES

COUNT = 200
JIFFIES_S = 0.03
"""A bucket of a resilient group that is used within the jiffy in which it was given to a next hop counts as never used."""


def tell(network: Network, *words: str) -> None:
    """resilient.sh at the router. Raises CalledProcessError."""
    subprocess.run([*network.inside(ROUTER), str(EXAMPLES / "resilient.sh"), *words], check=True, capture_output=True)


def ways(network: Network) -> list[str]:
    """The next hop of each of 200 connections, as `ip route get` says. Raises SystemExit when one has none."""
    asked = "".join(
        f"route get {SHARED} from 10.77.1.2 iif {CLIENT} ipproto tcp sport {20000 + at} dport {PORT}\n" for at in range(COUNT)
    )
    time.sleep(JIFFIES_S)
    line = ["ip", "-n", network.space(ROUTER), "-batch", "-"]
    said = subprocess.run(line, input=asked, capture_output=True, text=True, check=True).stdout
    found = [row.split("via ")[1].split()[0] for row in said.splitlines() if "via " in row]
    if len(found) != COUNT:
        raise SystemExit(f"connections without a next hop: {said}")
    return found


def plain(network: Network, names: str) -> None:
    """An ordinary route with several next hops, to these nodes."""
    hops = " ".join(f"nexthop via {network.address(name)}" for name in names)
    network.ip(ROUTER, f"route replace {SHARED}/32 {hops}")


def moved(before: list[str], after: list[str], gone: str = "") -> int:
    """How many connections go elsewhere. gone: the address of a node whose own connections do not count."""
    return sum(then != now and then != gone for then, now in zip(before, after, strict=True))
