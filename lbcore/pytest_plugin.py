"""A pytest fixture: a balancer in front of given test servers. Loaded by pytest through the entry point `lbcore`.

def test_my_service(lbcore):
    lb = lbcore("127.0.0.1:8001", "127.0.0.1:8002", listen="http://127.0.0.1:0")
    assert requests.get(f"http://{lb.address[0]}:{lb.address[1]}/").ok
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from lbcore.api.balancer import Balancer

QUIET_S = 5.0
"""How long sessions that a test left open may take to end."""
_ENDINGS = ("done", "refused", "client_aborts", "failed", "stopped", "lost")
_FINAL = pytest.StashKey[list[tuple[str, str]]]()


@pytest.fixture
def lbcore(request: pytest.FixtureRequest) -> Iterator[Callable[..., Balancer]]:
    """A factory of running balancers: `lbcore(*backends, **options)`, options as of `lbcore.Balancer`.

    backends: "HOST:PORT" of test servers. listen is tcp://127.0.0.1:0 and probes are off unless the options say otherwise.
    At teardown every session must have ended, and be accounted for; the status of each balancer is shown when a test fails.
    """
    from lbcore.api.balancer import Balancer

    started: list[Balancer] = []

    def start(*backends: str, **options: Any) -> Balancer:
        given = {"listen": "tcp://127.0.0.1:0", "health": "off", "workers": 1, **options}
        if "settings" in options:
            given = options
        started.append(Balancer(backends=backends, **given).start())
        return started[-1]

    yield start
    faults = []
    for number, balancer in enumerate(started):
        if not balancer.running:  # the test has stopped it
            continue
        status = _settled(balancer)
        faults += [f"balancer {number}: {fault}" for fault in _unaccounted(status)]
        request.node.stash.setdefault(_FINAL, []).append((f"lbcore status {number}", json.dumps(status, indent=2)))
        balancer.stop(0)
    if faults:
        pytest.fail("sessions that are not accounted for:\n" + "\n".join(faults), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Shows the status of the balancers of a test that failed, in its teardown's report."""
    report = yield
    item.stash[_FAILED] = item.stash.get(_FAILED, False) or report.failed
    if call.when == "teardown" and item.stash[_FAILED]:
        report.sections += item.stash.get(_FINAL, [])
    return report


_FAILED = pytest.StashKey[bool]()


def _settled(balancer: Balancer) -> dict[str, Any]:
    """The status once no session is under way, or when that takes too long."""
    deadline = time.monotonic() + QUIET_S
    while True:
        status = balancer.status()
        if not any(worker["active"] or worker["handshakes_active"] for worker in status["workers"]):
            return status
        if time.monotonic() > deadline:
            return status
        time.sleep(0.01)


def _unaccounted(status: dict[str, Any]) -> Iterator[str]:
    """What does not add up: the equations beside the counters in csrc/layout/figures.h, and what is still open."""
    for worker in status["workers"]:
        name = f"worker {worker['id']}"
        if worker["active"]:
            yield f"{name}: {worker['active']} sessions are still open after {QUIET_S:g} s"
        sessions = worker["active"] + worker["closed"] + worker["refused"]
        if worker["accepted"] != sessions:
            yield f"{name}: {worker['accepted']} sessions were accepted, {sessions} are known"
        requests = worker["requests_active"] + sum(worker[f"requests_{ending}"] for ending in _ENDINGS)
        if worker["requests"] != requests:
            yield f"{name}: {worker['requests']} requests began, {requests} are known"
