"""What `lbcore run` has imported by its ready line: each heavy package costs CPU at each start, and memory for good."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from command_files import configuration
from harness import command

HEAVY = {
    "aiohttp": "with the first call of the admin server that FastPath does not read",
    "multidict": "with aiohttp",
    "typer": "where the command line is not plain",
    "pydantic": "by typer",
    "prometheus_client": "with the first scrape",
    "dns": "where a pool has a source of kind dns",
    "opentelemetry": "where traces are sent",
    "textual": "by lbcore top",
    "rich": "by lbcore demo",
}
"""Each with when it is loaded instead."""

_IMPORTED = re.compile(r"^import time: .*\| +([\w.]+)$", re.MULTILINE)


def loaded_by(directory: Path, *arguments: str) -> set[str]:
    """Modules that the control plane and its worker import until they are ready."""
    with command(directory, *arguments, env={"PYTHONPROFILEIMPORTTIME": "1"}) as lb:
        return set(_IMPORTED.findall(lb.stderr.read_text()))


@pytest.mark.parametrize("told_by", ["flags", "file"])
def test_a_start_loads_no_heavy_package(tmp_path: Path, told_by: str) -> None:
    arguments = ["--admin", "127.0.0.1:0"]
    if told_by == "file":
        arguments += ["-c", str(configuration(tmp_path / "lb.toml", {"web": "http://127.0.0.1:0"}, ["127.0.0.1:9"]))]
    else:
        arguments += ["--listen", "http://127.0.0.1:0", "--backend", "127.0.0.1:9", "--policy=least_conn"]
    loaded = loaded_by(tmp_path, *arguments)
    assert {"lbcore.api.running", "lbcore.control.worker"} <= loaded
    assert {name for name in loaded if name.partition(".")[0] in HEAVY} == set()
