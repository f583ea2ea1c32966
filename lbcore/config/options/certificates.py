"""Options of certificates: files, or names that an authority issues them for by ACME (RFC 8555)."""

from __future__ import annotations

from lbcore.config.option import Option

CERTIFICATE: tuple[Option, ...] = (
    Option("cert", "text", None, "PEM file of the certificate, then its chain"),
    Option("key", "text", None, "PEM file of the private key, not encrypted; default: the key is in the cert file"),
    Option("ocsp", "text", None, "DER file of an OCSP response to staple"),
    Option(
        "acme",
        "any_of",
        None,
        "in the place of cert: names that an authority issues the certificate for, and renews, as [acme] says",
    ),
)

ACME: tuple[Option, ...] = (
    Option(
        "directory",
        "text",
        "https://acme-v02.api.letsencrypt.org/directory",
        "URL of the authority's directory; default: Let's Encrypt",
    ),
    Option("email", "text", None, "where the authority may write to; default: nowhere"),
    Option("agree_tos", "flag", False, "you agree to the authority's terms of service; true is required"),
    Option("folder", "text", None, "folder of the account's key, of keys and of certificates; is made with mode 0700"),
    Option("ca", "text", None, "PEM file of the CAs that sign the directory's own certificate; default: the system's"),
    Option("eab_key_id", "text", None, "name of an external account (RFC 8555 7.3.4), where the authority asks for one"),
    Option("eab_hmac_file", "text", None, "file whose first line is the key of that account, in base64url"),
)
