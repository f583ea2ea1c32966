"""Counters of a balancer only grow, whoever its control plane is: over reloads, an upgrade, a crash and an adoption."""

from __future__ import annotations

import http.client
import os
import signal
from pathlib import Path

from harness import Command, free_port, wait_for
from http_peers import Backend
from orphans import kill_control

Figures = dict[str, float]

OWN = {
    "registrations": 2,
    "heartbeats": 3,
    'reloads{result="taken"}': 1,
    'reloads{result="refused"}': 1,
    'admin_refused{status="422"}': 2,
    "access_log_lines": 4,
}
"""What each stage of the test adds to the control plane's counters."""


def counters(running: Command) -> Figures:
    """All that may only grow, by name and labels."""
    host, port = running.admin.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    connection.request("GET", "/metrics")
    lines = [line.rpartition(" ") for line in connection.getresponse().read().decode().splitlines() if line[0] != "#"]
    connection.close()
    grows = ("_total", "_count", "_sum", "_bucket")
    return {name: float(value) for name, _, value in lines if name.partition("{")[0].endswith(grows)}


def total(name: str) -> str:
    """As the text has it."""
    family, brace, labels = name.partition("{")
    return f"lbcore_{family}_total{brace}{labels}"


class Watched:
    """The figures of one balancer through all its lives."""

    def __init__(self) -> None:
        self.most: Figures = {}
        self.stages = 0

    def look(self, running: Command) -> Figures:
        """What stands there now; nothing may have fallen."""
        found = counters(running)
        fallen = {name: (before, found[name]) for name, before in self.most.items() if found.get(name, before) < before}
        assert not fallen
        gone = {name for name in self.most if name not in found and "worker_cpu" not in name}  # a worker that has ended
        assert not gone
        self.most.update(found)
        return found

    def is_reached(self, running: Command) -> bool:
        """Has everything been counted that was done in all stages?"""
        found = self.look(running)
        return {name: found.get(total(name), 0) for name in OWN} == {name: n * self.stages for name, n in OWN.items()}


def test_no_counter_falls_over_reload_upgrade_and_adoption(tmp_path: Path) -> None:
    config, ports = tmp_path / "lb.toml", [free_port(), free_port()]
    with Backend() as backend:
        text = (
            f'name = "shop"\nworkers = 1\ndrain_timeout = "1s"\naccess_log = "{tmp_path}/access.log"\n'
            f'[admin]\nlisten = "127.0.0.1:{ports[0]}"\n[[listener]]\nbind = "http://127.0.0.1:{ports[1]}"\npool = "p0"\n'
        )

        def write(pools: int, more: str = "") -> None:
            probed = f'[pool.probe]\ninterval = "100ms"\n[[pool.backend]]\naddress = "{backend.address}"\n'
            config.write_text(text + "".join(f'[[pool]]\nname = "p{at}"\n{probed}' for at in range(pools)) + more)

        def use(running: Command, watched: Watched, pools: int) -> None:
            """Everything once that is counted, and a reload that adds a pool."""
            for port in (1, 2):
                me = {"server_ip": "127.0.0.1", "port": port, "pool": "p0"}
                assert running.call("/register", **me, status="ready")[0] in (200, 201)
                assert running.call("/register", server_ip=7)[0] == 422
                assert running.call("/heartbeat", **me, status="draining")[0] == 200
            assert running.call("/heartbeat", **me, status="draining")[0] == 200
            write(pools, "nonsense = 1\n")
            assert running.call("/reload")[0] == 422
            write(pools)
            assert running.call("/reload")[0] == 200
            for _ in range(OWN["access_log_lines"]):
                connection = http.client.HTTPConnection("127.0.0.1", ports[1], timeout=10)
                connection.request("GET", "/")
                assert connection.getresponse().read() is not None
                connection.close()
            watched.stages += 1
            wait_for(lambda: watched.is_reached(running), f"stage {watched.stages} is counted")

        write(1)
        watched, words = Watched(), ("-c", str(config), "--workers", "1", "--admin", f"127.0.0.1:{ports[0]}")
        first = Command(tmp_path, *words)
        use(first, watched, pools=2)
        assert first.cli("upgrade", "--name", "shop").returncode == 0
        watched.look(first)
        use(first, watched, pools=3)
        kill_control(first, 1)
        second = Command(tmp_path, *words)
        watched.look(second)
        use(second, watched, pools=4)
        assert second.cli("upgrade", "--name", "shop").returncode == 0
        watched.look(second)
        os.kill(second.status()["workers"][-1]["pid"], signal.SIGKILL)
        use(second, watched, pools=5)
        assert watched.most[total('probes{result="good"}')] > 10
        assert second.stop() == 0
