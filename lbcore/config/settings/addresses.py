"""Addresses as people write them: HOST:PORT, MODE://HOST:PORT."""

from __future__ import annotations

import functools
import ipaddress

TYPE_CHECKING = False
if TYPE_CHECKING:
    pass

MODES = ("tcp", "udp", "tls", "http", "https")
HTTP_MODES = ("http", "https")
ROUTED_MODES = (*HTTP_MODES, "tls")


def parse_address(address: str) -> tuple[str, int]:
    """("10.0.0.5", 8000) of "10.0.0.5:8000"; IPv6 in brackets, "[::1]:8000". Raises ValueError."""
    return _parse(address) if isinstance(address, str) else split_host_port(address)


@functools.lru_cache(1024)
def _parse(address: str) -> tuple[str, int]:
    """What comes and goes is parsed several times on its way."""
    host, port = split_host_port(address)
    if not 1 <= port <= 65_535:
        raise ValueError(f"{address!r} is not HOST:PORT with a port from 1 to 65535")
    return host, port


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
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_listen(url: str) -> tuple[str, str, int]:
    """("tcp", "127.0.0.1", 8080) of "tcp://127.0.0.1:8080". Raises ValueError."""
    mode, separator, rest = url.partition("://") if isinstance(url, str) else ("", "", "")
    if not separator or mode not in MODES:
        raise ValueError(f"{url!r} is not MODE://HOST:PORT with a mode of: {', '.join(MODES)}")
    host, port = split_host_port(rest)
    return mode, host, port


def is_loopback(host: str) -> bool:
    """Does this host name or address stay on this machine?"""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
