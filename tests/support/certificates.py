"""Certificates for tests, made with the openssl command."""

from __future__ import annotations

import shutil
import ssl
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


def authority_with_peers(directory: Path) -> ssl.SSLContext:
    """A CA with certificates of a server at 127.0.0.1 and of a client: ca.*, server.* and client.*. How that server speaks TLS:
    it takes certificates of clients, and asks for none."""
    make_authority(directory, "ca")
    make_signed(directory, "ca", "server", "IP:127.0.0.1")
    make_signed(directory, "ca", "client", "DNS:lbcore")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=directory / "ca.crt")
    context.load_cert_chain(directory / "server.crt", directory / "server.key")
    context.verify_mode = ssl.CERT_OPTIONAL
    return context
