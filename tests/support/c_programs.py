"""C programs of the tests: compiled from the engine's sources with a sanitizer, linked and run."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORDS = ["-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'csrc'}"]


def compiled(compiler: str, flags: tuple[str, ...], sources: list[Path], directory: Path) -> list[str]:
    """Object files of these sources."""

    def one(source: Path) -> str:
        made = directory / (str(source.relative_to(ROOT)).replace("/", "-") + ".o")
        subprocess.run([compiler, *WORDS, *flags, "-c", str(source), "-o", str(made)], check=True, timeout=120)
        return str(made)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(one, sources))


def link(compiler: str, flags: tuple[str, ...], objects: list[str], program: Path) -> list[str]:
    """The command that runs what was linked."""
    subprocess.run([compiler, *flags, *objects, "-o", str(program), "-lpthread", "-lm"], check=True, timeout=120)
    return [str(program)]


def run(command: list[str], limit_s: float = 120) -> None:
    """Run to a good end."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
