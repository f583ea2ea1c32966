"""The store that the settings of a cluster name."""

from __future__ import annotations

from lbcore.errors import ConfigError
from lbcore.store.etcd import EtcdStore, tls_of
from lbcore.store.interface import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lbcore.config.settings import ClusterSettings
    from lbcore.store.interface import Store


def open_store(settings: ClusterSettings) -> Store:
    """Without a call to it. Raises ConfigError for files that cannot be used."""
    tls = None
    if any(endpoint.startswith("https://") for endpoint in settings.endpoints):
        try:
            tls = tls_of(settings.ca, settings.cert, settings.key)
        except Refused as error:
            raise ConfigError(f"cluster.{error.option}: {error}") from None
    return EtcdStore(settings.endpoints, user=settings.user, password=settings.password, tls=tls)
