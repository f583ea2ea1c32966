"""A node with its etcd member, a backend and a client is cut off from two others, in network namespaces: each side serves."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cluster_processes import CONFIG, PREFIX, TOKEN
from etcd_members import ANY, PROGRAMS, needs_etcd
from harness import Command, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

BRIDGE = f"lbc{os.getpid() % 100_000}"
PROGRAM = Path(__file__).resolve().parent.parent / "support" / "cluster_site.py"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def may_make_networks() -> bool:
    """Has this user the right, and the tools?"""
    if shutil.which("ip") is None:
        return False
    name = f"{BRIDGE}t"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode == 0
    subprocess.run(["ip", "netns", "del", name], capture_output=True)
    return made


needs_networks = pytest.mark.skipif(not may_make_networks(), reason="network namespaces are not allowed here")


class Site:
    """A namespace with an address on a bridge that joins them, and processes in it."""

    def __init__(self, number: int, folder: Path, stack: contextlib.ExitStack) -> None:
        self.number, self.folder = number, folder / f"s{number}"
        self.folder.mkdir()
        self.space, self.link = f"{BRIDGE}s{number}", f"{BRIDGE}v{number}"
        self.ip = f"10.77.0.{number + 1}"
        self.stack = stack
        ip("netns", "add", self.space)
        stack.callback(subprocess.run, ["ip", "netns", "del", self.space], check=False, capture_output=True)
        ip("link", "add", self.link, "type", "veth", "peer", "name", "eth0", "netns", self.space)
        stack.callback(subprocess.run, ["ip", "link", "del", self.link], check=False, capture_output=True)
        ip("link", "set", self.link, "master", BRIDGE, "up")
        ip("-n", self.space, "addr", "add", f"{self.ip}/24", "dev", "eth0")
        ip("-n", self.space, "link", "set", "eth0", "up")
        ip("-n", self.space, "link", "set", "lo", "up")

    @property
    def within(self) -> list[str]:
        return ["ip", "netns", "exec", self.space]

    def run(self, *line: str, **options: Any) -> subprocess.Popen[str]:
        """A process there, ended with the site."""
        process = subprocess.Popen([*self.within, *line], text=True, **options)

        def end() -> None:
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()

        self.stack.callback(end)
        return process

    def etcd(self) -> None:
        """A member of three."""
        cluster = ",".join(f"m{number}=http://10.77.0.{number + 1}:2380" for number in range(3))
        mine = f"http://{self.ip}:2380"
        with open(self.folder / "etcd.log", "w") as log:
            self.run(
                PROGRAMS[ANY], "--name", f"m{self.number}", "--data-dir", str(self.folder / "data"), "--unsafe-no-fsync",
                "--listen-client-urls", f"http://{self.ip}:2379", "--advertise-client-urls", f"http://{self.ip}:2379",
                "--listen-peer-urls", mine, "--initial-advertise-peer-urls", mine, "--initial-cluster", cluster,
                stdout=log, stderr=log,
            )  # fmt: skip

    def balancer(self) -> Command:
        """A node of the cluster, whose endpoints begin with the member beside it."""
        order = [self.number, *(other for other in range(3) if other != self.number)]
        endpoints = json.dumps([f"http://10.77.0.{number + 1}:2379" for number in order])
        file = self.folder / "lb.toml"
        text = CONFIG.format(name=f"n{self.number}", token=TOKEN, endpoints=endpoints, prefix=PREFIX)
        text = text.replace('kind = "off"', 'kind = "tcp"\ninterval = "500ms"\ntimeout = "500ms"')
        file.write_text(text.replace("[[pool]]", '[[pool]]\nconnect_timeout = "1s"'))
        made = Command(self.folder, "-c", str(file), through=self.within)
        self.stack.callback(made.stop)
        return made

    def cut(self) -> None:
        """Off from the others."""
        ip("link", "set", self.link, "down")

    def join(self) -> None:
        ip("link", "set", self.link, "up")


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[list[Site]]:
    with contextlib.ExitStack() as stack:
        ip("link", "add", BRIDGE, "type", "bridge")
        stack.callback(subprocess.run, ["ip", "link", "del", BRIDGE], check=False, capture_output=True)
        ip("link", "set", BRIDGE, "up")
        yield [Site(number, tmp_path, stack) for number in range(3)]


def hosts(running: Command) -> set[str]:
    found = (entry for pool in running.status()["pools"] for entry in pool["backends"])
    return {entry["address"].rpartition(":")[0] for entry in found if entry["leaves_in_s"] is None}


def asked(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What a client has counted so far."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    found: dict[str, Any] = json.loads(process.stdout.readline())
    return found


@needs_etcd
@needs_networks
def test_both_sides_of_a_partition_serve_and_agree_afterwards(sites: list[Site]) -> None:
    for site in sites:
        site.etcd()
    made = [site.balancer() for site in sites]
    wait_for(lambda: all(running.status()["cluster"]["connected"] for running in made), "all are connected", 30)
    for site, running in zip(sites, made, strict=True):
        site.run(sys.executable, str(PROGRAM), "backend", site.ip, running.admin, TOKEN)
    every = {site.ip for site in sites}
    wait_for(lambda: all(hosts(running) == every for running in made), "all have all backends")
    clients = [
        site.run(
            sys.executable, str(PROGRAM), "client", *map(str, running.address), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for site, running in zip(sites, made, strict=True)
    ]
    sites[2].cut()
    wait_for(lambda: not made[2].status()["cluster"]["connected"], "the lonely node has seen it", 30)
    late = sites[0].run(sys.executable, str(PROGRAM), "backend", f"{sites[0].ip}:8081", made[0].admin, TOKEN)
    wait_for(lambda: _count(made[1]) == 4, "the larger side takes registrations")
    assert hosts(made[0]) == hosts(made[2]) == every
    before = [asked(client)["done"] for client in clients]
    wait_for(
        lambda: all(asked(client)["done"] > done for client, done in zip(clients, before, strict=True)), "both sides serve"
    )
    sites[2].join()
    wait_for(lambda: made[2].status()["cluster"]["connected"], "it is back", 30)
    wait_for(lambda: _count(made[2]) == 4, "and knows what came meanwhile")
    for client in clients:
        told = asked(client)
        assert told["failed"] == [], told
    assert late.poll() is None


def _count(running: Command) -> int:
    return sum(entry["leaves_in_s"] is None for pool in running.status()["pools"] for entry in pool["backends"])
