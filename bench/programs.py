"""Programs that the bench needs from the system."""

from __future__ import annotations

import os
import shutil


class Missing(Exception):
    """A program that is needed is not installed."""


def find(program: str, hint: str = "") -> str:
    """Where a program is, the places for superusers included. Raises Missing."""
    places = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
    where = shutil.which(program, path=places)
    if where is None:
        raise Missing(f"{program} is not installed{hint}")
    return where
