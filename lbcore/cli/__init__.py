"""The command line: the only part that prints or exits. One module a command."""

from __future__ import annotations

import sys

from lbcore.errors import ConfigError, LbcoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def run(arguments: Sequence[str]) -> int:
    """Run a command: its exit code. Every failure is one line a problem on stderr, never a traceback."""
    try:
        if arguments[:1] == ["run"]:
            from lbcore.cli import run_flags

            said = run_flags.read_plainly(arguments[1:])
            if said is not None:
                return run_flags.run(said)
        return _run_by_typer(arguments)
    except ConfigError as error:
        return _fail(2, error.problems)
    except (LbcoreError, OSError) as error:
        return _fail(1, [str(error)])
    except KeyboardInterrupt:
        return 130


def _run_by_typer(arguments: Sequence[str]) -> int:
    """Any command, and whatever is wrong with how it is called, or asked of it."""
    import typer

    from lbcore.cli.commands import application

    # click's exceptions, which newer versions of typer carry inside themselves
    usage_error: type[Exception] = typer.BadParameter.__mro__[2]
    try:
        code = application()(list(arguments), prog_name="lbcore", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except typer.Exit as stop:
        return int(stop.exit_code)
    except usage_error as error:
        return _fail(2, [str(error.format_message()).replace("\n", " ")])  # type: ignore[attr-defined]
    except typer.Abort:
        return 130


def _fail(code: int, problems: Sequence[str]) -> int:
    for problem in problems:
        print(f"lbcore: {problem}", file=sys.stderr)
    return code
