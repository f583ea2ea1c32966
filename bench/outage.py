"""`python -m bench.outage`: what the control plane costs while all of its backends are dead: CPU, and lines of its log.

500 backends that refuse connections are probed once a second; compare with the same number that accept. CPU is that of all
threads of the control plane's process (schedstat), after a warm-up in which the outage is found.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import ready
from bench.measure import cpu_ns
from bench.origin import loopback

CONFIG = """\
workers = 1
[[listener]]
bind = "tcp://127.0.0.1:0"
[[pool]]
[pool.probe]
kind = "{probe}"
interval = "1s"
timeout = "500ms"
"""
WARM_UP_S = 8.0


def measure(count: int, seconds: float, probe: str, *, alive: bool) -> str:
    """One balancer: a line."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        server = stack.enter_context(socket.socket())
        server.bind(("0.0.0.0", 0))
        if alive:
            server.listen(4096)
        config, log = Path(directory) / "lb.toml", Path(directory) / "log"
        backends = "".join(
            f'[[pool.backend]]\naddress = "{host}:{port}"\n' for host, port in loopback(count, server.getsockname()[1])
        )
        config.write_text(CONFIG.format(probe=probe) + backends)
        command = [sys.executable, "-m", "lbcore", "run", "-c", str(config)]
        environment = {**os.environ, "LBCORE_RUNTIME_DIR": directory}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log.open("w"), text=True, env=environment)
        stack.callback(process.wait, 30)
        stack.callback(process.terminate)
        ready.words(process)
        time.sleep(WARM_UP_S)
        before, lines, began = cpu_ns([process.pid]), len(log.read_text().splitlines()), time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - began
        share = 100 * (cpu_ns([process.pid]) - before) / (took * 1e9)
        told = len(log.read_text().splitlines()) - lines
        what = "accept" if alive else "refuse"
        return f"{count} backends that {what}, {probe} probes: {share:.1f}% of a core, {told} lines logged in {took:.0f} s"


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(
        "python -m bench.outage", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--backends", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=15.0)
    arguments = parser.parse_args()
    for probe, alive in (("tcp", False), ("tcp", True), ("http", False)):
        print(measure(arguments.backends, arguments.seconds, probe, alive=alive), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
