"""What an option is: its name, default, bounds, unit and help; how a value of it is read, and how it is told."""

from __future__ import annotations

import re

from lbcore.config.secret import HIDDEN, Secret

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SECOND_MS, MINUTE_MS, HOUR_MS = 1000, 60_000, 3_600_000
_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SIZES = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_SIZE = re.compile(r"(\d{1,15})\s*([bkmg]?)i?b?", re.IGNORECASE)
_SCOPES = {"tcp", "tls", "http", "https", "udp", "grpc", "dns", "srv", "file"}
_SCOPES |= {"mysql", "postgres", "redis", "smtp", "mqtt", "amqp"}
_SCOPES |= {"etcd", "consul", "kubernetes", "nats"}
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,63}")


def duration_text(ms: int) -> str:
    """Milliseconds as the shortest text that means them: 1500 -> "1500ms", 2000 -> "2s"."""
    for unit, size in reversed(_UNITS.items()):
        if ms and ms % size == 0:
            return f"{ms // size}{unit}"
    return "0s"


def parse_duration(value: object) -> int:
    """Milliseconds of "2s", "500ms", "1m", "1h" or a number of seconds. Raises ValueError."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return round(value * 1000)
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match:
        return round(float(match[1]) * _UNITS[match[2]])
    if isinstance(value, str) and re.fullmatch(r"\d+(\.\d+)?", value.strip()):
        return round(float(value) * 1000)
    raise ValueError


def size_text(count: int) -> str:
    """Bytes as the shortest text that means them: 16384 -> "16k"."""
    for unit in ("g", "m", "k"):
        if count and count % _SIZES[unit] == 0:
            return f"{count // _SIZES[unit]}{unit}"
    return str(count)


def parse_size(value: object) -> int:
    """Bytes of 16384, "16k", "1m" or "2g" (powers of 1024). Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if not match:
        raise ValueError
    return int(match[1]) * _SIZES[match[2].lower()]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """ " (did you mean 'policy'?)" where a known name is close, or ""."""
    import difflib

    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.7)
    return f" (did you mean {close[0]!r}?)" if close else ""


class Option:
    """One option. `parse(value)` checks a value from TOML, a flag or Python and returns what settings hold."""

    __slots__ = ("choices", "default", "flag", "help", "high", "kind", "low", "name", "restart")

    def __init__(
        self,
        name: str,
        kind: str,
        default: object,
        help: str,
        *,
        low: int | None = None,
        high: int | None = None,
        choices: tuple[str, ...] = (),
        restart: bool = False,
        flag: bool = False,
    ) -> None:
        """kind: one of duration, size, int, flag, choice, name, text, secret, bytes, body, header_map, lines, texts, any_of,
        percent, headers, cidrs, prefix, statuses (of choices).

        default, low and high of a duration are milliseconds. restart: a reload does not change it. flag: `lbcore run` has
        a flag of its name.
        """
        self.name: str = name
        self.kind: str = kind
        self.default: object = default
        self.help: str = help
        self.low: int | None = low
        self.high: int | None = high
        self.choices: tuple[str, ...] = choices
        self.restart: bool = restart
        self.flag: bool = flag

    @property
    def attribute(self) -> str:
        """The name in settings: durations carry their unit."""
        return f"{self.name}_ms" if self.kind == "duration" else self.name

    @property
    def scope(self) -> tuple[str, ...]:
        """The modes or kinds for which alone it means something: "udp", or "http", "grpc". Its help begins with them."""
        words = self.help.partition(": ")[0].split(", ")
        return tuple(words) if ": " in self.help and _SCOPES.issuperset(words) else ()

    @property
    def allowed(self) -> str:
        """What may be given, in words."""
        if self.kind == "choice":
            return ", ".join(self.choices)
        if self.kind == "duration":
            assert self.low is not None
            assert self.high is not None
            return f"a duration from {duration_text(self.low)} to {duration_text(self.high)}"
        if self.kind == "size":
            assert self.low is not None
            assert self.high is not None
            return f"a size from {size_text(self.low)} to {size_text(self.high)}"
        if self.kind == "int":
            return f"a whole number from {self.low} to {self.high}"
        return {
            "flag": "true or false",
            "name": "1 to 63 letters, digits, '_', '.' or '-'",
            "text": "text",
            "secret": "text",
            "bytes": 'text, or "hex:" and pairs of hex digits',
            "body": f"text of at most {size_text(self.high or 0)}, lines included",
            "header_map": 'a table like { X-Tenant = "acme" }',
            "lines": 'a table like { X-Tenant = "acme" }',
            "prefix": 'true, or a path such as "/api"',
            "texts": 'a list of texts like "h2"',
            "any_of": "a text, or a list of texts of which any will do",
            "percent": 'a number from 0.01 to 100 with two decimals, or a part such as "10-30"',
            "headers": 'a list of names like "X-Real-IP"',
            "binds": 'a text like "tcp://0.0.0.0:5432", or a list of them',
            "cidrs": 'a list of networks like "10.0.0.0/8"',
            "statuses": f"a list of statuses, out of {', '.join(self.choices)}",
            "peers": 'a list of networks like "10.0.0.0/8", and "unix:" for clients of unix sockets',
        }[self.kind]

    @property
    def default_text(self) -> str:
        """The default as one would write it."""
        if self.default is None:
            return ""
        if self.kind == "duration":
            assert isinstance(self.default, int)
            return duration_text(self.default)
        if self.kind == "size":
            assert isinstance(self.default, int)
            return size_text(self.default)
        return str(self.default).lower() if self.kind == "flag" else str(self.default)

    def parse(self, value: object) -> object:
        """The checked value. Raises ValueError naming the key, the value and what is allowed."""
        if value is None and self.default is None:
            return None
        try:
            return _PARSERS[self.kind](self, value)
        except (ValueError, TypeError):
            shown = HIDDEN if self.kind in ("secret", "header_map", "lines") else repr(value)
            raise ValueError(f"{self.name}: {shown} is not allowed (allowed: {self.allowed})") from None


def slots(table: Iterable[Option], *others: str, but: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The attributes of settings: those of a table of options, but for some that are read and not kept, and others."""
    return tuple(sorted({option.attribute for option in table if option.name not in but} | set(others)))


def _within(option: Option, number: int) -> int:
    if (option.low is not None and number < option.low) or (option.high is not None and number > option.high):
        raise ValueError
    return number


def _parse_int(option: Option, value: object) -> int:
    if isinstance(value, str) and re.fullmatch(r"\d+", value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError
    return _within(option, value)


def _parse_choice(option: Option, value: object) -> str:
    if isinstance(value, float):  # a version, written without quotes
        value = str(value)
    if not isinstance(value, str) or value not in option.choices:
        raise ValueError
    return value


def _parse_flag(option: Option, value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _parse_name(option: Option, value: object) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError
    return value


def _parse_text(option: Option, value: object) -> str:
    if not isinstance(value, str) or not value or len(value) > 4096 or not value.isprintable():
        raise ValueError
    return value


def _parse_secret(option: Option, value: object) -> Secret:
    return value if isinstance(value, Secret) else Secret(_parse_text(option, value))


def raw_bytes(text: str) -> bytes:
    """The bytes that "text" or "hex:0a0b" means. Raises ValueError."""
    return bytes.fromhex(text[4:]) if text.startswith("hex:") else text.encode()


def _parse_bytes(option: Option, value: object) -> str:
    if not isinstance(value, str) or len(value) > 4096 or not raw_bytes(value):
        raise ValueError
    return value


def _parse_body(option: Option, value: object) -> str:
    if not isinstance(value, str) or "\0" in value or len(value.encode()) > (option.high or 0):
        raise ValueError
    return value


def is_token(text: str) -> bool:
    """May it name a header, a method or a cookie (RFC 9110 5.6.2), and is it short enough?"""
    return 0 < len(text) < 64 and text.isascii() and all(char.isalnum() or char in "!#$%&'*+-.^_`|~" for char in text)


def _parse_header_map(option: Option, value: object) -> dict[str, Secret]:
    """Values are secrets: one may be a token."""
    if not isinstance(value, dict) or len(value) > 32:
        raise ValueError
    for name, given in value.items():
        text = given.reveal() if isinstance(given, Secret) else given
        if not is_token(name) or (text != "" and _parse_text(option, text) != text.strip()):
            raise ValueError
    return {name: given if isinstance(given, Secret) else Secret(given) for name, given in value.items()}


def _parse_lines(option: Option, value: object) -> dict[str, Secret]:
    """Headers by name; the settings check names and values. These are secrets: one may be a token."""
    if not isinstance(value, dict) or not all(isinstance(given, str | Secret) for given in value.values()):
        raise ValueError
    return {name: given if isinstance(given, Secret) else Secret(given) for name, given in value.items()}


def _parse_prefix(option: Option, value: object) -> str | bool:
    return value if isinstance(value, bool) else _parse_text(option, value)


def _parse_texts(option: Option, value: object) -> list[str]:
    if not isinstance(value, list | tuple) or not value:
        raise ValueError
    return [_parse_text(option, entry) for entry in value]


def _parse_any_of(option: Option, value: object) -> list[str]:
    return _parse_texts(option, [value] if isinstance(value, str) else value)


def _parse_percent(option: Option, value: object) -> tuple[int, int]:
    """From and to, hundredths of a percent."""
    if isinstance(value, tuple):  # as it was parsed before
        return value
    low, dash, high = value.partition("-") if isinstance(value, str) else ("0", "-", str(value))
    if isinstance(value, bool) or not dash or not all(re.fullmatch(r" *\d{1,3}(\.\d{1,2})? *", part) for part in (low, high)):
        raise ValueError
    places = round(float(low) * 100), round(float(high) * 100)
    if not 0 <= places[0] < places[1] <= 10_000:
        raise ValueError
    return places


def _parse_binds(option: Option, value: object) -> list[str]:
    return _parse_texts(option, value if isinstance(value, list | tuple) else [value])


def _parse_headers(option: Option, value: object) -> list[str]:
    if not isinstance(value, list | tuple):
        raise ValueError
    return [_parse_text(option, entry) for entry in value]


def _parse_cidrs(option: Option, value: object) -> list[str]:
    if not isinstance(value, list | tuple):
        raise ValueError
    import ipaddress

    return [str(ipaddress.ip_network(entry)) for entry in value]


def _parse_statuses(option: Option, value: object) -> list[int]:
    """Each once, in their order."""
    if not isinstance(value, list | tuple):
        raise ValueError
    if not all(isinstance(entry, int) and str(entry) in option.choices for entry in value):
        raise ValueError
    return sorted(set(value))


def _parse_peers(option: Option, value: object) -> list[str]:
    if not isinstance(value, list | tuple):
        raise ValueError
    return [entry if entry == "unix:" else _parse_cidrs(option, [entry])[0] for entry in value]


_PARSERS: dict[str, Callable[[Option, object], object]] = {
    "duration": lambda option, value: _within(option, parse_duration(value)),
    "size": lambda option, value: _within(option, parse_size(value)),
    "int": _parse_int,
    "choice": _parse_choice,
    "flag": _parse_flag,
    "name": _parse_name,
    "text": _parse_text,
    "secret": _parse_secret,
    "bytes": _parse_bytes,
    "body": _parse_body,
    "header_map": _parse_header_map,
    "lines": _parse_lines,
    "prefix": _parse_prefix,
    "texts": _parse_texts,
    "any_of": _parse_any_of,
    "percent": _parse_percent,
    "headers": _parse_headers,
    "binds": _parse_binds,
    "cidrs": _parse_cidrs,
    "statuses": _parse_statuses,
    "peers": _parse_peers,
}
