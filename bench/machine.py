"""Where and from what a run was made: machine, kernel, versions, commit."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from bench.programs import Missing
from bench.serving import ROOT
from bench.targets import TARGETS

_SYSCTLS = (
    "net/core/somaxconn",
    "net/ipv4/ip_local_port_range",
    "net/ipv4/tcp_tw_reuse",
    "net/ipv4/tcp_congestion_control",
)


def machine() -> dict[str, Any]:
    """Processor, cores, memory, kernel, and the settings of the kernel that a load on loopback meets."""
    return {
        "cpu": _field("/proc/cpuinfo", r"model name\s*:\s*(.+)") or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mb": int(_field("/proc/meminfo", r"MemTotal:\s*(\d+)") or 0) // 1024,
        "kernel": platform.release(),
        "system": _field("/etc/os-release", r'PRETTY_NAME="?([^"\n]+)') or platform.system(),
        "virtual": bool(_field("/proc/cpuinfo", r"flags\s*:.*\b(hypervisor)\b")),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip() or None,
        "load_average": os.getloadavg()[0],
        "sysctl": {name.replace("/", "."): " ".join(_read(f"/proc/sys/{name}").split()) for name in _SYSCTLS},
    }


def versions(targets: list[str]) -> dict[str, str]:
    """Of everything that took part; what is absent says so."""
    found = {
        "python": platform.python_version(),
        "wrk": _wrk_version(),
        "uvicorn": _package_version("uvicorn"),
    }
    for name in targets:
        program = TARGETS[name].product
        if program not in found and program != "direct":
            found[program] = _target_version(name)
    return found


def commit() -> dict[str, Any]:
    """The commit of the tree, and which files differ from it (the benchmark's own results do not count)."""
    changed = [line[3:] for line in _git("status", "--porcelain").splitlines()]
    changed = [path for path in changed if not path.startswith("bench/results/")]
    return {"sha": _git("rev-parse", "HEAD").strip(), "changed": changed}


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _field(path: str, pattern: str) -> str:
    match = re.search(pattern, _read(path))
    return match[1].strip() if match else ""


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False, cwd=ROOT, timeout=30)
    except OSError:
        return ""
    return done.stdout


def _target_version(name: str) -> str:
    try:
        return TARGETS[name].version()
    except Missing as error:
        return str(error)


def _package_version(name: str) -> str:
    import importlib.metadata

    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _wrk_version() -> str:
    program = shutil.which("wrk")
    if program is None:
        return "not installed"
    done = subprocess.run([program, "-v"], capture_output=True, text=True, check=False, timeout=30)
    return (done.stdout + done.stderr).partition("\n")[0]
