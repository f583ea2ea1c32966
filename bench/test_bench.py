"""The benchmark's own parts: its arithmetic by tables, its page, and one short run from outside."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench import render, stats
from bench.children import ChildFailed, descendants, running
from bench.load import Done, LoadFailed, Paced, _read_report
from bench.measure import Usage
from bench.run import figures
from bench.scenarios import GIGABYTE, REQUEST, SCENARIOS
from bench.targets import ROOT, TARGETS

REPORT = (
    '{"duration_us":1000000,"requests":10,"bytes":20,"connect_errors":0,"read_errors":0,"write_errors":0,'
    '"status_errors":0,"timeouts":0,"p50_us":5,"p99_us":6,"p999_us":7,"max_us":8}'
)


def sample(target: str, number: int, value: float | None) -> dict[str, Any]:
    """A sample of one figure, "cost"; None: it failed."""
    if value is None:
        return {"target": target, "round": number, "ok": False, "error": "it broke"}
    usage = {"foreign": 0.01, "steal": 0.0}
    load = {"command": "wrk"}
    return {
        "target": target,
        "round": number,
        "ok": True,
        "figures": {"cost": value},
        "usage": usage,
        "load": load,
    }


def scenario(better: str = "lower", limit: float = 0.9, rivals: tuple[str, ...] = ("a", "b")) -> dict[str, Any]:
    """Four rounds of lbcore and of two rivals that take turns in being the better one; some failed."""
    rows: dict[str, list[float | None]] = {
        "lbcore": [8.0, 9.0, None, 6.0],
        "a": [10.0, 20.0, 10.0, 10.0],
        "b": [20.0, 10.0, 10.0, None],
    }
    return {
        "name": "one",
        "title": "One",
        "what": "a load",
        "metrics": [{"key": "cost", "title": "cost", "unit": "µs", "better": better}],
        "goals": [{"text": "cost", "metric": "cost", "limit": limit, "rivals": list(rivals)}],
        "skipped": {},
        "samples": [sample(name, n + 1, row[n]) for n in range(4) for name, row in rows.items()],
    }


def document() -> dict[str, Any]:
    """A small run."""
    return {
        "format": 1,
        "started": "2026-01-02T03:04:05Z",
        "seconds": 3.0,
        "command": "python -m bench",
        "options": {"rounds": 4, "seconds": 1.0, "quick": False},
        "machine": {
            "cpu": "cpu",
            "cores": 2,
            "memory_mb": 1024,
            "kernel": "6",
            "system": "s",
            "virtual": True,
            "governor": None,
        },
        "versions": {"haproxy": "2.6"},
        "commit": {"sha": "0123456789abcdef", "changed": []},
        "targets": {"lbcore": {"title": "lbcore"}, "a": {"title": "A"}, "b": {"title": "B"}},
        "scenarios": [scenario() | {"skipped": {"c": "c is not installed"}}],
    }


def test_ratio_is_against_the_better_rival_of_each_round() -> None:
    samples = scenario()["samples"]
    assert stats.ratios(samples, "cost", "lower", ["a", "b"]) == [0.8, 0.9, 0.6]
    assert stats.ratios(samples, "cost", "higher", ["a", "b"]) == [0.4, 0.45, 0.6]
    assert stats.ratios(samples, "cost", "lower", ["absent"]) == []


@pytest.mark.parametrize(
    ("better", "limit", "rivals", "state", "met"),
    [
        ("lower", 0.9, ("a", "b"), "met", 3),
        ("lower", 0.8, ("a", "b"), "met", 2),
        ("lower", 0.7, ("a", "b"), "missed", 1),
        ("higher", 0.5, ("a", "b"), "missed", 1),
        ("lower", 8.0, (), "met", 2),
        ("lower", 7.0, (), "missed", 1),
        ("lower", 0.9, ("absent",), "not measured", 0),
    ],
)
def test_the_median_decides(better: str, limit: float, rivals: tuple[str, ...], state: str, met: int) -> None:
    part = scenario(better, limit, rivals)
    found = stats.verdict(part, part["goals"][0])
    assert (found.state, found.rounds_met) == (state, met)


def test_an_absent_rival_is_named() -> None:
    part = scenario(rivals=("a", "absent"))
    assert stats.verdict(part, part["goals"][0]).note == "without absent"


def test_figures_have_the_units_of_their_metrics() -> None:
    usage = Usage(2_000_000_000, 30_000_000, 0, 0, 0, 90_000_000, 0, 4_000_000_000)
    done = Done("wrk", seconds=2.0, answers=1000, bytes=3_000_000_000, latency_us={"p50_us": 7.0})
    assert figures(REQUEST, done, usage) == {"rate": 500, "worker_cpu": 30, "machine_cpu": 90, "p50_us": 7}
    assert figures(GIGABYTE, done, usage)["rate"] == 1.5
    assert figures(GIGABYTE, done, usage)["worker_cpu"] == 10


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("nothing", "no report"),
        ("REPORT " + REPORT.replace('"timeouts":0', '"timeouts":3'), "3 timeouts"),
        ("REPORT " + REPORT.replace('"requests":10', '"requests":0'), "no request was answered"),
    ],
)
def test_a_load_with_errors_is_a_failed_one(output: str, words: str) -> None:
    with pytest.raises(LoadFailed, match=words):
        _read_report(output)
    assert _read_report(f"x\nREPORT {REPORT}\n")["p99_us"] == 6


def test_page_shows_verdicts_failures_and_what_was_skipped() -> None:
    text = render.page(document())
    assert "**0.80** (0.60..0.90)" in text
    assert "✓ met" in text
    assert "round 3: **failed**, it broke" in text
    assert "c: skipped, c is not installed" in text
    assert render.page(json.loads(json.dumps(document()))) == text


def test_every_row_of_the_table_is_whole() -> None:
    assert len({row.name for row in SCENARIOS}) == len(SCENARIOS)
    for row in SCENARIOS:
        keys = {metric.key for metric in row.metrics}
        assert set(row.targets) <= set(TARGETS), row.name
        for goal in row.goals:
            assert goal.metric in keys, row.name
            assert set(goal.rivals) <= set(row.targets), row.name


def test_child_that_ends_is_reported_with_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such thing')"]
    with running(command, tmp_path / "log") as child, pytest.raises(ChildFailed, match="no such thing"):
        child.read_line(10)


def test_child_takes_its_children_along(tmp_path: Path) -> None:
    inner = "import time; time.sleep(100)"
    outer = (
        "import subprocess, sys, signal; signal.signal(signal.SIGTERM, signal.SIG_DFL);"
        f"p = subprocess.Popen([sys.executable, '-c', '{inner}']); print(p.pid, flush=True); p.wait()"
    )
    with running([sys.executable, "-c", outer], tmp_path / "log") as child:
        grandchild = Path(f"/proc/{int(child.read_line(10))}/stat")
        assert grandchild.exists()
    assert not grandchild.exists() or grandchild.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.parametrize("options", [["--only", "nothing"], ["--rounds", "0"], ["--targets", "apache"]])
def test_wrong_usage_exits_2(options: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "bench", *options], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert options[1] in done.stderr
    assert "Traceback" not in done.stderr


def test_paced_latency_counts_from_when_a_request_was_due(tmp_path: Path) -> None:
    """A server that takes 10 ms each, one connection, 200 requests a second: none waits less than those before it."""
    server = (
        "import socket, time; s = socket.create_server(('127.0.0.1', 0))\n"
        "print(s.getsockname()[1], flush=True); c, _ = s.accept()\n"
        "while c.recv(4096): time.sleep(0.01); c.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok')"
    )
    with running([sys.executable, "-c", server], tmp_path / "log") as child:
        address = ("127.0.0.1", int(child.read_line(10)))
        done = Paced("/", connections=1, share=1.0, rival="none", rate=200).run(address, 1.0, lambda: 0)
    assert done.answers == 260
    assert done.latency_us["max_us"] > 1_000_000
    assert done.latency_us["p50_us"] > 500_000


needs_tools = pytest.mark.skipif(not (shutil.which("wrk") and shutil.which("nginx")), reason="wrk or nginx is not installed")


def name_of(pid: int) -> str:
    """What the kernel calls a process; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


@needs_tools
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_leaves_no_process_and_writes_nothing(tmp_path: Path, number: int) -> None:
    options = [
        "--only",
        "keepalive",
        "--targets",
        "direct",
        "--seconds",
        "20",
        "--out",
        str(tmp_path / "out"),
    ]
    bench = subprocess.Popen([sys.executable, "-m", "bench", *options], stderr=subprocess.PIPE, cwd=ROOT)
    deadline = time.monotonic() + 20
    found: list[int] = []
    while "wrk" not in map(name_of, found):
        assert time.monotonic() < deadline
        time.sleep(0.02)
        found = descendants(bench.pid)
    os.kill(bench.pid, number)
    _, errors = bench.communicate(timeout=20)
    assert bench.returncode == 130, errors
    assert not (tmp_path / "out").exists()
    assert not [pid for pid in found if name_of(pid) in ("wrk", "nginx")]


@needs_tools
def test_short_run_writes_the_page(tmp_path: Path) -> None:
    options = ["--only", "keepalive", "--targets", "direct", "--rounds", "1", "--seconds", "1"]
    command = [sys.executable, "-m", "bench", *options, "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "latest.json").read_text())
    assert found["scenarios"][0]["samples"][0]["figures"]["rate"] > 100
    assert "no balancer" in (tmp_path / "README.md").read_text()
