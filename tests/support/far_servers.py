"""Real servers in a network namespace of their own, so that probes reach them from an address that is not 127.0.0.1."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class Far:
    """A network namespace at the other end of a veth pair. ip, ip6: its addresses; link_local: likewise, with our scope."""

    def __init__(self) -> None:
        number = os.getpid() % 250 + 1
        self.name = f"lbcore-far-{os.getpid()}"
        self.near = f"lbn{os.getpid()}"
        self.ip, self.own_ip = f"10.251.{number}.2", f"10.251.{number}.1"
        self.ip6 = f"fd51:{number:x}::2"
        self._own_ip6 = f"fd51:{number:x}::1"

    @property
    def inside(self) -> list[str]:
        """The beginning of a command line that runs there."""
        return ["ip", "netns", "exec", self.name]

    def link_local(self) -> str:
        """The address of its end of the pair, with the interface that it is reached by."""
        shown = self._run(*self.inside, "ip", "-6", "-o", "addr", "show", "dev", "far", "scope", "link")
        return f"{shown.split()[3].partition('/')[0]}%{self.near}"

    def make(self) -> None:
        """Raises CalledProcessError or FileNotFoundError where that cannot be done."""
        self._run("ip", "netns", "add", self.name)
        self._run("ip", "link", "add", self.near, "type", "veth", "peer", "name", "far", "netns", self.name)
        self._run("ip", "addr", "add", f"{self.own_ip}/24", "dev", self.near)
        self._run("ip", "-6", "addr", "add", f"{self._own_ip6}/64", "dev", self.near, "nodad")
        self._run("ip", "link", "set", self.near, "up", "addrgenmode", "eui64")
        for words in (
            ["addr", "add", f"{self.ip}/24", "dev", "far"],
            ["-6", "addr", "add", f"{self.ip6}/64", "dev", "far", "nodad"],
            ["link", "set", "far", "up"],
            ["link", "set", "lo", "up"],
        ):
            self._run(*self.inside, "ip", *words)

    def remove(self) -> None:
        """The pair goes with the namespace, once nothing runs there."""
        for words in (["link", "del", self.near], ["netns", "del", self.name]):
            subprocess.run(["ip", *words], capture_output=True)

    def _run(self, *words: str) -> str:
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout


@contextlib.contextmanager
def namespace() -> Iterator[Far]:
    """Skips the test where no namespace can be made."""
    far = Far()
    try:
        far.make()
    except (OSError, subprocess.CalledProcessError):
        far.remove()
        pytest.skip("no network namespace can be made here")
    try:
        yield far
    finally:
        far.remove()


class Server:
    """A server that runs. said: what it has logged, a line each."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, ip: str, port: int) -> None:
        self.process = process
        self.port = port
        self.ip = ip
        self._log = log

    @property
    def address(self) -> str:
        return f"{self.ip}:{self.port}"

    @property
    def said(self) -> list[str]:
        return self._log.read_text(errors="replace").splitlines() if self._log.exists() else []

    def freeze(self) -> None:
        """It accepts, as the kernel does that for it, and answers nothing."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.killpg(self.process.pid, signal.SIGCONT)

    def end(self) -> None:
        """At once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def serving(
    far: Far,
    directory: Path,
    port: int,
    line: Sequence[str],
    until: Callable[[Server], bool] | None = None,
    log: Path | None = None,
    **options: Any,
) -> Iterator[Server]:
    """Run a server there, from when it listens or `until` says so. log: where it logs; default: what it prints."""
    out_path = directory / "server.log"
    with out_path.open("wb") as out:
        process = subprocess.Popen(
            [*far.inside, *line],
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            **options,
        )
    server = Server(process, log or out_path, far.ip, port)
    try:
        wait_for(lambda: process.poll() is not None or (until or _listens)(server), f"{line[0]} serves", 30)
        assert process.poll() is None, server.said
        yield server
    finally:
        server.end()


def says(text: str) -> Callable[[Server], bool]:
    """A server's log says so."""
    return lambda server: any(text in line for line in server.said)


def _listens(server: Server) -> bool:
    with socket.socket() as trial:  # as quiet as a probe: nothing of it is in the server's log
        trial.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return trial.connect_ex((server.ip, server.port)) == 0


@contextlib.contextmanager
def open_directory(user: str | None = None) -> Iterator[Path]:
    """A directory that a server can reach which is not root (pytest's own are root's)."""
    path = Path(tempfile.mkdtemp(prefix="lbcore-server-"))
    try:
        path.chmod(0o755)
        if user is not None:
            shutil.chown(path, user, user)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def need(*programs: str) -> list[str]:
    """Where these programs are. Skips the test when one is missing, by its name."""
    found = [shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin") for program in programs]
    for program, path in zip(programs, found, strict=True):
        if path is None:
            pytest.skip(f"{program} is missing")
    return [str(path) for path in found]


# --- the servers ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def mariadb(far: Far) -> Iterator[Server]:
    """With an account `probe` without a password, and `guarded` with "secret"; max_connect_errors is 100, its default."""
    install, daemon = need("mariadb-install-db", "mariadbd")
    with open_directory() as directory:
        words = ["--no-defaults", "--user=root", f"--datadir={directory}/data"]
        subprocess.run([install, *words, "--skip-test-db"], check=True, capture_output=True)
        accounts = directory / "accounts.sql"
        accounts.write_text("CREATE USER probe@'%';\nCREATE USER guarded@'%' IDENTIFIED BY 'secret';\n")
        words += [f"--socket={directory}/socket", f"--pid-file={directory}/pid", "--port=3306", "--bind-address=*"]
        words += [f"--init-file={accounts}", "--skip-log-bin", "--skip-name-resolve", "--innodb-buffer-pool-size=8M"]
        with serving(far, directory, 3306, [daemon, *words], says("ready for connections")) as server:
            yield server


@contextlib.contextmanager
def postgres(far: Far) -> Iterator[Server]:
    """With TLS, a role `probe` that may log in without a password, and `guarded` that may not."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not folders:
        pytest.skip("postgres is missing")
    (runuser,) = need("setpriv")
    as_user = [runuser, "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    with open_directory("postgres") as directory:
        data = directory / "data"
        subprocess.run([*as_user, folders[-1] / "initdb", "-D", data, "-A", "trust", "-N"], check=True, capture_output=True)
        (data / "pg_hba.conf").write_text("host all guarded all scram-sha-256\nhost all all all trust\n")
        roles = "CREATE ROLE probe LOGIN;\nCREATE ROLE guarded LOGIN PASSWORD 'secret';\n"
        single = [*as_user, folders[-1] / "postgres", "--single", "-D", data, "postgres"]
        subprocess.run(single, input=roles.encode(), check=True, capture_output=True)
        words = [
            "-D",
            str(data),
            "-k",
            str(directory),
            "-h",
            "*",
            "-p",
            "5432",
            "-c",
            "fsync=off",
            "-c",
            "log_min_messages=info",
        ]
        _certificate(data, "postgres")
        words += ["-c", "ssl=on", "-c", f"ssl_cert_file={data}/cert.pem", "-c", f"ssl_key_file={data}/key.pem"]
        with serving(
            far, directory, 5432, [*as_user, str(folders[-1] / "postgres"), *words], says("ready to accept connections")
        ) as server:
            yield server


def _certificate(directory: Path, user: str) -> None:
    (openssl,) = need("openssl")
    key, cert = directory / "key.pem", directory / "cert.pem"
    words = ["req", "-x509", "-nodes", "-newkey", "rsa:2048", "-keyout", key, "-out", cert, "-subj", "/CN=server"]
    subprocess.run([openssl, *words], check=True, capture_output=True)
    for path in (key, cert):
        path.chmod(0o600)
        shutil.chown(path, user, user)


@contextlib.contextmanager
def redis(far: Far, *options: str) -> Iterator[Server]:
    (daemon,) = need("redis-server")
    with open_directory() as directory:
        words = ["--port", "6379", "--bind", "*", "--protected-mode", "no", "--save", "", "--dir", str(directory)]
        with serving(far, directory, 6379, [daemon, *words, *options], says("Ready to accept connections")) as server:
            yield server


@contextlib.contextmanager
def postfix(far: Far) -> Iterator[Server]:
    master, check = need("/usr/lib/postfix/sbin/master", "postfix")
    with open_directory() as directory:
        conf, log = directory / "conf", directory / "mail.log"
        conf.mkdir()
        for name in ("spool", "data"):
            (directory / name).mkdir()
        shutil.chown(directory / "data", "postfix", "postfix")
        (conf / "main.cf").write_text(
            f"compatibility_level = 3.6\nqueue_directory = {directory}/spool\ndata_directory = {directory}/data\n"
            f"maillog_file = {log}\nmaillog_file_prefixes = {directory}\ninet_interfaces = all\nmydestination =\n"
            "myhostname = mail.test\nalias_maps =\nlocal_recipient_maps =\n"
            "smtpd_client_connection_count_limit = 0\nmynetworks = 127.0.0.0/8\n"
        )
        services = {"smtp inet": "smtpd", "anvil unix": "anvil", "tlsmgr unix": "tlsmgr", "rewrite unix": "trivial-rewrite"}
        lines = [f"{name} n - n - - {program}\n" for name, program in services.items()]
        (conf / "master.cf").write_text("".join(lines) + "postlog unix-dgram n - n - 1 postlogd\n")
        subprocess.run([check, "-c", conf, "check"], capture_output=True)
        with serving(far, directory, 25, [master, "-c", str(conf), "-d"], says("daemon started"), log) as server:
            yield server


@contextlib.contextmanager
def mosquitto(far: Far, *, anonymous: bool = True) -> Iterator[Server]:
    (daemon,) = need("mosquitto")
    with open_directory() as directory:
        conf = directory / "conf"
        conf.write_text(f"listener 1883\nallow_anonymous {str(anonymous).lower()}\nuser root\nlog_type all\n")
        with serving(far, directory, 1883, [daemon, "-c", str(conf)]) as server:
            yield server


@contextlib.contextmanager
def rabbitmq(far: Far) -> Iterator[Server]:
    need("rabbitmq-server")
    with open_directory() as directory:
        conf = directory / "rabbitmq.conf"
        conf.write_text(
            "listeners.tcp.1 = :::5672\nloopback_users = none\nlog.console = true\nlog.console.level = info\nlog.file = false\n"
        )
        names = {"NODENAME": f"lbcore{os.getpid()}@localhost", "MNESIA_BASE": directory / "db", "LOG_BASE": directory / "log"}
        names |= {"CONFIG_FILE": conf, "ENABLED_PLUGINS_FILE": directory / "plugins", "DIST_PORT": 25999}
        env = os.environ | {f"RABBITMQ_{name}": str(value) for name, value in names.items()}
        env |= {"HOME": str(directory), "ERL_EPMD_PORT": "4999"}
        with serving(
            far, directory, 5672, ["/usr/lib/rabbitmq/bin/rabbitmq-server"], says("Server startup complete"), env=env
        ) as server:
            yield server
        subprocess.run([*far.inside, "epmd", "-port", "4999", "-kill"], capture_output=True)


@contextlib.contextmanager
def openssh(far: Far) -> Iterator[Server]:
    daemon, keygen = need("sshd", "ssh-keygen")
    with open_directory() as directory:
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", directory / "key"], check=True)
        Path("/run/sshd").mkdir(exist_ok=True)
        options = ["-o", f"HostKey={directory}/key", "-o", f"PidFile={directory}/pid", "-o", "Port=2222", "-o", "UsePAM=no"]
        with serving(far, directory, 2222, [daemon, "-D", "-e", "-f", "/dev/null", *options, "-o", "LogLevel=INFO"]) as server:
            yield server
