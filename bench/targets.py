"""The targets: no balancer, lbcore, HAProxy and nginx, each with one worker and its fast settings."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.certificate import made_in
from bench.children import ChildFailed, descendants, running
from bench.load import Address
from bench.origin import START_S, descriptors, free_port, nginx_certificate, nginx_user, wait_ready
from bench.programs import Missing, find

ROOT = Path(__file__).resolve().parent.parent

_HAPROXY = """\
global
    nbthread 1
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
    server origin {origin}
"""

_NGINX = """\
{module}
daemon off;
{user}
worker_processes 1;
worker_rlimit_nofile {descriptors};
pid {directory}/pid;
error_log stderr crit;
events {{ worker_connections {connections}; }}
{body}
"""

_NGINX_STREAM = """\
stream {{
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        proxy_connect_timeout 5s;
        proxy_timeout 10m;
        proxy_pass {origin};
    }}
}}
"""

_NGINX_UDP = """\
stream {{
    server {{
        listen 127.0.0.1:{port} udp;
        proxy_timeout 10m;
        proxy_pass {origin};
    }}
}}
"""

_NGINX_HTTP = """\
http {{
    access_log off;
    upstream origin {{
        server {origin};
        keepalive 512;
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


@dataclass
class Running:
    """A target that serves. `workers` carry data, `control` are its other processes; direct has neither."""

    address: Address
    workers: list[int] = field(default_factory=list)
    control: list[int] = field(default_factory=list)
    command: str = ""
    config: str = ""


Start = Callable[[Path, Address], contextlib.AbstractContextManager[Running]]


@dataclass(frozen=True)
class Target:
    """How to start one, and how to tell its version. `version` raises Missing when it is not installed."""

    name: str
    title: str
    start: Start
    version: Callable[[], str]


def _first_line(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30, cwd=ROOT)
    return (done.stdout + done.stderr).strip().partition("\n")[0]


def _text(address: Address) -> str:
    return f"{address[0]}:{address[1]}"


@contextlib.contextmanager
def _direct(directory: Path, origin: Address) -> Iterator[Running]:
    yield Running(origin)


# --- lbcore -------------------------------------------------------------------------------------------------


_BARE = """\
name = "bench-{pid}"
workers = 1
[[listener]]
bind = "http://127.0.0.1:0"
forwarded = "off"
request_id = false
[[pool]]
[pool.probe]
kind = "off"
[[pool.backend]]
address = "{origin}"
"""


_SECURED = _BARE.replace('bind = "http:', 'bind = "https:').replace(
    "[[pool]]", '[[listener.certificate]]\ncert = "{both}"\n[[pool]]'
)


def _lbcore(*options: str, mode: str = "tcp", file: str = "", ready: str = "http") -> Start:
    """ready: what an origin behind it speaks: http, tls or udp."""

    @contextlib.contextmanager
    def start(directory: Path, origin: Address) -> Iterator[Running]:
        command = [sys.executable, "-m", "lbcore", "run"]
        if file:
            config = directory / "lbcore.toml"
            both = made_in(directory).both if ready == "tls" else None
            config.write_text(file.format(pid=os.getpid(), origin=_text(origin), both=both))
            command += ["-c", str(config)]
        else:
            command += ["--name", f"bench-{os.getpid()}", "--listen", f"{mode}://127.0.0.1:0", "--backend", _text(origin)]
            command += ["--workers", "1", "--admin", "off", "--health", "off", *options]
        env = {"LBCORE_RUNTIME_DIR": str(directory)}
        with running(command, directory / "log", cwd=ROOT, env=env) as child:
            line = child.read_line(START_S)
            found = re.search(r"\blisten=\w+://([\d.]+):(\d+)", line)
            if found is None:
                raise ChildFailed(f"lbcore said {line!r}, not that it is ready")
            address = (found[1], int(found[2]))
            wait_ready(child, address, ready)
            workers = _only_children(child.pid)
            yield Running(address, workers, [child.pid], " ".join(command), line)

    return start


def _only_children(pid: int) -> list[int]:
    """The worker of `lbcore run --workers 1`: its one child. Raises ChildFailed."""
    workers = descendants(pid)
    if len(workers) != 1:
        raise ChildFailed(f"lbcore run --workers 1 has {len(workers)} child processes, not 1")
    return workers


def _lbcore_version() -> str:
    if importlib.util.find_spec("lbcore") is None:
        raise Missing("lbcore is not installed (pip install .)")
    probe = "import importlib.metadata as m; import lbcore._engine; print(m.version('lbcore'))"
    line = _first_line(sys.executable, "-c", probe)
    if not re.match(r"\d", line):
        raise Missing("lbcore is not built (pip install .)")
    return line


# --- HAProxy ------------------------------------------------------------------------------------------------


_HAPROXY_FIELDS = """option forwardfor
    http-request set-header X-Forwarded-Proto http
    http-request set-header X-Forwarded-Host %[req.hdr(Host)]
    unique-id-format %{+X}o%ci:%cp_%fi:%fp_%Ts_%rt:%pid
    unique-id-header X-Request-Id"""
_SPLICE = "option splice-request\n    option splice-response"
"""Not splice-auto: seen with strace, it goes on copying in all of these scenarios."""


def _haproxy(*, mode: str = "tcp", tuning: str = "", options: str = "", fields: str = "", tls: bool = False) -> Start:
    @contextlib.contextmanager
    def start(directory: Path, origin: Address) -> Iterator[Running]:
        port = free_port()
        text = _HAPROXY.format(
            sessions=min(6000, descriptors() * 2 // 5 - 100),
            mode=mode,
            fields=fields,
            tuning=tuning,
            options=options,
            bind=f"ssl crt {made_in(directory).both} alpn http/1.1" if tls else "",
            port=port,
            origin=_text(origin),
        )
        config = directory / "haproxy.cfg"
        config.write_text(text)
        command = [find("haproxy"), "-db", "-f", str(config)]
        with running(command, directory / "log") as child:
            wait_ready(child, ("127.0.0.1", port), "tls" if tls else "http")
            yield Running(("127.0.0.1", port), [child.pid], [], " ".join(command), text)

    return start


def _haproxy_version() -> str:
    return _first_line(find("haproxy"), "-v")


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


def _nginx_text(directory: Path, port: int, origin: Address, *, mode: str, fields: str, tls: bool) -> str:
    return _NGINX.format(
        module="" if mode == "http" else _stream_module(),
        user=nginx_user(),
        descriptors=descriptors(),
        connections=min(16384, descriptors() - 100),
        directory=directory,
        body=_NGINX_BODIES[mode].format(
            port=port,
            origin=_text(origin),
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
    def start(directory: Path, origin: Address) -> Iterator[Running]:
        port = free_port()
        text = _nginx_text(directory, port, origin, mode=mode, fields=fields, tls=tls)
        with _nginx_on(directory, port, text, "tls" if tls else "udp" if mode == "udp" else "http") as running_nginx:
            yield running_nginx

    return start


@contextlib.contextmanager
def _nginx_on(directory: Path, port: int, text: str, ready: str) -> Iterator[Running]:
    config = directory / "nginx.conf"
    config.write_text(text)
    command = [find("nginx"), "-p", str(directory), "-c", str(config), "-e", "stderr"]
    with running(command, directory / "log") as child:
        wait_ready(child, ("127.0.0.1", port), ready)
        yield Running(("127.0.0.1", port), _nginx_workers(child.pid), [child.pid], " ".join(command), text)


def _nginx_workers(master: int) -> list[int]:
    deadline = time.monotonic() + START_S
    while not (workers := descendants(master)):
        if time.monotonic() > deadline:
            raise ChildFailed("nginx started no worker")
        time.sleep(0.01)
    return workers


def _nginx_version() -> str:
    _stream_module()
    return _first_line(find("nginx"), "-v")


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("direct", "no balancer", _direct, lambda: ""),
        Target("lbcore", "lbcore", _lbcore(), _lbcore_version),
        Target("lbcore-copy", "lbcore, copy", _lbcore("--datapath", "copy"), _lbcore_version),
        Target("lbcore-splice", "lbcore, splice", _lbcore("--datapath", "splice"), _lbcore_version),
        Target("haproxy", "HAProxy (tcp)", _haproxy(), _haproxy_version),
        Target(
            "haproxy-splice",
            "HAProxy (tcp, splice)",
            _haproxy(tuning="tune.pipesize 1048576", options=_SPLICE),
            _haproxy_version,
        ),
        Target(
            "haproxy-auto",
            "HAProxy (tcp, splice-auto)",
            _haproxy(options="option splice-auto"),
            _haproxy_version,
        ),
        Target("nginx", "nginx (stream)", _nginx(), _nginx_version),
        Target("lbcore-udp", "lbcore (udp)", _lbcore(mode="udp", ready="udp"), _lbcore_version),
        Target("lbcore-tls", "lbcore (tls, by server name)", _lbcore(mode="tls", ready="tls"), _lbcore_version),
        Target("lbcore-tcp-of-tls", "lbcore (tcp)", _lbcore(ready="tls"), _lbcore_version),
        Target("nginx-udp", "nginx (stream, udp)", _nginx("udp"), _nginx_version),
        Target("lbcore-http", "lbcore (http)", _lbcore(mode="http"), _lbcore_version),
        Target(
            "lbcore-http-plain",
            "lbcore (http), copy",
            _lbcore("--datapath", "copy", mode="http"),
            _lbcore_version,
        ),
        Target("lbcore-http-bare", "lbcore (http, no forwarding fields)", _lbcore(file=_BARE), _lbcore_version),
        Target(
            "haproxy-http-fields",
            "HAProxy (http, forwarding fields)",
            _haproxy(mode="http", options="http-reuse always", fields=_HAPROXY_FIELDS),
            _haproxy_version,
        ),
        Target(
            "nginx-http-fields",
            "nginx (http, forwarding fields)",
            _nginx("http", fields=_NGINX_FIELDS),
            lambda: _first_line(find("nginx"), "-v"),
        ),
        Target("haproxy-http", "HAProxy (http)", _haproxy(mode="http", options="http-reuse always"), _haproxy_version),
        Target(
            "haproxy-http-splice",
            "HAProxy (http, splice)",
            _haproxy(mode="http", tuning="tune.pipesize 1048576", options="http-reuse always\n    " + _SPLICE),
            _haproxy_version,
        ),
        Target("lbcore-https", "lbcore (https)", _lbcore(file=_SECURED, ready="tls"), _lbcore_version),
        Target(
            "haproxy-https",
            "HAProxy (https)",
            _haproxy(mode="http", options="http-reuse always", tls=True),
            _haproxy_version,
        ),
        Target("nginx-https", "nginx (https)", _nginx("http", tls=True), lambda: _first_line(find("nginx"), "-v")),
        Target("nginx-http", "nginx (http)", _nginx("http"), lambda: _first_line(find("nginx"), "-v")),
    )
}
"""Those that no scenario names (lbcore-copy, …) run when they are asked for with --targets."""
