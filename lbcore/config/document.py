"""The shape of a configuration document: its tables, each with its options and the tables inside it; and what breaks it."""

from __future__ import annotations

from lbcore.config import options
from lbcore.config.option import did_you_mean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from lbcore.config.option import Option


class Table:
    """A table: its options, the tables inside it by their keys, alone or in arrays, and keys that the settings check."""

    def __init__(
        self,
        options: tuple[Option, ...],
        *,
        tables: Mapping[str, Table] | None = None,
        arrays: Mapping[str, Table] | None = None,
        others: Mapping[str, dict[str, Any]] | None = None,
    ) -> None:
        """others: keys of several kinds of values, each with its JSON schema."""
        self.options: dict[str, Option] = {option.name: option for option in options}
        self.tables: Mapping[str, Table] = tables or {}
        self.arrays: Mapping[str, Table] = arrays or {}
        self.others: Mapping[str, dict[str, Any]] = others or {}

    @property
    def keys(self) -> list[str]:
        """All keys, in the order in which faults are told."""
        return [*self.options, *self.others, *self.tables, *self.arrays]

    def below(self, path: str = "") -> Iterator[tuple[str, Table]]:
        """This table and all tables inside it, each with its path: "", "pool", "pool.probe"."""
        yield path, self
        for key, table in {**self.tables, **self.arrays}.items():
            yield from table.below(f"{path}.{key}" if path else key)


_CONDITIONS = {"type": "object", "additionalProperties": {"type": ["string", "boolean", "array"], "items": {"type": "string"}}}
_INNER = {"type": ["object", "array"], "items": {"type": "object"}}
_JSON = {"type": "object", "additionalProperties": {"type": ["string", "boolean", "array"], "items": {"type": "string"}}}
_METHODS = {"type": ["string", "array"], "items": {"type": "string"}}

_EDITS = {"request_headers": Table(options.EDITS), "response_headers": Table(options.EDITS)}

_AUTH = {"auth_request": Table(options.AUTH_REQUEST)}

POOL = Table(
    options.POOL,
    tables={
        **_EDITS,
        "probe": Table(options.PROBE),
        "lease": Table(options.LEASE),
        "outlier": Table(options.OUTLIER),
        "scrape": Table(options.SCRAPE),
    },
    arrays={"backend": Table(options.BACKEND), "source": Table(options.SOURCE)},
)
FILE = Table(
    options.TOP,
    tables={"acme": Table(options.ACME), "admin": Table(options.ADMIN), "cluster": Table(options.CLUSTER)},
    arrays={
        "listener": Table(options.LISTENER, tables={**_EDITS, **_AUTH}, arrays={"certificate": Table(options.CERTIFICATE)}),
        "route": Table(
            options.ROUTE,
            tables={**_EDITS, **_AUTH, "mirror": Table(options.MIRROR), "respond": Table(options.RESPOND)},
            others={
                "method": _METHODS,
                "header": _CONDITIONS,
                "cookie": _CONDITIONS,
                "query": _CONDITIONS,
                "json": _JSON,
                "not": _INNER,
                "any": _INNER,
            },
        ),
        "pool": POOL,
    },
)


def copied(table: Table, given: Mapping[str, Any]) -> dict[str, Any]:
    """A document of no faults, in dicts and lists that are the caller's own; values as they were written."""
    made = dict(given)
    for key in table.tables.keys() & made.keys():
        made[key] = None if made[key] is None else copied(table.tables[key], made[key])
    for key in table.arrays.keys() & made.keys():
        made[key] = [copied(table.arrays[key], entry) for entry in made[key]]
    return made


def faults(table: Table, given: Any, where: str = "") -> Iterator[str]:
    """What is wrong, one line each: where, the value, and what is allowed."""
    if not isinstance(given, dict):
        yield f"{where}: {_shown(given)} is not allowed (allowed: a table)"
        return
    prefix = f"{where}." if where else ""
    for key in table.keys:
        if key in given:
            yield from _faults_of_key(table, key, given[key], prefix)
    for key in given:
        if key not in table.keys:
            yield f"{prefix}{key}: unknown key{_hint(table, str(key))}"


def _faults_of_key(table: Table, key: str, value: Any, prefix: str) -> Iterator[str]:
    if key in table.options:
        try:
            table.options[key].parse(value)
        except ValueError as error:
            yield f"{prefix}{error}"
    elif key in table.tables:
        if value is not None:
            yield from faults(table.tables[key], value, f"{prefix}{key}")
    elif key in table.arrays:
        if not isinstance(value, list | tuple):
            yield f"{prefix}{key}: {_shown(value)} is not allowed (allowed: an array of tables, [[...]])"
            return
        for at, entry in enumerate(value):
            yield from faults(table.arrays[key], entry, f"{prefix}{key}[{at}]")


def _hint(table: Table, key: str) -> str:
    """What an unknown key may have been meant as: a key like it, or the table that it belongs to."""
    hint = did_you_mean(key, table.keys)
    others = [path for path, other in FILE.below() if key in other.keys]
    if hint or not others:
        return hint
    return f" (it belongs in [{others[0]}])" if others[0] else " (it belongs at the top)"


def _shown(value: object) -> str:
    """A value that is refused. What holds others may hold secrets."""
    if value and isinstance(value, list | dict):
        return "an array" if isinstance(value, list) else "a table"
    return repr(value)
