"""How a running `lbcore run` becomes another version of itself, as installed now: nothing that it carries is lost.

1. The new version is asked whether it can: the same command line, in a process of its own (`can_succeed`, `say_so`). It reads
   the configuration, and tries what it will need and the running one has not: files, logs, addresses.
2. The control plane lets its workers go, and its process becomes the new one (`become`): same pid, same arguments. The workers
   serve on meanwhile, and are adopted (lbcore/control/adoption.py).
3. Each worker is replaced by one of the new engine; the old one drains (`Balancer._replace_workers`).

An operator may take these steps one at a time, and stop after each: what runs then is whole.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

from lbcore.config.settings import split_host_port
from lbcore.control import signals
from lbcore.engine.segment import Segment, SegmentError
from lbcore.errors import ConfigError, LbcoreError
from lbcore.version import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from lbcore.api.balancer import Balancer
    from lbcore.config.settings import BalancerSettings

ASKED = "LBCORE_UPGRADE_ASKED"
"""In the environment of a version that is asked: the path of the segment that it would go on with."""
HELD_NOW = "LBCORE_UPGRADE_HELD"
"""Beside ASKED: the name and the addresses of the version that runs, as it was told them; JSON."""
DONE = "LBCORE_UPGRADE_FROM"
"""In the environment of one that has taken over: the version before it."""
ENDED = "LBCORE_UPGRADE_ENDED"
"""Beside DONE: a signal came to end the version before; it is to be obeyed."""
ALONE = "LBCORE_UPGRADE_ALONE"
"""Beside DONE: only the control plane was to be replaced; the workers come when they are asked for."""
NAME = "LBCORE_UPGRADE_NAME"
"""Beside DONE: the name that the version before had, which the default name may have given way to."""
LIMIT_S = 30.0


def can_succeed(balancer: Balancer) -> str:
    """The version that is installed now, which can go on in this one's place. Raises LbcoreError with what is in the way.

    The descriptor of the segment is passed on: after root was given up, nobody may look it up in /proc/PID.
    """
    segment = balancer._running().table.fd
    held = {"name": balancer.settings.name, "addresses": _addresses(balancer.settings)}
    environment = {**os.environ, ASKED: f"/proc/self/fd/{segment}", HELD_NOW: json.dumps(held)}
    environment.pop(DONE, None)
    try:
        done = subprocess.run(
            _own_command(),
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            pass_fds=(segment,),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LbcoreError(f"the installed version does not start: {error}") from None
    if done.returncode or not done.stdout:
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
        said = "; ".join(line.removeprefix("lbcore: ") for line in lines if line.startswith("lbcore: ")) or lines[-1]
        raise LbcoreError(f"the installed version does not start: {said}")
    return done.stdout.strip()


def _addresses(settings: BalancerSettings) -> list[str]:
    """What is listened on, as it was asked for."""
    admin = [f"admin {settings.admin.listen}"] if settings.admin else []
    return [listener.url for listener in settings.listeners] + admin


def _try(settings: BalancerSettings, held: dict[str, Any]) -> None:
    """What the running version does not hold for us is had, and let go again. Raises ConfigError or LbcoreError."""
    from lbcore.control.sockets import ListenerSockets
    from lbcore.observe.recording import open_sink
    from lbcore.tls.store import Store

    if settings.name != held["name"]:
        raise ConfigError(f"name: {settings.name!r} instead of {held['name']!r} requires a restart")
    Store(lambda line: None).read(settings)
    sink = open_sink(settings)
    if sink is not None:
        sink.close()
    pools = {pool.name: pool for pool in settings.pools}
    passed = "LISTEN_FDS" in os.environ  # it may be bound already, and ours
    for listener in settings.listeners:
        if listener.url not in held["addresses"] and listener.port and not passed:
            ListenerSockets(listener, pools.get(str(listener.pool)) or settings.pools[0], 1).close(ends=True)
    admin = settings.admin
    if admin is not None and f"admin {admin.listen}" not in held["addresses"] and not admin.listen.startswith("unix:"):
        _try_admin(admin.listen)


def _try_admin(listen: str) -> None:
    from lbcore.control.sockets import address_to_bind

    try:
        family, address = address_to_bind(*split_host_port(listen), socket.SOCK_STREAM)
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except OSError as error:
        raise ConfigError(f"admin.listen: {listen}: {error.strerror}") from None


def say_so(segment: str, settings: BalancerSettings) -> int:
    """The answer of a version that is asked, whose settings are good by themselves: its exit code. Raises as `start` would."""
    if HELD_NOW in os.environ:
        _try(settings, json.loads(os.environ[HELD_NOW]))
    try:
        Segment.attach(segment).close()
    except (OSError, SegmentError) as error:
        print(
            f"lbcore {VERSION} cannot go on with the memory of the one that runs: {error}; it requires a restart",
            file=sys.stderr,
        )
        return 1
    print(VERSION)
    return 0


def become(balancer: Balancer, is_ended: Callable[[], bool], alone: bool) -> NoReturn:
    """This process goes on as the version that is installed now.

    is_ended: did a signal end it, perhaps a moment ago? alone: the workers are not to be replaced yet.
    """
    signals.hold()
    name = balancer.name
    balancer._abdicate()  # with it end the threads that may still take a signal
    os.environ[DONE], os.environ[NAME] = VERSION, name
    if alone:
        os.environ[ALONE] = "1"
    if is_ended():
        os.environ[ENDED] = "1"
    command = _own_command()
    os.execv(command[0], command)


class Predecessor:
    """Whom this process has come after, by its environment; asked once.

    version: None when it came by itself. name: of the instance. ended: it had been told to end. alone: its workers are to stay
    for now.
    """

    def __init__(self) -> None:
        self.version: str | None = os.environ.pop(DONE, None)
        self.name: str | None = os.environ.pop(NAME, None)
        self.ended: bool = os.environ.pop(ENDED, None) is not None
        self.alone: bool = os.environ.pop(ALONE, None) is not None


def _own_command() -> list[str]:
    return [sys.executable, *sys.orig_argv[1:]]
