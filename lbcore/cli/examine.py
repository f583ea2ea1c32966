"""lbcore check: what is wrong with a configuration, and what should be otherwise."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lbcore.errors import ConfigError

if TYPE_CHECKING:
    from lbcore.cli.connect import Asked
    from lbcore.config.settings import BalancerSettings, ClusterSettings


def main(file: Path, as_json: bool, *, connect: bool = False) -> int:
    """Print what is found: 0, or as JSON 2 when there are faults. Raises ConfigError with all faults otherwise.

    connect: ask the sources of backends and the store of a cluster, too.
    """
    advice: list[str] = []
    asked: list[Asked] = []
    try:
        settings = _examined(file, advice)
        if settings.cluster is not None:
            _examine_cluster(settings.cluster, advice, connect=connect)
        if connect:
            asked = _asked(settings)
    except ConfigError as error:
        if not as_json:
            _print_advice(file, advice)
            raise ConfigError(f"{file}: {problem.removeprefix(f'{file}: ')}" for problem in error.problems) from None
        problems = [problem.removeprefix(f"{file}: ") for problem in error.problems]
        print(json.dumps({"file": str(file), "ok": False, "problems": problems, "advice": advice}, indent=2))
        return 2
    counts = {
        "listeners": len(settings.listeners),
        "pools": len(settings.pools),
        "backends": sum(len(pool.backends) for pool in settings.pools),
    }
    if as_json:
        sources = {"sources": [one.document() for one in asked]} if connect else {}
        print(json.dumps({"file": str(file), "ok": True, "problems": [], "advice": advice, **counts, **sources}, indent=2))
        return 0
    _print_advice(file, [*advice, *(one.line for one in asked)])
    print(f"{file}: ok, {', '.join(_counted(count, what) for what, count in counts.items())}")
    return 0


def _examined(file: Path, advice: list[str]) -> BalancerSettings:
    """The settings of the file; what should be otherwise is added to `advice`. Raises ConfigError."""
    from lbcore.cli.serve import check_services
    from lbcore.config.toml import load
    from lbcore.control import privileges
    from lbcore.control.credential_files import CredentialFiles
    from lbcore.discovery.names import unresolvable
    from lbcore.tls.store import Store

    settings = load(file)
    account = privileges.wanted(settings) if os.geteuid() == 0 else None
    if account is not None:  # what that user cannot read is a fault
        privileges.become(account)
        settings = load(file)
    check_services(settings)
    Store(advice.append).read(settings)
    CredentialFiles(advice.append).read(settings)
    advice += [*settings.advice(), *unresolvable(settings)]
    return settings


def _asked(settings: BalancerSettings) -> list[Asked]:
    """What the sources say. Raises ConfigError with a line for each that says nothing."""
    from lbcore.cli.connect import ask_sources

    asked = ask_sources(settings)
    if any(one.fault for one in asked):
        raise ConfigError(one.line for one in asked if one.fault)
    return asked


def _examine_cluster(cluster: ClusterSettings, advice: list[str], *, connect: bool) -> None:
    """Raises ConfigError."""
    from lbcore.cluster.examining import examine
    from lbcore.cluster.opening import open_store

    open_store(cluster)
    if connect:
        advice += examine(cluster)


def _print_advice(file: Path, advice: list[str]) -> None:
    for line in advice:
        print(f"{file}: {line}", file=sys.stderr)


def _counted(count: int, what: str) -> str:
    return f"{count} {what.removesuffix('s') if count == 1 else what}"
