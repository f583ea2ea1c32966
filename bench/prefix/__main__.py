"""`python -m bench.prefix`: run every simulation and write the page."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.pages import command
from bench.prefix.page import page

PAGE = Path(__file__).resolve().parent.parent / "results" / "prefix.md"

if __name__ == "__main__":
    sys.exit(command("bench.prefix", __doc__, page, PAGE, count="seeds", default=5, of="runs a figure"))
