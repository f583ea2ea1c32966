"""tools/servers: measures, writes the JSON file, and renders the page from it."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from servers import environments, page
from servers.fronts import installed
from servers.kinds import KINDS, Kind, chosen
from servers.pace import QUICK, WHOLE, Pace
from servers.record import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable

    from servers.fronts import Front

Document = page.Document
DOCS = Path(__file__).resolve().parent.parent.parent / "tools/docs"


def main() -> int:
    words = arguments()
    if words.quick:
        print(page.render(measure(words.kinds, QUICK, words.jobs)))
        return 0
    results, text = words.output / "servers.json", words.output / "servers.md"
    known: Document = json.loads(results.read_text()) if results.exists() else {"servers": {}, "absent": {}}
    if not words.render:
        # written after each server, so that a run that is broken off loses none that was measured
        measure(words.kinds, WHOLE, words.jobs, lambda so_far: write(results, merged(known, so_far)))
    text.write_text(page.render(json.loads(results.read_text())))
    print(text)
    return 0


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(
        prog="tools/servers",
        description="Measure real Python servers behind lbcore, nginx and HAProxy, and write the page of them.",
    )
    parser.add_argument("server", nargs="*", help="a server's name or its first word; default: all. " + ", ".join(KINDS))
    parser.add_argument("--quick", action="store_true", help="take shorter measurements, print the page, and write no file")
    parser.add_argument("--render", action="store_true", help="measure nothing: render the page from the JSON file")
    parser.add_argument("--jobs", type=int, default=2, help="how many servers are measured at one time; default: 2")
    parser.add_argument(
        "--output", type=Path, default=DOCS, help="the folder of servers.json and servers.md; default: tools/docs"
    )
    words = parser.parse_args()
    try:
        words.kinds = chosen(words.server)
    except KeyError as error:
        parser.error(f"no server is called {error}; there are {', '.join(KINDS)}")
    return words


def measure(kinds: list[Kind], pace: Pace, jobs: int, keep: Callable[[Document], None] = lambda so_far: None) -> Document:
    """A document of these kinds alone. keep: called with it after each kind."""
    fronts, lock = installed(), threading.Lock()
    document: Document = {
        "machine": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "configurations": {front.name: front.configuration for front in fronts},
        "servers": {},
        "absent": {},
    }

    def one(kind: Kind) -> None:
        part, outcome = record_of(kind, fronts, pace)
        with lock:
            document[part][kind.name] = outcome
            keep(document)

    with ThreadPoolExecutor(jobs) as pool:
        for done in [pool.submit(one, kind) for kind in kinds]:
            done.result()
    return document


def record_of(kind: Kind, fronts: list[Front], pace: Pace) -> tuple[str, Any]:
    """The part of the document that it belongs to, and its record, or why there is none."""
    try:
        python = environments.python_of(kind)
    except environments.NotInstalled as error:
        print(f"{kind.name}: not installed: {error}", file=sys.stderr)
        return "absent", str(error)
    record = Recorder(kind, python, fronts, pace).run()
    print(f"{kind.name}: measured; failed: {record['failed'] or 'nothing'}", file=sys.stderr)
    return "servers", record


def write(results: Path, document: Document) -> None:
    """As JSON."""
    results.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


def merged(old: Document, new: Document) -> Document:
    """The new document, with the old one's servers that were not measured again."""
    measured = new["servers"].keys() | new["absent"].keys()
    kept = {part: {name: value for name, value in old[part].items() if name not in measured} for part in ("servers", "absent")}
    return new | {part: kept[part] | new[part] for part in ("servers", "absent")}


if __name__ == "__main__":
    sys.exit(main())
