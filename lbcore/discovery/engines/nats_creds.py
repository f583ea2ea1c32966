"""A .creds file of NATS: a user's JWT, and the seed of the key that proves it. Requires nkeys.

https://docs.nats.io/running-a-nats-service/configuration/securing_nats/auth_intro/jwt
"""

from __future__ import annotations

import base64
import re
from typing import NamedTuple

from lbcore.config.secret import Secret

MOST_BYTES = 64 << 10
_PART = r"-----BEGIN {}-----\s+(\S+)\s+-+END"


class Creds(NamedTuple):
    """What a file holds."""

    jwt: Secret
    seed: Secret

    def signed(self, nonce: str) -> bytes:
        """The answer to a server's challenge, in base64. Raises ValueError."""
        import nkeys

        try:
            pair = nkeys.from_seed(bytearray(self.seed.reveal().encode()))
            return base64.b64encode(pair.sign(nonce.encode()))
        except Exception:  # nkeys raises errors of its own, which may show the seed
            raise ValueError("creds_file: its seed is none of a user") from None


def read(path: str) -> Creds:
    """Raises ValueError, which names the file."""
    try:
        with open(path, encoding="ascii") as file:
            text = file.read(MOST_BYTES)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"creds_file: {path!r} cannot be read ({getattr(error, 'strerror', None) or 'not text'})") from None
    jwt, seed = (re.search(_PART.format(name), text) for name in ("NATS USER JWT", "USER NKEY SEED"))
    if jwt is None or seed is None:
        raise ValueError(f"creds_file: {path!r} is no .creds file of NATS")
    return Creds(Secret(jwt[1]), Secret(seed[1]))
