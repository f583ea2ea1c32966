"""Commands that fail with one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def fails(tmp_path: Path, *arguments: str) -> tuple[int, str]:
    """Run a command that must fail: its exit code, and a line for each problem."""
    env = {**os.environ, "LBCORE_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-m", "lbcore", *arguments], env=env, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    # the default port of the admin server may be another test's, which is logged before
    said = [line for line in done.stderr.splitlines() if "is taken: the admin server takes another port" not in line]
    assert said, done.stderr
    assert all(line.startswith("lbcore: ") for line in said), done.stderr
    return done.returncode, "\n".join(said)
