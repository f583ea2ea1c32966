"""What the ready line of `lbcore run` says."""

from __future__ import annotations

import subprocess


def words(process: subprocess.Popen[str]) -> dict[str, str]:
    """Its words, of a process that was just started. Raises SystemExit when the process says something else."""
    assert process.stdout is not None
    return read(process.stdout.readline())


def read(line: str) -> dict[str, str]:
    """Its words by their keys: name, listen, admin, ... Raises SystemExit when it is another line."""
    if not line.startswith("lbcore ready "):
        raise SystemExit(f"lbcore did not start: {line!r}")
    return dict(word.split("=", 1) for word in line.split()[2:])


def address(url: str) -> tuple[str, int]:
    """Host and port of MODE://HOST:PORT."""
    host, _, port = url.partition("://")[2].rpartition(":")
    return host, int(port)
