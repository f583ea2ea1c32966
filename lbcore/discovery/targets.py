"""What membership tells those who ask about its backends: whom to probe, whose metrics to read, and which names to follow."""

from __future__ import annotations

from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lbcore.config.settings import ProbeSettings, ScrapeSettings
    from lbcore.table import Row


class Target(NamedTuple):
    """A backend that is to be probed, and how."""

    row: Row
    probe: ProbeSettings


class Scraped(NamedTuple):
    """A backend whose metrics are to be read, and how."""

    row: Row
    scrape: ScrapeSettings
    way: ProbeSettings


class Named(NamedTuple):
    """A backend with a host name, where it stands now, and whether that is an address of the host's at all."""

    pool: str
    address: str
    host: str
    port: int
    ip: str
    resolved: bool
