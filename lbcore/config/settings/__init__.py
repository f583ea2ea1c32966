"""Checked settings: what a Balancer takes. Built from keyword arguments here, from TOML in config.py, from flags in cli.

Every class fills its defaults from `config.options`, checks each value and raises ConfigError with all that is wrong at once.
Durations are given in the forms of `parse_duration` (or as NAME_ms, in milliseconds) and kept as integer milliseconds.
"""

from lbcore.config.option import raw_bytes
from lbcore.config.settings.acme import AcmeSettings
from lbcore.config.settings.addresses import (
    HTTP_MODES,
    MODES,
    UNIX,
    is_loopback,
    is_unix,
    join_host_port,
    parse_address,
    parse_listen,
    split_host_port,
)
from lbcore.config.settings.admin import PRIVATE_NETWORKS, AdminSettings, admin_of
from lbcore.config.settings.auth_request import AuthRequestSettings
from lbcore.config.settings.balancer import BalancerSettings, limited, listeners_of, probe_of, simple
from lbcore.config.settings.base import Settings
from lbcore.config.settings.cluster import ClusterSettings
from lbcore.config.settings.edits import HeaderEdits
from lbcore.config.settings.health import LeaseSettings, OutlierSettings, ProbeSettings
from lbcore.config.settings.listener import ListenerSettings, RouteSettings
from lbcore.config.settings.log_fields import LOG_FIELDS, wants_texts
from lbcore.config.settings.match import MatchSettings
from lbcore.config.settings.mirror import MirrorSettings
from lbcore.config.settings.pool import DEFAULT_POOL, BackendSettings, PoolSettings
from lbcore.config.settings.respond import RespondSettings
from lbcore.config.settings.scrape import ScrapeSettings
from lbcore.config.settings.source import SourceSettings
from lbcore.config.settings.tls import CertificateSettings

__all__ = (
    "DEFAULT_POOL",
    "HTTP_MODES",
    "LOG_FIELDS",
    "MODES",
    "PRIVATE_NETWORKS",
    "UNIX",
    "AcmeSettings",
    "AdminSettings",
    "AuthRequestSettings",
    "BackendSettings",
    "BalancerSettings",
    "CertificateSettings",
    "ClusterSettings",
    "HeaderEdits",
    "LeaseSettings",
    "ListenerSettings",
    "MatchSettings",
    "MirrorSettings",
    "OutlierSettings",
    "PoolSettings",
    "ProbeSettings",
    "RespondSettings",
    "RouteSettings",
    "ScrapeSettings",
    "Settings",
    "SourceSettings",
    "admin_of",
    "is_loopback",
    "is_unix",
    "join_host_port",
    "limited",
    "listeners_of",
    "parse_address",
    "parse_listen",
    "probe_of",
    "raw_bytes",
    "simple",
    "split_host_port",
    "wants_texts",
)
