"""Certificates for tests, made with the openssl command."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def openssl(*words: str | Path) -> None:
    """Run it, or skip the test where it is missing."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


def make_certificate(directory: Path, name: str, *, days: int = 2) -> tuple[Path, Path]:
    """A certificate that signs itself, for this name in DNS, and its key: NAME.crt and NAME.key."""
    cert, key = directory / f"{name}.crt", directory / f"{name}.key"
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", str(days)]
    openssl(
        "req", "-x509", *curve, "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", key, "-out", cert
    )
    return cert, key


def make_authority(directory: Path, name: str) -> None:
    """A CA of its own: NAME.crt and NAME.key."""
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    openssl(
        "req", "-x509", *curve, "-subj", f"/CN={name}", "-keyout", directory / f"{name}.key", "-out", directory / f"{name}.crt"
    )


def make_signed(directory: Path, authority: str, name: str, whom: str) -> None:
    """A certificate that a CA has signed, NAME.crt and NAME.key. whom: "IP:127.0.0.1" or "DNS:lbcore"."""
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    signer = ["-CA", directory / f"{authority}.crt", "-CAkey", directory / f"{authority}.key"]
    files = ["-keyout", directory / f"{name}.key", "-out", directory / f"{name}.crt"]
    openssl("req", "-x509", *curve, *signer, "-subj", f"/CN={name}", "-addext", f"subjectAltName={whom}", *files)
