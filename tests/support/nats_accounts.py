"""Operators, accounts and users of NATS, as nsc makes them: keys, JWTs, and a server's configuration."""

from __future__ import annotations

import base64
import json
import os
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

UNLIMITED = dict.fromkeys(
    ("subs", "data", "payload", "imports", "exports", "conn", "leaf", "mem_storage", "disk_storage", "streams", "consumer"), -1
)


class Identity:
    """A key pair. prefix: what kind of one, of nkeys."""

    def __init__(self, prefix: int) -> None:
        import nkeys

        self.seed = bytes(nkeys.encode_seed(os.urandom(32), prefix)).decode()
        self.pair = nkeys.from_seed(bytearray(self.seed.encode()))
        self.public = bytes(self.pair.public_key).decode()

    def vouches(self, name: str, whom: str, claims: dict[str, Any]) -> str:
        """A JWT about somebody, signed by this one."""
        now = int(time.time())
        who = {"jti": f"{name}{now}", "iat": now, "iss": self.public, "sub": whom, "name": name}
        claim = {**who, "nats": {**claims, "version": 2}}
        signed = ".".join(_packed(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "ed25519-nkey"}, claim))
        return f"{signed}.{_packed(self.pair.sign(signed.encode()))}"


def _packed(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def made(folder: Path) -> tuple[Path, Path]:
    """A configuration of a server that knows one account, and the .creds file of a user of it."""
    import nkeys

    operator, user = Identity(nkeys.PREFIX_BYTE_OPERATOR), Identity(nkeys.PREFIX_BYTE_USER)
    system, account = Identity(nkeys.PREFIX_BYTE_ACCOUNT), Identity(nkeys.PREFIX_BYTE_ACCOUNT)
    of_account = {"type": "account", "limits": {**UNLIMITED, "wildcards": True}}
    jwt = account.vouches("lbcore", user.public, {"type": "user", "subs": -1, "data": -1, "payload": -1, "pub": {}, "sub": {}})
    known = {system.public: operator.vouches("system", system.public, {"type": "account"})}
    known[account.public] = operator.vouches("shop", account.public, of_account)
    preload = "\n".join(f"  {public}: {vouched}" for public, vouched in known.items())
    (folder / "nats.conf").write_text(
        f"operator: {operator.vouches('op', operator.public, {'type': 'operator'})}\nsystem_account: {system.public}\n"
        f"resolver: MEMORY\nresolver_preload: {{\n{preload}\n}}\n"
    )
    (folder / "lbcore.creds").write_text(
        f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        "************************* IMPORTANT *************************\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
    )
    return folder / "nats.conf", folder / "lbcore.creds"
