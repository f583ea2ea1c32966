"""Bodies of calls: each key has its check, and what breaks it is named."""

from __future__ import annotations

import json

import pytest

from lbcore.admin.bodies import Announcement, BackendCall, BadBody, Body, Farewell, Release, UpgradeCall, parse

ME = {"server_ip": "127.0.0.1", "status": "ready"}
KINDS = [Announcement, BackendCall, Farewell, Release, UpgradeCall]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_attribute_has_a_check(kind: type[Body]) -> None:
    assert list(kind.CHECKS) == [name for name in kind.__annotations__ if name != "CHECKS"]


@pytest.mark.parametrize(
    ("kind", "given", "says"),
    [
        (Announcement, ME | {"weight": 257}, "weight: 257 is not allowed (allowed: a whole number from 0 to 256)"),
        (Announcement, ME | {"weight": True}, "weight: True is not allowed (allowed: a whole number from 0 to 256)"),
        (Announcement, ME | {"seq": 2**63}, f"seq: {2**63} is not allowed (allowed: a whole number from 0 to {2**63 - 1})"),
        (Announcement, ME | {"capacity": 0}, "capacity: 0 is not allowed (allowed: a number above 0, up to 1000000)"),
        (Announcement, ME | {"load": float("inf")}, "load: inf is not allowed (allowed: a number from 0 to 1e+06)"),
        (Announcement, ME | {"load": 10**400}, "load: 1000"),
        (
            Announcement,
            ME | {"load": 1.5},
            "load: 1.5 is not allowed (allowed: a share from 0 to 1, or a whole number of requests in flight)",
        ),
        (Announcement, ME | {"pool": "a\n"}, "pool: 'a\\n' is not allowed (allowed: 1 to 63 letters, digits, '_', '.' or '-')"),
        (Announcement, ME | {"status": ["ready"]}, "status: an array is not allowed (allowed: ready, alive, starting, busy, "),
        (Announcement, ME | {"server_ip": {}}, "server_ip: an object is not allowed (allowed: the IP address of a host)"),
        (Announcement, ME | {"server_ip": None}, "server_ip: missing"),
        (BackendCall, {"address": "\ud800"}, "address: '\\ud800' is not allowed (allowed: a text of 1 to 300 characters)"),
        (BackendCall, {"address": "a:1", "backup": 1}, "backup: 1 is not allowed (allowed: true or false)"),
        (BackendCall, {"address": "x" * 9000}, "address: 'xxx"),
    ],
)
def test_what_is_not_allowed_is_said_in_one_short_line(kind: type[Body], given: object, says: str) -> None:
    with pytest.raises(BadBody) as caught:
        parse(json.dumps(given).encode(), kind)
    assert str(caught.value).startswith(says)
    assert len(str(caught.value)) < 400
    assert caught.value.key == says.partition(":")[0]


def test_null_is_as_good_as_nothing_and_unknown_keys_are_ignored() -> None:
    body = parse(json.dumps(ME | {"port": None, "load": 1, "zork": [1]}).encode(), Announcement)
    assert (body.server_ip, body.port, body.load) == ("127.0.0.1", None, 1.0)


def test_one_spelling_of_an_address() -> None:
    assert parse(b'{"server_ip": "::ffff:10.0.0.1"}', Farewell).server_ip == "10.0.0.1"
