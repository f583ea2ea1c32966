"""Configuration files: TOML in, checked settings out, with all that is wrong reported at once.

The pydantic models are generated from `options`, so that each option is declared once; `json_schema()` is for editors.
"""

from __future__ import annotations

import os
import re
import tomllib
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    create_model,
)

from lbcore.config import options
from lbcore.config.log_target import is_path
from lbcore.config.option import Option, did_you_mean
from lbcore.config.settings import (
    AdminSettings,
    BackendSettings,
    BalancerSettings,
    CertificateSettings,
    LeaseSettings,
    ListenerSettings,
    OutlierSettings,
    PoolSettings,
    ProbeSettings,
    RouteSettings,
    SourceSettings,
)
from lbcore.errors import ConfigError

MAX_BYTES = 16 << 20

_SCHEMA_TYPES: dict[str, dict[str, Any]] = {
    "duration": {"type": ["string", "number"]},
    "size": {"type": ["string", "integer"]},
    "int": {"type": "integer"},
    "flag": {"type": "boolean"},
    "texts": {"type": "array", "items": {"type": "string"}},
    "headers": {"type": "array", "items": {"type": "string"}},
    "header_map": {"type": "object", "additionalProperties": {"type": "string"}},
    "cidrs": {"type": "array", "items": {"type": "string"}},
}


def _schema(option: Option) -> dict[str, Any]:
    schema = dict(_SCHEMA_TYPES.get(option.kind, {"type": "string"}))
    if option.kind == "int":
        schema |= {"minimum": option.low, "maximum": option.high}
    if option.choices:
        schema["enum"] = list(option.choices)
    if option.default is not None:
        schema["default"] = option.default_text if option.kind in ("duration", "size") else option.default
    return schema | {"description": f"{option.help} ({option.allowed})"}


def _field(option: Option) -> Any:
    """An option as a pydantic field: checked by the option itself, kept as it was written."""

    def check(value: object) -> object:
        option.parse(value)
        return value

    return Annotated[Any, BeforeValidator(check), WithJsonSchema(_schema(option))]


def _model(name: str, table: tuple[Option, ...], **parts: Any) -> type[BaseModel]:
    fields: dict[str, Any] = {option.name: (_field(option), None) for option in table}
    return create_model(name, __config__=ConfigDict(extra="forbid"), **fields, **parts)


Probe: Any = _model("Probe", options.PROBE)
Lease: Any = _model("Lease", options.LEASE)
Outlier: Any = _model("Outlier", options.OUTLIER)
Source: Any = _model("Source", options.SOURCE)
Backend: Any = _model("Backend", options.BACKEND)
Certificate: Any = _model("Certificate", options.CERTIFICATE)
Listener: Any = _model("Listener", options.LISTENER, certificate=(list[Certificate], []))
Admin: Any = _model("Admin", options.ADMIN)
Route: Any = _model(
    "Route",
    options.ROUTE,
    method=(list[str] | str | None, None),
    header=(dict[str, str | bool] | None, None),
    cookie=(dict[str, str | bool] | None, None),
)
Pool: Any = _model(
    "Pool",
    options.POOL,
    probe=(Probe | None, None),
    lease=(Lease | None, None),
    outlier=(Outlier | None, None),
    backend=(list[Backend], []),
    source=(list[Source], []),
)
File: Any = _model(
    "File",
    options.TOP,
    admin=(Admin | None, None),
    listener=(list[Listener], []),
    route=(list[Route], []),
    pool=(list[Pool], Field(default_factory=list)),
)


_TABLES: dict[str, Any] = {
    "": File,
    "admin": Admin,
    "listener": Listener,
    "certificate": Certificate,
    "route": Route,
    "pool": Pool,
    "probe": Probe,
    "lease": Lease,
    "outlier": Outlier,
    "source": Source,
    "backend": Backend,
}
_PARTS_OF_POOLS = ("probe", "lease", "outlier", "source", "backend")


def json_schema() -> dict[str, Any]:
    """The JSON schema of a configuration file, for editors."""
    schema: dict[str, Any] = File.model_json_schema()
    return schema


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
    try:
        file = File.model_validate(document)
    except ValidationError as error:
        raise ConfigError(_problem(entry) for entry in error.errors()) from None
    return _build(_given(file), path)


def _given(model: BaseModel) -> dict[str, Any]:
    return model.model_dump(exclude_unset=True)


def _problem(entry: Any) -> str:
    """A pydantic error as one line: key, value, allowed."""
    where = re.sub(r"\.(\d+)", r"[\1]", ".".join(str(part) for part in entry["loc"]))
    kind, value = entry["type"], entry["input"]
    if kind == "extra_forbidden":
        return f"{where}: unknown key{_hint(entry['loc'])}"
    if kind == "value_error":
        reason = str(entry["ctx"]["error"])
        parent, _, _ = where.rpartition(".")
        return f"{parent}.{reason}" if parent else reason
    wanted = {"list_type": "an array of tables, [[...]]", "model_type": "a table", "dict_type": "a table"}
    return f"{where}: {_shown(value)} is not allowed (allowed: {wanted.get(kind, entry['msg'].lower())})"


def _hint(loc: tuple[str | int, ...]) -> str:
    """What an unknown key may have been meant as: a key like it, or the table that it belongs to."""
    *tables, name = [part for part in loc if isinstance(part, str)]
    known = _TABLES.get(tables[-1] if tables else "", File).model_fields
    hint = did_you_mean(name, known)
    others = [table for table, model in _TABLES.items() if name in model.model_fields]
    if hint or not others:
        return hint
    if not others[0]:
        return " (it belongs at the top)"
    table = f"pool.{others[0]}" if others[0] in _PARTS_OF_POOLS else others[0]
    return f" (it belongs in [{table}])"


def _shown(value: object) -> str:
    """A value that is refused. What holds others may hold secrets."""
    if value and isinstance(value, list | dict):
        return "an array" if isinstance(value, list) else "a table"
    return repr(value)


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
    routes = [problems.made(f"route[{at}].", RouteSettings, values) for at, values in enumerate(given.pop("route", ()))]
    _from_own_folder(given, ("state_file",), path)
    if is_path(str(given.get("access_log", "off"))):
        _from_own_folder(given, ("access_log",), path)
    admin_said = "admin" in given
    admin_values = given.pop("admin", None)
    admin = None if admin_values is None else _admin(problems, admin_values, path)
    if not problems.lines:
        top = {
            **given,
            "pools": pools,
            "listeners": listeners,
            "routes": routes,
            "admin": admin,
            "admin_said": admin_said,
            "path": path,
        }
        settings: BalancerSettings | None = problems.made("", BalancerSettings, top)
        if settings is not None:
            return settings
    raise ConfigError(problems.lines)


def _listener(problems: _Problems, where: str, values: dict[str, Any], path: str | None) -> ListenerSettings | None:
    _from_own_folder(values, ("client_ca",), path)
    certificates = []
    for at, certificate in enumerate(values.pop("certificate", ())):
        _from_own_folder(certificate, ("cert", "key", "ocsp"), path)
        certificates.append(problems.made(f"{where}certificate[{at}].", CertificateSettings, certificate))
    if None in certificates:
        return None
    listener: ListenerSettings | None = problems.made(where, ListenerSettings, {**values, "certificates": certificates})
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
        or any(parts[name] is None for name in ("probe", "lease", "outlier"))
    ):
        return None
    pool: PoolSettings | None = problems.made(where, PoolSettings, {**values, **parts})
    return pool


def _source(problems: _Problems, where: str, values: dict[str, Any], path: str | None) -> SourceSettings | None:
    _from_own_folder(values, ("path",), path)
    source: SourceSettings | None = problems.made(where, SourceSettings, values)
    return source


def _from_own_folder(values: dict[str, Any], names: tuple[str, ...], path: str | None) -> None:
    """Relative file names are meant from the configuration's own folder."""
    for name in names:
        if values.get(name) is not None and path is not None:
            values[name] = os.path.join(os.path.dirname(path), values[name])


def _admin(problems: _Problems, values: dict[str, Any], path: str | None) -> AdminSettings | None:
    _from_own_folder(values, ("token_file", "read_token_file"), path)
    if values.get("listen") == "off":
        return None
    admin: AdminSettings | None = problems.made("admin.", AdminSettings, values)
    return admin
