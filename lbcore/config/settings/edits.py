"""What listeners, pools and routes do to the headers of requests and of responses."""

from __future__ import annotations

import re

from lbcore.config import options
from lbcore.config.option import parse_duration, slots
from lbcore.config.settings.base import Settings, is_token
from lbcore.config.settings.templates import parts
from lbcore.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from lbcore.config.secret import Secret

KEYS = ("request_headers", "response_headers")
MAX_EDITS, MAX_TEXT = 32, 2560
"""Edits of one table, and the characters of their names and values: three tables fit LB_EDITS_BYTES of csrc/layout/words.h."""
HSTS = "Strict-Transport-Security"
_FRAMING = {
    *("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "http2-settings"),
    *("content-length", "expect", "date"),
    *("grpc-status", "grpc-message", "grpc-status-details-bin", "grpc-timeout", "grpc-encoding"),
}
"""Headers that frame a message or belong to one connection, which lbcore or the peers write themselves."""
_HOST = re.compile(r"\{host\}|\{backend\}|[A-Za-z0-9._-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?")
_HSTS = re.compile(r"(\S+)((?: includeSubDomains)?)((?: preload)?)")
_YEAR_S = 31_536_000


class HeaderEdits(Settings):
    """Headers that are set, added and removed, of requests or of responses; values are templates."""

    OPTIONS = options.EDITS
    __slots__ = slots(options.EDITS)

    set: dict[str, Secret]
    add: dict[str, Secret]
    remove: list[str]

    def take(self, values: dict[str, Any]) -> Iterable[str]:
        self.set, self.add, self.remove = self.set or {}, self.add or {}, self.remove or []
        return ()

    def __bool__(self) -> bool:
        return bool(self.set or self.add or self.remove)

    @property
    def names(self) -> list[str]:
        """All names, each with what is done: "set X-Tenant", "remove Cookie". No values: they may be secret."""
        return [f"{what} {name}" for what in ("remove", "set", "add") for name in getattr(self, what)]

    def check(self) -> Iterable[str]:
        for what in ("set", "add", "remove"):
            for name in getattr(self, what):
                if not is_token(name):
                    yield f"{what}: {name!r} is not allowed (allowed: names of headers, at most 63 characters)"
                elif name.lower() in _FRAMING:
                    yield f"{what}.{name}: lbcore writes this header itself, or it belongs to one connection"
        for what in ("set", "add"):
            for name, value in getattr(self, what).items():
                for problem in _value_faults(value.reveal()):
                    yield f"{what}.{name}: {problem}"
        for what, other in (("set", "set"), ("add", "add"), ("remove", "remove"), ("set", "remove")):
            yield from _met_twice(what, getattr(self, what), other, getattr(self, other))
        count = len(self.set) + len(self.add) + len(self.remove)
        if count > MAX_EDITS:
            yield f"set: {count} edits are too many (allowed: at most {MAX_EDITS} in set, add and remove)"
        text = sum(len(name) + len(value) + 4 for what in (self.set, self.add) for name, value in what.items())
        text += sum(len(name) for name in (*self.set, *self.remove))
        if text > MAX_TEXT:
            yield f"set: names and values take {text} characters (allowed: at most {MAX_TEXT} in set, add and remove)"

    def faults_of(self, requests: bool, groups: int) -> Iterable[str]:
        """What is wrong for requests, or for responses. groups: of the path_regex beside them."""
        refused = "via" if requests else "host"
        for what in ("set", "add", "remove"):
            for name in getattr(self, what):
                if name.lower() == refused:
                    yield f"{what}.{name}: only in {'response_headers' if requests else 'request_headers'}"
                elif name.lower() == "host" and what != "set":
                    yield f"{what}.{name}: only in set: a request has one Host"
                elif name.lower() == "host" and not _HOST.fullmatch(self.set[name].reveal()):
                    yield f"{what}.{name}: allowed are a host, perhaps with a port, {{host}} and {{backend}}"
                for group in self._groups(what, name):
                    if group > groups:
                        yield f"{what}.{name}: {{{group}}} requires a path_regex with so many groups"

    def _groups(self, what: str, name: str) -> list[int]:
        if what == "remove":
            return []
        return [int(part) for part, varies in parts(getattr(self, what)[name].reveal()) if varies and part.isdigit()]


def _value_faults(value: str) -> Iterable[str]:
    if not value:
        yield "an empty value (to have none sent, name it in remove)"
    elif not value.isascii() or not value.isprintable() or value != value.strip():
        yield "a value has printable ASCII characters, and no blanks around it"
    else:
        try:
            list(parts(value))
        except ValueError as error:
            yield str(error)


def folded(name: str) -> str:
    """A name as the engine compares it: CGI, WSGI and PHP make one variable of X-A and X_A."""
    return name.lower().replace("_", "-")


def _met_twice(what: str, names: Iterable[str], other: str, others: Iterable[str]) -> Iterable[str]:
    first = list(names)
    for at, name in enumerate(first):
        for again in first[at + 1 :] if what == other else others:
            if folded(name) == folded(again):
                yield f"{other}.{again}: {name} is named in {what}, too"


def take_edits(settings: Any, values: dict[str, Any]) -> Iterable[str]:
    """Set both kinds of edits from what was given, settings or tables; yield what is wrong."""
    for key in KEYS:
        given = values.pop(key, None)
        setattr(settings, key, HeaderEdits())
        try:
            setattr(settings, key, given if isinstance(given, HeaderEdits) else HeaderEdits(**(given or {})))
        except ConfigError as error:
            yield from (f"{key}.{problem}" for problem in error.problems)


def edit_faults(settings: Any, groups: int = 0) -> Iterable[str]:
    """What is wrong with both kinds."""
    for key in KEYS:
        edits: HeaderEdits = getattr(settings, key)
        yield from (f"{key}.{problem}" for problem in edits.faults_of(key == KEYS[0], groups))


def hsts_value(text: str) -> str:
    """The header (RFC 6797 6.1) that "365d includeSubDomains preload" means. Raises ValueError."""
    match = _HSTS.fullmatch(text)
    if not match:
        raise ValueError("allowed: a time such as 365d, then includeSubDomains, then preload")
    days = re.fullmatch(r"(\d{1,5})d", match[1])
    try:
        seconds = int(days[1]) * 86_400 if days else parse_duration(match[1]) // 1000
    except ValueError:
        raise ValueError("allowed: a time such as 365d, 12h or 0s, then options") from None
    if match[3] and (not match[2] or seconds < _YEAR_S):
        raise ValueError("preload requires includeSubDomains and 365d at least (hstspreload.org)")
    return f"max-age={seconds}" + match[2].replace(" ", "; ") + match[3].replace(" ", "; ")
