"""What workers give up, whoever they run as: capabilities and system calls; and that all goes on as it did."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from harness import Peer, command, dial, echo, read_exactly, wait_for
from http_peers import Backend, Client
from tls_peers import Authority, TlsBackend, TlsClient, serving, trusting
from udp_peers import Server as Datagrams
from users import ROOT, facts, filtered


def reversed_echo(data: bytes) -> list[bytes]:
    return [data[::-1]]


# --- workers, whoever they run as --------------------------------------------------------------------------------------


def test_a_worker_has_no_capability_and_gets_none(tmp_path: Path) -> None:
    with (
        Peer(echo) as peer,
        command(tmp_path, "--listen", "tcp://127.0.0.1:0", "--backend", peer.address, "--health", "off") as lb,
    ):
        worker = lb.status()["workers"][0]["pid"]
        found = facts(worker)
        assert found["NoNewPrivs"] == "1"
        assert [found[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Amb")] == ["0" * 16] * 4
        if os.geteuid() == 0:
            assert found["CapBnd"] == "0" * 16


@filtered
def test_a_worker_is_filtered_and_seccomp_off_says_otherwise(tmp_path: Path) -> None:
    config = tmp_path / "lb.toml"
    for word, mode in (("auto", "2"), ("off", "0")):
        config.write_text(f'workers = 1\nseccomp = "{word}"\n[[listener]]\nbind = "tcp://127.0.0.1:0"\n')
        with command(tmp_path, "-c", str(config)) as lb:
            assert facts(lb.status()["workers"][0]["pid"])["Seccomp"] == mode


CALL = """
import ctypes, os, socket, subprocess, sys
from lbcore import _engine
from lbcore.control import worker
worker.confine(0, filtered=True)
libc = ctypes.CDLL(None, use_errno=True)
{call}
"""


def confined(call: str) -> subprocess.CompletedProcess[str]:
    """A process that is confined as a worker is, and then does this."""
    code = CALL.format(call=textwrap.dedent(call))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, cwd=ROOT)


@filtered
@pytest.mark.parametrize(
    "call",
    [
        'os.execv("/bin/true", ["true"])',
        "libc.ptrace(0, 0, 0, 0)",
        "libc.unshare(0x10000000)",
        "os.setuid(65534)",
        'libc.mount(b"a", b"/nowhere", b"tmpfs", 0, 0)',
        "libc.process_vm_readv(os.getppid(), 0, 0, 0, 0, 0)",
    ],
)
def test_what_a_worker_never_does_kills_it(call: str) -> None:
    assert confined(call).returncode == -signal.SIGSYS


@filtered
@pytest.mark.parametrize(
    "call",
    [
        'open("/tmp/lbcore-must-not-be", "w")',
        'open("/etc/hostname", "r+")',
        "os.fork()",
        "os.kill(os.getppid(), 0)",
        "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
        "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
        'os.mkdir("/tmp/lbcore-must-not-be")',
        'os.chmod("/tmp/lbcore-must-not-be", 0o777)',
        'os.rename("/tmp/a", "/tmp/b")',
    ],
)
def test_what_is_not_on_the_list_fails_and_the_worker_goes_on(call: str) -> None:
    done = confined(f"try:\n    {call}\nexcept PermissionError:\n    print('refused')")
    assert (done.returncode, done.stdout.strip()) == (0, "refused"), done.stderr


@filtered
def test_what_a_worker_needs_still_works() -> None:
    done = confined(
        """
        import ssl
        with open("/etc/hostname") as file:
            file.read()
        here, there = socket.socketpair() if False else (socket.socket(), socket.socket(socket.AF_INET6))
        here.bind(("127.0.0.1", 0))
        bytearray(64 << 20)
        os.pipe2(0)
        print("works")
        """
    )
    assert (done.returncode, done.stdout.strip()) == (0, "works"), done.stderr


@filtered
def test_a_worker_that_the_filter_kills_is_started_again(tmp_path: Path) -> None:
    """SIGSYS is what the kernel sends: whatever ends a worker, another takes its place."""
    with (
        Peer(echo) as peer,
        command(tmp_path, "--listen", "tcp://127.0.0.1:0", "--backend", peer.address, "--health", "off") as lb,
    ):
        before = lb.status()["workers"][0]["pid"]
        os.kill(before, signal.SIGSYS)
        wait_for(lambda: lb.status()["workers"][0]["pid"] != before, "another worker")
        wait_for(lambda: lb.status()["workers"][0]["state"] == "serving", "it serves")
        assert facts(lb.status()["workers"][0]["pid"])["Seccomp"] == "2"
        assert f"killed by signal {signal.SIGSYS.value}" in lb.stderr.read_text()
        with dial(lb.address) as client:
            client.sendall(b"x")
            assert read_exactly(client, 1) == b"x"


# --- what lies on disk, and who may reach it ---------------------------------------------------------------------------


@filtered
def test_every_mode_is_served_by_filtered_workers(tmp_path: Path, authority: Authority, site: Path) -> None:
    """Both ways of TLS, whose library is loaded behind the filter, datagrams, a reload, and the workers' orderly end."""
    config = tmp_path / "lb.toml"
    shown = f'[[listener.certificate]]\ncert = "{site}"\n'
    with Backend() as backend, TlsBackend(serving(site)) as secure, Datagrams(reversed_echo) as datagrams:
        config.write_text(
            "".join(
                f'[[listener]]\nname = "{name}"\nbind = "{name.partition("-")[0]}://127.0.0.1:0"\npool = "{pool}"\n{more}'
                for name, pool, more in (
                    ("tcp", "plain", ""),
                    ("http", "plain", ""),
                    ("https", "secure", shown),
                    ("tls", "plain", shown),
                    ("udp", "datagrams", "responses = 1\n"),
                )
            )
            + "".join(
                f'[[pool]]\nname = "{name}"\n{more}[pool.probe]\nkind = "off"\n[[pool.backend]]\naddress = "{address}"\n'
                for name, address, more in (
                    ("plain", backend.address, ""),
                    ("secure", secure.address, f'tls = true\ntls_ca = "{authority.cert}"\ntls_name = "a.test"\n'),
                    ("datagrams", datagrams.address, ""),
                )
            )
        )
        with command(tmp_path, "-c", str(config), "--workers", "2", "--access-log", str(tmp_path / "log")) as lb:
            assert {facts(worker["pid"])["Seccomp"] for worker in lb.status()["workers"]} == {"2"}
            ports = {entry["name"]: int(entry["address"].rpartition(":")[2]) for entry in lb.status()["listeners"]}
            for _ in range(2):
                for name in ("tcp", "http"):
                    with Client(("127.0.0.1", ports[name])) as client:
                        assert client.get().status == 200
                for name in ("https", "tls"):
                    with TlsClient(("127.0.0.1", ports[name]), trusting(authority), "a.test") as client:
                        assert client.get().status == 200
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                    client.settimeout(10)
                    client.sendto(b"abc", ("127.0.0.1", ports["udp"]))
                    assert client.recv(10) == b"cba"
                assert lb.cli("reload").returncode == 0
