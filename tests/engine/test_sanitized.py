"""The behaviour tests again, on an engine built with AddressSanitizer and UndefinedBehaviorSanitizer."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SUITES = [
    "integrity/test_scenarios.py",  # the longest begins
    "l4/test_relay.py",
    "control/test_loops.py",
    "l4/test_connect.py",
    "l4/test_limits.py",
    "l7/test_http_forwarding.py",
    "l7/test_http_bodies.py",
    "l7/test_http_bad_answers.py",
    "l7/test_http_connections.py",
    "l7/test_http_failures.py",
    "l7/test_http_retries.py",
    "l7/test_http_routing.py",
    "l7/test_route_answers.py",
    "l7/test_route_responses.py",
    "l7/test_json_routes.py",
    "l7/test_prefix_text.py",
    "l7/test_route_limits.py",
    "l7/test_route_rates.py",
    "l7/test_openai_errors.py",
    "l7/test_priorities.py",
    "l7/test_route_conditions.py",
    "l7/test_route_maps.py",
    "l7/test_header_edits.py",
    "l7/test_path_prefixes.py",
    "http2/test_clients.py",
    "http2/test_endings.py",
    "http2/test_client_bounds.py",
    "http2/test_conformance.py",
    "http2/test_smuggling.py",
    "http2/test_backends.py",
    "http2/test_refused_requests.py",
    "http2/test_calls.py",
    "http2/test_grpc_web.py",
    "http2/test_websocket_to_http2.py",
    "http2/test_backends_by_alpn.py",
    "http2/test_backend_churn.py",
    "http2/test_one_turn.py",
    "http2/test_late_calls.py",
    "http2/test_smuggling_requests.py",
    "http2/test_smuggling_responses.py",
    "http2/test_stages.py",
    "http2/test_what_peers_need.py",
    "l4/test_udp.py",
    "observe/test_latency.py",
    "observe/test_why_any.py",
    "observe/test_access_log.py",
    "observe/test_access_log_formats.py",
    "observe/test_access_log_sinks.py",
    "observe/test_traces.py",
    "tls/test_tls_passthrough.py",
    "l4/test_proxy_headers.py",
    "tls/test_https.py",
    "tls/test_tls_relay.py",
    "tls/test_tls_handshakes.py",
    "tls/test_tls_faulty_clients.py",
    "tls/test_tls_tickets.py",
    "tls/test_tls_client_certificates.py",
    "tls/test_tls_reload.py",
    "tls/test_tls_backends.py",
    "tls/test_tls_backend_answers.py",
    "tls/test_tls_backend_failures.py",
    "l7/test_proxy_over_http.py",
    "l4/test_offload.py",
    "l4/test_offload_local.py",
    "l4/test_client_limits.py",
    "l7/test_client_lists.py",
    "l7/test_credentials.py",
    "l7/test_connection_reuse.py",
    "l7/test_second_tries.py",
    "l7/test_retry_on.py",
    "l7/test_retry_unreached.py",
    "l7/test_mirror.py",
    "l7/test_auth_request.py",
    "l7/test_hedging.py",
    "l4/test_udp_upgrade.py",
    "l7/test_sticky.py",
    "l7/test_unix_backends.py",
    "l4/test_unix_listeners.py",
    "health/test_tiers.py",
    "l7/test_who_is_waited_for.py",
]


def runtime_library() -> str | None:
    """The sanitizer's library, which must be loaded before Python."""
    if shutil.which("gcc") is None:
        return None
    found = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True).stdout.strip()
    return found if os.path.isabs(found) else None


@pytest.fixture(scope="session")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree with its engine built so: by the first process that asks, for all of this run."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    tree = shared / "sanitized"
    with (shared / "sanitized.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (tree / "built").exists():
            build(tree)
            (tree / "built").touch()
    return tree


FOREIGN = ("curl",)
"""Programs that hang where the sanitizer's library is loaded into them, too (curl 7.88.1)."""


def shield(directory: Path) -> None:
    """Programs of the same names, for the front of PATH, that start the real ones without that library."""
    directory.mkdir()
    for name in FOREIGN:
        if real := shutil.which(name):
            shim = directory / name
            shim.write_text(f'#!/bin/sh\nunset LD_PRELOAD\nexec {real} "$@"\n')
            shim.chmod(0o755)


def build(tree: Path) -> None:
    """Copy what is needed, and compile it."""
    shutil.rmtree(tree, ignore_errors=True)
    for name in ("csrc", "lbcore", "tests"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tree)
    shield(tree / "foreign")
    env = {**os.environ, "LBCORE_SANITIZE": "address,undefined"}
    built = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=tree, env=env, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr


@pytest.mark.skipif("LBCORE_SANITIZED" in os.environ, reason="this is the sanitized run")
@pytest.mark.skipif(runtime_library() is None, reason="gcc has no libasan here")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("suite", SUITES)
def test_behaviour_on_the_sanitized_engine(suite: str, sanitized: Path) -> None:
    env = os.environ | {
        "LBCORE_SANITIZED": "1",
        "LD_PRELOAD": str(runtime_library()),
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:handle_segv=1",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
        "PYTHONPATH": str(sanitized),
        "PATH": f"{sanitized / 'foreign'}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", suite],
        cwd=sanitized / "tests",
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    assert "runtime error" not in done.stderr
