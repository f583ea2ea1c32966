"""The targets of lbcore: its modes, datapaths and loops."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.certificate import made_in
from bench.children import ChildFailed, descendants, running
from bench.origin import START_S, wait_ready
from bench.programs import Missing
from bench.serving import ROOT, Running, Start, Target, Wanted, first_line

_BARE = """\
name = "bench-{pid}"
workers = {workers}
[[listener]]
bind = "http://127.0.0.1:0"
forwarded = "off"
request_id = false
[[pool]]
policy = "round_robin"
[pool.probe]
kind = "off"
{backends}
"""


_SECURED = _BARE.replace('bind = "http:', 'bind = "https:').replace(
    "[[pool]]", '[[listener.certificate]]\ncert = "{both}"\n[[pool]]'
)

_BOTH_HTTP2 = _BARE.replace("[[pool]]", '[[pool]]\nprotocol = "h2"')

_BY_EPOLL = 'loop = "epoll"\n'


def _lbcore(*options: str, mode: str = "tcp", file: str = "", ready: str = "http") -> Start:
    """ready: what an origin behind it speaks: http, tls or udp."""

    @contextlib.contextmanager
    def start(directory: Path, wanted: Wanted) -> Iterator[Running]:
        command = [sys.executable, "-m", "lbcore", "run"]
        if file:
            config = directory / "lbcore.toml"
            both = made_in(directory).both if ready == "tls" else None
            backends = wanted.each('[[pool.backend]]\naddress = "{host}:{port}"')
            text = file.format(pid=os.getpid(), workers=wanted.workers, backends=backends, both=both)
            config.write_text(text)
            command += ["-c", str(config)]
        else:
            text = ""
            command += ["--name", f"bench-{os.getpid()}", "--listen", f"{mode}://127.0.0.1:0", "--policy", "round_robin"]
            command += [*wanted.each("--backend {host}:{port}", " ").split(), "--workers", str(wanted.workers)]
            command += ["--admin", "off", "--health", "off", *options]
        env = {"LBCORE_RUNTIME_DIR": str(directory)}
        with running(command, directory / "log", cwd=ROOT, env=env) as child:
            line = child.read_line(START_S)
            found = re.search(r"\blisten=\w+://([\d.]+):(\d+)", line)
            if found is None:
                raise ChildFailed(f"lbcore said {line!r}, not that it is ready")
            address = (found[1], int(found[2]))
            wait_ready(child, address, ready)
            workers = _children(child.pid, wanted.workers)
            yield Running(address, workers, [child.pid], " ".join(["python", *command[1:]]), f"{text}\n{line}")

    return start


def _children(pid: int, count: int) -> list[int]:
    """The workers of `lbcore run --workers COUNT`: its only children. Raises ChildFailed."""
    workers = descendants(pid)
    if len(workers) != count:
        raise ChildFailed(f"lbcore run --workers {count} has {len(workers)} child processes")
    return workers


def _lbcore_version() -> str:
    if importlib.util.find_spec("lbcore") is None:
        raise Missing("lbcore is not installed (pip install .)")
    probe = "import importlib.metadata as m; import lbcore._engine; print(m.version('lbcore'))"
    line = first_line(sys.executable, "-c", probe)
    if not re.match(r"\d", line):
        raise Missing("lbcore is not built (pip install .)")
    return line


def _version_with(feature: str) -> str:
    """Raises Missing with lbcore's own reason when this machine or this version has it not."""
    version = _lbcore_version()
    command = [sys.executable, "-m", "lbcore", "version"]
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30, cwd=ROOT).stdout
    line = re.search(rf"^{feature}: *(.*)$", said, re.MULTILINE)
    if line is None or not line[1].startswith("yes"):
        raise Missing(f"lbcore says: {feature}: {line[1] if line else 'nothing'}")
    return version


def _offload_version() -> str:
    return _version_with("offload")


def _local_version() -> str:
    return _version_with("offload_local")


TARGETS = (
    Target("lbcore", "lbcore", "lbcore", "tcp", _lbcore(), _lbcore_version),
    Target("lbcore-epoll", "lbcore, epoll", "lbcore", "tcp", _lbcore("--loop", "epoll"), _lbcore_version),
    Target("lbcore-copy", "lbcore, copy", "lbcore", "tcp", _lbcore("--datapath", "copy"), _lbcore_version),
    Target("lbcore-splice", "lbcore, splice", "lbcore", "tcp", _lbcore("--datapath", "splice"), _lbcore_version),
    Target("lbcore-offload", "lbcore, offload", "lbcore", "tcp", _lbcore("--datapath", "offload"), _offload_version),
    Target("lbcore-local", "lbcore, offload_local", "lbcore", "tcp", _lbcore("--offload-local"), _local_version),
    Target("lbcore-udp", "lbcore (udp)", "lbcore", "udp", _lbcore(mode="udp", ready="udp"), _lbcore_version),
    Target("lbcore-tls", "lbcore (tls, by server name)", "lbcore", "tls", _lbcore(mode="tls", ready="tls"), _lbcore_version),
    Target("lbcore-tcp-of-tls", "lbcore (tcp)", "lbcore", "tls", _lbcore(ready="tls"), _lbcore_version),
    Target("lbcore-http", "lbcore (http)", "lbcore", "http-fields", _lbcore(mode="http"), _lbcore_version),
    Target(
        "lbcore-http-plain",
        "lbcore (http), copy",
        "lbcore",
        "http-fields",
        _lbcore("--datapath", "copy", mode="http"),
        _lbcore_version,
    ),
    Target("lbcore-http-bare", "lbcore (http, no forwarding fields)", "lbcore", "http", _lbcore(file=_BARE), _lbcore_version),
    Target(
        "lbcore-http2-both", "lbcore (http2 on both sides)", "lbcore", "http2-both", _lbcore(file=_BOTH_HTTP2), _lbcore_version
    ),
    Target(
        "lbcore-http2-both-epoll",
        "lbcore (http2 on both sides), epoll",
        "lbcore",
        "http2-both",
        _lbcore(file=_BY_EPOLL + _BOTH_HTTP2),
        _lbcore_version,
    ),
    Target("lbcore-http-epoll", "lbcore (http), epoll", "lbcore", "http", _lbcore(file=_BY_EPOLL + _BARE), _lbcore_version),
    Target(
        "lbcore-https-epoll",
        "lbcore (https), epoll",
        "lbcore",
        "https",
        _lbcore(file=_BY_EPOLL + _SECURED, ready="tls"),
        _lbcore_version,
    ),
    Target("lbcore-https", "lbcore (https)", "lbcore", "https", _lbcore(file=_SECURED, ready="tls"), _lbcore_version),
)
