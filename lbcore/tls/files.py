"""Files that hold keys and certificates: what is in them, what is wrong with them in one line, and whether they changed."""

from __future__ import annotations

import os
import re

from lbcore import regular_file
from lbcore.tls.bundle import MOST_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

Stamp = tuple[regular_file.Stamp | None, ...]

_CERTIFICATE = re.compile(rb"-----BEGIN (?:X509 )?CERTIFICATE-----.+?-----END (?:X509 )?CERTIFICATE-----", re.DOTALL)
_KEY = re.compile(rb"-----BEGIN ([A-Z0-9 ]*)PRIVATE KEY-----.+?-----END \1PRIVATE KEY-----", re.DOTALL)


class FileFault(ValueError):
    """A file cannot be used: its name, and why."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path!r} {reason}")


def stamp(paths: Iterable[str]) -> Stamp:
    """What changes when one of these files does, or what a link leads to: size, time and inode; None: it is not there."""
    return tuple(_stamp(path) for path in paths)


def _stamp(path: str) -> regular_file.Stamp | None:
    try:
        return regular_file.stamp(path)
    except OSError:
        return None


def _who(error: OSError) -> str:
    """Whose rights do not suffice."""
    import pwd

    if not isinstance(error, PermissionError):
        return ""
    try:
        return f" for user {pwd.getpwuid(os.geteuid()).pw_name}"
    except KeyError:
        return f" for user {os.geteuid()}"


def read(path: str) -> bytes:
    """A whole file. Raises FileFault."""
    try:
        return regular_file.read_regular(path, MOST_BYTES, f"{MOST_BYTES >> 20} MiB")
    except OSError as error:
        raise FileFault(path, f"cannot be read ({error.strerror}{_who(error)})") from None
    except ValueError as error:
        raise FileFault(path, f"is {error}") from None


def certificates(path: str) -> bytes:
    """The certificates of a PEM file, in their order. Raises FileFault."""
    found = _CERTIFICATE.findall(read(path))
    if not found:
        raise FileFault(path, "has no certificate in it (PEM is required: -----BEGIN CERTIFICATE-----)")
    return b"\n".join(found) + b"\n"


def key(path: str) -> bytes:
    """The private key of a PEM file. Raises FileFault."""
    found = _KEY.search(read(path))
    if found is None:
        raise FileFault(path, "has no private key in it (PEM is required: -----BEGIN PRIVATE KEY-----)")
    if found[1] == b"ENCRYPTED " or b"Proc-Type: 4,ENCRYPTED" in found[0]:
        raise FileFault(path, "has a private key that is encrypted (openssl pkey -in FILE -out FILE takes the passphrase off)")
    return found[0] + b"\n"


def response(path: str) -> bytes:
    """An OCSP response, DER. Raises FileFault."""
    data = read(path)
    if not data.startswith(b"\x30"):  # a SEQUENCE (RFC 6960 4.2.1)
        raise FileFault(path, "is not an OCSP response in DER")
    return data
