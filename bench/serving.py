"""What a target is: how it is asked to serve, what it says when it serves, and the parts that every one needs."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.children import running
from bench.load import Address
from bench.origin import wait_ready

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Wanted:
    """What a target shall serve: these backends, in turn, with so many workers."""

    backends: tuple[Address, ...]
    workers: int = 1

    def each(self, line: str, between: str = "\n") -> str:
        """`line` once a backend, with {host}, {port} and {number} filled in."""
        return between.join(
            line.format(host=host, port=port, number=number) for number, (host, port) in enumerate(self.backends)
        )


@dataclass
class Running:
    """A target that serves. `workers` carry data, `control` are its other processes; direct has neither."""

    address: Address
    workers: list[int] = field(default_factory=list)
    control: list[int] = field(default_factory=list)
    command: str = ""
    config: str = ""


Start = Callable[[Path, Wanted], contextlib.AbstractContextManager[Running]]


@dataclass(frozen=True)
class Target:
    """How to start one, and how to tell its version, which raises Missing when it is not installed.

    product: who made it. mode: what it is asked to do, so that two targets of one mode can be compared.
    """

    name: str
    title: str
    product: str
    mode: str
    start: Start
    version: Callable[[], str]


def first_line(*command: str) -> str:
    """Of what a command prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30, cwd=ROOT)
    return (done.stdout + done.stderr).strip().partition("\n")[0]


@contextlib.contextmanager
def one_process(
    command: Sequence[str], config: Path, text: str, port: int, *, ready: str = "http", env: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """A target that is a single process with a single file, serving on `port` of loopback. Raises ChildFailed."""
    config.write_text(text)
    with running(command, config.with_name("log"), cwd=config.parent, env=env) as child:
        wait_ready(child, ("127.0.0.1", port), ready)
        shown = [f"{key}={value}" for key, value in (env or {}).items()]
        yield Running(("127.0.0.1", port), [child.pid], [], " ".join([*shown, *command]), text)
