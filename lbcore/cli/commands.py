"""The commands and their flags, declared for typer. What each does is in a module of its own, loaded when it is called."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from lbcore import options
from lbcore.options import DEFAULT_NAME

if TYPE_CHECKING:
    from collections.abc import Callable

_HELP = {option.name: option for option in (*options.LISTENER, *options.POOL, *options.TOP)}  # TOP's own `name` wins

Name = Annotated[str, typer.Option("--name", help="The balancer's name.")]
Pool = Annotated[Optional[str], typer.Option("--pool", help="The pool; default: the only one, or 'default'.")]  # noqa: UP045
Address = Annotated[str, typer.Argument(help="HOST:PORT")]


def _help(name: str) -> str:
    option = _HELP[name]
    allowed = "" if option.kind == "flag" else f" ({option.allowed})"
    return f"{option.help[0].upper()}{option.help[1:]}{allowed}."


def _no_arguments(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


app = typer.Typer(
    help="A load balancer: one address in front of a pool of servers.",
    invoke_without_command=True,
    callback=_no_arguments,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
backend = typer.Typer(help="Change the backends of a running balancer.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(backend, name="backend")


def application() -> Callable[..., object]:
    """The whole command line as a click command."""
    return typer.main.get_command(app)


@app.command()
def run(
    config: Annotated[Optional[Path], typer.Option("-c", "--config", help="A TOML file.")] = None,  # noqa: UP045
    name: Annotated[Optional[str], typer.Option(help=_help("name"))] = None,  # noqa: UP045
    listen: Annotated[Optional[list[str]], typer.Option(help="MODE://HOST:PORT; port 0 for any.")] = None,  # noqa: UP045
    cert: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="PEM file of the certificate, then its chain, for all --listen of modes https and tls."),
    ] = None,
    key: Annotated[Optional[str], typer.Option(help="PEM file of its private key; default: it is in that file.")] = None,  # noqa: UP045
    backend: Annotated[Optional[list[str]], typer.Option(help="HOST:PORT or HOST:PORT,weight=N.")] = None,  # noqa: UP045
    policy: Annotated[Optional[str], typer.Option(help=_help("policy"))] = None,  # noqa: UP045
    health: Annotated[Optional[str], typer.Option(help="How to probe: a path (http), tcp, or off.")] = None,  # noqa: UP045
    workers: Annotated[Optional[str], typer.Option(help=_help("workers"))] = None,  # noqa: UP045
    admin: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Admin address: HOST:PORT, unix:PATH, or off (default 127.0.0.1:9900)."),
    ] = None,
    datapath: Annotated[Optional[str], typer.Option(help=_help("datapath"))] = None,  # noqa: UP045
    offload_local: Annotated[bool, typer.Option("--offload-local", help=_help("offload_local"))] = False,
    drain_timeout: Annotated[Optional[str], typer.Option(help=_help("drain_timeout"))] = None,  # noqa: UP045
    max_sessions: Annotated[Optional[str], typer.Option(help=_help("max_sessions"))] = None,  # noqa: UP045
    max_client_sessions: Annotated[Optional[str], typer.Option(help=_help("max_client_sessions"))] = None,  # noqa: UP045
    client_session_rate: Annotated[Optional[str], typer.Option(help=_help("client_session_rate"))] = None,  # noqa: UP045
    client_session_burst: Annotated[Optional[str], typer.Option(help=_help("client_session_burst"))] = None,  # noqa: UP045
    client_request_rate: Annotated[Optional[str], typer.Option(help=_help("client_request_rate"))] = None,  # noqa: UP045
    client_request_burst: Annotated[Optional[str], typer.Option(help=_help("client_request_burst"))] = None,  # noqa: UP045
    min_body_rate: Annotated[Optional[str], typer.Option(help=_help("min_body_rate"))] = None,  # noqa: UP045
    access_log: Annotated[Optional[str], typer.Option(help=_help("access_log"))] = None,  # noqa: UP045
    access_log_format: Annotated[Optional[str], typer.Option(help=_help("access_log_format"))] = None,  # noqa: UP045
    user: Annotated[Optional[str], typer.Option(help=_help("user"))] = None,  # noqa: UP045
    pin: Annotated[bool, typer.Option("--pin", help=_help("pin"))] = False,
    log_format: Annotated[Optional[str], typer.Option(help=_help("log_format"))] = None,  # noqa: UP045
) -> int:
    """Balance until stopped: TERM or INT drains, a second one stops now, HUP reloads.

    Limits of clients hold for all listeners, those of requests where requests are spoken.
    """
    from lbcore.cli import serve

    limits = {
        "max_client_sessions": max_client_sessions,
        "client_session_rate": client_session_rate,
        "client_session_burst": client_session_burst,
        "client_request_rate": client_request_rate,
        "client_request_burst": client_request_burst,
        "min_body_rate": min_body_rate,
    }
    top = {
        "name": name,
        "workers": workers,
        "datapath": datapath,
        "offload_local": True if offload_local else None,
        "drain_timeout": drain_timeout,
        "max_sessions": max_sessions,
        "access_log": access_log,
        "access_log_format": access_log_format,
        "user": user,
        "pin": True if pin else None,
        "log_format": log_format,
    }
    flags = serve.Flags(
        listen=listen or [],
        backends=backend or [],
        policy=policy,
        health=health,
        admin=admin,
        pem=(cert, key),
        limits=limits,
        top=top,
    )
    return serve.main(config, flags)


@app.command()
def check(file: Annotated[Path, typer.Argument(help="A TOML file.")]) -> int:
    """Say what is wrong with a configuration, without starting."""
    from lbcore import privileges
    from lbcore.cli.serve import check_services
    from lbcore.config import load
    from lbcore.errors import ConfigError
    from lbcore.tls.store import Store

    settings = load(file)
    account = privileges.wanted(settings) if os.geteuid() == 0 else None
    try:
        if account is not None:  # what that user cannot read is a fault
            privileges.become(account)
            settings = load(file)
        check_services(settings)
        Store(lambda line: typer.echo(f"{file}: {line}", err=True)).read(settings)
    except ConfigError as error:
        raise ConfigError(f"{file}: {problem}" for problem in error.problems) from None
    for line in settings.advice():
        typer.echo(f"{file}: {line}", err=True)
    backends = sum(len(pool.backends) for pool in settings.pools)
    typer.echo(f"{file}: ok, {len(settings.listeners)} listeners, {len(settings.pools)} pools, {backends} backends")
    return 0


@app.command()
def schema() -> int:
    """Print the JSON schema of configuration files, for editors."""
    import json

    from lbcore.config import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))
    return 0


@app.command()
def demo(
    seconds: Annotated[float, typer.Option(min=4, max=60, help="How long it shows.")] = 12,
) -> int:
    """Backends that register themselves, a balancer, load, a failure, the recovery: on one screen."""
    from lbcore import demo

    return demo.main(seconds)


@app.command()
def status(
    name: Name = DEFAULT_NAME,
    json: Annotated[bool, typer.Option("--json", help="The whole document.")] = False,
) -> int:
    """What a running balancer is doing; read from shared memory."""
    from lbcore.cli import show

    return show.main(name, json)


@app.command()
def top(
    name: Name = DEFAULT_NAME,
    interval: Annotated[float, typer.Option(min=0.1, max=60, help="Seconds between two readings.")] = 1.0,
) -> int:
    """A running balancer, live: states, rates, latencies; keys to drain, make ready and weigh. Needs lbcore[top]."""
    from lbcore.cli import top

    return top.main(name, interval)


@app.command()
def why(
    name: Name = DEFAULT_NAME,
    pool: Annotated[Optional[str], typer.Option(help="Only of this pool.")] = None,  # noqa: UP045
    backend: Annotated[Optional[str], typer.Option(help="Only for this backend, HOST:PORT.")] = None,  # noqa: UP045
    outcome: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Only: open, done, unreachable, failed, 'client left', ended, nobody."),
    ] = None,
    worker: Annotated[Optional[str], typer.Option(help="Only of this worker.")] = None,  # noqa: UP045
    last: Annotated[int, typer.Option(min=1, max=100_000, help="The last so many.")] = 20,
    json: Annotated[bool, typer.Option("--json", help="A JSON object a line.")] = False,
) -> int:
    """Why recent sessions and requests went where they went; read from shared memory, also when the balancer has crashed."""
    from lbcore.cli import explain

    wanted = {"pool": pool, "backend": backend, "outcome": outcome, "worker": worker}
    return explain.main(name, wanted, last, json)


def _order(verb: str, address: str, pool: str | None, name: str, weight: int | None = None) -> int:
    from lbcore.cli import steer

    return steer.order(name, verb, address, pool, weight)


@backend.command("add")
def backend_add(
    address: Address,
    weight: Annotated[int, typer.Option(help="0 to 256.")] = 1,
    pool: Pool = None,
    name: Name = DEFAULT_NAME,
) -> int:
    """Add a backend."""
    return _order("add", address, pool, name, weight)


@backend.command("drain")
def backend_drain(address: Address, pool: Pool = None, name: Name = DEFAULT_NAME) -> int:
    """Give a backend no new sessions; those that it has go on."""
    return _order("drain", address, pool, name)


@backend.command("ready")
def backend_ready(address: Address, pool: Pool = None, name: Name = DEFAULT_NAME) -> int:
    """Undo drain."""
    return _order("ready", address, pool, name)


@backend.command("remove")
def backend_remove(address: Address, pool: Pool = None, name: Name = DEFAULT_NAME) -> int:
    """Drain a backend, then let it go."""
    return _order("remove", address, pool, name)


@backend.command("weight")
def backend_weight(
    address: Address,
    weight: Annotated[int, typer.Argument(help="0 to 256.")],
    pool: Pool = None,
    name: Name = DEFAULT_NAME,
) -> int:
    """Change a backend's weight."""
    return _order("weight", address, pool, name, weight)


@app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def register(
    lb: Annotated[list[str], typer.Option(help="An admin server, http://HOST:PORT or unix:PATH; may be given several times.")],
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Where this host serves.")],
    pool: Pool = None,
    interval: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(min=0.05, help="Seconds between heartbeats; default: as the balancer asks."),
    ] = None,
    weight: Annotated[Optional[int], typer.Option(min=0, max=256, help="Its share of sessions.")] = None,  # noqa: UP045
    capacity: Annotated[
        float | None, typer.Option(min=0.001, help="What it can do, beside the others; the weight follows.")
    ] = None,
    server_ip: Annotated[Optional[str], typer.Option(help="The address to register; default: this host's.")] = None,  # noqa: UP045
    token_file: Annotated[Optional[Path], typer.Option(help="A file whose first line is the token.")] = None,  # noqa: UP045
    hmac_key_file: Annotated[Optional[Path], typer.Option(help="A file whose first line signs each call.")] = None,  # noqa: UP045
    health: Annotated[
        str, typer.Option(help="When COMMAND serves: a path that answers 2xx or 3xx, tcp (it listens), or off.")
    ] = "tcp",
    drain_timeout: Annotated[
        float, typer.Option(min=0, max=3600, help="Seconds to wait for sessions before COMMAND is ended.")
    ] = 30,
    start_timeout: Annotated[float, typer.Option(min=0, help="Seconds that COMMAND has until it serves; 0: no limit.")] = 0,
    command: Annotated[Optional[list[str]], typer.Argument(help="-- COMMAND ...")] = None,  # noqa: UP045
) -> int:
    """Run COMMAND, register this host when it serves, send heartbeats, deregister and drain before it ends."""
    from lbcore.cli import enlist

    return enlist.main(
        lb,
        port,
        command or [],
        pool=pool,
        interval=interval,
        weight=weight,
        capacity=capacity,
        server_ip=server_ip,
        token_file=token_file,
        hmac_key_file=hmac_key_file,
        health=health,
        drain_timeout=drain_timeout,
        start_timeout=start_timeout,
    )


@app.command()
def reload(name: Name = DEFAULT_NAME) -> int:
    """Have a running balancer read its configuration again."""
    from lbcore.cli import steer

    return steer.reload(name)


@app.command()
def upgrade(
    name: Name = DEFAULT_NAME,
    check: Annotated[bool, typer.Option("--check", help="Only say whether the installed version can take over.")] = False,
    step: Annotated[bool, typer.Option("--step", help="Ask before each step; what runs after each is whole.")] = False,
) -> int:
    """Have a running balancer go on as the version that is installed now: no connection is cut."""
    from lbcore.cli import steer

    if check:
        return steer.check_upgrade(name)
    if step:
        return steer.upgrade_by_steps(name, lambda what: typer.confirm(f"{name}: {what}?"))
    return steer.upgrade(name)


@app.command()
def stop(
    name: Name = DEFAULT_NAME,
    now: Annotated[bool, typer.Option("--now", help="Do not wait for sessions to finish.")] = False,
) -> int:
    """Drain a running balancer and wait until it has ended."""
    from lbcore.cli import steer

    return steer.stop(name, now)


@app.command("install-service")
def install_service(
    config: Annotated[Path, typer.Option("-c", "--config", help="The TOML file that the service runs with.")],
    name: Annotated[Optional[str], typer.Option(help=_help("name"))] = None,  # noqa: UP045
    user: Annotated[bool, typer.Option("--user", help="For this user's own service manager instead of the system's.")] = False,
    run_as: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="The account that it runs as; default: one that exists only while it runs (DynamicUser)."),
    ] = None,
    show: Annotated[bool, typer.Option("--print", help="Print the unit, write nothing.")] = False,
) -> int:
    """Write a hardened systemd unit for this configuration, and say what to do next."""
    from lbcore.cli import unit

    return unit.main(config, name, user, run_as, show)


@app.command()
def version() -> int:
    """Versions, and which kernel features this machine offers."""
    from lbcore.cli import features

    return features.main()
