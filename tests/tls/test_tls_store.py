"""Files of keys and certificates: what is wrong is told in one line, what changes comes into force if it is good."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from certificates import make_certificate, openssl

from lbcore.config.settings import BalancerSettings, CertificateSettings, ListenerSettings, PoolSettings
from lbcore.errors import ConfigError
from lbcore.tls import files
from lbcore.tls.bundle import LISTENER, POOL
from lbcore.tls.library import USUAL, Library, find, mapped
from lbcore.tls.store import Store

EXPIRES_S = 2_000_000_000
WEB = (LISTENER, "web")


class Site:
    """A listener whose certificate lies in a folder, and the store that reads it. verdict: what the check says."""

    def __init__(self, folder: Path, *, now: float = 0.0, **pool: Any) -> None:
        self.cert, self.key = make_certificate(folder, "site")
        self.log: list[str] = []
        self.verdict: Callable[[], list[tuple[list[str], int]]] = lambda: [(["site"], EXPIRES_S)]
        shown = [CertificateSettings(cert=str(self.cert), key=str(self.key))]
        web = ListenerSettings(bind="https://127.0.0.1:0", name="web", certificates=shown)
        self.settings = BalancerSettings(listeners=[web], pools=[PoolSettings(**pool)])
        library = Library("libssl", "OpenSSL 3")
        self.store = Store(self.log.append, check=lambda bundle: self.verdict(), find=lambda: library, clock=lambda: now)

    def faults(self) -> list[str]:
        """What `read` says is wrong, each without the folder."""
        with pytest.raises(ConfigError) as caught:
            self.store.read(self.settings)
        return [problem.replace(f"{self.cert.parent}/", "") for problem in caught.value.problems]

    def refuse(self, fault: str) -> None:
        """Let the check refuse everything from now on."""

        def verdict() -> list[tuple[list[str], int]]:
            raise ValueError(fault)

        self.verdict = verdict


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


# --- what is wrong --------------------------------------------------------------------------------------------------------


def test_what_is_read_is_packed(site: Site) -> None:
    bundle = site.store.read(site.settings)[WEB]
    assert (bundle.names, bundle.expires_s) == (["site"], EXPIRES_S)
    for path in (site.cert, site.key):
        assert path.read_bytes().strip() in bundle.data


def test_nothing_is_looked_for_where_no_tls_is_wanted() -> None:
    store = Store(print, check=None, find=None)
    assert store.read(BalancerSettings()) == {}


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda cert, key: cert.unlink(), "certificate[0].cert: 'site.crt' cannot be read (No such file or directory)"),
        (lambda cert, key: key.unlink(), "certificate[0].key: 'site.key' cannot be read (No such file or directory)"),
        (lambda cert, key: cert.write_text(""), "certificate[0].cert: 'site.crt' has no certificate in it (PEM is required"),
        (lambda cert, key: cert.write_bytes(cert.read_bytes()[:200]), "cert: 'site.crt' has no certificate in it"),
        (lambda cert, key: key.write_bytes(cert.read_bytes()), "key: 'site.key' has no private key in it (PEM is required"),
        (lambda cert, key: os.mkfifo(key.rename(f"{key}.old").parent / key.name), "'site.key' is not a regular file"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(site: Site, spoil: Callable[[Path, Path], object], says: str) -> None:
    spoil(site.cert, site.key)
    said = site.faults()
    assert len(said) == 1, said
    assert said[0].startswith("listener web: ")
    assert says in said[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(site: Site) -> None:
    site.key.chmod(0)
    assert site.faults() == ["listener web: certificate[0].key: 'site.key' cannot be read (Permission denied)"]


@pytest.mark.parametrize("form", [["pkey", "-aes256"], ["ec", "-aes256"]])
def test_an_encrypted_key(site: Site, tmp_path: Path, form: list[str]) -> None:
    plain = tmp_path / "plain.key"
    shutil.copy(site.key, plain)
    openssl(*form, "-in", plain, "-out", site.key, "-passout", "pass:secret")
    (said,) = site.faults()
    assert said.startswith("listener web: certificate[0].key: 'site.key' has a private key that is encrypted")


def test_key_and_certificate_in_one_file(site: Site) -> None:
    site.cert.write_bytes(b"some words\n" + site.key.read_bytes() + site.cert.read_bytes())
    shown = [CertificateSettings(cert=str(site.cert))]
    whole = site.settings.replace(listeners=[site.settings.listeners[0].replace(certificates=shown)])
    assert site.key.read_bytes().strip() in site.store.read(whole)[WEB].data
    assert b"some words" not in site.store.read(whole)[WEB].data


def test_a_response_that_is_not_der(site: Site) -> None:
    with pytest.raises(files.FileFault, match="is not an OCSP response in DER"):
        files.response(str(site.cert))


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    site = Site(tmp_path, tls=True, tls_cert=str(tmp_path / "our.pem"))
    site.key.unlink()
    assert site.faults() == [
        "listener web: certificate[0].key: 'site.key' cannot be read (No such file or directory)",
        "pool default: tls_cert: 'our.pem' cannot be read (No such file or directory)",
    ]


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("certificate 1: the key does not belong to it", "certificate[0].cert: 'site.crt': the key does not belong to it"),
        ("ciphers: none is known", "ciphers: none is known ('site.crt', 'site.key')"),
    ],
)
def test_what_the_engine_says_is_told_with_the_file(site: Site, fault: str, says: str) -> None:
    site.refuse(fault)
    assert site.faults() == [f"listener web: {says}"]


def test_an_expired_certificate_is_told_and_served(tmp_path: Path) -> None:
    site = Site(tmp_path, now=EXPIRES_S + 1)
    assert WEB in site.store.read(site.settings)
    assert site.log == [f"listener web: certificate[0].cert: '{site.cert}' has expired on 2033-05-18T03:33:20Z"]


# --- what changes ---------------------------------------------------------------------------------------------------------


def in_force(site: Site) -> bytes:
    return bytes(site.store.bundles[WEB].data)


@pytest.fixture
def served(site: Site) -> Site:
    site.store.adopt(site.store.read(site.settings))
    return site


def renew(site: Site, folder: Path) -> None:
    """A new certificate and its key, each moved into its place."""
    folder.mkdir(exist_ok=True)
    for fresh, place in zip(make_certificate(folder, "site"), (site.cert, site.key), strict=True):
        fresh.replace(place)


def test_files_that_did_not_change(served: Site) -> None:
    assert not served.store.look()
    os.utime(served.cert)
    assert not served.store.look(), "touched, not changed"
    assert served.log == []


def test_a_renewed_certificate_comes_into_force(served: Site, tmp_path: Path) -> None:
    before = in_force(served)
    renew(served, tmp_path / "fresh")
    assert served.store.look()
    assert in_force(served) != before
    assert served.log == ["listener web: its files have changed and are in force: site, until 2033-05-18T03:33:20Z"]
    assert not served.store.look()


def test_a_certificate_behind_links(site: Site, tmp_path: Path) -> None:
    """As certbot and Kubernetes have it: a link is moved, the files behind it stay."""
    for number in ("1", "2"):
        (tmp_path / number).mkdir()
        make_certificate(tmp_path / number, "site")
    (tmp_path / "live").symlink_to("1")
    for path in (site.cert, site.key):
        path.unlink()
        path.symlink_to(tmp_path / "live" / path.name)
    site.store.adopt(site.store.read(site.settings))
    (tmp_path / "next").symlink_to("2")
    (tmp_path / "next").replace(tmp_path / "live")
    assert site.store.look()
    assert (tmp_path / "2" / "site.key").read_bytes().strip() in in_force(site)


def test_a_broken_change_is_refused_and_told_once(served: Site) -> None:
    before = in_force(served)
    whole = served.key.read_bytes()
    served.key.write_bytes(whole[:50])
    for _ in range(3):
        assert not served.store.look()
    assert in_force(served) == before
    assert len(served.log) == 1
    assert f"certificate[0].key: '{served.key}' has no private key in it" in served.log[0]
    assert served.log[0].endswith("; what was read before stays in force")
    served.key.write_bytes(whole[:60])
    served.store.look()
    assert len(served.log) == 2, "another change, another line"


def test_what_the_engine_refuses_stays_out_until_the_rest_has_come(served: Site, tmp_path: Path) -> None:
    before, good = in_force(served), served.verdict
    served.refuse("certificate 1: the key does not belong to it")
    (tmp_path / "fresh").mkdir()
    fresh = make_certificate(tmp_path / "fresh", "site")
    fresh[0].replace(served.cert)
    assert not served.store.look()
    assert in_force(served) == before
    served.verdict = good
    fresh[1].replace(served.key)
    assert served.store.look()
    assert len(served.log) == 2


def test_a_file_that_is_gone_for_a_while(served: Site) -> None:
    whole = served.cert.read_bytes()
    served.cert.unlink()
    assert not served.store.look()
    served.cert.write_bytes(whole)
    assert not served.store.look(), "the same as before"
    assert len(served.log) == 1


def test_a_reload_reads_everything_whatever_its_time(served: Site) -> None:
    served.refuse("certificate 1: the key does not belong to it")
    before = in_force(served)
    assert len(served.faults()) == 1
    assert in_force(served) == before
    assert not served.store.look()


def test_of_several_only_what_changed_is_made_anew(tmp_path: Path) -> None:
    ca, _ = make_certificate(tmp_path, "ca")
    site = Site(tmp_path, tls=True, tls_ca=str(ca))
    site.store.adopt(site.store.read(site.settings))
    before = dict(site.store.bundles)
    (tmp_path / "other").mkdir()
    make_certificate(tmp_path / "other", "ca")[0].replace(ca)
    assert site.store.look()
    assert site.store.bundles[WEB] is before[WEB]
    assert site.store.bundles[POOL, "default"].data != before[POOL, "default"].data


# --- the library ----------------------------------------------------------------------------------------------------------


def maps(*paths: str) -> list[str]:
    return [f"7f0000000000-7f0000001000 r--p 00000000 08:01 1234  {path}\n" for path in ("", "[heap]", *paths)]


@pytest.mark.parametrize(
    ("paths", "found"),
    [
        (["/lib/libcrypto.so.3", "/lib/libssl.so.3"], "/lib/libssl.so.3"),
        (["/opt/my own/libssl.so.3"], "/opt/my own/libssl.so.3"),
        (["/lib/libssl.so.3 (deleted)"], None),
        (["/lib/libssl.d/other.so", "/lib/libc.so.6"], None),
        ([], None),
    ],
)
def test_the_library_among_the_mappings(paths: list[str], found: str | None) -> None:
    assert mapped(maps(*paths)) == found


def test_the_usual_library_where_pythons_own_cannot_be_used() -> None:
    def version(path: bytes) -> str:
        if path != USUAL.encode():
            raise OSError(2, "too old")
        return "OpenSSL 3.5"

    assert find(version) == Library(USUAL, "OpenSSL 3.5")


def test_no_library_is_one_line_that_names_the_package() -> None:
    def version(path: bytes) -> str:
        raise OSError(2, "cannot open shared object file")

    with pytest.raises(ConfigError) as caught:
        find(version)
    assert caught.value.problems == [
        f"tls: libssl cannot be used ({USUAL}: cannot open shared object file): "
        "install libssl3 (Debian, Ubuntu), openssl-libs (Fedora)"
    ]
