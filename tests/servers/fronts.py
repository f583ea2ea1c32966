"""What stands in front of the servers: lbcore, nginx and HAProxy. Each keeps connections to backends, and has one worker."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness import Command, check_ledger, dial, free_port, is_quiet, wait_for

from servers.group import Group

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

Address = tuple[str, int]
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"

LBCORE = """\
workers = 1
admin.listen = "off"
[[listener]]
bind = "http://127.0.0.1:{port}"
[[pool]]
{settings}
{backends}
"""
NGINX = """\
worker_processes 1; daemon off; master_process off; pid {directory}/nginx.pid; error_log {directory}/error.log;
events {{ worker_connections 2000; }}
http {{
  access_log off; client_body_temp_path {directory}/b; proxy_temp_path {directory}/p;
  fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  map $http_upgrade $upgrade_or_not {{ default upgrade; '' ''; }}
  upstream app {{ {backends} keepalive 64; }}
  server {{
    listen 127.0.0.1:{port}; client_max_body_size 64m;
    location / {{
      proxy_pass http://app; proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $upgrade_or_not;
    }}
  }}
}}
"""
HAPROXY = """\
global
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 1m
  timeout server 1m
  timeout tunnel 10m
  option redispatch
listen app
  bind 127.0.0.1:{port}
{backends}
"""


@dataclass(frozen=True)
class Front:
    """One of the three. configuration: what the page shows of it, with two backends A and B."""

    name: str
    serve: Callable[[Path, list[Address]], AbstractContextManager[Address]]
    version: Callable[[], str]
    configuration: str


@contextlib.contextmanager
def lbcore(directory: Path, backends: list[Address], *, settings: str = "") -> Iterator[Address]:
    """`lbcore run` with its defaults; its books are checked at the end. settings: of the pool."""
    named = "\n".join(f'[[pool.backend]]\naddress = "{host}:{port}"' for host, port in backends)
    (directory / "lbcore.toml").write_text(LBCORE.format(port=0, settings=settings, backends=named))
    running = Command(directory, "-c", str(directory / "lbcore.toml"))
    try:
        yield running.address
        wait_for(lambda: is_quiet(running.status()), "all sessions end")
        check_ledger(running.status())
    finally:
        running.stop()


@contextlib.contextmanager
def nginx(directory: Path, backends: list[Address]) -> Iterator[Address]:
    """nginx with `keepalive`, which is what its documentation says for http upstreams."""
    port = free_port()
    named = " ".join(f"server {host}:{at};" for host, at in backends)
    (directory / "nginx.conf").write_text(NGINX.format(directory=directory, port=port, backends=named))
    with _running(["nginx", "-c", f"{directory}/nginx.conf", "-p", str(directory)], port):
        yield "127.0.0.1", port


@contextlib.contextmanager
def haproxy(directory: Path, backends: list[Address]) -> Iterator[Address]:
    """HAProxy with checks, and its defaults for reuse and retries."""
    port = free_port()
    named = "\n".join(f"  server s{at} {host}:{at} check" for host, at in backends)
    (directory / "haproxy.cfg").write_text(HAPROXY.format(port=port, backends=named))
    with _running(["haproxy", "-db", "-f", f"{directory}/haproxy.cfg"], port):
        yield "127.0.0.1", port


@contextlib.contextmanager
def _running(line: list[str], port: int) -> Iterator[None]:
    with Group(line) as group:

        def listens() -> bool:
            assert group.process.poll() is None, f"{line[0]} ended: {group.said()}"
            with contextlib.suppress(OSError):
                dial(("127.0.0.1", port)).close()
                return True
            return False

        wait_for(listens, f"{line[0]} listens", 30)
        yield


@functools.cache
def _version_of(program: str) -> str:
    done = subprocess.run([program, "-v"], capture_output=True, text=True, env={**os.environ, "PATH": PATH}, timeout=10)
    return found[0] if (found := re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)) else "?"


@functools.cache
def _lbcore_version() -> str:
    import lbcore

    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, timeout=10)
    return f"{lbcore.__version__} ({done.stdout.strip()})" if done.returncode == 0 else lbcore.__version__


FRONTS: dict[str, Front] = {
    front.name: front
    for front in (
        Front(
            "lbcore", lbcore, _lbcore_version, "lbcore run --listen http://127.0.0.1:PORT --workers 1 --backend A --backend B\n"
        ),
        Front(
            "nginx",
            nginx,
            lambda: _version_of("nginx"),
            NGINX.format(directory="DIRECTORY", port="PORT", backends="server A; server B;"),
        ),
        Front(
            "HAProxy",
            haproxy,
            lambda: _version_of("haproxy"),
            HAPROXY.format(port="PORT", backends="  server a A check\n  server b B check"),
        ),
    )
}


def that_keep(fronts: Sequence[Front]) -> list[Front]:
    """The same, but lbcore keeps idle connections for as long as its backends do, which it has to learn first."""
    keeping = functools.partial(lbcore, settings='backend_idle_timeout = "1h"')
    return [replace(front, serve=keeping) if front.serve is lbcore else front for front in fronts]


def installed() -> list[Front]:
    """lbcore, and those of the others that are on this machine."""
    return [front for front in FRONTS.values() if front.name == "lbcore" or shutil.which(front.name.lower(), path=PATH)]
