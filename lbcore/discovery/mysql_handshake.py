"""A login to MySQL or MariaDB, and COM_QUIT: what else a client does after the greeting counts towards `max_connect_errors`.

https://mariadb.com/kb/en/connection/ and https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING

from lbcore.config.secret import revealed
from lbcore.discovery.reaching import ProbeFailed

if TYPE_CHECKING:
    from lbcore.config.settings import ProbeSettings
    from lbcore.discovery.reaching import Talk

NOBODY = "lbcore"
_NATIVE, _SHA2 = "mysql_native_password", "caching_sha2_password"
_LONG_PASSWORD, _PROTOCOL_41, _SECURE, _PLUGIN = 0x1, 0x200, 0x8000, 0x80000
_UTF8 = 33
_NOT_SERVING = {1040, 1053, 1129, 1203}
"""Too many connections; it shuts down; this host is blocked; too many connections of this user."""


async def mysql(talk: Talk, probe: ProbeSettings) -> None:
    """Log in, as `probe.user` or as nobody. Nobody is denied access, which shows a living server and counts against no host."""
    sequence, greeting = await _packet(talk)
    if greeting[:1] == b"\xff":
        raise ProbeFailed(_error(greeting)[1])
    if greeting[:1] != b"\x0a":
        raise ProbeFailed("no MySQL greeting")
    plugin, salt = _challenge(greeting)
    if plugin not in (_NATIVE, _SHA2):
        plugin = _NATIVE  # the server asks for another if it must
    password = revealed(probe.password) or ""
    answer = _scrambled(plugin, password, salt)
    flags = _LONG_PASSWORD | _PROTOCOL_41 | _SECURE | _PLUGIN
    login = struct.pack("<IIB23x", flags, 1 << 24, _UTF8) + (probe.user or NOBODY).encode() + b"\0"
    _send(talk, sequence + 1, login + bytes([len(answer)]) + answer + plugin.encode() + b"\0")
    if await _logged_in(talk, probe, salt):
        _send(talk, 0, b"\x01")  # COM_QUIT


async def _logged_in(talk: Talk, probe: ProbeSettings, salt: bytes) -> bool:
    """False: access is denied to nobody. Raises ProbeFailed."""
    for _ in range(5):
        sequence, reply = await _packet(talk)
        kind = reply[:1]
        if kind == b"\0":
            return True
        if kind == b"\xff":
            code, words = _error(reply)
            if probe.user or code in _NOT_SERVING:
                raise ProbeFailed(words)
            return False
        if kind == b"\xfe":  # another plugin is asked for
            name, _, rest = reply[1:].partition(b"\0")
            plugin, salt = name.decode(errors="replace"), rest.rstrip(b"\0")
            if plugin not in (_NATIVE, _SHA2):
                raise ProbeFailed(f"the account wants {plugin[:40]!r}, which is not known here")
            _send(talk, sequence + 1, _scrambled(plugin, revealed(probe.password) or "", salt))
        elif reply[:2] == b"\x01\x04":  # caching_sha2_password: the server has no cached hash
            if talk.writer.get_extra_info("sslcontext") is None:
                raise ProbeFailed("the server wants the password itself, which is sent over TLS only")
            _send(talk, sequence + 1, (revealed(probe.password) or "").encode() + b"\0")
        elif reply[:2] != b"\x01\x03":
            break
    raise ProbeFailed("no MySQL response")


def _challenge(greeting: bytes) -> tuple[str, bytes]:
    """The plugin and the salt of a greeting (protocol 10)."""
    _, _, rest = greeting[1:].partition(b"\0")
    if len(rest) < 31:
        return "", b""
    salt, more = rest[4:12], rest[31:]
    length = max(13, rest[20] - 8)
    plugin = more[length:].partition(b"\0")[0].decode(errors="replace")
    return plugin, salt + more[:12]


def _scrambled(plugin: str, password: str, salt: bytes) -> bytes:
    """The proof that a password is known, as each plugin wants it."""
    if not password:
        return b""
    secret = password.encode()
    if plugin == _SHA2:
        once = hashlib.sha256(secret).digest()
        mask = hashlib.sha256(hashlib.sha256(once).digest() + salt).digest()
    else:
        once = hashlib.sha1(secret).digest()
        mask = hashlib.sha1(salt + hashlib.sha1(once).digest()).digest()
    return bytes(one ^ other for one, other in zip(once, mask, strict=True))


async def _packet(talk: Talk) -> tuple[int, bytes]:
    head = await talk.exactly(4)
    return head[3], await talk.exactly(int.from_bytes(head[:3], "little"))


def _send(talk: Talk, sequence: int, body: bytes) -> None:
    talk.send(len(body).to_bytes(3, "little") + bytes([sequence & 0xFF]) + body)


def _error(packet: bytes) -> tuple[int, str]:
    """Number and words of an ERR packet."""
    code = int.from_bytes(packet[1:3], "little")
    words = packet[3:].decode(errors="replace")
    words = words[6:] if words.startswith("#") else words
    shown = "".join(char if char.isprintable() else "?" for char in words[:120])
    return code, f"the server says: {shown} ({code})"
