"""lbcore version: versions, and what this machine offers."""

from __future__ import annotations

import json
import os
import platform
import resource
import socket

from lbcore.version import VERSION


def main(as_json: bool = False) -> int:
    """Print one line a fact, or all as one JSON object."""
    from lbcore.control import loops
    from lbcore.control.offload import local_refusal, refusal

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    facts = {
        "lbcore": VERSION,
        "python": platform.python_version(),
        "kernel": platform.release(),
        "engine": _engine(),
        "cores": len(os.sched_getaffinity(0)),
        "descriptors": f"{hard} (soft {soft})",
        "memfd": _yes(hasattr(os, "memfd_create")),
        "reuseport": _yes(hasattr(socket, "SO_REUSEPORT")),
        "splice": _splice(),
        "loop": f"auto is epoll ({reason})" if (reason := loops.refusal()) else "auto is uring",
        "offload": _unless(refusal()),
        "offload_local": _unless(local_refusal()),
        "tls": _tls(),
        "seccomp": _seccomp(),
    }
    if as_json:
        print(json.dumps(facts, indent=2))
        return 0
    for name, value in facts.items():
        print(f"{name}: {value}")
    return 0


def _yes(there: bool) -> str:
    return "yes" if there else "no"


def _engine() -> str:
    try:
        from lbcore import _engine  # noqa: F401
    except ImportError as error:
        return f"no ({error})"
    return "yes"


def _tls() -> str:
    from lbcore.errors import ConfigError
    from lbcore.tls.library import find

    try:
        return f"yes ({find().version})"
    except (ImportError, ConfigError) as error:
        return f"no ({str(error).removeprefix('tls: ')})"


def _seccomp() -> str:
    try:
        from lbcore._engine import seccomp_version

        return f"yes (libseccomp {seccomp_version()})"
    except (ImportError, OSError) as error:
        return f"no ({getattr(error, 'strerror', None) or error})"


def _unless(reason: str) -> str:
    return f"no ({reason})" if reason else "yes"


def _splice() -> str:
    """Move a byte from a socket through a pipe, and ask how large a pipe may be."""
    import fcntl

    here, there = socket.socketpair()
    out, into = os.pipe()
    try:
        here.send(b"!")
        os.splice(there.fileno(), into, 1)
        size = fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, 1 << 20)
    except OSError as error:
        return f"no ({error.strerror})"
    finally:
        here.close()
        there.close()
        os.close(out)
        os.close(into)
    return f"yes (pipes of {size >> 10} KiB)"
