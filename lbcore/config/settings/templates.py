"""Templates of header values: text with variables in braces; "{{" and "}}" stand for single braces."""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLES = (
    *("client", "client_port", "request_id", "scheme", "method", "host", "path", "query", "listener", "pool", "backend"),
    *("tls_version", "tls_cipher", "tls_sni"),
)
"""Variables by their names; beside them "1" to "9", the groups of a route's path_regex."""
_PART = re.compile(r"\{\{|\}\}|\{([a-z_]+|[1-9])\}|[^{}]+|[{}]")


def parts(template: str) -> Iterator[tuple[str, bool]]:
    """Its parts in order: a text, and whether it names a variable. Raises ValueError with what is wrong."""
    for match in _PART.finditer(template):
        name, text = match[1], match[0]
        if name is not None:
            if name not in VARIABLES and not name.isdigit():
                raise ValueError(
                    f"{text} is unknown (known: {', '.join(f'{{{known}}}' for known in VARIABLES)}, {{1}} to {{9}})"
                )
            yield name, True
        elif text in ("{{", "}}"):
            yield text[0], False
        elif text in ("{", "}"):
            raise ValueError(f"a single {text} (write {text * 2} for the character)")
        else:
            yield text, False
