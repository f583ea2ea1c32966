"""lbcore ready: whether clients should be sent to a balancer, as an exit status, for check scripts.

Check scripts run every second, so the whole command takes less than 50 ms: it imports neither typer nor anything else that it
can do without (of the socket module, only the part that is in C). Whatever goes wrong means "not ready".
"""

from __future__ import annotations

import _socket
import _thread
import os
import sys

from lbcore.control import homes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

TIMEOUT_S = 0.5
"""Of the whole command. keepalived calls a script every second unless told otherwise, and gives it as long."""
MOST_BYTES = 1 << 16
_VALUED = {"--name": "name", "--admin": "admin", "--timeout": "timeout"}


class NotReady(Exception):
    """Clients should not be sent there; its text says why."""


def main(name: str | None = None, admin: str | None = None, timeout_s: float = TIMEOUT_S, *, quiet: bool = False) -> int:
    """0: ready, 1: not ready, and one line says why. Raises ConfigError when admin is no address.

    name: of a balancer of this host; None: the only one. admin: "HOST:PORT", "http://HOST:PORT" or "unix:PATH" of an admin
    server instead. timeout_s: for all of it, the resolution of a host's name included.
    """
    place = _place(admin) if admin is not None else None
    if admin is not None and place is None:
        from lbcore.errors import ConfigError

        raise ConfigError(f"--admin: {admin!r} is not allowed (allowed: HOST:PORT, http://HOST:PORT or unix:PATH)")
    lack = _lack_within(name, place, timeout_s)
    if not quiet:
        print(f"lbcore: not ready: {lack}" if lack else "ready", file=sys.stderr if lack else sys.stdout)
    return 1 if lack else 0


def quickly(arguments: Sequence[str]) -> int | None:
    """The exit code of `lbcore ready ARGUMENTS`, or None: they are not in plain form, and the command line as a whole sees to
    them (help, completion, faults)."""
    said: dict[str, str] = {}
    quiet = False
    words = list(arguments)
    while words:
        word = words.pop(0)
        key, given, value = word.partition("=")
        if word in ("--quiet", "-q"):
            quiet = True
            continue
        if key in _VALUED and (given or words):
            value = value if given else words.pop(0)
            key = _VALUED[key]
        elif word.startswith("-") or not word:
            return None
        else:
            key, value = "name", word
        if not value or value.startswith("-") or key in said:
            return None
        said[key] = value
    try:
        timeout_s = float(said.get("timeout", TIMEOUT_S))
    except ValueError:
        return None
    if not 0.01 <= timeout_s <= 60 or ("name" in said and "admin" in said) or "_LBCORE_COMPLETE" in os.environ:
        return None
    if "admin" in said and _place(said["admin"]) is None:
        return None
    return main(said.get("name"), said.get("admin"), timeout_s, quiet=quiet)


def _lack_within(name: str | None, place: tuple[str, int | None] | None, timeout_s: float) -> str:
    """Why it is not ready, or "". Asked in a thread: the time is kept even while a name server does not respond."""
    done = _thread.allocate_lock()
    done.acquire()
    lacks: list[str] = []

    def ask() -> None:
        try:
            _ask(*(place or (_control_socket(name), None)))
            lacks.append("")
        except NotReady as reason:
            lacks.append(str(reason))
        except OSError as error:
            lacks.append(f"the admin server does not respond: {error.strerror or error}")
        except Exception as error:
            lacks.append(repr(error))
        finally:
            done.release()

    try:
        _thread.start_new_thread(ask, ())
    except RuntimeError as error:
        return str(error)
    if not done.acquire(timeout=timeout_s):
        return f"no response within {timeout_s:g} s"
    return lacks[0] if lacks else "no response"


def _place(admin: str) -> tuple[str, int | None] | None:
    """(host, port) of an admin server, or (path, None) of its unix socket; None: it is no such address."""
    if admin.startswith("unix:"):
        path = admin.removeprefix("unix:")
        return (path, None) if path else None
    host, _, digits = admin.removeprefix("http://").removesuffix("/").rpartition(":")
    port = int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 5 else 0
    if not host or "/" in host or not 0 < port < 1 << 16:
        return None
    return host.removeprefix("[").removesuffix("]"), port


def _control_socket(name: str | None) -> str:
    """The path of a balancer's control socket. Names of balancers that ended without a word count too: which one is meant
    cannot be told from which one is left."""
    found: dict[str, str] = {}
    for home in homes.homes():
        if _is_trusted(home):
            for file in sorted(os.listdir(home)):
                if file.endswith(".sock"):
                    found.setdefault(file.removesuffix(".sock"), os.path.join(home, file))
    if name is not None:
        if name not in found:
            raise NotReady(f"no balancer named {name!r} is running")
        return found[name]
    if not found:
        raise NotReady("no balancer is running")
    if len(found) > 1:
        raise NotReady(f"several balancers have a control socket here: name one of {', '.join(sorted(found))}")
    return next(iter(found.values()))


def _is_trusted(home: str) -> bool:
    """Can nobody but its owner, us and root have made this directory what it is? /tmp is everybody's."""
    try:
        own, above = os.lstat(home), os.stat(os.path.dirname(os.path.abspath(home)))
    except OSError:
        return False
    return own.st_uid in (0, os.geteuid()) or not above.st_mode & 0o002


def _ask(host: str, port: int | None) -> None:
    """Raises NotReady or OSError unless an admin server says that it is ready, in so many words."""
    client = _connect(host, port)
    try:
        client.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b""
        while len(answer) <= MOST_BYTES and (more := client.recv(MOST_BYTES)):
            answer += more
    finally:
        client.close()
    _judge(answer)


def _connect(host: str, port: int | None) -> _socket.socket:
    """A connection to an admin server. Raises OSError."""
    if port is None:
        client = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        client.connect(host)
        return client
    failed: OSError | None = None
    for family, kind, protocol, _, address in _socket.getaddrinfo(host, port, 0, _socket.SOCK_STREAM):
        client = _socket.socket(family, kind, protocol)
        try:
            client.connect(address)
        except OSError as error:
            client.close()
            failed = error
        else:
            return client
    raise failed or NotReady(f"{host} has no address")


def _judge(answer: bytes) -> None:
    """Raises NotReady unless this is a whole response of an admin server that is ready."""
    import json

    if not answer:
        raise NotReady("the admin server closed the connection without a response")
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b"\r\n", 1)[0].split(b" ")
    if len(status) < 3 or not status[0].startswith(b"HTTP/1.") or len(status[1]) != 3 or not status[1].isdigit():
        raise NotReady("what listens there is no admin server")
    try:
        said = json.loads(body)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise NotReady(f"what listens there is no admin server, or its response was cut short (status {status[1].decode()})")
    if status[1] != b"200" or said.get("ready") is not True:
        raise NotReady(str(said.get("reason") or said.get("error") or f"status {status[1].decode()}"))
