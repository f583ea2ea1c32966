"""TLS peers: an authority and its certificates, clients whose every record is seen, and backends behind TLS."""

from __future__ import annotations

import os
import select
import socket
import ssl
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certificates import openssl
from harness import PATIENCE_S, SLOWER, Peer, balanced, dial
from http_peers import Backend, Client, Reader

from lbcore.config.settings import BalancerSettings, CertificateSettings, ListenerSettings, PoolSettings, ProbeSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lbcore import Balancer

OFF = ProbeSettings(kind="off")
PLAIN = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
"""For other programs: a sanitizer's library is not for them."""
EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
RSA = ("-newkey", "rsa:2048")


class Authority:
    """A CA of our own. cert: its certificate. Each `issue` makes one PEM file with certificate and key."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        self.directory = directory
        self.cert, self.key = directory / f"{name}.crt", directory / f"{name}.key"
        self._made = 0
        openssl(
            "req", "-x509", *EC, "-nodes", "-days", "3", "-subj", f"/CN={name}", "-addext", "keyUsage=critical,keyCertSign",
            "-keyout", self.key, "-out", self.cert,
        )  # fmt: skip

    def issue(self, name: str, *names: str, key: tuple[str, ...] = EC) -> Path:
        """names: in subjectAltName, as in "DNS:a.test" or "IP:127.0.0.1"; default: the name."""
        self._made += 1
        made = self.directory / f"{name.strip('*.')}-{self._made}.pem"
        openssl(
            "req", "-x509", "-CA", self.cert, "-CAkey", self.key, *key, "-nodes", "-days", "2", "-subj", f"/CN={name}",
            "-addext", f"subjectAltName={','.join(names or (f'DNS:{name}',))}", "-addext", "basicConstraints=CA:FALSE",
            "-keyout", f"{made}.key", "-out", f"{made}.crt",
        )  # fmt: skip
        made.write_bytes(Path(f"{made}.crt").read_bytes() + Path(f"{made}.key").read_bytes())
        return made


def der_of(certificate: Path) -> bytes:
    """The first certificate of a PEM file."""
    text = certificate.read_text()
    end = "-----END CERTIFICATE-----"
    return ssl.PEM_cert_to_DER_cert(text[text.index("-----BEGIN CERT") : text.index(end) + len(end)])


# --- clients ---------------------------------------------------------------------------------------------------------


def trusting(
    authority: Authority,
    *,
    version: ssl.TLSVersion | None = None,
    protocols: tuple[str, ...] = (),
    certificate: Path | None = None,
    ciphers: str = "",
) -> ssl.SSLContext:
    """What a client knows. version: the only one that it speaks."""
    context = ssl.create_default_context(cafile=str(authority.cert))
    if version:
        context.minimum_version = context.maximum_version = version
    if ciphers:
        context.set_ciphers(ciphers)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    if certificate:
        context.load_cert_chain(certificate)
    return context


class TlsClient(Client):
    """A client's connection over TLS. An end without close_notify is an error of its reads."""

    def __init__(
        self, address: tuple[str, int], context: ssl.SSLContext, name: str | None = "a.test", session: Any = None
    ) -> None:
        self.socket: ssl.SSLSocket = context.wrap_socket(
            dial(address), server_hostname=name, suppress_ragged_eofs=False, session=session
        )
        self.reader = Reader(self.socket)


class ByHand:
    """A client of TLS that decides which bytes go when: records are made here and sent by the test."""

    def __init__(
        self, address: tuple[str, int], context: ssl.SSLContext, name: str = "a.test", *, receive_buffer: int = 0
    ) -> None:
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(PATIENCE_S * SLOWER)
        self.socket.connect(address)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name)

    def hello(self) -> bytes:
        """The first flight."""
        with suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.outgoing.read()

    def take(self) -> None:
        """Take in what the socket has, or its end."""
        data = self.socket.recv(1 << 16)
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()

    def shake(self, send: Callable[[bytes], None] | None = None) -> None:
        """The handshake. send: of each flight."""
        send = send or self.socket.sendall
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                send(self.outgoing.read())
                self.take()
                continue
            finally:
                if self.outgoing.pending:
                    send(self.outgoing.read())
            return

    def sealed(self, *parts: bytes) -> bytes:
        """The records of these parts, at least one for each."""
        for part in parts:
            self.tls.write(part)
        return self.outgoing.read()

    def farewell(self) -> bytes:
        """The record of close_notify."""
        with suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self.outgoing.read()

    def recv(self, count: int) -> bytes:
        """As a socket's; b"" only where close_notify came."""
        while True:
            try:
                return self.tls.read(count)
            except ssl.SSLWantReadError:
                self.take()
            except ssl.SSLZeroReturnError:
                return b""

    def both(self, data: bytes, want: int, *, step: int = 1 << 16) -> bytes:
        """Send all of it while so much is received, whichever comes first."""
        self.socket.setblocking(False)
        deadline = time.monotonic() + 3 * PATIENCE_S * SLOWER
        waiting, at, out, received, parts = memoryview(data), 0, b"", 0, []
        while at < len(waiting) or out or received < want:
            assert time.monotonic() < deadline, f"stuck: {at} of {len(waiting)} sent, {received} of {want} received"
            if not out and at < len(waiting):
                at += self.tls.write(waiting[at : at + step])
                out = self.outgoing.read()
            select.select([self.socket], [self.socket] if out else [], [], 1)
            with suppress(BlockingIOError):
                out = out[self.socket.send(out) :] if out else out
            with suppress(BlockingIOError):
                self.take()
            with suppress(ssl.SSLWantReadError):
                while received < want:
                    parts.append(self.tls.read(min(step, want - received)))
                    received += len(parts[-1])
        self.socket.settimeout(PATIENCE_S * SLOWER)
        return b"".join(parts)

    def close(self) -> None:
        """Close it, without a word."""
        self.socket.close()

    def __enter__(self) -> ByHand:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def s_client(address: tuple[str, int], *words: str, feed: bytes = b"") -> str:
    """What `openssl s_client` says of a connection, its errors included."""
    line = ["openssl", "s_client", "-connect", f"{address[0]}:{address[1]}", *words]
    done = subprocess.run(line, input=feed, capture_output=True, env=PLAIN, timeout=60)
    return (done.stdout + done.stderr).decode(errors="replace")


# --- backends --------------------------------------------------------------------------------------------------------


def serving(certificate: Path, *, version: ssl.TLSVersion | None = None, clients: Authority | None = None) -> ssl.SSLContext:
    """What a server knows. clients: it asks for a certificate of theirs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if version:
        context.minimum_version = context.maximum_version = version
    if clients:
        context.load_verify_locations(clients.cert)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class Secured:
    """A Peer's connections over TLS. asked: the server names. resumed, shown: of each handshake. faults: what broke some."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.asked: list[str | None] = []
        self.resumed: list[bool] = []
        self.shown: list[bytes | None] = []
        self.faults: list[OSError] = []
        self.first = b""
        self.context = context
        context.sni_callback = lambda connection, name, _: self.asked.append(name)

    @contextmanager
    def over(self, peer: Peer, connection: socket.socket) -> Iterator[ssl.SSLSocket]:
        """The connection over TLS; `peer` can cut it."""
        raw = connection.dup()
        peer.open.add(raw)
        try:
            connection.settimeout(3 * PATIENCE_S)
            try:
                secured = self.context.wrap_socket(connection, server_side=True, suppress_ragged_eofs=False)
            except OSError as fault:
                self.faults.append(fault)
                raise
            with secured:
                self.resumed.append(bool(secured.session_reused))
                self.shown.append(secured.getpeercert(binary_form=True))
                yield secured
        finally:
            raw.close()
            peer.open.discard(raw)


class TlsBackend(Backend):
    """A Backend over TLS. It ends with close_notify, unless told to be rude."""

    def __init__(
        self,
        context: ssl.SSLContext,
        script: Callable[[socket.socket, bytes, bytes], bool | None] | None = None,
        name: bytes = b"backend",
        *,
        rude: bool = False,
        port: int = 0,
        host: str = "127.0.0.1",
    ) -> None:
        self.tls, self.rude = Secured(context), rude
        super().__init__(script, name, host, port)

    def _talk(self, connection: socket.socket) -> None:
        with self.tls.over(self, connection) as secured:
            super()._talk(secured)
            if not self.rude:
                secured.unwrap()

    def __enter__(self) -> TlsBackend:
        return self


class TlsPeer(Peer):
    """A Peer over TLS."""

    def __init__(self, context: ssl.SSLContext, serve: Callable[[ssl.SSLSocket], None]) -> None:
        self.tls = Secured(context)

        def secured(connection: socket.socket) -> None:
            with self.tls.over(self, connection) as over:
                serve(over)

        super().__init__(secured)

    def __enter__(self) -> TlsPeer:
        return self


# --- balancers -------------------------------------------------------------------------------------------------------


def shown(*certificates: Path, ocsp: Path | None = None) -> list[CertificateSettings]:
    """Certificates of a listener."""
    return [CertificateSettings(cert=str(path), ocsp=ocsp and str(ocsp)) for path in certificates]


def settings_of(
    bind: str, *backends: Peer | str, listener: dict[str, Any] | None = None, top: dict[str, Any] | None = None, **pool: Any
) -> BalancerSettings:
    """One listener, one pool."""
    addresses = [entry if isinstance(entry, str) else entry.address for entry in backends]
    return BalancerSettings(
        **({"workers": 1, "drain_timeout": "2s"} | (top or {})),
        listeners=[ListenerSettings(bind=bind, **(listener or {}))],
        pools=[PoolSettings(**({"probe": OFF, "backends": addresses, "policy": "round_robin"} | pool))],
    )


@contextmanager
def balancing(bind: str, *backends: Peer | str, **options: Any) -> Iterator[Balancer]:
    """A balancer of these settings."""
    with balanced(settings=settings_of(bind, *backends, **options)) as lb:
        yield lb
