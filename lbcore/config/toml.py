"""Configuration files: TOML in, checked settings out, with all that is wrong reported at once."""

from __future__ import annotations

import os
import tomllib
from typing import Any

from lbcore.config.document import FILE, copied, faults
from lbcore.config.log_target import is_path
from lbcore.config.settings import (
    AcmeSettings,
    AdminSettings,
    AuthRequestSettings,
    BackendSettings,
    BalancerSettings,
    CertificateSettings,
    ClusterSettings,
    LeaseSettings,
    ListenerSettings,
    MirrorSettings,
    OutlierSettings,
    PoolSettings,
    ProbeSettings,
    RespondSettings,
    RouteSettings,
    ScrapeSettings,
    SourceSettings,
)
from lbcore.config.settings.access import CREDENTIALS, OFF
from lbcore.errors import ConfigError

MAX_BYTES = 16 << 20


def load(path: str | os.PathLike[str]) -> BalancerSettings:
    """Read a file. Raises ConfigError, one problem a line, each naming the file, the key, the value and what is allowed."""
    name = os.fspath(path)
    try:
        with open(name, "rb") as file:
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise ConfigError(f"{name}: larger than {MAX_BYTES >> 20} MiB")
        document = tomllib.loads(text.decode())
    except OSError as error:
        raise ConfigError(f"{name}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{name}: not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name}: not TOML: {error}") from None
    try:
        return from_document(document, path=os.path.abspath(name))
    except ConfigError as error:
        raise ConfigError(f"{name}: {problem}" for problem in error.problems) from None


def from_document(document: dict[str, Any], path: str | None = None) -> BalancerSettings:
    """Settings of a parsed file. Raises ConfigError with everything that is wrong."""
    problems = list(faults(FILE, document))
    if problems:
        raise ConfigError(problems)
    return _build(copied(FILE, document), path)


class _Problems:
    """Collects what goes wrong, with the key under which it did."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def made(self, where: str, kind: type[Any], values: dict[str, Any]) -> Any:
        """An object of this kind, or None with its problems noted."""
        try:
            return kind(**values)
        except ConfigError as error:
            own = getattr(kind, "KEY", "")
            self.lines += [f"{where}{problem.removeprefix(own)}" for problem in error.problems]
            return None


def _build(given: dict[str, Any], path: str | None) -> BalancerSettings:
    problems = _Problems()
    pools = [_pool(problems, f"pool[{at}].", values, path) for at, values in enumerate(given.pop("pool", ()))]
    listeners = [_listener(problems, f"listener[{at}].", values, path) for at, values in enumerate(given.pop("listener", ()))]
    routes = [_route(problems, f"route[{at}].", values, path) for at, values in enumerate(given.pop("route", ()))]
    _from_own_folder(given, ("state_file",), path)
    if is_path(str(given.get("access_log", "off"))):
        _from_own_folder(given, ("access_log",), path)
    admin_said = "admin" in given
    admin_values = given.pop("admin", None)
    admin = None if admin_values is None else _admin(problems, admin_values, path)
    cluster_values = given.pop("cluster", None)
    cluster = None if cluster_values is None else _cluster(problems, cluster_values, path)
    acme_values = given.pop("acme", None)
    acme = None if acme_values is None else _acme(problems, acme_values, path)
    if not problems.lines:
        top = {
            **given,
            "pools": pools,
            "listeners": listeners,
            "routes": routes,
            "admin": admin,
            "cluster": cluster,
            "acme": acme,
            "admin_said": admin_said,
            "path": path,
        }
        settings: BalancerSettings | None = problems.made("", BalancerSettings, top)
        if settings is not None:
            return settings
    raise ConfigError(problems.lines)


def _route(problems: _Problems, where: str, values: dict[str, Any], path: str | None) -> RouteSettings | None:
    _from_own_folder(values, ("map", *CREDENTIALS), path)
    respond = values.pop("respond", None)
    if respond is not None:
        _from_own_folder(respond, ("body_file",), path)
        respond = problems.made(f"{where}respond.", RespondSettings, respond)
        if respond is None:
            return None
    mirror = values.pop("mirror", None)
    if mirror is not None:
        mirror = problems.made(f"{where}mirror.", MirrorSettings, mirror)
        if mirror is None:
            return None
    auth = _auth_request(problems, where, values)
    if auth is None and "auth_request" in values:
        return None
    parts = {"respond": respond, "mirror": mirror, "auth_request": auth}
    route: RouteSettings | None = problems.made(where, RouteSettings, {**values, **parts})
    return route


def _auth_request(problems: _Problems, where: str, values: dict[str, Any]) -> AuthRequestSettings | None:
    """None: it is not there, or it is wrong."""
    given = values.get("auth_request")
    made: AuthRequestSettings | None = None
    if given is not None:
        made = problems.made(f"{where}auth_request.", AuthRequestSettings, given)
    return made


def _listener(problems: _Problems, where: str, values: dict[str, Any], path: str | None) -> ListenerSettings | None:
    _from_own_folder(values, ("client_ca", *CREDENTIALS), path)
    certificates = []
    for at, certificate in enumerate(values.pop("certificate", ())):
        _from_own_folder(certificate, ("cert", "key", "ocsp"), path)
        certificates.append(problems.made(f"{where}certificate[{at}].", CertificateSettings, certificate))
    auth = _auth_request(problems, where, values)
    if None in certificates or (auth is None and "auth_request" in values):
        return None
    parts = {"certificates": certificates, "auth_request": auth}
    listener: ListenerSettings | None = problems.made(where, ListenerSettings, {**values, **parts})
    return listener


def _pool(problems: _Problems, where: str, values: dict[str, Any], path: str | None) -> PoolSettings | None:
    _from_own_folder(values, ("tls_ca", "tls_cert", "tls_key"), path)
    lease = values.pop("lease", None) or {}
    _from_own_folder(lease, ("token_file", "hmac_key_file"), path)
    probe = values.pop("probe", None) or {}
    _from_own_folder(probe, ("tls_ca", "password_file"), path)
    parts = {
        "probe": problems.made(f"{where}probe.", ProbeSettings, probe),
        "lease": problems.made(f"{where}lease.", LeaseSettings, lease),
        "outlier": problems.made(f"{where}outlier.", OutlierSettings, values.pop("outlier", None) or {}),
        "scrape": problems.made(f"{where}scrape.", ScrapeSettings, values.pop("scrape", None) or {}),
        "sources": [
            _source(problems, f"{where}source[{at}].", source, path) for at, source in enumerate(values.pop("source", ()))
        ],
        "backends": [
            problems.made(f"{where}backend[{at}].", BackendSettings, backend)
            for at, backend in enumerate(values.pop("backend", ()))
        ],
    }
    if (
        None in parts["backends"]
        or None in parts["sources"]
        or any(parts[name] is None for name in ("probe", "lease", "outlier", "scrape"))
    ):
        return None
    pool: PoolSettings | None = problems.made(where, PoolSettings, {**values, **parts})
    return pool


def _source(problems: _Problems, where: str, values: dict[str, Any], path: str | None) -> SourceSettings | None:
    _from_own_folder(values, ("path", "ca", "cert", "key", "token_file", "password_file", "kubeconfig"), path)
    source: SourceSettings | None = problems.made(where, SourceSettings, values)
    return source


def _from_own_folder(values: dict[str, Any], names: tuple[str, ...], path: str | None) -> None:
    """Relative file names are meant from the configuration's own folder."""
    for name in names:
        if values.get(name) not in (None, OFF) and path is not None:
            values[name] = os.path.join(os.path.dirname(path), values[name])


def _admin(problems: _Problems, values: dict[str, Any], path: str | None) -> AdminSettings | None:
    _from_own_folder(values, ("token_file", "read_token_file"), path)
    if values.get("listen") == "off":
        return None
    admin: AdminSettings | None = problems.made("admin.", AdminSettings, values)
    return admin


def _acme(problems: _Problems, values: dict[str, Any], path: str | None) -> AcmeSettings | None:
    _from_own_folder(values, ("folder", "ca", "eab_hmac_file"), path)
    acme: AcmeSettings | None = problems.made("acme.", AcmeSettings, values)
    return acme


def _cluster(problems: _Problems, values: dict[str, Any], path: str | None) -> ClusterSettings | None:
    _from_own_folder(values, ("password_file", "secret_file", "ca", "cert", "key"), path)
    cluster: ClusterSettings | None = problems.made("cluster.", ClusterSettings, values)
    return cluster
