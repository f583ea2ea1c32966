"""lbcore top: a running balancer on the terminal, live. Reads shared memory; acts through the control socket."""

from __future__ import annotations

import importlib.util
import sys

from lbcore.errors import LbcoreError


def require_textual() -> None:
    """Raises LbcoreError when it is not installed: said first, whether or not a balancer runs."""
    if importlib.util.find_spec("textual") is None:
        raise LbcoreError("top needs textual: pip install 'lbcore[top]'")


def main(name: str, interval_s: float) -> int:
    """Show it until the user leaves. Raises NotRunning, OSError or LbcoreError; textual is there."""
    from lbcore.cli.top.screen import Top
    from lbcore.cli.top.source import Source

    with Source(name) as source:
        source.read()  # a name that nobody has is said before the screen is taken
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise LbcoreError("top needs a terminal; lbcore status prints the same once")
        Top(source, interval_s).run()
    return 0
