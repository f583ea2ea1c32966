"""Entries of a key-value store that name backends: "HOST:PORT", or JSON as several programs write it."""

from __future__ import annotations

import functools
import ipaddress
import json
import re

from lbcore.config.settings import join_host_port, parse_address
from lbcore.discovery.found import Found, plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

MOST_VALUE_BYTES = 64 << 10
MOST_NAME = 253
_LABEL = "[a-z0-9_](?:[-a-z0-9_]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}")
_NUMBER = re.compile(r"(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)$")
"""What ends so is meant as an IPv4 address (https://url.spec.whatwg.org/#ends-in-a-number-checker)."""
MOST_NAMED = 64
"""So many skipped entries are named in the log; more are only counted."""


def parse(value: bytes) -> Found:
    """The backend that a value names.

    JSON is an object with "address" (or "Addr", as etcd's gRPC naming writes it; or "host" and "port", as SkyDNS does), and may
    have "weight" (0 to 256), "backup" and "drain" (true or false). Other keys are left to whom they are for. Raises ValueError.
    """
    if len(value) > MOST_VALUE_BYTES:
        raise ValueError(f"longer than {MOST_VALUE_BYTES >> 10} KiB")
    try:
        text = value.decode().strip()
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text") from None
    if not text.startswith("{"):
        return Found(place_of(*parse_address(text)), 1)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("not JSON, though it begins so") from None
    return _of_document(document)


def _of_document(document: dict[str, Any]) -> Found:
    address = document.get("address", document.get("Addr"))
    if address is None and "host" in document:
        host, port = document["host"], document.get("port")
        address = join_host_port(host, port) if isinstance(host, str) and type(port) is int else None
    if not isinstance(address, str):
        raise ValueError('it has no "address"')
    weight, backup, drain = document.get("weight", 1), document.get("backup", False), document.get("drain", False)
    if type(weight) is not int or not 0 <= weight <= 256:
        raise ValueError(f"weight: {_shown(weight)} is not allowed (allowed: a whole number from 0 to 256)")
    for name, flag in (("backup", backup), ("drain", drain)):
        if type(flag) is not bool:
            raise ValueError(f"{name}: {_shown(flag)} is not allowed (allowed: true or false)")
    return Found(place_of(*parse_address(address)), 0 if drain else weight, int(backup))


def _shown(value: object) -> str:
    return repr(value)[:60]


@functools.lru_cache(16_384)
def address_of(host: str, port: int) -> str:
    """ "IP:PORT" in one spelling. Raises ValueError where the host is no address that a backend can have."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(f"{host[:60]!r} is not an IP address") from None
    if ip.is_unspecified or ip.is_multicast:
        raise ValueError(f"{host!r} is not an address of a host")
    if not 1 <= port <= 65_535:
        raise ValueError(f"port {port} is not from 1 to 65535")
    return join_host_port(str(ip), port)


def is_ip(host: str) -> bool:
    """Is it an IP address, and no name?"""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def place_of(host: str, port: int) -> str:
    """As address_of, for a host that may be a name in DNS: "NAME:PORT", in lower case. Raises ValueError."""
    name = host.lower().removesuffix(".")
    if is_ip(host) or _NUMBER.search(name):
        return address_of(host, port)
    if len(name) > MOST_NAME or not _NAME.fullmatch(name):
        raise ValueError(f"{host[:60]!r} is neither an IP address nor a name in DNS")
    if not 1 <= port <= 65_535:
        raise ValueError(f"port {port} is not from 1 to 65535")
    return join_host_port(name, port)


@functools.lru_cache(16_384)
def name_in(address: str) -> str:
    """The host of "HOST:PORT", if it is a name; else ""."""
    host, _ = parse_address(address)
    return "" if is_ip(host) else host


class Skips:
    """Entries of which something is wrong: each is named once, until it is well again. log: called with a line. one, many: what
    becomes of them, in words."""

    def __init__(
        self, log: Callable[[str], None], about: str, one: str = "is skipped", many: str = "entries are skipped"
    ) -> None:
        self._log, self._about, self._one, self._many = log, about, one, many
        self._named: dict[str, str] = {}
        self._silent = False

    def tell(self, skipped: Mapping[str, str]) -> None:
        """Why each of these, by key, is skipped now."""
        self._named = {key: why for key, why in self._named.items() if key in skipped}
        for key, why in skipped.items():
            if self._named.get(key) == why:
                continue
            if len(self._named) >= MOST_NAMED:
                self._tell_more(len(skipped))
                return
            self._named[key] = why
            self._log(f"{self._about}: {plain(repr(key[:120]))} {self._one}: {plain(why)}")
        self._silent = self._silent and len(skipped) >= MOST_NAMED

    def _tell_more(self, count: int) -> None:
        if not self._silent:
            self._log(f"{self._about}: {count} {self._many}; only {MOST_NAMED} are named here")
        self._silent = True
