"""Signed calls of the admin server, for networks without TLS: who holds the pool's key wrote them, and each counts once.

The rule: X-LB-Timestamp is Unix time in milliseconds, X-LB-Nonce 16 random bytes in hex, X-LB-Signature the hex HMAC-SHA256
(RFC 2104) under the key of method, path, timestamp, nonce and body, joined by line feeds. The clocks may differ by WINDOW_S.
"""

from __future__ import annotations

import time
from collections import OrderedDict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

WINDOW_S = 300
REMEMBERED = 200_000
"""Nonces that are kept at most; with more calls than that within the window, the oldest are refused by their time instead."""


def sign(key: str | bytes, method: str, path: str, timestamp_ms: int, nonce: str, body: bytes) -> str:
    """The signature of a call, in hex."""
    import hashlib
    import hmac

    secret = key.encode() if isinstance(key, str) else key
    text = b"\n".join([method.encode(), path.encode(), str(timestamp_ms).encode(), nonce.encode(), body])
    return hmac.new(secret, text, hashlib.sha256).hexdigest()


def headers(key: str | bytes, method: str, path: str, body: bytes) -> dict[str, str]:
    """The three fields of a call that is made now."""
    import os

    now_ms, nonce = int(time.time() * 1000), os.urandom(16).hex()
    return {
        "X-LB-Timestamp": str(now_ms),
        "X-LB-Nonce": nonce,
        "X-LB-Signature": sign(key, method, path, now_ms, nonce, body),
    }


class Verifier:
    """Checks signed calls, and remembers their nonces. One thread's own. clock: Unix seconds."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._seen: OrderedDict[str, float] = OrderedDict()
        self._oldest = 0.0

    def fault(self, key: str, method: str, path: str, fields: Mapping[str, str], body: bytes) -> str | None:
        """What is wrong with a call, in words; None: nothing, and it will not count again."""
        import hmac

        now, nonce = self._clock(), fields.get("X-LB-Nonce", "")
        try:
            at_ms = int(fields.get("X-LB-Timestamp", ""))
        except ValueError:
            return "it is not signed (X-LB-Timestamp, X-LB-Nonce, X-LB-Signature)"
        wanted = sign(key, method, path, at_ms, nonce, body)
        if not hmac.compare_digest(wanted.encode(), fields.get("X-LB-Signature", "").encode()):
            return "its signature is wrong"
        late_s = now - at_ms / 1000
        if abs(late_s) > WINDOW_S or at_ms / 1000 <= self._oldest:
            return f"its time is {late_s:.0f} s behind this host's (allowed: {WINDOW_S} s)"
        if len(nonce) != 32 or nonce in self._seen:
            return "its nonce was used before, or is not 16 bytes in hex"
        self._remember(nonce, at_ms / 1000, now)
        return None

    def _remember(self, nonce: str, at: float, now: float) -> None:
        self._seen[nonce] = at
        while self._seen and (len(self._seen) > REMEMBERED or next(iter(self._seen.values())) < now - 2 * WINDOW_S):
            _, forgotten = self._seen.popitem(last=False)
            if forgotten >= now - WINDOW_S:
                self._oldest = max(self._oldest, forgotten)
