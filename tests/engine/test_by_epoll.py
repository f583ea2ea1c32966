"""The core of the behaviour tests again, by epoll: where a ring can be had, they have run by io_uring."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from rings import needs_ring

TESTS = Path(__file__).resolve().parents[1]
SUITES = [
    "l4/test_relay.py",
    "l4/test_connect.py",
    "l4/test_limits.py",
    "l4/test_nothing_lost.py",
    "http2/test_endings.py",
    "http2/test_one_turn.py",
    "l7/test_http_bodies.py",
    "l7/test_http_connections.py",
    "l7/test_http_failures.py",
    "l7/test_client_leaves_early.py",
    "tls/test_https.py",
    "tls/test_tls_relay.py",
]


@needs_ring
@pytest.mark.skipif("LBCORE_SANITIZED" in os.environ, reason="once is enough")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("suite", SUITES)
def test_behaviour_by_epoll(suite: str) -> None:
    """tests/conftest.py makes it the default of balancers in that process."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", suite],
        cwd=TESTS,
        env=os.environ | {"LBCORE_TEST_LOOP": "epoll"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
