"""The engine's C units under AddressSanitizer and UBSan; views under ThreadSanitizer too."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from c_programs import ROOT, SANITIZED, compiled, link, run

if TYPE_CHECKING:
    from pathlib import Path

TESTS = sorted((ROOT / "tests" / "c").glob("test_*.c"))
SOURCES = sorted((ROOT / "csrc").rglob("*.c"))

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The engine's objects under AddressSanitizer and UBSan, compiled once."""
    return compiled("gcc", SANITIZED, SOURCES, tmp_path_factory.mktemp("asan"))


@needs_gcc
@pytest.mark.parametrize("test", TESTS, ids=lambda path: path.stem)
def test_under_address_and_undefined_behaviour_sanitizers(test: Path, tmp_path: Path, sanitized: list[str]) -> None:
    run(link("gcc", SANITIZED, [*compiled("gcc", SANITIZED, [test], tmp_path), *sanitized], tmp_path / test.stem))


@needs_gcc
@pytest.mark.parametrize("test", ["test_table", "test_clients", "test_keys", "test_prefixes"])
def test_what_workers_share_under_the_thread_sanitizer(test: str, tmp_path: Path) -> None:
    """Picks while views are published, limits of one client at several workers: shared by atomic reads and writes only."""
    flags = ("-fsanitize=thread", "-Wno-tsan")
    sources = [path for path in SOURCES if path.parent.name in ("table", "core")]
    objects = compiled("gcc", flags, [ROOT / "tests" / "c" / f"{test}.c", *sources], tmp_path)
    run(link("gcc", flags, objects, tmp_path / test))
