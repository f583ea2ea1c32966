"""Settings as rows of the segment: checked settings in, the bytes of structs of csrc/layout/segment.h out."""

from __future__ import annotations

import ipaddress

from lbcore._layout import ffi
from lbcore.config.settings.access import has_lists
from lbcore.config.settings.addresses import HTTP_MODES
from lbcore.config.settings.health import statuses
from lbcore.config.settings.sticky import is_secure, sticky_attributes
from lbcore.engine.codes import (
    BACKEND_PROTOCOLS,
    COST_HEADER,
    EARLY_HINTS,
    ERROR_FORMATS,
    FORWARDED,
    HASH_KEYS,
    MODES,
    NO_POOL,
    POLICIES,
    PROTOCOLS,
    SEND_PROXY,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lbcore.config.settings import ListenerSettings, PoolSettings

STICKY_KEY_BYTES = 16
STATUS_BYTES = 16
"""Of a pool's failed_statuses."""


def listener_row(
    listener: ListenerSettings, *, pool: int | None, address: str, tenant: int, certificate_expires_s: int
) -> bytes:
    """A struct lb_listener_row. pool: the row of the one that it leads to where no route does; None: none."""
    return _struct(
        "struct lb_listener_row",
        state=1,
        mode=MODES[listener.mode],
        pool=NO_POOL if pool is None else pool,
        idle_timeout_ms=listener.idle_timeout_ms,
        half_closed_timeout_ms=listener.half_closed_timeout_ms,
        header_timeout_ms=listener.header_timeout_ms,
        body_timeout_ms=listener.body_timeout_ms,
        min_body_rate=listener.min_body_rate,
        lingering_time_ms=listener.lingering_time_ms,
        lingering_timeout_ms=listener.lingering_timeout_ms,
        keepalive_timeout_ms=listener.keepalive_timeout_ms,
        max_header_bytes=listener.max_header_bytes,
        max_target=listener.max_target,
        max_headers=listener.max_headers,
        json_bytes=listener.json_bytes,
        max_body=listener.max_body,
        forwarded=FORWARDED[listener.forwarded],
        passed_headers=folded_names(listener.pass_client_headers),
        protocols=sum(PROTOCOLS[protocol] for protocol in set(listener.protocols)),
        max_streams=listener.max_streams,
        grpc_web=int(listener.grpc_web),
        early_hints=EARLY_HINTS[listener.early_hints],
        cost_header=COST_HEADER[listener.cost_header],
        priority_of_any=int(listener.priority_header == "any"),
        request_id=int(listener.request_id),
        half_close=int(listener.half_close),
        responses=listener.responses,
        accept_proxy=int(listener.accept_proxy),
        terminates=int(listener.terminates),
        tenant=tenant,
        certificate_expires_s=certificate_expires_s,
        client_limits=int(listener.limits_clients),
        max_client_sessions=listener.max_client_sessions,
        client_session_rate=listener.client_session_rate,
        client_session_burst=listener.client_session_burst or listener.client_session_rate,
        client_request_rate=listener.client_request_rate,
        client_request_burst=listener.client_request_burst or listener.client_request_rate,
        network_count=len(listener.trusted_proxies),
        networks=[network(cidr) for cidr in listener.trusted_proxies],
        guarded=int(listener.is_guarded),
        **_client_lists(listener),
        name=listener.name.encode(),
        address=address.encode(),
        health_path=(listener.health_path or "").encode(),
        error_body=(listener.error_body or "").encode(),
        error_type=(listener.error_type or "").encode(),
        error_format=ERROR_FORMATS[listener.error_format],
    )


def _client_lists(listener: ListenerSettings) -> dict[str, object]:
    """Of modes without requests; those of others are guards of the routes (lbcore.table.guards)."""
    if listener.mode in HTTP_MODES or not has_lists(listener):
        return {}
    allowed, denied = listener.allow_clients or [], listener.deny_clients or []
    clients = [network(cidr) for cidr in (*allowed, *denied)]
    return {"client_lists": 1, "allowed_count": len(allowed), "denied_count": len(denied), "clients": clients}


def folded_names(names: list[str]) -> bytes:
    """Names of headers as the engine compares them: lower case, "-" for "_", apart by spaces."""
    return " ".join(name.lower().replace("_", "-") for name in names).encode()


def freed_listener_row(row: object) -> bytes:
    """The same struct lb_listener_row, free: its time limits stay for the sessions that came through it."""
    row_bytes = bytearray(ffi.buffer(row, ffi.sizeof("struct lb_listener_row")))
    row_bytes[:4] = bytes(4)  # state comes first
    return bytes(row_bytes)


def model_row(name: str, tenant: int) -> bytes:
    """A struct lb_model_row; tenant 0: it is free."""
    return _struct("struct lb_model_row", tenant=tenant, length=len(name.encode()), name=name.encode())


def pool_row(pool: PoolSettings, *, tenant: int, sticky_key: bytes) -> bytes:
    """A struct lb_pool_row."""
    hash_key, hash_name = pool.hash_parts
    return _struct(
        "struct lb_pool_row",
        state=1,
        policy=POLICIES[pool.policy],
        connect_timeout_ms=pool.connect_timeout_ms,
        retries=pool.retries,
        budget_percent=pool.retry_budget,
        budget_floor=pool.retry_floor,
        max_connect_failures=pool.max_connect_failures,
        tcp_keepalive_s=pool.tcp_keepalive_ms // 1000,
        user_timeout_ms=pool.user_timeout_ms,
        send_timeout_ms=pool.send_timeout_ms,
        max_active=pool.max_active,
        max_failed_responses=pool.max_failed_responses,
        failed_statuses=_status_bits(pool.failed_statuses),
        response_timeout_ms=pool.response_timeout_ms,
        queue=pool.queue_length,
        queue_timeout_ms=pool.queue_timeout_ms,
        backend_idle_timeout_ms=pool.backend_idle_timeout_ms,
        max_idle_connections=pool.max_idle_connections,
        hash_key=HASH_KEYS[hash_key],
        prefix_ttl_s=pool.prefix_ttl_ms // 1000,
        prefix_cache_kib=-(-pool.prefix_cache // 1024),
        retry_after_s=max(1, pool.probe.interval_ms // 1000),
        max_cost=pool.max_cost,
        send_proxy=SEND_PROXY[pool.send_proxy],
        tls=int(pool.tls),
        trailers=int(pool.trailers),
        hedge_after_ms=pool.hedge_delay[0],
        hedge_percentile=pool.hedge_delay[1],
        hedge_budget=pool.hedge_budget if pool.hedge_after else 0,
        retry_on=retry_bits(pool.retry_on or [], pool.retry_post),
        error_format=ERROR_FORMATS[pool.error_format],
        repeats_lost_calls=int(pool.repeat_calls == "lost"),
        protocol=BACKEND_PROTOCOLS[pool.protocol],
        cuts_down=int(pool.on_down == "cut"),
        max_response_header_bytes=pool.max_response_header_bytes,
        max_response_headers=pool.max_response_headers,
        tenant=tenant,
        name=pool.name.encode(),
        hash_name=hash_name.lower().encode() if hash_key == "header" else hash_name.encode(),
        sticky=(pool.sticky or "").encode(),
        sticky_key=sticky_key,
        sticky_attributes=sticky_attributes(pool).encode(),
        sticky_secure=int(is_secure(pool)),
        sticky_moves=int(pool.sticky_drain == "move"),
    )


def _status_bits(text: str) -> bytes:
    """A bit for each status from 500 on."""
    bits = sum(1 << (status - 500) for low, high in statuses(text, 500) for status in range(low, high + 1))
    return bits.to_bytes(STATUS_BYTES, "little")


def retry_bits(retried: list[int], post: bool) -> int:
    """An enum lb_retry_on."""
    bits = sum(int(ffi.integer_const(f"LB_RETRY_{status}")) for status in retried)
    return bits | (int(ffi.integer_const("LB_RETRY_POST")) if post else 0)


def freed_pool_row() -> bytes:
    """A struct lb_pool_row that is free."""
    return _struct("struct lb_pool_row", state=0)


def sticky_key(pool: str, secret: bytes) -> bytes:
    """What signs a pool's cookie: SHA-256 of its name and a secret, cut to STICKY_KEY_BYTES."""
    import hashlib

    return hashlib.sha256(b"lbcore sticky\0" + pool.encode() + b"\0" + secret).digest()[:STICKY_KEY_BYTES]


def _struct(struct: str, **fields: object) -> bytes:
    """The bytes of a struct. Raises ValueError when a text does not fit into its field."""
    row = ffi.new(f"{struct} *")
    for name, value in fields.items():
        if not isinstance(value, bytes):
            setattr(row, name, value)
            continue
        field = getattr(row, name)
        if len(value) > len(field):
            raise ValueError(f"{name}: {value.decode(errors='replace')!r} is longer than {len(field)} bytes")
        ffi.memmove(field, value, len(value))
    return bytes(ffi.buffer(row))


def network(cidr: str) -> dict[str, object]:
    """A struct lb_network: IPv4 mapped into IPv6; "unix:" is the address that clients of unix sockets have (lb_net_as_v6)."""
    if cidr == "unix:":
        cidr = "::/128"
    network = ipaddress.ip_network(cidr)
    v4 = network.version == 4
    packed = (b"\0" * 10 + b"\xff\xff" if v4 else b"") + network.network_address.packed
    return {"ip": list(packed), "bits": network.prefixlen + (96 if v4 else 0)}
