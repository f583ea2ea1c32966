"""What a family of metrics is, and those that are alike of several things."""

from __future__ import annotations

from typing import NamedTuple


class Family(NamedTuple):
    """name: without lbcore_ and without a counter's _total. kind: counter, gauge or histogram."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str


def of_ended(scope: str, what: str, by_http2: str) -> tuple[Family, ...]:
    """What is counted alike of listeners and of pools."""
    label = (scope,)
    return (
        Family(f"{scope}_sessions", "counter", label, f"Sessions (tcp, tls, udp, upgraded http) that ended {what}."),
        Family(f"{scope}_requests", "counter", label, f"HTTP requests {what} that ended, however they did."),
        Family(
            f"{scope}_responses", "counter", (*label, "class"), f"HTTP responses {what}, local responses included, by class."
        ),
        Family(f"{scope}_local_responses", "counter", label, f"HTTP requests {what} that got a local response (4xx, 5xx)."),
        Family(
            f"{scope}_failed",
            "counter",
            label,
            f"Sessions and requests {what} that a backend cut short, or for which no backend or no room was left.",
        ),
        Family(
            f"{scope}_client_aborts", "counter", label, f"Sessions and requests {what} whose client left before they ended."
        ),
        Family(f"{scope}_http2_requests", "counter", label, f"HTTP requests {what} that {by_http2}."),
        Family(f"{scope}_grpc_calls", "counter", (*label, "code"), f"gRPC calls {what}, by the status that clients were told."),
        Family(f"{scope}_received_bytes", "counter", label, f"Bytes from clients {what}, of sessions and requests that ended."),
        Family(f"{scope}_sent_bytes", "counter", label, f"Bytes to clients {what}, of sessions and requests that ended."),
    )


MODEL = (
    Family("model_requests", "counter", ("model",), "Requests for a model that a route names that ended, however they did."),
    Family("model_responses", "counter", ("model", "class"), "Responses to them, local responses included, by class."),
    Family(
        "model_failed",
        "counter",
        ("model",),
        "Requests for a model that a backend cut short, or that found no backend or room.",
    ),
    Family("model_request_seconds", "histogram", ("model",), "From the whole head of a request to the end of its response."),
)

_MAP = ("file",)
MAP = (
    Family("map_hosts", "gauge", _MAP, "Hosts of the map file of a route, as it is in force."),
    Family("map_read_seconds", "gauge", _MAP, "Unix time when the map that is in force was read."),
    Family(
        "map_reloads",
        "counter",
        (*_MAP, "result"),
        "Changes of the file, by result: taken, or refused (unreadable, a bad line, an unknown pool).",
    ),
    Family("map_faulty", "gauge", _MAP, "1 while what the file says is not in force, because it is refused; the log says why."),
)
