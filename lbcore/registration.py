"""The backend's side: register with a balancer, send heartbeats, say goodbye. Standard library only.

    with lbcore.Registration(lb="http://127.0.0.1:9900", port=8000):
        serve()

In an ASGI lifespan, `async with lbcore.Registration(...)` does the same without blocking the loop.
"""

from __future__ import annotations

import http.client
import json
import random
import socket
import threading
import time
from urllib.parse import urlsplit

from lbcore.errors import ConfigError, LbcoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Self

CALL_LIMIT_S = 5.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
JITTER = 0.1


class RegistrationRefused(LbcoreError):
    """The balancer answered that it will not have this backend. status: of HTTP."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(f"the balancer refused the registration: {error} (status {status})")
        self.status = status


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class AdminClient:
    """Calls an admin server. lb: "http://HOST:PORT" or "unix:PATH". One connection a call; safe from several threads."""

    def __init__(self, lb: str, token: str | None = None, timeout: float = CALL_LIMIT_S) -> None:
        """Raises ConfigError when lb is no such address."""
        self.lb = lb
        self._token = token
        self._timeout = timeout
        self._path: str | None = None
        if lb.startswith("unix:"):
            self._path = lb.removeprefix("unix:")
            return
        parts = urlsplit(lb)
        try:
            self._host, self._port = parts.hostname, parts.port or 80
        except ValueError:
            self._host = None
        if parts.scheme != "http" or not self._host:
            raise ConfigError(f"lb: {lb!r} is not allowed (allowed: http://HOST:PORT or unix:PATH)")

    def _connect(self) -> http.client.HTTPConnection:
        if self._path is not None:
            return _UnixConnection(self._path, self._timeout)
        assert self._host is not None
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)

    def own_address(self) -> str:
        """The address that the balancer sees this host under. Raises OSError when it cannot be reached."""
        if self._path is not None:
            return "127.0.0.1"
        with socket.create_connection((str(self._host), self._port), self._timeout) as probe:
            return str(probe.getsockname()[0])

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """(status, answer). Raises OSError when the balancer cannot be reached or speaks no HTTP."""
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        connection = self._connect()
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read(1 << 24)
        except http.client.HTTPException as error:
            raise OSError(f"{self.lb}: no HTTP answer: {error!r}") from None
        finally:
            connection.close()
        try:
            value = json.loads(text)
        except ValueError:
            value = {}
        return answer.status, value if isinstance(value, dict) else {}


class Registration:
    """Keeps this host registered with a balancer, from `start()` to `stop()`. A context manager, plain and async.

    lb: "http://HOST:PORT" or "unix:PATH" of the admin server. port: where this backend serves; None: the pool's lease.port.
    interval: seconds between heartbeats; default: what the balancer asks for. load: called for each heartbeat; returns 0..1,
    or None for unknown. weight 0..256 or capacity (> 0, becomes the weight). server_ip: default: the address under which the
    balancer sees this host. token: for admin servers that ask for one.

    A balancer that cannot be reached is tried again, with growing pauses; one that has forgotten this backend (it restarted)
    gets a new registration at once. Nothing that happens here ever ends the program around it.
    """

    def __init__(
        self,
        lb: str,
        port: int | None = None,
        *,
        pool: str | None = None,
        interval: float | None = None,
        load: Callable[[], float | None] | None = None,
        weight: int | None = None,
        capacity: float | None = None,
        server_ip: str | None = None,
        token: str | None = None,
        log: Callable[[str], None] | None = None,
    ) -> None:
        """Raises ConfigError."""
        if port is not None and not 1 <= port <= 65_535:
            raise ConfigError(f"port: {port!r} is not allowed (allowed: a whole number from 1 to 65535)")
        if interval is not None and interval <= 0:
            raise ConfigError(f"interval: {interval!r} is not allowed (allowed: seconds, more than 0)")
        self._client = AdminClient(lb, token)
        self._fixed = {"port": port, "pool": pool, "weight": weight, "capacity": capacity}
        self._interval, self._load, self._server_ip = interval, load, server_ip
        self._log = log or (lambda line: None)
        self._status: tuple[str, float | None] = ("ready", None)
        self._told_s = 5.0
        self._thread: threading.Thread | None = None
        self._wake = threading.Condition()
        self._stopping = False
        self._again = False
        self._registered = threading.Event()
        self.answer: dict[str, Any] = {}
        """The balancer's last answer: id, address, pool, generation, heartbeat_s, lease_s, state."""

    # --- life ----------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Begin to register, in a thread. Returns at once; `wait` waits for success."""
        if self._thread is None:
            self._stopping = False
            self._thread = threading.Thread(target=self._run, name="lbcore-registration", daemon=True)
            self._thread.start()
        return self

    def stop(self) -> None:
        """End the heartbeats and deregister: the balancer drains this backend."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        thread.join()
        if self._registered.is_set():
            self._registered.clear()
            self._say_goodbye()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the balancer has taken the registration; False when the seconds ran out."""
        return self._registered.wait(timeout)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(self, *_: object) -> None:
        import asyncio

        await asyncio.to_thread(self.stop)

    # --- what this backend says of itself ------------------------------------------------------------------------

    def busy(self, for_s: float) -> None:
        """Ask for no new sessions for so many seconds, without being taken for dead."""
        self._say("busy", for_s)

    def ready(self) -> None:
        """Ask for sessions again."""
        self._say("ready", None)

    def draining(self) -> None:
        """Ask for no new sessions from now on."""
        self._say("draining", None)

    def _say(self, status: str, for_s: float | None) -> None:
        until = None if for_s is None else time.monotonic() + for_s
        with self._wake:
            self._status = (status, until)
            self._again = True
            self._wake.notify_all()

    def _body(self, ordinary: str) -> dict[str, Any]:
        status, until = self._status
        body: dict[str, Any] = {"server_ip": self._server_ip, "status": status, **self._fixed}
        if status == "busy" and until is not None:
            body["for_s"] = max(0.0, until - time.monotonic())
            if body["for_s"] == 0:
                self._status, body["status"] = ("ready", None), "ready"
        if body["status"] == "ready":
            body["status"] = ordinary
        if self._load is not None:
            body["load"] = self._measure()
        return {key: value for key, value in body.items() if value is not None}

    def _measure(self) -> float | None:
        """The caller's load; a load function that fails says nothing."""
        assert self._load is not None
        try:
            load = self._load()
        except Exception as error:
            self._log(f"registration: load failed: {error!r}")
            return None
        return None if load is None else min(1.0, max(0.0, float(load)))

    # --- the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._stopping:
            try:
                self._beat() if self._registered.is_set() else self._register()
            except (OSError, LbcoreError) as error:
                self._log(f"registration: {error}")
                self._sleep(pause_s * random.uniform(0.5, 1.5))
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                continue
            pause_s = FIRST_PAUSE_S
            if self._registered.is_set():
                self._sleep((self._interval or self._told_s) * random.uniform(1 - JITTER, 1))

    def _sleep(self, seconds: float) -> None:
        with self._wake:
            self._wake.wait_for(lambda: self._stopping or self._again, seconds)
            self._again = False

    def _register(self) -> None:
        if self._server_ip is None:
            self._server_ip = self._client.own_address()
        status, answer = self._client.call("POST", "/register", self._body("ready"))
        if status not in (200, 201):
            raise RegistrationRefused(status, str(answer.get("error", "")))
        self._take(answer)
        self._registered.set()

    def _beat(self) -> None:
        status, answer = self._client.call("POST", "/heartbeat", self._body("alive"))
        if status == 404:
            self._registered.clear()  # it restarted, or the lease ran out: register at once
        elif status == 200:
            self._take(answer)
        else:
            raise RegistrationRefused(status, str(answer.get("error", "")))

    def _take(self, answer: dict[str, Any]) -> None:
        self.answer = answer
        told = answer.get("heartbeat_s")
        if isinstance(told, int | float) and told > 0:
            self._told_s = float(told)

    def _say_goodbye(self) -> None:
        body = {key: self._fixed[key] for key in ("port", "pool")} | {"server_ip": self._server_ip}
        try:
            self._client.call("POST", "/deregister", {key: value for key, value in body.items() if value is not None})
        except OSError as error:
            self._log(f"registration: not deregistered: {error}")
