"""CPU per request of the policy beside others, interleaved in one run: by schedstat, of the processes that carry requests."""

from __future__ import annotations

import contextlib
import json
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.children import running
from bench.load import Address, client_threads
from bench.measure import cpu_ns
from bench.origin import descriptors, free_port, nginx_user
from bench.pages import shown
from bench.prefix.models import request
from bench.prefix.routers import ROUTE, SMG, Router, lbcore, smg, wait
from bench.prefix.traces import Trace
from bench.programs import Missing, find

SECONDS, CONNECTIONS = 2, 64
SCRIPT = Path(__file__).with_name("cost.lua")
SIZES = {
    "1 KiB": Trace(turns=6, prompt=150, question=40),
    "2 KiB": Trace(turns=10, prompt=500, question=80),
    "8 KiB": Trace(turns=20, prompt=2500, question=100),
}
"""Of a request's body, about, in the mean."""

TARGETS = {
    "`p2c`, a route by a header": ('policy = "p2c"', ROUTE),
    "`p2c`, a route by a key of the body": ('policy = "p2c"', '[[route]]\njson = { model = "m" }\npool = "llm"\n'),
    "`prefix`, the messages": ('policy = "prefix"', ""),
    "`prefix`, a header": ('policy = "prefix"\nhash = "header:X-Session-Id"', ""),
}
BASE = "`p2c`, a route by a header"
RIVAL = "smg, `cache_aware`"

_NGINX = """\
daemon off;
{user}
worker_processes {workers};
worker_rlimit_nofile {descriptors};
pid {directory}/pid;
error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 2147483647;
    client_body_temp_path {directory}/body;
    client_body_buffer_size 64k;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    default_type application/json;
    server {{
        {listens}
        location = /v1/models {{ return 200 '{{"object":"list","data":[{{"id":"m","object":"model"}}]}}'; }}
        location / {{ return 200 '{{"model_path":"m","id":"1","object":"chat.completion","choices":[]}}'; }}
    }}
}}
"""


@contextlib.contextmanager
def fixed(directory: Path) -> Iterator[list[Address]]:
    """Four models that answer at once: nginx. Raises Missing."""
    addresses = [("127.0.0.1", free_port()) for _ in range(4)]
    text = _NGINX.format(
        user=nginx_user(),
        workers=client_threads(),
        descriptors=descriptors(),
        directory=directory,
        listens="\n        ".join(f"listen {host}:{port} backlog=4096;" for host, port in addresses),
    )
    config = directory / "nginx.conf"
    config.write_text(text)
    command = [find("nginx"), "-p", str(directory), "-c", str(config), "-e", "stderr"]
    with running(command, directory / "nginx.log") as child:
        for address in addresses:
            wait(address, child.check, "/")
        yield addresses


def written(file: Path, trace: Trace) -> float:
    """All turns of a trace, as cost.lua reads them: the mean size of a request."""
    waiting, requests = trace.draw(1), list[bytes]()
    for _ in range(trace.turns):
        for one in waiting:
            one.ask(trace.question)
            requests.append(request(one))
            one.hear(200)
    file.write_bytes(b"".join(b"%d\n%b\n" % (len(whole), whole) for whole in requests))
    return statistics.fmean(map(len, requests))


def once(router: Router, file: Path) -> float:
    """CPU per request in microseconds, in one round. Raises RuntimeError when a request fails."""
    url = f"http://{router.address[0]}:{router.address[1]}/"
    command = [
        find("wrk"),
        f"-t{client_threads()}",
        f"-c{CONNECTIONS}",
        f"-d{SECONDS}s",
        "-s",
        str(SCRIPT),
        url,
        "--",
        str(file),
    ]
    before = cpu_ns(router.pids)
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS + 30).stdout
    used = cpu_ns(router.pids) - before
    found = re.search(r"^REPORT (.+)$", said, re.M)
    report = json.loads(found[1]) if found else {}
    if not report.get("requests") or report["status_errors"]:
        raise RuntimeError(f"requests failed: {said}")
    return used / int(report["requests"]) / 1000


def measured(directory: Path, rounds: int, trace: Trace, missing: list[str]) -> dict[str, list[float]]:
    """Each target's figures, a round after the other. missing: what could not be started."""
    file = directory / "requests"
    written(file, trace)
    with contextlib.ExitStack() as stack:
        backends = stack.enter_context(fixed(directory))
        targets = {
            name: stack.enter_context(lbcore(directory, backends, policy, route=route, python=sys.executable))
            for name, (policy, route) in TARGETS.items()
        }
        try:
            targets[RIVAL] = stack.enter_context(smg(directory, backends, "cache_aware"))
        except Missing as error:
            missing.append(str(error))
        for router in targets.values():
            once(router, file)
        figures: dict[str, list[float]] = {name: [] for name in targets}
        for _ in range(rounds):
            for name, router in targets.items():
                figures[name].append(once(router, file))
    return figures


def table(directory: Path, rounds: int) -> str:
    """The figures in Markdown."""
    missing: list[str] = []
    lines = ["| body | target | CPU, µs a request | over `p2c` with a header route |", "| --- | --- | --- | --- |"]
    for size, trace in SIZES.items():
        place = directory / size.replace(" ", "")
        place.mkdir()
        figures = measured(place, rounds, trace, missing)
        for name, values in figures.items():
            ratios = [mine / base for mine, base in zip(values, figures[BASE], strict=True)]
            lines.append(f"| {size} | {name} | {shown(values, '.1f')} | {shown(ratios, '.2f')} |")
    if missing:
        lines.append(f"\nWithout smg ({SMG}): {missing[0]}.")
    return "\n".join(lines) + "\n"
