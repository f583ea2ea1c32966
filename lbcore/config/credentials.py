"""Files of API keys and of users, as text: who is in them, by digest, and what is wrong with a line, without its secret."""

from __future__ import annotations

import base64
import hashlib
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

KEYS, USERS = "api_keys", "basic_auth"
"""The kinds of files, by the options that name them."""
SHORTEST, LONGEST = 8, 256
"""Characters of a key or a password; a password may have one."""
_NAME = re.compile(r"[A-Za-z0-9_.@+-]{1,63}")
_KEY = re.compile(rf"[\x21-\x7e]{{{SHORTEST},{LONGEST}}}")
_SHA256 = re.compile(r"sha256:([0-9A-Fa-f]{64})")
_SLOW = {
    "$2": "bcrypt",
    "$apr1$": "apr1 (MD5)",
    "$1$": "MD5",
    "$5$": "sha256crypt",
    "$6$": "sha512crypt",
    "$7$": "scrypt",
    "$y$": "yescrypt",
    "$argon2": "argon2",
    "{SHA}": "SHA-1",
    "{SSHA}": "SHA-1",
}


class Credentials(dict[bytes, str]):
    """Names by the digest of what they have.

    Of a key SHA-256 of it; of a user SHA-256 of the name, a zero byte and SHA-256 of the password (struct lb_credential_row of
    csrc/layout/segment.h).
    """


class LineFault(ValueError):
    """What is wrong with a line, without the secret in it."""


def parse(kind: str, text: str) -> tuple[Credentials, list[str]]:
    """Who is in a file, and a line for each of its lines that is wrong. kind: KEYS or USERS."""
    found, faults = Credentials(), []
    for number, line in enumerate(text.splitlines(), 1):
        plain = line.strip()
        if not plain or plain.startswith("#"):
            continue
        try:
            name, digest = _READERS[kind](plain)
            if digest in found and (kind == USERS or found[digest] != name):
                raise LineFault(f"{name} has the same as {found[digest]}")
            found[digest] = name
        except LineFault as fault:
            faults.append(f"line {number}: {fault}")
    if not found and not faults:
        faults.append("nobody is in it")
    return found, faults


def _split(line: str, form: str) -> tuple[str, str]:
    name, colon, secret = line.partition(":")
    name = name.strip()
    if not colon:
        raise LineFault(f"is no {form}")
    if not _NAME.fullmatch(name):
        raise LineFault(
            "the name before the colon is not allowed (allowed: 1 to 63 letters, digits, '_', '.', '@', '+' or '-')"
        )
    return name, secret


def _read_key(line: str) -> tuple[str, bytes]:
    name, secret = _split(line, "NAME: KEY")
    secret = secret.strip()
    if secret.startswith("sha256:"):
        match = _SHA256.fullmatch(secret)
        if not match:
            raise LineFault(f"{name}: sha256: is to be followed by 64 hex digits")
        return name, bytes.fromhex(match[1])
    if not _KEY.fullmatch(secret):
        raise LineFault(
            f"{name}: the key is not allowed (allowed: {SHORTEST} to {LONGEST} printable ASCII characters, no blanks)"
        )
    return name, hashlib.sha256(secret.encode()).digest()


def _read_user(line: str) -> tuple[str, bytes]:
    name, secret = _split(line, "USER:{SHA256}BASE64 or USER:{PLAIN}PASSWORD")
    slow = next((scheme for prefix, scheme in _SLOW.items() if secret.startswith(prefix)), None)
    if slow:
        raise LineFault(f"{name}: {slow} is not supported (allowed: {{SHA256}}BASE64 and {{PLAIN}}PASSWORD)")
    if secret.startswith("{SHA256}"):
        try:
            inner = base64.b64decode(secret.removeprefix("{SHA256}"), validate=True)
        except ValueError:
            inner = b""
        if len(inner) != hashlib.sha256().digest_size:
            raise LineFault(f"{name}: {{SHA256}} is to be followed by 32 bytes in base64")
    elif secret.startswith("{PLAIN}") and 0 < len(secret) - len("{PLAIN}") <= LONGEST:
        inner = hashlib.sha256(secret.removeprefix("{PLAIN}").encode()).digest()
    else:
        raise LineFault(f"{name}: how the password is stored is not said (allowed: {{SHA256}}BASE64 and {{PLAIN}}PASSWORD)")
    return name, hashlib.sha256(name.encode() + b"\0" + inner).digest()


_READERS: dict[str, Callable[[str], tuple[str, bytes]]] = {KEYS: _read_key, USERS: _read_user}
