"""A node: lbcore, and what announces the shared address, with the configurations of tools/docs/examples/front."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from bench.children import Child, descendants
from bench.front.network import ROUTER, Network
from bench.front.traffic import FIRST_PORT

EXAMPLES = Path(__file__).resolve().parents[2] / "tools/docs/examples/front"
LBCORE = Path(sys.executable).with_name("lbcore")
START_S = 20.0


def program(name: str) -> str | None:
    """Where a program is."""
    return shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin")


def version_of(name: str) -> str:
    """What a program says of its version, in one line."""
    flag = {"exabgp": "version", "keepalived": "--version"}.get(name, "--version")
    done = subprocess.run([str(program(name)), flag], capture_output=True, text=True)
    found = re.search(r"\d+\.\d+(\.\d+)*", done.stdout + done.stderr)
    return f"{name} {found[0] if found else 'of an unknown version'}"


class Node:
    """One of them. stack: ends what it starts."""

    def __init__(self, network: Network, name: str, directory: Path, stack: contextlib.ExitStack) -> None:
        self.network, self.name, self.stack = network, name, stack
        self.directory = directory / name
        self.directory.mkdir()
        self.address = network.address(name)
        self._at = network.names.index(name)
        self.running: dict[str, Child] = {}

    def example(self, name: str, more: Mapping[str, str] | None = None) -> Path:
        """A file of the examples, with this node's addresses, numbers and paths in place of those of the first node. more: what
        else stands there, and what takes its place."""
        text = (EXAMPLES / name).read_text()
        names = self.network.names
        places = {
            "10.77.0.11": self.address,
            "10.77.0.12": self.network.address(names[1] if self._at == 0 else names[0]),
            "65011": str(65011 + self._at),
            f"10.77.0.1:{FIRST_PORT}": f"10.77.0.1:{FIRST_PORT + self._at}",
            "priority 254": f"priority {254 - self._at}",
            "/opt/lbcore/bin/lbcore": str(LBCORE),
            "/etc/exabgp/": f"{self.directory}/",
            "birdc ": f"birdc -s {self.directory}/bird.ctl ",
            **(more or {}),
        }
        text = re.sub("|".join(map(re.escape, sorted(places, key=len, reverse=True))), lambda found: places[found[0]], text)
        path = self.directory / name
        path.write_text(text)
        path.chmod((EXAMPLES / name).stat().st_mode)
        return path

    def start(self, name: str, *words: str, env: dict[str, str] | None = None) -> Child:
        """A program in this node's network, until the stack ends or it is ended."""
        environment = {"LBCORE_RUNTIME_DIR": str(self.directory / "run"), **(env or {})}
        child = Child([*self.network.inside(self.name), *words], self.directory / f"{name}.log", env=environment)
        self.running[name] = child
        self.stack.callback(child.stop)
        self.stack.callback(self.kill, name)  # first: lbcore would take its drain_delay
        return child

    def said(self, name: str) -> str:
        """What a program has logged."""
        return (self.directory / f"{name}.log").read_text(errors="replace")

    def run(self, *words: str) -> str:
        """What a command prints there. Raises CalledProcessError."""
        done = subprocess.run([*self.network.inside(self.name), *words], check=True, capture_output=True, text=True)
        return done.stdout

    # --- lbcore ---------------------------------------------------------------------------------------------------

    def start_lbcore(self, example: str = "node.toml", places: Mapping[str, str] | None = None) -> Callable[[], None]:
        """With the shared address on lo. Returns what waits until it is ready."""
        self.run(str(self.example("address.sh")))
        child = self.start("lbcore", str(LBCORE), "run", "-c", str(self.example(example, places)), "--workers", "1")

        def ready() -> None:
            assert child.read_line(START_S).startswith("lbcore ready ")

        return ready

    def stop_lbcore(self) -> None:
        """As `systemctl stop` does: returns at once."""
        os.kill(self.running["lbcore"].pid, signal.SIGTERM)

    def kill(self, name: str) -> None:
        """kill -9 of a program and all that it started, at once: none sees another one go, to replace it or to say goodbye."""
        pid = self.running[name].pid
        if not self.running[name].alive():
            return
        os.kill(pid, signal.SIGSTOP)
        for each in (*descendants(pid), pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)

    # --- what announces the address -------------------------------------------------------------------------------

    def start_keepalived(self, places: Mapping[str, str] | None = None) -> None:
        """With its VRRP process alone, in the foreground."""
        path, base = self.example("keepalived.conf", places), self.directory
        flags = ["--vrrp", "--dont-fork", "--log-console", "--no-syslog", "-p", f"{base}/kd.pid", "-r", f"{base}/vrrp.pid"]
        self.start("keepalived", str(program("keepalived")), *flags, "-f", str(path))

    def start_bird(self, config: str = "bird.conf") -> None:
        """From when it is told nothing: its protocol `front` is disabled."""
        self.start("bird", str(program("bird")), "-f", "-c", str(self.example(config)), "-s", f"{self.directory}/bird.ctl")

    def start_bird_script(self) -> None:
        self.start("announce", str(self.example("announce-bird.sh")))

    def start_exabgp(self) -> None:
        """With its helper, which it starts itself."""
        self.example("announce-exabgp.sh")
        env = {"exabgp_api_ack": "false", "exabgp_daemon_user": "root", "exabgp_tcp_bind": "", "exabgp_log_enable": "true"}
        self.start("exabgp", str(program("exabgp")), "server", str(self.example("exabgp.conf")), env=env)


@contextlib.contextmanager
def nodes(network: Network, directory: Path) -> Iterator[list[Node]]:
    """One for each name; nothing runs in them yet, and nothing does after the block."""
    with contextlib.ExitStack() as stack:
        yield [Node(network, name, directory, stack) for name in network.names]


def start_router(network: Network, directory: Path, stack: contextlib.ExitStack) -> Path:
    """BIRD at the router, with ports hashed: the path of its control socket."""
    network.set(ROUTER, "net.ipv4.fib_multipath_hash_policy=1")
    control = directory / "router.ctl"
    words = [str(program("bird")), "-f", "-c", str(EXAMPLES / "bird-router.conf"), "-s", str(control)]
    child = Child([*network.inside(ROUTER), *words], directory / "router.log")
    stack.callback(child.stop)
    return control
