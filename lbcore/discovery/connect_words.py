"""Why a connect to a backend failed, in words that say what to do about it."""

from __future__ import annotations

import errno
import os
import pwd

from lbcore.config.settings import is_unix


def connect_words(number: int, address: str) -> str:
    """What an errno means for this backend, without its address."""
    words = os.strerror(number).lower()
    if not is_unix(address):
        return words
    if number in (errno.EACCES, errno.EPERM):
        return f"{words}: workers ({_who()}) need write permission on the socket, and search on its directories"
    if number == errno.ECONNREFUSED:
        return f"{words}: nobody listens on it, or its backlog is full"
    if number == errno.ENOENT:
        return f"{words}: its server has not made the socket"
    return words


def _who() -> str:
    """As whom workers connect. They keep none of root's capabilities, CAP_DAC_OVERRIDE among them."""
    uid = os.geteuid()
    if uid == 0:
        return "root without capabilities"
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user {uid}"
