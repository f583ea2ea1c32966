"""Backends from DNS and from files: a real name server, killed and restarted; files as deployments write them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from file_sources import of_file, settings, write
from harness import Peer, balanced, dial, free_port, named, read_exactly, stays, wait_for
from http_balancers import OFF
from pace import paced

from lbcore.config.settings import BackendSettings, PoolSettings, SourceSettings
from lbcore.discovery.found import Found, scaled
from lbcore.discovery.watch import FileSource, parse
from lbcore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lbcore.api.balancer import Balancer

needs_dnsmasq = pytest.mark.skipif(not shutil.which("dnsmasq"), reason="dnsmasq is not installed")


def known(lb: Balancer) -> dict[str, tuple[int, str]]:
    """Weight and source by address, of those that are not leaving."""
    return {backend.address: (backend.weight, backend.source) for backend in lb.pool().backends()}


# --- files ----------------------------------------------------------------------------------------------------------------


def test_a_file_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "backends"
    with Peer(named(b"hi")) as peer, balanced(settings=settings(of_file(path))) as lb:
        assert known(lb) == {}  # a file that is not there yet
        write(path, f"# ours\n{peer.address} weight=3\n\n")
        wait_for(lambda: known(lb) == {peer.address: (3, "file")}, "it comes")
        with dial(lb.address) as session:
            assert read_exactly(session, 2) == b"hi"
        generation = lb.pool().backends()[0].generation
        write(path, f"{peer.address} weight=5\n10.0.0.1:80\n[::1]:81\n")
        wait_for(lambda: known(lb) == {peer.address: (5, "file"), "10.0.0.1:80": (1, "file"), "[::1]:81": (1, "file")}, "more")
        assert lb.pool().backends()[0].generation == generation
        write(path, "")
        wait_for(lambda: known(lb) == {}, "an empty file is taken at its word")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("10.0.0.1:80\nhalf of a li", "line 2"),
        ("10.0.0.1:80 wight=1", "'wight=1' is not allowed"),
        ("10.0.0.1:80 weight=257", "weight: 257"),
        ("example.com:80", "line 1"),
        ("10.0.0.1:80\n10.0.0.1:80", "named twice"),
        ("10.0.0.1:0", "line 1"),
        ("\0", "line 1"),
    ],
)
def test_a_broken_file_changes_nothing_and_is_named(tmp_path: Path, text: str, fault: str) -> None:
    path, lines = tmp_path / "backends", list[str]()
    path.write_text("10.0.0.1:80\n")
    from lbcore.api.balancer import Balancer

    with Balancer(settings=settings(of_file(path)), log=lines.append) as lb:
        wait_for(lambda: list(known(lb)) == ["10.0.0.1:80"], "it comes")
        write(path, text)
        told = wait_for(lambda: [line for line in lines if "left as it was" in line], "the fault is told")
        assert fault in told[0]
        stays(lambda: len([line for line in lines if "left as it was" in line]) == 1, "it is told once", 0.2)
        assert list(known(lb)) == ["10.0.0.1:80"]
        path.unlink()
        wait_for(lambda: any("No such file" in line for line in lines), "that it is gone is told")
        assert list(known(lb)) == ["10.0.0.1:80"]
        write(path, "10.0.0.2:80")
        wait_for(lambda: list(known(lb)) == ["10.0.0.2:80"], "it is well again")


def test_json_files() -> None:
    text = json.dumps(["10.0.0.1:80", {"address": "[::0001]:81", "weight": 0}])
    assert parse(text, is_json=True) == [Found("10.0.0.1:80", 1), Found("[::1]:81", 0)]
    for wrong in ("{}", "[1]", '[{"address": "10.0.0.1:80", "weight": true}]', "[", '[{"weight": 1}]', "[" * 100_000):
        with pytest.raises((ValueError, RecursionError)):
            parse(wrong, is_json=True)


def test_two_sources_of_one_address_are_one_backend(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("10.0.0.1:80\n10.0.0.2:80\n")
    two.write_text("10.0.0.2:80\n10.0.0.3:80\n")
    configured = [BackendSettings(address="10.0.0.3:80", weight=9)]
    with balanced(settings=settings(of_file(one), of_file(two), backends=configured)) as lb:
        wait_for(lambda: len(known(lb)) == 3, "all come")
        assert known(lb)["10.0.0.3:80"] == (9, "config")
        write(one, "")
        wait_for(lambda: "10.0.0.1:80" not in known(lb), "only one named it")
        stays(lambda: set(known(lb)) == {"10.0.0.2:80", "10.0.0.3:80"}, "the others stay", 0.2)
        write(two, "")
        wait_for(lambda: set(known(lb)) == {"10.0.0.3:80"}, "the configuration names it still")


def test_reload_ends_a_source_with_its_backends(tmp_path: Path) -> None:
    path = tmp_path / "backends"
    path.write_text("10.0.0.1:80\n")
    with balanced(settings=settings(of_file(path))) as lb:
        wait_for(lambda: len(known(lb)) == 1, "it comes")
        lb.reload(lb.settings.replace(pools=[PoolSettings(probe=OFF)]))
        assert known(lb) == {}


FIRST = "127.0.0.1:9001\n127.0.0.1:9002\n127.0.0.1:9003\n"


def in_pieces(path: Path, *pieces: str, flags: str = "w") -> None:
    """Written in place, each piece seen by a look or two."""
    with path.open(flags) as file:
        for at in paced(len(pieces), 0.04):
            file.write(pieces[at])
            file.flush()


def sets_of(path: Path, change: Callable[[], None], last: list[str]) -> list[list[str]]:
    """The sets of backends that a source told after the first, while a file changed, until this one came."""
    told: list[list[str]] = []

    async def main() -> None:
        source = FileSource("web", str(path), lambda line: None, interval_s=0.25)
        sets: asyncio.Queue[list[str]] = asyncio.Queue()
        task = asyncio.create_task(source.run(lambda found: sets.put_nowait([one.address for one in found])))
        told.append(await sets.get())
        await asyncio.to_thread(change)
        async with asyncio.timeout(5):
            while told[-1] != last:
                told.append(await sets.get())
        task.cancel()

    asyncio.run(main())
    return told[1:]


def test_a_file_that_is_truncated_in_place_is_not_believed_half(tmp_path: Path) -> None:
    path = tmp_path / "backends"
    path.write_text(FIRST)
    new = ["127.0.0.1:9001", "127.0.0.1:9002", "127.0.0.1:9004"]
    pieces = ("", "127.0.0.1:9001\n", "127.0.0.1:9002\n127.0.0", ".1:9004", "\n")
    assert sets_of(path, lambda: in_pieces(path, *pieces), new) == [new]


def test_a_line_without_its_end_is_not_believed(tmp_path: Path) -> None:
    """ "127.0.0.1:900" is an address as well."""
    path = tmp_path / "backends"
    path.write_text(FIRST)
    new = [*FIRST.split(), "127.0.0.1:9004"]
    assert sets_of(path, lambda: in_pieces(path, "127.0.0.1:900", "4\n", flags="a"), new) == [new]


def test_a_new_file_whose_last_line_never_ends_is_believed_at_the_second_look(tmp_path: Path) -> None:
    path, draft = tmp_path / "backends", tmp_path / "draft"
    path.write_text(FIRST)

    def change() -> None:
        draft.write_text("127.0.0.1:9004")
        os.replace(draft, path)

    assert sets_of(path, change, ["127.0.0.1:9004"]) == [["127.0.0.1:9004"]]


def test_a_file_that_is_emptied_for_good_is_taken_at_its_word(tmp_path: Path) -> None:
    path = tmp_path / "backends"
    path.write_text(FIRST)
    assert sets_of(path, lambda: in_pieces(path, ""), []) == [[]]


def test_a_file_that_is_put_in_place_is_believed_at_once(tmp_path: Path) -> None:
    path, draft = tmp_path / "backends", tmp_path / "draft"
    path.write_text(FIRST)
    source = FileSource("web", str(path), lambda line: None)
    assert [one.address for one in source._look() or ()] == FIRST.split()
    draft.write_text("127.0.0.1:9004\n")
    os.replace(draft, path)
    assert [one.address for one in source._look() or ()] == ["127.0.0.1:9004"]
    path.write_text("127.0.0.1:9005\n")
    assert source._look() is None
    assert [one.address for one in source._look() or ()] == ["127.0.0.1:9005"]


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"kind": "dns"}, "name: missing"),
        ({"kind": "dns", "name": "a.example"}, "port: missing"),
        ({"kind": "file"}, "path: missing"),
        ({"kind": "srv", "name": "a.example", "port": 1}, "port: only for kind dns or kubernetes, this is srv"),
        ({"kind": "dns", "name": "a b", "port": 1}, "name: 'a b'"),
        ({"kind": "dns", "name": "a", "port": 1, "server": "ns.example:53"}, "server: 'ns.example:53'"),
        ({"kind": "zookeeper"}, "kind: 'zookeeper'"),
    ],
)
def test_wrong_sources_are_named(values: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        SourceSettings(**values)


# --- DNS ------------------------------------------------------------------------------------------------------------------


class NameServer:
    """dnsmasq on a loopback port, with records of the test's."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def serve(self, *records: str) -> None:
        """Start, or start again with other records."""
        self.stop()
        options = ["--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--user=root", "--pid-file="]
        options += [f"--port={self.port}", "--listen-address=127.0.0.1", "--bind-interfaces", "--local-ttl=1", "--local=/test/"]
        self._process = subprocess.Popen(["dnsmasq", *options, *records], stderr=subprocess.DEVNULL)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NameServer]:
    running = NameServer(tmp_path)
    with contextlib.closing(contextlib.ExitStack()):
        yield running
    running.stop()


def of_dns(server: NameServer, **values: Any) -> SourceSettings:
    return SourceSettings(
        **{
            "kind": "dns",
            "name": "app.test",
            "port": 8000,
            "interval": "100ms",
            "server": server.address,
            "family": "both",
            "hold": 0,
        }
        | values
    )


@needs_dnsmasq
def test_addresses_of_a_name_are_followed_and_outlive_the_server(server: NameServer) -> None:
    server.serve("--host-record=app.test,10.1.0.1,fd00::1,1", "--host-record=app.test,10.1.0.2,1")
    with balanced(settings=settings(of_dns(server))) as lb:
        wait_for(lambda: set(known(lb)) == {"10.1.0.1:8000", "10.1.0.2:8000", "[fd00::1]:8000"}, "A and AAAA")
        server.serve("--host-record=app.test,10.1.0.2,1", "--host-record=app.test,10.1.0.3,1")
        wait_for(lambda: set(known(lb)) == {"10.1.0.2:8000", "10.1.0.3:8000"}, "another answer")
        server.stop()
        stays(lambda: set(known(lb)) == {"10.1.0.2:8000", "10.1.0.3:8000"}, "no reply changes nothing", 1.5)
        server.serve()
        stays(lambda: set(known(lb)) == {"10.1.0.2:8000", "10.1.0.3:8000"}, "NXDOMAIN changes nothing", 1.5)
        server.serve("--host-record=app.test,10.1.0.9,1")
        wait_for(lambda: set(known(lb)) == {"10.1.0.9:8000"}, "it is asked again")


@needs_dnsmasq
def test_services_have_ports_weights_and_priorities(server: NameServer) -> None:
    server.serve(
        "--srv-host=_app._tcp.test,one.test,8001,1,10",
        "--srv-host=_app._tcp.test,two.test,8002,1,30",
        "--srv-host=_app._tcp.test,spare.test,8003,2,10",
        "--host-record=one.test,10.2.0.1,1",
        "--host-record=two.test,10.2.0.2,1",
        "--host-record=spare.test,10.2.0.3,1",
    )
    source = of_dns(server, kind="srv", name="_app._tcp.test", port=None)
    with balanced(settings=settings(source)) as lb:
        found = {"10.2.0.1:8001": (10, "dns"), "10.2.0.2:8002": (30, "dns"), "10.2.0.3:8003": (10, "dns")}
        wait_for(lambda: known(lb) == found, "both priorities")
        assert {b["address"]: b["tier"] for p in lb.status()["pools"] for b in p["backends"]} == {
            "10.2.0.1:8001": 0,
            "10.2.0.2:8002": 0,
            "10.2.0.3:8003": 1,
        }
        server.serve("--srv-host=_app._tcp.test,spare.test,8003,2,10", "--host-record=spare.test,10.2.0.3,1")
        wait_for(lambda: known(lb) == {"10.2.0.3:8003": (10, "dns")}, "the next one")


def test_weights_of_services_arescaled() -> None:
    assert scaled([0, 1, 256]) == [1, 1, 256]
    assert scaled([65_535, 0, 32_768]) == [256, 1, 128]
    assert scaled([]) == []
