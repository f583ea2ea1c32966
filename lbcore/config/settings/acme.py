"""Certificates that an authority issues by ACME."""

from __future__ import annotations

import importlib.util
import os
import re

from lbcore.config import options
from lbcore.config.option import slots
from lbcore.config.secret import Secret
from lbcore.config.settings.base import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

MOST_NAMES = 100
"""Of one certificate: as Let's Encrypt has it."""
_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"(?:{_LABEL}\.)+(?:[a-z]|[a-z][a-z0-9-]{{0,61}}[a-z0-9])")


def name_faults(names: list[str]) -> Iterable[str]:
    """What is wrong with the names of a certificate, in lower case."""
    if not names or len(names) > MOST_NAMES:
        yield f"acme: {len(names)} names (allowed: 1 to {MOST_NAMES})"
    for name in names:
        if name.startswith("*."):
            yield f"acme: {name!r} is not allowed: certificates of that kind require dns-01, which is not there"
        elif len(name) > 253 or not _NAME.fullmatch(name):
            yield f"acme: {name!r} is not allowed (allowed: names such as shop.example.com)"


class AcmeSettings(Settings):
    """The authority, the account there, and where keys and certificates are kept."""

    OPTIONS = options.ACME
    __slots__ = slots(options.ACME, "eab_hmac", but=("eab_hmac_file",))
    KEY = "acme."

    directory: str
    email: str | None
    agree_tos: bool
    folder: str
    ca: str | None
    eab_key_id: str | None
    eab_hmac: Secret | None

    def take(self, values: dict[str, Any]) -> Iterable[str]:
        self.eab_hmac = values.pop("eab_hmac", None)
        yield from self.take_secret("eab_hmac", values.pop("eab_hmac_file", None))

    def check(self) -> Iterable[str]:
        if importlib.util.find_spec("acme") is None:
            yield "directory: requires the package acme (pip install 'lbcore[acme]')"
        if not self.directory.startswith("https://") or not all("!" <= char <= "~" for char in self.directory):
            yield f"directory: {self.directory!r} is not allowed (allowed: https://HOST/PATH)"
        if not self.agree_tos:
            yield "agree_tos: true is required: the authority issues to those who agree to its terms of service"
        if self.email is not None and not re.fullmatch(r"[^@\s,;?:/]+@[^@\s,;?:/]+", self.email):
            yield f"email: {self.email!r} is not allowed (allowed: one address)"
        if (self.eab_key_id is None) != (self.eab_hmac is None):
            yield "eab_hmac_file: requires eab_key_id" if self.eab_key_id is None else "eab_key_id: requires eab_hmac_file"
        yield from self._folder_faults()

    def _folder_faults(self) -> Iterable[str]:
        if self.folder is None:
            yield "folder: missing (where keys and certificates are kept)"
            return
        there = os.path.abspath(self.folder)
        while not os.path.exists(there):
            there = os.path.dirname(there)
        if not os.path.isdir(there):
            yield f"folder: {there!r} is no folder"
        elif not os.access(there, os.W_OK | os.X_OK):
            yield f"folder: {self.folder!r} cannot be written to, or made in {there!r}"

    def path_of(self, names: list[str]) -> str:
        """Where the certificate of these names is kept, with its key."""
        return os.path.join(self.folder, "certificates", f"{names[0]}.pem")
