"""How the API of Kubernetes is reached: as a pod's own account, by a kubeconfig, or as the settings say."""

from __future__ import annotations

import base64
import binascii
import os
import re
import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lbcore.config.secret import Secret
from lbcore.config.settings.source import url_of
from lbcore.discovery.engines.credential import Credential
from lbcore.discovery.engines.http import context_of, tls_fault
from lbcore.discovery.engines.kube_exec import Plugin
from lbcore.discovery.found import SourceFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from lbcore.config.settings import SourceSettings

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds the token, the CA and the namespace of its account."""
MOST_BYTES = 1 << 20
_PATH = re.compile(r"[-A-Za-z0-9._~:/]*")


class Access(NamedTuple):
    """endpoints: URLs of the API. context: makes the rules of TLS, and raises SourceFailed. token: the bearer's, if any.

    plugin: the program that tells the token. server_name: whom the API's certificate is for, where that is not the host.
    """

    endpoints: list[str]
    context: Callable[[], ssl.SSLContext]
    token: Credential
    namespace: str | None
    plugin: Plugin | None = None
    server_name: str | None = None


def access_of(settings: SourceSettings) -> Access:
    """Raises SourceFailed."""
    if settings.kubeconfig is not None:
        return _of_kubeconfig(Path(settings.kubeconfig), settings)
    if settings.endpoints:
        return Access(settings.urls, lambda: context_of(settings), Credential.of(settings, "token"), None)
    return _of_account()


def _of_account() -> Access:
    """The pod's own. Its token is replaced every hour or so: it is read again."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not (ACCOUNT / "token").exists():
        raise SourceFailed("this is no pod with an account of Kubernetes: set kubeconfig or endpoints")
    try:
        namespace = (ACCOUNT / "namespace").read_text().strip()
    except OSError:
        namespace = None
    at = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    path = str(ACCOUNT / "token")
    return Access([at], lambda: _context((ACCOUNT / "ca.crt").read_bytes()), _token_of(path), namespace)


def _token_of(path: str) -> Credential:
    return Credential(lambda: Secret.from_file(path), path)


def _context(ca: bytes | None, cert: bytes | None = None, key: bytes | None = None) -> ssl.SSLContext:
    """Of PEM texts. Raises SourceFailed."""
    try:
        context = ssl.create_default_context(cadata=ca.decode() if ca is not None else None)
        if cert is not None:
            with tempfile.TemporaryFile() as file:  # load_cert_chain takes names of files only
                file.write(cert + b"\n" + (key or b""))
                file.flush()
                context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
    except (OSError, ValueError) as error:
        reason = tls_fault(error) if isinstance(error, ssl.SSLError) else str(error)
        raise SourceFailed(f"the cluster's CA or the client certificate cannot be used ({reason})") from None
    return context


# --- kubeconfig -------------------------------------------------------------------------------------------------------------


def _of_kubeconfig(path: Path, settings: SourceSettings) -> Access:
    try:
        document = _parsed(path)
        name = settings.context or document.get("current-context")
        if not name:
            raise ValueError("it has no current-context: set context")
        context = _named(document, "contexts", "context", name)
        cluster = _named(document, "clusters", "cluster", context.get("cluster"))
        user = _named(document, "users", "user", context["user"]) if context.get("user") else {}
        _refuse(cluster, user, settings.allow_exec)
        ca = _data(path, cluster, "certificate-authority")
        cert, key = _data(path, user, "client-certificate"), _data(path, user, "client-key")
        at = _server(str(cluster.get("server")))
        plugin = Plugin(user["exec"], path.parent, cluster) if user.get("exec") else None
        token = Credential(lambda: plugin.token, fixed=False) if plugin else _token(path, user)
        server_name = str(cluster["tls-server-name"]) if cluster.get("tls-server-name") else None
        return Access([at], lambda: _context(ca, cert, key), token, context.get("namespace"), plugin, server_name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        what = str(error) if type(error) is ValueError else getattr(error, "strerror", None) or "not a kubeconfig"
        raise SourceFailed(f"kubeconfig {str(path)!r}: {what}") from None


def _server(text: str) -> str:
    """The URL of an API, which may be behind a path: Rancher's and others' are. Raises ValueError."""
    scheme, separator, rest = text.partition("://")
    host, _, path = rest.partition("/")
    if not _PATH.fullmatch(path) or ".." in path:
        raise ValueError(f"server: {text[:200]!r} is not allowed (allowed: https://HOST:PORT/PATH)")
    at = url_of("kubernetes", f"{scheme}{separator}{host}")
    return f"{at}/{path.strip('/')}".removesuffix("/")


def _parsed(path: Path) -> dict[str, Any]:
    """JSON is YAML as well, and needs no package. Raises OSError or ValueError."""
    import json

    with path.open("rb") as file:
        text = file.read(MOST_BYTES + 1)
    if len(text) > MOST_BYTES:
        raise ValueError("larger than 1 MiB")
    try:
        document = json.loads(text)
    except ValueError:
        document = _yaml(text)
    if not isinstance(document, dict):
        raise ValueError("not a kubeconfig")
    return document


def _yaml(text: bytes) -> Any:
    try:
        import yaml
    except ImportError:
        raise ValueError("YAML requires PyYAML: pip install 'lbcore[kubernetes]'") from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise ValueError("not YAML") from None


def _named(document: dict[str, Any], group: str, kind: str, name: object) -> dict[str, Any]:
    for entry in document.get(group) or ():
        if entry.get("name") == name:
            found: dict[str, Any] = entry[kind]
            return found
    raise ValueError(f"it has no {kind} {str(name)[:60]!r}")


def _refuse(cluster: dict[str, Any], user: dict[str, Any], allow_exec: bool) -> None:
    """What lbcore does not do: trust anybody, ask proxies, and, unless it is allowed, run programs."""
    for key in ("insecure-skip-tls-verify", "proxy-url"):
        if cluster.get(key):
            raise ValueError(f"{key} is not supported")
    if user.get("exec") and not allow_exec:
        raise ValueError(
            f"its user has a program (exec {str(user['exec'].get('command'))[:60]!r}): set allow_exec = true to run it"
        )
    for key in ("auth-provider", "username"):
        if user.get(key):
            raise ValueError(f"a user with {key} is not supported: use a token or a client certificate")


def _data(path: Path, entry: dict[str, Any], key: str) -> bytes | None:
    """A file's content, which may stand in the kubeconfig itself. Names are meant from the kubeconfig's own folder."""
    if entry.get(f"{key}-data"):
        try:
            return base64.b64decode(entry[f"{key}-data"], validate=True)
        except binascii.Error:
            raise ValueError(f"{key}-data is not base64") from None
    return (path.parent / entry[key]).read_bytes() if entry.get(key) else None


def _token(path: Path, user: dict[str, Any]) -> Credential:
    if user.get("tokenFile"):
        return _token_of(str(path.parent / user["tokenFile"]))
    token = user.get("token")
    return Credential(lambda: Secret(str(token)) if token else None)
