"""EndpointSlices of Kubernetes as backends. Pure: documents in, backends out.

https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/ and the reference of discovery.k8s.io/v1.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from lbcore.discovery.engines.entries import address_of, place_of
from lbcore.discovery.found import MOST_ENTRIES, Found

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from lbcore.config.settings import SourceSettings


class Endpoint(NamedTuple):
    """An address of a pod, or the name of a host (family "fqdn").

    identity: what the pod's addresses of both families have in common.
    """

    address: str
    family: str
    identity: str
    ready: bool
    serving: bool
    terminating: bool
    zone: str
    hints: tuple[str, ...]


def backends(slices: Iterable[dict[str, Any]], settings: SourceSettings) -> tuple[list[Found], dict[str, str]]:
    """The backends of a service, and why slices or endpoints are skipped, by name.

    Ready pods take sessions. Pods that terminate and still serve get weight 0, so that they keep the sessions that they have;
    while no pod is ready, they take sessions as well (as kube-proxy has it).
    """
    skipped: dict[str, str] = {}
    endpoints: list[Endpoint] = []
    for document in slices:
        name = _name(document)
        try:
            endpoints += _endpoints(document, name, settings, skipped)
        except ValueError as error:
            skipped[name] = str(error)
        except (KeyError, TypeError, AttributeError):
            skipped[name] = "not an EndpointSlice of discovery.k8s.io/v1"
    chosen = _of_family(_merged(endpoints), settings.family)
    if len(chosen) > MOST_ENTRIES:
        skipped["endpoints"] = f"{len(chosen):,} addresses, only {MOST_ENTRIES:,} are taken"
    return _found(chosen, settings.zone)[:MOST_ENTRIES], skipped


def _found(endpoints: list[Endpoint], zone: str | None) -> list[Found]:
    ready = [one for one in endpoints if one.ready]
    leaving = [one for one in endpoints if not one.ready and one.serving and one.terminating]
    tiers = _tiers(ready or leaving, zone)
    found = [Found(one.address, 1, tiers.get(one.address, 0)) for one in ready or leaving]
    found += [Found(one.address, 0, 0) for one in leaving if ready]
    return sorted(found)


def _tiers(endpoints: list[Endpoint], zone: str | None) -> dict[str, int]:
    """1 for those that are not for this zone: by the hints where each endpoint has them, else by the endpoint's own zone."""
    if zone is None:
        return {}
    hinted = all(one.hints for one in endpoints)
    return {one.address: int(zone not in one.hints if hinted else zone != one.zone) for one in endpoints}


def _merged(endpoints: list[Endpoint]) -> list[Endpoint]:
    """Each address once: slices may overlap while Kubernetes moves endpoints between them. The best word counts."""
    best: dict[str, Endpoint] = {}
    for one in endpoints:
        known = best.get(one.address)
        if known is None or (one.ready, one.serving) > (known.ready, known.serving):
            best[one.address] = one
    return list(best.values())


def _of_family(endpoints: list[Endpoint], family: str) -> list[Endpoint]:
    if family == "both":
        return endpoints
    if family != "auto":  # the addresses of names are chosen when these are resolved
        return [one for one in endpoints if one.family in (family, "fqdn")]
    with_ipv4 = {one.identity for one in endpoints if one.family == "ipv4"}
    return [one for one in endpoints if one.family != "ipv6" or one.identity not in with_ipv4]


def _name(document: Any) -> str:
    try:
        return str(document["metadata"]["name"])
    except (KeyError, TypeError):
        return "?"


def _endpoints(document: dict[str, Any], name: str, settings: SourceSettings, skipped: dict[str, str]) -> Iterable[Endpoint]:
    """Those of one slice. Raises ValueError, KeyError, TypeError or AttributeError: it is skipped."""
    family = {"IPv4": "ipv4", "IPv6": "ipv6", "FQDN": "fqdn"}.get(document["addressType"])
    if family is None:
        raise ValueError(f"addresses of type {str(document['addressType'])[:20]!r} are not used, only IPv4, IPv6 and FQDN")
    entries = document.get("endpoints") or []
    if not entries:
        return
    port = _port(document.get("ports") or [], settings)
    for number, entry in enumerate(entries):
        try:
            yield _endpoint(entry, family, port)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            skipped[f"{name}[{number}]"] = str(error) if type(error) is ValueError else "not an endpoint"


def _endpoint(entry: dict[str, Any], family: str, port: int) -> Endpoint:
    """Of several addresses the first counts: they mean one pod."""
    conditions = entry.get("conditions") or {}
    ready = conditions.get("ready") is not False  # unknown means ready
    terminating = conditions.get("terminating") is True
    serving = conditions.get("serving")
    address = (place_of if family == "fqdn" else address_of)(entry["addresses"][0], port)
    target = entry.get("targetRef") or {}
    identity = str(target.get("uid") or entry.get("hostname") or address)
    zones = tuple(str(hint["name"]) for hint in (entry.get("hints") or {}).get("forZones") or ())
    return Endpoint(
        address,
        family,
        identity,
        ready and not terminating,
        ready if serving is None else serving is True,
        terminating,
        str(entry.get("zone") or ""),
        zones,
    )


def _port(ports: list[dict[str, Any]], settings: SourceSettings) -> int:
    """The port that the settings mean. Raises ValueError.

    Without ports, and with a port that has no number, a slice means all ports. A number may stand twice, for TCP and for UDP.
    """
    numbers = {entry.get("port") for entry in ports}
    if settings.port is not None and (not ports or {settings.port, None} & numbers):
        return settings.port
    if settings.port_name is not None:
        numbers = {entry.get("port") for entry in ports if entry.get("name") == settings.port_name}
    elif settings.port is not None:
        numbers = set()
    if len(numbers) != 1:
        raise ValueError(_which_port(ports, settings))
    port = numbers.pop()
    if type(port) is not int:
        raise ValueError("its port has no number: set port")
    return port


def _which_port(ports: list[dict[str, Any]], settings: SourceSettings) -> str:
    known = ", ".join(f"{entry.get('name') or '(no name)'} {_number(entry)}" for entry in ports[:8]) or "none"
    if settings.port is None and settings.port_name is None:
        return f"set port or port_name (it has: {known})"
    return f"it has no port {settings.port or settings.port_name} (it has: {known})"


def _number(entry: dict[str, Any]) -> str:
    return "(any)" if entry.get("port") is None else str(entry["port"])
