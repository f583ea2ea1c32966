"""The JSON schema of a configuration file, for editors (`lbcore schema`)."""

from __future__ import annotations

from typing import Any

from lbcore.config.document import FILE, Table
from lbcore.config.option import Option

_TYPES: dict[str, dict[str, Any]] = {
    "duration": {"type": ["string", "number"]},
    "size": {"type": ["string", "integer"]},
    "int": {"type": "integer"},
    "flag": {"type": "boolean"},
    "any_of": {"type": ["string", "array"], "items": {"type": "string"}},
    "percent": {"type": ["string", "number"]},
    "texts": {"type": "array", "items": {"type": "string"}},
    "headers": {"type": "array", "items": {"type": "string"}},
    "header_map": {"type": "object", "additionalProperties": {"type": "string"}},
    "binds": {"type": ["string", "array"], "items": {"type": "string"}},
    "lines": {"type": "object", "additionalProperties": {"type": "string"}},
    "prefix": {"type": ["boolean", "string"]},
    "cidrs": {"type": "array", "items": {"type": "string"}},
    "statuses": {"type": "array", "items": {"type": "integer"}},
    "peers": {"type": "array", "items": {"type": "string"}},
}


def json_schema() -> dict[str, Any]:
    """The schema: JSON Schema 2020-12."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_of_table(FILE)}


def _of_table(table: Table) -> dict[str, Any]:
    properties = {name: _of_option(option) for name, option in table.options.items()}
    properties |= table.others
    properties |= {key: _of_table(inner) for key, inner in table.tables.items()}
    properties |= {key: {"type": "array", "items": _of_table(inner)} for key, inner in table.arrays.items()}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _of_option(option: Option) -> dict[str, Any]:
    schema = dict(_TYPES.get(option.kind, {"type": "string"}))
    if option.kind == "int":
        schema |= {"minimum": option.low, "maximum": option.high}
    if option.kind == "statuses":
        schema["items"] = {"enum": [int(status) for status in option.choices]}
    elif option.choices:
        schema["enum"] = list(option.choices)
    if option.default is not None:
        schema["default"] = option.default_text if option.kind in ("duration", "size") else option.default
    return schema | {"description": f"{option.help} ({option.allowed})"}
