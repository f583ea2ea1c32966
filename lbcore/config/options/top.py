"""Options of the top level."""

from __future__ import annotations

from lbcore.config.option import HOUR_MS as _HOUR
from lbcore.config.option import MINUTE_MS as _MINUTE
from lbcore.config.option import SECOND_MS as _SECOND
from lbcore.config.option import Option

TOP: tuple[Option, ...] = (
    Option("name", "name", "lbcore", "name of this balancer; commands find it by this name", restart=True, flag=True),
    Option(
        "workers",
        "int",
        None,
        "number of workers; default: the cores that this process may use",
        low=1,
        high=64,
        restart=True,
        flag=True,
    ),
    Option(
        "datapath",
        "choice",
        "auto",
        "how bytes are forwarded: auto copies or splices each direction as fits at the time; copy and splice always"
        " do; offload has the kernel forward",
        choices=("auto", "copy", "splice", "offload"),
        restart=True,
        flag=True,
    ),
    Option(
        "loop",
        "choice",
        "auto",
        "how workers wait for sockets and serve them: by epoll or by io_uring (uring); auto is io_uring where the kernel offers"
        " it (Linux 6.1) and lets this process have it, else epoll; lbcore version says which, and why",
        choices=("auto", "epoll", "uring"),
        restart=True,
        flag=True,
    ),
    Option(
        "offload_local",
        "flag",
        False,
        "requires datapath auto or offload: sessions of small messages to backends on this host go from socket to"
        " socket in the kernel; backends must not splice(2) out of their sockets, nor set SO_RCVLOWAT; backends whose"
        " sockets block are left alone",
        restart=True,
        flag=True,
    ),
    Option(
        "worker_timeout",
        "duration",
        30 * _SECOND,
        "how long a worker process may hang until another takes its place; 0: for ever. The log, status, metrics and"
        " readyz report a hang within 5 s",
        low=0,
        high=_HOUR,
    ),
    Option(
        "drain_timeout",
        "duration",
        30 * _SECOND,
        "how long sessions may continue when the balancer stops or a backend is removed",
        low=0,
        high=_HOUR,
        flag=True,
    ),
    Option(
        "drain_delay",
        "duration",
        0,
        "how long readyz says 503 before the balancer stops accepting, so that a balancer in front of it can stop"
        " sending in time",
        low=0,
        high=_HOUR,
    ),
    Option(
        "ready_when",
        "choice",
        "any",
        "what lbcore ready, readyz and health_path require. any: a worker that runs and a pool with a usable backend are"
        " enough; backends: no worker hangs, and each pool has a usable backend; workers: no worker hangs, whatever the"
        " backends do",
        choices=("any", "backends", "workers"),
    ),
    Option(
        "state_file",
        "text",
        None,
        "file that keeps registered and added backends over a restart, which begins with them on probation; default: none",
        restart=True,
    ),
    Option(
        "access_log",
        "text",
        "off",
        "where a line for each request and session that has ended is written: off, a file, stdout, stderr, syslog,"
        " syslog:/SOCKET, or syslog:HOST:PORT (UDP)",
        flag=True,
    ),
    Option(
        "access_log_format",
        "choice",
        "json",
        "format of the lines of the access log; combined is nginx's and Apache's, for requests alone",
        choices=("json", "text", "combined"),
        flag=True,
    ),
    Option(
        "access_log_fields",
        "texts",
        None,
        "json: the fields of each line, in this order, user_agent and referer among them (tools/docs/logs.md); default: all but"
        " user_agent, referer and queue_ms",
    ),
    Option(
        "access_log_sample",
        "int",
        1,
        "the access log gets one of so many requests and sessions; failures are always written",
        low=1,
        high=1_000_000,
    ),
    Option(
        "traces",
        "text",
        "off",
        "where spans of sampled requests are sent: off, or an OTLP endpoint over HTTP such as"
        " http://127.0.0.1:4318/v1/traces; requires lbcore[otel]. Each request then carries a traceparent to its"
        " backend",
    ),
    Option(
        "trace_sample",
        "int",
        100,
        "of requests without a traceparent, one of so many is sampled; other requests are sampled as their traceparent says",
        low=1,
        high=1_000_000,
    ),
    Option(
        "max_sessions",
        "int",
        0,
        "sessions of each worker; 0: as many as the descriptor limit allows",
        low=0,
        high=1_000_000,
        restart=True,
        flag=True,
    ),
    Option(
        "max_handshakes",
        "int",
        1024,
        "TLS handshakes under way at once, each worker; further clients wait",
        low=1,
        high=100_000,
        restart=True,
    ),
    Option(
        "ticket_rotation",
        "duration",
        _HOUR,
        "how often the keys of TLS session tickets change; a ticket is valid for at least one and at most three such periods",
        low=_MINUTE,
        high=24 * _HOUR,
    ),
    Option(
        "max_backends", "int", 16_384, "backends in all pools; a change requires a restart", low=1, high=1_000_000, restart=True
    ),
    Option(
        "user",
        "text",
        None,
        "lbcore run, started by root: the user to become, by name or number, before it binds; the control plane keeps"
        " CAP_NET_BIND_SERVICE, and with offload the capabilities that offload requires; default: no change",
        restart=True,
        flag=True,
    ),
    Option(
        "group",
        "text",
        None,
        "lbcore run, started by root: the group to become; requires user; default: the groups of that user",
        restart=True,
    ),
    Option(
        "seccomp",
        "choice",
        "auto",
        "auto: where libseccomp is installed, worker processes may make only the system calls that they need; off:"
        " any system call",
        choices=("auto", "off"),
        restart=True,
    ),
    Option("pin", "flag", False, "pin each worker to a core", restart=True, flag=True),
    Option(
        "log_format",
        "choice",
        "text",
        "format of the control plane's log lines",
        choices=("text", "json"),
        restart=True,
        flag=True,
    ),
)
DEFAULT_NAME = str(next(option.default for option in TOP if option.name == "name"))
