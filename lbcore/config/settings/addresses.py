"""Addresses as people write them: HOST:PORT, unix:/PATH, MODE://HOST:PORT."""

from __future__ import annotations

import functools
import ipaddress
import posixpath

TYPE_CHECKING = False
if TYPE_CHECKING:
    pass

MODES = ("tcp", "udp", "tls", "http", "https")
HTTP_MODES = ("http", "https")
ROUTED_MODES = (*HTTP_MODES, "tls")


UNIX = "unix:"
MOST_PATH = 107
"""Bytes of a unix socket's path, which has a NUL behind it (unix(7))."""
_NOT_IN_PATHS = frozenset(" \"'`,\\")
"""They separate or end an address where it is shown: in flags, logs, metrics."""


def parse_address(address: str) -> tuple[str, int]:
    """("10.0.0.5", 8000) of "10.0.0.5:8000"; IPv6 in brackets, "[::1]:8000". A unix socket has no port: ("unix:/run/a.sock", 0)
    of "unix:/run/a.sock"; "unix:@app" is an abstract one (unix(7)). Raises ValueError."""
    return _parse(address) if isinstance(address, str) else split_host_port(address)


@functools.lru_cache(1024)
def _parse(address: str) -> tuple[str, int]:
    """What comes and goes is parsed several times on its way."""
    if is_unix(address):
        return _plain_unix(address), 0
    host, port = split_host_port(address)
    if not 1 <= port <= 65_535:
        raise ValueError(f"{address!r} is not HOST:PORT with a port from 1 to 65535")
    return host, port


def is_unix(address: str) -> bool:
    """Is it, or the host of it, a unix socket?"""
    return address.startswith(UNIX)


def _plain_unix(address: str) -> str:
    """One spelling. Raises ValueError."""
    path = address.removeprefix(UNIX)
    if not (path.startswith("/") or (path.startswith("@") and len(path) > 1)):
        raise ValueError(f"{address!r} is not unix:/ABSOLUTE/PATH or unix:@NAME")
    if not path.isascii() or not path.isprintable() or set(path) & _NOT_IN_PATHS:
        raise ValueError(f"{address!r}: a path has printable ASCII characters, but no spaces, quotes, commas and backslashes")
    if path.startswith("/"):
        path = "/" + posixpath.normpath(path).lstrip("/")
    if len(path) > MOST_PATH:
        raise ValueError(f"{address!r}: a unix socket's path has at most {MOST_PATH} bytes")
    return UNIX + path


def split_host_port(address: str) -> tuple[str, int]:
    """As parse_address, with port 0 allowed."""
    if not isinstance(address, str):
        raise _no_address(address)
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    plausible = host and colon and host.isascii() and host.isprintable() and " " not in host and "/" not in host
    if not plausible or (":" in host) != bracketed or not (port.isascii() and port.isdigit() and len(port) <= 5):
        raise _no_address(address)
    if int(port) > 65_535:
        raise ValueError(f"{address!r}: port {port} is not from 0 to 65535")
    if bracketed:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise _no_address(address) from None
    return host, int(port)


def _no_address(address: object) -> ValueError:
    return ValueError(f"{address!r} is not HOST:PORT (an IPv6 host in brackets)")


def join_host_port(host: str, port: int) -> str:
    """The text of an address, an IPv6 host in brackets."""
    if is_unix(host):
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_listen(url: str) -> tuple[str, str, int]:
    """("tcp", "127.0.0.1", 8080) of "tcp://127.0.0.1:8080"; ("http", "unix:/a", 0) of "http://unix:/a". Raises
    ValueError."""
    mode, separator, rest = url.partition("://") if isinstance(url, str) else ("", "", "")
    if not separator or mode not in MODES:
        raise ValueError(f"{url!r} is not MODE://HOST:PORT with a mode of: {', '.join(MODES)}")
    if is_unix(rest):
        if mode == "udp":
            raise ValueError(f"{url!r}: mode udp has no unix sockets")
        return mode, _plain_unix(rest), 0
    host, port = split_host_port(rest)
    return mode, host, port


def is_loopback(host: str) -> bool:
    """Does this host name, address or unix socket stay on this machine?"""
    if is_unix(host):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
