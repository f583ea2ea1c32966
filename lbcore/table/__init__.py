"""The table of pools and backends: what the control plane writes into the shared segment, and how it knows its rows again."""

from lbcore.table.outcome import Outcome
from lbcore.table.resolved import UNRESOLVED, Resolved, is_literal, resolve, resolve_all
from lbcore.table.row import Row
from lbcore.table.table import Table, TableFull

__all__ = (
    "UNRESOLVED",
    "Outcome",
    "Resolved",
    "Row",
    "Table",
    "TableFull",
    "is_literal",
    "resolve",
    "resolve_all",
)
