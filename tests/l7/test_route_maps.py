"""Map files: hosts to pools, tens of thousands of them, followed as they change; what is wrong is told by its line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from harness import balanced, command, wait_for
from http_balancers import OFF, settings_of
from http_peers import Backend, Client

from lbcore import _engine
from lbcore.config.settings import BalancerSettings, ListenerSettings, PoolSettings, RouteSettings
from lbcore.errors import ConfigError
from lbcore.table import Table
from lbcore.table.routes import pack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def table() -> Iterator[Table]:
    made = Table(name="maps", version="0", workers=1, max_backends=16, datapath="auto")
    for name in ("one", "two", "three"):
        made.set_pool(PoolSettings(name=name))
    yield made
    made.close()


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def leads(table: Table, host: str, *routes: dict[str, Any], path: str = "/") -> str | None:
    """The pool that a request to this host goes to; None: nowhere. Raises ValueError where it is refused."""
    table.set_routes(pack([RouteSettings(**route) for route in routes], {}, table.pool_rows()))
    found = _engine.Router(table._writer).match(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    return next((name for name, row in table.pool_rows().items() if row == found), None)


def test_exact_names_come_before_wildcards_and_longer_wildcards_before_shorter(table: Table, tmp_path: Path) -> None:
    text = "\n# shops\na.example one # the first\n*.example two\n*.b.example\tthree\nx.b.example   one\nÜ.test one\n"
    file = written(tmp_path / "hosts.map", text.replace("Ü.test one\n", "UP.Test. three"))
    for host, pool in {
        "a.example": "one",
        "A.EXAMPLE.:8080": "one",
        "b.example": "two",
        "z.a.example": "two",
        "x.b.example": "one",
        "y.b.example": "three",
        "y.y.b.example": "three",
        "up.test": "three",
        "example": None,
        "a.exampl": None,
        "a.example.org": None,
    }.items():
        assert leads(table, host, {"map": file}) == pool, host


def test_a_host_that_no_line_names_goes_on_to_the_next_route(table: Table, tmp_path: Path) -> None:
    first = written(tmp_path / "a", "a.example one\n")
    second = written(tmp_path / "b", "a.example two\nb.example two\n*.c.example two\n")
    routes = ({"map": first, "path_prefix": "/x"}, {"map": second}, {"pool": "three"})
    assert leads(table, "a.example", *routes, path="/x") == "one"
    assert leads(table, "a.example", *routes) == "two"
    assert leads(table, "b.example", *routes, path="/x") == "two"
    assert leads(table, "d.c.example", *routes) == "two"
    assert leads(table, "c.example", *routes) == "three"


def test_a_path_that_leads_to_another_pool_of_the_map_is_refused(table: Table, tmp_path: Path) -> None:
    first = written(tmp_path / "a", "a.example one\nb.example two\n")
    second = written(tmp_path / "b", "a.example two\nb.example two\n")
    routes = ({"map": first, "path_prefix": "/x"}, {"map": second})
    with pytest.raises(ValueError, match="refused"):
        leads(table, "a.example", *routes, path="//x")
    assert leads(table, "b.example", *routes, path="//x") == "two"


def test_ten_thousands_of_hosts(table: Table, tmp_path: Path) -> None:
    lines = "".join(f"shop-{number}.example.com {('one', 'two', 'three')[number % 3]}\n" for number in range(50_000))
    file = written(tmp_path / "hosts.map", lines + "*.wild.example two\n")
    table.set_routes(pack([RouteSettings(map=file)], {}, table.pool_rows()))
    router = _engine.Router(table._writer)
    rows = table.pool_rows()
    for number in range(0, 50_000, 97):
        head = f"GET / HTTP/1.1\r\nHost: shop-{number}.example.com\r\n\r\n".encode()
        assert router.match(head) == rows[("one", "two", "three")[number % 3]]
    assert router.match(b"GET / HTTP/1.1\r\nHost: shop-50000.example.com\r\n\r\n") is None
    assert router.match(b"GET / HTTP/1.1\r\nHost: %s.wild.example\r\n\r\n" % b".".join([b"x"] * 115)) == rows["two"]


def test_more_than_the_room_for_routes_is_refused(table: Table, tmp_path: Path) -> None:
    long = ".".join(["x" * 60] * 4)
    file = written(tmp_path / "hosts.map", "".join(f"{number}.{long[:-10]} one\n" for number in range(33_000)))
    routes = [RouteSettings(map=file) for _ in range(20)]
    routes += [RouteSettings(map=written(tmp_path / "more", "".join(f"{n}.{long[:-9]} one\n" for n in range(33_000))))]
    with pytest.raises(ConfigError, match="routes, maps and credentials take"):
        pack(routes, {}, table.pool_rows())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a.example\n", ":1: 'a.example' is not allowed .allowed: HOST POOL"),
        ("a.example one\n\nb.example one two\n", ":3: 'b.example one two' is not allowed"),
        ("a.example:80 one\n", ":1: 'a.example:80' is not allowed"),
        ("*.*.example one\n", r":1: '\*.\*.example' is not allowed"),
        ("* one\n", r":1: '\*' is not allowed"),
        ("a.example one\nA.example. one\n", ":2: a.example is named twice"),
        ("x y z\n" * 9, "(?s):5: .*route.map: and 4 more faults"),
        ("\xff", "decode"),
    ],
)
def test_bad_map_is_refused_with_its_file_and_line(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "hosts.map"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=words) as refused:
        RouteSettings(map=str(file))
    assert all(line.startswith("route.map: ") for line in refused.value.problems)
    with pytest.raises(ConfigError, match="nowhere: No such file"):
        RouteSettings(map=str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match=r"not a regular file|Is a directory"):
        RouteSettings(map=str(tmp_path))


def test_unknown_pool_is_refused_with_its_line(tmp_path: Path) -> None:
    file = written(tmp_path / "hosts.map", "a.example p\nb.example q\nc.example q\n")
    with pytest.raises(ConfigError, match=r"route\[0\].map: .*hosts.map:2: pool 'q' is unknown \(known: p\)$"):
        BalancerSettings(
            listeners=[ListenerSettings(bind="http://127.0.0.1:0")],
            routes=[RouteSettings(map=file)],
            pools=[PoolSettings(name="p")],
        )


def test_changes_of_the_file_are_followed_and_bad_ones_change_nothing(tmp_path: Path) -> None:
    file = tmp_path / "hosts.map"
    file.write_text("a.example one\n")
    with Backend(name=b"one") as one, Backend(name=b"two") as two, Backend(name=b"default") as default:
        pools = {"default": default, "one": one, "two": two}
        settings = settings_of(pools, [{"map": str(file)}])
        with balanced(settings=settings) as lb, Client(lb.address) as client:

            def goes(host: bytes) -> bytes:
                return client.get(host=host).body

            assert [goes(b"a.example"), goes(b"b.example")] == [b"one", b"default"]
            file.write_text("a.example two\n*.b.example one\n")  # in place
            wait_for(lambda: goes(b"a.example") == b"two", "the new map is in force")
            assert [goes(b"x.b.example"), goes(b"b.example")] == [b"one", b"default"]
            written_apart = tmp_path / "fresh"
            written_apart.write_text("b.example two\n")
            os.replace(written_apart, file)
            wait_for(lambda: goes(b"b.example") == b"two", "the map in its place is in force")
            assert goes(b"a.example") == b"default"


def test_faults_are_logged_once_and_the_last_good_map_stays(tmp_path: Path) -> None:
    with Backend(name=b"one") as one, Backend(name=b"two") as two:
        (tmp_path / "hosts.map").write_text("a.example one\n")
        file = tmp_path / "site.toml"
        file.write_text(
            '[[listener]]\nname = "web"\nbind = "http://127.0.0.1:0"\npool = "two"\n[[route]]\nmap = "hosts.map"\n'
            + "".join(
                f'[[pool]]\nname = "{name}"\nprobe = {{ kind = "off" }}\n[[pool.backend]]\naddress = "{backend.address}"\n'
                for name, backend in (("one", one), ("two", two))
            )
        )
        with command(tmp_path, "-c", str(file)) as lb, Client(lb.address) as client:
            assert client.get().body == b"one"
            (tmp_path / "hosts.map").write_text("a.example two\nb.example nobody\nc.example\n")
            wait_for(lambda: "hosts.map:3: 'c.example' is not allowed" in lb.stderr.read_text(), "the fault is logged")
            assert client.get().body == b"one"
            assert "route[0].map: " in lb.cli("reload").stderr
            (tmp_path / "hosts.map").write_text("a.example nobody\n")
            wait_for(lambda: "hosts.map:1: pool 'nobody' is unknown" in lb.stderr.read_text(), "the fault is logged")
            assert client.get().body == b"one"
            (tmp_path / "hosts.map").unlink()
            wait_for(lambda: "left as it was: No such file" in lb.stderr.read_text(), "the fault is logged")
            assert client.get().body == b"one"
            (tmp_path / "hosts.map").write_text("b.example one\n")
            wait_for(lambda: client.get().body == b"two", "the good map is in force")
            assert "well again" in lb.stderr.read_text()
            assert lb.stderr.read_text().count("hosts.map:3: ") == 1
            assert f"route[0]: map={tmp_path}/hosts.map" in lb.cli("why").stdout
            (tmp_path / "hosts.map").write_text("a.example one\n")
            assert lb.cli("reload").stdout.endswith("reloaded\n")
            wait_for(lambda: client.get().body == b"one", "a reload reads it, too")


def test_maps_have_figures(tmp_path: Path) -> None:
    file = tmp_path / "hosts.map"
    file.write_text("a.example one\nb.example one\n")
    with Backend(name=b"one") as one, Backend(name=b"default") as default:
        routes = [{"map": str(file)}, {"map": str(file), "path": "/x"}]  # of one file there is one row
        settings = settings_of({"default": default, "one": one}, routes)
        with balanced(settings=settings) as lb:

            def told() -> dict[str, Any]:
                (only,) = lb.status()["maps"]
                return only

            def counted(taken: int, refused: int) -> bool:
                return (told()["taken"], told()["refused"]) == (taken, refused)

            first = told()
            assert first == {"file": str(file), "hosts": 2, "read_at": first["read_at"], "taken": 0, "refused": 0, "fault": ""}
            file.write_text("a.example one\nb.example one\nc.example one\n")
            wait_for(lambda: counted(1, 0), "a good change is counted")
            assert (told()["hosts"], told()["read_at"] > first["read_at"]) == (3, True)
            file.write_text("a.example nobody\n")
            wait_for(lambda: counted(1, 1), "a bad one is")
            assert (told()["hosts"], told()["fault"]) == (3, f"{file}:1: pool 'nobody' is unknown (known: default, one)")
            text = lb.metrics().decode()
            for line in (
                f'lbcore_map_hosts{{file="{file}"}} 3.0',
                f'lbcore_map_faulty{{file="{file}"}} 1.0',
                f'lbcore_map_reloads_total{{file="{file}",result="taken"}} 1.0',
                f'lbcore_map_reloads_total{{file="{file}",result="refused"}} 1.0',
                f'lbcore_map_read_seconds{{file="{file}"}} ',
            ):
                assert line in text
            file.write_text("a.example nobody # still\n")
            wait_for(lambda: counted(1, 2), "another one with the same fault is")
            file.unlink()
            wait_for(lambda: counted(1, 3), "a file that is missing is, once")
            file.write_text("a.example one\n")
            wait_for(lambda: counted(2, 3), "it is well again")
            assert (told()["hosts"], told()["fault"]) == (1, "")
            lb.reload(settings_of({"default": default, "one": one}, [{"map": str(file)}]))
            assert counted(2, 3)  # a reload of the configuration is no change of the file
            lb.reload(settings_of({"default": default, "one": one}, []))
            assert lb.status()["maps"] == []


def test_pools_of_a_map_that_lead_back_are_refused(tmp_path: Path) -> None:
    file = written(tmp_path / "hosts.map", "a.example p\n")
    with pytest.raises(ConfigError, match="is this balancer's own listener web"):
        BalancerSettings(
            listeners=[ListenerSettings(bind="http://127.0.0.1:18080", name="web")],
            routes=[RouteSettings(map=file)],
            pools=[PoolSettings(name="p", probe=OFF, backends=["127.0.0.1:18080"])],
        )
