"""The address of a host that was named."""

from __future__ import annotations

import functools
import signal
import socket
import threading
import time
from typing import NamedTuple, TypeVar

from lbcore.config.settings import is_unix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Name = TypeVar("Name")
Answer = TypeVar("Answer")

LIMIT_S = 10.0
"""How long a reload waits for names."""
MOST_AT_ONCE = 64
LOOK_S = 0.1
"""How often a wait for names looks whether it is over."""


class Resolved(NamedTuple):
    """An address. ip: of a unix socket, "unix:/PATH". all_ips: of a name, all that it means, this one among them."""

    family: int
    ip: str
    scope: int
    all_ips: tuple[str, ...] = ()


UNRESOLVED = Resolved(int(socket.AF_INET), "255.255.255.255", 0)
"""Where a backend stands whose name has no address: no connection there can succeed (RFC 919 7)."""


def resolve(host: str, port: int) -> Resolved:
    """The first address of a host, IPv4 before IPv6. May take seconds. Raises ValueError if it has none."""
    if literal := _literal(host):
        return literal
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ValueError(f"{host}: cannot be resolved: {getattr(error, 'strerror', None) or error}") from None
    family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    scope = int(address[3]) if len(address) == 4 else 0
    ips = [str(entry[4][0]).partition("%")[0] for entry in found]
    return Resolved(int(family), str(address[0]).partition("%")[0], scope, tuple(dict.fromkeys(ips)))


def resolve_all(
    hosts: Iterable[tuple[str, int]], is_over: Callable[[], bool] = lambda: False, limit_s: float = LIMIT_S
) -> dict[tuple[str, int], Resolved | ValueError]:
    """Likewise of many (host, port), all at once: what each has, or why it has none.

    Takes limit_s seconds at most, and ends when is_over().
    """
    found: dict[tuple[str, int], Resolved | ValueError] = {}
    names = []
    for key in dict.fromkeys(hosts):
        if is_literal(key[0]):
            found[key] = _try_resolve(*key)
        else:
            names.append(key)
    return found | all_at_once(names, lambda key: resolve(*key), is_over, limit_s)


@functools.lru_cache(65_536)
def is_literal(host: str) -> bool:
    """Is it an address itself, and no name?"""
    if _literal(host):
        return True
    try:
        socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
    except OSError:
        return False
    return True


def _literal(host: str) -> Resolved | None:
    """An address in its ordinary form, as getaddrinfo would find it, or a unix socket; None: what else it may be, getaddrinfo
    says."""
    if is_unix(host):
        return Resolved(int(socket.AF_UNIX), host, 0, (host,))
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            ip = socket.inet_ntop(family, socket.inet_pton(family, host))
        except (OSError, ValueError):
            continue
        return Resolved(int(family), ip, 0, (ip,))
    return None


def _try_resolve(host: str, port: int) -> Resolved | ValueError:
    try:
        return resolve(host, port)
    except ValueError as error:
        return error


def all_at_once(
    names: list[Name], ask: Callable[[Name], Answer], is_over: Callable[[], bool] = lambda: False, limit_s: float = LIMIT_S
) -> dict[Name, Answer | ValueError]:
    """What `ask` answers of each, or the ValueError that it raises; it waits for name servers.

    On threads of its own: getaddrinfo cannot be given a time limit, so a thread may outlive who asked.
    """
    if not names:
        return {}
    found: dict[Name, Answer | ValueError] = {}
    waiting, heard = list(reversed(names)), threading.Condition()

    def work() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are for threads that stay
        while True:
            with heard:
                if not waiting:
                    return
                key = waiting.pop()
            answer: Answer | ValueError
            try:
                answer = ask(key)
            except ValueError as error:
                answer = error
            with heard:
                found[key] = answer
                heard.notify()

    for _ in range(min(len(names), MOST_AT_ONCE)):
        threading.Thread(target=work, name="lbcore-resolve", daemon=True).start()
    with heard:
        deadline = time.monotonic() + limit_s
        while len(found) < len(names) and time.monotonic() < deadline and not is_over():
            heard.wait(min(LOOK_S, limit_s))
        waiting.clear()
        late = ValueError(f"no name server replied within {limit_s:g} s")
        return {key: found.get(key, late) for key in names}
