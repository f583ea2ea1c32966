"""Routes as the engine reads them: settings in, the bytes of the segment's routes area out (csrc/layout/segment.h)."""

from __future__ import annotations

import itertools
import struct
import time
from hashlib import blake2b

from lbcore._layout import ffi
from lbcore.config.settings import ListenerSettings
from lbcore.config.settings.limits import MAX_BURST, key_parts
from lbcore.config.settings.rates import parse_rate
from lbcore.engine.codes import LIMIT_KEYS
from lbcore.errors import ConfigError
from lbcore.table.conditions import MODEL_KEY, normal_path, top_conditions, words
from lbcore.table.edits import EditRows
from lbcore.table.guards import Guards
from lbcore.table.packed import retry_bits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from lbcore.config.credentials import Credentials
    from lbcore.config.settings import PoolSettings, RouteSettings
    from lbcore.config.settings.host_map import HostMap

ANY_LISTENER = 0xFFFFFFFF
ANSWERS: int = ffi.integer_const("LB_ROUTE_ANSWERS")
NO_LIMIT = 0xFFFFFFFFFFFFFFFF
ROOM: int = ffi.integer_const("LB_ROUTES_BYTES")
ANY_HOST: list[str | None] = [None]
HOST = struct.Struct("=IHHHxx")
"""struct lb_mapped_host."""
MOST_ROUTES = 65_534
"""Rows, whose numbers have 16 bits in an exchange."""


class _Text:
    """The text that rows point into; equal pieces stand there once."""

    def __init__(self) -> None:
        self.bytes = bytearray()
        self._places: dict[bytes, int] = {}

    def put(self, piece: str | bytes) -> tuple[int, int]:
        """Offset and length."""
        data = piece.encode() if isinstance(piece, str) else piece
        if data not in self._places:
            self._places[data] = len(self.bytes)
            self.bytes += data
        return self._places[data], len(data)


def _host(host: str | None) -> tuple[str, str]:
    if host is None:
        return "LB_ROUTE_HOST_ANY", ""
    if host.startswith("*."):
        return "LB_ROUTE_HOST_WILDCARD", host[1:]
    return "LB_ROUTE_HOST_EXACT", host


def _paths(route: RouteSettings) -> list[tuple[str, str]]:
    """Of the route's rows: each path is one."""
    if route.path is not None:
        return [("LB_ROUTE_PATH_EXACT", normal_path(path)) for path in route.path]
    if route.grpc is not None:
        return [("LB_ROUTE_PATH_EXACT" if "/" in call else "LB_ROUTE_PATH_PREFIX", f"/{call}") for call in route.grpc]
    if route.path_prefix is not None:
        return [("LB_ROUTE_PATH_PREFIX", normal_path(path).rstrip("/")) for path in route.path_prefix]
    if route.path_regex is not None:
        return [("LB_ROUTE_PATH_REGEX", route.path_regex)]
    return [("LB_ROUTE_PATH_ANY", "")]


def _place(host: str | None, path: tuple[str, str], text: _Text) -> dict[str, int]:
    """What finds a row in the index: its host and its path."""
    host_kind, host_text = _host(host)
    host_at, host_length = text.put(host_text)
    path_at, path_length = text.put(path[1])
    return {
        "host": host_at,
        "host_length": host_length,
        "path": path_at,
        "path_length": path_length,
        "host_kind": ffi.integer_const(host_kind),
        "path_kind": ffi.integer_const(path[0]),
    }


def rewriting(route: RouteSettings, path: str) -> tuple[str, str] | None:
    """The beginning of this path of a route, as it is compared, and what it becomes; None: the path stays."""
    if not route.strip_prefix and route.replace_prefix is None:
        return None
    strip = normal_path(route.strip_prefix) if isinstance(route.strip_prefix, str) else path
    return strip.rstrip("/"), (route.replace_prefix or "").rstrip("/")


def _rewriting_row(route: RouteSettings, path: str, text: _Text) -> dict[str, int]:
    made = rewriting(route, path)
    if made is None:
        return {}
    (strip, strip_length), (replacement, length) = text.put(made[0]), text.put(made[1])
    return {
        "rewrites": 1,
        "strip": strip,
        "strip_length": strip_length,
        "replacement": replacement,
        "replacement_length": length,
    }


def deeds(route: RouteSettings) -> list[str]:
    """What a route does beside choosing a pool: "strip /api", "set X-Tenant". No values: one may be a secret."""
    made = [rewriting(route, path) for _, path in _paths(route)]
    found = [f"replace {strip or '/'} by {new}" if new else f"strip {strip}" for strip, new in filter(None, made)]
    found += route.request_headers.names
    return [*found, *(f"{name} in the response" for name in route.response_headers.names)]


def _retry_on(route: RouteSettings) -> int:
    bits = retry_bits(route.retry_on or [], bool(route.retry_post))
    for key, bit in (("retry_on", "LB_RETRY_SAYS_STATUSES"), ("retry_post", "LB_RETRY_SAYS_POST")):
        if getattr(route, key) is not None:
            bits |= int(ffi.integer_const(bit))
    return bits


def _answer(route: RouteSettings) -> str | bytes:
    """What the route's own response says: where it leads, or its media type and its body."""
    if route.respond is not None:
        return route.respond.content_type.encode() + b"\0" + route.respond.content
    return route.redirect or ""


def _limits(route: RouteSettings, text: _Text) -> dict[str, int]:
    """What a route says of its requests. The number of its limit stays until its conditions or its key change."""
    kind, name = key_parts(route.limit_key)
    name_at, name_length = text.put(name.lower() if kind == "header" else name)
    rate = None if route.rate is None else parse_rate(route.rate)
    whose = f"{words(route)} {kind}:{name}".encode()
    return {
        "max_body": NO_LIMIT if route.max_body == 0 else route.max_body or 0,
        "response_timeout_ms": route.response_timeout_ms or 0,
        "total_timeout_ms": route.total_timeout_ms or 0,
        "retry_on": _retry_on(route),
        "held": int(route.held),
        "limit": int.from_bytes(blake2b(whose, digest_size=8).digest(), "little"),
        "limit_key": LIMIT_KEYS[kind],
        "limit_name": name_at,
        "limit_name_length": name_length,
        "rate_step_ns": rate.step_ns if rate else 0,
        "rate_burst": min(route.burst or rate.whole, MAX_BURST) if rate else 0,
    }


def _mapped(mapped: HostMap, number: int, pools: dict[str, int], text: _Text) -> bytes:
    """The hosts of a map: an array of struct lb_mapped_host."""
    packed = bytearray()
    for host, pool in mapped.pools.items():
        at, length = text.put(host.removeprefix("*"))
        packed += HOST.pack(at, length, pools[pool], number)
    return bytes(packed)


def _mirror(route: RouteSettings, pools: dict[str, int]) -> dict[str, int]:
    mirror = route.mirror
    return {} if mirror is None else {"mirror": pools[mirror.pool] + 1, "mirror_percent": mirror.percent}


def _said(route: RouteSettings, text: _Text) -> dict[str, int]:
    """What a route says of methods, cost and its own response."""
    methods_at, methods_length = text.put(" ".join(route.method))
    answer_at, answer_length = text.put(_answer(route))
    return {
        "methods": methods_at,
        "methods_length": methods_length,
        "cost": route.cost or 0,
        "status": route.response_status,
        "answer": answer_at,
        "answer_length": answer_length,
    }


def _edits_of(
    edited: Iterable[ListenerSettings | PoolSettings], listeners: dict[str, list[int]], pools: dict[str, int], text: _Text
) -> EditRows:
    edits = EditRows(text.put)
    for owner in edited:
        if isinstance(owner, ListenerSettings):
            for row in listeners[owner.group]:
                edits.of_listener(owner, row)
        else:
            edits.of_pool(owner, pools[owner.name])
    return edits


def models_of(routes: list[RouteSettings]) -> list[str]:
    """The models that routes name, in their order: values of a body's key `model`."""
    named = [route.json.get(MODEL_KEY) for route in routes]
    return [name for values in named if isinstance(values, list) for name in values]


def _rows(
    routes: list[RouteSettings],
    listeners: dict[str, list[int]],
    pools: dict[str, int],
    models: dict[str, int] | None,
    text: _Text,
    guards: Guards,
    edits: EditRows,
) -> tuple[list[dict[str, Any]], list[dict[str, int]], list[bytes]]:
    """The rows of routes, their conditions, and the hosts of their maps."""
    rows: list[dict[str, Any]] = []
    conditions: list[dict[str, int]] = []
    hosts: list[bytes] = []
    maps = 0
    for number, route in enumerate(routes):
        own = top_conditions(route, text.put, models)
        shared = {
            "pool": pools[route.pool] if route.pool is not None else ANSWERS + len(rows),
            "condition": len(conditions),
            "condition_count": len(own),
            "number": number,
            "of_requests": int(bool(route.conditions_of_requests)),
            "editor": edits.of_route(route),
            **_said(route, text),
            **(_limits(route, text) | _mirror(route, pools)),
            "guard": guards.of_route(route),
        }
        if route.mapped is not None:
            maps += 1
            hosts.append(_mapped(route.mapped, maps, pools, text))
            shared["map"] = maps
        meant = [ANY_LISTENER] if route.listener is None else listeners[route.listener]
        for listener, host, path in itertools.product(meant, route.host or ANY_HOST, _paths(route)):
            rows.append(shared | {"listener": listener} | _place(host, path, text) | _rewriting_row(route, path[1], text))
        conditions += own
    if len(rows) > MOST_ROUTES:
        raise ConfigError(f"route: {len(rows)} rows, one for each address, host and path (allowed: at most {MOST_ROUTES})")
    return rows, conditions, hosts


def pack(
    routes: list[RouteSettings],
    listeners: dict[str, list[int]],
    pools: dict[str, int],
    since_us: int | None = None,
    models: dict[str, int] | None = None,
    *,
    edited: Iterable[ListenerSettings | PoolSettings] = (),
    guarded: Mapping[int, ListenerSettings] | None = None,
    sets: Mapping[tuple[str, str], Credentials] | None = None,
) -> bytes:
    """The bytes of these routes, and of the guards of listeners.

    listeners: rows by name, one for each address; pools, models: rows by name. since_us: monotonic, since when they are
    these; None: now. edited: listeners and pools, whose edits of headers go along. guarded: by row, the listeners of requests
    that have a guard. sets: as Guards has them. Raises ConfigError when they do not fit.
    """
    text = _Text()
    guards = Guards(sets or {}, text.put, pools)
    for row, listener in (guarded or {}).items():
        guards.add_listener(row, listener)
    edits = _edits_of(edited, listeners, pools, text)
    rows, conditions, hosts = _rows(routes, listeners, pools, models, text, guards, edits)
    said = [dict(zip(("at", "length"), text.put(", ".join([words(route), *deeds(route)])), strict=True)) for route in routes]
    credentials = guards.credentials  # their names become text, too
    head = ffi.new(
        "struct lb_routes_head *",
        {
            "count": len(rows),
            "conditions": len(conditions),
            "text_bytes": len(text.bytes),
            "words": len(said),
            "editors": len(edits.editors),
            "edits": len(edits.edits),
            "pieces": len(edits.pieces),
            "guards": len(guards.rows),
            "networks": len(guards.networks),
            "credentials": len(credentials),
            "salt": list(guards.salt),
            "mapped": sum(map(len, hosts)) // HOST.size,
            "since_us": time.monotonic_ns() // 1000 if since_us is None else since_us,
        },
    )
    parts = [
        head,
        ffi.new("struct lb_route_row[]", rows),
        ffi.new("struct lb_condition_row[]", conditions),
        ffi.new("struct lb_guard_row[]", guards.rows),
        ffi.new("struct lb_network[]", guards.networks),
        ffi.new("struct lb_credential_row[]", credentials),
        ffi.new("struct lb_route_words[]", said),
        ffi.new("struct lb_editor_row[]", edits.editors),
        ffi.new("struct lb_edit_row[]", edits.edits),
        ffi.new("struct lb_piece_row[]", edits.pieces),
    ]
    return _joined([*(bytes(ffi.buffer(part)) for part in parts), *hosts, bytes(text.bytes)], len(rows))


def _joined(parts: list[bytes], routes: int) -> bytes:
    packed = b"".join(parts)
    if len(packed) >= ROOM:
        raise ConfigError(f"route: {routes} routes, maps and credentials take {len(packed)} bytes (allowed: less than {ROOM})")
    return packed
