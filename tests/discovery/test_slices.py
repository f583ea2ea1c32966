"""EndpointSlices as backends: ports, readiness, zones, both families. Tables, no servers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as of_hypothesis
from hypothesis import strategies as st
from kubernetes_peer import endpoint, slice_of

from lbcore.config.settings import SourceSettings
from lbcore.discovery.engines.slices import backends
from lbcore.discovery.found import Found


def found(*slices: dict[str, Any], **values: Any) -> list[Found]:
    return backends(slices, SourceSettings(kind="kubernetes", service="shop", **values))[0]


def skipped(*slices: Any, **values: Any) -> dict[str, str]:
    return backends(slices, SourceSettings(kind="kubernetes", service="shop", **values))[1]


def test_ready_endpoints_of_all_slices_are_backends() -> None:
    slices = (
        slice_of("a", endpoint("10.0.0.2"), endpoint("10.0.0.3", ready=False, serving=False)),
        slice_of("b", endpoint("10.0.0.1")),
    )
    assert found(*slices) == [Found("10.0.0.1:8000", 1), Found("10.0.0.2:8000", 1)]


def test_unknown_conditions_mean_ready() -> None:
    for conditions in (None, {}, {"ready": None}):
        assert found(slice_of("a", {"addresses": ["10.0.0.1"], "conditions": conditions})) == [Found("10.0.0.1:8000", 1)]


def test_a_pod_that_terminates_drains() -> None:
    leaving = endpoint("10.0.0.1", ready=False, terminating=True)
    gone = endpoint("10.0.0.3", ready=False, serving=False, terminating=True)
    assert found(slice_of("a", leaving, endpoint("10.0.0.2"), gone)) == [Found("10.0.0.1:8000", 0), Found("10.0.0.2:8000", 1)]


def test_while_no_pod_is_ready_those_that_terminate_serve() -> None:
    leaving = endpoint("10.0.0.1", ready=False, terminating=True)
    assert found(slice_of("a", leaving)) == [Found("10.0.0.1:8000", 1)]


def test_a_service_that_publishes_pods_that_are_not_ready() -> None:
    """Its slices say ready for pods that terminate, too."""
    assert found(slice_of("a", endpoint("10.0.0.1", terminating=True), endpoint("10.0.0.2"))) == [
        Found("10.0.0.1:8000", 0),
        Found("10.0.0.2:8000", 1),
    ]


def test_an_address_in_two_slices_is_one_backend() -> None:
    """Endpoints stand twice while Kubernetes moves them; the newer word may not have come yet."""
    slices = slice_of("a", endpoint("10.0.0.1", ready=False, serving=False)), slice_of("b", endpoint("10.0.0.1"))
    assert found(*slices) == found(*reversed(slices)) == [Found("10.0.0.1:8000", 1)]


@pytest.mark.parametrize(
    ("family", "addresses"),
    [
        ("auto", ["10.0.0.1:8000", "[fd00::2]:8000"]),
        ("both", ["10.0.0.1:8000", "[fd00::1]:8000", "[fd00::2]:8000"]),
        ("ipv4", ["10.0.0.1:8000"]),
        ("ipv6", ["[fd00::1]:8000", "[fd00::2]:8000"]),
    ],
)
def test_a_pod_with_both_families_is_one_backend(family: str, addresses: list[str]) -> None:
    one, two = {"uid": "1"}, {"uid": "2"}
    slices = (
        slice_of("a", endpoint("10.0.0.1", targetRef=one)),
        slice_of("b", endpoint("fd00::1", targetRef=one), endpoint("fd00::2", targetRef=two), kind="IPv6"),
    )
    assert [backend.address for backend in found(*slices, family=family)] == addresses


TWO_PORTS = slice_of("a", endpoint("10.0.0.1")) | {"ports": [{"name": "http", "port": 80}, {"name": "metrics", "port": 9100}]}


@pytest.mark.parametrize(("values", "port"), [({"port_name": "metrics"}, 9100), ({"port": 80}, 80)])
def test_a_port_is_chosen_by_name_or_number(values: dict[str, Any], port: int) -> None:
    assert found(TWO_PORTS, **values) == [Found(f"10.0.0.1:{port}", 1)]


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({}, "set port or port_name (it has: http 80, metrics 9100)"),
        ({"port_name": "grpc"}, "it has no port grpc (it has: http 80, metrics 9100)"),
        ({"port": 81}, "it has no port 81 (it has: http 80, metrics 9100)"),
    ],
)
def test_a_port_that_is_not_there_is_told(values: dict[str, Any], why: str) -> None:
    assert skipped(TWO_PORTS, **values) == {"a": why}


def test_a_slice_without_ports_takes_the_port_of_the_settings() -> None:
    bare = slice_of("a", endpoint("10.0.0.1"), port=None)
    assert found(bare, port=8080) == [Found("10.0.0.1:8080", 1)]
    assert skipped(bare) == {"a": "set port or port_name (it has: none)"}


def test_a_port_without_a_number_means_all_ports() -> None:
    """discovery.k8s.io/v1, EndpointPort.port: "If this is not specified, ports are not restricted"."""
    anyone = slice_of("a", endpoint("10.0.0.1")) | {"ports": [{"name": "", "port": None, "protocol": "TCP"}]}
    assert found(anyone, port=8080) == [Found("10.0.0.1:8080", 1)]
    assert skipped(anyone) == {"a": "its port has no number: set port"}
    assert skipped(anyone, port_name="http") == {"a": "it has no port http (it has: (no name) (any))"}


def test_ports_that_are_null_are_as_none() -> None:
    bare = slice_of("a", endpoint("10.0.0.1")) | {"ports": None}
    assert found(bare, port=8080) == [Found("10.0.0.1:8080", 1)]


def test_one_number_for_tcp_and_udp_is_one_port() -> None:
    """As a service of HTTP/3 or DNS has it."""
    ports = [{"name": "https", "port": 8443, "protocol": "TCP"}, {"name": "h3", "port": 8443, "protocol": "UDP"}]
    both = slice_of("a", endpoint("10.0.0.1")) | {"ports": ports}
    assert found(both) == found(both, port_name="h3") == [Found("10.0.0.1:8443", 1)]


def test_a_terminating_pod_whose_serving_is_unknown_is_judged_by_ready() -> None:
    """discovery.k8s.io/v1, EndpointConditions.serving: null means what ready says."""
    leaving = {"addresses": ["10.0.0.1"], "conditions": {"ready": False, "serving": None, "terminating": True}}
    assert found(slice_of("a", leaving)) == []
    coming = {"addresses": ["10.0.0.1"], "conditions": {"ready": None, "serving": None, "terminating": None}}
    assert found(slice_of("a", coming)) == [Found("10.0.0.1:8000", 1)]


def test_hints_of_pods_that_are_not_ready_are_not_asked_for() -> None:
    """As kube-proxy has it: only endpoints that could be picked must have them."""
    hinted = endpoint("10.0.0.1", zone="a", hints={"forZones": [{"name": "b"}]})
    assert found(slice_of("a", hinted, endpoint("10.0.0.2", ready=False, serving=False)), zone="b") == [
        Found("10.0.0.1:8000", 1)
    ]


def test_hints_that_leave_a_zone_without_pods_leave_the_backups() -> None:
    hinted = [endpoint(f"10.0.0.{at}", zone="a", hints={"forZones": [{"name": "a"}]}) for at in (1, 2)]
    assert [backend.tier for backend in found(slice_of("a", *hinted), zone="c")] == [1, 1]


def test_pods_of_a_named_port_may_have_several_numbers() -> None:
    """While a Deployment that changes its port rolls out, there is a slice for each."""
    slices = slice_of("a", endpoint("10.0.0.1"), port=80), slice_of("b", endpoint("10.0.0.2"), port=8080)
    assert [backend.address for backend in found(*slices, port_name="http")] == ["10.0.0.1:80", "10.0.0.2:8080"]


def test_pods_of_other_zones_are_backups() -> None:
    slices = slice_of("a", endpoint("10.0.0.1", zone="a"), endpoint("10.0.0.2", zone="b"), endpoint("10.0.0.3"))
    tiers = {backend.address: backend.tier for backend in found(slices, zone="b")}
    assert tiers == {"10.0.0.1:8000": 1, "10.0.0.2:8000": 0, "10.0.0.3:8000": 1}
    assert {backend.tier for backend in found(slices)} == {0}


def test_hints_count_where_each_endpoint_has_them() -> None:
    hinted = [endpoint(f"10.0.0.{at}", zone="a", hints={"forZones": [{"name": zone}]}) for at, zone in ((1, "a"), (2, "b"))]
    assert [backend.tier for backend in found(slice_of("a", *hinted), zone="b")] == [1, 0]
    partly = slice_of("a", *hinted, endpoint("10.0.0.3", zone="b"))
    assert [backend.tier for backend in found(partly, zone="b")] == [1, 1, 0]


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (slice_of("a", endpoint("db"), kind="DNS"), {"a": "addresses of type 'DNS' are not used, only IPv4, IPv6 and FQDN"}),
        (slice_of("a", endpoint("db")), {"a[0]": "'db' is not an IP address"}),
        (slice_of("a", {"addresses": []}), {"a[0]": "not an endpoint"}),
        (slice_of("a", {"addresses": ["10.0.0.300"]}), {"a[0]": "'10.0.0.300' is not an IP address"}),
        (slice_of("a", "text"), {"a[0]": "not an endpoint"}),  # type: ignore[arg-type]
        ({"metadata": {"name": "a"}}, {"a": "not an EndpointSlice of discovery.k8s.io/v1"}),
        ("text", {"?": "not an EndpointSlice of discovery.k8s.io/v1"}),
    ],
)
def test_what_is_damaged_is_skipped_alone(document: Any, why: dict[str, str]) -> None:
    whole = slice_of("whole", endpoint("10.0.0.9"))
    assert found(document, whole) == [Found("10.0.0.9:8000", 1)]
    assert skipped(document, whole) == why


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*endpoint("x"), "zone", "name"]), inner),
    max_leaves=8,
)


@of_hypothesis(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["metadata", "addressType", "endpoints", "ports"]), JSON), JSON, st.none() | st.just("b")
)
def test_whatever_comes_raises_nothing(document: dict[str, Any], entry: Any, zone: str | None) -> None:
    found(slice_of("a") | document, slice_of("b", entry), zone=zone)
