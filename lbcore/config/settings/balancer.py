"""A balancer as a whole."""

from __future__ import annotations

from lbcore.config import options
from lbcore.config.option import slots
from lbcore.config.secret import Secret
from lbcore.config.settings.acme import AcmeSettings
from lbcore.config.settings.addresses import HTTP_MODES, ROUTED_MODES, is_unix
from lbcore.config.settings.admin import AdminSettings, admin_of
from lbcore.config.settings.auth_request import OFF
from lbcore.config.settings.base import Settings
from lbcore.config.settings.cluster import ClusterSettings
from lbcore.config.settings.edits import KEYS
from lbcore.config.settings.health import ProbeSettings
from lbcore.config.settings.json_match import key_faults
from lbcore.config.settings.listener import ANSWERS, OF_REQUESTS, ListenerSettings, RouteSettings
from lbcore.config.settings.log_fields import log_faults
from lbcore.config.settings.loops import loop_faults
from lbcore.config.settings.pool import DEFAULT_POOL, BackendSettings, PoolSettings
from lbcore.config.settings.sticky import plain_faults, shared_faults
from lbcore.config.settings.tls import CertificateSettings
from lbcore.config.settings.unix_sockets import unix_faults
from lbcore.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from lbcore.config.settings.access import Guarded


TAKES_RESTART = (*(option.name for option in options.TOP if option.restart), "acme", "admin", "cluster")
"""What a reload does not change."""


class BalancerSettings(Settings):
    """All of a balancer. path: the file it came from, or None."""

    OPTIONS = options.TOP
    __slots__ = slots(options.TOP, "acme", "admin", "admin_said", "cluster", "listeners", "path", "pools", "routes")

    name: str
    workers: int | None
    datapath: str
    loop: str
    offload_local: bool
    worker_timeout_ms: int
    drain_timeout_ms: int
    drain_delay_ms: int
    ready_when: str
    state_file: str | None
    access_log: str
    access_log_format: str
    access_log_fields: list[str] | None
    access_log_sample: int
    traces: str
    trace_sample: int
    max_sessions: int
    max_backends: int
    max_handshakes: int
    ticket_rotation_ms: int
    user: str | None
    group: str | None
    seccomp: str
    pin: bool
    log_format: str
    listeners: list[ListenerSettings]
    pools: list[PoolSettings]
    routes: list[RouteSettings]
    admin: AdminSettings | None
    cluster: ClusterSettings | None
    acme: AcmeSettings | None
    admin_said: bool
    """Does a file or a caller say where the admin server listens, or that there is none? Else `lbcore run` has its default."""
    path: str | None

    @property
    def offloads(self) -> bool:
        """Is the kernel to forward any sessions?"""
        return self.datapath == "offload" or self.offload_local

    @property
    def edited(self) -> list[ListenerSettings | PoolSettings]:
        """Listeners and pools that change the headers of their requests or responses."""
        listeners = [entry for entry in self.listeners if entry.hsts or any(getattr(entry, key) for key in KEYS)]
        return [*listeners, *(pool for pool in self.pools if any(getattr(pool, key) for key in KEYS))]

    def take(self, values: dict[str, Any]) -> Iterable[str]:
        self.listeners = list(values.pop("listeners", ()))
        self.pools = list(values.pop("pools", ())) or [PoolSettings(name=DEFAULT_POOL)]
        self.routes = list(values.pop("routes", ()))
        self.admin = values.pop("admin", None)
        self.admin_said = bool(values.pop("admin_said", True))
        self.cluster = values.pop("cluster", None)
        self.acme = values.pop("acme", None)
        self.path = values.pop("path", None)
        return ()

    def check(self) -> Iterable[str]:
        pools = [pool.name for pool in self.pools]
        yield from _twice("pool", pools)
        named = (self._named(index, listener) for index, listener in enumerate(self.listeners, 1))
        self.listeners = [listener for several in named for listener in several.each()]
        for listener in self.listeners:
            listener.v6_only = any(_shares_port(listener, other) for other in self.listeners)
        self.pools = [self._probed(pool) for pool in self.pools]
        names = [str(listener.name) for listener in self.listeners]
        yield from _twice("listener", names)
        yield from _twice("bind", [entry.url for entry in self.listeners if entry.port or is_unix(entry.host)])
        yield from self._route_faults(pools)
        yield from self._header_faults()
        yield from self._request_faults()
        yield from self._cookie_faults()
        yield from self._datagram_faults()
        yield from loop_faults(self.listeners, self.routes, self.pools)
        yield from unix_faults(self.listeners, self.pools)
        yield from log_faults(self.access_log_format, self.access_log_fields)
        for pool in self.pools:
            if pool.initial == "down" and pool.probe.kind == "off":
                yield f"pool {pool.name}: initial: 'down' requires probes (probe.kind is off: nothing would bring a backend up)"
        yield from self._acme_faults()
        if self.cluster is not None:
            yield from self.cluster.lease_faults(self.pools)
        if self.group is not None and self.user is None:
            yield "group: requires user"
        if self.traces != "off" and not self.traces.startswith(("http://", "https://")):
            yield f"traces: {self.traces!r} is not allowed (allowed: off, http://HOST:PORT/PATH, https://HOST:PORT/PATH)"
        for listener in self.listeners:
            if listener.pool is None and self._is_routed(listener):
                continue
            yield from _auth_faults(f"listener {listener.name}: auth_request", listener, self.pools)
            if listener.pool not in pools:
                yield (f"listener {listener.name}: pool {listener.pool!r} is unknown (known: {', '.join(pools)})")
        for kind, found, most in (("listeners", names, 64), ("pools", pools, 256)):
            if len(found) > most:
                yield f"{kind}: {len(found)} are too many (allowed: at most {most})"
        count = sum(len(pool.backends) for pool in self.pools)
        if count > self.max_backends:
            yield f"max_backends: {self.max_backends} is less than the {count} backends that are named"

    def restarts_for(self, fresh: BalancerSettings) -> list[str]:
        """Why these cannot become others while it runs, a line for each key that requires a restart."""
        return [
            line
            for key in TAKES_RESTART
            if getattr(fresh, key) != getattr(self, key)
            for line in _restarts(key, getattr(self, key), getattr(fresh, key))
        ]

    def advice(self) -> list[str]:
        """Of all its parts, too."""
        parts: list[tuple[str, Settings | None]] = [("", self.admin), ("", self.cluster)]
        parts += [
            (f"pool {pool.name}: ", part) for pool in self.pools for part in (pool, pool.lease, pool.probe, *pool.sources)
        ]
        return [
            *self._route_advice(),
            *super().advice(),
            *(f"{where}{line}" for where, part in parts if part is not None for line in part.advice()),
        ]

    def _route_advice(self) -> Iterable[str]:
        """A route that answers is of requests: connections of mode tls, which have none, pass it over."""
        names = [str(listener.name) for listener in self.listeners if listener.mode == "tls"]
        for at, route in enumerate(self.routes):
            key = next((key for key in ANSWERS if getattr(route, key)), None)
            if names and route.listener is None and route.of_requests == [key]:
                yield (
                    f"route[{at}].{key}: not for the connections of tls listeners ({', '.join(names)}), where none are read; "
                    "name the listener that is meant"
                )

    def _header_faults(self) -> Iterable[str]:
        """A PROXY header begins a connection: datagrams have none. No route leads on from udp."""
        telling = {pool.name for pool in self.pools if pool.send_proxy != "off"}
        for listener in self.listeners:
            if listener.mode == "udp" and listener.pool in telling:
                yield f"pool {listener.pool}: send_proxy: not for listeners of mode udp ({listener.name})"
        for pool in self.pools:
            if pool.name in telling and pool.protocol == "h2":
                yield f"pool {pool.name}: send_proxy: not with protocol h2, whose connections carry many clients"

    def _request_faults(self) -> Iterable[str]:
        """Keys of requests in a pool that no listener of requests leads to."""
        for pool in self.pools:
            modes = self._modes_of(pool.name)
            if modes and not modes & set(HTTP_MODES):
                for key in _of_requests(pool):
                    yield f"pool {pool.name}: {key}: only for requests; its listeners are {', '.join(sorted(modes))}"

    def _leading_to(self, pool: str) -> list[ListenerSettings]:
        routed = {route.listener for route in self.routes if pool in route.pools}
        return [
            entry
            for entry in self.listeners
            if entry.pool == pool or (entry.mode in ROUTED_MODES and (None in routed or entry.group in routed))
        ]

    def _modes_of(self, pool: str) -> set[str]:
        """Of the listeners that lead to a pool."""
        return {entry.mode for entry in self._leading_to(pool)}

    def _cookie_faults(self) -> Iterable[str]:
        yield from shared_faults(self.pools)
        for pool in self.pools:
            yield from plain_faults(pool, self._leading_to(pool.name))

    def _acme_faults(self) -> Iterable[str]:
        """Where certificates are issued, their files are named, too."""
        issued: dict[str, list[str]] = {}
        for listener in self.listeners:
            for at, certificate in enumerate(listener.certificates):
                if certificate.acme is None:
                    continue
                where = f"listener {listener.name}: certificate[{at}].acme"
                if self.acme is None:
                    yield f"{where}: requires [acme]"
                    continue
                certificate.issued = self.acme.path_of(certificate.acme)
                if issued.setdefault(certificate.issued, certificate.acme) != certificate.acme:
                    yield f"{where}: {certificate.acme[0]} is the first name of another certificate, too"
        if issued and not any(listener.mode == "http" for listener in self.listeners):
            yield "acme: requires a listener of mode http: the authority asks for the proofs at port 80 (http-01)"

    def _datagram_faults(self) -> Iterable[str]:
        secured = {pool.name for pool in self.pools if pool.tls}
        for listener in self.listeners:
            if listener.mode == "udp" and listener.pool in secured:
                yield f"pool {listener.pool}: tls: not for listeners of mode udp ({listener.name})"

    def _route_faults(self, pools: list[str]) -> Iterable[str]:
        modes = {listener.group: listener.mode for listener in self.listeners if listener.mode in ROUTED_MODES}
        yield from key_faults(key for route in self.routes for key in route.json_keys)
        if self.routes and not modes:
            yield "route: requires a listener of mode http, https or tls"
        for at, route in enumerate(self.routes):
            if route.pool is not None and route.pool not in pools:
                yield f"route[{at}].pool: {route.pool!r} is unknown (known: {', '.join(pools)})"
            if route.mapped is not None:
                yield from (f"route[{at}].map: {line}" for line in route.mapped.unknown(pools))
            yield from _mirror_faults(f"route[{at}].mirror.pool", route, self.pools)
            yield from _auth_faults(f"route[{at}].auth_request", route, self.pools)
            if route.listener is not None and modes and route.listener not in modes:
                yield f"route[{at}].listener: {route.listener!r} is no http, https or tls listener (known: {', '.join(modes)})"
            if modes.get(route.listener or "") == "tls" and route.of_requests:
                yield (
                    f"route[{at}].{route.of_requests[0]}: connections of mode tls have none: only host, source, alpn and "
                    "percent by source are known"
                )
            if route.redirect and route.redirect.startswith("https://{host}{path}"):
                for name, mode in modes.items():
                    if mode == "https" and route.listener in (None, name):
                        yield f"route[{at}].redirect: leads back to listener {name}, without end; name another listener"
            if modes.get(route.listener or "") in HTTP_MODES and route.asks_alpn:
                yield f"route[{at}].alpn: only for tls listeners"

    def _probed(self, pool: PoolSettings) -> PoolSettings:
        """A pool that only datagrams reach is not probed over TCP unless that was asked for."""
        modes = {listener.mode for listener in self.listeners if listener.pool == pool.name}
        routed = any(pool.name in route.pools for route in self.routes)
        if pool.probe.chosen or routed or modes != {"udp"}:
            return pool
        return pool.replace(probe=pool.probe.replace(kind="off", chosen=False))

    def _named(self, index: int, listener: ListenerSettings) -> ListenerSettings:
        """A listener with the defaults that depend on its neighbours."""
        name = listener.name or f"listener-{index}"
        listener = listener.replace(name=name, group=listener.group or name)
        names = [pool.name for pool in self.pools]
        only: str | None = names[0] if len(names) == 1 else DEFAULT_POOL
        if self._is_routed(listener):
            only = None  # whom no route leads on is told 404, or closed
        return listener.replace(pool=listener.pool or only)

    def _is_routed(self, listener: ListenerSettings) -> bool:
        """Does any route lead on from there?"""
        if listener.mode == "tls":
            return any(route.listener in (None, listener.group) and not route.of_requests for route in self.routes)
        return listener.mode in HTTP_MODES and bool(self.routes)


def _auth_faults(where: str, entry: Guarded, pools: list[PoolSettings]) -> Iterable[str]:
    auth = entry.auth_request
    if auth is None or auth.pool == OFF:
        return
    named = {pool.name: pool for pool in pools}
    if auth.pool not in named:
        yield f"{where}.pool: {auth.pool!r} is unknown (known: {', '.join(named)})"
    elif named[auth.pool].send_proxy != "off":
        yield f"{where}.pool: {auth.pool} has send_proxy: what asks comes on no client's connection"


def _mirror_faults(where: str, route: RouteSettings, pools: list[PoolSettings]) -> Iterable[str]:
    if route.mirror is None:
        return
    named = {pool.name: pool for pool in pools}
    if route.mirror.pool not in named:
        yield f"{where}: {route.mirror.pool!r} is unknown (known: {', '.join(named)})"
    elif named[route.mirror.pool].send_proxy != "off":
        yield f"{where}: {route.mirror.pool} has send_proxy: a copy comes on no client's connection"


def _shares_port(listener: ListenerSettings, other: ListenerSettings) -> bool:
    """Do they have the same port, the other one over IPv4?"""
    same_kind = (listener.mode == "udp") == (other.mode == "udp")
    return bool(listener.port) and listener.port == other.port and same_kind and ":" in listener.host and ":" not in other.host


def _of_requests(pool: PoolSettings) -> list[str]:
    """Its keys that were set, and mean something for requests alone."""
    options_of = [option.name for option in pool.OPTIONS if option.scope == ("http",) and option.name in pool.said]
    return [*options_of, *(key for key in KEYS if getattr(pool, key))]


def _restarts(key: str, now: object, fresh: object) -> Iterable[str]:
    """A line for each key of a table that changed, or one for the value."""
    if not isinstance(now, Settings) or not isinstance(fresh, Settings):
        yield f"{key}: {_told(fresh)} instead of {_told(now)} requires a restart"
        return
    for name, value in fresh.values().items():
        if value != now.values()[name]:
            what = "another one" if isinstance(value, Secret) else repr(value)
            yield f"{key}.{name}: {what} instead of {now.values()[name]!r} requires a restart"


def _told(value: object) -> str:
    return "a table" if isinstance(value, Settings) else repr(value)


def _twice(kind: str, names: list[str]) -> Iterable[str]:
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{kind}: {name!r} is used twice"


def probe_of(health: str | None) -> ProbeSettings:
    """The probe that a --health flag means: a path, "tcp" or "off"; None: what suits the listeners. Raises ConfigError."""
    if health is None:
        return ProbeSettings()
    if health.startswith("/"):
        return ProbeSettings(kind="http", path=health)
    if health in ("tcp", "off"):
        return ProbeSettings(kind=health)
    raise ConfigError(f"health: {health!r} is not allowed (allowed: a path such as /health, tcp, off)")


def listeners_of(urls: Iterable[str], certificate: str | None = None, key: str | None = None) -> list[ListenerSettings]:
    """The listeners that --listen flags mean; those of modes https and tls show the certificate. Raises ConfigError."""
    if key is not None and certificate is None:
        raise ConfigError("key: requires a certificate")
    shown = [] if certificate is None else [CertificateSettings(cert=certificate, key=key)]
    found = [ListenerSettings(bind=url, certificates=shown if _shows(url) else []) for url in urls]
    if shown and not any(listener.terminates for listener in found):
        raise ConfigError("certificate: requires a listener of mode https or tls")
    return found


def limited(listeners: Iterable[ListenerSettings], limits: Mapping[str, Any]) -> list[ListenerSettings]:
    """Listeners with these limits of their clients, those of requests where requests are spoken. Raises ConfigError.

    limits: keys of [[listener]], with their values. Where no listener speaks HTTP, each says what it cannot take.
    """
    found = list(listeners)
    requests = any(listener.mode in HTTP_MODES for listener in found)
    others = {name: value for name, value in limits.items() if not (requests and name in OF_REQUESTS)}
    return [listener.replace(**(limits if listener.mode in HTTP_MODES else others)) for listener in found]


def _shows(url: str) -> bool:
    return isinstance(url, str) and url.startswith(("https://", "tls://"))


def simple(
    listen: str | Iterable[str] | None = None,
    backends: Iterable[str | BackendSettings] = (),
    *,
    health: str | None = None,
    admin: str | AdminSettings | None = None,
    certificate: str | None = None,
    key: str | None = None,
    limits: Mapping[str, Any] | None = None,
    **keys: Any,
) -> BalancerSettings:
    """Settings of one pool, "default", behind some listeners: what flags and Balancer's arguments can say.

    certificate, key: PEM files, of all listeners of modes https and tls; the key may be in the certificate's file.
    limits: of all listeners' clients, by key of [[listener]], such as {"max_client_sessions": 100}.
    keys: further ones of the top level (name, workers, datapath, drain_timeout, ...), and those of the pool that have a flag
    (policy). Raises ConfigError.
    """
    urls = [] if listen is None else [listen] if isinstance(listen, str) else list(listen)
    problems: list[str] = []
    parts: dict[str, Any] = {}
    of_pool = {option.name: keys.pop(option.name) for option in options.POOL if option.flag and option.name in keys}
    makers: Mapping[str, Any] = {
        "listeners": lambda: limited(listeners_of(urls, certificate, key), limits or {}),
        "pools": lambda: [PoolSettings(name=DEFAULT_POOL, probe=probe_of(health), backends=list(backends), **of_pool)],
        "admin": lambda: admin_of(admin),
    }
    for part, make in makers.items():
        try:
            parts[part] = make()
        except ConfigError as error:
            problems += [problem.replace("bind:", "listen:", 1) for problem in error.problems]
    try:
        settings = BalancerSettings(**parts, **keys)
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems)
    return settings
