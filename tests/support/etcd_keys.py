"""Keys that tests write to a real etcd, as anybody would."""

from __future__ import annotations

import base64

from etcd_members import ALONE, ask

QUICK = ALONE


def _encoded(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def etcd_put(url: str, key: str, value: str | bytes, lease: str | None = None) -> None:
    """lease: that it goes with."""
    ask(url, "/v3/kv/put", {"key": _encoded(key), "value": _encoded(value)} | ({"lease": lease} if lease else {}))


def etcd_delete(url: str, key: str, *, prefix: bool = False) -> None:
    """One key, or all that begin with it."""
    ask(url, "/v3/kv/deleterange", {"key": _encoded(key)} | ({"range_end": _encoded(_end(key))} if prefix else {}))


def etcd_keys(url: str, prefix: str) -> list[str]:
    """Those that begin with it."""
    found = ask(url, "/v3/kv/range", {"key": _encoded(prefix), "range_end": _encoded(_end(prefix)), "keys_only": True})
    return [base64.b64decode(kv["key"]).decode() for kv in found.get("kvs", ())]


def _end(prefix: str) -> str:
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)
