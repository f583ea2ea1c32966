"""Listeners, and the routes that lead on from them."""

from __future__ import annotations

import re

from lbcore.config import options
from lbcore.config.option import slots
from lbcore.config.settings.access import CREDENTIALS, Guarded, access_faults
from lbcore.config.settings.addresses import HTTP_MODES, join_host_port, parse_listen
from lbcore.config.settings.base import is_token
from lbcore.config.settings.edits import HSTS, KEYS, edit_faults, folded, hsts_value, take_edits
from lbcore.config.settings.host_map import HostMap, MapFault
from lbcore.config.settings.limits import limit_faults
from lbcore.config.settings.match import MatchSettings
from lbcore.config.settings.mirror import MirrorSettings
from lbcore.config.settings.respond import RespondSettings
from lbcore.config.settings.tls import CertificateSettings, listener_faults

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from lbcore.config.settings.auth_request import AuthRequestSettings
    from lbcore.config.settings.edits import HeaderEdits

IDLE_MS = {"udp": 30_000}
"""Where an idle_timeout is not said; of other modes OTHER_IDLE_MS."""
OTHER_IDLE_MS = 600_000
MAX_ERROR_BODY, MAX_ERROR_TYPE, MAX_TRUSTED, MAX_PASSED = 1023, 95, 32, 255
"""The room of their fields in csrc/layout/segment.h."""
MAX_REDIRECT = 1024
"""Characters of a route's redirect."""
REDIRECTS = (301, 302, 303, 307, 308)
"""Statuses of a redirect, the default first: what nginx's `return 301` and HAProxy's users expect."""
_WORD = r"(?:[A-Za-z0-9._~:@!$&'()*+,;=/?#%-]|\{(?:host|path|query)\})"
_ORIGIN = r"https?://(?:\{host\}|[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
_REDIRECT = re.compile(rf"{_ORIGIN}(?:(?:[/?#]|\{{path\}}|\{{query\}}){_WORD}*)?|/(?:[A-Za-z0-9._~%-]{_WORD}*)?")
"""A path of two slashes would name another host, so none begins with one and a variable."""
_OCTAL = re.compile("0?[0-7]{3}")
REWRITING = ("strip_prefix", "replace_prefix")
_PREFIX = re.compile(r"/|(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+)+/?")
PROTOCOLS = ("h2", "http/1.1")
"""What clients of mode http may speak, by their names in ALPN; both unless a listener says less."""
OF_REQUESTS = ("client_request_rate", "client_request_burst", "min_body_rate")
"""Limits of clients that only modes http and https know."""

OF_EXCHANGES = ("cost", "retry_on", "retry_post", "response_timeout", "total_timeout", "max_body", "rate", "burst", "limit_key")
"""What a route may say of its requests beside their pool."""


class ListenerSettings(Guarded):
    """An address that clients connect to. Given as bind="tcp://HOST:PORT" or a list of such, or as mode, host and port. A unix
    socket is the host "unix:/PATH" with port 0."""

    OPTIONS = options.LISTENER
    __slots__ = slots(
        options.LISTENER,
        *KEYS,
        "also",
        "auth_request",
        "certificates",
        "group",
        "host",
        "mode",
        "port",
        "v6_only",
        but=("bind",),
    )

    name: str  # empty until the balancer's settings name it
    mode: str
    host: str
    port: int
    pool: str | None  # likewise; None: only routes lead on
    idle_timeout_ms: int
    half_closed_timeout_ms: int
    backlog: int
    socket_mode: str | None
    socket_user: str | None
    socket_group: str | None
    header_timeout_ms: int
    body_timeout_ms: int
    min_body_rate: int
    keepalive_timeout_ms: int
    lingering_time_ms: int
    lingering_timeout_ms: int
    max_header_bytes: int
    max_target: int
    health_path: str | None
    max_headers: int
    json_bytes: int
    max_body: int
    forwarded: str
    trusted_proxies: list[str]
    pass_client_headers: list[str]
    cost_header: str
    priority_header: str
    protocols: list[str]
    max_streams: int
    grpc_web: bool
    early_hints: str
    request_id: bool
    hsts: str | None
    request_headers: HeaderEdits
    response_headers: HeaderEdits
    half_close: bool
    responses: int
    max_client_sessions: int
    client_session_rate: int
    client_session_burst: int | None
    client_request_rate: int
    client_request_burst: int | None
    accept_proxy: bool
    error_body: str | None
    error_type: str | None
    error_format: str
    certificates: list[CertificateSettings]
    client_cert: str | None  # this and the next: None where no TLS ends
    tls_min: str | None
    tls_ciphers: str | None
    client_ca: str | None
    alpn: list[str] | None
    also: list[str]
    """Further addresses, MODE://HOST:PORT: `each` makes listeners of them."""
    group: str
    """The name by which routes mean it: of a list of addresses, that of the first."""
    v6_only: bool
    """Does another listener have the same port at an IPv4 address? Else one at [::] takes IPv4, too, as the system has it."""

    def take(self, values: dict[str, Any]) -> Iterable[str]:
        bind = values.pop("bind", None)
        if bind is None and "mode" in values:
            bind = f"{values.pop('mode')}://{join_host_port(values.pop('host'), values.pop('port'))}"
        self.mode, self.host, self.port = "tcp", "", 0
        self.v6_only = bool(values.pop("v6_only", False))
        self.group = values.pop("group", None) or ""
        self.also = list(values.pop("also", ()))
        self.trusted_proxies = self.trusted_proxies or []
        self.pass_client_headers = self.pass_client_headers or []
        self.protocols = self.protocols or list(PROTOCOLS)
        self.certificates = list(values.pop("certificates", ()))
        self.auth_request: AuthRequestSettings | None = values.pop("auth_request", None)
        yield from take_edits(self, values)
        for name, most in (("error_body", MAX_ERROR_BODY), ("error_type", MAX_ERROR_TYPE)):
            if len((getattr(self, name) or "").encode()) > most:
                yield f"{name}: longer than {most} bytes"
        if len(self.trusted_proxies) > MAX_TRUSTED:
            yield f"trusted_proxies: {len(self.trusted_proxies)} are too many (allowed: at most {MAX_TRUSTED})"
        if bind is None:
            yield "bind: missing (MODE://HOST:PORT or MODE://unix:/PATH)"
            return
        if isinstance(bind, list | tuple):
            yield from self._take_list(list(bind))
        else:
            try:
                self.mode, self.host, self.port = parse_listen(bind)
            except ValueError as error:
                yield f"bind: {error}"
        if self.idle_timeout_ms is None:
            self.idle_timeout_ms = IDLE_MS.get(self.mode, OTHER_IDLE_MS)
        if self.accept_proxy and not self.trusted_proxies:
            yield "accept_proxy: requires trusted_proxies, the peers that send PROXY headers"

    def _take_list(self, binds: list[Any]) -> Iterable[str]:
        parsed = []
        for at, bind in enumerate(binds):
            try:
                parsed.append(parse_listen(bind))
            except ValueError as error:
                yield f"bind[{at}]: {error}"
        if not binds:
            yield "bind: an empty list (MODE://HOST:PORT, once or several times)"
        if not parsed:
            return
        self.mode, self.host, self.port = parsed[0]
        self.also = [f"{mode}://{join_host_port(host, port)}" for mode, host, port in parsed[1:]]
        for url, (mode, *_) in zip(self.also, parsed[1:], strict=True):
            if mode != self.mode:
                yield f"bind: {url!r} has another mode than the first, {self.mode!r}: give it a listener of its own"

    def each(self) -> list[ListenerSettings]:
        """A listener for each of its addresses: NAME, NAME-2, NAME-3, ..."""
        if not self.also:
            return [self]
        found = [self.replace(also=[])]
        for number, url in enumerate(self.also, 2):
            mode, host, port = parse_listen(url)
            found.append(found[0].replace(name=f"{self.name}-{number}", mode=mode, host=host, port=port))
        return found

    def _protocol_faults(self) -> Iterable[str]:
        for protocol in self.protocols:
            if protocol not in PROTOCOLS:
                yield f"protocols: {protocol!r} is not allowed (allowed: {', '.join(PROTOCOLS)})"

    def _limit_faults(self) -> Iterable[str]:
        yield from self.out_of_scope("mode", (self.mode,))
        if self.error_body is not None and self.error_format != "text":
            yield f"error_body: not with error_format = {self.error_format}, which has a body of its own"
        if self.auth_request is not None and self.mode not in HTTP_MODES:
            yield f"auth_request: only for mode http or https, this is {self.mode}"
        path = self.health_path
        if path is not None and (not path.startswith("/") or not path.isascii() or len(path) > 127 or set(path) & set(" ?#")):
            yield f"health_path: {path!r} is not allowed (allowed: an absolute path such as /healthz, at most 127 characters)"
        for what in ("session", "request"):
            if getattr(self, f"client_{what}_burst") and not getattr(self, f"client_{what}_rate"):
                yield f"client_{what}_burst: requires client_{what}_rate"

    def _socket_faults(self) -> Iterable[str]:
        for name in ("socket_mode", "socket_user", "socket_group"):
            if getattr(self, name) is not None and not self.host.startswith("unix:/"):
                yield f"{name}: only for unix sockets that have a path"
        if self.socket_mode is not None and not _OCTAL.fullmatch(self.socket_mode):
            yield f'socket_mode: {self.socket_mode!r} is not allowed (allowed: three octal digits such as "660")'

    def _header_faults(self) -> Iterable[str]:
        if len(" ".join(self.pass_client_headers)) > MAX_PASSED:
            yield f"pass_client_headers: its names are longer than {MAX_PASSED} bytes"
        for name in self.pass_client_headers:
            if not is_token(name):
                yield f"pass_client_headers: {name!r} is not allowed (allowed: names of headers)"
            elif not _is_claim(name):
                yield f"pass_client_headers: {name!r} is not among the headers that are dropped, see tools/docs/headers.md"

    def _edit_faults(self) -> Iterable[str]:
        yield from edit_faults(self)
        for key in KEYS:
            if getattr(self, key) and self.mode not in HTTP_MODES:
                yield f"{key}: only for mode http or https, this is {self.mode}"
        if self.hsts is None:
            return
        try:
            hsts_value(self.hsts)
        except ValueError as error:
            yield f"hsts: {self.hsts!r} is not allowed ({error})"
        if self.mode == "http" and not self.accept_proxy:
            yield "hsts: only for clients that speak TLS: mode https, or http with accept_proxy"
        if any(folded(name) == folded(HSTS) for name in (*self.response_headers.set, *self.response_headers.remove)):
            yield f"hsts: response_headers names {HSTS}, too"

    def check(self) -> Iterable[str]:
        yield from self._limit_faults()
        yield from self._socket_faults()
        yield from self._header_faults()
        yield from self._edit_faults()
        yield from self._protocol_faults()
        yield from access_faults(self)
        yield from listener_faults(self)

    @property
    def limits_clients(self) -> bool:
        """Is there a limit for each client address?"""
        return bool(self.max_client_sessions or self.client_session_rate or self.client_request_rate)

    @property
    def is_guarded(self) -> bool:
        """Is anything asked of each request before it goes on?"""
        return self.mode in HTTP_MODES and self.has_guard

    @property
    def terminates(self) -> bool:
        """Does TLS end here?"""
        return self.mode == "https" or (self.mode == "tls" and bool(self.certificates))

    @property
    def url(self) -> str:
        """MODE://HOST:PORT as asked for: port 0 stays 0; MODE://unix:/PATH."""
        return f"{self.mode}://{join_host_port(self.host, self.port)}"


ANSWERS = ("redirect", "deny", "respond")
"""How a route answers by itself."""
TARGETS = ("pool", "map", *ANSWERS)
"""Who answers the requests of a route: it names one of these."""
OWN = tuple(option for option in options.ROUTE if option not in options.CONDITION)
"""The options of a route that are no conditions."""


class RouteSettings(MatchSettings, Guarded):
    """Where requests go that fit: all that is named must hold."""

    OPTIONS = options.ROUTE
    __slots__ = (*MatchSettings.__slots__, *slots(OWN, *KEYS, "auth_request", "mapped", "mirror", "respond"))
    KEY = "route."

    listener: str | None
    pool: str | None
    redirect: str | None
    status: int | None
    deny: bool
    cost: int | None
    retry_on: list[int] | None
    retry_post: bool | None
    response_timeout_ms: int | None
    total_timeout_ms: int | None
    max_body: int | None
    rate: str | None
    burst: int | None
    limit_key: str | None
    strip_prefix: str | bool | None
    replace_prefix: str | None
    request_headers: HeaderEdits
    response_headers: HeaderEdits
    respond: RespondSettings | None
    mirror: MirrorSettings | None
    map: str | None
    mapped: HostMap | None
    """What the file of `map` said last that was right."""

    def take(self, values: dict[str, Any]) -> Iterable[str]:
        self.respond = values.pop("respond", None)
        self.mirror = values.pop("mirror", None)
        self.auth_request: AuthRequestSettings | None = values.pop("auth_request", None)
        self.mapped = values.pop("mapped", None)
        yield from take_edits(self, values)
        yield from super().take(values)
        if self.map is not None and self.mapped is None:
            try:
                self.mapped = HostMap(self.map)
            except MapFault as fault:
                yield from (f"map: {line}" for line in fault.lines)

    def check(self) -> Iterable[str]:
        yield from self._answer_faults()
        yield from limit_faults(self.rate, self.burst, self.limit_key)
        yield from super().check()
        yield from access_faults(self)
        yield from edit_faults(self, (self.path_regex or "").count("("))
        yield from self._rewriting_faults()

    def _answer_faults(self) -> Iterable[str]:
        """Of who answers: a pool, or the route by itself."""
        answers = [key for key in TARGETS if getattr(self, key)]
        if not answers:
            yield "pool: missing (the pool that serves it; or map, redirect, respond, or deny = true)"
        elif len(answers) > 1:
            yield f"{answers[1]}: a route has one of {', '.join(TARGETS)}"
        if self.status is not None and self.redirect is None:
            yield "status: requires redirect"
        elif self.status is not None and self.status not in REDIRECTS:
            yield f"status: {self.status} is not allowed (allowed: {', '.join(map(str, REDIRECTS))})"
        if self.pool is None and self.map is None:
            wanted = [key for key in ("mirror", "request_headers", *REWRITING) if getattr(self, key)]
            yield from (f"{key}: requires pool or map" for key in (*self._of_exchanges, *wanted))
        if self.redirect is not None and (len(self.redirect) > MAX_REDIRECT or not _REDIRECT.fullmatch(self.redirect)):
            yield (
                f"redirect: {self.redirect!r} is not allowed (allowed: at most {MAX_REDIRECT} characters: http://HOST, "
                "https://HOST or a path that begins with a name; {host}, {path} and {query} in it)"
            )

    def _rewriting_faults(self) -> Iterable[str]:
        """Of what the beginning of the path becomes."""
        if not self.strip_prefix and self.replace_prefix is None:
            return
        key, paths = "strip_prefix" if self.strip_prefix else "replace_prefix", self.path_prefix or self.path or []
        if self.path_regex is not None or self.grpc is not None:
            yield f"{key}: not with {'grpc' if self.grpc is not None else 'path_regex'}; with path_prefix or path"
        elif self.strip_prefix and not paths:
            yield "strip_prefix: requires path_prefix or path"
        elif isinstance(self.strip_prefix, str):
            begin = f"{self.strip_prefix.rstrip('/')}/"
            for path in paths:
                if not f"{path}/".startswith(begin):
                    yield f"strip_prefix: {self.strip_prefix!r} does not begin {path}"
        for key in REWRITING:
            value = getattr(self, key)
            if isinstance(value, str) and (len(value) > MAX_REDIRECT or not _PREFIX.fullmatch(value)):
                yield f"{key}: {value!r} is not allowed (allowed: an absolute path without a query, such as /api)"

    @property
    def pools(self) -> frozenset[str]:
        """All pools that it may lead to, and those that get copies."""
        pools = self.mapped.targets if self.mapped is not None else frozenset({self.pool} if self.pool else ())
        return pools | {self.mirror.pool} if self.mirror is not None else pools

    @property
    def response_status(self) -> int:
        """Of the route's own response; 0: its pool responds."""
        if self.redirect is not None:
            return self.status or REDIRECTS[0]
        if self.respond is not None:
            return self.respond.status
        return 403 if self.deny else 0

    @property
    def of_requests(self) -> list[str]:
        """What it asks for, or does, that only requests have."""
        answers = [key for key in (*ANSWERS, "auth_request", "mirror", *CREDENTIALS, *KEYS, *REWRITING) if getattr(self, key)]
        return [*self.conditions_of_requests, *answers, *self._of_exchanges]

    @property
    def _of_exchanges(self) -> list[str]:
        """What it says of requests that its pool serves."""
        wanted = [option for option in self.OPTIONS if option.name in OF_EXCHANGES]
        return [option.name for option in wanted if getattr(self, option.attribute) is not None]

    @property
    def held(self) -> bool:
        """Does it say what holds for as long as a request is under way?"""
        return any(key not in ("cost", "retry_on", "retry_post") for key in self._of_exchanges)


def _is_claim(name: str) -> bool:
    from lbcore._engine import is_claim_header

    return name.lower().replace("_", "-") == "x-request-id" or is_claim_header(name.encode())
