"""A program that a kubeconfig names, which tells tokens of the API of Kubernetes: those of EKS, GKE and AKS have one.

https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any

from lbcore.config.secret import Secret
from lbcore.discovery.found import SourceFailed, plain

if TYPE_CHECKING:
    from pathlib import Path

VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
LIMIT_S = 30.0
"""How long the program may take."""
END_S = 1.0
EARLY_S = 30.0
"""A token is replaced so long before it expires."""
MOST_BYTES = 1 << 20


class Plugin:
    """What a kubeconfig's user has as `exec`. The token is kept until it expires or is refused."""

    def __init__(self, spec: dict[str, Any], folder: Path, cluster: dict[str, Any]) -> None:
        """folder: that of the kubeconfig; a command with a slash is meant from there. cluster: the kubeconfig's; programs may
        ask to be told of it. Raises ValueError, TypeError or KeyError."""
        command = str(spec["command"])
        self._words: list[str] = [str(folder / command) if "/" in command else command, *map(str, spec.get("args") or ())]
        self._version = spec.get("apiVersion")
        if self._version not in VERSIONS:
            raise ValueError(f"exec: apiVersion {str(self._version)[:60]!r} is not allowed (allowed: {', '.join(VERSIONS)})")
        if spec.get("interactiveMode") == "Always":
            raise ValueError(f"exec: {command!r} wants to ask somebody (interactiveMode)")
        told: dict[str, Any] = {"interactive": False}
        if spec.get("provideClusterInfo"):
            told["cluster"] = {key: cluster[key] for key in ("server", "certificate-authority-data") if key in cluster}
        info = {"kind": "ExecCredential", "apiVersion": self._version, "spec": told}
        given = {str(entry["name"]): str(entry["value"]) for entry in spec.get("env") or ()}
        self._env = {"KUBERNETES_EXEC_INFO": json.dumps(info), **given}
        self._secret: Secret | None = None
        self._until = 0.0

    def follow_on(self, before: Plugin | None) -> None:
        """Keep the token of one that is the same, as of a kubeconfig that was read before."""
        if before is not None and (before._words, before._env) == (self._words, self._env):
            self._secret, self._until = before._secret, before._until

    @property
    def token(self) -> Secret | None:
        """The one that the program told last."""
        return self._secret

    def refused(self) -> None:
        """The API takes the token no more."""
        self._secret = None

    async def freshen(self) -> None:
        """Have a token that is good now. Raises SourceFailed."""
        if self._secret is not None and time.time() < self._until - EARLY_S:
            return
        try:
            self._secret, self._until = self._read(await self._run())
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            why = (
                str(error) if type(error) is ValueError and not isinstance(error, json.JSONDecodeError) else "no ExecCredential"
            )
            raise SourceFailed(f"exec: {self._words[0]!r} told what cannot be used: {why}") from None

    def _read(self, text: bytes) -> tuple[Secret, float]:
        document = json.loads(text)
        if document["kind"] != "ExecCredential" or document["apiVersion"] != self._version:
            raise ValueError(f"it is no ExecCredential of {self._version}")
        status = document["status"]
        if not isinstance(status.get("token"), str) or not status["token"].isascii() or not status["token"].isprintable():
            raise ValueError("it has no token (client certificates are not taken)")
        expires = status.get("expirationTimestamp")
        until = datetime.datetime.fromisoformat(str(expires)).timestamp() if expires else float("inf")
        return Secret(status["token"]), until

    async def _run(self) -> bytes:
        """What the program writes. Raises SourceFailed."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={**os.environ, **self._env},
                start_new_session=True,
            )
        except OSError as error:
            raise SourceFailed(f"exec: {self._words[0]!r} cannot be run ({error.strerror or error})") from None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            async with asyncio.timeout(LIMIT_S):
                said, faults = await asyncio.gather(_bounded(process.stdout), _bounded(process.stderr))
                code = await process.wait()
        except TimeoutError:
            await _end(process)
            raise SourceFailed(f"exec: {self._words[0]!r} told nothing within {LIMIT_S:g} s") from None
        except asyncio.CancelledError:
            await _end(process)
            raise
        if code:
            lines = faults.decode(errors="replace").strip().splitlines() or [""]
            words = f": {plain(lines[-1], 200)}" if lines[-1] else ""
            raise SourceFailed(f"exec: {self._words[0]!r} exits with {code}{words}")
        return said


async def _end(process: asyncio.subprocess.Process) -> None:
    """With all that it started: it has a group of its own, which is there as long as one of them is."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(END_S):
            await process.communicate()  # asyncio's part of it ends, too


async def _bounded(stream: asyncio.StreamReader) -> bytes:
    """All of it, as long as it is not too much."""
    said = bytearray()
    while part := await stream.read(1 << 16):
        said += part[: MOST_BYTES - len(said)]
    return bytes(said)
