"""lbcore top: its screen by textual's own pilot, over the segment of balancers that serve, hang, and have died."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from harness import PATIENCE_S, SLOWER, Command, command

pytest.importorskip("textual")

from lbcore.cli.top import screen
from lbcore.cli.top import source as top_source
from lbcore.cli.top.screen import AskWeight, Backends, Top
from lbcore.cli.top.source import Source
from lbcore.errors import LbcoreError, NotRunning

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from textual.pilot import Pilot

ADDRESSES = ["127.0.0.1:9", "127.0.0.1:11", "127.0.0.1:13"]
RUN = ["--listen", "tcp://127.0.0.1:0", "--health", "off", "--name", "shop", *(f"--backend={one}" for one in ADDRESSES)]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """A balancer for the tests that leave it as it was."""
    with command(tmp_path_factory.mktemp("run"), *RUN) as running:
        yield running


def steered(
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    steps: Callable[[Top, Pilot[Any]], Awaitable[None]],
    size: tuple[int, int] = (140, 40),
) -> None:
    """The screen of the balancer "shop", with steps taken on it."""
    monkeypatch.setenv("LBCORE_RUNTIME_DIR", str(directory))

    async def run() -> None:
        with Source("shop") as source:
            source.read()
            app = Top(source, 0.1)
            async with app.run_test(size=size) as pilot:
                await steps(app, pilot)

    asyncio.run(run())


async def until(pilot: Pilot[Any], condition: Callable[[], Any], what: str) -> None:
    deadline = asyncio.get_running_loop().time() + PATIENCE_S * SLOWER
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"did not happen: {what}"
        await pilot.pause(0.02)


def text(app: Top) -> str:
    """What stands on the screen."""
    return "\n".join("".join(part.text for part in strip) for strip in app.screen_stack[-1]._compositor.render_strips())


def told(app: Top) -> str:
    return " ".join(note.message for note in app._notifications)


def state(running: Command, address: str) -> tuple[str, int]:
    (entry,) = [one for one in running.status()["pools"][0]["backends"] if one["address"] == address]
    return entry["state"], entry["weight"]


def test_it_shows_and_steers(shop: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    async def steps(app: Top, pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: all(address in text(app) for address in ADDRESSES), "all are shown")
        assert all(word in text(app) for word in ("shop", "serving", "tcp://127.0.0.1:", "default", "3 up"))
        await pilot.press("s")  # by address
        await pilot.press("down", "d")
        await until(pilot, lambda: state(shop, ADDRESSES[1])[0] == "draining", "it drains")
        await until(pilot, lambda: "drained by an operator" in text(app), "the reason is shown")
        await pilot.press("r")
        await until(pilot, lambda: state(shop, ADDRESSES[1])[0] == "up", "it is back")
        await pilot.press("w")
        await until(pilot, lambda: isinstance(app.screen, AskWeight), "it asks")
        await pilot.press("3", "0", "0", "enter")
        assert isinstance(app.screen, AskWeight)
        await pilot.press("backspace", "backspace", "backspace", "7", "enter")
        await until(pilot, lambda: state(shop, ADDRESSES[1])[1] == 7, "its weight is 7")
        await pilot.press("w", "1", "enter")
        await until(pilot, lambda: state(shop, ADDRESSES[1])[1] == 1, "its weight is 1")
        await pilot.press("w", "escape")
        await until(pilot, lambda: not isinstance(app.screen, AskWeight), "never mind")

    steered(shop.directory, monkeypatch, steps)


def test_sources_are_shown_and_those_in_trouble_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen, "SOURCES_S", 0.1)
    backends, config = tmp_path / "backends", tmp_path / "shop.toml"
    backends.write_text("127.0.0.1:9\n127.0.0.1:11\n")
    config.write_text(
        'name = "shop"\n[[listener]]\nbind = "tcp://127.0.0.1:0"\n[[pool]]\nname = "web"\nprobe = { kind = "off" }\n'
        f'[[pool.source]]\nkind = "file"\npath = "{backends}"\ninterval = "50ms"\n'
    )

    async def steps(app: Top, pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: "up: 2 backends" in text(app), "it is well")
        backends.unlink()
        await until(pilot, lambda: "stale: nothing heard for " in text(app), "it is lost")
        assert "its last 2 backends stay in force: No such file or directory" in text(app)
        os.kill(running.pid, signal.SIGSTOP)
        await until(pilot, lambda: "sources of backends: the control plane does not respond" in text(app), "it hangs")
        await pilot.pause(2)  # it is asked again meanwhile, and does not respond again
        assert "sources of backends: the control plane does not respond" in text(app)
        os.kill(running.pid, signal.SIGCONT)
        await until(pilot, lambda: "stale: nothing heard for " in text(app), "it is asked again")

    with command(tmp_path, "-c", str(config)) as running:
        steered(tmp_path, monkeypatch, steps, (160, 40))


def test_orders_filter_and_cursor(shop: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    async def steps(app: Top, pilot: Pilot[Any]) -> None:
        listing = app.query_one(Backends)
        await pilot.press("s")
        assert [row.address for row in listing.rows] == ADDRESSES
        await pilot.press("end")
        assert listing.chosen is not None
        assert listing.chosen.address == ADDRESSES[2]
        await pilot.press("S")
        assert listing.chosen.address == ADDRESSES[2]  # the cursor stays with it
        assert [row.address for row in listing.rows] == ADDRESSES[::-1]
        await pilot.press("slash", *":13", "enter")
        assert [row.address for row in listing.rows] == [ADDRESSES[2]]
        assert "1 of 3 backends" in text(app)
        await pilot.press("escape")
        assert len(listing.rows) == 3
        await pilot.press("slash", *"zz", "enter", "d", "w")  # nothing to act on
        assert listing.chosen is None
        await pilot.press("q")

    steered(shop.directory, monkeypatch, steps)


def test_narrow_terminals(shop: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    async def steps(app: Top, pilot: Pilot[Any]) -> None:
        for width, height in ((20, 6), (40, 12), (80, 24), (200, 50)):
            await pilot.resize_terminal(width, height)
            if height >= 12:
                await until(pilot, lambda: ADDRESSES[0] in text(app), "backends are shown")
            if width >= 60:
                await until(pilot, lambda: "reason" in text(app), "columns have titles")
            assert ("tcp://" in text(app)) == (height >= 20)

    steered(shop.directory, monkeypatch, steps)


def test_a_control_plane_that_hangs_is_read_and_acting_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(top_source, "ACT_LIMIT_S", 0.3)

    async def steps(app: Top, pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: ADDRESSES[0] in text(app), "it is shown")
        await pilot.press("d")
        await until(pilot, lambda: "control socket does not respond" in told(app), "it says why not")
        assert ADDRESSES[0] in text(app)

    with command(tmp_path, *RUN) as running:
        os.kill(running.pid, signal.SIGSTOP)
        try:
            steered(tmp_path, monkeypatch, steps)
        finally:
            os.kill(running.pid, signal.SIGCONT)


def test_a_control_plane_that_dies_is_read_and_acting_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = Command(tmp_path, *RUN, "--workers", "1", "--admin", "off")

    async def steps(app: Top, pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: "serving" in text(app), "it serves")
        os.kill(running.pid, signal.SIGKILL)
        running.process.wait()
        await until(pilot, lambda: "no control plane" in text(app), "it says so")
        await pilot.press("d")
        await until(pilot, lambda: "its control plane has crashed" in told(app), "it says why not")
        assert running.cli("stop", "--name", "shop").returncode == 0
        await until(pilot, lambda: "gone: no balancer named 'shop'" in text(app), "it says that all is gone")
        assert ADDRESSES[0] in text(app)  # what was last

    try:
        steered(tmp_path, monkeypatch, steps)
    finally:
        running.cli("stop", "--name", "shop")
        assert running.process.stdout is not None
        running.process.stdout.close()


def test_a_balancer_that_starts_again_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LBCORE_RUNTIME_DIR", str(tmp_path))
    with Source("shop") as source:
        with pytest.raises(NotRunning):
            source.read()
        with command(tmp_path, *RUN) as first:
            assert source.read()["pid"] == first.pid
        with pytest.raises(NotRunning):
            source.read()
        with pytest.raises(LbcoreError):
            source.act("drain", ADDRESSES[0], "default")
        with command(tmp_path, *RUN) as second:
            assert source.read()["pid"] == second.pid


def test_a_thousand_backends_are_drawn_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "lb.toml"
    many = "\n".join(f'[[pool.backend]]\naddress = "10.0.{number >> 8}.{number & 255}:80"' for number in range(1, 1001))
    config.write_text(f'[[listener]]\nbind = "tcp://127.0.0.1:0"\n[[pool]]\n[pool.probe]\nkind = "off"\n{many}\n')

    async def steps(app: Top, pilot: Pilot[Any]) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        for _ in range(5):
            app.read()
        assert (clock() - began) / 5 < 0.3 * SLOWER
        await pilot.press("s", "end")
        await until(pilot, lambda: "10.0.3.232:80" in text(app), "the last is shown")

    with command(tmp_path, "-c", str(config), "--name", "shop"):
        steered(tmp_path, monkeypatch, steps)


def test_a_reading_as_the_screen_ends_is_not_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its parts go before its clock: that was a traceback at the end, now and then."""
    apps: list[Top] = []

    async def steps(app: Top, pilot: Pilot[Any]) -> None:
        apps.append(app)
        closing = app._close_all

        async def close_and_read() -> None:
            await app.screen_stack[0].query("*").remove()
            app.read()
            await closing()

        monkeypatch.setattr(app, "_close_all", close_and_read)

    with command(tmp_path, *RUN):
        steered(tmp_path, monkeypatch, steps)
    assert len(apps) == 1


def test_without_textual_it_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import importlib.util as util, sys; real = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name == 'textual' else real(name, *more)\n"
        "from lbcore.cli import run; sys.exit(run(['top']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "lbcore: top needs textual: pip install 'lbcore[top]'\n"


def test_top_wants_a_terminal(tmp_path: Path) -> None:
    """Into a pipe it would write what no program reads, for ever."""
    with command(tmp_path, "--listen", "tcp://127.0.0.1:0", "--name", "shop") as running:
        done = running.cli("top", "--name", "shop")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "lbcore: top needs a terminal; lbcore status prints the same once\n"


def test_a_name_that_nobody_has_is_said_before_the_screen_is_taken(tmp_path: Path) -> None:
    env = {**os.environ, "LBCORE_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "lbcore", "top", "--name", "none"], env=env, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "lbcore: no balancer named 'none' is running\n"
