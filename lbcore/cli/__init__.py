"""The command line: the only part that prints or exits. One module a command."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def run(arguments: Sequence[str]) -> int:
    """Run a command: its exit code. Every failure is one line a problem on stderr, never a traceback."""
    import click

    from lbcore.cli.commands import application
    from lbcore.errors import ConfigError, LbcoreError

    try:
        return application()(list(arguments), prog_name="lbcore", standalone_mode=False) or 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        return _fail(2, [error.format_message().replace("\n", " ")])
    except click.exceptions.Abort:
        return 130
    except ConfigError as error:
        return _fail(2, error.problems)
    except (LbcoreError, OSError) as error:
        return _fail(1, [str(error)])
    except KeyboardInterrupt:
        return 130


def _fail(code: int, problems: Sequence[str]) -> int:
    for problem in problems:
        print(f"lbcore: {problem}", file=sys.stderr)
    return code
