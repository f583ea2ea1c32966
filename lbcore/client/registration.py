"""The backend's side: register with balancers, send heartbeats, say goodbye. Standard library only.

    with lbcore.Registration(lb="http://127.0.0.1:9900", port=8000):
        serve()

In an ASGI lifespan, `async with lbcore.Registration(...)` does the same without blocking the loop.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import re
import threading
import time

from lbcore import forked
from lbcore.backoff import Backoff
from lbcore.client.admin_client import AdminClient as AdminClient
from lbcore.errors import ConfigError, LbcoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Self

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
JITTER = 0.1
MOST_BALANCERS = 16
TOLD_AGAIN_S = 3600.0
"""After so long what still fails is told again."""
MOST_CAPACITY, MOST_IN_FLIGHT = 1e6, 10_000_000
_INSTANCE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
GOODBYE_S = 5.0
"""How long all goodbyes may take together."""


class RegistrationRefused(LbcoreError):
    """The balancer answered that it will not have this backend. status: of HTTP."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(f"the balancer refused the registration: {error} (status {status})")
        self.status = status


class _Link:
    """The registration with one balancer, in a thread of its own: one that is dead or slow holds up no other."""

    def __init__(self, owner: Registration, client: AdminClient) -> None:
        self._owner = owner
        self._client = client
        self._server_ip = owner.server_ip
        self._told_s = 5.0
        self._seq = time.time_ns() // 1000
        self._fault, self._told_again_at = "", 0.0
        self._again = False
        self._thread: threading.Thread | None = None
        self.registered = threading.Event()
        self.answer: dict[str, Any] = {}

    @property
    def lb(self) -> str:
        """The balancer's address."""
        return self._client.lb

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name="lbcore-registration", daemon=True)
        self._thread.start()

    @property
    def is_here(self) -> bool:
        """Is it this link's thread that asks?"""
        return self._thread is threading.current_thread()

    def join(self) -> None:
        """Wait until no more is sent."""
        if self._thread is not None:
            self._thread.join()

    def _tell(self, fault: str) -> None:
        """It goes wrong like this; "": it does not any more. Said once until it changes, or an hour has passed."""
        now = time.monotonic()
        if fault and (fault != self._fault or now >= self._told_again_at):
            self._told_again_at = now + TOLD_AGAIN_S
            self._owner.tell(f"registration with {self.lb}: {fault}", good=False)
        elif self._fault and not fault:
            self._owner.tell(f"registration with {self.lb}: registered", good=True)
        self._fault = fault

    def close(self) -> None:
        """After the last call."""
        self.registered.clear()
        self._client.close()

    def forget(self) -> None:
        """In a forked child: let the connection go, which is its parent's."""
        self._client.close()

    def hurry(self) -> None:
        """There is something new to say. Called with the owner's condition held."""
        self._again = True

    def _run(self) -> None:
        backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        while self._owner.goes_on():
            try:
                self._beat() if self.registered.is_set() else self._register()
            except Exception as error:  # whatever answers at that address, this thread goes on
                self._tell(str(error) if isinstance(error, OSError | LbcoreError) else f"no valid response: {error!r}")
                if isinstance(error, RegistrationRefused) and error.status < 500:
                    backoff.lengthen()  # asking again at once would change nothing
                self._sleep(backoff.next())
                continue
            self._tell("")
            backoff.begin_anew()
            if self.registered.is_set():
                self._sleep((self._owner.interval or self._told_s) * random.uniform(1 - JITTER, 1))

    def _sleep(self, seconds: float) -> None:
        with self._owner.wake:
            self._owner.wake.wait_for(lambda: self._again or not self._owner.goes_on(), seconds)
            self._again = False

    def _body(self, ordinary: str) -> dict[str, Any]:
        self._seq += 1
        return {"server_ip": self._server_ip, "seq": self._seq, **self._owner.report(ordinary), **self._owner.identity}

    def _register(self) -> None:
        if self._server_ip is None:
            self._server_ip = self._client.own_address()
        status, answer = self._client.call("POST", "/register", self._body("ready"))
        if status not in (200, 201):
            raise RegistrationRefused(status, str(answer.get("error", "")))
        if "heartbeat_s" not in answer:
            raise LbcoreError("the server there is not a balancer")
        self._take(answer)
        self.registered.set()
        self._owner.was_taken()

    def _beat(self) -> None:
        status, answer = self._client.call("POST", "/heartbeat", self._body("alive"))
        if status == 404:
            self.registered.clear()  # it restarted, or the lease ran out: register at once
        elif status == 200:
            self._take(answer)
        else:
            raise RegistrationRefused(status, str(answer.get("error", "")))

    def _take(self, answer: dict[str, Any]) -> None:
        self.answer = self._owner.answer = answer
        told = answer.get("heartbeat_s")
        if isinstance(told, int | float) and told > 0:
            self._told_s = float(told)

    def say_goodbye(self) -> int:
        """Deregister: how many sessions and exchanges this backend still has from there."""
        if not self.registered.is_set():
            return 0
        body = {"server_ip": self._server_ip, **self._owner.place(), **self._owner.identity}
        try:
            status, answer = self._client.call("POST", "/deregister", body)
        except OSError as error:
            self._tell(f"not deregistered: {error}")
            return 0
        if status != 200 or answer.get("instances"):  # others serve at this address, and what is active there may be theirs
            return 0
        return int(answer.get("active", 0))


class Registration:
    """Keeps this host registered with one balancer or several, from `start()` to `stop()`. A context manager, plain and async.

    lb: "http://HOST:PORT" or "unix:PATH" of an admin server, or a list of at most 16. port: where this backend serves;
    None: the pool's lease.port. interval: seconds between heartbeats; default: what each balancer asks for. load: called
    for each heartbeat; returns 0..1, or None for unknown. in_flight: likewise; requests that are under way here, wherever
    they came from. weight 0..256 or capacity (> 0, becomes the weight), or functions that return them. backup: it takes
    sessions only while no other backend can. server_ip: default: the address under which the balancer sees this host. token,
    hmac_key: for admin servers that ask for them. instance: which of the processes at this address this one is; default: a name
    of its own. The address serves while one of them beats, what they report adds up, and the last one's leaving drains it. log:
    called with each line instead of the logger "lbcore.registration".

    A balancer that cannot be reached is tried again, with growing backoff; one that has forgotten this backend (it restarted)
    gets a new registration at once. Nothing that happens here ever ends the program around it; what fails is logged once. A
    child of a fork is not registered, since it is its parent that beats: it may `start()` a registration of its own.
    """

    def __init__(
        self,
        lb: str | Sequence[str],
        port: int | None = None,
        *,
        pool: str | None = None,
        interval: float | None = None,
        load: Callable[[], float | None] | None = None,
        in_flight: Callable[[], int | None] | None = None,
        weight: int | Callable[[], int | None] | None = None,
        capacity: float | Callable[[], float | None] | None = None,
        backup: bool = False,
        server_ip: str | None = None,
        token: str | None = None,
        hmac_key: str | bytes | None = None,
        instance: str | None = None,
        log: Callable[[str], None] | None = None,
    ) -> None:
        """Raises ConfigError."""
        if port is not None and not 1 <= port <= 65_535:
            raise ConfigError(f"port: {port!r} is not allowed (allowed: a whole number from 1 to 65535)")
        if interval is not None and interval <= 0:
            raise ConfigError(f"interval: {interval!r} is not allowed (allowed: seconds, more than 0)")
        addresses = [lb] if isinstance(lb, str) else list(lb)
        if not 1 <= len(addresses) <= MOST_BALANCERS or len(set(addresses)) < len(addresses):
            raise ConfigError(f"lb: {addresses!r} is not allowed (allowed: 1 to {MOST_BALANCERS} different addresses)")
        self.interval: float | None = interval
        self.server_ip: str | None = server_ip
        if instance is not None and not _INSTANCE.fullmatch(instance):
            raise ConfigError(f"instance: {instance!r} is not allowed (allowed: 1 to 64 letters, digits, . _ and -)")
        self._log, self._named = log, instance
        self.answer: dict[str, Any] = {}
        """The last response of any balancer: id, address, pool, generation, heartbeat_s, lease_s, state."""
        self._place = {"port": port, "pool": pool, "backup": True if backup else None}
        self._figures = {"weight": weight, "capacity": capacity, "load": load, "in_flight": in_flight}
        self._status: tuple[str, float | None] = ("ready", None)
        self._addresses, self._token, self._hmac_key = addresses, token, hmac_key
        self._begin()
        forked.watch(self)

    def _begin(self) -> None:
        """As it is before the first start, in this process."""
        self.wake: threading.Condition = threading.Condition()
        self._life = threading.RLock()  # start and stop, whoever calls them
        self.identity: dict[str, str] = {"instance": self._named or os.urandom(8).hex()}
        self._faults: dict[str, str] = {}
        clients = (AdminClient(address, self._token, hmac_key=self._hmac_key, keep=True) for address in self._addresses)
        self._links = [_Link(self, client) for client in clients]
        self._pid = os.getpid()
        self._running = False

    def disown(self) -> None:
        """This is a forked child: what was registered is its parent."""
        for link in self._links:
            link.forget()
        self._begin()

    # --- life ----------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Begin to register, in a thread a balancer. Returns at once; `wait` waits for success."""
        if self._pid != os.getpid():
            self._begin()
        with self._life:
            if not self._running:
                self._running = True
                for link in self._links:
                    link.start()
        return self

    def stop(self, *, drain_timeout: float = 0.0) -> bool:
        """End the heartbeats and deregister everywhere: the balancers drain this backend.

        drain_timeout: wait so many seconds at most until no session is left. Returns whether none is, as far as is known.
        Called by a function that measures a load, it only ends the heartbeats: the lease runs out.
        """
        if self._pid != os.getpid():
            return True
        if any(link.is_here for link in self._links):
            self._end_beats()
            return False
        deadline = time.monotonic() + drain_timeout
        with self._life:
            if not self._running:
                return True
            self._end_beats()
            for link in self._links:
                link.join()
            left = self._say_goodbye()
        while left and time.monotonic() < deadline:  # not with the lock: others need not wait for the drain
            time.sleep(0.1)
            with self._life:
                if self._running:
                    return False
                left = self._say_goodbye()
        with self._life:
            for link in self._links if not self._running else ():
                link.close()
        return not left

    def _end_beats(self) -> None:
        with self.wake:
            self._running = False
            self.wake.notify_all()

    def _say_goodbye(self) -> int:
        """To all at once: how many sessions are left."""
        left: list[int] = []
        threads = [
            threading.Thread(target=lambda link=link: left.append(link.say_goodbye()), daemon=True) for link in self._links
        ]
        deadline = time.monotonic() + GOODBYE_S
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return sum(left)

    def wait(self, timeout: float | None = None, *, all: bool = False) -> bool:
        """Wait until a balancer has taken the registration, or until all have; False when the seconds ran out."""
        with self.wake:
            return self.wake.wait_for(lambda: self._is_registered(all=all), timeout)

    def _is_registered(self, *, all: bool) -> bool:
        taken = [link.registered.is_set() for link in self._links]
        return False not in taken if all else True in taken

    @property
    def answers(self) -> dict[str, dict[str, Any]]:
        """The last response of each balancer, by its address."""
        return {link.lb: link.answer for link in self._links}

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

    def starting(self) -> None:
        """Ask for no sessions yet."""
        self._say("starting", None)

    def draining(self) -> None:
        """Ask for no new sessions from now on."""
        self._say("draining", None)

    def _say(self, status: str, for_s: float | None) -> None:
        until = None if for_s is None else time.monotonic() + for_s
        with self.wake:
            if self._status[0] == status and until is None:
                return
            self._status = (status, until)
            for link in self._links:
                link.hurry()
            self.wake.notify_all()

    # --- for the links -------------------------------------------------------------------------------------------

    def goes_on(self) -> bool:
        """Are heartbeats to be sent?"""
        return self._running

    def was_taken(self) -> None:
        """A balancer has taken the registration."""
        with self.wake:
            self.wake.notify_all()

    def place(self) -> dict[str, Any]:
        """Which backend this is, beside its address."""
        return {key: value for key, value in self._place.items() if value is not None}

    def report(self, ordinary: str) -> dict[str, Any]:
        """The state to send now. ordinary: how "ready" is said in this call."""
        status, until = self._status
        body: dict[str, Any] = {"status": status, **self.place()}
        if until is not None:
            body["for_s"] = max(0.0, until - time.monotonic())
            if body["for_s"] == 0:
                self._status, body["status"] = ("ready", None), "ready"
        if body["status"] == "ready":
            body["status"] = ordinary
        body |= {name: self._measure(name, figure) for name, figure in self._figures.items()}
        return {key: value for key, value in body.items() if value is not None}

    def _measure(self, name: str, figure: Any) -> float | int | None:
        """A figure as it is, or as its function says; one that fails or says what makes no sense is unknown."""
        try:
            value = figure() if callable(figure) else figure
            found = None if value is None else _FIGURES[name](value)
        except BaseException as error:  # CancelledError and SystemExit, too: the thread goes on
            self._complain(name, f"{name} failed: {error!r}")
            return None
        self._complain(name, "" if value is None or found is not None else f"{name}: {value!r} is taken for unknown")
        return found

    def _complain(self, name: str, fault: str) -> None:
        if fault != self._faults.get(name, "") and fault:
            self.tell(f"registration: {fault}", good=False)
        self._faults[name] = fault

    def tell(self, line: str, *, good: bool) -> None:
        """To the log. A log that fails ends nothing."""
        with contextlib.suppress(Exception):
            if self._log is not None:
                self._log(line)
            else:
                import logging

                logging.getLogger("lbcore.registration").log(logging.INFO if good else logging.WARNING, "%s", line)


def _number(value: Any) -> float | None:
    """A number that says something; None: text, a truth value, NaN, an infinity, or less than 0."""
    if isinstance(value, str | bytes | bytearray | bool):
        return None
    number = float(value)
    return number if math.isfinite(number) and number >= 0 else None


def _share(value: Any) -> float | None:
    number = _number(value)
    return None if number is None else min(1.0, number)


def _positive(value: Any) -> float | None:
    number = _number(value)
    return min(number, MOST_CAPACITY) if number else None


def _count(value: Any, most: int) -> int | None:
    number = _number(value)
    return None if number is None else min(most, int(number))


_FIGURES: dict[str, Callable[[Any], float | int | None]] = {
    "load": _share,
    "capacity": _positive,
    "weight": lambda value: _count(value, 256),
    "in_flight": lambda value: _count(value, MOST_IN_FLIGHT),
}
