"""Why a member of a store did not answer, in words, and which option of the configuration is at fault."""

from __future__ import annotations

import errno
import os
import socket
import ssl

from lbcore.store.interface import Refused, StoreError, Unreachable


def explained(error: BaseException, endpoint: str, limit_s: float, *, known: bool) -> StoreError:
    """error: of the way to this member, aiohttp's or the system's. limit_s: the time that it had. known: a member has answered
    before, so that its scheme is right."""
    text = _refused_tls(error)
    if text and "ALERT" in text:
        return Refused(f"{endpoint} refuses our certificate, or wants one: {text}", "cert")
    if text:
        return Refused(f"{endpoint}: {text}", "ca")
    if isinstance(error, TimeoutError):
        return Unreachable(f"{endpoint}: no answer within {limit_s:g} s")
    hint = "" if known else f": does it speak {'http' if endpoint.startswith('https://') else 'https'}?"
    return Unreachable(f"{endpoint}: {_of_system(error, hint)}")


def _refused_tls(error: BaseException) -> str:
    """What one of both sides has against the other's certificate; "": nothing."""
    told = getattr(error, "certificate_error", None) or error.__cause__
    found = (candidate for candidate in (told, getattr(error, "os_error", None), error) if isinstance(candidate, ssl.SSLError))
    return str(next(found, ""))


def _of_system(error: BaseException, hint: str) -> str:
    """aiohttp's and asyncio's words repeat the address, and hide the reason. hint: follows where a connection just ends."""
    inner = getattr(error, "os_error", error)
    if isinstance(inner, socket.gaierror):
        return f"the host's name cannot be resolved: {inner.strerror or inner}"
    number = getattr(inner, "errno", None)
    closed = number in (errno.ECONNRESET, errno.EPIPE) or "disconnected" in str(inner).lower()
    if isinstance(number, int) and number > 0 and not closed:
        return os.strerror(number).lower()
    if closed or isinstance(inner, ConnectionError) or not str(inner):
        return f"the connection was closed without an answer{hint}"
    return str(inner)
