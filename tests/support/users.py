"""Commands that run as another user, and what of the system is open to them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness import Command, dial, read_exactly

from lbcore import _engine
from lbcore.control import offload

if TYPE_CHECKING:
    pass


ROOT = Path(__file__).resolve().parents[2]


SECOND = "/usr/bin/python3.11"


def _filters() -> bool:
    with contextlib.suppress(OSError):
        return bool(_engine.seccomp_version()) and "LBCORE_SANITIZED" not in os.environ
    return False


filtered = pytest.mark.skipif(not _filters(), reason="no libseccomp, or a sanitized engine, which calls more than a worker may")


def for_everybody() -> str | None:
    """An interpreter of this version that any user may run."""
    for python in (os.path.realpath(sys.executable), SECOND):
        with contextlib.suppress(OSError):
            tried = subprocess.run([python, "-c", "import sys; print(sys.version_info[:2])"], user=65534, capture_output=True)
            if tried.stdout.decode().strip() == str(sys.version_info[:2]):
                return python
    return None


PYTHON = for_everybody() if os.geteuid() == 0 else None


forwards = pytest.mark.skipif(bool(offload.refusal()), reason=f"offload: {offload.refusal()}")


droppable = pytest.mark.skipif(PYTHON is None, reason="no root, or no Python that another user may run")


EVERYWHERE = {"PYTHONPATH": f"{ROOT}:{sysconfig.get_paths()['purelib']}"}


def offloads_for(lb: Command) -> int:
    """A client talks long enough for the kernel to take its session: how many sessions it has taken."""
    before = sum(worker["offloads"] for worker in lb.status()["workers"])
    with dial(lb.address) as client:
        for _ in range(20):
            client.sendall(b"hello")
            assert read_exactly(client, 5) == b"hello"
    return sum(worker["offloads"] for worker in lb.status()["workers"]) - before


def facts(pid: int) -> dict[str, str]:
    """/proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
