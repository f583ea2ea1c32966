"""The engine's C units under AddressSanitizer and UBSan; views under ThreadSanitizer too; readers under libFuzzer."""

from __future__ import annotations

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TESTS = sorted((ROOT / "tests" / "c").glob("test_*.c"))
SOURCES = [path for path in sorted((ROOT / "csrc").rglob("*.c")) if path.name != "worker.c"]
WORDS = ["-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'csrc'}"]
TARGETS = sorted((ROOT / "tests" / "fuzz").glob("fuzz_*.c"))
FUZZING = ("-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all", "-O2")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
FUZZ_S = int(os.environ.get("LBCORE_FUZZ_S", "10"))
"""Seconds of fuzzing."""

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")


def compiled(compiler: str, flags: tuple[str, ...], sources: list[Path], directory: Path) -> list[str]:
    """Object files of these sources."""

    def one(source: Path) -> str:
        made = directory / (str(source.relative_to(ROOT)).replace("/", "-") + ".o")
        subprocess.run([compiler, *WORDS, *flags, "-c", str(source), "-o", str(made)], check=True, timeout=120)
        return str(made)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(one, sources))


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The engine's objects under AddressSanitizer and UBSan, compiled once."""
    return compiled("gcc", SANITIZERS, SOURCES, tmp_path_factory.mktemp("asan"))


@needs_gcc
@pytest.mark.parametrize("test", TESTS, ids=lambda path: path.stem)
def test_under_address_and_undefined_behaviour_sanitizers(test: Path, tmp_path: Path, sanitized: list[str]) -> None:
    run(link("gcc", SANITIZERS, [*compiled("gcc", SANITIZERS, [test], tmp_path), *sanitized], tmp_path / test.stem))


@needs_gcc
@pytest.mark.parametrize("test", ["test_table", "test_clients"])
def test_what_workers_share_under_the_thread_sanitizer(test: str, tmp_path: Path) -> None:
    """Picks while views are published, limits of one client at several workers: shared by atomic reads and writes only."""
    flags = ("-fsanitize=thread", "-Wno-tsan")
    sources = [path for path in SOURCES if path.parent.name in ("table", "core")]
    objects = compiled("gcc", flags, [ROOT / "tests" / "c" / f"{test}.c", *sources], tmp_path)
    run(link("gcc", flags, objects, tmp_path / test))


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The engine's objects for libFuzzer, compiled once."""
    return compiled("clang", FUZZING, SOURCES, tmp_path_factory.mktemp("fuzz"))


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
    run([*program, f"-max_total_time={FUZZ_S}", "-max_len=4096", "-timeout=5", f"-artifact_prefix={tmp_path}/", str(seeds)])


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
    "fuzz_http": (
        b"\0\0GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\0\0POST http://a/b?c HTTP/1.1\r\nHost: a:80\r\nContent-Length: 5\r\nConnection: close, x\r\nX: y\r\n\r\nhello",
        b"\0\0GET / HTTP/1.1\r\nHost: a\r\nTracestate: a=b\r\n"
        b"Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n",
        b"\0\0POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nForwarded: a\r\nX-Forwarded-For: b\r\nCookie: a=b; c\r\n\r\n",
        b"\1\0HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\n\r\nhello",
        b"\1\0HTTP/1.1 101 \r\nTransfer-Encoding: chunked\r\nUpgrade: x\r\nDate: now\r\n\r\n",
        b"\2\x075;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
        b"\3\0/a/%2e%2E/b%2f..//\\c/./%41",
    ),
    "fuzz_hello": (b"\x16\x03\x01" + (len(HELLO) + 4).to_bytes(2, "big") + b"\x01" + len(HELLO).to_bytes(3, "big") + HELLO,),
    "fuzz_proxy_protocol": (
        b"\0PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n",
        b"\0PROXY UNKNOWN\r\n",
        b"\0" + V2 + b"\x21\x11\x00\x0c" + bytes(12),
        b"\1" + bytes(64),
    ),
}


def link(compiler: str, flags: tuple[str, ...], objects: list[str], program: Path) -> list[str]:
    """The command that runs what was linked."""
    subprocess.run([compiler, *flags, *objects, "-o", str(program), "-lpthread", "-lm"], check=True, timeout=120)
    return [str(program)]


def run(command: list[str]) -> None:
    """Run to a good end."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120 + FUZZ_S)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
