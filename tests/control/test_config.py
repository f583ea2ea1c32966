"""Configuration files: what is right is read, what is wrong is named, all at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbcore.config import options
from lbcore.config.option import duration_text, parse_duration
from lbcore.config.schema import json_schema
from lbcore.config.settings import BackendSettings, ListenerSettings, PoolSettings, parse_address, parse_listen, simple
from lbcore.config.toml import from_document, load
from lbcore.errors import ConfigError

SHOP = """
name = "shop"
workers = 2
[admin]
listen = "127.0.0.1:9900"
token_file = "token"
allow = ["10.0.0.0/8"]
[[listener]]
name = "web"
bind = "tcp://0.0.0.0:8080"
pool = "app"
[[pool]]
name = "app"
policy = "p2c"
[pool.probe]
kind = "http"
path = "/health"
interval = "2s"
timeout = "1s"
rise = 2
fall = 3
[pool.lease]
heartbeat = "5s"
missed = 3
port = 8000
[[pool.backend]]
address = "10.0.0.5:8000"
weight = 10
"""


def problems(text: str, path: Path) -> list[str]:
    """What load says of this text, without the file's name."""
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    return [line.removeprefix(f"{path}: ") for line in caught.value.problems]


def test_the_documented_example(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("correct horse\n")
    (tmp_path / "lb.toml").write_text(SHOP)
    settings = load(tmp_path / "lb.toml")
    assert (settings.name, settings.workers, settings.path) == ("shop", 2, str(tmp_path / "lb.toml"))
    assert (settings.admin.token, settings.admin.allow) == ("correct horse", ["10.0.0.0/8"])
    listener, pool = settings.listeners[0], settings.pools[0]
    assert (listener.mode, listener.host, listener.port, listener.pool) == ("tcp", "0.0.0.0", 8080, "app")
    assert (pool.probe.interval_ms, pool.probe.timeout_ms, pool.lease.heartbeat_ms) == (2000, 1000, 5000)
    assert pool.backends == [BackendSettings(address="10.0.0.5:8000", weight=10)]


def test_an_empty_file_is_a_balancer_without_anything(tmp_path: Path) -> None:
    (tmp_path / "lb.toml").write_text("")
    settings = load(tmp_path / "lb.toml")
    assert (settings.listeners, [pool.name for pool in settings.pools]) == ([], ["default"])


def test_everything_wrong_is_named_at_once(tmp_path: Path) -> None:
    said = problems(
        """
        name = "sh op"
        workers = 200
        zork = 1
        [[pool]]
        policy = "foo"
        [pool.probe]
        interval = "2x"
        rise = 0
        [[pool.backend]]
        address = "10.0.0.1:80"
        weight = 1000
        """,
        tmp_path / "lb.toml",
    )
    assert said == [
        "name: 'sh op' is not allowed (allowed: 1 to 63 letters, digits, '_', '.' or '-')",
        "workers: 200 is not allowed (allowed: a whole number from 1 to 64)",
        "pool[0].policy: 'foo' is not allowed (allowed: round_robin, least_conn, p2c, ewma, random, maglev, prefix)",
        "pool[0].probe.interval: '2x' is not allowed (allowed: a duration from 50ms to 1h)",
        "pool[0].probe.rise: 0 is not allowed (allowed: a whole number from 1 to 100)",
        "pool[0].backend[0].weight: 1000 is not allowed (allowed: a whole number from 0 to 256)",
        "zork: unknown key",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a = ", "not TOML"),
        ("listener = 5", "listener: 5 is not allowed (allowed: an array of tables, [[...]])"),
        ("[listener]", "listener: {} is not allowed (allowed: an array of tables, [[...]])"),
        ("[[listener]]\n", "listener[0].bind: missing (MODE://HOST:PORT or MODE://unix:/PATH)"),
        ('[[listener]]\nbind = "https://a:1"', "listener[0].certificate: missing (what https shows its clients"),
        ('[[listener]]\nbind = "tcp://a"', "listener[0].bind: 'a' is not HOST:PORT"),
        ("[[pool]]\n[[pool.backend]]\n", "pool[0].backend[0].address: missing (HOST:PORT or unix:/PATH)"),
        ('[[pool]]\n[[pool.backend]]\naddress = "a:0"', "with a port from 1 to 65535"),
        ('[[pool]]\n[pool.probe]\nkind = "http"\npath = "health"', "pool[0].probe.path: 'health' is not allowed"),
        (
            '[[pool]]\n[pool.probe]\nkind = "icmp"',
            "kind: 'icmp' is not allowed (allowed: tcp, http, grpc, mysql, postgres, redis, smtp, mqtt, amqp, udp, off)",
        ),
        ('[[pool]]\n[pool.probe]\nkind = "http"\nstatus = "200-"', "status: '200-' is not allowed"),
        ('[[pool]]\n[pool.probe]\nkind = "http"\nstatus = "99"', "status: '99' is not allowed"),
        ('[[pool]]\n[pool.probe]\nkind = "http"\nmethod = "HEAD"\nbody = "ok"', "body: a response to HEAD has none"),
        ('[[pool]]\n[pool.probe]\ntls_ca = "/no/such.pem"', "tls_ca: '/no/such.pem' cannot be used (No such file"),
        ('[[pool]]\nname = "a"\n[[pool]]\nname = "a"', "pool: 'a' is used twice"),
        ('[[listener]]\nbind = "tcp://a:1"\npool = "b"', "listener listener-1: pool 'b' is unknown (known: default)"),
        ('[[listener]]\nbind = "tcp://a:1"\n[[listener]]\nbind = "tcp://a:1"', "bind: 'tcp://a:1' is used twice"),
        ('[admin]\nlisten = "0.0.0.0:1"', "admin.listen: '0.0.0.0:1' is not loopback, so a token is required"),
        ('[admin]\ntoken_file = "/no/such"', "admin.token_file: '/no/such' cannot be read (No such file or directory)"),
        ('[admin]\ntoken = "x"', "admin.token: too short"),
        ('[admin]\nallow = ["10.0.0.1/8"]', "admin.allow: ['10.0.0.1/8'] is not allowed"),
        ('datapath = "magic"', "datapath: 'magic' is not allowed (allowed: auto, copy, splice, offload)"),
        ("drain_timeout = true", "drain_timeout: True is not allowed"),
        ('[[route]]\npool = "default"', "route: requires a listener of mode http"),
        ('max_backends = 1\n[[pool]]\n[[pool.backend]]\naddress = "a:1"\n[[pool.backend]]\naddress = "a:2"', "max_backends: 1"),
        ('[[pool]]\n[[pool.backend]]\naddress = "a:1"\n[[pool.backend]]\naddress = "a:1"', "backend a:1 is named twice"),
        ('[[pool]]\n[pool.probe]\npath = "/health"', "pool[0].probe.path: only for kind http, this is tcp"),
        ('[[pool]]\n[pool.probe]\nkind = "off"\nstatus = "200"', "pool[0].probe.status: only for kind http, this is off"),
        ('[[pool]]\n[pool.probe]\nkind = "http"\nservice = "a.B"', "pool[0].probe.service: only for kind grpc, this is http"),
        ('[[pool]]\n[pool.probe]\nkind = "grpc"\nbody = "ok"', "pool[0].probe.body: only for kind http, this is grpc"),
        ('[[listener]]\nbind = "tcp://a:1"\nmax_body = 5', "listener[0].max_body: only for mode http or https, this is tcp"),
        (
            '[[listener]]\nbind = "tls://a:1"\nkeepalive_timeout = "5s"',
            "keepalive_timeout: only for mode http or https, this is tls",
        ),
        ('[[listener]]\nbind = "udp://a:1"\nerror_body = "no"', "error_body: only for mode http or https, this is udp"),
        (
            '[[listener]]\nbind = "tcp://a:1"\n[[pool]]\nname = "p"\nqueue = 5',
            "pool p: queue: only for requests; its listeners are tcp",
        ),
        (
            '[[listener]]\nbind = "udp://a:1"\n[[pool]]\nname = "p"\nsticky = "lb"',
            "pool p: sticky: only for requests; its listeners are udp",
        ),
        ("wrokers = 2", "wrokers: unknown key (did you mean 'workers'?)"),
        ('[[pool]]\npolcy = "p2c"', "pool[0].polcy: unknown key (did you mean 'policy'?)"),
        ('[[pool]]\n[pool.probe]\nintervall = "1s"', "pool[0].probe.intervall: unknown key (did you mean 'interval'?)"),
        ('[[pool]]\nservice = "a.B"', "pool[0].service: unknown key (it belongs in [pool.probe])"),
        ('[[listener]]\nbind = "tcp://a:1"\ndatapath = "copy"', "listener[0].datapath: unknown key (it belongs at the top)"),
        ("[admin]\nzork = 1", "admin.zork: unknown key"),
    ],
)
def test_one_fault_one_line(tmp_path: Path, text: str, says: str) -> None:
    said = problems(text, tmp_path / "lb.toml")
    assert len(said) == 1, said
    assert says in said[0]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path, says in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory"), (tmp_path / "binary", "not UTF-8")):
        with pytest.raises(ConfigError, match=says):
            load(path)


def test_numbers_are_seconds() -> None:
    settings = from_document({"drain_timeout": 1.5})
    assert settings.drain_timeout_ms == 1500


def test_the_schema_knows_every_option() -> None:
    text = str(json_schema())
    for table in (
        options.TOP,
        options.LISTENER,
        options.CERTIFICATE,
        options.POOL,
        options.PROBE,
        options.LEASE,
        options.BACKEND,
    ):
        for option in (*table, *options.ADMIN):
            assert f"'{option.name}'" in text


@pytest.mark.parametrize(
    ("ms", "text"), [(0, "0s"), (1, "1ms"), (1500, "1500ms"), (2000, "2s"), (60_000, "1m"), (3_600_000, "1h"), (90_000, "90s")]
)
def test_durations_there_and_back(ms: int, text: str) -> None:
    assert duration_text(ms) == text
    assert parse_duration(text) == ms


@given(st.text(max_size=40))
def test_addresses_never_raise_anything_but_value_error(text: str) -> None:
    for parse in (parse_address, parse_listen, parse_duration, BackendSettings.parse):
        try:
            parse(text)
        except ValueError:
            continue


def test_defaults_hold_their_own_bounds() -> None:
    for table in (options.TOP, options.LISTENER, options.POOL, options.PROBE, options.LEASE, options.BACKEND):
        for option in table:
            if option.default is not None:
                assert option.parse(option.default_text if option.kind == "duration" else option.default) == option.default


def test_settings_compare_and_copy() -> None:
    one = simple("tcp://127.0.0.1:0", ["127.0.0.1:1"])
    assert one == simple("tcp://127.0.0.1:0", ["127.0.0.1:1"])
    assert one.replace(workers=2) != one
    assert one.replace(workers=2).replace(workers=None) == one
    assert PoolSettings(retry_after_ms=300).retry_after_ms == 300
    assert ListenerSettings(bind="tcp://[::1]:80").url == "tcp://[::1]:80"


def test_keys_of_requests_are_allowed_where_any_listener_brings_requests(tmp_path: Path) -> None:
    text = """
        [[listener]]
        name = "web"
        bind = "http://127.0.0.1:1"
        pool = "other"
        [[listener]]
        bind = "tcp://127.0.0.1:2"
        pool = "both"
        [[route]]
        listener = "web"
        path_prefix = "/a"
        pool = "both"
        [[pool]]
        name = "both"
        queue = 5
        [[pool]]
        name = "other"
        [[pool]]
        name = "nobody-yet"
        sticky = "lb"
        """
    file = tmp_path / "lb.toml"
    file.write_text(text)
    assert [pool.queue for pool in load(file).pools] == [5, None, None]


def test_every_scope_is_of_modes_or_kinds_that_exist() -> None:
    scopes = {option.name: option.scope for option in (*options.LISTENER, *options.POOL, *options.PROBE) if option.scope}
    assert scopes["max_body"] == ("http",)
    assert scopes["responses"] == ("udp",)
    assert scopes["service"] == ("grpc",)
    assert scopes["accept_proxy"] == ("tcp", "tls", "http", "https")
    assert "pool" not in scopes


def test_two_pools_of_one_name_are_told_in_one_line(tmp_path: Path) -> None:
    """With other backends, which once came to an error of ours."""
    file = tmp_path / "lbcore.toml"
    file.write_text(
        '[[listener]]\nbind = "http://127.0.0.1:0"\n[[pool]]\n[[pool]]\n[[pool.backend]]\naddress = "127.0.0.1:8000"\n'
    )
    with pytest.raises(ConfigError) as refused:
        load(file)
    assert len(refused.value.problems) == 1
    assert "default" in refused.value.problems[0]
