"""How a balancer is run, beside its settings."""

from __future__ import annotations

from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from lbcore.admin.bodies import UpgradeCall
    from lbcore.control.systemd import Inherited


class Options(NamedTuple):
    """How a balancer is run, beside its settings.

    processes: workers are processes of their own. control: commands find it by its name. inherited: sockets that are bound
    already. succeeds: the name of the instance that it goes on as; None: it takes one as its settings say. on_upgrade: what an
    operator's call for an upgrade, or for a step of it, does; returns what comes.
    """

    log: Callable[[str], None]
    processes: bool = False
    control: bool = False
    inherited: Inherited | None = None
    succeeds: str | None = None
    on_upgrade: Callable[[UpgradeCall], str] | None = None
