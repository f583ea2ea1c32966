"""What `lbcore run` has imported by its ready line: each heavy package costs CPU at each start, and memory for good."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path

import pytest
from command_files import configuration
from harness import Command, command

from lbcore.admin.request import LOOKS
from lbcore.client.admin_client import AdminClient

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

TOLD = {"PYTHONPROFILEIMPORTTIME": "1"}
_IMPORTED = re.compile(r"^import time: .*\| +([\w.]+)$", re.MULTILINE)


def loaded(lb: Command) -> set[str]:
    """Modules that the control plane and its worker have imported so far."""
    return set(_IMPORTED.findall(lb.stderr.read_text()))


def heavy(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules} & HEAVY.keys()


@pytest.mark.parametrize("told_by", ["flags", "file"])
def test_a_start_loads_no_heavy_package(tmp_path: Path, told_by: str) -> None:
    arguments = ["--admin", "127.0.0.1:0"]
    if told_by == "file":
        arguments += ["-c", str(configuration(tmp_path / "lb.toml", {"web": "http://127.0.0.1:0"}, ["127.0.0.1:9"]))]
    else:
        arguments += ["--listen", "http://127.0.0.1:0", "--backend", "127.0.0.1:9", "--policy=least_conn"]
    with command(tmp_path, *arguments, env=TOLD) as lb:
        assert {"lbcore.api.running", "lbcore.control.worker"} <= loaded(lb)
        assert heavy(loaded(lb)) == set()


def test_programs_that_watch_and_backends_that_register_load_no_web_framework(tmp_path: Path) -> None:
    arguments = ["--listen", "tcp://127.0.0.1:0", "--health", "off", "--admin", "127.0.0.1:0"]
    with command(tmp_path, *arguments, env=TOLD) as lb:
        admin = AdminClient(lb.admin)
        assert admin.call("POST", "/register", {"server_ip": "127.0.0.1", "port": 9, "status": "ready"})[0] == 201
        assert [admin.call("GET", path)[0] for path in LOOKS if path != "/metrics"] == [200, 200, 200, 200]
        with urllib.request.urlopen(f"{lb.admin}/metrics", timeout=60) as scraped:
            assert b"lbcore_backend" in scraped.read()
        assert heavy(loaded(lb)) == {"prometheus_client"}
        assert admin.call("POST", "/reload")[0] == 403
        assert "aiohttp" in heavy(loaded(lb))
