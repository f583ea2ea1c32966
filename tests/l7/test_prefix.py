"""The policy prefix from outside: what was served somewhere goes there again."""

from __future__ import annotations

import collections
import contextlib
from typing import TYPE_CHECKING

from http_balancers import http
from http_peers import Backend, Client

if TYPE_CHECKING:
    from lbcore.api.balancer import Balancer


def asked(client: Client, session: int) -> bytes:
    return client.get("/", b"X-Session: %d\r\n" % session).body


def counts(lb: Balancer) -> dict[str, int]:
    return lb.status()["pools"][0]["prefix"]


def test_a_key_stays_with_the_backend_that_had_it_and_new_ones_are_spread() -> None:
    with contextlib.ExitStack() as stack:
        backends = [stack.enter_context(Backend(name=b"b%d" % number)) for number in range(4)]
        lb = stack.enter_context(http(*backends, policy="prefix", hash="header:X-Session", workers=2))
        homes = collections.defaultdict(set)
        for _ in range(4):
            for session in range(40):
                with Client(lb.address) as client:  # by any worker: they share what they learn
                    homes[session].add(asked(client, session))
        assert all(len(home) == 1 for home in homes.values())
        spread = collections.Counter(name for home in homes.values() for name in home)
        assert max(spread.values()) <= 13
        assert counts(lb)["continued"] == 120
        assert counts(lb)["new"] == 40


def test_a_request_without_the_key_goes_anywhere() -> None:
    with contextlib.ExitStack() as stack:
        backends = [stack.enter_context(Backend(name=b"b%d" % number)) for number in range(3)]
        lb = stack.enter_context(http(*backends, policy="prefix", hash="header:X-Session"))
        client = stack.enter_context(Client(lb.address))
        assert len({client.get().body for _ in range(60)}) == 3
        assert counts(lb)["new"] == 0


def test_picks_without_the_proxy_go_where_requests_went() -> None:
    with contextlib.ExitStack() as stack:
        backends = [stack.enter_context(Backend(name=b"b%d" % number)) for number in range(4)]
        lb = stack.enter_context(http(*backends, policy="prefix", hash="header:X-Session"))
        client = stack.enter_context(Client(lb.address))
        addresses = {backend.name: backend.address for backend in backends}
        for session in range(20):
            home = addresses[asked(client, session)]
            with lb.pool().pick(str(session)) as picked:
                assert picked.address == home
