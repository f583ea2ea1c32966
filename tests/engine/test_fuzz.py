"""The readers of what peers send, under libFuzzer."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from c_programs import ROOT, compiled, link, run

if TYPE_CHECKING:
    from pathlib import Path

FUZZ_S = int(os.environ.get("LBCORE_FUZZ_S", "5"))
"""Seconds of fuzzing, for each target."""
TARGETS = sorted((ROOT / "tests" / "fuzz").glob("fuzz_*.c"))
FUZZING = ("-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all", "-O2")
READERS = {
    "core": ("sha256", "slab"),
    "h2": (
        "frame_read",
        "hpack_memory",
        "hpack_read",
        "hpack_static",
        "hpack_table",
        "hpack_write",
        "huffman",
        "huffman_tables",
    ),
    "json": ("reader", "word"),
    "l4": ("hello", "networks", "proxy_read", "proxy_wire", "proxy_write"),
    "l7": (
        "base64",
        "chunked",
        "claim_headers",
        "client_address",
        "credentials",
        "edited",
        "forward",
        "grpc",
        "grpc_web",
        "head",
        "json_condition",
        "jwt_claim",
        "message",
        "path",
        "query",
        "route",
        "route_condition",
        "route_json",
        "syntax",
        "target",
        "trace",
    ),
    "l7/h1": ("encode",),
    "l7/h2": ("request", "response"),
    "table": ("blocks",),
}
"""The sources that the targets call, by directory: what they lack, the linker names."""


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The readers' objects for libFuzzer, compiled once."""
    sources = [ROOT / "csrc" / part / f"{name}.c" for part, names in READERS.items() for name in names]
    return compiled("clang", FUZZING, sources, tmp_path_factory.mktemp("fuzz"))


@pytest.mark.timeout(120 + FUZZ_S)
@pytest.mark.skipif(shutil.which("clang") is None, reason="clang is not installed")
@pytest.mark.parametrize("target", TARGETS, ids=lambda path: path.stem)
def test_readers_under_libfuzzer(target: Path, tmp_path: Path, fuzzed: list[str]) -> None:
    """A short run from a few seeds: no read too far, and what we write or forward we would accept ourselves."""
    objects = [*compiled("clang", FUZZING, [target], tmp_path), *fuzzed]
    program = link("clang", FUZZING, objects, tmp_path / "fuzz")
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    for number, seed in enumerate(SEEDS[target.stem]):
        (seeds / str(number)).write_bytes(seed)
    budget = f"-max_total_time={FUZZ_S}"
    run([*program, budget, "-max_len=4096", "-timeout=5", f"-artifact_prefix={tmp_path}/", str(seeds)], 120 + FUZZ_S)


V2 = b"\r\n\r\n\0\r\nQUIT\n"
HELLO = (
    bytes.fromhex("0303")
    + bytes(32)
    + bytes.fromhex("00 0002 1301 0100 0017 0000 000b 0009 00 0006")
    + b"a.test"
    + bytes.fromhex("0010 0005 0003 02")
    + b"h2"
)
SEEDS = {
    "fuzz_blocks": (
        b'[{"role":"system","content":"You answer in verse, \\"always\\"."},{"role":"user","content":[1,{"a":"]"}]}]',
        b'"Once upon a time there was a prompt of more than a block, and it went on"',
        b"[101, 2023, 2003, 1037, 3231, 102, 7, 8, 9, 10, 11, 12, 13, 14]",
    ),
    "fuzz_http": (
        b"\0\0GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\0\0POST http://a/b?c HTTP/1.1\r\nHost: a:80\r\nContent-Length: 5\r\nConnection: close, x\r\nX: y\r\n\r\nhello",
        b"\0\0GET / HTTP/1.1\r\nHost: a\r\nTracestate: a=b\r\n"
        b"Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n",
        b"\0\0POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nForwarded: a\r\nX-Forwarded-For: b\r\nCookie: a=b; c\r\n\r\n",
        b"\1\0HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\n\r\nhello",
        b"\1\0HTTP/1.1 101 \r\nTransfer-Encoding: chunked\r\nUpgrade: x\r\nDate: now\r\n\r\n",
        b"\2\x075;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
        b"\x07\0a\n1 2\n?b=2&a=1+2;a=1%202&a",
        b"\3\0/a/%2e%2E/b%2f..//\\c/./%41",
    ),
    "fuzz_h2": (
        b"\0" + b"\0\0\0\4\0\0\0\0\0" + b"\0\0\x0e\1\4\0\0\0\1\x82\x86\x84\x41\x01a\x40\x03x-y\x02zz\xbe",
        b"\1PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\6\4\0\0\0\0\0\0\3\0\0\0\x64\0\0\4\x08\0\0\0\0\0\0\0\0\1",
        b"\7\0\0\0\4\0\0\0\0\0\0\0\3\1\0\0\0\0\1\x3f\xe1\x1f\0\0\x04\x09\4\0\0\0\1\x41\x82\x1f\xff",
    ),
    "fuzz_h2_heads": (
        b"\0\x82\x84\x86\x41\x01a\x40\x03x-y\x02zz\x60\x03a=b\x60\x03c=d",
        b"\4\x83\x04\x02/a\x87\x01\x01b\x0f\x0d\x015\x40\x04host\x01b",
        b"\0\x02\x07CONNECT\x00\x09:protocol\x09websocket\x84\x87\x41\x01a",
        b"\1\x88\x5c\x0215\x5f\x09text/html\x40\x03x-y\x00",
        b"\x0a\x88\x5f\x10application/grpc\x40\x0bgrpc-status\x010",
        b"\3\x40\x0bgrpc-status\x010\x40\x0cgrpc-message\x02ok\x0f\x0d\x015",
    ),
    "fuzz_hello": (b"\x16\x03\x01" + (len(HELLO) + 4).to_bytes(2, "big") + b"\x01" + len(HELLO).to_bytes(3, "big") + HELLO,),
    "fuzz_json": (
        b"\x05" + b'{"model": "a\\u00e9\\ud834\\udd1e", "messages": [{"role": "user"}, -0.5e+3], "metadata": {"tier": null}}',
        b"\x09" + '{"model":"é𝄞","model":true}'.encode(),
        b"\0" + b"[" * 129,
    ),
    "fuzz_jwt": (
        b"\0eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.c2ln",
        b'\1{"sub": "user-1", "n": 42}',
        b'\1{"sub":1}',
        b"\0{.eyJzdWIiOjF9.",
        b'\1{"org": {"sub": ["a"]}, "sub": -1.5e3}',
    ),
    "fuzz_who_asks": (
        b"\x00198.51.100.1 , [2001:db8::1]:443,\t10.1.2.3:80, 10.0.0.1",
        b"\x00::ffff:10.0.0.1,unknown",
        b"\x01Basic bWU6cDp3",
        b"\x01bearer  sk-1",
        b"\x02sk-1",
    ),
    "fuzz_proxy_protocol": (
        b"\0PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n",
        b"\0PROXY UNKNOWN\r\n",
        b"\0" + V2 + b"\x21\x11\x00\x0c" + bytes(12),
        b"\1" + bytes(64),
    ),
}
