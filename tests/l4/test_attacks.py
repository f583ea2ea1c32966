"""Clients that mean harm: the others are served all the same, every one, and what the attack holds is bounded.

The attackers are processes of their own (bench/attackers.py) at another address; the load asks uvicorn through `lbcore run`.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from harness import Command, command, settled, totals, wait_for
from loads import Load, Server

from bench.attackers import ATTACKS, BIG

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]


class Origin(Server):
    """uvicorn with the attackers' application."""

    def _start(self) -> subprocess.Popen[bytes]:
        line = [sys.executable, "-m", "uvicorn", "bench.attackers:app", "--port", str(self.port), "--log-level", "error"]
        process = subprocess.Popen(line, cwd=ROOT)
        wait_for(self.answers, "uvicorn serves", 20)
        return process


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Origin]:
    with Origin(tmp_path_factory.mktemp("origin")) as server:
        yield server


@contextlib.contextmanager
def limited(directory: Path, origin: Origin, *, mode: str = "http", top: str = "", **listener: Any) -> Iterator[Command]:
    """`lbcore run` with short limits of time, and these of the listener. top: lines of the top level."""
    of_requests = {"body_timeout": "1s", "keepalive_timeout": "2s"} if mode.startswith("http") else {}
    limits: dict[str, Any] = {"header_timeout": "1s"} | of_requests | listener
    rows = "\n".join(f"{key} = {json.dumps(value)}" for key, value in limits.items())
    config = directory / "lb.toml"
    config.write_text(
        f'{top}\n[[listener]]\nbind = "{mode}://127.0.0.1:0"\n{rows}\n'
        f'[[pool]]\n[pool.probe]\nkind = "off"\n[[pool.backend]]\naddress = "{origin.address}"\n'
    )
    with command(directory, "-c", str(config), "--workers", "2") as lb:
        yield lb


class Attack:
    """Attackers under way. `tally`: what they did, once they have ended."""

    def __init__(self, name: str, address: tuple[str, int], count: int) -> None:
        assert name in ATTACKS
        words = [name, address[0], str(address[1]), str(count)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.attackers", *words],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.tally: dict[str, int] = {}

    def __enter__(self) -> Attack:
        return self

    def __exit__(self, *_: object) -> None:
        said, _ = self._process.communicate(timeout=30)
        self.tally = json.loads(said)


def under_attack(lb: Command, attack: str, count: int, bites: Any, answers: int = 150) -> dict[str, int]:
    """Load, attack, wait until the attack is felt, then for so many more good answers: none failed. What the attackers say."""
    with Load(lb.address) as load:
        with Attack(attack, lb.address, count) as attackers:
            wait_for(lambda: bites(totals(settled(lb))), f"{attack} is felt", 20)
            load.flows(answers)
        load.flows(20)
    assert load.bad == []
    wait_for(lambda: not totals(settled(lb))["active"], "nothing is held for who is gone")
    return attackers.tally


def test_slowloris(tmp_path: Path, origin: Origin) -> None:
    """Heads that never end hold a place for header_timeout, however many bytes come."""
    with limited(tmp_path, origin) as lb:
        tally = under_attack(lb, "slow_heads", 300, lambda figures: figures["responses_4xx"] >= 300)
        assert tally["408"] >= 300
        assert totals(settled(lb))["requests_done"] == sum(
            backend["sessions"] for backend in lb.status()["pools"][0]["backends"]
        ), "no slow head reached the backend"


def test_slow_bodies(tmp_path: Path, origin: Origin) -> None:
    """Without a least rate, who sends a byte now and then is bounded by number, not by time."""
    with limited(tmp_path, origin, max_client_sessions=50) as lb:
        under_attack(lb, "slow_bodies", 100, lambda figures: figures["requests_active"] >= 50)
        assert totals(settled(lb))["refused_client_sessions"] > 0


def test_slow_bodies_below_the_least_rate(tmp_path: Path, origin: Origin) -> None:
    """However regularly a byte comes: who sends less than it must has lost its place when body_timeout is over."""
    with limited(tmp_path, origin, min_body_rate=240) as lb:
        tally = under_attack(lb, "slow_bodies", 100, lambda figures: figures["requests_slow"] >= 200)
        assert tally["408"] >= 200


def test_slow_bodies_that_fall_silent(tmp_path: Path, origin: Origin) -> None:
    with limited(tmp_path, origin, body_timeout="100ms") as lb:  # less than the attackers' pace
        tally = under_attack(lb, "slow_bodies", 100, lambda figures: figures["responses_4xx"] >= 100)
        assert tally["408"] >= 100


def test_large_heads(tmp_path: Path, origin: Origin) -> None:
    with limited(tmp_path, origin) as lb:
        tally = under_attack(lb, "large_heads", 50, lambda figures: figures["requests_bad"] >= 500)
        assert tally["431"] + tally.get("reset", 0) + tally.get("closed", 0) >= 300
        figures = totals(settled(lb))
        assert figures["requests_bad"] == figures["requests_refused"], "none reached the backend"


@pytest.mark.parametrize("mode", ["http", "tcp"])
def test_many_small_windows(tmp_path: Path, origin: Origin, mode: str) -> None:
    """Who asks for much and reads nothing holds a buffer (of tcp, perhaps a pipe), not the answer, and not for long."""
    count = 100

    def memory() -> int:
        return sum(psutil.Process(worker["pid"]).memory_full_info().uss for worker in lb.status()["workers"])

    with limited(tmp_path, origin, mode=mode, idle_timeout="1s") as lb:
        before = memory()
        seen: list[tuple[int, int]] = []

        def bites(figures: dict[str, int]) -> bool:
            seen.append((memory() - before, figures["buffers"]))
            return figures["closed_idle"] >= count

        under_attack(lb, "small_windows", count, bites)
        grown, buffers = max(grown for grown, _ in seen), max(buffers for _, buffers in seen)
        assert buffers <= 2 * count, "a buffer a direction at most"
        assert grown < count * (2 * 64 + 32) * 1024 + (8 << 20) < count * BIG, "what a client does not take is not kept"


def test_connection_flood_from_one_address(tmp_path: Path, origin: Origin) -> None:
    with limited(tmp_path, origin, max_client_sessions=20, client_session_rate=100) as lb:
        under_attack(lb, "connection_flood", 200, lambda figures: figures["refused_client_sessions"] >= 2000)
        figures = totals(settled(lb))
        limited_by = figures["refused_client_sessions"] + figures["refused_client_rate"]
        assert figures["refused"] == limited_by == lb.status()["listeners"][0]["tally"]["limited"]


def test_connection_flood_beyond_all_places(tmp_path: Path, origin: Origin) -> None:
    """More connections than there is room for: without a limit per address they would take every place."""
    with limited(tmp_path, origin, top="max_sessions = 100", max_client_sessions=20) as lb:
        with Attack("connection_flood", lb.address, 500), Load(lb.address) as load:
            wait_for(lambda: totals(settled(lb))["refused_client_sessions"] >= 1000, "they are refused")
            load.flows(100)
        assert load.bad == []
        assert totals(settled(lb))["accept_pauses"] == 0


def test_request_flood(tmp_path: Path, origin: Origin) -> None:
    """One address asks as quickly as it can; the others (trusted here, so that they have no rate) notice nothing."""
    with limited(tmp_path, origin, client_request_rate=50, trusted_proxies=["127.0.0.1/32"]) as lb:
        tally = under_attack(lb, "request_flood", 50, lambda figures: figures["requests_limited"] >= 500)
        assert tally["429"] >= 500
        assert totals(settled(lb))["requests_limited"] == totals(settled(lb))["requests_refused"]
