"""One order: names, proofs that they lead here (http-01, RFC 8555 8.3), and the certificate."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from acme import challenges, crypto_util, errors, messages
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from acme.client import ClientV2

LIMIT_S = 120.0
"""Of the authority's looks at us, and of its signing."""
LOOK_S = 1.0


class OrderFault(Exception):
    """An order that cannot come to a certificate, in words."""


def new_key() -> bytes:
    """P-256, PEM."""
    form = serialization.PrivateFormat.PKCS8
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def issue(
    client: ClientV2,
    names: Sequence[str],
    key: bytes,
    show: Callable[[dict[str, str]], None],
    going_on: Callable[[], bool],
) -> bytes:
    """The chain, PEM.

    show: called with the paths that are asked for and what each responds; with none when that is over. going_on: called now and
    then; False: give up. Raises OrderFault, acme.errors.Error, messages.Error or requests.RequestException.
    """
    order = client.new_order(crypto_util.make_csr(key, list(names)))
    proofs = _proofs(client, order)
    show({challenge.chall.path: validation for challenge, _, validation in proofs})
    try:
        for challenge, response, _ in proofs:
            client.answer_challenge(challenge, response)
        order = _within(lambda until: client.poll_authorizations(order, until), going_on)
    finally:
        show({})
    begun = client.begin_finalization(order)
    done = _within(lambda until: client.poll_finalization(begun, until), going_on)
    return str(done.fullchain_pem).encode()


def _proofs(
    client: ClientV2, order: messages.OrderResource
) -> list[tuple[messages.ChallengeBody, challenges.HTTP01Response, str]]:
    found = []
    for authorization in order.authorizations:
        body = authorization.body
        if body.status == messages.STATUS_VALID:
            continue
        ours = next((entry for entry in body.challenges if isinstance(entry.chall, challenges.HTTP01)), None)
        if ours is None:
            raise OrderFault(f"the authority offers no http-01 for {body.identifier.value}")
        found.append((ours, *ours.response_and_validation(client.net.key)))
    return found


def _within(
    poll: Callable[[datetime.datetime], messages.OrderResource], going_on: Callable[[], bool]
) -> messages.OrderResource:
    """Poll in short turns, so that whoever stops us need not wait."""
    until = datetime.datetime.now() + datetime.timedelta(seconds=LIMIT_S)  # as the library reckons
    while True:
        try:
            return poll(datetime.datetime.now() + datetime.timedelta(seconds=LOOK_S))
        except errors.TimeoutError:
            if not going_on():
                raise OrderFault("given up, since lbcore stops") from None
            if datetime.datetime.now() >= until:
                raise OrderFault(f"the authority has not decided within {LIMIT_S:g} s") from None


def words_of(error: Exception) -> str:
    """What went wrong, in one line."""
    if isinstance(error, errors.ValidationError):
        return "; ".join(_refusals(error)) or "the authority did not find the proofs"
    if isinstance(error, messages.Error):
        kind = str(error.typ or "").rpartition(":")[2]
        return " ".join(f"{kind}: {error.detail or ''}".split())
    return " ".join(str(error).split()) or type(error).__name__


def _refusals(error: errors.ValidationError) -> list[str]:
    found = []
    for authorization in error.failed_authzrs:
        for challenge in authorization.body.challenges:
            if challenge.error is not None:
                found.append(f"{authorization.body.identifier.value}: {words_of(challenge.error)}")
    return found


def is_rate_limited(error: Exception) -> bool:
    """Does the authority ask for patience (RFC 8555 6.6)?"""
    return isinstance(error, messages.Error) and str(error.typ or "").endswith(":rateLimited")
