"""lbcore register: a registration beside a command, whose signals and exit code pass through."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from lbcore.cli.sidecar import Sidecar, Watch
from lbcore.client.registration import Registration
from lbcore.config.secret import Secret
from lbcore.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def main(
    lb: list[str],
    port: int,
    command: list[str],
    *,
    pool: str | None,
    interval: float | None,
    weight: int | None,
    capacity: float | None,
    backup: bool,
    server_ip: str | None,
    token_file: Path | None,
    hmac_key_file: Path | None,
    health: str,
    drain_timeout: float,
    start_timeout: float,
) -> int:
    """Stay registered as long as COMMAND runs, or until a signal. The exit code is COMMAND's."""
    registration = Registration(
        lb,
        port,
        pool=pool,
        interval=interval,
        weight=weight,
        capacity=capacity,
        backup=backup,
        server_ip=server_ip,
        token=_secret("token_file", token_file),
        hmac_key=_secret("hmac_key_file", hmac_key_file),
        log=say,
    )
    watch = Watch(server_ip, port, health)
    return Sidecar(registration, watch, command, drain_timeout, start_timeout, say).run()


def say(line: str) -> None:
    """One line on stderr."""
    print(f"lbcore: {line}", file=sys.stderr, flush=True)


def _secret(option: str, path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        secret = Secret.from_file(path)
    except ValueError as error:
        raise ConfigError(f"{option}: {error}") from None
    if not secret:
        raise ConfigError(f"{option}: {str(path)!r} is empty")
    if secret.advice:
        say(f"{option}: {secret.advice}")
    return secret.reveal()
