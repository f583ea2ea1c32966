"""Which libssl the workers load: the very one that Python's ssl module uses, else whichever the system has."""

from __future__ import annotations

from typing import NamedTuple

from lbcore.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

USUAL = "libssl.so.3"
PACKAGES = "libssl3 (Debian, Ubuntu), openssl-libs (Fedora)"


class Library(NamedTuple):
    """path: of libssl, or its name for the loader. version: as OpenSSL tells it, "OpenSSL 3.0.19 27 Jan 2026"."""

    path: str
    version: str


def mapped(maps: Iterable[str]) -> str | None:
    """The libssl among a process's mappings (the lines of /proc/PID/maps); None: none, or it was replaced since."""
    for line in maps:
        path = line.rstrip("\n").partition("/")[2]
        if path.rpartition("/")[2].startswith("libssl") and not path.endswith(" (deleted)"):
            return f"/{path}"
    return None


def _ours() -> str | None:
    """What Python's own ssl module has loaded; None: it has none, or carries it inside itself."""
    try:
        import _ssl  # noqa: F401
    except ImportError:
        return None
    with open("/proc/self/maps") as file:
        return mapped(file)


def find(version: Callable[[bytes], str] | None = None) -> Library:
    """The library that will be used. version: of the library behind a path. Raises ConfigError where none can be had."""
    if version is None:
        from lbcore._engine import tls_library

        version = tls_library
    reason = ""
    for path in (_ours(), USUAL):
        if path is None:
            continue
        try:
            return Library(path, version(path.encode()))
        except OSError as error:
            reason = f"{path}: {error.strerror or error}"
    raise ConfigError(f"tls: libssl cannot be used ({reason}): install {PACKAGES}")
