"""Who may use a listener or a route: what both say of it."""

from __future__ import annotations

from lbcore.config.settings.base import Settings, is_token

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from lbcore.config.settings.auth_request import AuthRequestSettings

MAX_CLIENT_NETWORKS = 64
"""LB_CLIENT_NETWORKS of csrc/layout/words.h."""
MAX_KEY_HEADERS = 8
KEY_HEADERS = ("authorization", "x-api-key")
CREDENTIALS = ("api_keys", "basic_auth")
"""Options that name files of credentials."""
OFF = "off"
"""In the place of a file: no credentials of that kind are asked for."""


class Guarded(Settings):
    """What a listener and a route have of it. Their options and slots are their own."""

    __slots__ = ()

    allow_clients: list[str] | None
    deny_clients: list[str] | None
    api_keys: str | None
    basic_auth: str | None
    api_key_headers: list[str] | None
    identity_header: str | None
    remove_credentials: bool
    auth_request: AuthRequestSettings | None

    @property
    def has_guard(self) -> bool:
        """Does it say anything of who may use it?"""
        return has_lists(self) or asks(self) or self.auth_request is not None


def has_lists(entry: Guarded) -> bool:
    """Does it speak of client addresses?"""
    return entry.allow_clients is not None or entry.deny_clients is not None


def asks(entry: Guarded) -> bool:
    """Does it speak of credentials? Then nothing that its listener says of them holds."""
    return entry.api_keys is not None or entry.basic_auth is not None


def access_faults(entry: Guarded) -> Iterable[str]:
    """What is wrong with what it says."""
    yield from _list_faults(entry)
    yield from _credential_faults(entry)


def _list_faults(entry: Guarded) -> Iterable[str]:
    count = len(entry.allow_clients or ()) + len(entry.deny_clients or ())
    if entry.allow_clients == []:
        yield "allow_clients: [] is not allowed: nobody could come (allowed: at least one network)"
    if count > MAX_CLIENT_NETWORKS:
        yield f"allow_clients: {count} networks with deny_clients are too many (allowed: at most {MAX_CLIENT_NETWORKS})"


def _credential_faults(entry: Guarded) -> Iterable[str]:
    for key in ("api_key_headers", "identity_header", "remove_credentials"):
        if getattr(entry, key) and not asks(entry):
            yield f"{key}: requires api_keys or basic_auth"
    names = entry.api_key_headers
    if names is not None and entry.api_keys is None and asks(entry):
        yield "api_key_headers: requires api_keys"
    if names is not None and not (0 < len(names) <= MAX_KEY_HEADERS and all(is_token(name) for name in names)):
        yield f"api_key_headers: {names!r} is not allowed (allowed: 1 to {MAX_KEY_HEADERS} names of headers)"
    name = entry.identity_header
    if name is not None and not (is_token(name) and _is_dropped_from_clients(name)):
        yield (
            f"identity_header: {name!r} is not allowed (allowed: a header that lbcore drops from clients, such as"
            " X-Authenticated-User, see tools/docs/headers.md)"
        )


def _is_dropped_from_clients(name: str) -> bool:
    """Only then can no client make it up, also in a trailer."""
    from lbcore._engine import is_claim_header

    return bool(is_claim_header(name.encode()))
