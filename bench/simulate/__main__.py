"""`python -m bench.simulate`: run every simulation and write the page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.simulate.page import page, results

PAGE = Path(__file__).resolve().parent.parent / "results" / "simulation.md"


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser("python -m bench.simulate", description=__doc__)
    parser.add_argument("--requests", type=int, default=6000, help="a run (default 6000)")
    parser.add_argument("--seed", type=int, default=0, help="the first (default 0)")
    parser.add_argument("--out", type=Path, default=PAGE)
    arguments = parser.parse_args()
    arguments.out.write_text(page(results(arguments.requests, arguments.seed), arguments.requests, arguments.seed))
    print(f"written: {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
