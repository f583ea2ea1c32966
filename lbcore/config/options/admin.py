"""Options of the admin server."""

from __future__ import annotations

from lbcore.config.option import Option

ADMIN: tuple[Option, ...] = (
    Option("listen", "text", "127.0.0.1:9900", 'where the admin server listens: "HOST:PORT", "unix:/path", or "off"'),
    Option("token_file", "text", None, "file whose first line is the operators' token"),
    Option("token", "secret", None, "the operators' token; better kept in a file (token_file)"),
    Option(
        "read_token_file",
        "text",
        None,
        "file whose first line is a token that may only read: status, metrics, backends, the dashboard",
    ),
    Option("read_token", "secret", None, "a token that may only read; better kept in a file (read_token_file)"),
    Option("allow", "cidrs", None, "networks from which backends may register; default: loopback and private addresses"),
    Option("rate", "int", 1000, "calls a second from one address without the token; 0: no limit", low=0, high=1_000_000),
)
