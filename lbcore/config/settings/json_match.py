"""What routes ask of a JSON body: keys and their values."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

MAX_KEYS, MAX_LEVELS, MAX_WORD = 8, 4, 256
"""Keys of all routes together, names in a key, bytes of a name and of a value (csrc/l7/json_said.h, csrc/json/reader.h)."""


def json_conditions(wanted: Any) -> dict[str, list[str] | bool] | None:
    """A route's `json`: True for a key that must be there, else the values of which it must have one. None: it is refused."""
    if not isinstance(wanted, dict):
        return None
    found: dict[str, list[str] | bool] = {}
    for key, value in wanted.items():
        values = [value] if isinstance(value, str) else value
        if not isinstance(key, str) or not _is_key(key) or not (value is True or _are_values(values)):
            return None
        found[key] = True if value is True else list(values)
    return found


def key_faults(keys: Iterable[str]) -> Iterable[str]:
    """Of the keys of all routes."""
    named = sorted(set(keys))
    if len(named) > MAX_KEYS:
        yield f"route: json names {len(named)} keys, {', '.join(named)} (allowed: at most {MAX_KEYS} in all routes)"


def _is_key(key: str) -> bool:
    names = key.split(".")
    return len(names) <= MAX_LEVELS and all(map(_is_word, names))


def _are_values(values: Any) -> bool:
    return isinstance(values, list) and bool(values) and all(isinstance(value, str) and _is_word(value) for value in values)


def _is_word(text: str) -> bool:
    """No control characters: a line feed is between the values in csrc/layout/segment.h."""
    try:
        return 0 < len(text.encode()) <= MAX_WORD and min(text) >= " "
    except UnicodeEncodeError:  # half a surrogate pair
        return False
