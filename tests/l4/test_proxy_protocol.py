"""The PROXY protocol: written and read back, spoilt, and beside HAProxy in both roles."""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import queue
import socket
from pathlib import Path
from typing import Any

import pytest
from harness import Peer, dial, free_port, read_all
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracle import proxy_header as oracle
from real_peers import needs, running

from lbcore import _engine

V4 = st.tuples(st.ip_addresses(v=4).map(str), st.integers(0, 65535))
V6 = st.tuples(
    st.ip_addresses(v=6).filter(lambda ip: isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is None).map(str),
    st.integers(0, 65535),
)
ENDS = st.one_of(st.tuples(V4, V4), st.tuples(V6, V6), st.just((None, None)))
EXTRA = st.fixed_dictionaries(
    {},
    optional={
        "authority": st.binary(min_size=1, max_size=300),
        "alpn": st.binary(min_size=1, max_size=40),
        "tls": st.booleans(),
        "tls_version": st.sampled_from([b"TLSv1.2", b"TLSv1.3"]),
        "common_name": st.text("abc.*é", max_size=20).map(str.encode),
        "crc": st.booleans(),
    },
)


def fate(data: bytes) -> str:
    """What the reader makes of it, in a word."""
    try:
        return "more" if _engine.read_proxy(data) is None else "done"
    except ValueError:
        return "bad"


def same(told: dict[str, Any] | None, ends: tuple[Any, Any]) -> bool:
    """Are these the ends that were told? IPv6 has more than one spelling."""
    assert told is not None

    def plain(end: tuple[str, int] | None) -> tuple[Any, int] | None:
        return end and (ipaddress.ip_address(end[0]), end[1])

    return (plain(told["source"]), plain(told["target"])) == (plain(ends[0]), plain(ends[1]))


@given(ENDS, EXTRA, st.binary(max_size=5))
@settings(max_examples=400, deadline=None)
def test_version_2_is_read_back_as_it_was_written(ends: tuple[Any, Any], extra: dict[str, Any], rest: bytes) -> None:
    header = _engine.write_proxy(2, *ends, **extra)
    told = _engine.read_proxy(header + rest)
    assert same(told, ends)
    assert told is not None
    assert told["bytes"] == len(header)
    if ends[0] is None:
        extra = {}  # nothing is said
    assert (told["authority"], told["alpn"]) == (extra.get("authority"), extra.get("alpn"))
    assert told["tls"] == extra.get("tls", False)
    assert all(fate(header[:cut]) == "more" for cut in range(len(header)))


@given(ENDS, st.binary(max_size=5))
@settings(max_examples=400, deadline=None)
def test_version_1_is_read_back_as_it_was_written(ends: tuple[Any, Any], rest: bytes) -> None:
    header = _engine.write_proxy(1, *ends)
    assert len(header) <= 107
    told = _engine.read_proxy(header + rest)
    assert same(told, ends)
    assert told is not None
    assert told["bytes"] == len(header)
    assert all(fate(header[:cut]) == "more" for cut in range(len(header)))


@given(ENDS, EXTRA, st.sampled_from([1, 2]), st.data())
@settings(max_examples=1000, deadline=None)
def test_spoilt_headers_are_bad_for_good(
    ends: tuple[Any, Any], extra: dict[str, Any], version: int, data: st.DataObject
) -> None:
    """A fate is final: once it is bad or done, no further byte changes it. What is done lies within what came."""
    header = _engine.write_proxy(version, *ends, **extra)
    at = data.draw(st.integers(0, len(header) - 1))
    piece = data.draw(st.binary(max_size=3))
    spoilt = header[:at] + piece + header[at + data.draw(st.integers(0, 3)) :]
    fates = [fate(spoilt[:cut]) for cut in range(len(spoilt) + 1)]
    assert fates == sorted(fates, reverse=True) or "done" in fates  # more, then bad
    for before, after in itertools.pairwise(fates):
        assert before in ("more", after)
    if fates[-1] == "done":
        told = _engine.read_proxy(spoilt)
        assert told is not None
        assert told["bytes"] == fates.index("done")


@given(ENDS, EXTRA, st.sampled_from([1, 2]), st.data())
@settings(max_examples=1500, deadline=None)
def test_headers_are_read_as_the_oracle_reads_them(
    ends: tuple[Any, Any], extra: dict[str, Any], version: int, data: st.DataObject
) -> None:
    """Whole ones and spoilt ones, beside a reader that was written from the specification alone."""
    header = _engine.write_proxy(version, *ends, **extra)
    at = data.draw(st.integers(0, len(header)))
    spoilt = header[:at] + data.draw(st.binary(max_size=3)) + header[at + data.draw(st.integers(0, 3)) :]
    for one in (header, spoilt):
        told, wanted = _engine.read_proxy(one) if fate(one) == "done" else None, oracle.read(one)
        assert (told is None) == (wanted is None), one
        if told is not None and wanted is not None:
            assert same(told, (wanted.pop("source"), wanted.pop("target"))), one
            assert {key: told[key] for key in wanted} == wanted, one


@given(V4, V4, st.integers(16 * 8, 28 * 8 - 1))
def test_a_checksum_tells_every_bit_of_the_ends(source: Any, target: Any, bit: int) -> None:
    header = bytearray(_engine.write_proxy(2, source, target, crc=True))
    header[bit // 8] ^= 1 << bit % 8
    assert fate(bytes(header)) == "bad"


@given(st.text("0123456789abcdefABCDEF:.", max_size=20), st.text("0123456789", max_size=6))
@example("::ffff:1.2.3.4", "1")
@example("01.2.3.4", "1")
@example("1.2.3.4", "00")
def test_a_line_is_read_where_pythons_own_reader_reads_it(ip: str, port: str) -> None:
    """Beside the module ipaddress, over ends that are nearly right."""
    for name, kind in (("TCP4", ipaddress.IPv4Address), ("TCP6", ipaddress.IPv6Address)):
        expected = str(int(port)) == port and int(port) < 65536 if port else False
        try:
            kind(ip)
        except ValueError:
            expected = False
        other = "1.2.3.4" if name == "TCP4" else "::1"
        for line in (f"PROXY {name} {ip} {other} {port} 1\r\n", f"PROXY {name} {other} {ip} 1 {port}\r\n"):
            assert (fate(line.encode()) == "done") == expected, line


def test_ipv4_mapped_into_ipv6_is_ipv4() -> None:
    mapped = ("::ffff:192.0.2.1", 1), ("::ffff:192.0.2.2", 2)
    assert _engine.write_proxy(1, *mapped) == b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"
    assert same(_engine.read_proxy(_engine.write_proxy(2, *mapped)), (("192.0.2.1", 1), ("192.0.2.2", 2)))


def test_ends_of_two_families_are_not_told() -> None:
    mixed = ("192.0.2.1", 1), ("2001:db8::1", 2)
    assert _engine.write_proxy(1, *mixed) == b"PROXY UNKNOWN\r\n"
    assert same(_engine.read_proxy(_engine.write_proxy(2, *mixed, b"a.example")), (None, None))


def test_what_is_too_long_is_not_written() -> None:
    with pytest.raises(ValueError, match="longer than 4096"):
        _engine.write_proxy(2, ("192.0.2.1", 1), ("192.0.2.2", 2), b"x" * 4096)


# --- beside HAProxy --------------------------------------------------------------------------------------------------

HAPROXY = "defaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n"
DEFAULT_LINE = ["haproxy", "-db", "-f", "haproxy.cfg"]


def taking_headers(told: queue.Queue[bytes], connection: socket.socket) -> None:
    """Note what comes up to the end of a connection."""
    told.put(read_all(connection))


@needs("haproxy")
@pytest.mark.parametrize("sends", ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_what_haproxy_sends_is_read(tmp_path: Path, sends: str, host: str) -> None:
    port, got = free_port(), queue.Queue[bytes]()
    bound = f"127.0.0.1:{port}" if host == "127.0.0.1" else f":::{port} v4v6"
    with Peer(lambda connection: taking_headers(got, connection)) as peer:
        (tmp_path / "haproxy.cfg").write_text(
            f"{HAPROXY}listen l\n unique-id-format %rt\n bind {bound}\n server s {peer.address} {sends}\n"
        )
        with running(DEFAULT_LINE, port, tmp_path):
            with dial((host, port)) as client:
                mine = client.getsockname()[:2]
                client.sendall(b"hello")
                client.shutdown(socket.SHUT_WR)
                data = next(data for data in iter(lambda: got.get(timeout=10), None) if data.endswith(b"hello"))
    told = _engine.read_proxy(data)
    assert same(told, (mine, (host, port)))
    assert told is not None
    assert data[told["bytes"] :] == b"hello"
    assert all(fate(data[:cut]) == "more" for cut in range(told["bytes"]))
    assert not sends.endswith("authority") or b"\x03\x00\x04" in data


@contextlib.contextmanager
def accepting(tmp_path: Path) -> Any:
    """An HAProxy that takes headers and answers with what it read: its port."""
    port = free_port()
    said = "%[src] %[src_port] %[dst] %[dst_port] %[fc_pp_authority]"
    (tmp_path / "haproxy.cfg").write_text(
        f"{HAPROXY}frontend f\n mode http\n bind 127.0.0.1:{port} accept-proxy\n"
        f' http-request return status 200 content-type text/plain lf-string "{said}"\n'
    )
    with running(DEFAULT_LINE, port, tmp_path):
        yield port


@needs("haproxy")
def test_what_we_write_is_taken_by_haproxy(tmp_path: Path) -> None:
    v4, v6 = (("192.0.2.1", 56324), ("198.51.100.2", 443)), (("2001:db8::1", 1), ("2001:db8::2", 65535))
    everything: dict[str, Any] = {"authority": b"a.example", "alpn": b"h2", "tls": True, "tls_version": b"TLSv1.3", "crc": True}

    with accepting(tmp_path) as port:

        def said(header: bytes) -> str:
            with dial(("127.0.0.1", port)) as client:
                client.sendall(header + b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                head, _, body = read_all(client).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 "), head
            return body.decode().strip(" -")

        for ends in (v4, v6):
            words = f"{ends[0][0]} {ends[0][1]} {ends[1][0]} {ends[1][1]}"
            assert said(_engine.write_proxy(1, *ends)) == words
            assert said(_engine.write_proxy(2, *ends)) == words
            assert said(_engine.write_proxy(2, *ends, **everything)) == f"{words} a.example"
            assert said(_engine.write_proxy(2, *ends, **everything, common_name=b"cn")) == f"{words} a.example"
        for version in (1, 2):  # no ends: the connection's own count
            assert said(_engine.write_proxy(version, None, None)).startswith("127.0.0.1 ")


@needs("haproxy")
def test_haproxy_and_we_refuse_the_same_checksum(tmp_path: Path) -> None:
    header = bytearray(_engine.write_proxy(2, ("192.0.2.1", 1), ("192.0.2.2", 2), crc=True))
    header[16] ^= 1
    assert fate(bytes(header)) == "bad"
    with accepting(tmp_path) as port, dial(("127.0.0.1", port)) as client:
        client.sendall(header)
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
