"""The address leaves a node: what the clients notice."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from bench.children import descendants
from bench.front.network import ROUTER, SHARED, network
from bench.front.nodes import Node, nodes, program, start_router
from bench.front.traffic import STEADY_S, Clients, backends, clients, long_responses

WAIT_S = 30.0
LONG = 5
IN_RESERVE = "Entering BACKUP STATE"
"""What keepalived logs."""


class Missing(Exception):
    """A program or a right that a front needs is missing."""


class Move(NamedTuple):
    """What it came to.

    moved_s: from the fault until the last client came whom the other node did not serve at once. lost: clients that were not
    served; came: all of them. whole, cut: responses of three seconds that were under way.
    """

    moved_s: float
    lost: int
    came: int
    whole: int
    cut: int


class Stage(NamedTuple):
    """Two nodes, of which `a` has the address (with BGP, both have)."""

    a: Node
    b: Node
    coming: Clients


def wait(condition: Callable[[], bool], what: str, limit_s: float = WAIT_S) -> None:
    """Raises SystemExit when it does not happen in time."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"did not happen within {limit_s:g} s: {what}")
        time.sleep(0.005)


# --- fronts ---------------------------------------------------------------------------------------------------------------


def _need(*programs: str) -> None:
    for name in programs:
        if program(name) is None:
            raise Missing(f"{name} is missing")


def _start(both: list[Node], *, handover: bool) -> None:
    waits = [node.start_lbcore() for node in both]
    for node, ready in zip(both, waits, strict=True):
        if handover:
            node.run(str(program("nft")), "-f", str(node.example("handover.nft")))
        ready()


@contextlib.contextmanager
def keepalived(*, handover: bool = False) -> Iterator[Stage]:
    """Raises Missing or NoRight. handover: with the rules of handover.nft."""
    _need("ip", "keepalived", *(["nft"] if handover else []))
    with tempfile.TemporaryDirectory() as directory, network("ab") as net, backends(net), nodes(net, Path(directory)) as (a, b):
        _start([a, b], handover=handover)
        a.start_keepalived()
        wait(lambda: has_address(a), "a has the address")
        b.start_keepalived()
        wait(lambda: IN_RESERVE in b.said("keepalived"), "b is ready to take it")
        with clients(net) as coming:
            wait(lambda: coming.served_by("a"), "a serves")
            yield Stage(a, b, coming)


@contextlib.contextmanager
def bgp(speaker: str, *, handover: bool = False) -> Iterator[Stage]:
    """speaker: "bird" or "exabgp" on the nodes; the router has BIRD, and spreads by ports. Raises Missing or NoRight."""
    _need("ip", "bird", "birdc", speaker, *(["nft"] if handover else []))
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        net = stack.enter_context(network("ab"))
        stack.enter_context(backends(net))
        a, b = stack.enter_context(nodes(net, directory))
        start_router(net, directory, stack)
        _start([a, b], handover=handover)
        for node in (a, b):
            if speaker == "bird":
                node.start_bird()
                node.start_bird_script()
            else:
                node.start_exabgp()
        both = [f"via {node.address} " for node in (a, b)]
        wait(lambda: all(word in net.ip(ROUTER, f"route show {SHARED}") for word in both), "both announce the address")
        coming = stack.enter_context(clients(net))
        wait(lambda: coming.served_by("a") and coming.served_by("b"), "both serve")
        yield Stage(a, b, coming)


def has_address(node: Node) -> bool:
    """Has keepalived given it the address?"""
    return SHARED in node.network.ip(node.name, "-4 addr show dev eth0")


# --- faults ---------------------------------------------------------------------------------------------------------------


def stop_lbcore(stage: Stage) -> None:
    """lbcore stop, or systemctl stop."""
    stage.a.stop_lbcore()


def kill_lbcore(stage: Stage) -> None:
    """kill -9 of lbcore with its workers."""
    stage.a.kill("lbcore")


def hang_workers(stage: Stage) -> None:
    """All its workers stop, as one does that waits for a disk; the control plane runs on."""
    for pid in descendants(stage.a.running["lbcore"].pid):
        os.kill(pid, signal.SIGSTOP)


def kill_keepalived(stage: Stage) -> None:
    """kill -9 of keepalived: the address stays on the dead node, too."""
    stage.a.kill("keepalived")


def kill_bird(stage: Stage) -> None:
    """kill -9 of BIRD."""
    stage.a.kill("bird")


def cut_cable(stage: Stage) -> None:
    """The node's cable is cut."""
    stage.a.network.ip(ROUTER, "link set dev a down")


def measure(stage: Stage, fault: Callable[[Stage], None], *, long: int = LONG, quiet_s: float = 4.0) -> Move:
    """Clients all the time, some with a long response under way; then the fault at `a`. quiet_s: how long is watched after `b`
    alone serves, so that clients who wait for a lost SYN come to their end."""
    with long_responses(stage.a.network, long) as slow:
        began = time.monotonic()
        fault(stage)
        wait(lambda: _is_served_by(stage.coming, stage.b.name, began), f"{stage.b.name} serves all")
        time.sleep(quiet_s)  # nothing tells that a client still waits
        wait(lambda: slow.done + len(slow.faults) == long, "long responses end")
        came = sum(attempt.ended > began for attempt in stage.coming.attempts)
        moved_s, lost = stage.coming.moved_s(began, stage.b.name), len(stage.coming.lost(began))
        return Move(moved_s, lost, came, slow.done, len(slow.faults))


def _is_served_by(coming: Clients, name: str, since: float) -> bool:
    """Did that node alone serve those who came lately?"""
    now = time.monotonic()
    late = [attempt for attempt in coming.attempts[-200:] if attempt.began > max(since, now - STEADY_S)]
    return now > since + STEADY_S and bool(late) and all(attempt.by == name for attempt in late)


def bring_back(stage: Stage) -> Stage:
    """lbcore at `a` runs again, and `a` may have the address again: the stage for a fault at `b`."""
    a = stage.a
    wait(lambda: not a.running["lbcore"].alive(), "the old lbcore ends")
    began = time.monotonic()
    states = a.said("keepalived").count(IN_RESERVE) if "keepalived" in a.running else None
    a.start_lbcore()()
    if states is None:
        wait(lambda: stage.coming.served_by(a.name, began), "it is announced again")
    else:
        wait(lambda: a.said("keepalived").count(IN_RESERVE) > states, "keepalived has it in reserve again")
    return Stage(stage.b, a, stage.coming)
