"""Kubernetes as a source: lists in pages, watches that expire, tokens that rotate, kubeconfigs. The stand-in plays its API."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from certificates import authority_with_peers
from dns_faults import following
from file_sources import settings
from harness import Peer, balanced, dial, echo, named, read_exactly, stays, wait_for
from kube_configs import kubeconfig, source_of
from kubernetes_peer import KubernetesPeer, endpoint, slice_of
from source_sites import KubernetesSite, hurry

from lbcore.discovery.engines import http, kube_access, kubernetes
from lbcore.discovery.engines import source as engine_source
from lbcore.discovery.found import SourceFailed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ONE, TWO, THREE = "10.0.0.1:8000", "10.0.0.2:8000", "10.0.0.3:8000"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[KubernetesSite]:
    made = KubernetesSite(tmp_path)
    yield made
    made.close()


def lists(peer: KubernetesPeer) -> list[dict[str, str]]:
    return [query for _, query in peer.asked if "watch" not in query]


def watches(peer: KubernetesPeer) -> list[dict[str, str]]:
    return [query for _, query in peer.asked if "watch" in query]


# --- list and watch -------------------------------------------------------------------------------------------------------


def test_a_list_comes_in_pages(site: KubernetesSite) -> None:
    site.peer.page = 2
    site.peer.put(*(slice_of(f"shop-{at}", endpoint(f"10.0.0.{at}")) for at in range(1, 6)))
    with following(site.source) as followed:
        wait_for(lambda: followed.addresses == [f"10.0.0.{at}:8000" for at in range(1, 6)], "all pages")
    assert len(lists(site.peer)) == 3
    assert lists(site.peer)[0] == {"labelSelector": "kubernetes.io/service-name=shop", "limit": "100"}


def test_a_page_that_has_expired_begins_the_list_again(site: KubernetesSite) -> None:
    site.peer.page, site.peer.expired_pages = 1, 1
    site.peer.put(slice_of("a", endpoint("10.0.0.1")), slice_of("b", endpoint("10.0.0.2")))
    with following(site.source) as followed:
        wait_for(lambda: followed.addresses == [ONE, TWO], "all pages")
        assert followed.told == []


@pytest.mark.parametrize("expires", ["event", "status"])
def test_a_watch_that_expires_is_followed_by_a_list(site: KubernetesSite, expires: str) -> None:
    site.peer.expires = expires
    site.set(ONE)
    with following(site.source) as followed:
        wait_for(lambda: site.peer.watches, "it watches")
        site.peer.stop()  # what comes now is forgotten before the watch is back
        site.set(TWO)
        site.peer.start()
        wait_for(lambda: followed.addresses == [TWO] and site.peer.watches, "it watches again")
        before = len(lists(site.peer))
        site.peer.compact()
        wait_for(lambda: len(lists(site.peer)) > before and site.peer.watches, "410, so it lists again")
        site.set(THREE)
        wait_for(lambda: followed.addresses == [THREE], "the next change comes")
        assert followed.told == []


def test_a_server_that_forgets_all_the_time_is_not_asked_all_the_time(site: KubernetesSite) -> None:
    site.set(ONE)
    site.peer._oldest = 1 << 30
    with following(site.source):
        wait_for(lambda: len(lists(site.peer)) > 2, "it lists again")
        stays(lambda: len(lists(site.peer)) < 8, "with growing pauses", 0.5)


def test_a_watch_that_ends_goes_on_from_the_latest_revision(site: KubernetesSite) -> None:
    """Bookmarks tell a revision where nothing of this service has changed."""
    site.set(ONE)
    with following(site.source) as followed:
        wait_for(lambda: site.peer.watches, "it watches")
        site.peer.bookmark()
        revision = str(site.peer.revision)
        wait_for(lambda: followed.sources.standings()[0].revision == revision, "the bookmark is taken")
        site.peer.end_watches()
        wait_for(lambda: len(watches(site.peer)) == 2, "it watches again")
        site.set(TWO)
        wait_for(lambda: followed.addresses == [TWO], "the next change comes")
    assert watches(site.peer)[1]["resourceVersion"] == revision
    assert len(lists(site.peer)) == 1
    assert 170 < int(watches(site.peer)[0]["timeoutSeconds"]) <= 300


def test_watches_that_end_at_once_are_not_begun_all_the_time(site: KubernetesSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a proxy in between that allows no long answer has it."""
    monkeypatch.setattr(engine_source, "PROVEN_S", 0.2)
    site.set(ONE)
    as_always = site.peer._tell_from
    site.peer._tell_from = _ends_at_once  # type: ignore[method-assign]
    with following(site.source) as followed:
        line = wait_for(lambda: followed.told, "it is told")[0]
        assert line.endswith("it ends each watch at once")
        assert followed.addresses == [ONE]
        site.peer._tell_from = as_always  # type: ignore[method-assign]

        def is_well() -> bool:
            site.peer.bookmark()
            return followed.told[-1].endswith("well again")

        wait_for(is_well, f"a watch that lasts is told of: {followed.told}")
        assert len(followed.told) == 2, followed.told


async def _ends_at_once(*_: object) -> None:
    return


def test_the_set_is_listed_again_after_resync(site: KubernetesSite) -> None:
    site.set(ONE)
    with following(lambda log: site.source(log, resync="1s")) as followed:
        wait_for(lambda: len(lists(site.peer)) >= 2, "it lists again")
        assert followed.told == []
        assert len(followed.published) == 1


@pytest.mark.parametrize(
    "event",
    [
        {"type": "ADDED"},
        {"type": "ADDED", "object": {"metadata": {}}},
        {"type": "ERROR", "object": {"code": 500, "message": "etcdserver: leader changed"}},
        ["no", "event"],
    ],
)
def test_an_event_that_is_none_begins_anew(site: KubernetesSite, event: Any) -> None:
    site.set(ONE)
    with following(site.source) as followed:
        wait_for(lambda: site.peer.watches, "it watches")
        site.peer.say(event)
        wait_for(lambda: len(lists(site.peer)) >= 2, "it lists again")
        site.set(TWO)
        wait_for(lambda: followed.addresses == [TWO], "the next change comes")


@pytest.mark.parametrize("what", ["list", "watch"])
def test_a_busy_server_is_left_alone_for_as_long_as_it_asks(
    site: KubernetesSite, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """429 with Retry-After, by API priority and fairness."""
    slept: list[float] = []
    asleep = asyncio.sleep

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await asleep(min(seconds, 0.05))

    monkeypatch.setattr(engine_source.asyncio, "sleep", sleep)
    site.set(ONE)
    site.peer.busy = [(what, "7"), (what, "86400"), (what, "Wed, 21 Oct 2026 07:28:00 GMT")]
    with following(site.source) as followed:
        wait_for(lambda: site.peer.watches, f"it watches: {followed.told}")
        assert followed.addresses == [ONE]
    assert [seconds for seconds in slept if seconds > 1] == [7, http.LONGEST_WAIT_S]


def test_an_error_in_a_watch_may_ask_for_time(site: KubernetesSite) -> None:
    busy = {"code": 429, "message": "later", "details": {"retryAfterSeconds": 5}}
    with pytest.raises(SourceFailed) as failure:
        kubernetes.Kubernetes(site.settings())._take({"type": "ERROR", "object": busy}, {}, None)  # type: ignore[arg-type]
    assert failure.value.wait_s == 5


def test_a_watch_whose_response_does_not_begin_is_given_up(site: KubernetesSite) -> None:
    site.set(ONE)
    site.peer.silent = True
    with following(lambda log: site.source(log, timeout="100ms")) as followed:
        line = wait_for(lambda: followed.told, "it is told")[0]
        assert line.endswith("no answer within 0.1 s")
        assert followed.addresses == [ONE]
        site.peer.silent = False
        site.set(TWO)
        wait_for(lambda: followed.addresses == [TWO], "it is well again")


def test_a_list_that_never_ends_is_given_up(site: KubernetesSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes, "MOST_SLICES", 5)
    site.set(ONE)
    same = {"metadata": {"resourceVersion": "1", "continue": "again"}, "items": []}
    monkeypatch.setattr(site.peer, "_list", lambda request: web.json_response(same))
    with following(site.source) as followed:
        assert wait_for(lambda: followed.told, "it is told")[0].endswith("its list does not end")


# --- who may ask ----------------------------------------------------------------------------------------------------------


def test_an_account_without_rights_is_told_so(site: KubernetesSite) -> None:
    site.peer.rights = False
    with following(site.source) as followed:
        line = wait_for(lambda: followed.told, "it is told")[0]
        assert "HTTP 403: endpointslices is forbidden: User cannot list" in line


def test_a_service_that_is_not_there_is_told_of(site: KubernetesSite) -> None:
    site.set(ONE)
    with following(lambda log: site.source(log, service="shoop")) as followed:
        line = wait_for(lambda: followed.told, "it is told")[0]
        assert line.endswith("it names no backend: there is no EndpointSlice of a service 'shoop' in 'default'")


def test_slices_that_are_all_gone_at_once_empty_nothing(site: KubernetesSite) -> None:
    """As in a cluster that was restored from nothing. A watch that tells it would be taken at its word."""
    site.set(ONE)
    with following(site.source) as followed:
        wait_for(lambda: followed.addresses == [ONE], "it comes")
        site.peer.stop()
        site.peer.slices.clear()
        site.peer.compact()
        site.peer.start()
        line = wait_for(lambda: [told for told in followed.told if "are kept" in told], "it is told")[0]
        assert "the last 1 are kept (when_empty): there is no EndpointSlice" in line
        assert followed.addresses == [ONE]


# --- accounts and kubeconfigs ---------------------------------------------------------------------------------------------


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[tuple[KubernetesPeer, Path]]:
    """An API over TLS, and the folder of keys."""
    peer = KubernetesPeer(authority_with_peers(tmp_path))
    peer.set(ONE)
    yield peer, tmp_path
    peer.close()


def test_a_pod_uses_its_account_whose_token_rotates(
    secured: tuple[KubernetesPeer, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    peer, keys = secured
    (keys / "token").write_text("first")
    (keys / "namespace").write_text("store")
    monkeypatch.setattr(kube_access, "ACCOUNT", keys)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(peer.port))
    peer.namespace, peer.tokens = "store", {"first"}
    with following(source_of()) as followed:
        wait_for(lambda: followed.addresses == [ONE], f"it comes: {followed.told}")
        (keys / "token").write_text("second")
        peer.tokens = {"second"}
        peer.end_watches()
        peer.set(TWO)
        wait_for(lambda: followed.addresses == [TWO], f"it shows the new token: {followed.told}")
    assert "first" not in " ".join(followed.told)


def test_outside_a_pod_an_account_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(kube_access, "ACCOUNT", tmp_path)
    with following(source_of()) as followed:
        line = wait_for(lambda: followed.told, "it is told")[0]
        assert line.endswith("this is no pod with an account of Kubernetes: set kubeconfig or endpoints")


def test_a_kubeconfig_names_cluster_user_and_namespace(secured: tuple[KubernetesPeer, Path]) -> None:
    peer, keys = secured
    peer.namespace, peer.tokens = "store", {"mine"}
    with following(source_of(kubeconfig=kubeconfig(keys, peer.port, {"token": "mine"}))) as followed:
        wait_for(lambda: followed.addresses == [ONE], f"it comes: {followed.told}")


def test_a_kubeconfig_may_hold_all_that_it_needs(secured: tuple[KubernetesPeer, Path]) -> None:
    peer, keys = secured
    peer.namespace = "store"

    def packed(name: str) -> str:
        return base64.b64encode((keys / name).read_bytes()).decode()

    user = {"client-certificate-data": packed("client.crt"), "client-key-data": packed("client.key")}
    path = kubeconfig(keys, peer.port, user, {"certificate-authority-data": packed("ca.crt")})
    with following(source_of(kubeconfig=path)) as followed:
        wait_for(lambda: followed.addresses == [ONE], f"it comes: {followed.told}")


def test_a_kubeconfig_may_name_a_path_and_a_server_by_its_certificate(secured: tuple[KubernetesPeer, Path]) -> None:
    """Rancher's kubeconfigs have a path; one of a tunnel has tls-server-name."""
    peer, keys = secured
    peer.namespace, peer.prefix = "store", "/k8s/clusters/c-m-1"
    cluster = {"server": f"https://localhost:{peer.port}{peer.prefix}/"}
    with following(source_of(kubeconfig=kubeconfig(keys, peer.port, {}, cluster))) as followed:
        line = wait_for(lambda: followed.told, "the certificate is for 127.0.0.1 alone")[0]
        assert "its certificate is refused" in line, line
    named = cluster | {"tls-server-name": "127.0.0.1"}
    with following(source_of(kubeconfig=kubeconfig(keys, peer.port, {}, named))) as followed:
        wait_for(lambda: followed.addresses == [ONE], f"it comes: {followed.told}")


@pytest.mark.parametrize(
    ("user", "cluster", "words"),
    [
        ({"exec": {"command": "aws"}}, {}, "its user has a program (exec 'aws'): set allow_exec = true to run it"),
        ({"auth-provider": {}, "username": "x"}, {}, "a user with username is not supported"),
        ({"token": "t"}, {"insecure-skip-tls-verify": True}, "insecure-skip-tls-verify is not supported"),
        (
            {"token": "t"},
            {"server": "https://h/../x"},
            "server: 'https://h/../x' is not allowed (allowed: https://HOST:PORT/PATH)",
        ),
        ({"token": "t"}, {"server": "https://h/?x"}, "server: 'https://h/?x' is not allowed"),
        ({"token": "t"}, {"server": "10.0.0.1"}, "'10.0.0.1' is not allowed (allowed: http"),
        ({"token": "t"}, {"certificate-authority": "none.crt"}, "No such file or directory"),
        ({"client-certificate-data": "@", "client-key-data": "@"}, {}, "client-certificate-data is not base64"),
    ],
)
def test_a_kubeconfig_that_cannot_be_used_is_told_in_one_line(
    tmp_path: Path, user: dict[str, Any], cluster: dict[str, Any], words: str
) -> None:
    (tmp_path / "ca.crt").write_text("")
    path = kubeconfig(tmp_path, 1, user, cluster)
    with following(source_of(kubeconfig=path)) as followed:
        line = wait_for(lambda: followed.told, "it is told")[0]
        assert line.startswith(f"pool web: kubernetes shop: the last answer is kept: kubeconfig {path!r}: ")
        assert words in line


def test_a_kubeconfig_without_that_context_is_told(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("")
    path = kubeconfig(tmp_path, 1, {})
    with following(source_of(kubeconfig=path, context="there")) as followed:
        assert "it has no context 'there'" in wait_for(lambda: followed.told, "it is told")[0]


def test_yaml_without_its_package_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    (tmp_path / "config").write_text("current-context: here\n")
    with following(source_of(kubeconfig=str(tmp_path / "config"))) as followed:
        line = wait_for(lambda: followed.told, "it is told")[0]
        assert line.endswith("YAML requires PyYAML: pip install 'lbcore[kubernetes]'")


def test_many_slices_are_refused(site: KubernetesSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes, "MOST_SLICES", 2)
    site.peer.put(*(slice_of(f"s{at}", endpoint(f"10.0.0.{at + 1}")) for at in range(3)))
    with following(site.source) as followed:
        assert "more than 2 EndpointSlices" in wait_for(lambda: followed.told, "it is told")[0]


def test_a_line_of_a_watch_is_bounded(site: KubernetesSite, monkeypatch: pytest.MonkeyPatch) -> None:
    site.set(ONE)
    with following(site.source) as followed:
        wait_for(lambda: site.peer.watches, "it watches")
        monkeypatch.setattr(http, "MOST_BYTES", 1 << 20)
        site.peer.say({"type": "ADDED", "object": "x" * (2 << 20)})
        standing = followed.sources.standings()[0]
        wait_for(lambda: standing.failures, "the watch is given up")
        wait_for(lambda: len(lists(site.peer)) >= 2, "it lists again")
        site.set(TWO)
        wait_for(lambda: followed.addresses == [TWO], "the next change comes")


def test_a_pod_that_terminates_keeps_its_sessions_and_gets_no_new_ones(site: KubernetesSite) -> None:
    with Peer(echo) as leaving, Peer(named(b"stays")) as other:
        site.set(leaving.address)
        with balanced(settings=settings(site.settings(port_name="http"))) as lb:
            wait_for(lambda: lb.pool().backends(), "it comes")
            with dial(lb.address) as session:
                session.sendall(b"one")
                assert read_exactly(session, 3) == b"one"
                ends = endpoint("127.0.0.1", ready=False, terminating=True)
                site.peer.put(slice_of(f"shop-{leaving.port}", ends, port=leaving.port))
                site.peer.put(slice_of("new", endpoint("127.0.0.1"), port=other.port))
                wait_for(lambda: {backend.weight for backend in lb.pool().backends()} == {0, 1}, "one drains")
                for _ in range(5):
                    with dial(lb.address) as fresh:
                        assert read_exactly(fresh, 5) == b"stays"
                session.sendall(b"two")
                assert read_exactly(session, 3) == b"two"
