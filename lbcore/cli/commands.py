"""The commands and their flags, declared for typer. What each does is in a module of its own, loaded when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lbcore.cli.cluster_command import cluster
from lbcore.cli.ready import TIMEOUT_S
from lbcore.cli.register_command import register
from lbcore.cli.run_command import flag, run

if TYPE_CHECKING:
    from collections.abc import Callable

Name = Annotated[
    str | None,
    typer.Option("--name", metavar="NAME", help="The balancer's name; default: the only balancer that runs."),
]
Which = Annotated[
    str | None,
    typer.Argument(metavar="[NAME]", help="The balancer's name; default: the only balancer that runs."),
]
Named = Annotated[
    str | None,
    typer.Option("--name", metavar="NAME", help="The balancer's name; the same as the argument NAME."),
]
Pool = Annotated[
    str | None,
    typer.Option("--pool", metavar="POOL", help="The pool's name; default: the pool that has this backend."),
]
Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="The backend's address: HOST:PORT or unix:/PATH.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _chosen(argument: str | None, option: str | None = None) -> str:
    """The balancer that a command means. Raises NotRunning or LbcoreError."""
    from lbcore.control import runtime

    if argument is not None and option is not None and argument != option:
        raise typer.BadParameter(f"the argument says {argument!r}, --name says {option!r}")
    return runtime.chosen(argument or option)


def _no_arguments(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        from lbcore.version import VERSION

        typer.echo(f"lbcore {VERSION}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


app: typer.Typer = typer.Typer(
    help="A load balancer: one address in front of a pool of servers.",
    invoke_without_command=True,
    callback=_no_arguments,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
backend: typer.Typer = typer.Typer(
    help="Change the backends of a running balancer.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(backend, name="backend")
app.add_typer(cluster, name="cluster")


def application() -> Callable[..., object]:
    """The whole command line as a click command."""
    return typer.main.get_command(app)


app.command()(run)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The configuration, a TOML file.")],
    json: Json = False,
    connect: Annotated[bool, typer.Option("--connect", help="Ask sources of backends and the cluster's store, too.")] = False,
) -> int:
    """Say what is wrong with a configuration.

    Nothing is started. Each fault is one line with the key, the value and what is allowed; the exit code is then 2.
    """
    from lbcore.cli import examine

    return examine.main(file, json, connect=connect)


@app.command()
def schema() -> int:
    """Print the JSON schema of configurations."""
    import json

    from lbcore.config.schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))
    return 0


@app.command()
def demo(
    seconds: Annotated[float, typer.Option(min=4, max=60, metavar="SECONDS", help="How long the demo lasts, 4 to 60.")] = 12,
) -> int:
    """Show registration, failure and recovery live.

    Backends register themselves, take load, one fails, another joins: on one screen.
    """
    from lbcore.cli import demo

    return demo.main(seconds)


@app.command()
def status(
    balancer: Which = None,
    name: Named = None,
    json: Annotated[bool, typer.Option("--json", help="Print the whole status document as JSON.")] = False,
) -> int:
    """Show what a running balancer is doing.

    Reads shared memory, so it also works while the balancer hangs, or after its control plane has crashed.
    """
    from lbcore.cli import show

    return show.main(_chosen(balancer, name), json)


@app.command()
def ready(
    balancer: Which = None,
    name: Named = None,
    admin: Annotated[
        str | None,
        typer.Option(
            "--admin", metavar="ADDRESS", help="Ask this admin server, HOST:PORT or unix:PATH, instead of one by name."
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.01, max=60, metavar="SECONDS", help="For the whole command, 0.01 to 60.")
    ] = TIMEOUT_S,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing.")] = False,
) -> int:
    """Tell whether a balancer is ready, for scripts.

    The exit code is 0 when it is ready, else 1, with one line that says why: whatever goes wrong means not ready. It asks the
    balancer's readyz, as the option ready_when has it.
    """
    from lbcore.cli import ready

    if balancer is not None and name is not None and balancer != name:
        raise typer.BadParameter(f"the argument says {balancer!r}, --name says {name!r}")
    if admin is not None and (balancer or name):
        raise typer.BadParameter("--admin: a balancer is named as well; one of the two is enough")
    return ready.main(balancer or name, admin, timeout, quiet=quiet)


@app.command()
def top(
    balancer: Which = None,
    name: Named = None,
    interval: Annotated[
        float, typer.Option(min=0.1, max=60, metavar="SECONDS", help="Time between two readings, 0.1 to 60.")
    ] = 1.0,
) -> int:
    """Watch a running balancer, live.

    States, rates and latencies, with keys to drain, make ready and weigh backends. Requires: pip install 'lbcore[top]'.
    """
    from lbcore.cli import top

    top.require_textual()
    return top.main(_chosen(balancer, name), interval)


@app.command()
def why(
    balancer: Which = None,
    name: Named = None,
    pool: Annotated[str | None, typer.Option(metavar="POOL", help="Only decisions of this pool.")] = None,
    backend: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Only decisions for this backend."),
    ] = None,
    outcome: Annotated[
        str | None,
        typer.Option(
            metavar="OUTCOME",
            help="Only this outcome: open, done, unreachable, failed, 'client left', ended, nobody, answered or refused.",
        ),
    ] = None,
    worker: Annotated[str | None, typer.Option(metavar="NUMBER", help="Only decisions of this worker.")] = None,
    last: Annotated[int, typer.Option(min=1, max=100_000, metavar="N", help="Show the last N decisions.")] = 20,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> int:
    """Explain where recent requests went.

    Shows the candidates, their scores, the choice and the outcome of each session or request. Reads shared memory, also after a
    crash.
    """
    from lbcore.cli import why

    wanted = {"pool": pool, "backend": backend, "outcome": outcome, "worker": worker}
    return why.main(_chosen(balancer, name), wanted, last, json)


def _order(
    verb: str, address: str, pool: str | None, name: str | None, weight: int | None = None, *, backup: bool = False
) -> int:
    from lbcore.cli import control

    return control.order(_chosen(name), verb, address, pool, weight, backup=backup)


@backend.command("list")
def backend_list(
    pool: Annotated[str | None, typer.Option("--pool", metavar="POOL", help="Only backends of this pool.")] = None,
    name: Name = None,
    json: Json = False,
) -> int:
    """List the backends with their states."""
    from lbcore.cli import show

    return show.backends(_chosen(name), pool, json)


@backend.command("add")
def backend_add(
    address: Address,
    weight: Annotated[int, typer.Option(metavar="N", help="Share of new sessions, relative to other backends, 0 to 256.")] = 1,
    backup: Annotated[bool, typer.Option("--backup", help="Send it sessions only while no other backend can serve.")] = False,
    pool: Annotated[
        str | None,
        typer.Option("--pool", metavar="POOL", help="The pool's name; default: the only pool, or 'default'."),
    ] = None,
    name: Name = None,
) -> int:
    """Add a backend to a pool."""
    return _order("add", address, pool, name, weight, backup=backup)


@backend.command("drain")
def backend_drain(address: Address, pool: Pool = None, name: Name = None) -> int:
    """Give a backend no new sessions.

    Its present sessions continue. `lbcore backend ready` undoes it.
    """
    return _order("drain", address, pool, name)


@backend.command("ready")
def backend_ready(address: Address, pool: Pool = None, name: Name = None) -> int:
    """Let a drained backend serve again."""
    return _order("ready", address, pool, name)


@backend.command("remove")
def backend_remove(address: Address, pool: Pool = None, name: Name = None) -> int:
    """Drain a backend, then remove it."""
    return _order("remove", address, pool, name)


@backend.command("weight")
def backend_weight(
    address: Address,
    weight: Annotated[int, typer.Argument(metavar="N", help="Share of new sessions, relative to other backends, 0 to 256.")],
    pool: Pool = None,
    name: Name = None,
) -> int:
    """Change a backend's weight."""
    return _order("weight", address, pool, name, weight)


app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})(register)


@app.command()
def reload(balancer: Which = None, name: Named = None) -> int:
    """Read the configuration file again.

    A file that is wrong changes nothing: the balancer keeps its configuration, and the faults are printed.
    """
    from lbcore.cli import control

    return control.reload(_chosen(balancer, name))


@app.command()
def upgrade(
    balancer: Which = None,
    name: Named = None,
    check: Annotated[bool, typer.Option("--check", help="Only say whether the installed version can take over.")] = False,
    step: Annotated[bool, typer.Option("--step", help="Ask before each step; you may stop after any step.")] = False,
) -> int:
    """Replace the running version by the installed one.

    No connection is cut: the new version takes over the sockets and the table, and old workers finish their sessions.
    """
    from lbcore.cli import control

    found = _chosen(balancer, name)
    if check:
        return control.check_upgrade(found)
    if step:
        return control.upgrade_by_steps(found, lambda what: typer.confirm(f"{found}: {what}?"))
    return control.upgrade(found)


@app.command()
def stop(
    balancer: Which = None,
    name: Named = None,
    now: Annotated[bool, typer.Option("--now", help="Do not wait for sessions to finish.")] = False,
) -> int:
    """Drain a running balancer and wait for its end."""
    from lbcore.cli import control

    return control.stop(_chosen(balancer, name), now)


@app.command("install-service")
def install_service(
    config: Annotated[Path, typer.Option("-c", "--config", metavar="FILE", help="The TOML file that the service runs with.")],
    name: Annotated[str | None, flag("name")] = None,
    user: Annotated[bool, typer.Option("--user", help="For this user's own service manager instead of the system's.")] = False,
    run_as: Annotated[
        str | None,
        typer.Option(
            metavar="USER", help="The account of the service; default: an account that exists only while it runs (DynamicUser)."
        ),
    ] = None,
    show: Annotated[bool, typer.Option("--print", help="Print the unit, write nothing.")] = False,
) -> int:
    """Write a systemd unit for a configuration.

    The unit is hardened. The command prints what to do next.
    """
    from lbcore.cli import unit

    return unit.main(config, name, user, run_as, show)


@app.command()
def version(json: Json = False) -> int:
    """Print versions and kernel features."""
    from lbcore.cli import features

    return features.main(json)
