"""Consul as a source: blocking queries, indexes that begin anew, tokens, weights. The stand-in plays its documented API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from consul_peer import ConsulPeer, instance
from dns_faults import following
from harness import stays, wait_for
from source_sites import ConsulSite, hurry

from lbcore.discovery.engines.consul import BURST, Pace, instances, next_index
from lbcore.discovery.found import Found

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ONE, TWO, THREE = "10.0.0.1:8000", "10.0.0.2:8000", "10.0.0.3:8000"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ConsulSite]:
    hurry(monkeypatch)
    made = ConsulSite(tmp_path)
    yield made
    made.close()


def queries(peer: ConsulPeer) -> list[dict[str, str]]:
    return [query for _, query in peer.asked]


def test_queries_wait_for_a_change(site: ConsulSite) -> None:
    site.set(ONE)
    with following(site.source) as followed:
        wait_for(lambda: len(site.peer.asked) == 2, "the second query waits")
        stays(lambda: len(site.peer.asked) == 2, "nothing is asked meanwhile", 0.2)
        site.set(TWO)
        wait_for(lambda: followed.addresses == [TWO], "the change comes")
        wait_for(lambda: len(site.peer.asked) == 3, "the third query waits")
    first, second, third = queries(site.peer)
    assert first == {"passing": "1"}
    assert second == {"passing": "1", "index": "11", "wait": "300000ms"}
    assert third["index"] == "12"


def test_a_wait_that_ends_without_a_change_changes_nothing(site: ConsulSite) -> None:
    site.set(ONE)
    site.peer.waits = 0.02
    with following(site.source) as followed:
        wait_for(lambda: len(site.peer.asked) > 5, "it is asked again")
        assert len(followed.published) == 1
        assert followed.told == []


def test_an_index_that_goes_backwards_begins_anew(site: ConsulSite) -> None:
    """A server was restored from a snapshot: waiting for the old index would take for ever."""
    site.set(ONE)
    with following(site.source) as followed:
        wait_for(lambda: len(site.peer.asked) == 2, "the second query waits")
        site.peer.tell({TWO: instance(TWO)}, index=3)
        wait_for(lambda: followed.addresses == [TWO], "what came with the lower index counts")
        wait_for(lambda: len(site.peer.asked) >= 4, "it waits again")
        assert "index" not in queries(site.peer)[2]
        assert queries(site.peer)[3]["index"] == "3"
        site.peer.tell({THREE: instance(THREE)}, index=4)
        wait_for(lambda: followed.addresses == [THREE], "the next change comes")


def test_next_index() -> None:
    assert [next_index(*pair) for pair in ((0, 7), (7, 7), (7, 9), (9, 2))] == [7, 7, 9, 0]


def test_an_index_of_zero_is_not_asked_from(site: ConsulSite) -> None:
    """Consul says so when it has just begun; a query from 0 would not wait."""
    site.peer.tell({ONE: instance(ONE)}, index=0)
    with following(site.source):
        wait_for(lambda: len(site.peer.asked) == 2, "the second query waits")
        assert queries(site.peer)[1]["index"] == "1"


def test_answers_that_come_all_the_time_are_paced(site: ConsulSite) -> None:
    site.peer.waits = 0.0
    site.set(ONE)
    with following(lambda log: site.source(log, interval="1s")):
        wait_for(lambda: len(site.peer.asked) >= BURST, "the first come at once")
        stays(lambda: len(site.peer.asked) <= BURST + 2, "then one a second", 0.5)


def test_a_namespace_and_a_partition_are_asked_for(site: ConsulSite) -> None:
    site.set(ONE)
    where = {"datacenter": "dc1", "partition": "sales", "namespace": "shop-eu"}
    with following(lambda log: site.source(log, **where)) as followed:
        wait_for(lambda: followed.addresses == [ONE], "it comes")
        assert followed.sources.standings()[0].what == "dc1/sales/shop-eu/shop"
    assert queries(site.peer)[0] == {"passing": "1", "dc": "dc1", "partition": "sales", "ns": "shop-eu"}


def test_pace() -> None:
    pace = Pace(2, 1.0, 0.0)
    assert [pace.wait_s(0.0) for _ in range(3)] == [0.0, 0.0, 1.0]
    assert pace.wait_s(1.0) == 1.0
    assert pace.wait_s(10.0) == 0.0


def test_instances_have_weights_and_may_have_the_address_of_their_node() -> None:
    entries = [instance("10.0.0.1:80", weight=1000), instance(":81", weight=500, node="10.9.0.9"), instance("[fd00::1]:82")]
    assert instances(entries, []) == ([Found("10.0.0.1:80", 256), Found("10.9.0.9:81", 128), Found("[fd00::1]:82", 1)], {})


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (instance("web internal:80"), "'web internal' is neither an IP address nor a name in DNS"),
        (instance("10.0.0.1:0"), "port 0 is not from 1 to 65535"),
        (instance("10.0.0.1:80", weight=-1), "weight: -1 is not a whole number from 0 to 65535"),
        (instance("0.0.0.0:80"), "'0.0.0.0' is not an address of a host"),
        ({"Node": {}}, "not an instance of a service"),
        ({"Service": {"Port": "80", "Address": "10.0.0.1"}}, "not an instance of a service"),
        ("text", "not an instance of a service"),
    ],
)
def test_an_instance_that_is_damaged_is_skipped_alone(entry: Any, why: str) -> None:
    found, skipped = instances([instance(ONE), entry], [])
    assert (found, list(skipped.values())) == ([Found(ONE, 1)], [why])


def test_only_instances_with_all_tags_that_pass_are_taken(site: ConsulSite) -> None:
    site.peer.tell(
        {
            "both": instance(ONE, tags=("blue", "v2", "x")),
            "one": instance(TWO, tags=("blue",)),
            "failing": instance(THREE, tags=("blue", "v2"), status="critical"),
        }
    )
    with following(lambda log: site.source(log, tags=["blue", "v2"], consistency="stale", datacenter="dc1")) as followed:
        wait_for(lambda: followed.addresses == [ONE], "it comes")
    assert queries(site.peer)[0]["stale"] == "1"
    assert queries(site.peer)[0]["dc"] == "dc1"


def test_a_token_file_is_read_again_when_it_changes(site: ConsulSite, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("first-token\n")
    site.peer.token = "first-token"
    site.set(ONE)
    with following(lambda log: site.source(log, token_file=str(path))) as followed:
        wait_for(lambda: followed.addresses == [ONE], "the first token is good")
        path.write_text("second-token\n")
        site.peer.token = "second-token"
        site.set(TWO)
        wait_for(lambda: followed.addresses == [TWO], "the second token is shown")


def test_a_token_comes_from_the_environment(site: ConsulSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "a-token")
    site.peer.token = "a-token"
    site.set(ONE)
    with following(lambda log: site.source(log, token_env="SHOP_TOKEN")) as followed:
        wait_for(lambda: followed.addresses == [ONE], "the token is good")


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"token": "wrong"}, "HTTP 403: ACL not found"),
        ({"datacenter": "mars"}, "HTTP 500: No path to datacenter"),
    ],
)
def test_a_refusal_is_told_in_one_line(site: ConsulSite, values: dict[str, Any], line: str) -> None:
    site.peer.token = values.get("token") and "right"
    with following(lambda log: site.source(log, **values)) as followed:
        wait_for(lambda: followed.sources.standings()[0].failures > 3, "it is refused again and again")
        assert [told.endswith(line) for told in followed.told] == [True], followed.told


def test_a_token_without_rights_is_told_of(site: ConsulSite) -> None:
    """Consul then answers as if there were no instance: that must not empty the pool."""
    site.set(ONE)
    with following(lambda log: site.source(log, token="t")) as followed:
        wait_for(lambda: followed.addresses == [ONE], "it comes")
        site.peer.token, site.peer.filtering = "other", True
        site.set(ONE, TWO)  # ends the query that waits
        wait_for(lambda: followed.addresses == [ONE, TWO], "the last answer with the old rights comes")
        site.set(ONE)
        line = wait_for(lambda: followed.told, "it is told")[0]
        assert line.endswith("the token may not read all of it: it needs service:read and node:read")
        assert followed.addresses == [ONE, TWO]


def test_an_unknown_service_is_told_of(site: ConsulSite) -> None:
    site.set(ONE)
    with following(lambda log: site.source(log, service="shoop")) as followed:
        line = wait_for(lambda: followed.told, "it is told")[0]
        assert line == (
            "pool web: consul shoop: it names no backend: no instance passes its checks, or there is no such service"
        )


def test_an_empty_answer_clears_where_the_settings_say_so(site: ConsulSite) -> None:
    site.set(ONE)
    with following(lambda log: site.source(log, when_empty="clear")) as followed:
        wait_for(lambda: followed.addresses == [ONE], "it comes")
        site.set()
        wait_for(lambda: followed.addresses == [], "it goes")
