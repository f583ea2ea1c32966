"""C programs of the tests: compiled from the engine's sources with a sanitizer, linked and run."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
SANITIZED = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
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


class Stepped:
    """One run of a program that answers each line with a line, and ends well when there are no more."""

    def __init__(self, command: list[str]) -> None:
        self._program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._program.stdin
        assert self._program.stdout
        self._program.stdin.close()
        status = self._program.wait(30)
        self._program.stdout.close()
        assert status == 0

    def ask(self, line: str) -> str:
        """What it says to this. Raises AssertionError when it ends instead."""
        assert self._program.stdin
        assert self._program.stdout
        self._program.stdin.write(line + "\n")
        self._program.stdin.flush()
        answer = self._program.stdout.readline()
        assert answer, f"the program ended at: {line[:400]}"
        return answer.strip()
