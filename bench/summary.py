"""The figures of the README: Markdown from the document of a full run, written between the marks.

`python -m bench` writes them whenever it writes bench/results; `python -m bench.summary` does it alone, and with --check says
whether they are fresh.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from typing import Any

from bench.numbers import number
from bench.serving import ROOT
from bench.stats import Spread, Worse, ratios, rivals, spread, subject, values, worse

Document = dict[str, Any]

README = ROOT / "README.md"
RESULTS = ROOT / "bench/results/latest.json"
MARK = re.compile(r"(<!-- figures[^>]*-->\n).*?(<!-- /figures -->)", re.DOTALL)
WORST = 6


@dataclass(frozen=True)
class Row:
    """A line of the table. target: what stands in for lbcore; "" for the first one of the scenario."""

    text: str
    scenario: str
    metric: str
    target: str = ""


ROWS = (
    Row("http: worker CPU per request, with forwarding headers", "http-fields", "worker_cpu"),
    Row("http: requests per second, 64 connections", "http", "rate"),
    Row("http: worker CPU per GB, 10 MB responses", "http-stream", "worker_cpu"),
    Row("http: p50 behind `uvicorn --workers 2`", "http-uvicorn", "p50_us"),
    Row("http: p99 at a fifth of the load", "http-paced", "p99_us"),
    Row("http: p99.9 at a fifth of the load", "http-paced", "p999_us"),
    Row("http: user memory per idle client", "http-idle", "memory_b"),
    Row("https: worker CPU per request", "https", "worker_cpu"),
    Row("https: worker CPU per full handshake", "https-new", "worker_cpu"),
    Row("https: worker CPU per resumed handshake", "https-resumed", "worker_cpu"),
    Row("tcp: worker CPU per request, copied", "keepalive", "worker_cpu", "lbcore-copy"),
    Row("tcp: requests per second, 64 connections", "keepalive", "rate"),
    Row("tcp: the same with `offload_local`", "keepalive", "rate", "lbcore-local"),
    Row("tcp: worker CPU per connection, short ones", "short", "worker_cpu"),
    Row("tcp: worker CPU per GB, 10 MB responses", "stream", "worker_cpu"),
    Row("tcp: user memory per idle session", "idle", "memory_b"),
    Row("udp: worker CPU per 64-byte datagram", "udp", "worker_cpu"),
)


def summary(document: Document) -> str:
    """All that stands between the marks."""
    return "\n".join((_head(document), "", *_table(document), "", *_worst(document))) + "\n"


def _head(document: Document) -> str:
    options, commit, machine = document["options"], document["commit"], document["machine"]
    return (
        f"{document['started'][:10]}, commit `{commit['sha'][:12]}`, {machine['cores']} shared cores,"
        f" {options['rounds']} rounds of {options['seconds']:g} s, one worker each. Medians; the ratio is lbcore over the"
        " better of the two in the same round (least..greatest)."
    )


def _table(document: Document) -> list[str]:
    lines = ["| | lbcore | HAProxy | nginx | ratio |", "| --- | --- | --- | --- | --- |"]
    parts = {part["name"]: part for part in document["scenarios"]}
    return lines + [_line(row, parts[row.scenario]) for row in ROWS if row.scenario in parts]


def _line(row: Row, part: dict[str, Any]) -> str:
    samples = part["samples"]
    metric = next(metric for metric in part["metrics"] if metric["key"] == row.metric)
    names = list(dict.fromkeys(sample["target"] for sample in samples))
    ours = row.target or subject(names)
    cells = [_median(samples, ours, metric), *(_best(samples, kind, metric, names) for kind in ("haproxy", "nginx"))]
    found = spread(ratios(samples, row.metric, metric["better"], rivals(names), ours))
    ratio = f"{found.median:.2f} ({found.low:.2f}..{found.high:.2f})" if found else ""
    return f"| {row.text} | {' | '.join(cells)} | {ratio} |"


def _best(samples: list[dict[str, Any]], kind: str, metric: dict[str, Any], names: list[str]) -> str:
    """The better one of a product's configurations, such as HAProxy with splice."""
    own = [name for name in rivals(names) if name.startswith(kind)]
    best = min if metric["better"] == "lower" else max
    found = [(measured.median, name) for name in own if (measured := _spread(samples, name, metric))]
    return _median(samples, best(found)[1], metric) if found else ""


def _spread(samples: list[dict[str, Any]], name: str, metric: dict[str, Any]) -> Spread | None:
    return spread(list(values(samples, name, metric["key"]).values()))


def _median(samples: list[dict[str, Any]], name: str, metric: dict[str, Any]) -> str:
    found = _spread(samples, name, metric)
    return f"{number(found.median)} {metric['unit']}".strip() if found else ""


def _worst(document: Document) -> list[str]:
    found = worse(document)
    return [
        f"lbcore is behind the better of the two in {len(found)} medians of this run. The worst, and how many times worse:",
        "; ".join(_worse(document, one) for one in found[:WORST]) + ".",
    ]


def _worse(document: Document, one: Worse) -> str:
    best = document["targets"].get(one.rival, {}).get("title", one.rival)
    return f"{one.factor.median:.2f} {one.metric} ({one.scenario}; best: {best.partition(' (')[0]})"


def put(text: str, document: Document) -> str:
    """`text` with fresh figures between its marks."""
    return MARK.sub(lambda match: match[1] + summary(document) + match[2], text)


def write(document: Document) -> None:
    """Put the figures into the README."""
    README.write_text(put(README.read_text(), document))


def main() -> int:
    document = json.loads(RESULTS.read_text())
    if "--check" not in sys.argv:
        write(document)
        return 0
    stale = put(README.read_text(), document) != README.read_text()
    if stale:
        print("README.md: figures are stale: run python -m bench.summary", file=sys.stderr)
    return int(stale)


if __name__ == "__main__":
    sys.exit(main())
