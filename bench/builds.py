"""`python -m bench.builds OLD NEW`: two builds of lbcore in one run: CPU per request of their workers, and what a start costs.

OLD and NEW are interpreters, each of an environment that has one build installed. Rounds take turns, and the ratio is that of
one round: the median of all, with the least and the greatest. CPU is that of the worker's threads (schedstat). A start is the
CPU of all processes to the ready line, and their proportional memory half a second later. An import is the CPU of an
interpreter that does nothing else. Both find Python's byte code made, as after an installation.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench import origin, ready
from bench.certificate import made_in
from bench.children import descendants, running
from bench.load import Address, Datagrams, Wrk
from bench.measure import cpu_ns

CERTIFICATE = '[[listener.certificate]]\ncert = "{both}"\n'
CONFIG = """\
name = "{name}"
workers = 1
[[listener]]
bind = "{mode}://127.0.0.1:0"
{certificate}
[[pool]]
[pool.probe]
kind = "off"
[[pool.backend]]
address = "{host}:{port}"
"""
LOADS: dict[str, Wrk | Datagrams] = {
    "tcp": Wrk("/", 32),
    "http": Wrk("/", 32),
    "https": Wrk("/", 32, tls=True),
    "udp": Datagrams(32, 64),
}


@dataclass
class Build:
    """A build that serves: its name, where, the worker, and all of its processes."""

    name: str
    address: Address
    worker: int
    pids: list[int]


@contextlib.contextmanager
def serving(name: str, python: str, mode: str, backend: Address, directory: Path) -> Iterator[Build]:
    """A balancer of this build with one worker. Raises ChildFailed."""
    home = directory / f"{name}-{mode}"
    home.mkdir(exist_ok=True)
    certificate = CERTIFICATE.format(both=made_in(home).both) if mode == "https" else ""
    text = CONFIG.format(name=name, mode=mode, certificate=certificate, host=backend[0], port=backend[1])
    (home / "lb.toml").write_text(text)
    command = [python, "-m", "lbcore", "run", "-c", str(home / "lb.toml")]
    with running(command, home / "log", cwd=home, env={"LBCORE_RUNTIME_DIR": str(home)}) as child:
        address = ready.address(ready.read(child.read_line(60))["listen"])
        workers = descendants(child.pid)
        yield Build(name, address, workers[0], [child.pid, *workers])


def compared(figures: dict[str, list[float]], unit: str, scale: float) -> str:
    """Both medians, and the ratio of each round."""
    old, new = figures.values()
    ratios = [after / before for before, after in zip(old, new, strict=True)]
    medians = " and ".join(f"{statistics.median(values) * scale:.2f}" for values in (old, new))
    return f"{medians} {unit}, ratio {statistics.median(ratios):.3f} ({min(ratios):.3f}..{max(ratios):.3f})"


def per_request(builds: list[Build], load: Wrk | Datagrams, rounds: int, seconds: float) -> str:
    """CPU of the worker per request, or per datagram and its reply."""
    figures: dict[str, list[float]] = {build.name: [] for build in builds}
    for number in range(rounds + 1):
        for build in builds if number % 2 else builds[::-1]:
            before = cpu_ns([build.worker])
            done = load.run(build.address, seconds, lambda: 0)
            if number:  # the first round warms up
                figures[build.name].append((cpu_ns([build.worker]) - before) / done.answers)
    return compared(figures, "µs of CPU a request", 1e-3)


def compile_all(python: str) -> None:
    """Leave the byte code of a build where its interpreter looks for it."""
    code = "import compileall, lbcore; compileall.compile_dir(lbcore.__path__[0], quiet=1)"
    subprocess.run([python, "-P", "-c", code], check=True)


def imports(pythons: dict[str, str], rounds: int) -> str:
    """What it costs to import lbcore."""
    figures: dict[str, list[float]] = {name: [] for name in pythons}
    for _ in range(rounds):
        for name, python in pythons.items():
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([python, "-P", "-c", "import lbcore"], check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            figures[name].append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return f"import lbcore: {compared(figures, 'ms of CPU', 1e3)}"


def starts(pythons: dict[str, str], directory: Path, rounds: int) -> list[str]:
    """What it costs to start: CPU and memory of all processes."""
    cpu: dict[str, list[float]] = {name: [] for name in pythons}
    memory: dict[str, list[float]] = {name: [] for name in pythons}
    for _ in range(rounds):
        for name, python in pythons.items():
            with serving(name, python, "tcp", ("127.0.0.1", 9), directory) as build:
                processes = [psutil.Process(pid) for pid in build.pids]
                cpu[name].append(sum(sum(process.cpu_times()[:2]) for process in processes))
                time.sleep(0.5)
                memory[name].append(sum(process.memory_full_info().pss for process in processes))
    return [f"start: {compared(cpu, 's of CPU', 1)}", f"start: {compared(memory, 'MB of memory', 1e-6)}"]


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(
        "python -m bench.builds", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("old", metavar="OLD", help="a Python that has the older build")
    parser.add_argument("new", metavar="NEW", help="a Python that has the newer build")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=float, default=1.0)
    arguments = parser.parse_args()
    pythons = {"old": arguments.old, "new": arguments.new}
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        directory = Path(scratch)
        web = stack.enter_context(origin.static(directory / "web")).addresses[0]
        echo = stack.enter_context(origin.datagrams(directory / "echo")).addresses[0]
        for python in pythons.values():
            compile_all(python)
        print(imports(pythons, arguments.rounds), flush=True)
        for line in starts(pythons, directory, arguments.rounds):
            print(line, flush=True)
        for mode, load in LOADS.items():
            with contextlib.ExitStack() as both:
                builds = [
                    both.enter_context(serving(name, python, mode, echo if mode == "udp" else web, directory))
                    for name, python in pythons.items()
                ]
                print(f"{mode}: {per_request(builds, load, arguments.rounds, arguments.seconds)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
