"""`lbcore run` as typer is told of it: its flags stand in `run_flags`."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated

import typer

from lbcore.cli import run_flags
from lbcore.config import options

if TYPE_CHECKING:
    from typing import Any


def flag(name: str) -> Any:
    """The flag of an option of the top level."""
    return _told(run_flags.flag_of(next(option for option in options.TOP if option.name == name)))


def _told(one: run_flags.RunFlag) -> Any:
    return typer.Option(*one.words, metavar=one.metavar, help=one.help)


def _parameter(one: run_flags.RunFlag) -> inspect.Parameter:
    kind = bool if one.metavar is None else list[str] | None if one.many else str | None
    note = Annotated[kind, _told(one)]  # type: ignore[valid-type]
    return inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=one.unsaid, annotation=note)


def run(**said: Any) -> int:
    """Run a balancer until it is stopped.

    TERM, INT or QUIT drains, a second one stops now; HUP reloads, USR1 opens the access log again, USR2 upgrades.

    Limits per client apply to all listeners, limits of requests to those of mode http and https.
    """
    return run_flags.run(said)


_parameters = [_parameter(one) for one in run_flags.FLAGS]
run.__annotations__ = {one.name: one.annotation for one in _parameters}
run.__signature__ = inspect.Signature(_parameters, return_annotation=int)  # type: ignore[attr-defined]
