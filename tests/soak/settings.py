"""The configuration that the soaked balancer runs with, and how it changes."""

from __future__ import annotations

import os
from pathlib import Path

from soak.backend import ECHO_PORT, HTTP_PORT
from soak.crew import STATIC

TOP = """\
workers = 2
loop = "{loop}"
drain_timeout = "2s"
state_file = "state.json"
[admin]
listen = "127.0.0.1:0"
token = "{token}"
[[listener]]
name = "tcp"
bind = "tcp://127.0.0.1:0"
pool = "tcp"
idle_timeout = "3s"
half_closed_timeout = "2s"
[[listener]]
name = "http"
bind = "http://127.0.0.1:0"
pool = "http"
idle_timeout = "3s"
header_timeout = "2s"
body_timeout = "2s"
keepalive_timeout = "2s"
[[listener]]
name = "udp"
bind = "udp://127.0.0.1:0"
pool = "udp"
idle_timeout = "2s"
"""
HTTPS = """\
[[listener]]
name = "https"
bind = "https://127.0.0.1:0"
pool = "http"
idle_timeout = "3s"
header_timeout = "2s"
body_timeout = "2s"
keepalive_timeout = "2s"
[[listener.certificate]]
cert = "{0}"
key = "{1}"
"""
FURTHER = """\
[[listener]]
name = "further"
bind = "tcp://{network}.99:7009"
pool = "tcp"
"""
POOL = """\
[[pool]]
name = "{name}"
policy = "{policy}"
hold_down = "100ms"
hold_down_max = "1s"
connect_timeout = "500ms"
{more}
[pool.probe]
kind = "{probe}"
interval = "200ms"
timeout = "300ms"
fall = 2
[pool.lease]
heartbeat = "300ms"
missed = 3
"""
QUEUE = 'response_timeout = "2s"\nqueue = 100\nqueue_timeout = "2s"\nbackend_idle_timeout = "1s"'
SOURCE = """\
[[pool.source]]
kind = "file"
path = "backends.txt"
interval = "200ms"
"""
BACKEND = '[[pool.backend]]\naddress = "{}"\n'
POLICIES = {"tcp": "least_conn", "http": "p2c", "udp": "maglev"}
PORTS = {"tcp": ECHO_PORT, "http": HTTP_PORT, "udp": ECHO_PORT}


class Configuration:
    """The file of the balancer, and that of its source. pem: certificate and key; without them https is left out."""

    def __init__(self, directory: Path, network: str, token: str, pem: tuple[Path, Path] | None, loop: str) -> None:
        self.path = directory / "soak.toml"
        self._source = directory / "backends.txt"
        self._network, self._token, self._pem, self._loop = network, token, pem, loop
        self.write_source([])
        self.write()

    def write(self, policies: dict[str, str] | None = None, further_listener: bool = False) -> None:
        """As at the start, or with these policies and one more listener."""
        parts = [TOP.format(token=self._token, loop=self._loop)]
        if self._pem:
            parts.append(HTTPS.format(*self._pem))
        if further_listener:
            parts.append(FURTHER.format(network=self._network))
        for name, policy in {**POLICIES, **(policies or {})}.items():
            http = name == "http"
            parts.append(POOL.format(name=name, policy=policy, probe="http" if http else "tcp", more=QUEUE if http else ""))
            parts += [BACKEND.format(f"{self._network}.{number + 1}:{PORTS[name]}") for number in range(STATIC)]
            if http:
                parts.append(SOURCE)
        _replace(self.path, "".join(parts))

    def write_source(self, addresses: list[str]) -> None:
        """What the watched file says."""
        _replace(self._source, "".join(f"{address}\n" for address in addresses))


def _replace(path: Path, text: str) -> None:
    draft = path.with_suffix(".new")
    draft.write_text(text)
    os.replace(draft, path)
