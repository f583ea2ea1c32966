"""The flags of `lbcore run`: those that options ask for, and a few that say more than one option."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_type_hints

import typer

from lbcore.config import options

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_HELP = {option.name: option for option in (*options.LISTENER, *options.POOL, *options.TOP)}  # TOP's own `name` wins

_METAVARS = {"duration": "DURATION", "size": "BYTES", "int": "N", "access_log": "PATH|stdout|stderr|syslog", "policy": "POLICY"}

_LISTEN = (
    "An address that clients connect to: MODE://HOST:PORT, with MODE tcp, udp, tls, http or https; port 0: any free port."
    " May be given several times."
)

_LIMITS = [option for option in options.LISTENER if option.flag]
_TOP = [option for option in options.TOP if option.flag]


def flag(name: str) -> Any:
    """The flag of an option: its help, and a metavar that says what is given."""
    option = _HELP[name]
    if option.kind == "flag":
        return typer.Option(f"--{name.replace('_', '-')}", help=_help(name))
    metavar = "|".join(option.choices) if option.choices else _METAVARS.get(name) or _METAVARS.get(option.kind, name.upper())
    return typer.Option(metavar=metavar, help=_help(name))


def _help(name: str) -> str:
    option = _HELP[name]
    allowed = "" if option.kind in ("flag", "choice") else f" ({option.allowed})"
    return f"{option.help[0].upper()}{option.help[1:]}{allowed}."


def _with_flags(command: Callable[..., int]) -> Callable[..., int]:
    """A command whose `**said` is filled by the flags that options ask for."""
    known = list(inspect.signature(command, eval_str=True).parameters.values())[:-1]
    for option in (*_TOP, *_LIMITS):
        kind, unsaid = (bool, False) if option.kind == "flag" else (str | None, None)
        note = Annotated[kind, flag(option.name)]  # type: ignore[valid-type]
        known.append(inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=unsaid, annotation=note))
    hints = {**get_type_hints(command, include_extras=True), **{one.name: one.annotation for one in known}}
    command.__annotations__ = hints
    command.__signature__ = inspect.Signature(known, return_annotation=int)  # type: ignore[attr-defined]
    return command


@_with_flags
def run(
    config: Annotated[
        Path | None, typer.Option("-c", "--config", metavar="FILE", help="The configuration, a TOML file.")
    ] = None,
    listen: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help=_LISTEN,
        ),
    ] = None,
    cert: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="PEM file of the certificate, then its chain, for each --listen of mode https or tls."
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="PEM file of the private key of --cert; default: the key is in the file of --cert."),
    ] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST:PORT[,weight=N][,backup]", help="A server to send sessions to. May be given several times."),
    ] = None,
    policy: Annotated[str | None, flag("policy")] = None,
    health: Annotated[
        str | None,
        typer.Option(metavar="PATH|tcp|off", help="How backends are probed: GET PATH, a TCP connect, or not at all."),
    ] = None,
    admin: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT|unix:PATH|off", help="Where the admin server listens; default: 127.0.0.1:9900."),
    ] = None,
    **said: str | bool | None,
) -> int:
    """Run a balancer until it is stopped.

    TERM, INT or QUIT drains, a second one stops now; HUP reloads, USR1 opens the access log again, USR2 upgrades.

    Limits per client apply to all listeners, limits of requests to those of mode http and https.
    """
    from lbcore.cli import serve
    from lbcore.cli.flags import Flags

    flags = Flags(
        listen=listen or [],
        backends=backend or [],
        policy=policy,
        health=health,
        admin=admin,
        pem=(cert, key),
        limits={option.name: said[option.name] for option in _LIMITS},
        top={option.name: said[option.name] or None for option in _TOP},
    )
    return serve.main(config, flags)
