"""Configuration files for `lbcore run`."""

from __future__ import annotations

from pathlib import Path


def configuration(path: Path, listeners: dict[str, str], backends: list[str], extra: str = "", drain: str = "2s") -> Path:
    """A configuration file with these listeners (name: URL) and backends."""
    parts = [f'[[listener]]\nname = "{name}"\nbind = "{url}"\n' for name, url in listeners.items()]
    parts.append(f'[[pool]]\nname = "default"\npolicy = "round_robin"\n{extra}[pool.probe]\nkind = "off"\n')
    parts += [f'[[pool.backend]]\naddress = "{address}"\n' for address in backends]
    path.write_text(f"workers = 2\ndrain_timeout = '{drain}'\n" + "".join(parts))
    return path
