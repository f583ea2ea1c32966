"""What routes ask for: conditions on a request or a connection, all of which must hold; and their negation and alternatives."""

from __future__ import annotations

from lbcore.config import options
from lbcore.config.option import slots
from lbcore.config.settings.base import Settings, is_token
from lbcore.config.settings.json_match import json_conditions
from lbcore.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

Wanted = dict[str, str | bool | list[str]]
"""Of headers, cookies or parameters, by name: a value, several of which one must be there, True: any, False: none."""

MAX_EXPRESSION = 1024
"""LB_EXPRESSION_BYTES of csrc/layout/words.h."""
MOST_DEPTH = 4
"""Of not and any inside each other."""
MOST_NETWORKS = 4096
NAMED = ("header", "cookie", "query")
PATHS = ("grpc", "path", "path_prefix", "path_regex")
OF_REQUESTS = (*PATHS, "path_suffix", "method", *NAMED, "json")
SPLIT_BY = ("source", "cookie", "header")


class MatchSettings(Settings):
    """Conditions, all of which must hold."""

    OPTIONS = options.CONDITION
    __slots__ = slots(options.CONDITION, "any_of", *NAMED, "depth", "json", "method", "none_of")

    host: list[str] | None
    path: list[str] | None
    path_prefix: list[str] | None
    path_suffix: list[str] | None
    grpc: list[str] | None
    path_regex: str | None
    alpn: str | None
    source: list[str] | None
    percent: tuple[int, int] | None
    """From and to, hundredths of a percent."""
    percent_by: str | None
    method: list[str]
    header: Wanted
    cookie: Wanted
    query: Wanted
    json: dict[str, list[str] | bool]
    """By the keys of a JSON body: the values of which it must have one, or True."""
    none_of: list[MatchSettings]
    """The key `not`: none of these may hold."""
    any_of: list[MatchSettings]
    """The key `any`: one of these must hold, if there are any."""
    depth: int
    """In how many others this one stands."""

    def take(self, values: dict[str, Any]) -> Iterable[str]:
        self.depth = values.pop("depth", 0)
        method = values.pop("method", None) or []
        names = [method] if isinstance(method, str) else method
        if isinstance(names, list | tuple) and all(isinstance(name, str) and is_token(name) for name in names):
            self.method = list(names)
        else:
            self.method = []
            yield f"method: {method!r} is not allowed (allowed: names of methods)"
        self.header, self.cookie, self.query = {}, {}, {}
        for key in NAMED:
            wanted = values.pop(key, None) or {}
            if not isinstance(wanted, dict) or not all(_is_wanted(key, name, value) for name, value in wanted.items()):
                yield (
                    f"{key}: {wanted!r} is not allowed (allowed: a table of names, each with a value, a list of values, "
                    'true for "present" or false for "absent")'
                )
            else:
                setattr(self, key, dict(wanted))
        yield from self._take_json(values.pop("json", None) or {})
        self.none_of, self.any_of = [], []
        yield from self._take_inner("not", "none_of", values)
        yield from self._take_inner("any", "any_of", values)

    def _take_json(self, wanted: Any) -> Iterable[str]:
        conditions = json_conditions(wanted)
        self.json = conditions or {}
        if conditions is None:
            yield (
                f"json: {wanted!r} is not allowed (allowed: a table of keys such as model or metadata.tier, "
                'each with a string, a list of strings, or true for "present")'
            )

    def _take_inner(self, key: str, attribute: str, values: dict[str, Any]) -> Iterable[str]:
        """The conditions in `not` or `any`."""
        given = values.pop(key, None) or values.pop(attribute, None) or []
        values.pop(attribute, None)
        entries = list(given) if isinstance(given, list | tuple) else [given]
        for at, entry in enumerate(entries):
            where = f"{key}[{at}]." if isinstance(given, list | tuple) else f"{key}."
            if isinstance(entry, MatchSettings):
                getattr(self, attribute).append(entry)
            elif not isinstance(entry, dict) or not entry:
                yield f"{where[:-1]}: {entry!r} is not allowed (allowed: a table of conditions)"
            elif self.depth == MOST_DEPTH:
                yield f"{where[:-1]}: deeper than {MOST_DEPTH} tables of conditions"
            else:
                try:
                    getattr(self, attribute).append(MatchSettings(**{**entry, "depth": self.depth + 1}))
                except ConfigError as error:
                    yield from (f"{where}{problem}" for problem in error.problems)

    def check(self) -> Iterable[str]:
        yield from self._host_faults()
        yield from self._path_faults()
        yield from self._split_faults()
        if self.alpn is not None and not (self.alpn.isascii() and 0 < len(self.alpn) < 256):
            yield f"alpn: {self.alpn!r} is not allowed (allowed: the name of a protocol, such as h2)"
        if self.alpn is not None and self.of_requests:
            yield f"alpn: a route with alpn is for tls connections, which have no {self.of_requests[0]}"
        if self.json and self.grpc is not None:
            yield "json: calls of gRPC have no JSON body"
        if self.source is not None and not 0 < len(self.source) <= MOST_NETWORKS:
            yield f"source: {len(self.source)} networks are not allowed (allowed: 1 to {MOST_NETWORKS})"

    def _host_faults(self) -> Iterable[str]:
        self.host = [host.lower().rstrip(".") for host in self.host] if self.host is not None else None
        for host in self.host or ():
            if not is_route_host(host):
                yield f"host: {host!r} is not allowed (allowed: api.example.com or *.example.com, without a port)"

    def _path_faults(self) -> Iterable[str]:
        paths = [key for key in PATHS if getattr(self, key) is not None]
        if len(paths) > 1:
            yield f"{paths[1]}: a route has one of {', '.join(PATHS[:-1])} and {PATHS[-1]}"
        for call in self.grpc or ():
            if not _is_call(call):
                yield f"grpc: {call!r} is not allowed (allowed: pkg.Service or pkg.Service/Method)"
        for key in ("path", "path_prefix", "path_suffix"):
            for value in getattr(self, key) or ():
                begins = value.startswith("/") or key == "path_suffix"
                if not begins or not value.isascii() or " " in value or "?" in value:
                    what = "the end of a path, such as .php" if key == "path_suffix" else "an absolute path, such as /v2/"
                    yield f"{key}: {value!r} is not allowed (allowed: {what}, without a query)"
                elif _is_broken(value):
                    yield f"{key}: {value!r} is not allowed (allowed: escapes such as %20, but not %00)"
        if self.path_regex is not None:
            yield from _expression_faults(self.path_regex)

    def _split_faults(self) -> Iterable[str]:
        if self.percent_by is not None and self.percent is None:
            yield "percent_by: requires percent"
        kind, name = self.split
        if kind not in SPLIT_BY or is_token(name) == (kind == "source"):
            yield f"percent_by: {self.percent_by!r} is not allowed (allowed: source, cookie:NAME, header:NAME)"

    @property
    def split(self) -> tuple[str, str]:
        """What a split by percent goes by: source, cookie or header; and the name of the latter two."""
        kind, _, name = (self.percent_by or "source").partition(":")
        return kind, name

    @property
    def of_requests(self) -> list[str]:
        """What it asks for that only requests have."""
        return self.conditions_of_requests

    @property
    def conditions_of_requests(self) -> list[str]:
        """Conditions that only requests have."""
        keys = [key for key in OF_REQUESTS if getattr(self, key)]
        keys += ["percent_by"] if self.split[0] != "source" else []
        for key, inner in (("not", self.none_of), ("any", self.any_of)):
            keys += [key] if any(entry.of_requests for entry in inner) else []
        return keys

    @property
    def json_keys(self) -> set[str]:
        """All keys of a JSON body that it asks for."""
        return set(self.json).union(*(entry.json_keys for entry in (*self.none_of, *self.any_of)))

    @property
    def asks_alpn(self) -> bool:
        """Does it ask for what only connections of mode tls have?"""
        return self.alpn is not None or any(entry.asks_alpn for entry in (*self.none_of, *self.any_of))


def is_route_host(host: str) -> bool:
    """May a route name it: "api.example.com" or "*.example.com", in lower case?"""
    name = host.removeprefix("*.")
    return bool(name) and "*" not in name and not any(char in name for char in "/: ") and name.isascii() and len(name) <= 253


def _is_call(text: str) -> bool:
    """A service of gRPC by its full name, perhaps with a method."""
    service, slash, method = text.partition("/")
    return text.isascii() and all(name.isidentifier() for name in [*service.split("."), *([method] if slash else [])])


def _is_broken(path: str) -> bool:
    from lbcore._engine import normal_path

    return normal_path(path.encode() if path.startswith("/") else b"/" + path.encode()) is None


def _is_wanted(key: str, name: object, value: object) -> bool:
    named = isinstance(name, str) and (0 < len(name) < 256 if key == "query" else is_token(name))
    values = value if isinstance(value, list) else [value]
    return named and bool(values) and (isinstance(value, bool) or all(isinstance(one, str) for one in values))


def _expression_faults(expression: str) -> Iterable[str]:
    from lbcore._engine import check_expression

    if not expression.isascii() or len(expression) > MAX_EXPRESSION:
        yield f"path_regex: {expression!r} is not allowed (allowed: at most {MAX_EXPRESSION} ASCII characters)"
    elif any(f"\\{digit}" in expression for digit in range(1, 10)):
        yield f"path_regex: {expression!r} refers back, which takes exponential time"
    else:
        fault = check_expression(expression.encode())
        if fault:
            yield f"path_regex: {expression!r} is not allowed ({fault})"
