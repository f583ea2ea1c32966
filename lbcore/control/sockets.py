"""Listening sockets: bound by the control plane, one a worker in a SO_REUSEPORT group, and kept open by it.

The control plane's copy outlives a worker, so that what is queued on the socket waits for the next one. A socket that was
inherited (systemd.py) is one queue for all: every worker accepts from it, whoever comes first, and what waits there when
we end waits for who is started next. A unix socket is one for all, too: SO_REUSEPORT makes no groups of those. Of datagrams
one queue would tear a client's session apart: one worker serves such a socket.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket

from lbcore.config.settings import UNIX, is_unix, join_host_port
from lbcore.control.socket_files import SocketFile, host_of, listen_locally
from lbcore.errors import ConfigError, PortTaken
from lbcore.table.resolved import all_at_once, is_literal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from lbcore.config.settings import ListenerSettings, PoolSettings

    Where = tuple[int, tuple[object, ...]]
    Asked = tuple[str, int, str]


DATAGRAM_ROOM = 4 << 20
"""Bytes of a udp socket's queues that are asked for; net.core.rmem_max and wmem_max say how many are given."""


ANYWHERE = "*"
"""The host of a listener that takes IPv4 and IPv6 at every address."""
MOST_QUEUED = 100_000
"""More datagrams than a queue of that room holds."""


class ListenerSockets:
    """The sockets of one listener. host, port: where it really listens. shared: it is one for all workers."""

    def __init__(
        self,
        listener: ListenerSettings,
        pool: PoolSettings,
        count: int,
        inherited: socket.socket | None = None,
        at: Where | None = None,
    ) -> None:
        """Bind and listen, or take over what is bound already. count: of workers. at: what `where` found, unless it is to ask.

        Raises PortTaken when the port is in use, ConfigError when it cannot be had at all.
        """
        self.sockets: list[socket.socket] = []
        self.host: str
        self.port: int
        self.shared: bool = inherited is not None or is_unix(listener.host)
        self._file: SocketFile | None = None
        if inherited is not None:
            self._adopt(inherited, listener, pool)
            return
        if is_unix(listener.host):
            bound, self._file = listen_locally(listener)
            self.sockets, self.host, self.port = [bound], listener.host, 0
            return
        try:
            kind = socket.SOCK_DGRAM if listener.mode == "udp" else socket.SOCK_STREAM
            family, address = at or address_to_bind(listener.host, listener.port, kind)
            v6_only = 0 if listener.host == ANYWHERE else 1 if listener.v6_only else None
            if listener.port:
                _probe_port(family, kind, address, v6_only)
            for _ in range(count):
                bound = _bind(family, kind, address, shared=True, v6_only=v6_only)
                self.sockets.append(bound)
                address = bound.getsockname()
                self._begin(bound, listener, pool, kind)
        except OSError as error:
            self.close(ends=True)
            raise _explain(listener, error) from None
        self.host, self.port = self.sockets[0].getsockname()[:2]

    def _adopt(self, inherited: socket.socket, listener: ListenerSettings, pool: PoolSettings) -> None:
        self.sockets = [inherited]
        self._begin(inherited, listener, pool, inherited.type)
        self.host, self.port = _place_of(inherited)

    def of_worker(self, number: int) -> socket.socket | None:
        """The socket that this worker serves; None: another one serves this listener alone, or it is closed."""
        if not self.sockets:
            return None
        if not self.shared:
            return self.sockets[number]
        return self.sockets[0] if number == 0 or self.sockets[0].type == socket.SOCK_STREAM else None

    @classmethod
    def inherited(
        cls, listener: ListenerSettings, pool: PoolSettings, count: int, found: dict[int, int], *, passed: bool
    ) -> ListenerSockets:
        """Go on with sockets that workers hold already, by worker; a worker that has none gets a new one beside them.

        The descriptors stay the caller's. passed: they are another's, as systemd's. Raises PortTaken or ConfigError.
        """
        made = cls.__new__(cls)
        made.sockets, made._file = [], None
        if listener.host.startswith(f"{UNIX}/") and not passed:
            made._file = SocketFile(listener.host.removeprefix(UNIX))
        known = socket.socket(fileno=os.dup(next(iter(found.values()))))
        made.shared = _is_shared(known, list(found.values()))
        try:
            made.host, made.port = _place_of(known)
            if made.shared:
                made.sockets.append(socket.socket(fileno=os.dup(known.fileno())))
            for number in range(0 if made.shared else count):
                if number in found:
                    made.sockets.append(socket.socket(fileno=os.dup(found[number])))
                else:
                    made.sockets.append(
                        _bind(known.family, known.type, known.getsockname(), shared=True, v6_only=_v6_only_of(known))
                    )
                    made._begin(made.sockets[-1], listener, pool, known.type)
        except OSError as error:
            made.close(ends=False)
            raise _explain(listener, error) from None
        finally:
            known.close()
        return made

    def _begin(self, bound: socket.socket, listener: ListenerSettings, pool: PoolSettings, kind: int) -> None:
        if kind == socket.SOCK_STREAM:
            if bound.family != socket.AF_UNIX:
                _set_options(bound, pool)
            bound.listen(listener.backlog)
        else:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, DATAGRAM_ROOM)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, DATAGRAM_ROOM)

    def forget_queued(self, served: set[int]) -> None:
        """Throw away the datagrams that came while nobody was to read them. served: the workers that have read theirs."""
        for number, bound in enumerate(self.sockets):
            with contextlib.suppress(OSError):  # until it would block
                for _ in range(0 if number in served else MOST_QUEUED):
                    bound.recv(1)

    @property
    def host_port(self) -> str:
        """The real address as text."""
        return join_host_port(self.host, self.port)

    def restrict(self, listener: ListenerSettings) -> None:
        """Who may connect, where the listener's settings have changed: of a unix socket with a file. Raises ConfigError."""
        if self._file is not None:
            self._file.give(listener)

    def close(self, *, ends: bool) -> None:
        """Close the control plane's copies. ends: nobody is to connect any more, so the file of a unix socket goes first."""
        if ends and self._file is not None:
            self._file.remove()
        while self.sockets:
            self.sockets.pop().close()


def _place_of(bound: socket.socket) -> tuple[str, int]:
    """Host and port of a socket."""
    if bound.family == socket.AF_UNIX:
        return host_of(bound), 0
    host, port = bound.getsockname()[:2]
    return host, port


def _is_shared(known: socket.socket, found: list[int]) -> bool:
    """Is it one socket for all workers, as others passed it? Those that we bind ourselves are of a group, one each."""
    if not known.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT):
        return True
    return len(found) > 1 and len({os.fstat(fd).st_ino for fd in found}) == 1


def where(listener: ListenerSettings) -> Where:
    """Family and socket address of a listener; its host's name may take seconds. Raises ConfigError when it has none."""
    try:
        return address_to_bind(
            listener.host, listener.port, socket.SOCK_DGRAM if listener.mode == "udp" else socket.SOCK_STREAM
        )
    except OSError as error:
        raise _explain(listener, error) from None


def where_all(listeners: Iterable[ListenerSettings]) -> dict[Asked, Where | ValueError]:
    """Likewise of many, all names at once: what each has, or why it has none."""
    named = {(one.host, one.port, one.mode): one for one in listeners if not is_literal(one.host)}
    found = all_at_once(list(named), lambda key: where(named[key]))
    return {key: at if isinstance(at, tuple) else _of_listener(named[key], at) for key, at in found.items()}


def _of_listener(listener: ListenerSettings, error: ValueError) -> ValueError:
    return error if isinstance(error, ConfigError) else ConfigError(f"listener {listener.name}: {listener.url}: {error}")


def address_to_bind(host: str, port: int, kind: int) -> tuple[int, tuple[object, ...]]:
    """Family and socket address of the first address of a host, IPv4 before IPv6. kind: SOCK_STREAM, ... Raises OSError.

    "*" is [::] for both, or 0.0.0.0 where the host has no IPv6.
    """
    if host == ANYWHERE:
        host = "::" if _has_ipv6() else "0.0.0.0"
    found = socket.getaddrinfo(host, port, type=kind, flags=socket.AI_PASSIVE)
    family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return family, address


def _has_ipv6() -> bool:
    """May sockets be bound to IPv6 addresses? Not where it is disabled (ipv6.disable=1, net.ipv6.conf.all.disable_ipv6)."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as trial:
            trial.bind(("::", 0))
    except OSError:
        return False
    return True


def _v6_only_of(known: socket.socket) -> int | None:
    return known.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) if known.family == socket.AF_INET6 else None


def _probe_port(family: int, kind: int, address: tuple[object, ...], v6_only: int | None) -> None:
    """A group with SO_REUSEPORT would join another balancer's sockets in silence: find out whether the port is free."""
    _bind(family, kind, address, shared=False, v6_only=v6_only).close()


def _bind(family: int, kind: int, address: tuple[object, ...], *, shared: bool, v6_only: int | None) -> socket.socket:
    """v6_only: does an IPv6 socket take no IPv4? None: as the system has it (net.ipv6.bindv6only)."""
    fresh = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if kind == socket.SOCK_STREAM:  # of datagrams it would let anybody bind the same port
            fresh.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            fresh.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6 and v6_only is not None:
            fresh.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6_only)
        fresh.bind(address)
        if not shared and kind == socket.SOCK_STREAM:
            fresh.listen(1)
    except OSError:
        fresh.close()
        raise
    return fresh


def _set_options(bound: socket.socket, pool: PoolSettings) -> None:
    """What accepted connections inherit from their listener on Linux: no call per connection is needed."""
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 0)  # workers see to it themselves: csrc/l4/peers.h
    if pool.tcp_keepalive_ms:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(1, pool.tcp_keepalive_ms // 1000))
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)


def _explain(listener: ListenerSettings, error: OSError) -> Exception:
    where = f"listener {listener.name}: {listener.url}"
    if error.errno == errno.EADDRINUSE:
        return PortTaken(f"{where}: the port is in use")
    if error.errno == errno.EACCES:
        return ConfigError(f"{where}: permission denied (allowed: ports from 1024, or any with CAP_NET_BIND_SERVICE)")
    if error.errno == errno.EADDRNOTAVAIL:
        return ConfigError(
            f"{where}: no interface has this address (bind 0.0.0.0 or [::], or allow an address that comes later:"
            f" sysctl net.ipv{6 if ':' in listener.host else 4}.ip_nonlocal_bind=1)"
        )
    return ConfigError(f"{where}: {error.strerror or error}")
