"""Kubeconfigs whose user has a program that tells tokens, as those of EKS, GKE and AKS have."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from certificates import authority_with_peers
from dns_faults import following
from harness import wait_for
from kube_configs import kubeconfig, source_of
from kubernetes_peer import KubernetesPeer
from source_sites import hurry

from lbcore.discovery.engines import kube_exec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ONE = "10.0.0.1:8000"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[tuple[KubernetesPeer, Path]]:
    """An API over TLS, and the folder of keys."""
    peer = KubernetesPeer(authority_with_peers(tmp_path))
    peer.set(ONE)
    yield peer, tmp_path
    peer.close()


class Program:
    """A script beside the kubeconfig. It counts its runs, and tells the token "run-N", or does what it is given to do."""

    def __init__(self, folder: Path, script: str | None = None, expires: str = "2999-01-01T00:00:00Z") -> None:
        self.folder = folder
        status = f'{{"token": "run-\'$n\'", "expirationTimestamp": "{expires}"}}'
        tell = f'echo \'{{"kind": "ExecCredential", "apiVersion": "{V1}", "status": {status}}}\''
        path = folder / "tell-token"
        path.write_text(f"#!/bin/sh\ncd {folder}\necho run >> runs\nn=$(wc -l < runs | tr -d ' ')\n{script or tell}\n")
        path.chmod(0o755)

    @property
    def runs(self) -> int:
        path = self.folder / "runs"
        return len(path.read_text().splitlines()) if path.exists() else 0


V1 = "client.authentication.k8s.io/v1"
EXEC = {"command": "./tell-token", "apiVersion": V1}


def with_program(peer: KubernetesPeer, keys: Path, **spec: Any) -> Callable[[Callable[[str], None]], Any]:
    peer.namespace = "store"
    return source_of(kubeconfig=kubeconfig(keys, peer.port, {"exec": EXEC | spec}), allow_exec=True)


def test_a_program_of_the_kubeconfig_tells_the_token(secured: tuple[KubernetesPeer, Path]) -> None:
    peer, keys = secured
    peer.tokens = {"run-1"}
    program = Program(keys)
    with following(with_program(peer, keys)) as followed:
        wait_for(lambda: followed.addresses == [ONE], f"it comes: {followed.told}")
        wait_for(lambda: peer.watches, "it watches")
        peer.end_watches()
        wait_for(lambda: len([query for _, query in peer.asked if "watch" in query]) == 2, "it watches again")
        assert program.runs == 1, "a token is kept until it expires"


def test_a_program_is_told_what_the_kubeconfig_says(secured: tuple[KubernetesPeer, Path]) -> None:
    peer, keys = secured
    Program(keys, 'echo "$1 $2 $REGION $KUBERNETES_EXEC_INFO" > told; exit 1')
    env = [{"name": "REGION", "value": "eu-1"}]
    with following(with_program(peer, keys, args=["get-token", "--x"], env=env, provideClusterInfo=True)) as followed:
        wait_for(lambda: followed.told, "it fails")
    words = (keys / "told").read_text().split(" ", 3)
    assert words[:3] == ["get-token", "--x", "eu-1"]
    info = json.loads(words[3])
    assert info["apiVersion"] == V1
    assert info["spec"] == {"interactive": False, "cluster": {"server": f"https://127.0.0.1:{peer.port}"}}


def test_a_token_that_expires_or_is_refused_is_replaced(secured: tuple[KubernetesPeer, Path]) -> None:
    peer, keys = secured
    peer.tokens = {"run-1", "run-2"}
    Program(keys, expires="2001-01-01T00:00:00+00:00")  # before each request
    with following(with_program(peer, keys)) as followed:
        wait_for(lambda: followed.addresses == [ONE] and peer.watches, f"it comes: {followed.told}")
        shown = [headers["Authorization"] for headers in peer.headers]
        assert shown == ["Bearer run-1", "Bearer run-2"]
    (keys / "runs").unlink()
    peer.tokens = {"run-2"}
    Program(keys)
    with following(with_program(peer, keys)) as followed:
        wait_for(lambda: followed.addresses == [ONE], f"the second token is taken: {followed.told}")
    assert "run-" not in " ".join(followed.told)


@pytest.mark.parametrize(
    ("script", "spec", "words"),
    [
        ("echo no >&2; echo 'Unable to locate credentials' >&2; exit 3", {}, "exits with 3: Unable to locate credentials"),
        ("exit 3", {}, "exits with 3"),
        ("echo hello", {}, "told what cannot be used: no ExecCredential"),
        ("echo '[]'", {}, "told what cannot be used: no ExecCredential"),
        ('echo \'{"kind": "ExecCredential", "apiVersion": "v0"}\'', {}, f"it is no ExecCredential of {V1}"),
        (
            f'echo \'{{"kind": "ExecCredential", "apiVersion": "{V1}", "status": {{"clientKeyData": ""}}}}\'',
            {},
            "it has no token (client certificates are not taken)",
        ),
        ("sleep 100 & sleep 100", {}, "told nothing within 0.3 s"),
        ("yes | head -c 3000000", {}, "told what cannot be used: no ExecCredential"),
        ("", {"command": "./none"}, "/none' cannot be run (No such file or directory)"),
        ("", {"apiVersion": "client.authentication.k8s.io/v1alpha1"}, "v1alpha1' is not allowed (allowed: "),
        ("", {"interactiveMode": "Always"}, "wants to ask somebody (interactiveMode)"),
    ],
)
def test_a_program_that_tells_nothing_is_told_of_in_one_line(
    secured: tuple[KubernetesPeer, Path], script: str, spec: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer, keys = secured
    if "sleep" in script:
        monkeypatch.setattr(kube_exec, "LIMIT_S", 0.3)
    Program(keys, script or "exit 0")
    with following(with_program(peer, keys, **spec)) as followed:
        line = wait_for(lambda: followed.told, "it is told")[0]
        assert words in line
        assert len(line.splitlines()) == 1
        assert peer.asked == []
