"""The servers that are most in use, for real, behind lbcore: what `tools/servers` measures, in less time.

All are measured before the first test, a few at a time: what a measurement starts is gone before a test looks for what is left.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from harness import wait_for
from servers import page
from servers.__main__ import DOCS, measure
from servers.fronts import FRONTS
from servers.kinds import ALL, HERE, KINDS
from servers.pace import SHORT
from servers.record import Recorder
from servers.server import Server

WHOLE = ("uvicorn std", "gunicorn sync", "gunicorn gthread", "gunicorn asgi", "granian", "hypercorn")
PARTS = dict.fromkeys(WHOLE, ALL) | {
    "uvicorn --workers 2": frozenset({"stopping"}),  # it accepts for a while after SIGTERM
    "sanic": frozenset({"stopping"}),  # likewise, for ten seconds
    "aiohttp": frozenset({"head"}),  # it sends a body behind HEAD
}
ACCEPT_WHILE_THEY_STOP = {"gunicorn sync", "gunicorn gthread", "hypercorn", "uvicorn --workers 2", "sanic"}
AT_ONCE = 5
ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.timeout(300)  # the first test waits for all measurements
Record = dict[str, Any]


def taking_part(measurement: str) -> pytest.MarkDecorator:
    """The test, for each server of these that takes part in the measurement."""
    names = [name for name, parts in PARTS.items() if measurement in parts & KINDS[name].measurements]
    return pytest.mark.parametrize("name", names)


@pytest.fixture(scope="module")
def records() -> dict[str, Record]:
    """Those of all."""

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(PARTS, pool.map(measured, PARTS, PARTS.values()), strict=True))


def measured(name: str, parts: frozenset[str]) -> Record:
    return Recorder(KINDS[name], HERE, [FRONTS["lbcore"]], SHORT, parts).run()


@pytest.mark.parametrize("name", list(PARTS))
def test_all_is_measured(records: dict[str, Record], name: str) -> None:
    assert records[name]["failed"] == {}


@taking_part("idle")
def test_posts_at_the_time_of_the_idle_close(records: dict[str, Record], name: str) -> None:
    record = records[name]
    if name == "gunicorn sync":  # it keeps no connection
        assert record["idle_s"] < 0.5
    else:
        assert 0.5 < record["idle_s"] < 3.5
        assert record["at_idle"]["lbcore"]["POST"] == 0, record["at_idle"]


@taking_part("early")
def test_responses_to_uploads_that_are_not_read_are_delivered(records: dict[str, Record], name: str) -> None:
    early = records[name]["early"]["lbcore"]
    assert early["delivered"] == early["asked"] > 0, early


@taking_part("head")
def test_nothing_of_a_body_behind_head_reaches_another_exchange(records: dict[str, Record], name: str) -> None:
    record = records[name]
    assert record["head"]["lbcore"]["wrong"] == 0, record["head"]
    assert (record["body_behind_head"] > 0) == (name == "aiohttp")


@taking_part("websocket")
def test_the_end_of_a_websocket_is_passed_on(records: dict[str, Record], name: str) -> None:
    ends = records[name]["websocket"]
    assert ends["lbcore"]["end"] == ends["direct"]["end"] != "nothing"
    assert abs(ends["lbcore"]["after_s"] - ends["direct"]["after_s"]) < 1


@taking_part("stopping")
def test_sigterm_of_one_of_two_under_load(records: dict[str, Record], name: str) -> None:
    """No GET fails, and no POST but one that has reached a server that still accepts: nginx loses it, too.

    A POST may come in the moment of the signal itself: more of them than that are lost twice in a row only by a fault.
    """
    seen = records[name]["stopping"]["lbcore"]
    assert seen["asked"] >= 100
    assert seen["GET"] == 0, seen
    lost = 1 if name in ACCEPT_WHILE_THEY_STOP else 0
    if seen["POST"] > lost:
        seen = measured(name, frozenset({"stopping"}))["stopping"]["lbcore"]
    assert (seen["GET"], seen["POST"] <= lost) == (0, True), seen


@taking_part("recycling")
def test_no_request_fails_while_processes_are_recycled(records: dict[str, Record], name: str) -> None:
    """No GET fails. A process whose last response does not say close loses the POST that follows it."""
    seen = records[name]["recycling"]["lbcore"]
    ended = seen["processes"] - 4  # two servers of two
    assert ended >= 2, seen
    assert seen["GET"] == 0, seen
    assert seen["POST"] <= (0 if name.startswith("gunicorn") else ended), seen


# --- the tool and its page -------------------------------------------------------------------------------------------


def tool(*words: str, cache: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT / 'tests/support'}", "XDG_CACHE_HOME": str(cache)}
    line = [sys.executable, "-m", "servers", *words]
    return subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)


def test_the_page_is_rendered_from_its_figures_alone(tmp_path: Path) -> None:
    shutil.copy(DOCS / "servers.json", tmp_path)
    done = tool("--render", "--output", str(tmp_path), cache=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "servers.md").read_text() == (DOCS / "servers.md").read_text()
    assert (tmp_path / "servers.json").read_text() == (DOCS / "servers.json").read_text()


def test_a_server_that_there_is_not_is_refused_by_name(tmp_path: Path) -> None:
    done = tool("uvicorn", "apache", "--quick", cache=tmp_path)
    assert done.returncode == 2
    assert "no server is called 'apache'" in done.stderr


def test_a_server_that_does_not_install_is_named_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    gone = replace(KINDS["granian"], packages=(f"{tmp_path}/granian.whl",))
    document = measure([gone], SHORT, 1)
    assert document["servers"] == {}
    assert "granian.whl" in document["absent"]["granian"]
    assert "- **granian**: not installed: " in page.render(document)


def test_a_server_that_does_not_start_is_named_with_what_it_said() -> None:
    broken = replace(KINDS["granian"], line=("-c", "import sys; sys.exit('no such application')"))
    record = Recorder(broken, HERE, [FRONTS["lbcore"]], SHORT, frozenset({"early", "stopping"})).run()
    assert set(record["failed"]) == {"one server", "stopping, lbcore"}
    assert all("no such application" in reason for reason in record["failed"].values())
    document = {"machine": "", "configurations": {}, "servers": {"granian": record}, "absent": {}}
    assert "- **granian**, stopping, lbcore: `AssertionError: granian ended" in page.render(document)


def test_nothing_of_a_server_outlives_it() -> None:
    with Server(KINDS["uvicorn --workers 2"]) as server:
        server.wait()
        group = server.process.pid
        members = psutil.Process(group).children(recursive=True)
        assert members
        os.kill(group, signal.SIGKILL)  # its workers do not notice at once
    wait_for(lambda: not any(lives(member) for member in members), "they are gone")


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
