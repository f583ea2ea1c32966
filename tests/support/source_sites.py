"""Every kind of source with what it asks: the same few acts for all, so that one suite holds them to one contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dns.message
import dns.rcode
import dns.rrset
import pytest
from consul_peer import ConsulPeer, instance
from dns_faults import WrongServer, failing, kind_of
from etcd_keys import QUICK, etcd_delete, etcd_keys, etcd_put
from etcd_members import ANY, Etcd
from file_sources import write
from kubernetes_peer import KubernetesPeer, slice_of
from nats_servers import NatsServer

from lbcore.config.settings import PoolSettings, SourceSettings
from lbcore.discovery import dns as dns_module
from lbcore.discovery.engines import hosts as hosts_module
from lbcore.discovery.engines import source as engine_source
from lbcore.discovery.sources import made

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lbcore.discovery.found import Found

PORT = 8000


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sources ask again soon: tests wait for what comes behind their pauses."""
    for module in (dns_module, engine_source, hosts_module):
        monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.05)
        monkeypatch.setattr(module, "LONGEST_PAUSE_S", 0.1)
    monkeypatch.setattr(hosts_module, "LEAST_S", 0.05)


class NameServer:
    """A name server that knows `names`, and fails while it is `away`. asked: the names that it was asked for."""

    def __init__(self) -> None:
        self.names: dict[str, tuple[str, ...]] = {}
        self.away = False
        self.asked: list[str] = []
        self._server = WrongServer(self._answer)
        self.address = self._server.address

    def close(self) -> None:
        self._server.__exit__()

    def _answer(self, question: dns.message.Message) -> bytes:
        asked = question.question[0].name
        name = asked.to_text(omit_final_dot=True)
        self.asked.append(name)
        if self.away:
            return failing(question, dns.rcode.SERVFAIL)
        if name not in self.names:
            return failing(question, dns.rcode.NXDOMAIN)
        answer = dns.message.make_response(question)
        kind = kind_of(question)
        records = [ip for ip in self.names[name] if (":" in ip) == (kind == "AAAA")]
        if records:
            answer.answer.append(dns.rrset.from_text(asked, 0, "IN", kind, *records))
        return answer.to_wire()


class Site:
    """kind: of the source. clears: does an empty answer of this engine clear the pool, as things go in this site?

    damages: can single entries be wrong?"""

    kind = ""
    clears = False
    damages = True

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def settings(self, **values: Any) -> SourceSettings:
        """Of a source that asks this site."""
        raise NotImplementedError

    def reached(self, source: SourceSettings) -> SourceSettings:
        """Such a source, but for where it asks."""
        return source.replace(endpoints=self.settings().endpoints)

    def set(self, *addresses: str) -> None:
        """These are named from now on: "IP:8000"."""
        raise NotImplementedError

    def damage(self) -> None:
        """Another entry comes, which is none of ours."""
        raise NotImplementedError

    def lose(self) -> None:
        """The engine is gone."""
        raise NotImplementedError

    def recover(self) -> None:
        """It is back, with what it had."""
        raise NotImplementedError

    def close(self) -> None:
        """End it."""

    def source(self, log: Callable[[str], None], known: Callable[[str, str], list[Found]] | None = None, **values: Any) -> Any:
        """A source of pool "web" that asks this site."""
        pool = PoolSettings(name="web", sources=[self.settings(**values)])
        return made([pool], log, known or (lambda pool, claim: []))[0]


class DnsSite(Site):
    kind = "dns"
    damages = False

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.addresses: tuple[str, ...] = ()
        self.lost = False
        self.server = WrongServer(self._answer)

    def settings(self, **values: Any) -> SourceSettings:
        given = {"name": "app.test", "port": PORT, "interval": "50ms", "hold": 0, "server": self.server.address}
        return SourceSettings(kind=self.kind, **(given | {"family": "ipv4"} | values))

    def set(self, *addresses: str) -> None:
        self.addresses = addresses

    def reached(self, source: SourceSettings) -> SourceSettings:
        return source.replace(server=self.server.address)

    def lose(self) -> None:
        self.lost = True

    def recover(self) -> None:
        self.lost = False

    def close(self) -> None:
        self.server.__exit__()

    def _answer(self, question: dns.message.Message) -> bytes:
        if self.lost:
            return failing(question, dns.rcode.SERVFAIL)
        answer = dns.message.make_response(question)
        records = self._records(question)
        if records:
            answer.answer.append(dns.rrset.from_text(question.question[0].name, 0, "IN", kind_of(question), *records))
        return answer.to_wire()

    def _records(self, question: dns.message.Message) -> list[str]:
        return [address.partition(":")[0] for address in self.addresses] if kind_of(question) == "A" else []


class SrvSite(DnsSite):
    kind = "srv"

    def settings(self, **values: Any) -> SourceSettings:
        return super().settings(name="_app._tcp.test", port=None, **values)

    def _records(self, question: dns.message.Message) -> list[str]:
        if kind_of(question) == "SRV":
            return [f"1 1 {PORT} host-{number}.test." for number, _ in enumerate(self.addresses)]
        if kind_of(question) != "A":
            return []
        number = str(question.question[0].name).partition(".")[0].removeprefix("host-")
        return [self.addresses[int(number)].partition(":")[0]] if int(number) < len(self.addresses) else []


class FileSite(Site):
    kind = "file"
    clears = True
    damages = False

    @property
    def path(self) -> Path:
        return self.directory / "backends"

    def settings(self, **values: Any) -> SourceSettings:
        return SourceSettings(kind="file", path=str(self.path), interval="50ms", **values)

    def reached(self, source: SourceSettings) -> SourceSettings:
        return source.replace(path=str(self.path))

    def set(self, *addresses: str) -> None:
        write(self.path, "".join(f"{address}\n" for address in addresses))

    def lose(self) -> None:
        self.path.rename(self.path.with_suffix(".away"))

    def recover(self) -> None:
        self.path.with_suffix(".away").rename(self.path)


class PeerSite(Site):
    """A stand-in that speaks HTTP."""

    peer: Any

    def set(self, *addresses: str) -> None:
        self.peer.set(*addresses)

    def lose(self) -> None:
        self.peer.stop()

    def recover(self) -> None:
        self.peer.start()

    def close(self) -> None:
        self.peer.close()


class ConsulSite(PeerSite):
    kind = "consul"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.peer = ConsulPeer()

    def settings(self, **values: Any) -> SourceSettings:
        given = {"service": "shop", "endpoints": [self.peer.url], "interval": "50ms", "timeout": "2s"}
        return SourceSettings(kind="consul", **(given | values))

    def damage(self) -> None:
        self.peer.tell({**self.peer.instances, "bad": instance("db internal:5432")})


class KubernetesSite(PeerSite):
    kind = "kubernetes"
    clears = True  # the slice is there, and says that it has no endpoints

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.peer = KubernetesPeer()

    def settings(self, **values: Any) -> SourceSettings:
        given = {"service": "shop", "endpoints": [self.peer.url], "timeout": "2s"}
        return SourceSettings(kind="kubernetes", **(given | values))

    def reached(self, source: SourceSettings) -> SourceSettings:
        self.peer.namespace = source.namespace or self.peer.namespace
        return super().reached(source)

    def damage(self) -> None:
        self.peer.put(slice_of("odd", kind="FQDN") | {"endpoints": [{"addresses": ["db internal"]}]})


class ServerSite(Site):
    """A real server."""

    server: Any

    def lose(self) -> None:
        self.server.stop()

    def recover(self) -> None:
        self.server.start()

    def close(self) -> None:
        self.server.stop()


class EtcdSite(ServerSite):
    kind = "etcd"
    clears = True  # each key is deleted, and the watch says so

    def __init__(self, directory: Path, version: str = ANY) -> None:
        super().__init__(directory)
        self.server = Etcd(directory, version, options=QUICK)
        self.server.start()

    def settings(self, **values: Any) -> SourceSettings:
        given = {"prefix": "/shop/", "endpoints": self.server.urls, "timeout": "2s"}
        return SourceSettings(kind="etcd", **(given | values))

    def set(self, *addresses: str) -> None:
        url = self.server.urls[0]
        known = {key for key in etcd_keys(url, "/shop/") if not key.endswith("odd")}
        for address in addresses:
            etcd_put(url, f"/shop/{address}", address)
        for key in known - {f"/shop/{address}" for address in addresses}:
            etcd_delete(url, key)

    def damage(self) -> None:
        url = self.server.urls[0]
        etcd_put(url, "/shop/odd", '{"address": "10.0.0.9:80", "weight": "heavy"}')
        etcd_put(url, "/other", "none of ours")


class NatsSite(ServerSite):
    kind = "nats"
    clears = True  # each key is deleted, and the watch says so

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.server = NatsServer(directory)
        self.server.make_bucket()
        self._keys: set[str] = set()

    def settings(self, **values: Any) -> SourceSettings:
        given = {"bucket": "shop", "prefix": "web", "endpoints": [self.server.url], "timeout": "2s"}
        return SourceSettings(kind="nats", **(given | values))

    def set(self, *addresses: str) -> None:
        wanted: dict[str, bytes | None] = {f"web.{address.replace(':', '-')}": address.encode() for address in addresses}
        gone = dict.fromkeys(self._keys - set(wanted))
        self._keys = set(wanted)
        self.server.put({**wanted, **gone})

    def damage(self) -> None:
        self.server.put({"web.odd": b"\xff\xfe", "other": b"not ours either"})


SITES: dict[str, type[Site]] = {
    site.kind: site for site in (DnsSite, SrvSite, FileSite, EtcdSite, ConsulSite, KubernetesSite, NatsSite)
}
