"""What callers send: request bodies, declared once and checked whole."""

from __future__ import annotations

import ipaddress
import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from lbcore.discovery.reports import Report

if TYPE_CHECKING:
    from collections.abc import Callable

    Check = Callable[[Any], Any]
    """The value as it is kept. Raises ValueError saying what is allowed."""

_MOST_SHOWN = 200


class BadBody(ValueError):
    """A body that is not what it should be. key: what is wrong with which key; text: one clear line."""

    def __init__(self, text: str, key: str | None = None) -> None:
        super().__init__(text)
        self.key = key


# --- values ----------------------------------------------------------------------------------------------------------


def _whole(low: int, high: int) -> Check:
    def check(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return value

    return check


def _number(low: float, high: float) -> Check:
    def check(value: Any) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"a number from {low:g} to {high:g}")
        return float(value)

    return check


def _text(most: int) -> Check:
    def check(value: Any) -> str:
        if not isinstance(value, str) or not 0 < len(value) <= most or not value.isprintable():
            raise ValueError(f"a text of 1 to {most} characters")
        return value

    return check


def _name(most: int) -> Check:
    pattern = re.compile(f"[A-Za-z0-9_.-]{{1,{most}}}")

    def check(value: Any) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ValueError(f"1 to {most} letters, digits, '_', '.' or '-'")
        return value

    return check


def _one_of(*words: str) -> Check:
    def check(value: Any) -> str:
        if value not in words:
            raise ValueError(", ".join(words))
        return str(value)

    return check


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _address(value: Any) -> str:
    if isinstance(value, str) and len(value) <= 64 and (address := _plain_address(value)):
        return address
    raise ValueError("the IP address of a host")


@lru_cache(maxsize=20_000)  # heartbeats name the same few addresses for ever
def _plain_address(value: str) -> str | None:
    """One spelling: IPv4 inside IPv6 (RFC 4291 2.5.5.2) becomes IPv4. None: it is no address of a host."""
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return None if address.is_unspecified or address.is_multicast else str(address)


def _load(value: Any) -> float:
    load: float = _number(0, 1e6)(value)
    if load > 1 and load != int(load):
        raise ValueError("a share from 0 to 1, or a whole number of requests in flight")
    return load


def _capacity(value: Any) -> float:
    capacity: float = _number(0, 1e6)(value)
    if not capacity:
        raise ValueError("a number above 0, up to 1000000")
    return capacity


_POOL, _PORT, _WEIGHT, _INSTANCE = _name(63), _whole(1, 65_535), _whole(0, 256), _name(64)


def _shown(value: object) -> str:
    """A value that is refused, unless it is deep or long."""
    if isinstance(value, list | dict):
        return "an array" if isinstance(value, list) else "an object"
    return repr(value)[:_MOST_SHOWN]


# --- bodies ----------------------------------------------------------------------------------------------------------


class _Body:
    """Filled from a JSON object. Keys without a check are ignored: newer clients may say more."""

    CHECKS: ClassVar[dict[str, Check]] = {}
    """Of each key. A key whose attribute has no default is required; null is as good as nothing."""

    def __init__(self, given: dict[str, Any]) -> None:
        """Raises BadBody."""
        for key, check in self.CHECKS.items():
            value = given.get(key)
            if value is not None:
                try:
                    setattr(self, key, check(value))
                except ValueError as error:
                    raise BadBody(f"{key}: {_shown(value)} is not allowed (allowed: {error})", key) from None
            elif not hasattr(self, key):
                raise BadBody(f"{key}: missing", key)


Body = TypeVar("Body", bound=_Body)


class Announcement(_Body):
    """POST /register and POST /heartbeat: a backend's full state."""

    CHECKS: ClassVar[dict[str, Check]] = {
        "server_ip": _address,
        "status": _one_of("ready", "alive", "starting", "busy", "draining"),
        "port": _PORT,
        "pool": _POOL,
        "weight": _WEIGHT,
        "capacity": _capacity,
        "load": _load,
        "in_flight": _whole(0, 10_000_000),
        "seq": _whole(0, 2**63 - 1),
        "for_s": _number(0, 86_400),
        "backup": _flag,
        "instance": _INSTANCE,
    }
    server_ip: str
    status: str
    port: int | None = None
    pool: str | None = None
    weight: int | None = None
    capacity: float | None = None
    load: float | None = None
    in_flight: int | None = None
    seq: int | None = None
    for_s: float | None = None
    backup: bool | None = None
    instance: str | None = None

    @property
    def report(self) -> Report:
        """What it says of the backend itself. A load over 1 is a number of requests in flight."""
        load, in_flight = self.load, self.in_flight
        if load is not None and load > 1:
            in_flight = int(load) if in_flight is None else in_flight
            load = None
        return Report(
            self.status, self.weight, self.capacity, load, self.for_s, in_flight, self.seq, self.backup, self.instance
        )


class Farewell(_Body):
    """POST /deregister."""

    CHECKS: ClassVar[dict[str, Check]] = {"server_ip": _address, "port": _PORT, "pool": _POOL, "instance": _INSTANCE}
    server_ip: str
    port: int | None = None
    pool: str | None = None
    instance: str | None = None


class Release(_Body):
    """POST /release: the end of what `POST /pick?hold_s=N` began."""

    CHECKS: ClassVar[dict[str, Check]] = {"pick": _text(64), "outcome": _one_of("ok", "refused", "failed", "left")}
    pick: str
    outcome: str = "ok"


class BackendCall(_Body):
    """POST /backends/VERB, from operators."""

    CHECKS: ClassVar[dict[str, Check]] = {"address": _text(300), "pool": _POOL, "weight": _WEIGHT, "backup": _flag}
    address: str
    pool: str | None = None
    weight: int | None = None
    backup: bool = False


class UpgradeCall(_Body):
    """POST /upgrade, from operators: the whole of it, or a step."""

    CHECKS: ClassVar[dict[str, Check]] = {
        "step": _one_of("all", "check", "control", "worker"),
        "worker": _whole(0, 65_535),
    }
    step: str = "all"
    worker: int | None = None


class DrainNode(_Body):
    """POST /cluster/drain-node, from operators: which, default: this one."""

    CHECKS: ClassVar[dict[str, Check]] = {"node": _POOL, "undo": _flag}
    node: str | None = None
    undo: bool = False


def parse(body: bytes, kind: type[Body]) -> Body:
    """Check a JSON body. Raises BadBody."""
    try:
        value: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise BadBody("the body is not JSON") from None
    if not isinstance(value, dict):
        raise BadBody("the body is not a JSON object")
    return kind(value)
