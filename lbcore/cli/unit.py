"""lbcore install-service: a unit for systemd, hardened as far as a balancer needs nothing of the machine but its sockets."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from lbcore.config.options import DEFAULT_NAME
from lbcore.config.toml import load
from lbcore.errors import ConfigError, LbcoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from lbcore.config.settings import BalancerSettings

SYSTEM = Path("/etc/systemd/system")
WATCHDOG_S = 30
DESCRIPTORS = 524_288
SPARE_S = 15
"""What a stop may take beyond drain_delay and drain_timeout."""
FIRST_FREE_PORT = 1024
OFFLOADS = "CAP_BPF CAP_NET_ADMIN CAP_PERFMON"
"""What a worker takes to load its program; bpf(2) is not in @system-service."""

_ANYWHERE = """\
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service seccomp{calls}
SystemCallErrorNumber=EPERM
UMask=0077
"""
"""What a user's own manager may do, too: the rest needs mounts or capabilities."""
_SYSTEM_ONLY = """\
ProtectSystem=strict
ProtectHome={home}
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectProc=invisible
RemoveIPC=yes
KeyringMode=private
CapabilityBoundingSet={capabilities}
AmbientCapabilities={capabilities}
"""


def main(config: Path, name: str | None, user: bool, run_as: str | None, show: bool) -> int:
    """Print or write the unit: the exit code. Raises ConfigError, or LbcoreError when it cannot be written."""
    if user and run_as:
        raise ConfigError("run-as: cannot be combined with --user")
    settings = load(config)
    if name is not None:
        settings = settings.replace(name=name)
    config = config.absolute()
    run_as = run_as or (None if user else settings.user)  # who it may become, it is from the start
    text = unit(settings, config, command(), user=user, run_as=run_as)
    if show:
        print(text, end="")
        return 0
    path = _directory(user) / unit_name(settings.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise LbcoreError(f"{path}: {error.strerror} (root may write it; --user and --print need no root)") from None
    print(f"written: {path}")
    for line in advice(settings, config, user=user, run_as=run_as):
        print(line)
    return 0


def command() -> str:
    """What starts lbcore, by its whole path: the script beside this Python, or the module."""
    beside = Path(sys.executable).with_name("lbcore")
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("lbcore")
    return _quoted(found) if found else f"{_quoted(sys.executable)} -m lbcore"


def unit_name(name: str) -> str:
    """lbcore.service, or lbcore-NAME.service."""
    return f"{_stem(name)}.service"


def _stem(name: str) -> str:
    return name if name == DEFAULT_NAME else f"{DEFAULT_NAME}-{name}"


def _directory(user: bool) -> Path:
    if not user:
        return SYSTEM
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd/user"


def _quoted(path: str | os.PathLike[str]) -> str:
    """A path as systemd.syntax(7) and systemd.service(5) read it."""
    text = os.fspath(path).replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{text}"' if any(char.isspace() or char in "\"'\\;" for char in text) else text


def unit(settings: BalancerSettings, config: Path, lbcore: str, *, user: bool, run_as: str | None) -> str:
    """The text of the unit. config: an absolute path. lbcore: how it is called."""
    stem = _stem(settings.name)
    stop_s = (settings.drain_delay_ms + settings.drain_timeout_ms) // 1000 + SPARE_S
    lines = [
        "# Written by `lbcore install-service`; what you change in a drop-in (systemctl edit) survives its next run.",
        "[Unit]",
        f"Description=lbcore, load balancer {settings.name}",
        "Wants=network-online.target",
        "After=network-online.target",
        "",
        "[Service]",
        "Type=notify",
        f"ExecStart={lbcore} run --config {_quoted(config)} --name {settings.name}",
        f"ExecReload={lbcore} reload --name {settings.name}",
        f"RuntimeDirectory={stem}",
        "RuntimeDirectoryMode=0700",
        f"Environment=LBCORE_RUNTIME_DIR=%t/{stem}",
        "# TERM goes to the control plane alone, which has the workers drain",
        "KillMode=mixed",
        f"TimeoutStopSec={stop_s}",
        f"WatchdogSec={WATCHDOG_S}",
        "Restart=on-failure",
        "RestartSec=1",
        f"LimitNOFILE={DESCRIPTORS}",
    ]
    if not user:
        lines += [f"User={run_as}" if run_as else "DynamicUser=yes", *_state(settings, run_as)]
        lines.append(_SYSTEM_ONLY.format(home=_home(config, lbcore), capabilities=_capabilities(settings)).rstrip())
    anywhere = _ANYWHERE.format(calls=" bpf" if settings.offloads else "").rstrip()
    lines += [anywhere, "", "[Install]", f"WantedBy={'default.target' if user else 'multi-user.target'}", ""]
    return "\n".join(lines)


def _state(settings: BalancerSettings, run_as: str | None) -> Iterator[str]:
    """Where it may write its state file."""
    if settings.state_file is None:
        return
    folder = Path(settings.state_file).absolute().parent
    if folder.parent == Path("/var/lib"):
        yield f"StateDirectory={folder.name}"
    else:
        yield f"ReadWritePaths={_quoted(folder)}"


def _home(config: Path, lbcore: str) -> str:
    """Is anything that it reads in somebody's home?"""
    homes = ("/home/", "/root/", "/run/user/")
    return "read-only" if str(config).startswith(homes) or lbcore.strip('"').startswith(homes) else "yes"


def _low_ports(settings: BalancerSettings) -> list[int]:
    return [listener.port for listener in settings.listeners if 0 < listener.port < FIRST_FREE_PORT]


def _capabilities(settings: BalancerSettings) -> str:
    wanted = ("CAP_NET_BIND_SERVICE" if _low_ports(settings) else "", OFFLOADS if settings.offloads else "")
    return " ".join(filter(None, wanted))


def advice(settings: BalancerSettings, config: Path, *, user: bool, run_as: str | None) -> Iterator[str]:
    """What to do next, a line each."""
    manager, service = "systemctl --user" if user else "systemctl", unit_name(settings.name)
    if user and _low_ports(settings):
        ports = ", ".join(map(str, _low_ports(settings)))
        yield f"ports below {FIRST_FREE_PORT} ({ports}) are not for users: choose others"
    if user and settings.offloads:
        yield f"offload takes {OFFLOADS}, which a user's own manager cannot give: it will be refused"
    if not user:
        for path in _unreadable(settings, config):
            yield f"{path}: {run_as or 'its own account'} may not be able to read it: chgrp or chmod it, or give --run-as"
        if (
            settings.state_file is not None
            and run_as is None
            and Path(settings.state_file).absolute().parent.parent != Path("/var/lib")
        ):
            yield f"state_file {settings.state_file}: better in a folder of /var/lib, which systemd then keeps for it"
    yield f"next: {manager} daemon-reload && {manager} enable --now {service}"
    yield f"then: {manager} status {service}; {manager} reload {service} reads the configuration again"
    if settings.name != DEFAULT_NAME:
        folder = f"{'$XDG_RUNTIME_DIR' if user else '/run'}/{_stem(settings.name)}"
        yield f"commands find it by: LBCORE_RUNTIME_DIR={folder} lbcore status --name {settings.name}"


def _unreadable(settings: BalancerSettings, config: Path) -> list[Path]:
    """Files that not everybody can read."""
    named: list[str | None] = [str(config)]
    for listener in settings.listeners:
        named.append(listener.client_ca)
        for certificate in listener.certificates:
            named += [certificate.cert, certificate.key]
    for pool in settings.pools:
        named += [pool.tls_ca, pool.tls_cert, pool.tls_key]
    found = dict.fromkeys(Path(entry) for entry in named if entry)
    return [path for path in found if path.exists() and not path.stat().st_mode & 0o004]
