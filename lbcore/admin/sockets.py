"""The listening sockets of the admin server: TCP, and unix sockets that nobody else can connect to."""

from __future__ import annotations

import contextlib
import errno
import os
import socket

from lbcore.config.settings import join_host_port, split_host_port
from lbcore.control.socket_files import remove_stale
from lbcore.control.sockets import address_to_bind
from lbcore.errors import ConfigError, LbcoreError, PortTaken


class AdminSockets:
    """Those that are bound, until `close()`."""

    def __init__(self) -> None:
        self.bound: list[socket.socket] = []
        self._paths: list[str] = []

    def bind(self, listen: str) -> str:
        """Listen at "HOST:PORT" or "unix:PATH"; where it really is, "http://HOST:PORT" or "unix:PATH".

        Raises PortTaken or ConfigError.
        """
        try:
            if listen.startswith("unix:"):
                self._bind_unix(listen.removeprefix("unix:"))
                return listen
            return self._bind_tcp(*split_host_port(listen))
        except OSError as error:
            raise _explain(listen, error) from None

    def close(self) -> None:
        """Close all, and remove the unix sockets' files."""
        for bound in self.bound:
            with contextlib.suppress(OSError):  # a child that was forked has a copy, which is not to hold the port
                bound.shutdown(socket.SHUT_RDWR)
            bound.close()
        for path in self._paths:
            with contextlib.suppress(OSError):
                os.unlink(path)
        self.bound, self._paths = [], []

    def disown(self) -> None:
        """In a forked child: close its copies. The files are the parent's."""
        for bound in self.bound:
            bound.close()
        self.bound, self._paths = [], []

    def _bind_tcp(self, host: str, port: int) -> str:
        family, address = address_to_bind(host, port, socket.SOCK_STREAM)
        bound = socket.socket(family, socket.SOCK_STREAM)
        self.bound.append(bound)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(1024)
        real = bound.getsockname()
        return f"http://{join_host_port(real[0], real[1])}"

    def _bind_unix(self, path: str) -> None:
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.bound.append(bound)
        remove_stale(path)
        bound.bind(path)
        self._paths.append(path)
        os.chmod(path, 0o600)  # before anybody can connect
        bound.listen(256)


def _explain(listen: str, error: OSError) -> LbcoreError:
    if error.errno == errno.EADDRINUSE:
        return PortTaken(f"admin.listen: {listen}: the address is in use")
    return ConfigError(f"admin.listen: {listen}: {error.strerror or error}")
