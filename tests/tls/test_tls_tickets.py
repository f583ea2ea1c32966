"""Tickets of TLS: who may resume a session, with which worker, and for how long."""

from __future__ import annotations

import os
import signal
import ssl
from pathlib import Path
from typing import Any

import pytest
from harness import balanced, command, wait_for
from http_peers import Backend
from tls_balancers import HTTPS, V12, V13, Place, https, resumes, ticket_of
from tls_peers import (
    OFF,
    Authority,
    shown,
    trusting,
)

from lbcore.config.settings import BalancerSettings, ListenerSettings, PoolSettings


@pytest.mark.parametrize("version", [V12, V13])
def test_sessions_are_resumed_with_any_worker(authority: Authority, site: Path, version: ssl.TLSVersion) -> None:
    context = trusting(authority, version=version)
    with Backend() as backend, https(site, backend, top={"workers": 2}) as lb:
        session = ticket_of(lb, context)
        for _ in range(20):
            assert resumes(lb, context, session)
        by_worker = [worker["handshakes_resumed"] for worker in lb.status()["workers"]]
        assert sum(by_worker) == 20
        assert min(by_worker) > 0, by_worker


@pytest.mark.parametrize("version", [V12, V13])
def test_tickets_outlive_two_rotations_of_their_key(authority: Authority, site: Path, version: ssl.TLSVersion) -> None:
    context = trusting(authority, version=version)
    with Backend() as backend, https(site, backend) as lb:

        def rotate() -> None:
            supervisor = lb._running().supervisor
            with supervisor._workers.lock:
                publisher = supervisor._tls
                publisher._turn_keys(publisher._keys[0].born + publisher._rotation_s)

        session = ticket_of(lb, context)
        assert resumes(lb, context, session)
        for expected in (True, True, False):
            rotate()
            # a note to the worker is taken in before the connections that come after it
            wait_for(lambda expected=expected: resumes(lb, context, session) is expected, f"resumed: {expected}", 3)
        renewed = ticket_of(lb, context)
        assert resumes(lb, context, renewed)


@pytest.mark.parametrize("version", [V12, V13])
def test_tickets_are_good_under_the_same_rules_only(
    authority: Authority, site: Path, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    """Not with another listener, and not with other rules on client certificates."""
    other = Authority(tmp_path)
    rules: list[dict[str, Any]] = [
        {},
        {},
        {"client_cert": "optional", "client_ca": str(authority.cert)},
        {"client_cert": "optional", "client_ca": str(other.cert)},
    ]
    listeners = [ListenerSettings(bind=HTTPS, name=f"l{at}", certificates=shown(site), **rule) for at, rule in enumerate(rules)]
    context = trusting(authority, version=version)
    with Backend() as backend:
        pool = PoolSettings(name="default", backends=[backend.address], probe=OFF)
        with balanced(settings=BalancerSettings(workers=1, listeners=listeners, pools=[pool], drain_timeout="2s")) as lb:
            places = [Place(entry) for entry in lb.addresses.values()]
            for at, place in enumerate(places):
                session = ticket_of(place, context)
                assert [resumes(to, context, session) for to in places] == [at == to for to in range(len(places))]


def test_a_killed_worker_takes_tickets_of_before(authority: Authority, site: Path, tmp_path: Path) -> None:
    context = trusting(authority)
    with Backend() as backend:
        flags = ["--listen", HTTPS, "--cert", str(site), "--backend", backend.address, "--health", "off"]
        with command(tmp_path, *flags) as lb:
            place = Place(lb.address)
            session = ticket_of(place, context)
            victim = lb.status()["workers"][0]["pid"]
            os.kill(victim, signal.SIGKILL)
            wait_for(lambda: lb.status()["workers"][0]["pid"] not in (victim, 0, None), "a new worker", 20)
            assert resumes(place, context, session)
