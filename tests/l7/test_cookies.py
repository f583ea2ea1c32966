"""Cookies of requests beside an oracle: which values a name has, and whom a sticky cookie binds to."""

from __future__ import annotations

import contextlib
import random

from harness import SLOWER
from http_balancers import cookie_of, http
from http_peers import Backend, Client, field
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracle import cookies

from lbcore import _engine
from lbcore.table import packed

FIELD_NAMES = st.sampled_from([b"Cookie", b"cookie", b"COOKIE", b"Cookies", b"X"])
PAIRS = st.sampled_from(
    [
        b"lb=1",
        b"lb=",
        b"lb",
        b"LB=2",
        b"xlb=3",
        b"lbx=4",
        b"lb=a=b",
        b"=5",
        b"lb =6",
        b"lb= 7",
        b'lb="8"',
        b"",
        b" ",
        b"\tlb=\xe9",
    ]
)
SEPARATORS = st.sampled_from([b"; ", b";", b" ;", b";;", b",", b";\t"])
JARS = st.lists(st.tuples(SEPARATORS, PAIRS), max_size=5).map(lambda parts: b"".join(part for pair in parts for part in pair))
FIELDS = st.lists(st.tuples(FIELD_NAMES, JARS), max_size=4)


@given(FIELDS, st.sampled_from([b"lb", b"LB", b"x"]))
@example([(b"Cookie", b"lb=1; lb=2"), (b"X", b"lb=3"), (b"Cookie", b";lb=4;")], b"lb")
@settings(max_examples=1500, deadline=None)
def test_cookies_are_read_as_the_oracle_reads_them(fields: list[tuple[bytes, bytes]], name: bytes) -> None:
    lines = b"".join(b"%s: %s\r\n" % field for field in fields)
    head = b"GET / HTTP/1.1\r\nHost: a.example\r\n" + lines + b"\r\n"
    assert _engine.read_cookies(head, name) == cookies.values(fields, name)


# --- sticky ones -----------------------------------------------------------------------------------------------------

SECRET = "0123456789abcdef"
KEY = packed.sticky_key("default", SECRET.encode())


def mangled(part: bytes, chance: random.Random) -> bytes:
    """A part that was tampered with, or another spelling of the same."""
    at = chance.randrange(len(part))
    return chance.choice(
        [
            part,
            part,
            part.upper(),
            b"%08x" % chance.randrange(1 << 32) + part[8:],  # the index is a hint alone
            part[:at] + b"%x" % chance.randrange(16) + part[at + 1 :],
            part[:at] + b"." + part[at + 1 :],
            part[:-1],
            part + b"0",
            b"",
        ]
    )


def jar_of(parts: list[bytes], chance: random.Random) -> tuple[bytes, list[bytes]]:
    """Some of these parts, mangled, as the header lines of a request; and the cookie's values."""
    values = [
        b"-".join(mangled(chance.choice(parts), chance) for _ in range(chance.choice([1, 1, 2, 3, 9])))
        for _ in range(chance.randrange(4))
    ]
    pairs = [b"lb=" + value for value in values]
    apart = chance.choice([b"; ", b"\r\nCookie: ", b"; lbx=1; "])
    return (b"Cookie: " + apart.join(pairs) + b"\r\n" if pairs else b""), values


def test_sticky_cookies_bind_as_the_oracle_reads_them() -> None:
    with contextlib.ExitStack() as stack:
        backends = [stack.enter_context(Backend(name=b"%d" % number)) for number in range(3)]
        lb = stack.enter_context(http(*backends, sticky="lb", sticky_secret=SECRET, policy="round_robin"))
        client = stack.enter_context(Client(lb.address))
        addresses = {backend.address.encode(): b"%d" % number for number, backend in enumerate(backends)}
        set_by = {answer.body: cookie_of(answer.head) for answer in (client.get() for _ in addresses)}
        parts = [cookies.sticky_part(KEY, address, index) for index, address in enumerate(addresses)]
        assert set_by == {b"%d" % number: b"lb=" + part for number, part in enumerate(parts)}

        parts.append(cookies.sticky_part(KEY, b"127.0.0.1:1", 1))  # of a backend that has left
        parts.append(cookies.sticky_part(b"k" * 16, next(iter(addresses)), 0))  # of another secret
        chance, bound = random.Random(7), 0
        for _ in range(400 // SLOWER):
            lines, values = jar_of(parts, chance)
            answer = client.get(extra=lines)
            expected = cookies.bound_to(values, KEY, list(addresses))
            assert (field(answer.head, b"Set-Cookie") is None) == bool(expected), (lines, expected)
            if expected:
                assert answer.body == addresses[expected[0]], (lines, expected)
                bound += 1
        assert bound > 50 / SLOWER
