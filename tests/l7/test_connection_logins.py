"""NTLM and Negotiate log in a connection, not a request: what a backend then takes for that user's must be that user's."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import pytest
from harness import PATIENCE_S, wait_for
from http_balancers import OK, figure, http
from http_peers import Backend, Client, Reader, answering, fields
from pace import send_apart

from lbcore.observe.why import decisions

if TYPE_CHECKING:
    from lbcore import Balancer

CHALLENGES = [
    b"WWW-Authenticate: NTLM\r\n",
    b"WWW-Authenticate: Negotiate\r\n",
    b"www-authenticate: ntlm\r\n",
    b"WWW-AUTHENTICATE:   NEGOTIATE   \r\n",
    b"WWW-Authenticate: NTLM TlRMTVNTUAACAAAA==\r\n",
    b"WWW-Authenticate: Negotiate, NTLM\r\n",
    b'WWW-Authenticate: Basic realm="a, b \\" c", NTLM\r\n',
    b'WWW-Authenticate: Digest realm="x", nonce="y",qop="auth" ,Negotiate oRYwFA==\r\n',
    b"WWW-Authenticate: ,, NTLM\r\n",
    b'WWW-Authenticate: Basic realm="x"\r\nX-Other: 1\r\nWWW-Authenticate: Negotiate\r\n',
    b'WWW-Authenticate: Basic realm="never ends, NTLM\r\n',
    b"WWW-Authenticate: Nego2\r\n",
]
OTHERS = [
    b"",
    b'WWW-Authenticate: Basic realm="NTLM"\r\n',
    b'WWW-Authenticate: Basic realm="a, NTLM, b"\r\n',
    b'WWW-Authenticate: Digest ntlm=1, realm="Negotiate"\r\n',
    b"WWW-Authenticate: Bearer, Digest a = NTLM\r\n",
    b"X-Authenticate: NTLM\r\n",
]


def asking(status: bytes, challenge: bytes) -> bytes:
    """A response that asks for a login."""
    return b"HTTP/1.1 " + status + b" No\r\n" + challenge + b"Content-Length: 2\r\n\r\nno"


class Login(Backend):
    """Knows the user of a connection from `Authorization: NTLM <name>` on, as IIS does, and says to each request who asks."""

    def __init__(self, name: bytes = b"backend", kept: int = 0) -> None:
        self.kept = kept
        self.numbers: list[int] = []
        super().__init__(name=name)

    def _talk(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE_S * 3)
        number, user, served, reader = self.connections, b"", 0, Reader(connection)
        while (head := reader.head()) is not None:
            self.heads.append(head)
            self.numbers.append(number)
            reader.body(head)
            given = fields(head, b"Authorization")
            user = given[0].split()[1] if given and given[0].lower().startswith((b"ntlm", b"negotiate")) else user
            body = b"%s@%s" % (user, self.name)
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
                if user
                else asking(b"401", b"WWW-Authenticate: NTLM\r\n")
            )
            served += 1
            if served == self.kept:
                break


def log_in(client: Client, user: bytes, scheme: bytes = b"NTLM") -> bytes:
    """Ask, be asked who it is, and say it: the answer."""
    assert client.get().status == 401
    return client.get(extra=b"Authorization: " + scheme + b" " + user + b"\r\n").body


def whys(lb: Balancer) -> list[str]:
    """Why each decision fell as it did."""
    return [one["why"] for one in decisions(lb._running().table.segment)]


# --- the login's connection ------------------------------------------------------------------------------------------


def test_next_client_is_not_served_as_the_first_one() -> None:
    with Login() as backend, http(backend) as lb, Client(lb.address) as one, Client(lb.address) as two:
        assert log_in(one, b"ann") == b"ann@backend"
        assert two.get().status == 401
        assert log_in(two, b"bob") == b"bob@backend"
        for _ in range(3):
            assert (one.get().body, two.get().body) == (b"ann@backend", b"bob@backend")
        with Client(lb.address) as three:
            assert three.get().status == 401


def test_client_that_goes_takes_its_login_along() -> None:
    with Login() as backend, http(backend) as lb:
        with Client(lb.address) as one:
            assert log_in(one, b"ann") == b"ann@backend"
        wait_for(lambda: not figure(lb, "connections_kept"), "its connection ends")
        with Client(lb.address) as two:
            assert two.get().status == 401


@pytest.mark.parametrize("policy", ["round_robin", "p2c", "least_conn", "random", "ewma", "maglev"])
def test_login_goes_before_the_policy(policy: str) -> None:
    with Login(b"one") as one, Login(b"two") as two, http(one, two, policy=policy) as lb, Client(lb.address) as client:
        first = log_in(client, b"ann")
        assert first in (b"ann@one", b"ann@two")
        assert {client.get().body for _ in range(10)} == {first}
        assert whys(lb).count("the client has logged in on a connection to it") >= 11


@pytest.mark.parametrize("challenge", CHALLENGES)
@pytest.mark.parametrize("status", [b"401", b"407", b"200"])
def test_connection_on_which_a_login_is_asked_for_is_its_clients(status: bytes, challenge: bytes) -> None:
    if status == b"407":
        challenge = challenge.replace(b"WWW-A", b"Proxy-A").replace(b"www-a", b"proxy-a")
    with Backend(answering(asking(status, challenge))) as backend, http(backend) as lb:
        with Client(lb.address) as one, Client(lb.address) as two:
            for _ in range(3):
                assert one.get().status == two.get().status == int(status)
            assert backend.connections == 2


@pytest.mark.parametrize("challenge", OTHERS)
def test_connection_without_such_a_login_is_shared(challenge: bytes) -> None:
    with Backend(answering(asking(b"401", challenge))) as backend, http(backend) as lb:
        with Client(lb.address) as one, Client(lb.address) as two:
            for _ in range(3):
                assert one.get().status == two.get().status == 401
            assert backend.connections == 1


@pytest.mark.parametrize(
    "credentials",
    [
        b"Authorization: NTLM abc==",
        b"authorization: negotiate abc",
        b"AUTHORIZATION:  Negotiate  abc",
        b"Proxy-Authorization: NTLM abc",
    ],
)
def test_credentials_alone_make_the_connection_its_clients(credentials: bytes) -> None:
    """A client that logs in without being asked, as Kerberos clients do: the backend need not name the scheme again."""
    with Backend(answering(OK)) as backend, http(backend) as lb, Client(lb.address) as one, Client(lb.address) as two:
        assert two.get().status == 200
        assert one.get(extra=credentials + b"\r\n").status == 200
        assert two.get().status == one.get().status == two.get().status == 200
        assert backend.connections == 2


@pytest.mark.parametrize(
    "credentials", [b"Authorization: Basic bnRsbQ==", b"Authorization: Bearer NTLM", b'Authorization: Digest a="NTLM"']
)
def test_other_credentials_do_not(credentials: bytes) -> None:
    with Backend(answering(OK)) as backend, http(backend) as lb, Client(lb.address) as one, Client(lb.address) as two:
        for _ in range(2):
            assert one.get(extra=credentials + b"\r\n").status == two.get().status == 200
        assert backend.connections == 1


def test_three_steps_of_ntlm_go_over_one_connection_whatever_comes_between() -> None:
    with Login(b"one") as one, Login(b"two") as two, http(one, two) as lb, Client(lb.address) as client:
        assert client.get().status == 401
        with Client(lb.address) as other:
            for _ in range(5):
                assert other.get().status == 401
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nAuthorization: NTLM ann\r\n\r\nhi")
        said = client.answer().body
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
        assert client.answer().body == said


# --- when it cannot be kept ------------------------------------------------------------------------------------------


def test_login_whose_connection_is_gone_starts_anew() -> None:
    with Login(kept=3) as backend, http(backend) as lb, Client(lb.address) as client:
        assert log_in(client, b"ann") == b"ann@backend"
        assert client.get().body == b"ann@backend"
        wait_for(lambda: not figure(lb, "connections_kept"), "its end is seen")
        assert log_in(client, b"ann") == b"ann@backend"


def test_login_on_a_backend_that_is_down_starts_anew_elsewhere() -> None:
    with Login(b"one") as one, Login(b"two") as two, http(one, two) as lb, Client(lb.address) as client:
        here = log_in(client, b"ann").partition(b"@")[2]
        for backend in lb.pool().backends():
            if backend.address == {b"one": one, b"two": two}[here].address:
                lb.pool().remove(backend)
        wait_for(lambda: client.get().status == 401, "it is gone")
        assert log_in(client, b"ann").partition(b"@")[2] not in (b"", here)


@pytest.mark.parametrize("limits", [{"backend_idle_timeout": "0s"}, {"max_idle_connections": 0}])
def test_login_is_kept_where_no_idle_connection_is(limits: dict[str, object]) -> None:
    with Login() as backend, http(backend, **limits) as lb, Client(lb.address) as client:
        assert log_in(client, b"ann") == b"ann@backend"
        for _ in range(3):
            assert client.get().body == b"ann@backend"
        assert backend.connections == 2


def test_login_survives_304_and_204_but_not_head() -> None:
    """What might follow a 304 is the client's own. HEAD is rare, and servers that send a body behind it are many."""
    answer = [b""]

    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        connection.sendall(b"HTTP/1.1 " + answer[0] + b"\r\n\r\n")

    with Backend(script) as backend, http(backend) as lb, Client(lb.address) as client:
        answer[0] = b"200 OK\r\nContent-Length: 0"
        client.get(extra=b"Authorization: NTLM ann\r\n")
        for answer[0] in (b"304 Not Modified", b"204 No Content"):
            client.get()
        assert backend.connections == 1
        answer[0] = b"200 OK\r\nContent-Length: 0"
        client.get(method=b"HEAD")
        client.get()
        assert backend.connections == 2


def test_upgrade_goes_over_the_logins_connection() -> None:
    """WebSocket behind NTLM: on a fresh connection it would be 401."""

    class Switching(Login):
        def _talk(self, connection: socket.socket) -> None:
            reader = Reader(connection)
            user = False
            while (head := reader.head()) is not None:
                user |= bool(fields(head, b"Authorization"))
                if fields(head, b"Upgrade") and user:
                    connection.sendall(b"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
                    with contextlib.suppress(OSError):
                        connection.sendall(connection.recv(100))
                    return
                connection.sendall(OK if user else asking(b"401", b"WWW-Authenticate: Negotiate\r\n"))

    with Switching() as backend, http(backend) as lb, Client(lb.address) as client:
        assert client.get().status == 401
        assert client.get(extra=b"Authorization: Negotiate ann\r\n").status == 200
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
        assert client.answer().status == 101
        client.send(b"hello")
        assert client.reader.exactly(5) == b"hello"


def test_logins_of_one_client_are_few() -> None:
    """A client that names the scheme to ever more backends holds four connections at most."""
    with contextlib.ExitStack() as stack:
        backends = [stack.enter_context(Backend(answering(OK + b""))) for _ in range(8)]
        lb = stack.enter_context(http(*backends))
        with Client(lb.address) as client:
            for _ in range(16):
                assert client.get(extra=b"Authorization: NTLM abc\r\n").status == 200
                assert figure(lb, "connections_kept") <= 4
            assert sum(backend.connections for backend in backends) == 1, "it stays where it has logged in"


def test_full_backend_of_a_login_is_waited_for() -> None:
    go_on = threading.Event()

    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        if b" /hold " in head:
            go_on.wait(PATIENCE_S)
        connection.sendall(OK)

    with Backend(script) as one, Backend(script) as two, http(one, two, max_active=1) as lb, contextlib.ExitStack() as stack:
        client, *others = (stack.enter_context(Client(lb.address)) for _ in range(3))
        assert client.get(extra=b"Authorization: NTLM ann\r\n").status == 200
        mine = one if one.heads else two
        for other in others:
            other.send(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda: one.heads and two.heads and len(one.heads + two.heads) == 3, "both are full")
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda: figure(lb, "queued") == 1, "it waits for its backend")
        go_on.set()
        assert client.answer().status == 200
        assert mine.heads[-1].startswith(b"GET / ")
        assert mine.connections == 2, "the login's, and that of the request that filled it"


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_login_behind_a_proxy_header(version: str) -> None:
    class Told(Login):
        def _talk(self, connection: socket.socket) -> None:
            first = connection.recv(12, socket.MSG_WAITALL)
            if first.startswith(b"\r\n\r\n\0"):
                rest = connection.recv(4, socket.MSG_WAITALL)
                connection.recv(int.from_bytes(rest[2:], "big"), socket.MSG_WAITALL)
            else:
                while connection.recv(1) != b"\n":
                    pass
            super()._talk(connection)

    with Told(b"one") as one, Told(b"two") as two, http(one, two, send_proxy=version) as lb, Client(lb.address) as client:
        first = log_in(client, b"ann")
        assert {client.get().body for _ in range(5)} == {first}


def test_login_is_not_kept_behind_a_304_of_a_backend_that_sends_bytes_unasked() -> None:
    """They would be the response to what its client asks next, and each response would be that to the request before."""
    stray = threading.Event()

    def script(connection: socket.socket, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET /304"):
            strays = stray.is_set()
            send_apart(connection, b"HTTP/1.1 304 Not Modified\r\nWWW-Authenticate: NTLM\r\n\r\n")
            if strays:
                connection.sendall(OK)
        else:
            connection.sendall(OK)

    with Backend(script) as backend, http(backend) as lb, Client(lb.address) as client:
        for _ in range(3):
            assert client.get("/304").status == 304
        assert backend.connections == 1
        stray.set()
        assert client.get("/304").status == 304
        wait_for(lambda: figure(lb, "connections_unsolicited"), "bytes come unasked")
        stray.clear()
        before = backend.connections
        for _ in range(3):
            assert client.get("/304").status == 304
        assert backend.connections >= before + 2
