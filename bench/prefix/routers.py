"""What stands between clients and models in a measurement: lbcore with a policy, or smg."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.children import ChildFailed, descendants, running
from bench.load import Address, LoadFailed, get
from bench.origin import START_S, free_port
from bench.programs import find
from bench.serving import ROOT

SMG = "smg==1.13.0"
"""Of PyPI: `pip install` it, best in an environment of its own."""

_NUMBERS = itertools.count(1)
_CONFIG = """\
name = "{name}"
workers = {workers}
[admin]
listen = "off"
[[listener]]
bind = "http://127.0.0.1:0"
pool = "llm"
{route}
[[pool]]
name = "llm"
{policy}
[pool.probe]
kind = "off"
{backends}
"""
ROUTE = '[[route]]\nheader = { X-Model = "m" }\npool = "llm"\n'
POLICIES = {
    "`prefix`, the messages": 'policy = "prefix"',
    "`prefix`, a key a conversation": 'policy = "prefix"\nhash = "header:X-Session-Id"',
    "`maglev`, a key a conversation": 'policy = "maglev"\nhash = "header:X-Session-Id"',
    "`p2c`": 'policy = "p2c"',
    "`round_robin`": 'policy = "round_robin"',
}


@dataclass
class Router:
    """One that serves. pids: of what is charged with a request: lbcore's workers, all of smg."""

    address: Address
    pids: list[int]


@contextlib.contextmanager
def lbcore(
    directory: Path, backends: Sequence[Address], policy: str, *, workers: int = 1, route: str = "", python: str
) -> Iterator[Router]:
    """policy: the pool's lines. Raises ChildFailed."""
    name = f"prefix-{os.getpid()}-{next(_NUMBERS)}"
    config = directory / f"{name}.toml"
    lines = "\n".join(f'[[pool.backend]]\naddress = "{host}:{port}"' for host, port in backends)
    config.write_text(_CONFIG.format(name=name, workers=workers, policy=policy, route=route, backends=lines))
    command = [python, "-m", "lbcore", "run", "-c", str(config)]
    with running(command, directory / f"{name}.log", cwd=ROOT, env={"LBCORE_RUNTIME_DIR": str(directory)}) as child:
        found = re.search(r"\blisten=\w+://([\d.]+):(\d+)", child.read_line(START_S))
        if found is None:
            raise ChildFailed(f"lbcore is not ready: {child.last_words()}")
        yield Router((found[1], int(found[2])), descendants(child.pid))


@contextlib.contextmanager
def smg(directory: Path, backends: Sequence[Address], policy: str) -> Iterator[Router]:
    """Shepherd's Model Gateway. policy: its word. Raises Missing, ChildFailed."""
    program = find("smg", f" (pip install {SMG})")
    address = ("127.0.0.1", free_port())
    command = [program, "launch", "--host", address[0], "--port", str(address[1]), "--policy", policy]
    command += ["--prometheus-port", str(free_port()), "--disable-health-check", "--log-level", "error"]
    command += ["--worker-urls", *(f"http://{host}:{port}" for host, port in backends)]
    with running(command, directory / f"smg-{next(_NUMBERS)}.log", cwd=directory) as child:
        wait(address, child.check, "/readiness")
        yield Router(address, [child.pid, *descendants(child.pid)])


def wait(address: Address, check: Callable[[], None], path: str) -> None:
    """Until this path is answered with 200. check raises when there is nobody any more. Raises ChildFailed."""
    deadline = time.monotonic() + START_S
    while True:
        with contextlib.suppress(LoadFailed):
            get(address, path)
            return
        check()
        if time.monotonic() > deadline:
            raise ChildFailed(f"{address[0]}:{address[1]} does not answer {path} within {START_S:g} s")
        time.sleep(0.1)
