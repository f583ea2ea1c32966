"""Kubeconfigs, and Kubernetes as a source of pool "web"."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lbcore.config.settings import PoolSettings, SourceSettings
from lbcore.discovery.sources import made

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def source_of(**values: Any) -> Callable[[Callable[[str], None]], Any]:
    settings = SourceSettings(kind="kubernetes", service="shop", **values)
    return lambda log: made([PoolSettings(name="web", sources=[settings])], log)[0]


def kubeconfig(keys: Path, port: int, user: dict[str, Any], cluster: dict[str, Any] | None = None) -> str:
    """Written as YAML, which JSON is."""
    document = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "store"}}],
        "clusters": [
            {
                "name": "c",
                "cluster": {"server": f"https://127.0.0.1:{port}", "certificate-authority": "ca.crt"} | (cluster or {}),
            }
        ],
        "users": [{"name": "u", "user": user}],
    }
    path = keys / "config"
    path.write_text("# ours\n" + json.dumps(document, indent=1))
    return str(path)
