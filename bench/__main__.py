"""`python -m bench`: run the benchmark, write latest.json, README.md and its figures; a full run also writes the figures of the
repository's README.

Exit codes: 0 done (a missed goal is shown, it is no failure), 1 a sample failed, 2 wrong usage,
130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

from bench import plots, render, summary
from bench.run import Options, run, say_to_stderr
from bench.scenario import Scenario
from bench.scenarios import SCENARIOS
from bench.serving import ROOT
from bench.sweeps import SWEEPS
from bench.targets import RIVALS, TARGETS

RESULTS = ROOT / "bench" / "results"
PARTIAL = ROOT / "build" / "bench"
FULL = {"rounds": 5, "seconds": 1.0}
QUICK = {"rounds": 2, "seconds": 1.0}
ROWS = (*SCENARIOS, *(scenario for sweep in SWEEPS for scenario in sweep.scenarios()))
MICRO = "micro"


def _names(allowed: list[str]) -> Any:
    """A parser of comma-separated names."""

    def parse(text: str) -> list[str]:
        names = [name.strip() for name in text.split(",") if name.strip()]
        for name in names:
            if name not in allowed:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(allowed)}")
        return names

    return parse


def _between(low: float, high: float, kind: type[int] | type[float]) -> Any:
    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not between {low:g} and {high:g}")
        return value

    return parse


def _parser() -> argparse.ArgumentParser:
    scenarios = [scenario.name for scenario in SCENARIOS] + [sweep.name for sweep in SWEEPS] + [MICRO]
    parser = argparse.ArgumentParser("python -m bench", description="lbcore beside no balancer, HAProxy and nginx.")
    parser.add_argument("--quick", action="store_true", help="the rough picture in under 3 minutes")
    parser.add_argument("--rounds", type=_between(1, 100, int), help=f"rounds (default {FULL['rounds']})")
    parser.add_argument("--seconds", type=_between(1, 60, float), help=f"of each sample (default {FULL['seconds']:g})")
    parser.add_argument("--only", type=_names(scenarios), action="extend", help=f"scenarios and sweeps: {', '.join(scenarios)}")
    parser.add_argument("--targets", type=_names(list(TARGETS)), action="extend", help=f"of {', '.join(TARGETS)}")
    parser.add_argument(
        "--rivals", type=_names(list(RIVALS)), action="extend", help=f"of {', '.join(RIVALS)} (default haproxy,nginx)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="directory for latest.json and README.md (default bench/results; "
        "build/bench when --quick, --only or --targets leave something out)",
    )
    parser.add_argument("--render", type=Path, metavar="JSON", help="make the page of an earlier run again, measure nothing")
    return parser


def _asked(scenario: Scenario, names: list[str]) -> bool:
    return scenario.name in names or scenario.sweep in names


def _options(arguments: argparse.Namespace) -> Options:
    defaults = QUICK if arguments.quick else FULL
    wanted = [s for s in ROWS if (_asked(s, arguments.only) if arguments.only else s.in_quick or not arguments.quick)]
    return Options(
        rounds=int(arguments.rounds or defaults["rounds"]),
        seconds=float(arguments.seconds or defaults["seconds"]),
        scenarios=tuple(wanted),
        targets=tuple(dict.fromkeys(arguments.targets)) if arguments.targets else None,
        rivals=tuple(dict.fromkeys(arguments.rivals)) if arguments.rivals else None,
        micro=MICRO in (arguments.only or [MICRO]),
        quick=arguments.quick,
        command=["python", "-m", "bench", *sys.argv[1:]],
    )


def write(document: dict[str, Any], directory: Path) -> None:
    """latest.json, and beside it the page with its figures."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "latest.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    try:
        drawn = plots.draw(document, directory)
    except ImportError:
        drawn = {}
        print("no figures: matplotlib is not installed (pip install -e '.[bench]')", file=sys.stderr)
    (directory / "README.md").write_text(render.page(document, drawn))
    if directory.resolve() == RESULTS:
        summary.write(document)


def failed(document: dict[str, Any]) -> bool:
    """Whether a sample or the micro part failed. What was skipped did not fail."""
    samples = [sample for part in document["scenarios"] for sample in part["samples"]]
    return not all(sample["ok"] for sample in samples) or not document.get("micro", {"ok": True})["ok"]


def _stop(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def main() -> int:
    """Returns the exit code."""
    arguments = _parser().parse_args()
    if arguments.render:
        document = json.loads(arguments.render.read_text())
        write(document, arguments.out or arguments.render.parent)
        return 0
    for interruption in (signal.SIGINT, signal.SIGTERM):
        signal.signal(interruption, _stop)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        document = run(_options(arguments), say_to_stderr)
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        return 130
    directory = arguments.out or (PARTIAL if arguments.quick or arguments.only or arguments.targets else RESULTS)
    write(document, directory)
    print(render.goals_text(document))
    print(f"written: {directory / 'README.md'}")
    return 1 if failed(document) else 0


if __name__ == "__main__":
    sys.exit(main())
