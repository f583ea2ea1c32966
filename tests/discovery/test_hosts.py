"""Host names that engines name: how many, how large, how often; by a resolver of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from lbcore.config.settings import SourceSettings
from lbcore.discovery.engines import hosts as hosts_module
from lbcore.discovery.engines.entries import place_of
from lbcore.discovery.engines.hosts import Hosts
from lbcore.discovery.found import Answer, Found
from lbcore.discovery.resolver import Addresses, DnsFailed

if TYPE_CHECKING:
    from collections.abc import Iterable


class Names:
    """Stands in for the resolver. most: names that were looked up at the same time."""

    def __init__(self, **ips: Any) -> None:
        self.ips = ips
        self.under_way = self.most = 0
        self.asked: list[str] = []
        self.forgotten: list[str] = []

    async def addresses(self, name: str, family: str) -> Addresses:
        self.asked.append(name)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0.001)
        self.under_way -= 1
        if name not in self.ips:
            raise DnsFailed("there is no such name")
        return Addresses(list(self.ips[name]), 0)

    def forget(self, name: str) -> None:
        self.forgotten.append(name)


def hosts_of(names: Names, log: list[str], **values: Any) -> Hosts:
    made = Hosts(SourceSettings(kind="etcd", prefix="/", **values), log.append, "pool web: etcd /")
    made._resolver = names  # type: ignore[assignment]
    return made


def answered(names: Names, found: Iterable[Found], log: list[str] | None = None) -> Answer:
    """What becomes of an engine's answer once its names have been asked for."""

    async def main() -> Answer:
        hosts = hosts_of(names, [] if log is None else log)
        answer = Answer(list(found), told=True)
        hosts.want(answer.found)
        await hosts.first_answers(10)
        return hosts.with_addresses(answer)

    return asyncio.run(main())


def test_each_address_of_a_name_has_what_its_entry_says() -> None:
    names = Names(a=["10.0.0.2", "10.0.0.1"], b=["10.0.0.1"])
    answer = answered(names, [Found("10.0.0.9:80", 1), Found("a:80", 7, 1), Found("b:80", 9), Found("b:81", 0)])
    assert answer.found == [
        Found("10.0.0.1:80", 7, 1),
        Found("10.0.0.1:81", 0),
        Found("10.0.0.2:80", 7, 1),
        Found("10.0.0.9:80", 1),
    ]
    assert names.asked == ["a", "b"]
    assert answer.told


def test_names_are_bounded_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts_module, "MOST_NAMES", 2)
    names = Names(**{f"n{at}": [f"10.0.0.{at}"] for at in range(1, 5)})
    answer = answered(names, [Found(f"n{at}:80", 1) for at in range(1, 5)])
    assert names.asked == ["n1", "n2"]
    assert [one.address for one in answer.found] == ["10.0.0.1:80", "10.0.0.2:80"]
    assert answer.skipped == {"n3": "more than 2 names", "n4": "more than 2 names"}
    assert not answer.told


def test_addresses_of_a_name_are_bounded_in_number() -> None:
    answer = answered(Names(a=[f"10.0.{at // 250}.{at % 250 + 1}" for at in range(1000)]), [Found("a:80", 1)])
    assert len(answer.found) == hosts_module.MOST_OF_NAME


def test_addresses_of_all_names_are_bounded_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts_module, "MOST_ENTRIES", 3)
    answer = answered(Names(a=["10.0.0.1", "10.0.0.2"], b=["10.0.0.3", "10.0.0.4"]), [Found("a:80", 1), Found("b:80", 1)])
    assert len(answer.found) == 3
    assert answer.skipped == {"addresses": "4 of them, only 3 are taken"}


def test_few_names_are_looked_up_at_the_same_time() -> None:
    names = Names(**{f"n{at}": ["10.0.0.1"] for at in range(200)})
    answered(names, [Found(f"n{at}:80", 1) for at in range(200)])
    assert len(names.asked) == 200
    assert names.most == hosts_module.MOST_AT_ONCE


@pytest.mark.parametrize("ip", ["0.0.0.0", "224.0.0.1", "::"])
def test_an_address_that_no_host_has_is_none(ip: str) -> None:
    assert answered(Names(a=[ip, "10.0.0.1"]), [Found("a:80", 1)]).found == [Found("10.0.0.1:80", 1)]
    assert answered(Names(a=[ip]), [Found("a:80", 1)]).skipped == {"a": f"{ip} is not an address of a host"}


def test_a_name_that_never_had_an_address_is_awaited_only_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts_module, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(hosts_module, "LONGEST_PAUSE_S", 0.001)
    names, log = Names(), []  # type: tuple[Names, list[str]]

    async def main() -> None:
        hosts = hosts_of(names, log)
        hosts.want([Found("a:80", 1)])
        await hosts.first_answers(10)
        assert hosts.awaited
        news = asyncio.Event()
        running = asyncio.create_task(hosts.run(news.set))
        async with asyncio.timeout(10):
            await news.wait()  # after so many failures, the pool is looked at anew
        assert len(names.asked) == hosts_module.TRIES
        assert not hosts.awaited
        assert hosts.lacking
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running

    asyncio.run(main())


def test_names_that_are_gone_are_forgotten() -> None:
    names = Names(a=["10.0.0.1"])

    async def main() -> None:
        hosts = hosts_of(names, [])
        hosts.want([Found("a:80", 1)])
        await hosts.first_answers(10)
        hosts.want([Found("10.0.0.1:80", 1)])
        assert names.forgotten == ["a"]
        assert hosts.with_addresses(Answer([Found("10.0.0.1:80", 1)])).found == [Found("10.0.0.1:80", 1)]

    asyncio.run(main())


@pytest.mark.parametrize("host", ["app", "app.internal", "_x.b-c.d", "a" * 63 + ".de", "1.2.3.com", "xn--bcher-kva.de"])
def test_what_is_a_name(host: str) -> None:
    assert place_of(host, 80) == f"{host}:80"


@pytest.mark.parametrize(
    "host",
    [
        "",
        ".",
        "a..b",
        "-a",
        "a-.b",
        "a" * 64,
        "a." * 130,
        "a/b",
        "a b",
        "a\n",
        "bücher.de",
        "10.0.0.300",
        "127.1",
        "0x7f.0x1",
        "0x",
    ],
)
def test_what_is_no_name(host: str) -> None:
    with pytest.raises(ValueError, match=r"is not an IP address|nor a name in DNS"):
        place_of(host, 80)
