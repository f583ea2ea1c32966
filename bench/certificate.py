"""A certificate for one run, as Mozilla's intermediate profile wants it: ECDSA on P-256."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.children import ChildFailed
from bench.programs import find


@dataclass(frozen=True)
class Certificate:
    """Its files, PEM. both: the certificate, then the key, as HAProxy wants it."""

    certificate: Path
    key: Path
    both: Path


def made_in(directory: Path) -> Certificate:
    """Make one that signs itself. Raises Missing, ChildFailed."""
    files = Certificate(directory / "certificate.pem", directory / "key.pem", directory / "both.pem")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=bench"]
    words = [find("openssl"), "req", "-x509", *curve, "-addext", "subjectAltName=DNS:bench"]
    done = subprocess.run(
        [*words, "-keyout", str(files.key), "-out", str(files.certificate)], capture_output=True, check=False, timeout=60
    )
    if done.returncode:
        raise ChildFailed(f"openssl made no certificate: {done.stderr.decode(errors='replace')[-200:]}")
    files.both.write_text(files.certificate.read_text() + files.key.read_text())
    return files
