"""No secret in anything that is printed, logged, answered or kept: planted ones are looked for in all outputs of a run."""

from __future__ import annotations

import contextlib
import pickle
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Command, wait_for

from lbcore.config.secret import Secret
from lbcore.config.settings import AdminSettings, BalancerSettings, LeaseSettings, ListenerSettings, PoolSettings
from lbcore.config.toml import from_document, load
from lbcore.errors import ConfigError

PLANTED = ("planted-operators", "planted-pools-token", "planted-key-that-signs", "planted-cookie-secret")
OPERATORS, POOLS, SIGNS, COOKIES = PLANTED


def told(text: str) -> list[str]:
    """The planted secrets that it tells."""
    return [secret for secret in (*PLANTED, "planted-other-token") if secret in text]


def planted_file(folder: Path) -> Path:
    """A configuration with a secret wherever there can be one."""
    token = folder / "token"
    token.write_text(f"{OPERATORS}\n")
    token.chmod(0o600)
    file = folder / "lb.toml"
    file.write_text(
        f"""
        state_file = "state"
        access_log = "access"
        [admin]
        listen = "127.0.0.1:0"
        token_file = "token"
        [[listener]]
        bind = "http://127.0.0.1:0"
        [[pool]]
        name = "app"
        sticky = "lb"
        sticky_secret = "{COOKIES}"
        probe.kind = "off"
        lease.token = "{POOLS}"
        lease.hmac_key = "{SIGNS}"
        backend = [{{ address = "127.0.0.1:9" }}]
        """
    )
    return file


@contextlib.contextmanager
def running(folder: Path, file: Path) -> Iterator[Command]:
    """A balancer of this file alone, with no flags."""
    lb = Command(folder, "-c", str(file))
    try:
        yield lb
    finally:
        assert lb.stop() == 0


def test_a_run_tells_no_secret_in_any_output(tmp_path: Path) -> None:
    file = planted_file(tmp_path)
    with running(tmp_path, file) as lb:
        outputs = [lb.ready_line]
        outputs += [said(lb, *words) for words in COMMANDS]
        outputs += [answer(lb, path, "--") for path in ("/status", "/metrics", "/backends", "/register")]
        (tmp_path / "token").write_text("planted-other-token\n")
        lb.process.send_signal(1)
        wait_for(lambda: "admin.token" in lb.stderr.read_text(), "the reload is refused")
        outputs.append(said(lb, "reload"))
        assert "another one instead of *** requires a restart" in outputs[-1]
        status, body = lb.call("/reload")
        assert status == 422
        outputs.append(str(body))
    outputs += [refused(broken) for broken in broken_files(tmp_path, file.read_text())]
    kept = [path for path in tmp_path.iterdir() if path.is_file() and path.name != "token" and path.suffix != ".toml"]
    outputs += [path.read_text(errors="replace") for path in kept]
    assert len(kept) >= 2  # the log, at least, and the access log
    assert [told(output) for output in outputs] == [[]] * len(outputs)


COMMANDS = (
    ("status",), ("status", "--json"), ("why",), ("backend", "add", "127.0.0.1:10"), ("backend", "add", "nowhere"),
)  # fmt: skip


def said(lb: Command, *words: str) -> str:
    """All that a command prints."""
    done = lb.cli(*words)
    return done.stdout + done.stderr


def refused(file: Path) -> str:
    """What is said of a file that is not taken."""
    with pytest.raises(ConfigError) as error:
        load(file)
    return "\n".join(error.value.problems)


def answer(lb: Command, path: str, token: str) -> str:
    """The answer to a GET with some token."""
    request = urllib.request.Request(f"{lb.admin}{path}", headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=5) as found:
            return str(found.headers) + found.read().decode()
    except urllib.error.HTTPError as error:
        return str(error.headers) + error.read().decode()


def broken_files(folder: Path, text: str) -> list[Path]:
    """Configurations that are refused for what stands beside a secret, or for the secret itself."""
    made = []
    for number, (old, new) in enumerate(
        (
            ("[admin]", "[[admin]]"),  # an array that holds the token
            (f'lease.token = "{POOLS}"', f'lease.token = ["{POOLS}"]'),
            (f'lease.token = "{POOLS}"', f'lease = ["{POOLS}"]'),
            (f'lease.token = "{POOLS}"', f'lease.token = "{POOLS}\\n"'),
            (f'sticky_secret = "{COOKIES}"', f'sticky_secret = {{ value = "{COOKIES}" }}'),
            (f'"{SIGNS}"', f'"{SIGNS}'),  # not TOML
            (
                'token_file = "token"',
                f'token = "{OPERATORS}"\nlisten = "{OPERATORS}"'.replace(f'listen = "{OPERATORS}"', "rate = -1"),
            ),
        )
    ):
        path = folder / f"broken-{number}.toml"
        path.write_text(text.replace(old, new))
        made.append(path)
    return made


def settings_with_secrets() -> BalancerSettings:
    lease = LeaseSettings(token=POOLS, hmac_key=SIGNS)
    pool = PoolSettings(name="app", sticky="lb", sticky_secret=COOKIES, lease=lease)
    return BalancerSettings(
        listeners=[ListenerSettings(bind="http://127.0.0.1:0")],
        pools=[pool],
        admin=AdminSettings(listen="127.0.0.1:0", token=OPERATORS),
    )


def test_a_repr_tells_no_secret() -> None:
    assert told(repr(settings_with_secrets())) == []
    assert told(f"{Secret(POOLS)} {Secret(POOLS)!r} {[Secret(POOLS)]} {Secret(POOLS):>40}") == []
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(Secret(POOLS))


def test_a_secret_is_equal_to_its_own_text_only() -> None:
    assert Secret(POOLS) == Secret(POOLS) == POOLS
    assert Secret(POOLS) != Secret(SIGNS)
    assert Secret("é") != "e"
    assert Secret(POOLS) != 7
    assert len({Secret(POOLS), Secret(POOLS)}) == 1
    assert settings_with_secrets() == settings_with_secrets()


@pytest.mark.parametrize(
    "document",
    [
        {"admin": {"token": f"{POOLS}\n"}},
        {"admin": {"token": [POOLS]}},
        {"admin": {"token": POOLS[:3] + "\0"}},
        {"admin": [{"token": POOLS}]},
        {"pool": {"lease": {"token": POOLS}}},
        {"pool": [{"name": "a", "lease": [{"token": POOLS}]}]},
        {"pool": [{"name": "a", "sticky_secret": {"x": COOKIES}}]},
    ],
    ids=repr,
)
def test_a_refused_configuration_tells_no_secret(document: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as refused:
        from_document(document)
    assert told(str(refused.value)) == []
    assert told(" ".join(refused.value.problems)) == []


def test_a_token_file_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    file = planted_file(tmp_path)
    assert load(file).advice() == []
    (tmp_path / "token").chmod(0o644)
    advice = load(file).advice()
    assert advice == [f"admin.token_file: {str(tmp_path / 'token')!r} can be read by every user of this host (chmod o-r)"]
    done = subprocess.run([sys.executable, "-m", "lbcore", "check", str(file)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert advice[0] in done.stderr
    with running(tmp_path, file) as lb:
        assert advice[0] in lb.stderr.read_text()


def test_key_files_of_pools_are_warned_of(tmp_path: Path) -> None:
    for name in ("token", "key"):
        (tmp_path / name).write_text("0123456789abcdefg\n")
        (tmp_path / name).chmod(0o604)
    pool = PoolSettings(name="app", lease=LeaseSettings(token_file=tmp_path / "token", hmac_key_file=tmp_path / "key"))
    found = BalancerSettings(listeners=[ListenerSettings(bind="tcp://127.0.0.1:0")], pools=[pool]).advice()
    assert [line.partition(" '")[0] for line in found] == [
        "pool app: lease.hmac_key_file:", "pool app: lease.token_file:",
    ]  # fmt: skip
