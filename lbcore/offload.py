"""Whether this kernel may be trusted with forwarding: asked before a worker is started, with the rights that workers get."""

from __future__ import annotations

import errno


def refusal() -> str:
    """Why not, in words; "" when it passed a trial with sockets of its own. Takes some milliseconds."""
    try:
        from lbcore._engine import Offload, offload_selftest
    except ImportError as error:
        return str(error)
    try:
        Offload(1)
    except OSError as error:
        if error.errno == errno.EPERM:
            return "it takes the capabilities CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"
        return f"the kernel refuses: {error.strerror}"
    return offload_selftest() or ""
