"""Bundles and ticket keys as workers read them, compared field by field; keys that rotate, as a table."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from lbcore._layout import ffi
from lbcore.config.settings import CertificateSettings, ListenerSettings, PoolSettings
from lbcore.config.settings.tls import INTERMEDIATE
from lbcore.tls.bundle import Certificate, pack_listener, pack_pool, pack_tickets
from lbcore.tls.tickets import KEY_BYTES, TicketKey, due, random_key, rotated

ONE = Certificate(b"chain one", b"key one", b"\x30one")
TWO = Certificate(b"chain two", b"key two", b"")


def listener(mode: str, **values: Any) -> ListenerSettings:
    shown = [CertificateSettings(cert="site.pem")]
    return ListenerSettings(bind=f"{mode}://127.0.0.1:0", name="web", certificates=shown, **values)


def unpacked(data: bytes) -> tuple[dict[str, Any], list[dict[str, bytes]]]:
    """The head and the certificates, read as C would, with texts in the place of where they lie."""

    def text(field: Any) -> bytes:
        assert data[field.at + field.length] == 0, "each text is followed by a NUL"
        return data[field.at : field.at + field.length]

    def fields(row: Any) -> dict[str, Any]:
        found = {}
        for name, field in ffi.typeof(row[0]).fields:
            value = getattr(row, name)
            if field.type.kind == "struct":
                value = text(value)
            elif field.type.kind == "array":
                value = bytes(value)
            found[name] = value
        return found

    memory = ffi.from_buffer(data)
    head = fields(ffi.cast("struct lb_tls_bundle *", memory))
    assert head["bytes"] == len(data)
    rows = ffi.cast("struct lb_tls_certificate *", memory + head["certificates_at"])
    return head, [fields(rows + index) for index in range(head["certificates"])]


def test_a_listeners_bundle() -> None:
    made = listener("https", client_cert="optional", client_ca="ca.pem", tls_min="1.3")
    head, rows = unpacked(pack_listener(made, [ONE, TWO], b"ca", "/lib/libssl.so.3"))
    assert rows == [ONE._asdict(), TWO._asdict()]
    assert {name: head[name] for name in ("layout", "kind", "verify", "min_version", "http")} == {
        "layout": ffi.integer_const("LB_TLS_LAYOUT"),
        "kind": ffi.integer_const("LB_TLS_LISTENER"),
        "verify": ffi.integer_const("LB_TLS_VERIFY_OPTIONAL"),
        "min_version": 0x0304,
        "http": 1,
    }
    assert (head["library"], head["ciphers"], head["alpn"]) == (
        b"/lib/libssl.so.3",
        INTERMEDIATE.encode(),
        b"\x02h2\x08http/1.1\x08http/1.0",
    )
    assert (head["trusted"], head["name"]) == (b"ca", b"")
    assert head["context"] == hashlib.sha256(b"optional\0web\0ca").digest()


def test_a_tls_listeners_bundle() -> None:
    head, rows = unpacked(pack_listener(listener("tls", alpn=["h2", "imap"]), [ONE], b"", "libssl.so.3"))
    assert len(rows) == 1
    assert (head["http"], head["verify"], head["min_version"], head["trusted"]) == (0, 0, 0x0303, b"")
    assert head["alpn"] == b"\x02h2\x04imap"
    assert unpacked(pack_listener(listener("tls"), [ONE], b"", "libssl.so.3"))[0]["alpn"] == b""


def test_tickets_are_good_only_under_the_rules_that_they_were_given_under() -> None:
    asked = {"client_cert": "required", "client_ca": "ca.pem"}
    made = [
        pack_listener(listener("https"), [ONE], b"", "l"),
        pack_listener(listener("https", **asked), [ONE], b"ca", "l"),
        pack_listener(listener("https", **asked), [ONE], b"other ca", "l"),
        pack_listener(listener("https", **(asked | {"client_cert": "optional"})), [ONE], b"ca", "l"),
        pack_listener(listener("https").replace(name="other"), [ONE], b"", "l"),
    ]
    assert len({unpacked(data)[0]["context"] for data in made}) == len(made)
    renewed = pack_listener(listener("https"), [TWO], b"", "l")
    assert unpacked(renewed)[0]["context"] == unpacked(made[0])[0]["context"], "a renewed certificate leaves tickets good"


def test_a_pools_bundle() -> None:
    head, rows = unpacked(pack_pool(PoolSettings(tls=True, tls_name="app"), [TWO], b"ca", "libssl.so.3"))
    assert rows == [TWO._asdict()]
    assert head["kind"] == ffi.integer_const("LB_TLS_POOL")
    assert head["verify"] == ffi.integer_const("LB_TLS_VERIFY_REQUIRED")
    assert (head["min_version"], head["http"], head["alpn"], head["ciphers"]) == (0x0303, 0, b"", b"")
    assert (head["trusted"], head["name"], head["context"]) == (b"ca", b"app", bytes(32))


def test_a_pool_that_says_nothing() -> None:
    head, rows = unpacked(pack_pool(PoolSettings(tls=True, tls_verify=False), [], b"", "libssl.so.3"))
    assert rows == []
    assert (head["verify"], head["trusted"], head["name"]) == (ffi.integer_const("LB_TLS_VERIFY_OFF"), b"", b"")


def test_ticket_keys() -> None:
    keys = [bytes([number]) * KEY_BYTES for number in (1, 2)]
    data = pack_tickets(keys)
    packed = ffi.cast("struct lb_ticket_keys *", ffi.from_buffer(data))
    assert (packed.layout, packed.kind, packed.bytes, packed.count) == (1, ffi.integer_const("LB_TLS_TICKETS"), len(data), 2)
    assert bytes(ffi.buffer(packed.keys)) == b"".join([*keys, bytes(KEY_BYTES)])
    assert len(random_key()) == KEY_BYTES
    assert random_key() != random_key()


# --- rotation -------------------------------------------------------------------------------------------------------------

HOUR = 3600.0


def keys(*born: float) -> tuple[TicketKey, ...]:
    return tuple(TicketKey(when, b"old") for when in born)


@pytest.mark.parametrize(
    ("had", "now", "has"),
    [
        ([], 0.0, [0.0]),
        ([0.0], HOUR - 1, [0.0]),
        ([0.0], HOUR, [HOUR, 0.0]),
        ([HOUR, 0.0], 2 * HOUR, [2 * HOUR, HOUR, 0.0]),
        ([2 * HOUR, HOUR, 0.0], 3 * HOUR, [3 * HOUR, 2 * HOUR, HOUR]),
        ([2 * HOUR, HOUR, 0.0], 4.5 * HOUR, [4.5 * HOUR, 2 * HOUR]),  # slept: what is too old opens nothing any more
        ([2 * HOUR, HOUR, 0.0], 9 * HOUR, [9 * HOUR]),
    ],
)
def test_keys_rotate(had: list[float], now: float, has: list[float]) -> None:
    assert [key.born for key in rotated(keys(*had), now, HOUR)] == has


def test_a_ticket_lives_for_one_rotation_at_least_and_three_at_most() -> None:
    held: tuple[TicketKey, ...] = ()
    lives: dict[bytes, list[float]] = {}
    for minute in range(0, 60 * 12, 10):
        now = minute * 60.0
        held = rotated(held, now, HOUR, fresh=lambda now=now: str(now).encode())
        for key in held:
            lives.setdefault(key.secret, []).append(now)
    for seen in list(lives.values())[:-3]:
        opens, sealed = seen[-1] - seen[0], HOUR - 600
        assert opens - sealed >= HOUR, "the last ticket that it sealed"
        assert opens <= 3 * HOUR, "the first"


def test_when_the_next_rotation_is_due() -> None:
    assert due(keys(5.0, 1.0), HOUR) == 5 + HOUR
    assert due((), HOUR) < 0
