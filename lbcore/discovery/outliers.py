"""Who is worse than the rest of its pool, pure: figures of one interval go in, backends to eject come out."""

from __future__ import annotations

from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lbcore.config.settings import OutlierSettings


class Figures(NamedTuple):
    """Of one backend in one interval: requests that ended well, that failed, and their latency (0: unknown)."""

    good: int
    bad: int
    latency_us: float


def worse(pool: dict[str, Figures], rules: OutlierSettings) -> dict[str, str]:
    """Backends that are worse than the others, and how, in words; the worst first. Those with min_requests are compared."""
    compared = {name: figures for name, figures in pool.items() if figures.good + figures.bad >= rules.min_requests}
    if len(compared) < 2:
        return {}
    found = {**_by_latency(compared, rules), **_by_success(compared, rules)}
    rates = {name: _rate(compared[name].good, compared[name].bad) for name in found}
    return {name: found[name] for name in sorted(found, key=lambda name: rates[name])}


def _rate(good: int, bad: int) -> float:
    """Percent."""
    return 100 * good / (good + bad) if good + bad else 100.0


def _by_success(pool: dict[str, Figures], rules: OutlierSettings) -> dict[str, str]:
    if not rules.success_gap:
        return {}
    good, bad = sum(figures.good for figures in pool.values()), sum(figures.bad for figures in pool.values())
    found = {}
    for name, figures in pool.items():
        mine, rest = _rate(figures.good, figures.bad), _rate(good - figures.good, bad - figures.bad)
        if mine <= rest - rules.success_gap:
            found[name] = f"{mine:.0f}% of its requests succeed, {rest:.0f}% of the rest's"
    return found


def _by_latency(pool: dict[str, Figures], rules: OutlierSettings) -> dict[str, str]:
    if not rules.latency_factor:
        return {}
    found = {}
    for name, figures in pool.items():
        rest = sorted(other.latency_us for key, other in pool.items() if key != name and other.latency_us)
        middle = rest[len(rest) // 2] if rest else 0
        if middle and figures.latency_us > rules.latency_factor * middle:
            found[name] = f"it takes {figures.latency_us / 1000:.1f} ms, the rest {middle / 1000:.1f} ms"
    return found
