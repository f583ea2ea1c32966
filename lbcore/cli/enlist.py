"""lbcore register: a registration beside a command, whose signals and exit code pass through."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

from lbcore.errors import ConfigError
from lbcore.registration import Registration

if TYPE_CHECKING:
    from pathlib import Path


def main(
    lb: str,
    port: int,
    pool: str | None,
    interval: float | None,
    weight: int | None,
    server_ip: str | None,
    token_file: Path | None,
    command: list[str],
) -> int:
    """Stay registered as long as COMMAND runs, or until a signal. The exit code is COMMAND's."""
    registration = Registration(
        lb,
        port,
        pool=pool,
        interval=interval,
        weight=weight,
        server_ip=server_ip,
        token=_token(token_file),
        log=lambda line: print(f"lbcore: {line}", file=sys.stderr, flush=True),
    )
    return _beside(command, registration) if command else _alone(registration)


def _token(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8").splitlines()[0].strip()
    except (OSError, IndexError, UnicodeDecodeError):
        raise ConfigError(f"token_file: {str(path)!r} cannot be read, or is empty") from None


def _alone(registration: Registration) -> int:
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    with registration:
        done.wait()
    return 0


def _beside(command: list[str], registration: Registration) -> int:
    """The goodbye comes before the command hears of the signal: the balancer sends nothing new to one that is stopping."""
    try:
        child = subprocess.Popen(command)
    except OSError as error:
        raise ConfigError(f"command: {command[0]!r} cannot be run: {error.strerror}") from None
    received: list[int] = []

    def on_signal(number: int, frame: object) -> None:
        received.append(number)
        registration.stop()
        child.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, on_signal)
    with registration:
        code = child.wait()
    return code if code >= 0 else 128 - code
