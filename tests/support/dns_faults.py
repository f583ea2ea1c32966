"""DNS servers that are wrong, and sources that follow them."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from lbcore.config.settings import SourceSettings
from lbcore.discovery.dns import DnsSource
from lbcore.discovery.found import Found
from lbcore.discovery.sources import Sources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def replace(path: Path, text: str) -> None:
    """As editors and DHCP clients do it."""
    draft = path.with_suffix(".new")
    draft.write_text(text)
    os.replace(draft, path)


needs_dnsmasq = pytest.mark.skipif(not shutil.which("dnsmasq"), reason="dnsmasq is not installed")


class Followed:
    """What sources published and told."""

    def __init__(self, *sources: Any) -> None:
        self.published: list[tuple[str, list[Found]]] = []
        self.told: list[str] = []
        self.sources = Sources(
            list(sources), lambda pool, claim, found: self.published.append((claim, found)), self.told.append
        )

    @property
    def addresses(self) -> list[str] | None:
        """Of the latest set; None: there was none yet."""
        return [found.address for found in self.published[-1][1]] if self.published else None


@contextlib.contextmanager
def following(make: Callable[[Callable[[str], None]], Any], *others: Any) -> Iterator[Followed]:
    """Run a source, which `make` builds around the log, and others beside it."""
    followed = Followed(*others)
    followed.sources._sources.append(make(followed.told.append))
    followed.sources.start()
    try:
        yield followed
    finally:
        began = time.monotonic()
        followed.sources.stop()
        assert time.monotonic() - began < 1, "stop is prompt"


class WrongServer:
    """A name server that misbehaves on purpose: `answer` makes of each question what is sent back, or None."""

    def __init__(self, answer: Callable[[dns.message.Message], bytes | None]) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            raw, client = self._socket.recvfrom(4096)
            if not raw:
                return
            question = dns.message.from_wire(raw)
            self.asked.append(kind_of(question))
            answer = self.answer(question)
            if answer is not None:
                self._socket.sendto(answer, client)

    def __enter__(self) -> WrongServer:
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()


def kind_of(question: dns.message.Message) -> str:
    return dns.rdatatype.to_text(question.question[0].rdtype)


def failing(question: dns.message.Message, rcode: dns.rcode.Rcode) -> bytes:
    answer = dns.message.make_response(question)
    answer.set_rcode(rcode)
    return answer.to_wire()


def of_dns(address: str | None, **values: Any) -> Callable[[Callable[[str], None]], DnsSource]:
    known = {"kind": "dns", "name": "app.test", "port": 8000, "interval": "50ms", "server": address, "family": "both"}
    return lambda log: DnsSource("web", SourceSettings(**(known | values)), log)
