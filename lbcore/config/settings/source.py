"""Sources: places beside the configuration that name backends of a pool."""

from __future__ import annotations

import ipaddress
import os
import re

from lbcore.config import options
from lbcore.config.option import slots
from lbcore.config.secret import Secret
from lbcore.config.settings.addresses import is_loopback, parse_address, split_host_port
from lbcore.config.settings.base import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

ENGINES = ("etcd", "consul", "kubernetes", "nats")
_REQUIRED = {
    "dns": ("name", "port"),
    "srv": ("name",),
    "file": ("path",),
    "etcd": ("prefix",),
    "consul": ("service",),
    "kubernetes": ("service",),
    "nats": ("bucket",),
}
_SCHEMES = {
    "etcd": {"http": 2379, "https": 2379},
    "consul": {"http": 8500, "https": 8501},
    "kubernetes": {"https": 443, "http": 80},
    "nats": {"nats": 4222, "tls": 4222},
}
"""With the port of an endpoint that names none."""
_LOCAL = {
    "etcd": ["http://127.0.0.1:2379"],
    "consul": ["http://127.0.0.1:8500"],
    "nats": ["nats://127.0.0.1:4222"],
}
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_BUCKET = re.compile(r"[A-Za-z0-9_-]+")
_SUBJECT = re.compile(r"[-/_=A-Za-z0-9]+(\.[-/_=A-Za-z0-9]+)*\.?")


class SourceSettings(Settings):
    """A place beside the configuration that names backends of a pool."""

    OPTIONS = options.SOURCE
    __slots__ = slots(options.SOURCE)
    KEY = "source."

    kind: str
    name: str | None
    port: int | None
    path: str | None
    interval_ms: int
    max_ttl_ms: int
    family: str
    hold_ms: int
    server: str | None
    endpoints: list[str] | None
    prefix: str | None
    bucket: str | None
    service: str | None
    namespace: str | None
    port_name: str | None
    zone: str | None
    tags: list[str] | None
    partition: str | None
    datacenter: str | None
    consistency: str
    kubeconfig: str | None
    allow_exec: bool
    context: str | None
    user: str | None
    password: Secret | None
    password_file: str | None
    password_env: str | None
    token: Secret | None
    token_file: str | None
    token_env: str | None
    creds_file: str | None
    ca: str | None
    cert: str | None
    key: str | None
    timeout_ms: int
    resync_ms: int
    when_empty: str

    @property
    def urls(self) -> list[str]:
        """SCHEME://HOST:PORT of the engine's endpoints; none of a cluster that the pod or the kubeconfig knows."""
        return [url_of(self.kind, text) for text in self.endpoints or _LOCAL.get(self.kind) or ()]

    @property
    def resync_s(self) -> float:
        """Seconds until the next list: balancers that start together do not list together for long."""
        import random

        return self.resync_ms / 1000 * random.uniform(0.8, 1.0)

    def secret(self, name: str) -> Secret | None:
        """The token or the password, as it is now. Raises ValueError, which names the file or variable."""
        path, variable = getattr(self, f"{name}_file"), getattr(self, f"{name}_env")
        if path is not None:
            return Secret.from_file(path)
        if variable is not None:
            text = os.environ.get(variable)
            if not text:
                raise ValueError(f"{variable!r} is not in the environment")
            return Secret(text)
        given: Secret | None = getattr(self, name)
        return given

    def check(self) -> Iterable[str]:
        yield from self.out_of_scope("kind", (self.kind,))
        for name in _REQUIRED[self.kind]:
            if getattr(self, name) is None:
                yield f"{name}: missing (a source of kind {self.kind} requires it)"
        if self.kind == "nats" and not _is_installed("nats"):
            yield "kind: 'nats' requires nats-py: pip install 'lbcore[nats]'"
        yield from self._dns_faults()
        if self.kind in ENGINES:
            yield from self._endpoint_faults()
            yield from self._secret_faults()
            yield from self._tls_faults()
        yield from self._name_faults()

    def _dns_faults(self) -> Iterable[str]:
        if self.name is not None and (len(self.name) > 253 or not self.name.isascii() or " " in self.name):
            yield f"name: {self.name!r} is not allowed (allowed: a name in DNS)"
        if self.server is not None:
            try:
                ipaddress.ip_address(parse_address(self.server)[0])
            except ValueError:
                yield f"server: {self.server!r} is not allowed (allowed: IP:PORT)"

    def _endpoint_faults(self) -> Iterable[str]:
        for text in self.endpoints or ():
            try:
                url_of(self.kind, text)
            except ValueError as error:
                yield f"endpoints: {error}"

    def _secret_faults(self) -> Iterable[str]:
        for name in ("password", "token"):
            ways = [way for way in (name, f"{name}_file", f"{name}_env") if getattr(self, way) is not None]
            if len(ways) > 1:
                yield f"{ways[1]}: not together with {ways[0]}"
                continue
            try:
                self.secret(name)
            except ValueError as error:
                yield f"{ways[0]}: {error}"
        if self.user is None and {"password", "password_file", "password_env"} & self.said:
            yield "password: requires user"
        if self.user is not None and {"token", "token_file", "token_env"} & self.said:
            yield "user: not together with a token"
        if self.creds_file is not None:
            ways = sorted(self.said & (_SECRETS | {"user"}))
            yield from [f"creds_file: not together with {ways[0]}"] if ways else []
            if not _is_installed("nkeys"):
                yield "creds_file: requires nkeys: pip install 'lbcore[nats]'"

    def _tls_faults(self) -> Iterable[str]:
        if self.kubeconfig is not None:
            for name in ("endpoints", "token", "token_file", "token_env", "ca", "cert", "key"):
                if name in self.said:
                    yield f"{name}: not together with kubeconfig, which says it"
        if self.key is not None and self.cert is None:
            yield "key: requires cert"
        for name in ("ca", "cert", "key", "kubeconfig", "creds_file"):
            path = getattr(self, name)
            if path is not None and not os.access(path, os.R_OK):
                yield f"{name}: {path!r} cannot be read"
        if self.context is not None and self.kubeconfig is None:
            yield "context: requires kubeconfig"
        if self.allow_exec and self.kubeconfig is None:
            yield "allow_exec: requires kubeconfig"

    def _name_faults(self) -> Iterable[str]:
        for name, pattern, allowed in (
            ("bucket", _BUCKET, "letters, digits, '_' and '-'"),
            ("namespace", _LABEL if self.kind == "kubernetes" else _BUCKET, "a name"),
            ("partition", _BUCKET, "letters, digits, '_' and '-'"),
            ("service", _LABEL if self.kind == "kubernetes" else None, "a name in Kubernetes"),
            ("prefix", _SUBJECT if self.kind == "nats" else None, "parts of a subject, such as shop.web."),
        ):
            value = getattr(self, name)
            if value is not None and pattern is not None and not pattern.fullmatch(value):
                yield f"{name}: {value!r} is not allowed (allowed: {allowed})"
        if self.kind == "kubernetes" and self.port is not None and self.port_name is not None:
            yield "port_name: not together with port"

    def advice(self) -> list[str]:
        """As of all settings; and secrets that the network can read."""
        lines = super().advice()
        for name in ("password", "token", "creds"):
            path = getattr(self, f"{name}_file")
            advice = Secret.from_file(path).advice if path is not None else None
            lines += [f"{self.KEY}{name}_file: {advice}"] if advice else []
        if self.kind in ENGINES and self.said & _SECRETS:
            far = [url for url in self.urls if url.startswith(("http:", "nats:")) and not is_loopback(_host(url))]
            lines += [f"{self.KEY}endpoints: {url!r} sends the token or password in clear" for url in far]
        return lines


_SECRETS = {f"{name}{way}" for name in ("password", "token") for way in ("", "_file", "_env")}


def _is_installed(package: str) -> bool:
    from importlib.util import find_spec  # costs some ms, and few have such a source

    return find_spec(package) is not None


def _host(url: str) -> str:
    return split_host_port(url.partition("://")[2])[0]


def url_of(kind: str, text: str) -> str:
    """SCHEME://HOST:PORT of an endpoint as it was written, where the port may be missing. Raises ValueError."""
    schemes = _SCHEMES[kind]
    scheme, separator, rest = text.partition("://")
    rest = rest.removesuffix("/")
    wrong = ValueError(f"{text!r} is not allowed (allowed: {' or '.join(f'{known}://HOST:PORT' for known in schemes)})")
    if not separator or scheme not in schemes or "@" in rest:
        raise wrong
    bare = rest.endswith("]") or ":" not in rest
    try:
        parse_address(f"{rest}:{schemes[scheme]}" if bare else rest)
    except ValueError:
        raise wrong from None
    return f"{scheme}://{rest}:{schemes[scheme]}" if bare else f"{scheme}://{rest}"
