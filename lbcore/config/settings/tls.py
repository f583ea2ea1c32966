"""Certificates that listeners show, and what listeners and pools may say of TLS."""

from __future__ import annotations

from lbcore.config import options
from lbcore.config.option import slots
from lbcore.config.settings.acme import name_faults
from lbcore.config.settings.base import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Protocol

    class Listener(Protocol):
        """What a listener says of TLS."""

        mode: str
        certificates: list[CertificateSettings]
        client_cert: str | None
        client_ca: str | None
        alpn: list[str] | None

        @property
        def terminates(self) -> bool: ...

    class Pool(Protocol):
        """What a pool says of it."""

        tls: bool
        tls_verify: bool
        tls_name: str | None
        tls_cert: str | None
        tls_key: str | None


INTERMEDIATE = ":".join(
    f"ECDHE-{signature}-{cipher}"
    for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
    for signature in ("ECDSA", "RSA")
)
"""TLS 1.2 as Mozilla's intermediate configuration has it, less DHE: https://wiki.mozilla.org/Security/Server_Side_TLS."""
MAX_CERTIFICATES = 1024
"""LB_TLS_MOST_CERTIFICATES in csrc/layout/tls.h."""
_DEFAULTS = {"client_cert": "off", "tls_min": "1.2", "tls_ciphers": INTERMEDIATE}


class CertificateSettings(Settings):
    """A certificate of a listener: names of files, which are read when the balancer starts and whenever they change."""

    OPTIONS = options.CERTIFICATE
    __slots__ = slots(options.CERTIFICATE, "issued")
    KEY = "certificate."

    cert: str | None
    key: str | None  # None: it is in the cert file
    ocsp: str | None
    acme: list[str] | None
    issued: str | None
    """File of the certificate that an authority issues for the names of `acme`."""

    def take(self, values: dict[str, Any]) -> Iterable[str]:
        self.issued = values.pop("issued", None)
        if self.acme is not None:
            self.acme = list(dict.fromkeys(name.lower() for name in self.acme))
        return ()

    def check(self) -> Iterable[str]:
        if self.acme is None:
            if self.cert is None:
                yield "cert: missing (PEM file of the certificate; or acme, names that it is issued for)"
            return
        yield from name_faults(self.acme)
        for key in ("cert", "key", "ocsp"):
            if getattr(self, key) is not None:
                yield f"{key}: not with acme"


def listener_faults(listener: Listener) -> Iterable[str]:
    """What a listener says of TLS, filled where it says nothing and TLS ends there; yields what does not fit."""
    if listener.mode == "https" and not listener.certificates:
        yield "certificate: missing (what https shows its clients: [[listener.certificate]], or --cert FILE)"
        return
    if not listener.terminates:
        where = f"this is {listener.mode}" + (" without one" if listener.mode == "tls" else "")
        if listener.certificates:
            yield f"certificate: only for mode https or tls, {where}"
        for name in (*_DEFAULTS, "client_ca", "alpn"):
            if getattr(listener, name) is not None:
                yield f"{name}: only for mode https, or tls with a certificate, {where}"
        return
    for name, default in _DEFAULTS.items():
        if getattr(listener, name) is None:
            setattr(listener, name, default)
    if len(listener.certificates) > MAX_CERTIFICATES:
        yield f"certificate: {len(listener.certificates)} are too many (allowed: at most {MAX_CERTIFICATES})"
    if listener.client_cert != "off" and listener.client_ca is None:
        yield f"client_ca: missing (client_cert = {listener.client_cert!r} requires the CAs that sign certificates of clients)"
    if listener.client_cert == "off" and listener.client_ca is not None:
        yield "client_ca: requires client_cert = 'optional' or 'required'"
    if listener.alpn is not None and listener.mode == "https":
        yield "alpn: only for mode tls with a certificate, https agrees on what protocols says"
    for protocol in listener.alpn or ():
        if not protocol.isascii() or len(protocol) > 255:
            yield f"alpn: {protocol!r} is not allowed (allowed: names of protocols, such as h2)"


def pool_faults(pool: Pool) -> Iterable[str]:
    """What a pool says of TLS that does not fit."""
    if not pool.tls:
        for name in ("tls_ca", "tls_name", "tls_cert", "tls_key"):
            if getattr(pool, name) is not None:
                yield f"{name}: requires tls = true"
        if not pool.tls_verify:
            yield "tls_verify: requires tls = true"
    elif pool.tls_key is not None and pool.tls_cert is None:
        yield "tls_key: requires tls_cert"
    if pool.tls_name is not None and not _is_host(pool.tls_name):
        yield f"tls_name: {pool.tls_name!r} is not allowed (allowed: a name such as app.internal, or an IP address)"


def _is_host(name: str) -> bool:
    return name.isascii() and len(name) <= 253 and not any(char in name for char in " /*")
