"""The servers: which packages each is made of, how it is started with its defaults, and which options the measurements take."""

from __future__ import annotations

import sys
from dataclasses import dataclass

UVICORN = "uvicorn==0.54.0"
GUNICORN = "gunicorn==27.0.1"
STANDARD = ("httptools==0.9.0", "uvloop==0.23.0", "websockets==17.4")

ALL = frozenset({"idle", "early", "head", "websocket", "stopping", "recycling"})
"""The measurements."""


@dataclass(frozen=True)
class Kind:
    """A server as it is started.

    packages: pinned; the first is the server itself.
    line: what follows `python`; {port} is put in.
    recycle: options with which a process ends after {requests} requests and another follows; none: there is no such option.
    keep: options with which it closes connections that are idle for {keep} s.
    grace: options with which it waits for open connections for {grace} s when it stops.
    sockets: does it speak WebSocket?
    get, post, content: what the load asks for.
    without: measurements that its application cannot take part in.
    """

    name: str
    packages: tuple[str, ...]
    line: tuple[str, ...]
    recycle: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    grace: tuple[str, ...] = ()
    sockets: bool = False
    get: str = "/get"
    post: str = "/post"
    content: str = "x" * 100
    without: frozenset[str] = frozenset()

    @property
    def measurements(self) -> frozenset[str]:
        """Those that it takes part in."""
        lacks = self.without | (set() if self.sockets else {"websocket"}) | (set() if self.recycle else {"recycling"})
        return ALL - lacks

    def command(self, python: str, port: int, options: tuple[str, ...] = (), **values: float) -> list[str]:
        """How it is started. values: of the options."""
        words = (
            word.format(port=port, **{name: f"{value:g}" for name, value in values.items()}) for word in (*self.line, *options)
        )
        return [python, *words]


def _uvicorn(name: str, *options: str, packages: tuple[str, ...] = STANDARD, sockets: bool = True) -> Kind:
    return Kind(
        name,
        (UVICORN, *packages),
        ("-m", "uvicorn", "--port", "{port}", "--log-level", "warning", *options, "apps:asgi"),
        recycle=("--limit-max-requests", "{requests}", *(() if "--workers" in options else ("--workers", "2"))),
        keep=("--timeout-keep-alive", "{keep}"),
        sockets=sockets,
    )


def _gunicorn(worker: str, app: str, *options: str, packages: tuple[str, ...] = (), sockets: bool = False) -> Kind:
    return Kind(
        f"gunicorn {worker}",
        (GUNICORN, *packages),
        ("-m", "gunicorn", "-b", "127.0.0.1:{port}", *options, f"apps:{app}"),
        recycle=("--max-requests", "{requests}", "--workers", "2"),
        keep=("--keep-alive", "{keep}"),
        grace=("--graceful-timeout", "{grace}"),
        sockets=sockets,
    )


def _program(name: str, package: str, *more: str, sockets: bool = False) -> Kind:
    """One that has no command: apps.py starts it."""
    return Kind(name, (package, *more), ("apps.py", name, "{port}"), sockets=sockets)


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        _uvicorn("uvicorn h11", "--http", "h11", "--loop", "asyncio", "--ws", "none", packages=("h11==0.16.0",), sockets=False),
        _uvicorn("uvicorn std"),
        _uvicorn("uvicorn --workers 2", "--workers", "2"),
        _gunicorn("sync", "wsgi"),
        _gunicorn("gthread", "wsgi", "-k", "gthread", "--threads", "4"),
        _gunicorn("asgi", "asgi", "-k", "asgi", sockets=True),
        _gunicorn(
            "uvicorn-worker",
            "asgi",
            "-k",
            "uvicorn_worker.UvicornWorker",
            packages=("uvicorn-worker==0.4.0", UVICORN, *STANDARD),
            sockets=True,
        ),
        Kind(
            "granian",
            ("granian==2.8.9",),
            ("-m", "granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", "{port}", "--no-log", "apps:asgi"),
            keep=("--http1-header-read-timeout", "{keep}000"),
            sockets=True,
        ),
        Kind(
            "hypercorn",
            ("hypercorn==0.18.0", "h11==0.16.0"),
            ("-m", "hypercorn", "--bind", "127.0.0.1:{port}", "apps:asgi"),
            recycle=("--max-requests", "{requests}", "--workers", "2"),
            keep=("--keep-alive", "{keep}"),
            grace=("--graceful-timeout", "{grace}"),
            sockets=True,
        ),
        Kind(
            "daphne",
            ("daphne==4.2.3",),
            ("-m", "daphne", "-b", "127.0.0.1", "-p", "{port}", "-v", "0", "apps:asgi"),
            sockets=True,
        ),
        Kind("waitress", ("waitress==3.0.2",), ("-m", "waitress", "--listen=127.0.0.1:{port}", "apps:wsgi")),
        _program("aiohttp", "aiohttp==3.14.5", sockets=True),
        _program("tornado", "tornado==6.6.1", sockets=True),
        Kind(
            "sanic",
            ("sanic==25.12.1",),
            ("-m", "sanic", "apps:sanic", "--factory", "--host", "127.0.0.1", "--port", "{port}", "--no-motd"),
            sockets=True,
        ),
        Kind("cheroot", ("cheroot==11.1.2",), ("-m", "cheroot", "--bind", "127.0.0.1:{port}", "apps:wsgi")),
        _program("gevent", "gevent==26.9.0"),
        _program("eventlet", "eventlet==0.41.3"),
        _program("robyn", "robyn==0.88.0"),
        _program("bjoern", "bjoern==3.2.2"),
        _program("fastpysgi", "fastpysgi==0.6"),
        Kind(
            "pyvoy",
            ("pyvoy==1.3.0",),
            ("-c", "from pyvoy._cli import main; main()", "apps:asgi", "--port", "{port}", "--websockets"),
            sockets=True,
        ),
        Kind(
            "litserve",
            ("litserve==0.2.19",),
            ("model.py", "{port}"),
            get="/health",
            post="/predict",
            content='{"input": 4.0}',
            without=frozenset({"early", "head"}),
        ),
    )
}


def chosen(words: list[str]) -> list[Kind]:
    """The kinds of these names, or of these first words; all, where there are none. Raises KeyError for an unknown word."""
    found: dict[str, Kind] = {}
    for word in words:
        fitting = {name: kind for name, kind in KINDS.items() if name == word or name.split()[0] == word}
        if not fitting:
            raise KeyError(word)
        found |= fitting
    return list((found or KINDS).values())


HERE = sys.executable
"""The interpreter that runs this: in the tests the servers are those of their own environment."""
