"""What membership tells those who ask about its backends: whom to probe, and which names to follow."""

from __future__ import annotations

from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lbcore.config.settings import ProbeSettings
    from lbcore.table import Row


class Target(NamedTuple):
    """A backend that is to be probed, and how."""

    row: Row
    probe: ProbeSettings


class Named(NamedTuple):
    """A backend with a host name, where it stands now, and whether that is an address of the host's at all."""

    pool: str
    address: str
    host: str
    port: int
    ip: str
    resolved: bool
