"""`lbcore cluster`: its commands and flags, declared for typer."""

from __future__ import annotations

from typing import Annotated

import typer

cluster: typer.Typer = typer.Typer(
    help="Show the nodes of a cluster, and drain them.", no_args_is_help=True, rich_markup_mode=None
)

Which = Annotated[
    str | None,
    typer.Argument(metavar="[NAME]", help="The balancer's name; default: the only balancer that runs."),
]
Name = Annotated[
    str | None,
    typer.Option("--name", metavar="NAME", help="The balancer's name; default: the only balancer that runs."),
]


@cluster.command()
def status(
    balancer: Which = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Show the nodes, and the contact with the store.

    The exit code is 1 while this node has no contact.
    """
    from lbcore.cli import cluster
    from lbcore.control import runtime

    return cluster.status(runtime.chosen(balancer), json)


@cluster.command("drain-node")
def drain_node(
    node: Annotated[
        str | None, typer.Argument(metavar="[NODE]", help="The node's name; default: the node of this balancer.")
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Let the node serve again.")] = False,
    name: Name = None,
) -> int:
    """Prepare a node for maintenance.

    The node's readyz says 503, so that whatever is in front of it sends clients elsewhere, and other nodes take over its
    registrations with the next heartbeat that they hear. It stays so, also over a restart, until `--undo`.
    """
    from lbcore.cli import cluster
    from lbcore.control import runtime

    return cluster.drain_node(runtime.chosen(name), node, undo=undo)
