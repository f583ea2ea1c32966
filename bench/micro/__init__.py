"""Costs of single operations (pytest-benchmark): `pytest bench/micro`, or the part "micro" of a run."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LIMIT_S = 300


def run(quick: bool) -> dict[str, Any]:
    """{"command", "ok", "error"?, "rows": [{"name", "median_ns", "q1_ns", "q3_ns", "limit_ns"?, …}]}."""
    with tempfile.TemporaryDirectory(prefix="lbcore-bench-") as directory:
        report = Path(directory) / "micro.json"
        options = [
            "--benchmark-only",
            "--benchmark-disable-gc",
            f"--benchmark-max-time={0.1 if quick else 0.5}",
        ]
        command = [sys.executable, "-m", "pytest", "-q", *options, "bench/micro"]
        found: dict[str, Any] = {"command": shlex.join(["python", *command[1:]]), "ok": False, "rows": []}
        try:
            done = subprocess.run(
                [*command, f"--benchmark-json={report}"],
                capture_output=True,
                text=True,
                check=False,
                timeout=LIMIT_S,
                cwd=HERE.parent.parent,
            )
        except subprocess.TimeoutExpired:
            return found | {"error": f"not done within {LIMIT_S} s"}
        if report.exists() and report.stat().st_size:
            found["rows"] = [_row(entry) for entry in json.loads(report.read_text())["benchmarks"]]
        if done.returncode:
            last = (done.stdout + done.stderr).strip().splitlines()[-1:]
            return found | {"error": f"pytest ended with code {done.returncode}: {' '.join(last)}"}
        return found | {"ok": True}


def _row(entry: dict[str, Any]) -> dict[str, Any]:
    """Nanoseconds an operation; one that does many in a call says how many in extra_info["operations"]."""
    stats, extra = entry["stats"], entry["extra_info"]
    scale = 1e9 / extra.get("operations", 1)
    row = {"name": extra.get("title", entry["name"]), "rounds": stats["rounds"]}
    row |= {f"{key}_ns": float(f"{stats[key] * scale:.4g}") for key in ("median", "q1", "q3")}
    return row | ({"limit_ns": extra["limit_ns"]} if "limit_ns" in extra else {})
