"""Calls of a balancer's admin server. Standard library only: backends use it too."""

from __future__ import annotations

import http.client
import json
import socket
from urllib.parse import urlsplit

from lbcore.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CALL_LIMIT_S = 5.0


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
    """Calls an admin server. lb: "http://HOST:PORT" or "unix:PATH". One connection a call; safe from several threads.

    token: shown with each call. hmac_key: signs each POST (see lbcore.client.signature). keep: the connection serves the next
    call too. All calls must then come from one thread at a time; `close` ends the connection.
    """

    def __init__(
        self,
        lb: str,
        token: str | None = None,
        timeout: float = CALL_LIMIT_S,
        *,
        hmac_key: str | bytes | None = None,
        keep: bool = False,
    ) -> None:
        """Raises ConfigError when lb is no such address."""
        self.lb = lb
        self._keep = keep
        self._kept: http.client.HTTPConnection | None = None
        self._token = token
        self._hmac_key = hmac_key
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
        """(status, response). Raises OSError when the balancer cannot be reached or speaks no HTTP.

        A call over a kept connection that turns out to be closed is made again over a new one: it must do no harm twice.
        """
        data = b"" if body is None else json.dumps(body).encode()
        kept, self._kept = self._kept, None
        if kept is not None:
            try:
                return self._call_over(kept, method, path, data)
            except TimeoutError:
                raise
            except OSError:
                pass
        return self._call_over(self._connect(), method, path, data)

    def close(self) -> None:
        """End the kept connection, if there is one."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()

    def _call_over(
        self, connection: http.client.HTTPConnection, method: str, path: str, data: bytes
    ) -> tuple[int, dict[str, Any]]:
        try:
            connection.request(method, path, data or None, self._fields(method, path, data))
            answer = connection.getresponse()
            text = answer.read(1 << 24)
            if self._keep and connection.sock is not None:
                self._kept = connection
        except http.client.HTTPException as error:
            raise OSError(f"{self.lb}: no HTTP response: {error!r}") from None
        finally:
            if self._kept is not connection:
                connection.close()
        try:
            value = json.loads(text)
        except ValueError:
            value = {}
        return answer.status, value if isinstance(value, dict) else {}

    def _fields(self, method: str, path: str, data: bytes) -> dict[str, str]:
        fields = {"Content-Type": "application/json"}
        if self._token:
            fields["Authorization"] = f"Bearer {self._token}"
        if self._hmac_key is not None:
            from lbcore.client import signature

            fields |= signature.headers(self._hmac_key, method, path, data)
        return fields
