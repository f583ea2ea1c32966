"""nginx and others, started for a test."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness import PATIENCE_S, dial, free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator


def needs(program: str) -> pytest.MarkDecorator:
    """Skip, by name, where a program is missing."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin")
    return pytest.mark.skipif(found is None, reason=f"{program} is not installed")


def listening(port: int) -> bool:
    """Does somebody listen there?"""
    with contextlib.suppress(OSError):
        dial(("127.0.0.1", port)).close()
        return True
    return False


@contextlib.contextmanager
def running(line: list[str], port: int, cwd: Path) -> Iterator[None]:
    """A server process that listens on a port."""
    env = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"}
    process = subprocess.Popen(line, cwd=cwd, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    try:
        wait_for(lambda: listening(port), f"{line[0]} listens", 30)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)


@contextlib.contextmanager
def nginx(tmp_path: Path) -> Iterator[int]:
    """nginx serving a file of 30 MB and a short answer: its port."""
    port = free_port()
    (tmp_path / "big").write_bytes(os.urandom(30_000_000))
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {tmp_path}/nginx.pid; error_log {tmp_path}/error.log;\n"
        "events { worker_connections 2000; }\n"
        f"http {{ access_log off; client_body_temp_path {tmp_path}/body; proxy_temp_path {tmp_path}/proxy;"
        f" fastcgi_temp_path {tmp_path}/f; uwsgi_temp_path {tmp_path}/u; scgi_temp_path {tmp_path}/s;\n"
        f"server {{ listen 127.0.0.1:{port}; location = /short {{ return 200 'ok'; }} location / {{ root {tmp_path}; }} }} }}\n"
    )
    with running(["nginx", "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path)], port, tmp_path):
        yield port
