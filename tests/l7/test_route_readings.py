"""A route is no fence if another way to write a request walks around it: what two readings route differently is refused."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

import pytest
from harness import balanced
from http_balancers import routed, settings_of
from http_peers import Answer, Backend, Client
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import paths
from oracle.paths import BARE, SLASHED, TWICE

from lbcore import _engine
from lbcore.config.settings import RouteSettings
from lbcore.errors import ConfigError

if TYPE_CHECKING:
    from lbcore import Balancer

PREDICT = {"path_regex": ":predict$", "pool": "predict"}


def ask(lb: Balancer, path: str = "/", **how: Any) -> Answer:
    """The answer to a request on a connection of its own: a refusal ends it."""
    with Client(lb.address) as client:
        return client.get(path, **how)


def test_percent_encoded_sub_delimiter_does_not_walk_around_an_expression() -> None:
    with routed([PREDICT]) as (lb, _):
        assert ask(lb, "/v1/models/m:predict").body == b"predict"
        for path in ("/v1/models/m%3Apredict", "/v1/models/m%3apredict", "/v1/models/m%3A%70redict", "/v1/%6D%3apredict?q"):
            assert ask(lb, path).status == 400, path
        assert ask(lb, "/v1/models/m%3Adescribe").body == b"default"
        assert ask(lb, "/v1/models/m?x=%3Apredict").body == b"default"


@pytest.mark.parametrize("delimiter", "!$&'()*+,=:@~ \"<>[]^`{|}\xe9")
@pytest.mark.parametrize("kind", ["path", "path_prefix"])
def test_any_encoded_character_does_not_walk_around_a_path(kind: str, delimiter: str) -> None:
    escape = "".join(f"%{byte:02X}" for byte in delimiter.encode())
    literal = delimiter if delimiter.isascii() and delimiter not in ' "<>[]^`{|}' else escape
    with routed([{kind: f"/a{literal}b", "pool": "fence"}]) as (lb, _):
        assert ask(lb, f"/a{literal}b").body == b"fence"
        for path in (f"/a{escape}b", f"/%61{escape}b", f"/a{escape.lower()}b"):
            answer = ask(lb, path)
            # an escape of the same character is the route's own, or it is refused: it never leads elsewhere
            assert answer.body == b"fence" or answer.status == 400, path
            assert answer.body == b"fence" or literal != escape, path
        assert ask(lb, f"/c{escape}b").body == b"default"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/%2561dmin", 400),  # decoded twice, it is /admin
        ("/%25%36%31dmin/x", 400),
        ("/x%252f..%252fadmin", 400),
        ("/x/%252e%252e/admin", 400),
        ("/x/%252561dmin", 200),  # three times: nobody does
        ("/x%25y", 200),
        ("/x%2500", 200),
        ("/100%25", 200),
        ("/100%", 400),
        ("/admin;x=1/y", 400),  # without parameters, it is /admin/y
        ("/admin;x", 400),
        ("/;x/admin", 400),
        ("/x/..;/admin", 400),
        ("/x/..;a=b/admin", 400),
        ("/x/%2e%2e;/admin", 400),
        ("/x%2f..;%2fadmin", 400),
        ("/x/..%3b/admin", 400),
        ("/%61dmin%3bx", 400),
        ("/admin%253bx/y", 200),
        ("/x;admin/y", 200),
        ("/admin/y;x=1", 200),
        ("/a;b=c?d=/admin", 200),
    ],
)
def test_decoding_twice_and_parameters_do_not_walk_around_a_prefix(path: str, status: int) -> None:
    with routed([{"path_prefix": "/admin", "pool": "admin"}]) as (lb, _):
        answer = ask(lb, path)
        assert answer.status == status, path
        assert answer.status == 400 or (answer.body == b"admin") == path.startswith("/admin/"), path


def test_slashes_and_escapes_at_once() -> None:
    with routed([{"path_prefix": "/a:b/c", "pool": "fence"}, {"path_regex": "^/d://e$", "pool": "twice"}]) as (lb, _):
        for path in ("//a%3Ab//c", "/a%3Ab%2Fc", "/x/..%2Fa%3Ab/c", "/a%3Ab\\c", "/a%3Ab/x/../c", "/d%3A//e", "/d%3A/%2Fe"):
            assert ask(lb, path).status == 400, path
        assert ask(lb, "/a:b/c/d").body == b"fence"
        assert ask(lb, "/a%3Ab/x").body == b"default"


def test_route_that_is_written_with_an_escape_takes_it() -> None:
    routes = [
        {"path": "/caf%C3%A9", "pool": "cafe"},
        {"path_prefix": "/a%3Ab/", "pool": "colon"},
        {"path_regex": "%2Cx$", "pool": "comma"},
        {"path": "/p;v=1", "pool": "parameter"},
    ]
    with routed(routes) as (lb, _):
        assert ask(lb, "/caf%C3%A9").body == b"cafe"
        assert ask(lb, "/caf%c3%a9").body == b"cafe"
        assert ask(lb, "/a%3ab/c").body == b"colon"
        assert ask(lb, "/a:b/c").status == 400
        assert ask(lb, "/y%2cx").body == b"comma"
        assert ask(lb, "/y,x").body == b"default"
        assert ask(lb, "/p;v=1").body == b"parameter"


def test_readings_that_lead_to_one_pool_are_served() -> None:
    routes = [{"path_regex": ":x$", "pool": "one"}, {"path_prefix": "/one", "pool": "one"}, {"path": "/d:y", "pool": "default"}]
    with routed(routes) as (lb, _):
        assert ask(lb, "/one/a%3Ax").body == b"one"
        assert ask(lb, "/two/a%3Ax").status == 400
        assert ask(lb, "/d%3Ay").body == b"default"


def test_ambiguous_request_reaches_no_backend_and_an_unambiguous_one_goes_as_it_came() -> None:
    with contextlib.ExitStack() as stack:
        predict, default = stack.enter_context(Backend(name=b"predict")), stack.enter_context(Backend(name=b"default"))
        lb = stack.enter_context(balanced(settings=settings_of({"predict": predict, "default": default}, [PREDICT])))
        assert ask(lb, "/m%3Apredict").status == 400
        assert predict.heads + default.heads == []
        assert ask(lb, "/%7e%3Ax;y/%41%2c").status == 200
        assert default.heads[0].startswith(b"GET /%7e%3Ax;y/%41%2c HTTP/1.1\r\n")


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "x-http-method", "X-METHOD-OVERRIDE", "X_HTTP_Method_Override"])
def test_method_in_a_header_does_not_walk_around_a_route_by_method(name: str) -> None:
    with routed([{"method": ["DELETE", "PUT"], "pool": "fence"}, {"path": "/x", "method": "GET", "pool": "read"}]) as (
        lb,
        _,
    ):
        for said, status in (("DELETE", 400), ("delete", 400), ("PATCH", 200), ("GET", 200), ("", 200), ("D" * 40, 200)):
            answer = ask(lb, extra=f"{name}: {said}\r\nContent-Length: 0\r\n".encode(), method=b"POST")
            assert answer.status == status, said
        assert ask(lb, extra=f"{name}: POST\r\nX: y\r\n{name}: PUT\r\n".encode(), method=b"POST").status == 400
        assert ask(lb, extra=f"{name}: PUT\r\n".encode(), method=b"DELETE").body == b"fence"
        assert ask(lb, "/x", extra=f"{name}: POST\r\n".encode()).status == 400


@pytest.mark.parametrize("path", ["/100%", "/%zz", "/a%00", "/%4"])
def test_route_with_a_broken_escape_is_refused(path: str) -> None:
    for key in ("path", "path_prefix"):
        with pytest.raises(
            ConfigError, match=re.escape(f"{key}: {path!r} is not allowed (allowed: escapes such as %20, but not %00)")
        ):
            RouteSettings(**{key: path, "pool": "default"})


# --- an oracle --------------------------------------------------------------------------------------------------------


PIECES = [
    "/",
    "a",
    ".",
    "..",
    ";",
    "%2f",
    "%2F",
    "%5c",
    "\\",
    "%3A",
    ":",
    "%61",
    "%25",
    "61",
    "%2e",
    "2E",
    "%3b",
    "%",
    "3b",
    "%00",
    "%C3",
    "//",
]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=10), st.integers(0, 15))
def test_readings_are_those_of_an_oracle(pieces: list[str], reading: int) -> None:
    path = ("/" + "".join(pieces)).encode()
    if reading & TWICE and reading & BARE and not reading & SLASHED and b"\\" in path:
        return
    assert _engine.normal_path(path, reading=reading) == paths.read(path, reading)
