"""The numbers that stand in the segment for the words of settings and of the status document: csrc/layout/words.h has them."""

from __future__ import annotations

from lbcore._layout import ffi

STATES = {
    "up": ffi.integer_const("LB_UP"),
    "down": ffi.integer_const("LB_DOWN"),
    "starting": ffi.integer_const("LB_STARTING"),
    "busy": ffi.integer_const("LB_BUSY"),
    "draining": ffi.integer_const("LB_DRAINING"),
}
DEAD: int = ffi.integer_const("LB_KNOWN_DEAD")
PROVEN: int = ffi.integer_const("LB_KNOWN_PROVEN")
GONE: int = ffi.integer_const("LB_GONE")
FREE: int = ffi.integer_const("LB_FREE")
STATE_NAMES = {number: name for name, number in STATES.items()} | {GONE: "draining"}
POLICIES = {
    "round_robin": ffi.integer_const("LB_ROUND_ROBIN"),
    "least_conn": ffi.integer_const("LB_LEAST_CONN"),
    "p2c": ffi.integer_const("LB_P2C"),
    "random": ffi.integer_const("LB_RANDOM"),
    "ewma": ffi.integer_const("LB_EWMA"),
    "maglev": ffi.integer_const("LB_MAGLEV"),
    "prefix": ffi.integer_const("LB_PREFIX"),
}
POLICY_NAMES = {number: name for name, number in POLICIES.items()}
MODES = {name: ffi.integer_const(f"LB_MODE_{name.upper()}") for name in ("tcp", "http", "udp", "tls", "https")}
MODE_NAMES = {number: name for name, number in MODES.items()}
DATAPATHS = {
    "auto": ffi.integer_const("LB_AUTO"),
    "copy": ffi.integer_const("LB_COPY"),
    "splice": ffi.integer_const("LB_SPLICE"),
    "offload": ffi.integer_const("LB_OFFLOAD"),
}
DATAPATH_NAMES = {number: name for name, number in DATAPATHS.items()}
LOOPS = {"epoll": ffi.integer_const("LB_LOOP_EPOLL"), "uring": ffi.integer_const("LB_LOOP_URING")}
LOOP_NAMES = {number: name for name, number in LOOPS.items()}
SEND_PROXY = {"off": 0, "v1": 1, "v2": 2}
FORWARDED = {
    "off": ffi.integer_const("LB_FORWARDED_OFF"),
    "x": ffi.integer_const("LB_FORWARDED_X"),
    "rfc7239": ffi.integer_const("LB_FORWARDED_RFC7239"),
    "both": ffi.integer_const("LB_FORWARDED_BOTH"),
}
PROTOCOLS = {
    "h2": ffi.integer_const("LB_SPEAKS_HTTP2"),
    "http/1.1": ffi.integer_const("LB_SPEAKS_HTTP1"),
}
BACKEND_PROTOCOLS = {
    "auto": ffi.integer_const("LB_BACKEND_AUTO"),
    "http/1.1": ffi.integer_const("LB_BACKEND_HTTP1"),
    "h2": ffi.integer_const("LB_BACKEND_HTTP2"),
}
PROTOCOL_NAMES: dict[int, str] = {code: name for name, code in PROTOCOLS.items()}
BACKEND_PROTOCOL_NAMES: dict[int, str] = {code: name for name, code in BACKEND_PROTOCOLS.items()}
LIMIT_KEYS: dict[str, int] = {
    name: ffi.integer_const(f"LB_LIMIT_{name.upper()}")
    for name in ("source", "route", "path", "header", "cookie", "api_key", "jwt")
}
ERROR_FORMATS: dict[str | None, int] = {
    None: ffi.integer_const("LB_ERRORS_AS_LISTENER"),
    "text": ffi.integer_const("LB_ERRORS_TEXT"),
    "openai": ffi.integer_const("LB_ERRORS_OPENAI"),
}
EARLY_HINTS = {
    "browsers": ffi.integer_const("LB_HINTS_BROWSERS"),
    "always": ffi.integer_const("LB_HINTS_ALWAYS"),
    "never": ffi.integer_const("LB_HINTS_NEVER"),
}
COST_HEADER = {"trusted": ffi.integer_const("LB_COST_TRUSTED"), "any": ffi.integer_const("LB_COST_ANY")}
HASH_KEYS = {
    "address": ffi.integer_const("LB_HASH_ADDRESS"),
    "path": ffi.integer_const("LB_HASH_PATH"),
    "header": ffi.integer_const("LB_HASH_HEADER"),
    "cookie": ffi.integer_const("LB_HASH_COOKIE"),
    "json": ffi.integer_const("LB_HASH_JSON"),
}
COUNTS = {name.removeprefix("LB_COUNT_").lower(): number for name, number in ffi.typeof("enum lb_count").relements.items()}
"""What the control plane counts of itself."""
CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")
"""Of responses, in the order of their counters."""
GRPC_CODES = (
    "ok", "cancelled", "unknown", "invalid_argument", "deadline_exceeded", "not_found", "already_exists", "permission_denied",
    "resource_exhausted", "failed_precondition", "aborted", "out_of_range", "unimplemented", "internal", "unavailable",
    "data_loss", "unauthenticated",
)  # fmt: skip
"""Of calls of gRPC, in the order of their counters."""
H2_CODES = (
    "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
    "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED", "other",
)  # fmt: skip
"""Of RST_STREAM (RFC 9113 7), in the order of their counters."""
RESET_BY = ("client", "to_client", "backend", "to_backend")
"""Who reset a stream: a client; the balancer, towards a client; a backend; the balancer, towards a backend."""
TIERS: int = ffi.integer_const("LB_TIERS")
"""A backend's tier is below this."""
NO_ROW = 0xFFFFFFFF
"""UINT32_MAX, where a field names the row of a backend: none."""
NO_POOL: int = ffi.integer_const("LB_NO_POOL")

SERVING: int = ffi.integer_const("LB_WORKER_SERVING")
DRAINING: int = ffi.integer_const("LB_WORKER_DRAINING")

SECTIONS = 2
"""A worker's sections of the segment: one that takes its place has the other, while the old one drains."""
