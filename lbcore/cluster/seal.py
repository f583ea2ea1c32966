"""Values that only nodes with the shared secret can read, and nobody can change unseen. Pure but for the nonce.

Encrypt, then MAC (Bellare and Namprempre, 2000): HMAC-SHA256 in counter mode under one key, HMAC-SHA256 under another. Both
keys are derived from the secret and from what the value is for. Python's standard library has no AEAD, and lbcore needs no
package for one value an hour.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os

from lbcore.cluster.words import NotOurs

_NONCE, _TAG, _BLOCK = 16, 32, 32


def _keys(secret: bytes, purpose: str) -> tuple[bytes, bytes]:
    stretched = hmac.digest(b"lbcore cluster", secret, hashlib.sha256)
    cipher, mac = (hmac.digest(stretched, f"{what} {purpose}".encode(), hashlib.sha256) for what in ("cipher", "mac"))
    return cipher, mac


def _masked(key: bytes, nonce: bytes, data: bytes) -> bytes:
    blocks = range(-(-len(data) // _BLOCK))
    stream = b"".join(hmac.digest(key, nonce + at.to_bytes(8, "big"), hashlib.sha256) for at in blocks)
    return bytes(a ^ b for a, b in zip(data, stream, strict=False))


def sealed(secret: bytes, purpose: str, data: bytes) -> bytes:
    """As text that a store can show."""
    cipher, mac = _keys(secret, purpose)
    nonce = os.urandom(_NONCE)
    body = nonce + _masked(cipher, nonce, data)
    return base64.b64encode(body + hmac.digest(mac, body, hashlib.sha256))


def opened(secret: bytes, purpose: str, value: bytes) -> bytes:
    """What was sealed. Raises NotOurs: with another secret, for another purpose, or changed since."""
    cipher, mac = _keys(secret, purpose)
    try:
        raw = base64.b64decode(value, validate=True)
    except ValueError:
        raise NotOurs("no base64") from None
    if base64.b64encode(raw) != value:  # the last character has bits that mean nothing
        raise NotOurs("base64 of another hand")
    body, tag = raw[:-_TAG], raw[-_TAG:]
    if len(body) < _NONCE or not hmac.compare_digest(tag, hmac.digest(mac, body, hashlib.sha256)):
        raise NotOurs("sealed with another secret_file, or changed")
    return _masked(cipher, body[:_NONCE], body[_NONCE:])
