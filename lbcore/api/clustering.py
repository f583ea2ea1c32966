"""A balancer as a node of a cluster, where its settings say so."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from lbcore.cluster.cluster import Cluster
    from lbcore.config.settings import ClusterSettings
    from lbcore.discovery.membership import Membership


def make_cluster(
    settings: ClusterSettings | None,
    membership: Membership,
    address: Callable[[], str],
    rotation_ms: Callable[[], int],
    log: Callable[[str], None],
) -> Cluster | None:
    """address: of the admin server. rotation_ms: how often keys of TLS tickets change. Raises ConfigError."""
    if settings is None:
        return None
    from lbcore.cluster.cluster import Cluster
    from lbcore.cluster.opening import open_store

    return Cluster(settings, membership, address=address, store=open_store(settings), rotation_ms=rotation_ms, log=log)


def cookie_secret(settings: ClusterSettings | None) -> bytes | None:
    """What all nodes sign cookies with: made of the secret that they share, HMAC-SHA256; None: each has its own."""
    if settings is None or settings.secret is None:
        return None
    import hashlib
    import hmac

    return hmac.digest(settings.secret.reveal().encode(), b"lbcore cluster: sticky cookies", hashlib.sha256)
