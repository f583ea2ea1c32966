"""What goes wrong with sources, one fault a test: name servers that fail in each way they can, files that are not what they
should be, sources that crash. The sources run as a balancer runs them, without one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import threading
from typing import TYPE_CHECKING

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from dns_faults import Followed, WrongServer, failing, following, kind_of, needs_dnsmasq, of_dns
from harness import free_port, stays, wait_for

from lbcore.discovery.found import MOST, MOST_ENTRIES, Found
from lbcore.discovery.standing import Standing
from lbcore.discovery.watch import MAX_BYTES, FileSource, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lbcore.discovery.found import Publish


# --- name servers ---------------------------------------------------------------------------------------------------------


def addresses(question: dns.message.Message, ttl_s: int = 0) -> bytes:
    """10.3.0.1 and fd00::3."""
    answer = dns.message.make_response(question)
    value = {"A": "10.3.0.1", "AAAA": "fd00::3"}.get(kind_of(question))
    if value is not None:
        answer.answer.append(dns.rrset.from_text(question.question[0].name, ttl_s, "IN", kind_of(question), value))
    return answer.to_wire()


BOTH = ["10.3.0.1:8000", "[fd00::3]:8000"]


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (lambda question: failing(question, dns.rcode.SERVFAIL), "SERVFAIL"),
        (lambda question: failing(question, dns.rcode.REFUSED), "REFUSED"),
        (lambda question: failing(question, dns.rcode.NXDOMAIN), "there is no such name"),
        (lambda question: failing(question, dns.rcode.NOERROR), "app.test has no address"),
        (lambda question: question.to_wire()[:2] + b"\x81\x80" + b"\xff" * 40, "no reply within 5 s"),
    ],
    ids=["servfail", "refused", "nxdomain", "empty", "garbage"],
)
def test_a_failing_answer_keeps_the_last_and_is_told_once(
    answer: Callable[[dns.message.Message], bytes | None], fault: str
) -> None:
    with WrongServer(addresses) as server, following(of_dns(server.address)) as followed:
        wait_for(lambda: followed.addresses == BOTH, "the good answer")
        server.answer = answer
        wait_for(lambda: followed.told, "the failure is told")
        assert "the last reply is kept" in followed.told[0]
        assert fault in followed.told[0]
        asked = len(server.asked)
        wait_for(lambda: len(server.asked) > asked, "it is asked again")
        assert len(followed.published) == 1
        assert len(followed.told) == 1


def test_the_end_of_a_failure_is_told() -> None:
    with WrongServer(addresses) as server, following(of_dns(server.address)) as followed:
        wait_for(lambda: followed.addresses == BOTH, "the good answer")
        server.answer = lambda question: failing(question, dns.rcode.SERVFAIL)
        wait_for(lambda: followed.told, "the failure is told")
        server.answer = addresses
        wait_for(lambda: followed.told[-1].endswith("well again"), "so is its end")
        assert len(followed.published) == 1


def test_a_silent_server_does_not_delay_the_end() -> None:
    with WrongServer(lambda question: None) as server, following(of_dns(server.address)) as followed:
        wait_for(lambda: server.asked, "it is asked")
        assert followed.addresses is None


def test_ttl_is_waited_for() -> None:
    with WrongServer(lambda question: addresses(question, 60)) as server, following(of_dns(server.address)) as followed:
        wait_for(lambda: followed.addresses == BOTH, "the answer")
        stays(lambda: sorted(server.asked) == ["A", "AAAA"], "nothing more is asked in ten intervals", 0.5)


def test_ttl_is_bounded_by_max_ttl() -> None:
    with WrongServer(lambda question: addresses(question, 3600)) as server:
        source = of_dns(server.address, max_ttl="100ms")
        with following(source):
            wait_for(lambda: len(server.asked) >= 6, "it is asked again long before", 3)


def test_ttl_of_an_alias_counts() -> None:
    """A CNAME that is not to be kept, to a name that lives for an hour: how clouds move a name (RFC 1034 3.6.2)."""

    def alias(question: dns.message.Message) -> bytes:
        name = question.question[0].name
        answer = dns.message.make_response(question)
        answer.answer.append(dns.rrset.from_text(name, 0, "IN", "CNAME", "real.test."))
        if kind_of(question) == "A":
            answer.answer.append(dns.rrset.from_text("real.test.", 3600, "IN", "A", "10.3.0.1"))
        return answer.to_wire()

    with WrongServer(alias) as server, following(of_dns(server.address)) as followed:
        wait_for(lambda: followed.addresses == ["10.3.0.1:8000"], "the answer")
        wait_for(lambda: server.asked.count("A") >= 2, "it is asked again", 1)


def test_a_service_whose_target_is_gone_keeps_the_last() -> None:
    def serve(question: dns.message.Message) -> bytes:
        if kind_of(question) != "SRV":
            return addresses(question)
        answer = dns.message.make_response(question)
        answer.answer.append(dns.rrset.from_text(question.question[0].name, 0, "IN", "SRV", "1 5 8001 one.test."))
        return answer.to_wire()

    def gone(question: dns.message.Message) -> bytes:
        return serve(question) if kind_of(question) == "SRV" else failing(question, dns.rcode.NXDOMAIN)

    with WrongServer(serve) as server:
        with following(of_dns(server.address, kind="srv", name="_app._tcp.test", port=None)) as followed:
            wait_for(lambda: followed.addresses == ["10.3.0.1:8001", "[fd00::3]:8001"], "both families of the target")
            server.answer = gone
            wait_for(lambda: followed.told, "the failure is told")
            assert len(followed.published) == 1


@contextlib.contextmanager
def many_addresses(directory: Path, count: int) -> Iterator[str]:
    """The address of a dnsmasq that knows app.test by so many: too many for a datagram (RFC 1035 4.2.1)."""
    hosts = directory / "hosts"
    hosts.write_text("".join(f"10.4.{number >> 8}.{number & 255} app.test\n" for number in range(count)))
    port = free_port()
    options = ["--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--user=root", "--pid-file="]
    options += [f"--port={port}", "--listen-address=127.0.0.1", "--bind-interfaces", "--local-ttl=1", f"--addn-hosts={hosts}"]
    process = subprocess.Popen(["dnsmasq", *options, "--local=/test/"], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: not is_free(port), "it serves")
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def is_free(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) != 0


@needs_dnsmasq
def test_a_truncated_answer_is_asked_for_over_tcp(tmp_path: Path) -> None:
    with many_addresses(tmp_path, 200) as address, following(of_dns(address)) as followed:
        wait_for(lambda: followed.addresses, "an answer")
        assert len(followed.addresses or ()) == 200
        assert followed.told == []


@needs_dnsmasq
def test_too_many_addresses_are_cut_and_told(tmp_path: Path) -> None:
    with many_addresses(tmp_path, MOST + 76) as address, following(of_dns(address)) as followed:
        wait_for(lambda: followed.addresses, "an answer")
        assert len(followed.addresses or ()) == MOST
        assert f"{MOST + 76} addresses, only {MOST} are taken" in followed.told[0]


# --- files ----------------------------------------------------------------------------------------------------------------


def of_file(path: Path) -> Callable[[Callable[[str], None]], FileSource]:
    return lambda log: FileSource("web", str(path), log, interval_s=0.02)


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"10.0.0.1:80\n" + b"#" * MAX_BYTES, "larger than 1 MiB"),
        (b"10.0.0.1:80\n\xff\xfe\n", "decode"),
        (b"".join(b"10.%d.%d.1:80\n" % divmod(n, 256) for n in range(MOST_ENTRIES + 1)), f"more than {MOST_ENTRIES} backends"),
    ],
    ids=["too large", "not text", "too many backends"],
)
def test_a_file_beyond_its_bounds_keeps_the_last(tmp_path: Path, raw: bytes, fault: str) -> None:
    path, draft = tmp_path / "backends", tmp_path / "draft"
    path.write_text("10.0.0.9:80\n")
    with following(of_file(path)) as followed:
        wait_for(lambda: followed.addresses == ["10.0.0.9:80"], "it comes")
        draft.write_bytes(raw)
        os.replace(draft, path)
        wait_for(lambda: followed.told, "the fault is told")
        assert fault in followed.told[0]
        assert followed.addresses == ["10.0.0.9:80"]


def test_a_directory_in_the_place_of_the_file_keeps_the_last(tmp_path: Path) -> None:
    path = tmp_path / "backends"
    path.write_text("10.0.0.9:80\n")
    with following(of_file(path)) as followed:
        wait_for(lambda: followed.addresses == ["10.0.0.9:80"], "it comes")
        path.unlink()
        path.mkdir()
        wait_for(lambda: any("Is a directory" in line for line in followed.told), "it is told")
        assert followed.addresses == ["10.0.0.9:80"]


def test_half_of_a_json_file_keeps_the_last(tmp_path: Path) -> None:
    path = tmp_path / "backends.json"
    path.write_text('["10.0.0.9:80"]')
    with following(of_file(path)) as followed:
        wait_for(lambda: followed.addresses == ["10.0.0.9:80"], "it comes")
        path.write_text('["10.0.0.9:80", "10.0')
        wait_for(lambda: followed.told, "it is told")
        path.write_text('["10.0.0.8:80"]')
        wait_for(lambda: followed.addresses == ["10.0.0.8:80"], "the rest of it")
        assert followed.told[-1].endswith("well again")


def test_a_fifo_in_the_place_of_the_file_stops_nobody(tmp_path: Path) -> None:
    fifo, path = tmp_path / "fifo", tmp_path / "backends"
    os.mkfifo(fifo)
    path.write_text("10.0.0.9:80\n")
    followed = Followed()
    followed.sources._sources.extend([of_file(fifo)(followed.told.append), of_file(path)(followed.told.append)])
    followed.sources.start()
    ending = threading.Thread(target=followed.sources.stop)
    try:
        wait_for(lambda: followed.addresses == ["10.0.0.9:80"], "the other source is followed", 1)
        ending.start()
        ending.join(1)
        assert not ending.is_alive()
    finally:
        with contextlib.suppress(OSError):  # ENXIO: nobody reads it, as it should be
            os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
        followed.sources.stop()


def test_a_file_that_was_away_and_is_back_is_told(tmp_path: Path) -> None:
    path, away = tmp_path / "backends", tmp_path / "away"
    path.write_text("10.0.0.9:80\n")
    with following(of_file(path)) as followed:
        wait_for(lambda: followed.addresses == ["10.0.0.9:80"], "it comes")
        os.rename(path, away)
        wait_for(lambda: any("No such file" in line for line in followed.told), "it is told")
        os.rename(away, path)
        wait_for(lambda: followed.told[-1].endswith("well again"), "so is its return", 1)


def test_a_weight_of_strange_digits_is_named_with_its_line() -> None:
    with pytest.raises(ValueError, match="line 2"):
        parse("10.0.0.1:80\n10.0.0.2:80 weight=²\n", is_json=False)


def test_a_misspelt_key_in_json_is_named() -> None:
    with pytest.raises(ValueError, match="wieght"):
        parse('[{"address": "10.0.0.1:80", "wieght": 9}]', is_json=True)


# --- sources that crash ---------------------------------------------------------------------------------------------------


class Crashing:
    """Publishes how often it ran, and crashes."""

    pool, claim = "web", "test:crashing"

    def __init__(self, error: BaseException) -> None:
        self.runs = 0
        self.standing = Standing("web", "test", "crashing", 60)
        self._error = error

    async def run(self, publish: Publish) -> None:
        self.runs += 1
        publish([Found(f"10.5.0.{self.runs}:80", 1)])
        raise self._error


def test_a_crashed_source_runs_again_and_the_others_go_on(tmp_path: Path) -> None:
    path, crashing = tmp_path / "backends", Crashing(RuntimeError("oops"))
    path.write_text("10.0.0.9:80\n")
    with following(of_file(path), crashing) as followed:
        wait_for(lambda: crashing.runs == 3, "it runs again, twice")
        assert "source test:crashing failed: RuntimeError('oops')" in followed.told[0]
        assert crashing.standing.document()["trouble"] == "no answer yet: RuntimeError('oops')"
        path.write_text("10.0.0.10:80\n")
        wait_for(lambda: (f"file:{path}", [Found("10.0.0.10:80", 1)]) in followed.published, "the other is followed")


def test_a_source_that_cancels_itself_ends_nobody_else(tmp_path: Path) -> None:
    path, crashing = tmp_path / "backends", Crashing(asyncio.CancelledError())
    path.write_text("10.0.0.9:80\n")
    with following(of_file(path), crashing) as followed:
        wait_for(lambda: crashing.runs == 2, "it runs again", 1)
        assert followed.told
