"""How states look in a terminal."""

from __future__ import annotations

COLOURS: dict[str, str] = {
    "up": "green",
    "down": "red",
    "busy": "yellow",
    "starting": "cyan",
    "draining": "magenta",
    "stale": "red",
    "waiting": "cyan",
}
"""A colour of the terminal by the state of a backend or a source."""
