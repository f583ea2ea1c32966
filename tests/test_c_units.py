"""The engine's C units, each compiled with its test under AddressSanitizer and UBSan; views under ThreadSanitizer too."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TESTS = sorted((ROOT / "tests" / "c").glob("test_*.c"))
SOURCES = [path for path in sorted((ROOT / "csrc").rglob("*.c")) if path.name != "worker.c"]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
@pytest.mark.parametrize("test", TESTS, ids=lambda path: path.stem)
def test_under_address_and_undefined_behaviour_sanitizers(test: Path, tmp_path: Path) -> None:
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
    build_and_run(test, tmp_path, flags)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
def test_views_under_the_thread_sanitizer(tmp_path: Path) -> None:
    """Picks while views are published: what threads share is shared by atomic reads and writes only."""
    build_and_run(ROOT / "tests" / "c" / "test_table.c", tmp_path, ["-fsanitize=thread", "-Wno-tsan"])


def build_and_run(test: Path, tmp_path: Path, flags: list[str]) -> None:
    program = tmp_path / test.stem
    compile_line = ["gcc", "-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-Wall", "-Wextra", "-Werror", *flags]
    subprocess.run(
        [*compile_line, f"-I{ROOT / 'csrc'}", str(test), *map(str, SOURCES), "-o", str(program), "-lpthread", "-lm"],
        check=True,
        timeout=120,
    )
    done = subprocess.run([str(program)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
