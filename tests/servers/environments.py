"""A virtual environment for each server, in a cache: pinned packages, and no server's needs beside another's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from servers.kinds import Kind

INSTALL_S = 600.0


class NotInstalled(Exception):
    """Why, in a line."""


def cache() -> Path:
    """Where the environments are."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lbcore-servers"


def python_of(kind: Kind) -> str:
    """The interpreter of the environment, which is made where it is not there yet. Raises NotInstalled."""
    place = cache() / re.sub(r"\W+", "-", kind.name)
    python, stamp = place / "bin/python", place / "packages"
    wanted = "\n".join(kind.packages)
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return str(python)
    place.parent.mkdir(parents=True, exist_ok=True)
    _run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(place)])
    _run([sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--disable-pip-version-check", *kind.packages])
    stamp.write_text(wanted)
    return str(python)


def versions(kind: Kind, python: str) -> dict[str, str]:
    """Package → version, of those that are pinned."""
    names = [package.partition("==")[0] for package in kind.packages]
    ask = "import sys, importlib.metadata as m; print(*(m.version(name) for name in sys.argv[1:]))"
    done = subprocess.run([python, "-c", ask, *names], capture_output=True, text=True, check=True, timeout=30)
    return dict(zip(names, done.stdout.split(), strict=True))


def _run(line: list[str]) -> None:
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=INSTALL_S)
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"not installed within {INSTALL_S:.0f} s") from None
    if done.returncode:
        raise NotInstalled(_reason(done.stderr))


def _reason(said: str) -> str:
    """pip's own last error that says something."""
    errors = [line.strip() for line in said.splitlines() if "error" in line.lower() and not line.startswith("  note")]
    told = next((line for line in errors if "fatal error" in line), errors[-1] if errors else said.strip()[-200:])
    return told.removeprefix("ERROR: ")
