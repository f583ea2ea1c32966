"""Workers whose control plane was killed."""

from __future__ import annotations

import os
from pathlib import Path

from harness import Command, wait_for


def kill_control(running: Command, workers: int) -> None:
    """And wait until its workers have noticed."""
    running.process.kill()
    running.process.wait()
    wait_for(lambda: len(refuges(running.directory)) == workers, "the workers wait for somebody")


def refuges(directory: Path) -> list[str]:
    return [name for name in os.listdir(directory) if ".worker-" in name]


def words(listen: str, *backends: str) -> list[str]:
    named_ones = [word for backend in backends for word in ("--backend", backend)]
    return ["--name", "shop", "--workers", "2", "--admin", "off", "--listen", listen, *named_ones, "--health", "off"]
