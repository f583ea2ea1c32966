"""Every option, declared once.

From these tables come TOML keys (config/document.py), the flags (cli/run_flags.py), the attributes of the settings (`slots`),
what a reload changes (`restart`), the texts of errors and the tables of tools/docs/options.md.
"""

from lbcore.config.options.access import AUTH_REQUEST
from lbcore.config.options.admin import ADMIN
from lbcore.config.options.certificates import ACME, CERTIFICATE
from lbcore.config.options.cluster import CLUSTER
from lbcore.config.options.edits import EDITS
from lbcore.config.options.health import LEASE, OUTLIER, PROBE, SCRAPE
from lbcore.config.options.listener import CONDITION, LISTENER, MIRROR, RESPOND, ROUTE
from lbcore.config.options.pool import BACKEND, POOL
from lbcore.config.options.source import SOURCE
from lbcore.config.options.top import DEFAULT_NAME, TOP

__all__ = (
    "ACME",
    "ADMIN",
    "AUTH_REQUEST",
    "BACKEND",
    "CERTIFICATE",
    "CLUSTER",
    "CONDITION",
    "DEFAULT_NAME",
    "EDITS",
    "LEASE",
    "LISTENER",
    "MIRROR",
    "OUTLIER",
    "POOL",
    "PROBE",
    "RESPOND",
    "ROUTE",
    "SCRAPE",
    "SOURCE",
    "TOP",
)
