"""nginx as a target: in front of TCP, UDP, HTTP/1.1 and HTTP/2, with its fast settings."""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bench.certificate import made_in
from bench.children import ChildFailed, descendants
from bench.origin import START_S, descriptors, free_port, nginx_certificate, nginx_user
from bench.programs import Missing, find
from bench.serving import Running, Start, Wanted, first_line, one_process

_NGINX = """\
{module}
daemon off;
{user}
worker_processes {workers};
worker_rlimit_nofile {descriptors};
pid {directory}/pid;
error_log stderr crit;
events {{ worker_connections {connections}; }}
{body}
"""

_NGINX_STREAM = """\
stream {{
    upstream origin {{
{servers}
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        proxy_connect_timeout 5s;
        proxy_timeout 10m;
        proxy_pass origin;
    }}
}}
"""

_NGINX_UDP = """\
stream {{
    upstream origin {{
{servers}
    }}
    server {{
        listen 127.0.0.1:{port} udp;
        proxy_timeout 10m;
        proxy_pass origin;
    }}
}}
"""

_NGINX_HTTP = """\
http {{
    access_log off;
    upstream origin {{
{servers}
        keepalive 1024;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} {tls} backlog=4096;
        {http2}
        {certificate}
        keepalive_requests 1000000000;
        keepalive_timeout 10m;
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            {fields}
        }}
    }}
}}
"""

_NGINX_GRPC = re.sub(r"proxy_pass.*\n.*\n.*\n.*fields.*\n", "grpc_pass grpc://origin;\n", _NGINX_HTTP)


def _nginx_build() -> str:
    return subprocess.run([find("nginx"), "-V"], capture_output=True, text=True, check=False, timeout=30).stderr


def _stream_module() -> str:
    """The directive that loads nginx's stream module; empty when it is built in. Raises Missing."""
    build = _nginx_build()
    if not re.search(r"--with-stream=dynamic(\s|$)", build) and re.search(r"--with-stream(\s|$)", build):
        return ""
    modules = re.search(r"--modules-path=(\S+)", build)
    path = Path(modules[1] if modules else "/usr/lib/nginx/modules") / "ngx_stream_module.so"
    if not path.exists():
        raise Missing("nginx has no stream module (apt-get install libnginx-mod-stream)")
    return f"load_module {path};"


_NGINX_BODIES = {"tcp": _NGINX_STREAM, "udp": _NGINX_UDP, "http": _NGINX_HTTP, "grpc": _NGINX_GRPC}


def _nginx_text(directory: Path, port: int, wanted: Wanted, *, mode: str, fields: str, tls: bool, http2: int) -> str:
    return _NGINX.format(
        module="" if mode in ("http", "grpc") else _stream_module(),
        user=nginx_user(),
        workers=wanted.workers,
        descriptors=descriptors(),
        connections=min(16384, descriptors() - 100),
        directory=directory,
        body=_NGINX_BODIES[mode].format(
            port=port,
            servers=wanted.each("        server {host}:{port};"),
            fields=fields,
            tls="ssl" if tls else "",
            http2=f"listen 127.0.0.1:{http2} http2 backlog=4096;" if http2 else "",
            certificate=nginx_certificate(made_in(directory)) + _NGINX_TLS if tls else "",
        ),
    )


NGINX_FIELDS = """proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Request-Id $request_id;"""


_NGINX_TLS = " ssl_protocols TLSv1.2 TLSv1.3; ssl_session_tickets on;"


def nginx(mode: str = "tcp", *, fields: str = "", tls: bool = False, http2: bool = False) -> Start:
    """http2: on an address of its own, since nginx takes nothing else there."""

    @contextlib.contextmanager
    def start(directory: Path, wanted: Wanted) -> Iterator[Running]:
        port, config = free_port(), directory / "nginx.conf"
        other = free_port() if http2 else 0
        text = _nginx_text(directory, port, wanted, mode=mode, fields=fields, tls=tls, http2=other)
        ready = "tls" if tls else "udp" if mode == "udp" else "http"
        command = [find("nginx"), "-p", str(directory), "-c", str(config), "-e", "stderr"]
        with one_process(command, config, text, port, ready=ready) as target:
            master = target.workers
            address = ("127.0.0.1", other or port)
            yield replace(target, address=address, workers=_nginx_workers(master[0], wanted.workers), control=master)

    return start


def _nginx_workers(master: int, count: int) -> list[int]:
    deadline = time.monotonic() + START_S
    while len(workers := descendants(master)) < count:
        if time.monotonic() > deadline:
            raise ChildFailed(f"nginx started {len(workers)} workers, not {count}")
        time.sleep(0.01)
    return workers


def nginx_version() -> str:
    """Raises Missing: nginx, or its stream module."""
    _stream_module()
    return first_line(find("nginx"), "-v")


def plain_nginx_version() -> str:
    """Raises Missing."""
    return first_line(find("nginx"), "-v")
