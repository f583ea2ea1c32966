"""A small page of figures, and the command that measures and writes it."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path


def shown(values: list[float], form: str) -> str:
    """Median (least..greatest)."""
    middle, least, greatest = (format(value, form) for value in (statistics.median(values), min(values), max(values)))
    return f"**{middle}** ({least}..{greatest})"


def command(module: str, about: str | None, page: Callable[[int], str], out: Path, *, count: str, default: int, of: str) -> int:
    """`python -m MODULE [--COUNT N] [--out FILE]`: the exit code. page: the text, by N. of: what N counts, in words."""
    parser = argparse.ArgumentParser(f"python -m {module}", description=about)
    parser.add_argument(f"--{count}", dest="count", metavar="N", type=int, default=default, help=f"{of} (default {default})")
    parser.add_argument("--out", type=Path, default=out)
    arguments = parser.parse_args()
    arguments.out.write_text(page(arguments.count))
    print(f"written: {arguments.out}")
    return 0
