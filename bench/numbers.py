"""Numbers as text."""

from __future__ import annotations


def number(value: float) -> str:
    """Three significant digits; whole above 1000, with thousands set apart."""
    if value >= 1000:
        return f"{value:,.0f}"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def short(value: float) -> str:
    """1,024 as 1,024, 131,072 as 128 Ki, 40,000 as 40k."""
    for size, unit in ((1 << 20, "Mi"), (1 << 10, "Ki")):
        if value > 1024 and value % size == 0:
            return f"{value / size:g} {unit}"
    for scale, unit in ((1e6, "M"), (1e4, "k")):
        if value >= scale:
            return f"{value / (1e6 if unit == 'M' else 1e3):g}{unit}"
    return f"{value:,g}" if value < 1 else f"{value:,.6g}"
