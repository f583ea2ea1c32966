"""What the soak judges by; the soak itself is `tools/soak MINUTES`, three of them in CI."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from soak import books
from soak.clients import Tally, Wrong, _same


def test_descriptors_that_are_kept_are_named() -> None:
    before = books.holding(os.getpid())
    inward, outward = os.pipe()
    with open("/dev/null"):
        now = books.holding(os.getpid())
    os.close(inward)
    os.close(outward)
    assert books.more_descriptors(before, now) == "1 more of file"
    assert now.pipes == before.pipes + 2
    assert books.more_descriptors(now, before) == ""


def test_memory_that_may_be_held() -> None:
    assert books.allowed_kb(5_000, 3_072, 0.1) == 8_072
    assert books.allowed_kb(100_000, 3_072, 0.1) == 110_000
    held = books.holding(os.getpid())
    # pages of its own: a heap may hold as much that is free
    with mmap.mmap(-1, 20 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as kept:
        kept.write(b"x" * len(kept))
        assert books.holding(os.getpid()).memory_kb > held.memory_kb + 19_000


def test_wrong_bytes_are_no_failure_but_a_fault() -> None:
    with pytest.raises(Wrong, match="the first wrong one at 2"):
        _same(b"abXd", b"abcd", "echo")
    with pytest.raises(Wrong):
        _same(b"abcdX", b"abcd", "echo")
    with pytest.raises(ConnectionError, match="ended after 2 of 4"):
        _same(b"ab", b"abcd", "echo")
    tally = Tally()
    for error in (None, TimeoutError("late"), Wrong("bytes")):
        tally.add("tcp", error)
    assert tally.totals() == (Counter(tcp=1), Counter(tcp=2))
    assert tally.wrong == ["tcp: bytes"]


@pytest.mark.timeout(240)
def test_a_short_soak_passes() -> None:
    """As `tools/soak` runs it: half a minute shows that it measures anything, not that nothing leaks."""
    tests = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "soak", "0.4"],
        env={**os.environ, "PYTHONPATH": f"{tests}:{tests}/support:{tests.parent}"},
        capture_output=True,
        text=True,
        timeout=220,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "soak: passed" in done.stdout
