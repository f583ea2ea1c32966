"""The account at the authority: its key is made once and kept; the authority knows the account by it (RFC 8555 7.3)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from acme import errors, messages
from acme.client import ClientNetwork, ClientV2
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from josepy.jwk import JWKRSA
from josepy.util import ComparableRSAKey

from lbcore.acme.kept import keep, kept
from lbcore.version import VERSION

if TYPE_CHECKING:
    from lbcore.config.settings import AcmeSettings

TIMEOUT_S = 10
"""Of a call to the authority."""


def _key(folder: str) -> JWKRSA:
    """Raises OSError or ValueError."""
    path = os.path.join(folder, "account.key")
    pem = kept(path)
    if pem is None:
        made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        form = serialization.PrivateFormat.PKCS8
        pem = made.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        keep(path, pem)
    loaded = serialization.load_pem_private_key(pem, None)
    if not isinstance(loaded, rsa.RSAPrivateKey):
        raise ValueError(f"{path!r} has no RSA key")
    return JWKRSA(key=ComparableRSAKey(loaded))


def client_of(settings: AcmeSettings) -> ClientV2:
    """A client that the authority knows. Raises OSError, ValueError, acme.errors.Error, messages.Error or
    requests.RequestException."""
    key = _key(settings.folder)
    network = ClientNetwork(key, user_agent=f"lbcore/{VERSION}", timeout=TIMEOUT_S)
    if settings.ca is not None:
        network.verify_ssl = settings.ca  # type: ignore[assignment]  # requests takes the name of a file, too
    client = ClientV2(ClientV2.get_directory(settings.directory, network), network)
    binding = None
    if settings.eab_key_id is not None and settings.eab_hmac is not None:
        binding = messages.ExternalAccountBinding.from_data(
            key.public_key(), settings.eab_key_id, settings.eab_hmac.reveal(), client.directory
        )
    asked = messages.NewRegistration.from_data(
        email=settings.email, terms_of_service_agreed=True, external_account_binding=binding
    )
    try:
        client.new_account(asked)
    except errors.ConflictError as there:
        client.query_registration(messages.RegistrationResource(uri=there.location, body=messages.Registration()))
    return client
