"""What callers send: request bodies, declared once and checked whole."""

from __future__ import annotations

import ipaddress
import json
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from lbcore.discovery.reports import Report

Body = TypeVar("Body", bound=BaseModel)


class BadBody(ValueError):
    """A body that is not what it should be. key: what is wrong with which key; text: one clear line."""

    def __init__(self, text: str, key: str | None = None) -> None:
        super().__init__(text)
        self.key = key


@lru_cache(maxsize=20_000)  # heartbeats name the same few addresses for ever
def _plain_address(value: str) -> str:
    """One spelling: IPv4 inside IPv6 (RFC 4291 2.5.5.2) becomes IPv4."""
    address = ipaddress.ip_address(value)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if address.is_unspecified or address.is_multicast:
        raise ValueError("not the address of a host")
    return str(address)


def _load(value: float) -> float:
    if value > 1 and value != int(value):
        raise ValueError("a share from 0 to 1, or a whole number of requests in flight")
    return value


Address = Annotated[str, Field(max_length=64), AfterValidator(_plain_address)]
Port = Annotated[int, Field(ge=1, le=65_535)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,63}$")]
Instance = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Weight = Annotated[int, Field(ge=0, le=256)]


class _Strict(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="ignore")  # newer clients may say more


class Announcement(_Strict):
    """POST /register and POST /heartbeat: a backend's full state."""

    server_ip: Address
    status: Literal["ready", "alive", "starting", "busy", "draining"]
    port: Port | None = None
    pool: Name | None = None
    weight: Weight | None = None
    capacity: Annotated[float, Field(gt=0, le=1e6)] | None = None
    load: Annotated[float, Field(ge=0, le=1e6), AfterValidator(_load)] | None = None
    in_flight: Annotated[int, Field(ge=0, le=10_000_000)] | None = None
    seq: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = None
    for_s: Annotated[float, Field(ge=0, le=86_400)] | None = None
    backup: bool | None = None
    instance: Instance | None = None

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


class Farewell(_Strict):
    """POST /deregister."""

    server_ip: Address
    port: Port | None = None
    pool: Name | None = None
    instance: Instance | None = None


class Release(_Strict):
    """POST /release: the end of what `POST /pick?hold_s=N` began."""

    pick: Annotated[str, Field(max_length=64)]
    outcome: Literal["ok", "refused", "failed", "left"] = "ok"


class BackendCall(_Strict):
    """POST /backends/VERB, from operators."""

    address: Annotated[str, Field(min_length=1, max_length=300)]
    pool: Name | None = None
    weight: Weight | None = None
    backup: bool = False


class UpgradeCall(_Strict):
    """POST /upgrade, from operators: the whole of it, or a step."""

    step: Literal["all", "check", "control", "worker"] = "all"
    worker: Annotated[int, Field(ge=0)] | None = None


def parse(body: bytes, kind: type[Body]) -> Body:
    """Check a JSON body. Raises BadBody."""
    try:
        value: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise BadBody("the body is not JSON") from None
    if not isinstance(value, dict):
        raise BadBody("the body is not a JSON object")
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = str(first["loc"][0]) if first["loc"] else None
        if first["type"] == "missing":
            raise BadBody(f"{key}: missing", key) from None
        raise BadBody(f"{key}: {first['input']!r} is not allowed ({first['msg']})"[:400], key) from None
