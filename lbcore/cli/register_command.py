"""`lbcore register`: its flags, declared for typer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Balancers = Annotated[
    list[str],
    typer.Option(
        metavar="URL", help="The admin server of a balancer: http://HOST:PORT or unix:PATH. May be given several times."
    ),
]
Port = Annotated[int, typer.Option(min=1, max=65535, metavar="PORT", help="The port at which this host serves.")]
Pool = Annotated[
    str | None, typer.Option("--pool", metavar="POOL", help="The pool to join; default: the only pool, or 'default'.")
]
Interval = Annotated[
    float | None, typer.Option(min=0.05, metavar="SECONDS", help="Seconds between heartbeats; default: what the balancer says.")
]
Weight = Annotated[
    int | None, typer.Option(min=0, max=256, metavar="N", help="Share of new sessions, relative to other backends, 0 to 256.")
]
Capacity = Annotated[
    float | None,
    typer.Option(min=0.001, metavar="NUMBER", help="What this backend can do, relative to others; it becomes the weight."),
]
Backup = Annotated[bool, typer.Option("--backup", help="Take sessions only while no other backend can serve.")]
ServerIp = Annotated[
    str | None, typer.Option(metavar="IP", help="The address to register; default: the address that the balancer sees.")
]
TokenFile = Annotated[Path | None, typer.Option(metavar="FILE", help="A file whose first line is the token.")]
KeyFile = Annotated[Path | None, typer.Option(metavar="FILE", help="A file whose first line is the key that signs each call.")]
Health = Annotated[
    str,
    typer.Option(
        metavar="PATH|tcp|off",
        help="How to know that COMMAND serves: a GET of PATH gives 2xx or 3xx, the port listens (tcp), or at once (off).",
    ),
]
DrainTimeout = Annotated[
    float, typer.Option(min=0, max=3600, metavar="SECONDS", help="Seconds to wait for sessions before COMMAND is ended.")
]
StartTimeout = Annotated[
    float, typer.Option(min=0, metavar="SECONDS", help="Seconds that COMMAND has until it serves; 0: no limit.")
]
Command = Annotated[
    list[str] | None, typer.Argument(metavar="-- COMMAND ...", help="The command to run while this host is registered.")
]


def register(
    lb: Balancers,
    port: Port,
    pool: Pool = None,
    interval: Interval = None,
    weight: Weight = None,
    capacity: Capacity = None,
    backup: Backup = False,
    server_ip: ServerIp = None,
    token_file: TokenFile = None,
    hmac_key_file: KeyFile = None,
    health: Health = "tcp",
    drain_timeout: DrainTimeout = 30,
    start_timeout: StartTimeout = 0,
    command: Command = None,
) -> int:
    """Register this host while COMMAND runs.

    Registers when COMMAND serves, sends heartbeats, and on TERM deregisters and waits for the drain before COMMAND ends.
    """
    from lbcore.cli import register

    return register.main(
        lb,
        port,
        command or [],
        pool=pool,
        interval=interval,
        weight=weight,
        capacity=capacity,
        backup=backup,
        server_ip=server_ip,
        token_file=token_file,
        hmac_key_file=hmac_key_file,
        health=health,
        drain_timeout=drain_timeout,
        start_timeout=start_timeout,
    )
