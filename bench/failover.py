"""`python -m bench.failover`: several nodes behind one address: how soon it moves, and what clients lose. Writes
bench/results/failover.md.

It runs the examples of tools/docs/examples/front in network namespaces. It takes root, and iproute2, keepalived, bird2 and
nftables (apt-get install), and exabgp (pip install).
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

from bench.front import flows, moves
from bench.front.moves import Move, Stage
from bench.front.network import ROUTER, Network, NoRight, network
from bench.front.nodes import version_of
from bench.pages import command, shown

PAGE = Path(__file__).resolve().parent / "results" / "failover.md"
HEAD = """\
# Fail-over

`python -m bench.failover`: two nodes behind one address, with the files of
`tools/docs/examples/front`; [One address for several nodes](../../tools/docs/front.md) says
what they are for. All in network namespaces of one machine, {rounds} rounds each, fresh in each round. The load average was
{load:.1f} at the start. {versions}.

A client comes every 5 ms with one connection and one request, and five clients are in the middle of a response of three
seconds. *Moved*: seconds from the fault until the last client came whom the other node did not serve at once, before it
served all for 0.3 s: median (least..greatest). *Lost*: clients that were not served, in all rounds, of those that came.
*Long*: long responses that were cut, of those under way; with BGP, about half of them are at the node that fails.

| in front | what happens | moved | lost | long |
| --- | --- | --- | --- | --- |
"""
FLOWS = """
## Connections that a router moves

{count} connections over equal routes, hashed by address and port (`fib_multipath_hash_policy=1`), as `ip route get` says. When
a node leaves, its own connections are not counted; when it returns, all are. They were used within the group's `idle_timer`.

| routes | nodes | moved when one leaves | moved when it returns |
| --- | --- | --- | --- |
"""
Front = Callable[[], contextlib.AbstractContextManager[Stage]]
BY_KEEPALIVED: tuple[str, Front] = ("keepalived, handover.nft", lambda: moves.keepalived(handover=True))
BY_BIRD: tuple[str, Front] = ("BIRD with BFD, handover.nft", lambda: moves.bgp("bird", handover=True))
BY_EXABGP: tuple[str, Front] = ("ExaBGP, handover.nft", lambda: moves.bgp("exabgp", handover=True))
CASES: tuple[tuple[tuple[str, Front], str, Callable[[Stage], None]], ...] = (
    (BY_KEEPALIVED, "lbcore is stopped", moves.stop_lbcore),
    (("keepalived alone", moves.keepalived), "lbcore is stopped", moves.stop_lbcore),
    (BY_KEEPALIVED, "kill -9 of lbcore", moves.kill_lbcore),
    (BY_KEEPALIVED, "all workers hang", moves.hang_workers),
    (BY_KEEPALIVED, "kill -9 of keepalived", moves.kill_keepalived),
    (BY_KEEPALIVED, "the cable is cut", moves.cut_cable),
    (BY_BIRD, "lbcore is stopped", moves.stop_lbcore),
    (("BIRD alone", lambda: moves.bgp("bird")), "lbcore is stopped", moves.stop_lbcore),
    (BY_BIRD, "kill -9 of lbcore", moves.kill_lbcore),
    (BY_BIRD, "kill -9 of BIRD", moves.kill_bird),
    (BY_BIRD, "the cable is cut", moves.cut_cable),
    (BY_EXABGP, "lbcore is stopped", moves.stop_lbcore),
    (BY_EXABGP, "kill -9 of lbcore", moves.kill_lbcore),
    (BY_EXABGP, "the cable is cut", moves.cut_cable),
)


def measured(front: Front, fault: Callable[[Stage], None]) -> Move:
    """One round. Raises SystemExit where it cannot run."""
    try:
        with front() as stage:
            return moves.measure(stage, fault)
    except (NoRight, moves.Missing) as reason:
        raise SystemExit(str(reason)) from None


def row(front: str, event: str, found: list[Move]) -> str:
    """A row of the page."""
    lost, came = sum(move.lost for move in found), sum(move.came for move in found)
    cut, long = sum(move.cut for move in found), sum(move.cut + move.whole for move in found)
    return (
        f"| {front} | {event} | {shown([move.moved_s for move in found], '.2f')} | {lost:,} of {came:,} | {cut} of {long} |\n"
    )


def flow_rows() -> str:
    """Of ordinary routes and resilient groups, of three nodes and of two."""
    rows = []
    with network("abc") as net:
        net.set(ROUTER, "net.ipv4.fib_multipath_hash_policy=1")
        for names in ("abc", "ab"):
            rows.append(_flow_row(f"ordinary | {len(names)}", net.address(names[-1]), _plain_ways(net, names)))
        flows.tell(net, "up")
        for groups in (["1 2 3", "1 2", "1 2 3"], ["1 2", "1", "1 2"]):
            ways = []
            net.ip(ROUTER, f"nexthop replace id 10 group {groups[0].replace(' ', '/')} type resilient buckets 128")
            for group in groups:
                net.ip(ROUTER, f"nexthop replace id 10 group {group.replace(' ', '/')} type resilient")
                ways.append(flows.ways(net))
            count = len(groups[0].split())
            rows.append(_flow_row(f"resilient group | {count}", net.address("abc"[count - 1]), ways))
    return "".join(rows)


def _plain_ways(net: Network, names: str) -> list[list[str]]:
    ways = []
    for present in (names, names[:-1], names):
        flows.plain(net, present)
        ways.append(flows.ways(net))
    return ways


def _flow_row(what: str, gone: str, ways: list[list[str]]) -> str:
    before, during, after = ways
    return f"| {what} | {flows.moved(before, during, gone)} | {flows.moved(during, after)} |\n"


def page(rounds: int) -> str:
    """Measure everything, interleaved: the text."""
    versions = ", ".join(
        [f"Linux {platform.release()}", *(version_of(name) for name in ("keepalived", "bird", "exabgp", "nft"))]
    )
    head = HEAD.format(rounds=rounds, versions=versions, load=os.getloadavg()[0])
    found: list[list[Move]] = [[] for _ in CASES]
    for _ in range(rounds):
        for moved, ((name, front), event, fault) in zip(found, CASES, strict=True):
            moved.append(measured(front, fault))
            print(f"{name}: {event}: {moved[-1]}", flush=True)
    rows = "".join(row(name, event, moved) for moved, ((name, _), event, _) in zip(found, CASES, strict=True))
    return head + rows + FLOWS.format(count=flows.COUNT) + flow_rows()


def main() -> int:
    """The exit code."""
    return command("bench.failover", __doc__, page, PAGE, count="rounds", default=3, of="rounds each")


if __name__ == "__main__":
    sys.exit(main())
