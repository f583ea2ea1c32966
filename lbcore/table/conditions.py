"""The conditions of routes as the engine reads them: settings in, rows of struct lb_condition_row out; and in words."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import unquote_to_bytes

from lbcore._layout import ffi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lbcore.config.settings import MatchSettings
    from lbcore.config.settings.match import Wanted

    Put = Callable[[str | bytes], tuple[int, int]]
    """Puts a text and gives its offset and its length."""
    Row = dict[str, int]

LISTS = ("host", "path", "path_prefix", "path_suffix", "grpc", "source")
NAMED = {"header": "LB_CONDITION_HEADER", "cookie": "LB_CONDITION_COOKIE", "query": "LB_CONDITION_QUERY"}
SPLITS = {"source": "LB_SPLIT_SOURCE", "cookie": "LB_SPLIT_COOKIE", "header": "LB_SPLIT_HEADER"}
_UNRESERVED = re.compile(rb"[A-Za-z0-9._~-]")
_MAPPED = int(ipaddress.IPv6Address("::ffff:0:0"))
MODEL_KEY = "model"
"""The key of a JSON body whose values have figures."""


def normal_escapes(path: str) -> str:
    """A path, or its end, with unreserved escapes decoded."""

    def decode(match: re.Match[str]) -> str:
        byte = unquote_to_bytes(match[0])
        return byte.decode() if _UNRESERVED.fullmatch(byte) else match[0].upper()

    return re.sub(r"%[0-9A-Fa-f]{2}", decode, path)


def normal_path(path: str) -> str:
    """A path as requests' paths are compared: unreserved escapes decoded, dot segments removed (RFC 3986 6.2.2)."""

    kept: list[str] = []
    segments = normal_escapes(path).split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def _row(kind: str, put: Put, value: str | bytes = "", name: str = "", *, present: int = 0) -> Row:
    name_at, name_length = put(name)
    value_at, value_length = put(value)
    return {
        "kind": ffi.integer_const(kind),
        "present": present,
        "negated": 0,
        "inside": 0,
        "name": name_at,
        "name_length": name_length,
        "value": value_at,
        "value_length": value_length,
    }


def _group(kind: str, put: Put, inside: list[Row]) -> Row:
    return _row(kind, put) | {"inside": len(inside)}


def _any_of(choices: list[list[Row]], put: Put) -> list[Row]:
    """One of these, each of which is a condition with what is inside it."""
    if len(choices) == 1:
        return choices[0]
    inside = [row for choice in choices for row in choice]
    return [_group("LB_CONDITION_ANY", put, inside), *inside]


def _alternatives(match: MatchSettings, put: Put) -> list[Row]:
    """What stands in `any`. Of a route's own, what is decided tells which of them held, or why none did."""
    inside = [row for entry in match.any_of for row in _all_of(_conditions(entry, put), put)]
    return [_group("LB_CONDITION_ANY", put, inside) | {"present": int(match.depth == 0)}, *inside]


def _all_of(rows: list[Row], put: Put) -> list[Row]:
    return [_group("LB_CONDITION_ALL", put, rows), *rows]


def _named(kind: str, wanted: Wanted, put: Put) -> list[Row]:
    found: list[Row] = []
    for name, value in wanted.items():
        name = name.lower() if kind == "header" else name
        if isinstance(value, bool):
            found.append(_row(NAMED[kind], put, name=name, present=1) | {"negated": int(not value)})
        else:
            values = value if isinstance(value, list) else [value]
            found += _any_of([[_row(NAMED[kind], put, one, name)] for one in values], put)
    return found


def _networks(source: list[str]) -> Iterable[bytes]:
    """Of each family its networks, in their order, none within another: an address in IPv6 and the bits that count."""
    for version in (4, 6):
        listed = [network for network in map(ipaddress.ip_network, source) if network.version == version]
        packed = b""
        for network in sorted(ipaddress.collapse_addresses(listed)):  # type: ignore[type-var]
            at = int(network.network_address) + (_MAPPED if version == 4 else 0)
            packed += at.to_bytes(16, "big") + bytes([network.prefixlen + (96 if version == 4 else 0)])
        if packed:
            yield packed


def _json(key: str, wanted: list[str] | bool, put: Put, models: dict[str, int]) -> Row:
    """Several values stand in one row, apart by line feeds; those that are models, each with the number of its row and one."""
    values = [] if isinstance(wanted, bool) else wanted
    row = _row("LB_CONDITION_JSON", put, "\n".join(values), key, present=int(not values))
    numbers = bytes(models.get(value, -1) + 1 for value in values) if key == MODEL_KEY and models else b""
    return row | dict(zip(("models", "models_length"), put(numbers), strict=True))


def _split(match: MatchSettings, put: Put) -> list[Row]:
    if match.percent is None:
        return []
    kind, name = match.split
    low, high = match.percent
    row = _row("LB_CONDITION_SPLIT", put, name=name.lower() if kind == "header" else name)
    return [row | {"present": ffi.integer_const(SPLITS[kind]), "value": low, "value_length": high}]


def _paths(match: MatchSettings, put: Put) -> list[Row]:
    kinds = {
        "LB_CONDITION_PATH": [normal_path(path) for path in match.path or ()],
        "LB_CONDITION_PATH_PREFIX": [normal_path(path).rstrip("/") for path in match.path_prefix or ()],
        "LB_CONDITION_PATH_REGEX": [match.path_regex] if match.path_regex is not None else [],
    }
    for call in match.grpc or ():
        kinds["LB_CONDITION_PATH" if "/" in call else "LB_CONDITION_PATH_PREFIX"].append(f"/{call}")
    choices = [[_row(kind, put, value)] for kind, values in kinds.items() for value in values]
    return _any_of(choices, put) if choices else []


def top_conditions(match: MatchSettings, put: Put, models: dict[str, int] | None = None) -> list[Row]:
    """Conditions of a route beside its hosts, its paths and its methods, which its rows name. models: rows by name."""
    found = _named("header", match.header, put) + _named("cookie", match.cookie, put) + _named("query", match.query, put)
    if match.alpn is not None:
        found.append(_row("LB_CONDITION_ALPN", put, match.alpn))
    if match.path_suffix is not None:
        found += _any_of([[_row("LB_CONDITION_PATH_SUFFIX", put, normal_escapes(suffix))] for suffix in match.path_suffix], put)
    if match.source is not None:
        found += _any_of([[_row("LB_CONDITION_SOURCE", put, packed)] for packed in _networks(match.source)], put)
    found += _split(match, put)
    if match.any_of:
        found += _alternatives(match, put)
    for entry in match.none_of:
        first, *inside = _all_of(_conditions(entry, put), put)
        found += [first | {"negated": 1}, *inside]
    return found + [
        _json(key, wanted, put, models or {}) for key, wanted in match.json.items()
    ]  # looked at where all else holds


def _conditions(match: MatchSettings, put: Put) -> list[Row]:
    """All conditions of what stands in `not` or `any`."""
    found: list[Row] = []
    if match.host is not None:
        found += _any_of([[_row("LB_CONDITION_HOST", put, host.removeprefix("*"))] for host in match.host], put)
    if match.method:
        found.append(_row("LB_CONDITION_METHOD", put, " ".join(match.method)))
    return found + _paths(match, put) + top_conditions(match, put)


def words(match: MatchSettings) -> str:
    """Conditions as they were written, for those who ask why a request went where it went."""
    said = [f"listener={listener}"] if (listener := getattr(match, "listener", None)) else []
    said += [f"{key}={','.join(getattr(match, key))}" for key in LISTS if getattr(match, key) is not None]
    said += [f"{key}={getattr(match, key)}" for key in ("path_regex", "alpn") if getattr(match, key) is not None]
    said += [f"method={','.join(match.method)}"] if match.method else []
    for kind in NAMED:
        for name, value in getattr(match, kind).items():
            shown = {True: "", False: "=(absent)"}[value] if isinstance(value, bool) else f"={value}"
            said.append(f"{kind}:{name}" + (f"={','.join(value)}" if isinstance(value, list) else shown))
    for key, values in match.json.items():
        said.append(f"json:{key}={','.join(values)}" if isinstance(values, list) else f"json:{key}")
    if match.percent is not None:
        low, high = match.percent
        said.append(f"percent={low / 100:g}-{high / 100:g} of {match.percent_by or 'source'}")
    said += [f"any({' | '.join(words(entry) for entry in match.any_of)})"] if match.any_of else []
    said += [f"not({words(entry)})" for entry in match.none_of]
    said += [f"map={path}"] if (path := getattr(match, "map", None)) else []
    return " ".join(said) or "every request"
