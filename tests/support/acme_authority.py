"""A small authority that speaks ACME (RFC 8555): what a client needs of it for http-01, and the failures that it
is told to play.

It looks at the proofs as a real one does: by a request to the listener that is named for port 80.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import http.client
import json
import secrets
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

PLAIN = "application/json"
PROBLEM = "application/problem+json"


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def number(text: str) -> int:
    return int.from_bytes(unb64(text), "big")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Authority

    def do_GET(self) -> None:
        if self.path != "/directory":
            self.answer(404, {})
            return
        urls = {name: f"{self.server.url}/{name}" for name in ("newNonce", "newAccount", "newOrder")}
        self.answer(200, urls | {"meta": {"termsOfService": f"{self.server.url}/terms"}})

    def do_HEAD(self) -> None:
        self.answer(200, None)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        protected, signed = json.loads(unb64(body["protected"])), body["protected"] + "." + body["payload"]
        payload = json.loads(unb64(body["payload"]) or b"null")
        fault = self.server.fault_of(protected, signed, unb64(body["signature"]))
        if fault:
            self.problem(*fault)
            return
        kind, _, rest = self.path.lstrip("/").partition("/")
        getattr(self, f"on_{kind}")(rest, payload, protected)

    def on_newAccount(self, rest: str, payload: Any, protected: Any) -> None:
        with self.server.lock:
            known = self.server.accounts
            thumb = thumbprint(protected["jwk"])
            status = 200 if thumb in known else 201
            known[thumb] = protected["jwk"]
            self.server.contacts.append(payload)
        self.answer(status, {"status": "valid"}, location=f"/account/{thumb}")

    def on_account(self, rest: str, payload: Any, protected: Any) -> None:
        self.answer(200, {"status": "valid"})

    def on_newOrder(self, rest: str, payload: Any, protected: Any) -> None:
        order = secrets.token_hex(8)
        names = [entry["value"] for entry in payload["identifiers"]]
        with self.server.lock:
            self.server.orders[order] = {
                "names": names,
                "valid": {},
                "chain": None,
                "thumb": protected["kid"].rsplit("/", 1)[1],
            }
            for name in names:
                self.server.orders[order]["valid"][name] = "valid" if name in self.server.valid_already else "pending"
        self.answer(201, self.server.order_of(order), location=f"/order/{order}")

    def on_order(self, rest: str, payload: Any, protected: Any) -> None:
        self.answer(200, self.server.order_of(rest))

    def on_authorization(self, rest: str, payload: Any, protected: Any) -> None:
        self.answer(200, self.server.authorization_of(*rest.split("/")))

    def on_challenge(self, rest: str, payload: Any, protected: Any) -> None:
        order, name = rest.split("/")
        threading.Thread(target=self.server.look, args=(order, name), daemon=True).start()
        self.answer(200, self.server.challenge_of(order, name), link=f"/authorization/{rest}")

    def on_finalize(self, rest: str, payload: Any, protected: Any) -> None:
        self.server.sign(rest, x509.load_der_x509_csr(unb64(payload["csr"])))
        self.answer(200, self.server.order_of(rest), location=f"/order/{rest}")

    def on_certificate(self, rest: str, payload: Any, protected: Any) -> None:
        self.answer(200, self.server.orders[rest]["chain"], type="application/pem-certificate-chain")

    def problem(self, status: int, kind: str, detail: str) -> None:
        self.answer(status, {"type": f"urn:ietf:params:acme:error:{kind}", "detail": detail}, type=PROBLEM)

    def answer(self, status: int, content: Any, *, type: str = PLAIN, location: str = "", link: str = "") -> None:
        data = b"" if content is None else content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Replay-Nonce", self.server.nonce())
        self.send_header("Content-Type", type)
        self.send_header("Content-Length", str(len(data)))
        if location:
            self.send_header("Location", self.server.url + location)
        if link:
            self.send_header("Link", f'<{self.server.url}{link}>;rel="up"')
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged."""


def thumbprint(jwk: dict[str, str]) -> str:
    """RFC 7638."""
    members = {name: jwk[name] for name in ("e", "kty", "n")}
    return b64(hashlib.sha256(json.dumps(members, sort_keys=True, separators=(",", ":")).encode()).digest())


class Authority(ThreadingHTTPServer):
    """looks_at: (host, port) of the listener that stands for port 80 of every name. life_s: of certificates.

    faults: (status, kind, detail) for the next posts. refuses: proofs are not believed. pending: they are not looked at.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lock = threading.RLock()
        self.accounts: dict[str, dict[str, str]] = {}
        self.contacts: list[dict[str, Any]] = []
        self.orders: dict[str, dict[str, Any]] = {}
        self.nonces: set[str] = set()
        self.faults: list[tuple[int, str, str]] = []
        self.valid_already: set[str] = set()
        self.seen: list[tuple[str, str]] = []
        self.refuses = self.pending = self.strange = False
        self.looks_at: tuple[str, int] = ("127.0.0.1", 1)
        self.life_s = 90 * 86400.0
        self.begun_s = 0.0
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.root = self._certificate(["authority.test"], self.key.public_key(), 86400.0, ca=True)
        own = ec.generate_private_key(ec.SECP256R1())
        shown = self._certificate(["localhost"], own.public_key(), 86400.0)
        self.ca = folder / "root.pem"
        self.ca.write_bytes(self.root.public_bytes(serialization.Encoding.PEM))
        pem = folder / "authority.pem"
        form = serialization.PrivateFormat.PKCS8
        secret = own.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        pem.write_bytes(shown.public_bytes(serialization.Encoding.PEM) + secret)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def url(self) -> str:
        return f"https://localhost:{self.server_port}"

    def __enter__(self) -> Authority:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves is none."""

    def nonce(self) -> str:
        made = secrets.token_urlsafe(12)
        with self.lock:
            self.nonces.add(made)
        return made

    def fault_of(self, protected: dict[str, Any], signed: str, signature: bytes) -> tuple[int, str, str] | None:
        """What is wrong with a post; RFC 8555 6.2 and 6.5."""
        with self.lock:
            if protected["nonce"] not in self.nonces:
                return 400, "badNonce", "it was used before"
            self.nonces.discard(protected["nonce"])
            if self.faults:
                return self.faults.pop(0)
            jwk = protected.get("jwk") or self.accounts.get(protected.get("kid", "").rsplit("/", 1)[-1])
        if jwk is None:
            return 400, "accountDoesNotExist", "who is that?"
        key = rsa.RSAPublicNumbers(number(jwk["e"]), number(jwk["n"])).public_key()
        key.verify(signature, signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return None

    def order_of(self, order: str) -> dict[str, Any]:
        found = self.orders[order]
        states = set(found["valid"].values())
        status = (
            "valid" if found["chain"] else "invalid" if "invalid" in states else "ready" if states == {"valid"} else "pending"
        )
        return {
            "status": status,
            "identifiers": [{"type": "dns", "value": name} for name in found["names"]],
            "authorizations": [f"{self.url}/authorization/{order}/{name}" for name in found["names"]],
            "finalize": f"{self.url}/finalize/{order}",
            **({"certificate": f"{self.url}/certificate/{order}"} if found["chain"] else {}),
        }

    def token_of(self, order: str, name: str) -> str:
        return b64(hashlib.sha256(f"{order} {name}".encode()).digest())

    def challenge_of(self, order: str, name: str) -> dict[str, Any]:
        status = self.orders[order]["valid"][name]
        kind = "dns-01" if self.strange else "http-01"
        found = {
            "type": kind,
            "url": f"{self.url}/challenge/{order}/{name}",
            "status": status,
            "token": self.token_of(order, name),
        }
        if status == "invalid":
            found["error"] = {"type": "urn:ietf:params:acme:error:unauthorized", "detail": "the proof is wrong", "status": 403}
        return found

    def authorization_of(self, order: str, name: str) -> dict[str, Any]:
        challenge = self.challenge_of(order, name)
        return {"status": challenge["status"], "identifier": {"type": "dns", "value": name}, "challenges": [challenge]}

    def look(self, order: str, name: str) -> None:
        """At the proof, as RFC 8555 8.3 has it."""
        if self.pending:
            return
        token = self.token_of(order, name)
        connection = http.client.HTTPConnection(*self.looks_at, timeout=5)
        try:
            connection.request("GET", f"/.well-known/acme-challenge/{token}", headers={"Host": name})
            response = connection.getresponse()
            body = response.read().decode().rstrip()
        except OSError as error:
            body = str(error)
        finally:
            connection.close()
        right = body == f"{token}.{self.orders[order]['thumb']}" and not self.refuses
        with self.lock:
            self.seen.append((name, body))
            self.orders[order]["valid"][name] = "valid" if right else "invalid"

    def sign(self, order: str, csr: x509.CertificateSigningRequest) -> None:
        names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
        assert sorted(names) == sorted(self.orders[order]["names"])
        made = self._certificate(names, csr.public_key(), self.life_s, begun_s=self.begun_s)
        pem = serialization.Encoding.PEM
        self.orders[order]["chain"] = made.public_bytes(pem) + self.root.public_bytes(pem)

    def _certificate(
        self, names: list[str], key: Any, life_s: float, *, ca: bool = False, begun_s: float = 60.0
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority.test")])
        subject = issuer if ca else x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(seconds=begun_s))
            .not_valid_after(now - datetime.timedelta(seconds=begun_s) + datetime.timedelta(seconds=life_s))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if not ca:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        return builder.sign(self.key, hashes.SHA256())
