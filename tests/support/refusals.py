"""Commands that fail with one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def fails(tmp_path: Path, *arguments: str) -> tuple[int, str]:
    """Run a command that must fail: its exit code and its one line."""
    env = {**os.environ, "LBCORE_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-m", "lbcore", *arguments], env=env, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("lbcore: "), done.stderr
    return done.returncode, done.stderr.strip()
