"""Whether this kernel may be trusted with forwarding: asked before a worker is started, with the rights that workers get."""

from __future__ import annotations

import contextlib
import errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def refusal() -> str:
    """Why not, in words; "" when it passed a trial with sockets of its own. Takes some milliseconds."""
    return _refusal(local=False)


def local_refusal(datapath: str = "auto") -> str:
    """The same of sessions to backends on this host (offload_local), on that datapath."""
    if datapath not in ("auto", "offload"):
        return f"it goes with the datapaths auto and offload, not with {datapath}"
    return _refusal(local=True)


def _refusal(*, local: bool) -> str:
    try:
        from lbcore import _engine
        from lbcore.control.worker import OFFLOAD_ANY, OFFLOAD_LOCAL
    except ImportError as error:
        return str(error)
    with _lent():
        try:
            _engine.Offload(1, OFFLOAD_LOCAL if local else OFFLOAD_ANY)
        except OSError as error:
            if error.errno == errno.EPERM:
                return "it takes the capabilities CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"
            return f"the kernel refuses: {error.strerror}"
        return _engine.offload_selftest(local=local) or ""


@contextlib.contextmanager
def _lent() -> Iterator[None]:
    """What rests in this process for the workers (lbcore/control/privileges.py) is in effect meanwhile."""
    from lbcore import _engine

    lent = _engine.lend_privileges()
    try:
        yield
    finally:
        if lent:
            _engine.rest_privileges()
