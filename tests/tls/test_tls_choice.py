"""Which certificate a client is shown, where a name has several: one that it can use, that is valid, and that says the name."""

from __future__ import annotations

import contextlib
import ssl
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from certificates import openssl
from http_peers import Backend
from tls_peers import EC, PLAIN, RSA, Authority, TlsClient, balancing, der_of, s_client, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lbcore import Balancer

P384 = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp384r1")
ED25519 = ("-newkey", "ed25519")
PAST, PRESENT, FUTURE = ("20200101000000Z", "20200201000000Z"), ("", ""), ("20900101000000Z", "20910101000000Z")


class Shop:
    """Certificates of one authority, and one key of each kind, made once."""

    def __init__(self, directory: Path) -> None:
        self.home = directory
        self.authority = Authority(directory)
        self._made: dict[tuple[object, ...], Path] = {}
        self._keys: dict[tuple[str, ...], Path] = {}
        (directory / "index").write_text("")
        (directory / "serial").write_text("01\n")

    def key(self, kind: tuple[str, ...]) -> Path:
        if kind not in self._keys:
            self._keys[kind] = self.home / f"{len(self._keys)}.key"
            openssl("req", "-x509", *kind, "-nodes", "-subj", "/CN=x", "-keyout", self._keys[kind], "-out", self.home / "x")
        return self._keys[kind]

    def of(self, *names: str, key: tuple[str, ...] = EC, when: tuple[str, str] = PRESENT) -> Path:
        """A certificate for these names, and its key, in one PEM file. when: from and until."""
        if (names, key, when) not in self._made:
            self._made[names, key, when] = self._make(names, self.key(key), when)
        return self._made[names, key, when]

    def _make(self, names: tuple[str, ...], key: Path, when: tuple[str, str]) -> Path:
        made = self.home / f"{len(self._made)}-made"
        Path(f"{made}.cnf").write_text(
            f"[ca]\ndefault_ca = me\n[me]\ndatabase = {self.home}/index\nserial = {self.home}/serial\n"
            f"new_certs_dir = {self.home}\n"
            "default_md = sha256\npolicy = any\nunique_subject = no\nx509_extensions = ext\n[any]\ncommonName = supplied\n"
            f"[ext]\nsubjectAltName = {','.join(f'DNS:{name}' for name in names)}\nbasicConstraints = CA:FALSE\n"
        )
        openssl("req", "-new", "-key", key, "-subj", f"/CN={names[0]}", "-out", f"{made}.csr")
        openssl(
            "ca", "-batch", "-config", f"{made}.cnf", "-cert", self.authority.cert, "-keyfile", self.authority.key, "-notext",
            *(("-startdate", when[0], "-enddate", when[1]) if when != PRESENT else ("-days", "2")),
            "-in", f"{made}.csr", "-out", f"{made}.crt",
        )  # fmt: skip
        pem = Path(f"{made}.pem")
        pem.write_bytes(Path(f"{made}.crt").read_bytes() + key.read_bytes())
        return pem


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("shop"))


@contextlib.contextmanager
def showing(*certificates: Path) -> Iterator[Balancer]:
    with Backend() as backend, balancing("https://127.0.0.1:0", backend, listener={"certificates": shown(*certificates)}) as lb:
        yield lb


CLIENTS = {
    "rsa, 1.2": ("-tls1_2", "-cipher", "aRSA+AESGCM"),
    "ecdsa, 1.2": ("-tls1_2", "-cipher", "aECDSA+AESGCM"),
    "any, 1.2": ("-tls1_2",),
    "rsa, 1.3": ("-tls1_3", "-sigalgs", "RSA-PSS+SHA256"),
    "ecdsa, 1.3": ("-tls1_3", "-sigalgs", "ECDSA+SHA256"),
    "any, 1.3": ("-tls1_3",),
}


def seen(lb: Balancer, name: str | None, client: str) -> bytes | None:
    """The certificate that such a client is shown, DER; None: it is refused."""
    if client == "rsa, 1.3" or client == "ecdsa, 1.3":  # the ssl module cannot choose signature algorithms
        said = s_client(lb.address, *(("-servername", name) if name else ("-noservername",)), *CLIENTS[client])
        return first_of(said) if "-----BEGIN CERTIFICATE-----" in said else None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2 if "1.2" in client else ssl.TLSVersion.TLSv1_3
    if "-cipher" in CLIENTS[client]:
        context.set_ciphers(CLIENTS[client][2])
    try:
        with TlsClient(lb.address, context, name) as connection:
            return connection.socket.getpeercert(binary_form=True)
    except ssl.SSLError:
        return None


def first_of(said: str) -> bytes:
    """The certificate of the server, DER."""
    return ssl.PEM_cert_to_DER_cert(said[said.index("-----BEGIN CERT") : said.index("-----END CERT") + 25])


PAIRS = {
    "other order": (("1.test", "1b.test"), ("1b.test", "1.test"), "1.test"),
    "other order, by the second": (("2.test", "2b.test"), ("2b.test", "2.test"), "2b.test"),
    "one more name": (("3.test",), ("3.test", "www.3.test"), "3.test"),
    "star and name": (("*.4.test",), ("x.4.test",), "x.4.test"),
    "name and star": (("x.5.test",), ("*.5.test",), "x.5.test"),
    "two stars": (("*.6.test",), ("6.test", "*.6.test"), "x.6.test"),
    "other letters": (("*.SEVEN.test",), ("*.seven.TEST", "7.test"), "X.Seven.test"),
}


@pytest.mark.parametrize("turned", [False, True], ids=["rsa first", "ecdsa first"])
def test_rsa_and_ecdsa_of_one_name_need_no_equal_lists(shop: Shop, turned: bool) -> None:
    """Each client is shown one that it can use, whatever else the certificates say."""
    certificates = [shop.of("first.test")]
    for rsa_names, ecdsa_names, _ in PAIRS.values():
        pair = [shop.of(*rsa_names, key=RSA), shop.of(*ecdsa_names)]
        certificates += pair[::-1] if turned else pair
    with showing(*certificates) as lb:
        for kind, (rsa_names, ecdsa_names, name) in PAIRS.items():
            rsa, ecdsa = der_of(shop.of(*rsa_names, key=RSA)), der_of(shop.of(*ecdsa_names))
            wild = {der for der, names in ((rsa, rsa_names), (ecdsa, ecdsa_names)) if name.lower() not in names}
            either = {rsa, ecdsa} - wild or {rsa, ecdsa}  # the name itself before a star
            for client in CLIENTS:
                wanted = {rsa} if "rsa, " in client and "ecdsa" not in client else {ecdsa} if "ecdsa" in client else either
                assert seen(lb, name, client) in wanted, (kind, client)


def test_names_that_only_one_of_them_has(shop: Shop) -> None:
    rsa, ecdsa = shop.of("a.test", "rsa.test", key=RSA), shop.of("a.test", "ecdsa.test")
    with showing(ecdsa, rsa) as lb:
        assert seen(lb, "rsa.test", "any, 1.3") == der_of(rsa)
        assert seen(lb, "rsa.test", "ecdsa, 1.3") is None, "there is none that it can use"
        assert seen(lb, "ecdsa.test", "any, 1.2") == der_of(ecdsa)
        assert seen(lb, "ecdsa.test", "rsa, 1.2") is None


def test_clients_that_name_nobody_have_a_pair_too(shop: Shop) -> None:
    """The first certificate, and what shares its first name for those who cannot read its key."""
    ecdsa, rsa, other = shop.of("a.test"), shop.of("b.test", "a.test", key=RSA), shop.of("c.test", key=RSA)
    with showing(ecdsa, other, rsa) as lb:
        for name in (None, "unknown.test"):
            assert seen(lb, name, "rsa, 1.2") == der_of(rsa)
            assert seen(lb, name, "rsa, 1.3") == der_of(rsa)
            assert seen(lb, name, "ecdsa, 1.3") == der_of(ecdsa)
            assert seen(lb, name, "any, 1.3") in (der_of(ecdsa), der_of(rsa))


def test_a_third_kind_and_a_second_curve(shop: Shop) -> None:
    edwards, p384, rsa = shop.of("a.test", key=ED25519), shop.of("a.test", key=P384), shop.of("a.test", key=RSA)
    with showing(p384, edwards, rsa, shop.of("a.test")) as lb:
        said = s_client(lb.address, "-servername", "a.test", "-tls1_3", "-sigalgs", "ed25519")
        assert first_of(said) == der_of(edwards)
        assert seen(lb, "a.test", "ecdsa, 1.3") == der_of(shop.of("a.test")), "the other curve needs SHA384"
        said = s_client(lb.address, "-servername", "a.test", "-tls1_3", "-sigalgs", "ECDSA+SHA384")
        assert first_of(said) == der_of(p384)


@pytest.mark.parametrize("when", [PAST, FUTURE], ids=["expired", "not valid yet"])
@pytest.mark.parametrize("turned", [False, True])
def test_an_expired_certificate_never_wins_over_a_valid_one(shop: Shop, when: tuple[str, str], turned: bool) -> None:
    dated, valid = shop.of("a.test", when=when), shop.of("a.test", "b.test")
    with showing(*((valid, dated) if turned else (dated, valid))) as lb:
        for client in ("any, 1.2", "any, 1.3", "ecdsa, 1.2", "ecdsa, 1.3"):
            assert seen(lb, "a.test", client) == der_of(valid), client
            assert seen(lb, None, client) == der_of(valid), client


def test_an_expired_one_of_another_kind_or_with_the_name_itself_does_not_win_either(shop: Shop) -> None:
    expired_rsa, expired, wild = shop.of("x.a.test", key=RSA, when=PAST), shop.of("x.a.test", when=PAST), shop.of("*.a.test")
    with showing(expired_rsa, expired, wild) as lb:
        for client in ("any, 1.2", "any, 1.3", "ecdsa, 1.2", "ecdsa, 1.3"):
            assert seen(lb, "x.a.test", client) == der_of(wild), client
        for client in ("rsa, 1.2", "rsa, 1.3"):
            assert seen(lb, "x.a.test", client) == der_of(expired_rsa), "it can use no other, and sees why it must not"


def test_expired_ones_are_shown_where_there_is_no_other(shop: Shop) -> None:
    expired = shop.of("a.test", when=PAST)
    with showing(shop.of("b.test"), expired) as lb:
        assert seen(lb, "a.test", "any, 1.3") == der_of(expired)


def test_of_equal_ones_the_first_is_shown(shop: Shop) -> None:
    first, second = shop.of("a.test", "1.test"), shop.of("a.test", "2.test")
    for certificates in ((first, second), (second, first)):
        with showing(*certificates) as lb:
            assert seen(lb, "a.test", "any, 1.3") == der_of(certificates[0])


def test_each_of_a_pair_comes_with_its_own_chain_and_staple(shop: Shop, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    openssl(
        "req", "-x509", "-CA", shop.authority.cert, "-CAkey", shop.authority.key, *EC, "-nodes", "-days", "2",
        "-subj", "/CN=inner", "-addext", "basicConstraints=critical,CA:TRUE", "-keyout", f"{inner}.key", "-out", f"{inner}.crt",
    )  # fmt: skip
    rsa, ecdsa = tmp_path / "rsa.pem", shop.of("a.test")
    openssl(
        "req", "-x509", "-CA", f"{inner}.crt", "-CAkey", f"{inner}.key", *RSA, "-nodes", "-days", "2", "-subj", "/CN=a.test",
        "-addext", "subjectAltName=DNS:a.test", "-addext", "basicConstraints=CA:FALSE",
        "-keyout", f"{rsa}.key", "-out", f"{rsa}.crt",
    )  # fmt: skip
    rsa.write_bytes(b"".join(Path(path).read_bytes() for path in (f"{rsa}.crt", f"{inner}.crt", f"{rsa}.key")))
    with showing(ecdsa, rsa) as lb:
        for client, count in (("rsa, 1.2", 2), ("rsa, 1.3", 2), ("ecdsa, 1.2", 1), ("ecdsa, 1.3", 1)):
            said = s_client(lb.address, "-servername", "a.test", "-showcerts", *CLIENTS[client])
            assert said.count("-----BEGIN CERTIFICATE-----") == count + said.count("Server certificate\n-----BEGIN"), client


def test_sessions_of_each_of_a_pair_are_resumed(shop: Shop, tmp_path: Path) -> None:
    rsa, ecdsa = shop.of("a.test", "b.test", key=RSA), shop.of("b.test", "a.test")
    with showing(rsa, ecdsa) as lb:
        for client in ("rsa, 1.2", "ecdsa, 1.2"):
            session = tmp_path / client.split(",")[0]
            s_client(lb.address, "-servername", "a.test", "-sess_out", str(session), *CLIENTS[client])
            line = [
                "openssl",
                "s_client",
                "-connect",
                "{}:{}".format(*lb.address),
                "-servername",
                "a.test",
                "-sess_in",
                str(session),
            ]
            run = subprocess.run([*line, *CLIENTS[client]], input=b"", capture_output=True, timeout=30, env=PLAIN, check=False)
            assert b"Reused" in run.stdout, client
