"""The table of pools and backends: what the control plane writes into the shared segment, and how it knows its rows again."""

from lbcore.table.backend_health import BackendHealth
from lbcore.table.resolved import UNRESOLVED, Resolved, is_literal, resolve, resolve_all
from lbcore.table.row import Row
from lbcore.table.table import Table, TableFull

__all__ = (
    "UNRESOLVED",
    "BackendHealth",
    "Resolved",
    "Row",
    "Table",
    "TableFull",
    "is_literal",
    "resolve",
    "resolve_all",
)
