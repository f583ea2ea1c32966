"""How etcd's JSON gateway writes things down (etcd 3.4 to 3.6, /v3). Pure: bodies of calls go out, results come in.

Zero, false and empty fields are absent; 64-bit numbers are strings; keys and values are base64.
"""

from __future__ import annotations

import base64
import json
from typing import NamedTuple

from lbcore.store.interface import Change, Changes, Compacted, Item, LeaseGone, Refused, StoreError, Unreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from lbcore.store.interface import Put

INVALID, NOT_FOUND, DENIED, EXHAUSTED, FAILED, OUT_OF_RANGE, UNAVAILABLE, UNAUTHENTICATED = 3, 5, 7, 8, 9, 11, 14, 16
"""Codes of gRPC that are told apart."""


_CALLS = {"range": "reading", "txn": "writing", "authenticate": "the login", "watch": "watching", "grant": "a lease"}


class Page(NamedTuple):
    """One answer of a range. more: there are further keys."""

    items: list[Item]
    revision: int
    cluster: str
    more: bool


class Fault(NamedTuple):
    """What an error says. code: of gRPC, 2: unknown."""

    code: int
    text: str


def b64(text: str | bytes) -> str:
    """Standard base64; etcd refuses the alphabet for URLs."""
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def after_prefix(prefix: str) -> bytes:
    """The first key that does not begin with the prefix any more: the end of its range. "\\0": there is none."""
    raw = prefix.encode().rstrip(b"\xff")
    return raw[:-1] + bytes([raw[-1] + 1]) if raw else b"\0"


def _range_of(prefix: str) -> dict[str, Any]:
    return {"key": b64(prefix or "\0"), "range_end": b64(after_prefix(prefix))}


def range_body(prefix: str, limit: int, after: str | None = None, revision: int = 0) -> dict[str, Any]:
    """Of /v3/kv/range: a page of keys in order, those after a key, at a revision."""
    body = {**_range_of(prefix), "limit": str(limit)}
    if after is not None:
        body |= {"key": b64(after.encode() + b"\0"), "revision": str(revision)}
    return body


def watch_body(prefix: str, revision: int) -> dict[str, Any]:
    """Of /v3/watch. fragment: a large transaction comes in several lines."""
    return {"create_request": {**_range_of(prefix), "start_revision": str(revision), "fragment": True}}


def txn_body(puts: Iterable[Put], deletes: Iterable[str], absent: str | None) -> dict[str, Any]:
    """Of /v3/kv/txn."""
    operations: list[dict[str, Any]] = [
        {"request_put": {"key": b64(put.key), "value": b64(put.value), **({"lease": str(put.lease)} if put.lease else {})}}
        for put in puts
    ]
    operations += [{"request_delete_range": {"key": b64(key)}} for key in deletes]
    body: dict[str, Any] = {"success": operations}
    if absent is not None:
        body["compare"] = [{"key": b64(absent), "target": "CREATE", "result": "EQUAL", "create_revision": "0"}]
    return body


def never_body(key: str) -> dict[str, Any]:
    """Of /v3/kv/txn: it would write a key that was created before revision 0."""
    never = {"key": b64(key), "target": "CREATE", "result": "LESS", "create_revision": "0"}
    return {"compare": [never], "success": [{"request_put": {"key": b64(key)}}]}


# --- results ---------------------------------------------------------------------------------------------------------


def revision_of(result: dict[str, Any]) -> int:
    """The store's revision, from a result's header."""
    return int(result.get("header", {}).get("revision", 0))


def _text(value: dict[str, Any], name: str) -> bytes:
    return base64.b64decode(value.get(name, ""), validate=True)


def page_of(result: dict[str, Any]) -> Page:
    """What a range found. Keys that are not UTF-8 are shown with escapes."""
    items = [
        Item(_text(kv, "key").decode(errors="backslashreplace"), _text(kv, "value"), int(kv["mod_revision"]), _lease(kv))
        for kv in result.get("kvs", ())
    ]
    return Page(items, revision_of(result), str(result["header"]["cluster_id"]), bool(result.get("more")))


def _lease(kv: dict[str, Any]) -> int:
    return int(kv.get("lease", 0))


def changes_of(line: bytes) -> Changes:
    """A line of a watch. The one that says that it stands has no changes. Raises StoreError when it is the last."""
    document = json.loads(line)
    if "result" not in document:
        raise fault_error(fault_of(document), "watch")
    result = document["result"]
    if result.get("canceled"):
        raise _canceled(result)
    found = []
    for event in result.get("events", ()):
        kv = event["kv"]
        gone = event.get("type") == "DELETE"
        key = _text(kv, "key").decode(errors="backslashreplace")
        found.append(Change(key, None if gone else _text(kv, "value"), int(kv["mod_revision"]), _lease(kv)))
    return Changes(found, revision_of(result))


def _canceled(result: dict[str, Any]) -> StoreError:
    if int(result.get("compact_revision", 0)):
        return Compacted(f"revision {result['compact_revision']} is the first that is left")
    reason = str(result.get("cancel_reason", "")) or "no reason given"
    if "permission" in reason.lower() or "auth" in reason.lower():
        return Refused(f"the watch was refused: {reason}", "user")  # 3.5.1 says so of a token that has expired, too
    return Unreachable(f"the watch was ended: {reason}")


def fault_of(document: Any) -> Fault:
    """Code and text of an error, wherever a version puts them."""
    error = document.get("error", document) if isinstance(document, dict) else {}
    inner = error if isinstance(error, dict) else document
    code = inner.get("grpc_code") or inner.get("code") or 2
    return Fault(int(code), str(inner.get("message") or (error if isinstance(error, str) else "") or "an error without words"))


def fault_error(fault: Fault, call: str) -> StoreError:
    """What an error means for the caller. call: the last part of its path."""
    call = _CALLS.get(call, call)
    if fault.code == NOT_FOUND and "lease" in fault.text:
        return LeaseGone(fault.text)
    if fault.code == OUT_OF_RANGE or "compacted" in fault.text:
        return Compacted(fault.text)
    if "user name is empty" in fault.text:
        return Refused(f"{call} was refused: etcd wants a user: {fault.text}", "user")
    if fault.code in (DENIED, UNAUTHENTICATED, INVALID, FAILED):
        return Refused(f"{call} was refused: {fault.text}", "user")
    if fault.code == EXHAUSTED:
        return Refused(f"{call} was refused: {fault.text}", "endpoints")
    return Unreachable(fault.text)
