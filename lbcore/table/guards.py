"""Guards as the engine reads them: who may use a listener or a route, as struct lb_guard_row (csrc/layout/segment.h)."""

from __future__ import annotations

import hashlib
import os

from lbcore.config.credentials import KEYS, USERS
from lbcore.config.settings import auth_request
from lbcore.config.settings.access import KEY_HEADERS, OFF, asks, has_lists
from lbcore.table.packed import network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from lbcore.config.credentials import Credentials
    from lbcore.config.settings import ListenerSettings, RouteSettings

NO_LISTENER = NO_POOL = 0xFFFFFFFF


class Guards:
    """Rows of guards, and the networks and credentials that they speak of. Equal guards of routes are one row.

    sets: the credentials of each file that settings name, by kind and file. put: places a text: its offset and length.
    pools: rows by name.
    """

    def __init__(
        self,
        sets: Mapping[tuple[str, str], Credentials],
        put: Callable[[str | bytes], tuple[int, int]],
        pools: Mapping[str, int],
    ) -> None:
        self.salt: bytes = os.urandom(16)
        self.rows: list[dict[str, Any]] = []
        self.networks: list[dict[str, object]] = []
        self._sets, self._put, self._pools = sets, put, pools
        self._numbers: dict[tuple[object, ...], int] = {}
        self._set_numbers = {key: number for number, key in enumerate(sorted(sets), 1)}

    def add_listener(self, row: int, listener: ListenerSettings) -> None:
        """Of all requests of a listener, by its row."""
        self._add(listener, row)

    def of_route(self, route: RouteSettings) -> int:
        """The number of a route's guard, from 1; 0: it needs none."""
        if not route.has_guard:
            return 0
        decides = tuple(self._decides(route).values())
        key = (has_lists(route), *_networks(route), asks(route), *self._credentials(route).values(), decides)
        if key not in self._numbers:
            self._numbers[key] = self._add(route, NO_LISTENER)
        return self._numbers[key]

    @property
    def credentials(self) -> list[dict[str, Any]]:
        """Rows of struct lb_credential_row."""
        rows = []
        for key, number in self._set_numbers.items():
            for secret, name in self._sets[key].items():
                digest = hashlib.sha256(self.salt + number.to_bytes(4, "little") + secret).digest()
                name_at, name_length = self._put(name)
                rows.append({"digest": list(digest), "name": name_at, "name_length": name_length})
        return rows

    def _add(self, entry: ListenerSettings | RouteSettings, listener: int) -> int:
        allowed, denied = _networks(entry)
        self.rows.append(
            {
                "listener": listener,
                "lists": int(has_lists(entry)),
                "network": len(self.networks),
                "allowed_count": len(allowed),
                "denied_count": len(denied),
                "asks": int(asks(entry)),
                **self._credentials(entry),
                **self._decides(entry),
            }
        )
        self.networks += [network(cidr) for cidr in (*allowed, *denied)]
        return len(self.rows)

    def _credentials(self, entry: ListenerSettings | RouteSettings) -> dict[str, int]:
        headers = entry.api_key_headers or KEY_HEADERS
        headers_at, headers_length = self._put(" ".join(name.lower() for name in headers))
        identity_at, identity_length = self._put(entry.identity_header or "")
        return {
            "keys": self._set_number(KEYS, entry.api_keys),
            "logins": self._set_number(USERS, entry.basic_auth),
            "key_headers": headers_at,
            "key_headers_length": headers_length,
            "identity": identity_at,
            "identity_length": identity_length,
            "removes": int(entry.remove_credentials),
        }

    def _decides(self, entry: ListenerSettings | RouteSettings) -> dict[str, int]:
        """Who decides on its requests."""
        auth = entry.auth_request
        if auth is None:
            return {}
        if auth.pool == auth_request.OFF:
            return {"request_pool": NO_POOL}
        target, granted = self._put(auth.path), self._put(_names(auth.headers or ()))
        cache_by = self._put(_names(auth.cached_by))
        return {
            "request_pool": self._pools[auth.pool] + 1,
            "request_ms": auth.timeout_ms,
            "cache_ms": auth.cache_ms,
            **dict(zip(("target", "target_length"), target, strict=True)),
            **dict(zip(("granted", "granted_length"), granted, strict=True)),
            **dict(zip(("cache_by", "cache_by_length"), cache_by, strict=True)),
        }

    def _set_number(self, kind: str, path: str | None) -> int:
        return 0 if path in (None, OFF) else self._set_numbers[kind, str(path)]


def _names(names: Iterable[str]) -> bytes:
    """Each behind its length, folded as csrc/l7/syntax.h does."""
    return b"".join(bytes([len(name)]) + name.lower().replace("_", "-").encode() for name in names)


def _networks(entry: ListenerSettings | RouteSettings) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return tuple(entry.allow_clients or ()), tuple(entry.deny_clients or ())
