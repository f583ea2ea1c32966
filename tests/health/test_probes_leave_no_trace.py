"""Probes against real servers from an address that is not 127.0.0.1: nobody is blocked, no error is logged, a dead or locked
server is found. MariaDB, PostgreSQL, Redis, Postfix, mosquitto, RabbitMQ and OpenSSH, as far as they are installed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import far_servers
import pytest
from harness import wait_for
from probe_verdicts import verdicts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from far_servers import Far, Server

ERROR = re.compile(
    r"\b(error|fatal|panic|warning|abort\w*|lost|reset)\b|incomplete|unexpected|no identification", re.IGNORECASE
)


@pytest.fixture(scope="module")
def far() -> Iterator[Far]:
    with far_servers.namespace() as far:
        yield far


def check_untraced(server: Server) -> None:
    """Five hundred tcp probes: the server has not heard of one. A busy machine that holds this process up for 200 ms between a
    connect and its reset, when the kernel sends the acknowledgement after all, has another try."""
    for _ in range(3):
        before = len(server.said)
        assert verdicts(server.address, 500, kind="tcp") == {"": 500}
        heard = server.said[before:]
        if not heard:
            return
    raise AssertionError(heard)


def check_clean(server: Server, times: int = 500, **probe: Any) -> None:
    """So many probes that speak: all good, and the server complains of none."""
    before = len(server.said)
    assert verdicts(server.address, times, **probe) == {"": times}
    assert [line for line in server.said[before:] if ERROR.search(line)] == []


def check_lost(server: Server, **probe: Any) -> None:
    """One that is frozen is found, one that goes on serves, one that is dead is found."""
    server.freeze()
    assert verdicts(server.address, timeout="300ms", **probe) == {"timed out after 0.3s": 1}
    server.thaw()
    wait_for(lambda: verdicts(server.address, **probe) == {"": 1}, "it goes on")
    server.end()
    wait_for(lambda: verdicts(server.address, **probe) == {"connection refused": 1}, "its port is closed")


def test_mariadb_blocks_nobody(far: Far) -> None:
    with far_servers.mariadb(far) as server:
        check_untraced(server)
        check_clean(server, kind="mysql", user="probe")
        check_clean(server, 20, kind="mysql", user="guarded", password="secret")
        assert verdicts(server.address, 120, kind="mysql") == {"": 120}, "nobody is denied, which shows that it lives"
        check_clean(server, 1, kind="mysql", user="probe")  # had the host been blocked: error 1129
        (wrong,) = verdicts(server.address, kind="mysql", user="guarded", password="wrong")
        assert "Access denied for user 'guarded'" in wrong
        check_lost(server, kind="mysql", user="probe")


def test_postgres_logs_no_error(far: Far) -> None:
    with far_servers.postgres(far) as server:
        check_untraced(server)
        check_clean(server, 50, kind="postgres")
        check_clean(server, kind="postgres", user="probe")
        check_clean(server, 20, kind="postgres", user="guarded")
        (wrong,) = verdicts(server.address, kind="postgres", user="absent")
        assert wrong == 'the server says: role "absent" does not exist'
        check_lost(server, kind="postgres")


def test_redis(far: Far) -> None:
    with far_servers.redis(far) as server:
        check_untraced(server)
        check_clean(server, kind="redis")
        check_clean(server, 50, kind="tcp", send="PING\r\n", expect="+PONG")
        check_lost(server, kind="redis")


def test_redis_that_wants_a_password(far: Far) -> None:
    with far_servers.redis(far, "--requirepass", "secret") as server:
        check_clean(server, 1, kind="redis")
        check_clean(server, 1, kind="redis", password="secret")
        check_clean(server, 1, kind="redis", user="default", password="secret")
        (wrong,) = verdicts(server.address, kind="redis", password="wrong")
        assert "WRONGPASS" in wrong


def test_postfix(far: Far) -> None:
    with far_servers.postfix(far) as server:
        check_untraced(server)
        check_clean(server, kind="smtp")
        check_clean(server, 20, kind="tcp", greeting="220 ", send="QUIT\r\n", expect="221 ")
        server.freeze()
        assert verdicts(server.address, timeout="300ms", kind="smtp") == {"timed out after 0.3s": 1}
        server.thaw()


def test_mosquitto(far: Far) -> None:
    with far_servers.mosquitto(far) as server:
        check_untraced(server)
        check_clean(server, kind="mqtt")
        check_lost(server, kind="mqtt")


def test_mosquitto_that_wants_a_password(far: Far) -> None:
    with far_servers.mosquitto(far, anonymous=False) as server:
        assert verdicts(server.address, kind="mqtt") == {"": 1}
        (wrong,) = verdicts(server.address, kind="mqtt", user="probe", password="wrong")
        assert wrong.startswith("the server says: ")


def test_rabbitmq(far: Far) -> None:
    with far_servers.rabbitmq(far) as server:
        check_untraced(server)
        check_clean(server, 20, kind="amqp", user="guest", password="guest")
        assert verdicts(server.address, 20, kind="amqp") == {"": 20}
        (wrong,) = verdicts(server.address, kind="amqp", user="guest", password="wrong")
        assert wrong.startswith("the server says: ACCESS_REFUSED")
        check_lost(server, kind="amqp")


def test_openssh(far: Far) -> None:
    with far_servers.openssh(far) as server:
        check_untraced(server)
        assert verdicts(server.address, kind="tcp", greeting="SSH-2.0-") == {"": 1}
        server.end()
        wait_for(lambda: verdicts(server.address, kind="tcp") == {"connection refused": 1}, "its port is closed")
