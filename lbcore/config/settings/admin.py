"""The admin server."""

from __future__ import annotations

from lbcore.config import options
from lbcore.config.option import slots
from lbcore.config.secret import Secret
from lbcore.config.settings.addresses import is_loopback, split_host_port
from lbcore.config.settings.base import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

PRIVATE_NETWORKS = [
    "127.0.0.0/8",
    "::1/128",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "fc00::/7",
]
"""Who may register by default: loopback (RFC 6890) and private (RFC 1918, RFC 4193) addresses. Not link-local ones: clouds keep
their metadata servers there."""


class AdminSettings(Settings):
    """Where the admin server listens, and whom it hears."""

    OPTIONS = options.ADMIN
    __slots__ = slots(
        options.ADMIN,
        but=(
            "read_token_file",
            "token_file",
        ),
    )
    KEY = "admin."

    listen: str
    token: Secret | None
    read_token: Secret | None
    allow: list[str]
    rate: int

    def take(self, values: dict[str, Any]) -> Iterable[str]:
        self.allow = list(PRIVATE_NETWORKS) if self.allow is None else self.allow
        for name in ("token", "read_token"):
            yield from self.take_secret(name, values.pop(f"{name}_file", None))

    def check(self) -> Iterable[str]:
        for name in ("token", "read_token"):
            secret = getattr(self, name)
            if secret is not None and len(secret) < 8:
                yield f"{name}: too short (allowed: 8 characters or more)"
        if self.read_token is not None and self.token is None:
            yield "read_token: requires token (without a token anybody may read)"
        if self.read_token is not None and self.read_token == self.token:
            yield "read_token: is the operators' token"
        if self.listen.startswith("unix:"):
            if not self.listen[5:].startswith("/") or len(self.listen) > 5 + 107:
                yield f"listen: {self.listen!r} is not allowed (allowed: unix:/ABSOLUTE/PATH of at most 107 bytes)"
            return
        try:
            host, _ = split_host_port(self.listen)
        except ValueError as error:
            yield f"listen: {error}"
            return
        if not is_loopback(host) and not self.token:
            yield f"listen: {self.listen!r} is not loopback, so a token is required (admin.token_file)"


def admin_of(admin: str | AdminSettings | None) -> AdminSettings | None:
    """The admin settings that an --admin flag means: "HOST:PORT", "unix:PATH", "off" or nothing. Raises ConfigError."""
    if isinstance(admin, AdminSettings):
        return admin
    return None if admin in (None, "off") else AdminSettings(listen=admin)
