"""Options of who may use a listener or a route."""

from __future__ import annotations

from lbcore.config.option import Option


def _credentials(scope: str) -> tuple[Option, ...]:
    """scope: what their help begins with, such as "http: "."""
    return (
        Option(
            "api_keys",
            "text",
            None,
            f"{scope}file of API keys, a line NAME: KEY or NAME: sha256:HEX each; requests without a key of it get a 401;"
            " it is read again when it changes",
        ),
        Option(
            "basic_auth",
            "text",
            None,
            f"{scope}file of users and passwords for HTTP basic authentication, a line USER:{{SHA256}}BASE64 or"
            " USER:{PLAIN}PASSWORD each; where api_keys is there, too, either suffices",
        ),
        Option(
            "api_key_headers",
            "headers",
            None,
            f"{scope}headers that may bring a key; Authorization brings it behind Bearer; default: Authorization, X-API-Key",
        ),
        Option(
            "identity_header",
            "text",
            None,
            f"{scope}header that tells backends the name of the key or the user, such as X-Authenticated-User; default: none",
        ),
        Option(
            "remove_credentials",
            "flag",
            False,
            f"{scope}remove the header that brought the key or the password before the request goes to a backend",
        ),
    )


AUTH_REQUEST: tuple[Option, ...] = (
    Option(
        "pool",
        "name",
        None,
        "pool that decides on each request: lbcore sends it a GET with the headers of the request, and a 2xx lets the request"
        " on; a 4xx, and a 3xx with a Location, go to the client; all else is a 503; off: none, whatever the listener says",
    ),
    Option("path", "text", "/", "path, and query, of that GET"),
    Option(
        "headers",
        "headers",
        None,
        "headers of the 2xx that go to the backend with the request, such as X-Auth-User; what clients bring of that name does"
        " not; default: none",
    ),
    Option("timeout", "duration", 5_000, "how long a request waits for the decision", low=10, high=60_000),
    Option(
        "cache",
        "duration",
        0,
        "how long a 2xx also lets other requests on that have the same headers of cache_by; 0: each request is asked about",
        low=0,
        high=3_600_000,
    ),
    Option(
        "cache_by",
        "headers",
        None,
        "headers on which alone a cached decision depends, such as Authorization; a request without any of them is asked about"
        " each time; requires cache; default: Authorization, Cookie",
    ),
)

LISTENER_ACCESS: tuple[Option, ...] = (
    Option(
        "allow_clients",
        "cidrs",
        None,
        "client addresses that may come; others get a 403 (http) or are disconnected; default: all"
        " (tools/docs/security.md says what a client's address is)",
    ),
    Option("deny_clients", "cidrs", None, "client addresses that may not come, also where allow_clients has them"),
    *_credentials("http: "),
)

ROUTE_ACCESS: tuple[Option, ...] = (
    Option(
        "allow_clients",
        "cidrs",
        None,
        "client addresses that the route serves; others get a 403, tls: are disconnected; with deny_clients it stands in"
        " the place of both lists of the listener",
    ),
    Option(
        "deny_clients",
        "cidrs",
        None,
        "client addresses that the route does not serve, also where allow_clients has them; []: it serves all",
    ),
    *_credentials(""),
)
