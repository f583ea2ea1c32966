"""What the rules have done to the members of this node."""

from __future__ import annotations

from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lbcore.cluster.entry import Told
    from lbcore.cluster.keys import Backend


class Show(NamedTuple):
    """A registration stands somewhere: the backend is here, as it said."""

    backend: Backend
    told: Told


class Drop(NamedTuple):
    """No registration stands any more: the backend leaves, unless it is here for another reason."""

    backend: Backend
    reason: str


class Obey(NamedTuple):
    """An operator's order from another node. kind, value: as in `Orders`."""

    backend: Backend
    kind: str
    value: object


Move = Show | Drop | Obey
