"""What operators see and order of a cluster on the command line, and what `lbcore check --connect` says before a start."""

from __future__ import annotations

import errno
import json
import os
import socket
import urllib.request
from typing import TYPE_CHECKING

import pytest
from cluster_nodes import PREFIX
from etcd_members import ANY, Etcd, etcd, needs_etcd, put, with_users
from harness import command, free_port, wait_for

from lbcore.cli import run
from lbcore.store.faults import explained

if TYPE_CHECKING:
    from pathlib import Path

    from tls_peers import Authority


def written(folder: Path, url: str, name: str = "lbcore", more: str = "") -> Path:
    file = folder / f"{name}.toml"
    file.write_text(
        f'name = "{name}"\nworkers = 1\n[admin]\nlisten = "127.0.0.1:0"\n[[listener]]\nbind = "http://127.0.0.1:0"\n'
        f'[cluster]\nendpoints = ["{url}"]\nprefix = "{PREFIX}"\nnode = "{name}"\n{more}'
    )
    return file


@needs_etcd
def test_status_and_drain_node(tmp_path: Path) -> None:
    with etcd(tmp_path) as servers:
        file = written(tmp_path, servers.urls[0])
        with command(tmp_path, "-c", str(file), "--admin", "127.0.0.1:0") as running:
            shown = running.cli("cluster", "status")
            assert shown.returncode == 0, shown.stderr
            assert f"node lbcore: etcd {PREFIX}: connected" in shown.stdout
            assert "trust own: 0 loads of other nodes used, 0 sent" in shown.stdout
            told = json.loads(running.cli("cluster", "status", "--json").stdout)
            assert [node["name"] for node in told["nodes"]] == ["lbcore"]
            assert json.loads(running.cli("status", "--json").stdout)["cluster"]["connected"]
            with urllib.request.urlopen(f"{running.admin}/metrics") as answer:
                assert b"lbcore_cluster_connected 1.0" in answer.read()
            assert "node lbcore: drained" in running.cli("cluster", "drain-node").stdout
            assert running.control.call("GET", "/readyz")[0] == 503
            assert "unknown (known: lbcore)" in running.cli("cluster", "drain-node", "nobody").stderr
            assert "serves again" in running.cli("cluster", "drain-node", "lbcore", "--undo").stdout
            servers.stop()
            shown = running.cli("cluster", "status")
            assert shown.returncode == 1
            assert "NOT CONNECTED: the store cannot be reached" in shown.stdout


def test_a_balancer_in_no_cluster(tmp_path: Path) -> None:
    with command(tmp_path, "--listen", "tcp://127.0.0.1:0") as running:
        shown = running.cli("cluster", "status")
        assert shown.returncode == 1
        assert "is in no cluster" in shown.stderr
        assert "is in no cluster" in running.cli("cluster", "drain-node").stderr


@needs_etcd
def test_check_asks_the_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with etcd(tmp_path) as servers:
        file = written(tmp_path, servers.urls[0])
        assert run(["check", "--connect", str(file)]) == 0
        put(servers.urls[0], f"{PREFIX}registry/pods", "x")
        assert run(["check", "--connect", str(file)]) == 2
        assert f"cluster.prefix: '{PREFIX}' is used by something else" in capsys.readouterr().err
    assert run(["check", "--connect", str(file)]) == 2
    assert "cluster.endpoints: the store cannot be reached" in capsys.readouterr().err
    assert run(["check", str(file)]) == 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('endpoints = ["127.0.0.1:1"]', "cluster.endpoints: '127.0.0.1:1' is not allowed"),
        ('endpoints = ["http://h:1/path"]', "cluster.endpoints: 'http://h:1/path' is not allowed"),
        ("", "cluster.endpoints: missing"),
        ('endpoints = ["http://h:1"]\nprefix = "shop"', "cluster.prefix: 'shop' is not allowed"),
        ('endpoints = ["http://h:1"]\nca = "file"', "cluster.ca: requires endpoints of https"),
        ('endpoints = ["https://h:1"]\nkey = "file"', "cluster.key: requires cert"),
        ('endpoints = ["https://h:1"]\nca = "missing"', "cluster.ca: "),
        ('endpoints = ["http://h:1"]\nuser = "me"', "cluster.user: requires password_file"),
        ('endpoints = ["http://h:1"]\npassword = "me"', "cluster.password_file: requires user"),
        ('endpoints = ["http://h:1"]\nsecret_file = "short"', "cluster.secret_file: its first line is too short"),
        ('endpoints = ["http://h:1"]\nsecret_file = "missing"', "cluster.secret_file: "),
        ('endpoints = ["http://h:1"]\nkeep = "1s"', "cluster.keep: '1s' is not allowed"),
        (
            'endpoints = ["http://h:1"]\n[[pool]]\nlease.heartbeat = "30s"',
            "cluster.keep: 1m is shorter than the leases of pool",
        ),
        ('endpoints = ["http://h:1"]\nkind = "zookeeper"', "cluster.kind: 'zookeeper' is not allowed"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], more: str, said: str) -> None:
    (tmp_path / "short").write_text("short\n")
    file = tmp_path / "lb.toml"
    file.write_text(f'[cluster]\n{more}\n[[listener]]\nbind = "tcp://127.0.0.1:0"\n')
    assert run(["check", str(file)]) == 2
    told = capsys.readouterr().err
    assert f"{file}: {said}" in told
    assert len(told.splitlines()) == 1


def test_nobody_listens_where_the_store_should_be(tmp_path: Path) -> None:
    """It starts, serves, and says so once."""
    file = written(tmp_path, f"http://127.0.0.1:{free_port()}")
    with command(tmp_path, "-c", str(file), "--admin", "127.0.0.1:0") as running:
        assert not running.status()["cluster"]["connected"]
        assert running.stderr.read_text().count("the store cannot be reached") == 1


@pytest.mark.parametrize("number", [errno.ECONNRESET, errno.EPIPE])
def test_a_reset_is_a_connection_that_was_closed(number: int) -> None:
    """A server of the other scheme ends the connection by FIN or by RST, whichever comes first."""
    said = str(explained(OSError(number, os.strerror(number)), "https://a:1", 1, known=False))
    assert said == "https://a:1: the connection was closed without an answer: does it speak http?"


@needs_etcd
def test_check_says_what_is_wrong_with_the_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], authority: Authority, here: Path, strange: Path
) -> None:
    """One line each, with the key that is at fault: schemes, names, certificates."""
    listens = ["--cert-file", f"{here}.crt", "--key-file", f"{here}.key"]
    asks = ["--client-cert-auth", "--trusted-ca-file", str(authority.cert)]
    secure = Etcd(tmp_path, ANY, 1, [*listens, *asks], "https")
    (tmp_path / "plain").mkdir()
    try:
        secure.start()
        wait_for(lambda: not socket.socket().connect_ex(("127.0.0.1", secure.members[0].client)), "it listens", 30)
        url, known = secure.urls[0], f'ca = "{authority.cert}"\n'
        wrong = f'{known}cert = "{strange}.crt"\nkey = "{strange}.key"\n'
        with etcd(tmp_path / "plain") as plain:
            for where, more, said in (
                (
                    "http://nobody.invalid:1",
                    "",
                    "cluster.endpoints: the store cannot be reached: http://nobody.invalid:1: the host",
                ),
                (plain.urls[0].replace("http", "https"), "", "without an answer: does it speak http?"),
                (url.replace("https", "http"), "", "without an answer: does it speak https?"),
                (url, "", "cluster.ca: "),
                (url, known, "cluster.cert: "),
                (url, wrong, "cluster.cert: "),
            ):
                assert run(["check", "--connect", str(written(tmp_path, where, more=more))]) == 2
                told = capsys.readouterr().err
                assert said in told
                assert len(told.splitlines()) == 1
    finally:
        secure.stop()


@needs_etcd
def test_check_says_what_a_user_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The right to write, too; and nothing is written."""
    with etcd(tmp_path) as servers:
        url = servers.urls[0]
        with_users(url, PREFIX)
        for more, code, said in (
            ("", 2, "cluster.user: reading was refused: etcd wants a user"),
            ('user = "lb"\npassword = "wrong"\n', 2, "cluster.user: the login was refused"),
            ('user = "looks"\npassword = "secret"\n', 2, "cluster.user: writing was refused: etcdserver: permission denied"),
            ('user = "lb"\npassword = "secret"\n', 0, ""),
        ):
            assert run(["check", "--connect", str(written(tmp_path, url, more=more))]) == code
            assert said in capsys.readouterr().err
