"""lbcore backend, reload, upgrade and stop: orders to a running balancer, through its control socket and signals."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from lbcore.client.registration import AdminClient
from lbcore.control import runtime
from lbcore.errors import ConfigError, LbcoreError

CONTROL_LIMIT_S = 30.0
UPGRADE_LIMIT_S = 60.0
WAIT_MORE_S = 5.0
"""How much longer than told a drain may take."""


class _Wait(LbcoreError):
    """Refused for now. wait_s: for so many seconds at most."""

    def __init__(self, text: str, wait_s: float) -> None:
        self.wait_s = wait_s
        super().__init__(text)


def call(name: str, path: str, body: dict[str, Any], limit_s: float = CONTROL_LIMIT_S) -> dict[str, Any]:
    """An operator's call to a running balancer. Raises NotRunning, ConfigError or LbcoreError."""
    word = runtime.find(name)
    try:
        status, answer = AdminClient(f"unix:{word['control']}", timeout=limit_s).call("POST", path, body)
    except OSError as error:
        raise LbcoreError(f"{name}: its control socket does not respond: {error}") from None
    if status == 422:
        raise ConfigError(answer.get("problems") or [str(answer.get("error"))])
    if status == 409 and "wait_s" in answer:
        raise _Wait(str(answer["error"]), float(answer["wait_s"]))
    if status >= 300:
        raise LbcoreError(str(answer.get("error", f"status {status}")))
    return answer


def act(
    name: str,
    verb: str,
    address: str,
    pool: str | None,
    weight: int | None,
    limit_s: float = CONTROL_LIMIT_S,
    *,
    backup: bool = False,
) -> dict[str, Any]:
    """Change a backend: what it is now, as the admin server answers. Raises NotRunning, ConfigError or LbcoreError."""
    body = {"address": address, "pool": pool, "weight": weight, "backup": backup or None}
    return call(name, f"/backends/{verb}", {key: value for key, value in body.items() if value is not None}, limit_s)


def order(name: str, verb: str, address: str, pool: str | None, weight: int | None, *, backup: bool = False) -> int:
    """Change a backend and print what became of it. Raises NotRunning, ConfigError or LbcoreError."""
    answer = act(name, verb, address, pool, weight, backup=backup)
    why = f" ({answer['reason']})" if answer["state"] == "down" else ""
    tier = ", backup" if answer["tier"] else ""
    print(f"{answer['address']} in pool {answer['pool']}: {answer['state']}{why}, weight {answer['weight']}{tier}")
    if "note" in answer:
        print(f"note: {answer['note']}")
    return 0


def reload(name: str) -> int:
    """Have the file read again. Raises ConfigError with the old configuration still in force."""
    call(name, "/reload", {})
    print(f"{name}: reloaded")
    return 0


def upgrade(name: str) -> int:
    """Have a balancer go on as the version that is installed now, and tell the steps. Raises LbcoreError when it does not."""
    before = runtime.find(name)
    old = _serving(before)
    version = _order_when_places_are_free(name, {})["to"]
    print(f"{name}: version {version} can take over from {before['version']}")
    word = _succeeded(name, before, len(old))

    def replaced() -> bool:
        told = runtime.find(name).get("upgrade") or {}
        if "error" in told:
            raise LbcoreError(f"{told['left']} of {len(old)} workers were not replaced, and serve on: {told['error']}")
        serving = _serving(word)
        return len(serving) >= len(old) and not serving & old

    _await(replaced, "not every worker was replaced; the old ones serve on, the log says why")
    print(f"{name}: workers: {len(old)} replaced; the old ones end when their sessions do")
    return 0


def _order_when_places_are_free(name: str, body: dict[str, Any]) -> dict[str, Any]:
    """Order an upgrade. While workers that the last one replaced still drain, wait: nothing is changed before.

    Raises LbcoreError when they take longer than they may.
    """
    deadline: float | None = None
    while True:
        try:
            return call(name, "/upgrade", body)
        except _Wait as error:
            if deadline is None:
                deadline = time.monotonic() + error.wait_s + WAIT_MORE_S
                print(f"{name}: {error}: waiting, for {error.wait_s:.0f} s at most", flush=True)
            if time.monotonic() > deadline:
                raise
        time.sleep(0.2)


def check_upgrade(name: str) -> int:
    """Say whether the version that is installed now can take over. Raises LbcoreError when it cannot."""
    running = runtime.find(name)["version"]
    try:
        version = call(name, "/upgrade", {"step": "check"})["to"]
    except _Wait as error:
        raise LbcoreError(f"not now: {error}; `lbcore upgrade` waits for them, {error.wait_s:.0f} s at most") from None
    print(f"{name}: version {version} can take over from {running}")
    return 0


def upgrade_by_steps(name: str, go_on: Callable[[str], bool]) -> int:
    """An upgrade that asks before each step: 1 when it was told to stop there. Raises LbcoreError when a step fails."""
    before = runtime.find(name)
    workers = len(_serving(before))
    _order_when_places_are_free(name, {"step": "check"})
    check_upgrade(name)
    if not go_on("replace the control plane"):
        print(f"{name}: nothing was changed")
        return 1
    call(name, "/upgrade", {"step": "control"})
    version = _succeeded(name, before, workers)["version"]
    for number in range(workers):
        if not go_on(f"replace worker {number}"):
            print(f"{name}: {workers - number} of {workers} workers are still of version {before['version']}; all serve on")
            return 1
        call(name, "/upgrade", {"step": "worker", "worker": number})
        print(f"{name}: worker {number}: version {version}; the old one ends when its sessions do")
    return 0


def _succeeded(name: str, before: dict[str, Any], workers: int) -> dict[str, Any]:
    """Wait for the control plane that comes after this one: its word."""
    word: dict[str, Any] = _await(
        lambda: _successor(name, before), f"no control plane came back; its {workers} workers serve on"
    )
    print(f"{name}: control plane: version {word['version']}, process {word['pid']}")
    return word


def _serving(word: dict[str, Any]) -> set[int]:
    return {worker["pid"] for worker in _status(word)["workers"] if worker["state"] == "serving"}


def _successor(name: str, before: dict[str, Any]) -> dict[str, Any] | None:
    with contextlib.suppress(LbcoreError):
        word = runtime.find(name)
        if word.get("began") != before.get("began"):
            return word
    if _start_of(int(before["pid"])) is None:
        raise LbcoreError(f"the control plane ended instead; its workers serve on until `lbcore run` adopts them ({name})")
    return None


def _status(word: dict[str, Any]) -> dict[str, Any]:
    with contextlib.suppress(OSError):
        status, document = AdminClient(f"unix:{word['control']}", timeout=CONTROL_LIMIT_S).call("GET", "/status")
        if status == 200:
            return document
    return {"workers": []}


def _await(condition: Callable[[], Any], otherwise: str) -> Any:
    """The condition's first true value. Raises LbcoreError when there is none in time."""
    deadline = time.monotonic() + UPGRADE_LIMIT_S
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise LbcoreError(otherwise)


def stop(name: str, now: bool) -> int:
    """Signal a balancer, or the workers that its crash left, and wait for the end. Raises NotRunning."""
    left = runtime.orphans(name)
    if left:
        for pid in left:
            os.kill(pid, signal.SIGTERM)
        print(f"{name}: its control plane was gone; {len(left)} workers stopped")
        return 0
    pid = int(runtime.find(name)["pid"])
    started = _start_of(pid)
    os.kill(pid, signal.SIGTERM)
    if now:
        time.sleep(0.1)  # two signals at once would be one
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    while started is not None and _start_of(pid) == started:
        time.sleep(0.05)
    print(f"{name}: stopped")
    return 0


def _start_of(pid: int) -> str | None:
    """When the process began, in clock ticks: a recycled pid is another process. None: gone, or a zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]
