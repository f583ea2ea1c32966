"""What to set for each server: the words of the page that no measurement gives."""

from __future__ import annotations

from collections import namedtuple

Advice = namedtuple("Advice", "keep stop")
Advice.__doc__ = "keep: how its idle connections live longer. stop: what to set or to know for its end and for recycling."

DRAIN = "cuts requests that it is working on: drain it first (above)"
"""For servers that end at SIGTERM whatever they are doing."""

_UVICORN = "`--timeout-keep-alive 65`"
_UVICORN_STOP = "`--timeout-graceful-shutdown 30`; with `--limit-max-requests` also `--limit-max-requests-jitter`"
_GUNICORN = "`--keep-alive 65`"
_GUNICORN_STOP = "with `--max-requests` also `--max-requests-jitter`"

ADVICE: dict[str, Advice] = {
    "uvicorn h11": Advice(_UVICORN, _UVICORN_STOP),
    "uvicorn std": Advice(_UVICORN, _UVICORN_STOP),
    "uvicorn --workers 2": Advice(
        _UVICORN, f"{_UVICORN_STOP}. Accepts for a while after SIGTERM: lbcore notices, a drain is safer"
    ),
    "gunicorn sync": Advice(
        'keeps none: `backend_idle_timeout = "0s"` ([example](examples/gunicorn.toml)), or `-k gthread`',
        f"{_GUNICORN_STOP}. Accepts until it exits: lbcore notices, a drain is safer",
    ),
    "gunicorn gthread": Advice(_GUNICORN, f"{_GUNICORN_STOP}. Accepts until it exits: lbcore notices, a drain is safer"),
    "gunicorn asgi": Advice(_GUNICORN, f"{_GUNICORN_STOP}. WebSockets hold it up for `--graceful-timeout` (30 s)"),
    "gunicorn uvicorn-worker": Advice(_GUNICORN, _GUNICORN_STOP),
    "granian": Advice(
        '`--http1-header-read-timeout 60000` (ms, its most) and `backend_idle_timeout = "50s"`',
        "recycles by time and memory only (`--workers-lifetime`, `--workers-max-rss`)",
    ),
    "hypercorn": Advice(
        "`--keep-alive 65`",
        f"`--graceful-timeout 30`: requests of more than 3 s are 500 otherwise; {_GUNICORN_STOP}."
        " Accepts until it exits: lbcore notices, a drain is safer",
    ),
    "daphne": Advice("nothing: long enough", DRAIN),
    "waitress": Advice("`--channel-timeout`; 120 s is long enough", DRAIN),
    "aiohttp": Advice(
        "`keepalive_timeout`; 75 s is long enough", "close WebSockets in `on_shutdown`: otherwise they hold the stop up"
    ),
    "tornado": Advice(
        "nothing: closes none", f"{DRAIN}, or handle SIGTERM: `HTTPServer.stop()`, then `close_all_connections()`"
    ),
    "sanic": Advice("`KEEP_ALIVE_TIMEOUT`; 120 s is long enough", "accepts until it exits: lbcore notices, a drain is safer"),
    "cheroot": Advice("`--timeout 65`", DRAIN),
    "gevent": Advice("nothing: closes none", f"{DRAIN}, or handle SIGTERM: `WSGIServer.stop(timeout=30)`"),
    "eventlet": Advice("`keepalive=True` (the default) and `socket_timeout=None`: closes none", DRAIN),
    "robyn": Advice("nothing: closes none", "does not exit at SIGTERM, accepts on and answers nothing: drain it, then SIGKILL"),
    "bjoern": Advice("nothing: closes none", DRAIN),
    "fastpysgi": Advice("nothing: closes none", DRAIN),
    "pyvoy": Advice("nothing: closes none", DRAIN),
    "litserve": Advice(
        "`LitServer.run(timeout_keep_alive=65)`",
        "SIGTERM ends its first process only, the others serve on: send it to the whole group",
    ),
}

NONE = Advice("", "")
