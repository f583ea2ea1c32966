"""GET /: the dashboard, one page that brings all it needs, and the fields that keep a browser from loading or sending more."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib import resources

_PARTS = re.compile(rb"<(style|script)>(.*?)</\1>", re.DOTALL)


@cache
def page() -> tuple[bytes, dict[str, str]]:
    """The page, and the fields of its head. The policy (CSP level 3) names its own style and script by their hashes.

    It may open connections to where it came from, and nothing else: no frame, form, font, other script, or image but its icon.
    """
    body = resources.files("lbcore.admin").joinpath("dashboard.html").read_bytes()
    allowed = {"style": "", "script": ""}
    for kind, content in _PARTS.findall(body):
        digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
        allowed[kind.decode()] += f" 'sha256-{digest}'"
    policy = (
        f"default-src 'none'; script-src{allowed['script']}; style-src{allowed['style']}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    )
    return body, {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-cache",
    }
