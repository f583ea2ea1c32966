"""Options of edits of headers: [listener.request_headers], [route.response_headers] and the like."""

from __future__ import annotations

from lbcore.config.option import Option

EDITS: tuple[Option, ...] = (
    Option(
        "set",
        "lines",
        None,
        'headers that are sent in the place of any with the same name, such as { X-Client = "{client}" }; variables:'
        " tools/docs/headers.md",
    ),
    Option("add", "lines", None, "headers that are sent beside any with the same name"),
    Option("remove", "headers", None, 'names of headers that are not sent on, such as ["Cookie"]'),
)
