"""Several nodes behind one address: the examples of tools/docs/examples/front, run with the programs that they are for.

Each test makes its network namespaces and removes them. It is skipped by name where a program or the right is missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness import SLOWER, stays, wait_for
from integrity.network import own_network

from bench.front import flows, moves
from bench.front.network import ROUTER, SHARED, Network, NoRight, network
from bench.front.nodes import EXAMPLES, nodes, program
from bench.front.traffic import ask, backends
from lbcore.api.balancer import Balancer
from lbcore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

MOVED_S = 1.5
"""Goal of a kill -9, of which keepalived's check script, once a second, takes the greatest part."""


@contextlib.contextmanager
def made(names: str) -> Iterator[Network]:
    try:
        with network(names) as net:
            yield net
    except NoRight as reason:
        pytest.skip(str(reason))


@contextlib.contextmanager
def standing(front: contextlib.AbstractContextManager[moves.Stage]) -> Iterator[moves.Stage]:
    try:
        with front as stage:
            yield stage
    except (NoRight, moves.Missing) as reason:
        pytest.skip(str(reason))


# --- fail-over ------------------------------------------------------------------------------------------------------------


def kill_and_stop(stage: moves.Stage) -> None:
    """After a kill -9 others serve soon; a stop loses no client and no response under way."""
    killed = moves.measure(stage, moves.kill_lbcore, long=0, quiet_s=0)
    assert killed.moved_s < MOVED_S * SLOWER, killed
    stage = moves.bring_back(stage)
    stopped = moves.measure(stage, moves.stop_lbcore, quiet_s=0)
    assert (stopped.lost, stopped.cut, stopped.whole) == (0, 0, moves.LONG), (stopped, stage.coming.lost(0))


def test_keepalived_moves_the_address_from_a_stopped_and_from_a_killed_lbcore() -> None:
    with standing(moves.keepalived(handover=True)) as stage:
        kill_and_stop(stage)


def test_bird_withdraws_the_address_of_a_stopped_and_of_a_killed_lbcore() -> None:
    with standing(moves.bgp("bird", handover=True)) as stage:
        kill_and_stop(stage)


def test_exabgp_withdraws_the_address_of_a_stopped_and_of_a_killed_lbcore() -> None:
    with standing(moves.bgp("exabgp", handover=True)) as stage:
        kill_and_stop(stage)


# --- check scripts --------------------------------------------------------------------------------------------------------


def test_a_check_script_that_fails_in_any_way_leaves_the_address_elsewhere(tmp_path: Path) -> None:
    """One that is missing, one that is no program, and one that says no, at a node each: nobody has the address."""
    if program("keepalived") is None:
        pytest.skip("keepalived is missing")
    with made("abc") as net, nodes(net, tmp_path) as all_nodes:
        for node, lbcore in zip(all_nodes, ("/nowhere/lbcore", "/etc/passwd", "/bin/false"), strict=True):
            node.start_keepalived({"/opt/lbcore/bin/lbcore": lbcore})
        for node, status in zip(all_nodes, (127, 126, 1), strict=True):
            wait_for(lambda: f"exited with status {status}" in node.said("keepalived"), "its script has failed")  # noqa: B023
        # longer than an election takes: 3.6 adverts of 0.2 s
        stays(lambda: not any(moves.has_address(node) for node in all_nodes), "nobody has the address", 1.5)


def test_a_node_that_runs_alone_keeps_the_address_while_nothing_is_ready(tmp_path: Path) -> None:
    """Of ready_when = "workers": backends that are dead for both nodes are no reason to have the address nowhere."""
    text = (EXAMPLES / "node.toml").read_text()
    assert 'ready_when = "backends"' in text
    if program("keepalived") is None:
        pytest.skip("keepalived is missing")
    with made("ab") as net, nodes(net, tmp_path) as (a, _):  # nothing listens at the backend's address
        a.start_lbcore(places={'ready_when = "backends"': 'ready_when = "workers"'})()
        a.start_keepalived()
        wait_for(lambda: moves.has_address(a), "it has the address")


@pytest.mark.parametrize(("bind", "version"), [("tcp://192.0.2.1:0", 4), ("tcp://[2001:db8::1]:0", 6)])
def test_an_address_that_is_not_here_yet_says_what_can_be_done(bind: str, version: int) -> None:
    said = f"no interface has this address .*net.ipv{version}.ip_nonlocal_bind=1"
    with own_network(), pytest.raises(ConfigError, match=said), Balancer(listen=bind, backends=["127.0.0.1:1"]):
        pass


# --- routers --------------------------------------------------------------------------------------------------------------

AS_WRITTEN = {"10.77.0.11": "10.77.0.11", "10.77.0.12": "10.77.0.12"}


def test_a_resilient_group_moves_only_the_connections_of_a_node_that_leaves() -> None:
    with made("abc") as net:
        try:
            flows.tell(net, "up")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no resilient groups of next hops here: {error.stderr.decode().strip()}")
        before = flows.ways(net)
        assert len(set(before)) == 3
        flows.tell(net, "leave", "3")
        during = flows.ways(net)
        assert flows.moved(before, during, gone=net.address("c")) == 0
        assert net.address("c") not in during
        flows.tell(net, "return", "3")
        assert flows.ways(net) == during, "connections that are in use stay"


def test_the_proxy_protocol_tells_the_inner_tier_who_the_client_is(tmp_path: Path) -> None:
    with made("ab") as net, backends(net), nodes(net, tmp_path) as (outer, inner):
        inner.start_lbcore("inner.toml", places=AS_WRITTEN)()
        outer.start_lbcore("outer.toml", places=AS_WRITTEN)()
        net.ip(ROUTER, f"route add {SHARED} via {outer.address}")

        def told(address: tuple[str, int]) -> str:
            with net.entered("client"):
                return asyncio.run(ask("/", address))

        assert told((SHARED, 8080)) == "b 10.77.1.2"
        assert told((inner.address, 8080)) == "b 10.77.1.2", "a client that comes directly is believed nothing, and served"


# --- the files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("*.sh")), ids=lambda path: path.stem)
def test_scripts_are_of_any_posix_shell(script: Path) -> None:
    subprocess.run(["sh", "-n", str(script)], check=True)
    assert script.read_text().startswith("#!/bin/sh\n")
    assert script.stat().st_mode & 0o111


@pytest.mark.parametrize(
    "words",
    [
        ["keepalived", "--config-test", "-f", "keepalived.conf"],
        ["bird", "-p", "-c", "bird.conf"],
        ["bird", "-p", "-c", "bird-router.conf"],
        ["nft", "--check", "-f", "handover.nft"],
    ],
    ids=lambda words: words[-1],
)
def test_a_file_passes_its_programs_own_check_as_it_stands(words: list[str]) -> None:
    path = program(words[0])
    if path is None:
        pytest.skip(f"{words[0]} is missing")
    with own_network():
        subprocess.run(["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "other"], check=True)
        done = subprocess.run([path, *words[1:]], cwd=EXAMPLES, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_bird_script_leaves_nothing_announced_when_it_is_stopped(tmp_path: Path) -> None:
    if program("bird") is None:
        pytest.skip("bird is missing")
    with made("ab") as net, backends(net), nodes(net, tmp_path) as (a, _):

        def state() -> str:
            with contextlib.suppress(subprocess.CalledProcessError):
                return a.run("birdc", "-s", f"{a.directory}/bird.ctl", "show", "protocols", "front").splitlines()[-1].split()[3]
            return ""

        a.start_bird()
        wait_for(lambda: state() == "down", "nothing is announced before lbcore runs")
        a.start_lbcore()()
        a.start_bird_script()
        wait_for(lambda: state() == "up", "it is announced")
        a.kill("bird")
        a.start_bird()
        wait_for(lambda: state() == "up", "a BIRD that was started anew is told again")
        a.running["announce"].stop()
        assert state() == "down"
        a.run("birdc", "-s", f"{a.directory}/bird.ctl", "enable", "front")
        unit = (EXAMPLES / "announce-bird.service").read_text()
        end = re.search(r"^ExecStopPost=-/usr/sbin/birdc (.+)$", unit, re.MULTILINE)
        assert end is not None
        a.run("birdc", "-s", f"{a.directory}/bird.ctl", *end[1].split())
        assert state() == "down", "what the unit does after a script that was killed"
